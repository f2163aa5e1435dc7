"""open_clip's text transformer, forward, in numpy: token ids to vectors.

It computes what `open_clip.CLIP.encode_text` and `TextTransformer.forward` do (pre-norm residual blocks, Radford et
al. 2021; CoCa's class token, Yu et al. 2022), in float32, for texts cut to what can reach the answer: what stands
behind the token that speaks for a causal text counts for nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.towers.text_batches import BatchedTexts
from mmsearch.towers.transformer import Floats, Transformer, linear, norm

__all__ = ["POOLS", "TextDesign", "TextTower"]

POOLS = ("argmax", "eos", "first", "last")
"""Which token speaks for the text: the highest id (CLIP's end-of-text), the first `eos_id`, the first, the last."""


@dataclass(frozen=True, slots=True)
class TextDesign:
    """What a tower does with its weights.

    activation: a key of `ACTIVATIONS`. pool: one of `POOLS`; of no effect where there is a class token.
    causal: a token sees only itself and those before it. eps: of the layer norms.
    """

    layers: int
    heads: int
    activation: str
    pool: str
    causal: bool
    eos_id: int
    pad_id: int
    eps: float


class TextTower(BatchedTexts):
    """A text tower over its weights.

    weights: float32. token_embedding (vocabulary, width), positional_embedding (positions, width), per block those of
    `block_weights`, ln_final.weight and .bias (width,); where the tower has them class_embedding (width,),
    projection.weight (width, dim), projection.bias (dim,). Raises ValueError where one is missing.
    """

    def __init__(self, design: TextDesign, weights: Mapping[str, Floats]) -> None:
        self.design = design
        self._weights = weights
        names = {"token_embedding", "positional_embedding", "ln_final.weight", "ln_final.bias"}
        if missing := sorted(names - set(weights)):
            raise ValueError(f"a tower without {missing[0]}")
        self._class = weights.get("class_embedding")
        self._transform = Transformer(design, weights)

    @property
    def context_length(self) -> int:
        """Tokens of a text, padding included."""
        return len(self._weights["positional_embedding"]) - (self._class is not None)

    @property
    def dim(self) -> int:
        projection = self._weights.get("projection.weight")
        return len(self._weights["ln_final.weight"]) if projection is None else projection.shape[1]

    def _speaker(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """(n, context length) -> (n,): the place of the token that speaks for the text."""
        places: NDArray[np.intp]
        match self.design.pool:
            case "argmax":
                places = ids.argmax(axis=1)
            case "eos":
                places = (ids == self.design.eos_id).argmax(axis=1)
            case "first":
                places = np.zeros(len(ids), np.intp)
            case _:
                places = np.full(len(ids), ids.shape[1] - 1)
        return places

    def lengths(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        if self._class is not None:
            # The last one that is no padding, and one more: see _visible.
            padding: Any = (ids != self.design.pad_id)[:, ::-1].argmax(axis=1)
            return np.asarray(ids.shape[1] - np.maximum(padding - 1, 0), np.intp)
        if self.design.causal:
            return self._speaker(ids) + 1
        return np.full(len(ids), ids.shape[1])

    def forward(self, ids: NDArray[np.int64], length: int) -> Floats:
        weights, n = self._weights, len(ids)
        x = weights["token_embedding"][ids[:, :length]] + weights["positional_embedding"][:length]
        if self._class is not None:
            at_the_end = self._class + weights["positional_embedding"][-1]
            x = np.concatenate([x, np.broadcast_to(at_the_end, (n, 1, len(at_the_end)))], axis=1)
        x = self._transform(x, self._mask(ids, length))
        speaker = self._speaker(ids) if self._class is None else np.full(n, length)
        x = norm(x[np.arange(n), speaker], weights, "ln_final", self.design.eps)
        if "projection.weight" in weights:
            x = linear(x, weights, "projection")
        return x

    def _mask(self, ids: NDArray[np.int64], length: int) -> Floats | None:
        """What to add to the scores (n or 1, 1, tokens, tokens) of a token (row) for another (column): 0 or -inf."""
        if self._class is None:
            return _as_addend(np.tri(length, dtype=np.bool_)[None, None]) if self.design.causal else None
        seen = _visible(ids, self.design.pad_id)
        seen = np.concatenate([seen[:, :length], seen[:, -1:]], axis=1)[:, None, None, :]
        return _as_addend(seen & np.tri(length + 1, dtype=np.bool_) if self.design.causal else seen)


def _visible(ids: NDArray[np.int64], pad_id: int) -> NDArray[np.bool_]:
    """(n, context) -> (n, context + 1): which tokens others may look at, in a tower with a class token at the end.

    CoCa was trained with the mask shifted by one: a token is seen where the one before it is no padding, and the class
    token itself where the text fills its context.
    """
    return np.concatenate([np.ones((len(ids), 1), np.bool_), ids != pad_id], axis=1)


def _as_addend(allowed: NDArray[np.bool_]) -> Floats:
    return np.where(allowed, np.float32(0), np.float32(-np.inf))
