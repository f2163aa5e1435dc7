"""The text encoders of the package transformers that open_clip's multilingual models have, forward, in numpy.

XLM-R and RoBERTa (Conneau et al. 2020: norms behind each layer) and NLLB's M2M-100 (Fan et al. 2021: norms before it),
with what open_clip's HFTextEncoder puts behind them. Padding is not looked at, so that texts are cut to their own
length.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.towers.text_batches import BatchedTexts
from mmsearch.towers.transformer import ACTIVATIONS, Floats, PostNormTransformer, Transformer, linear, norm

__all__ = ["HUB_POOLS", "HubTextDesign", "HubTextTower"]

HUB_POOLS = ("mean", "first", "pooler")
"""What speaks for a text: the mean of its tokens, its first one, or a layer with tanh on that."""

_UNSEEN = np.finfo(np.float32).min  # as transformers masks: finite, so that a text of padding alone gives numbers


@dataclass(frozen=True, slots=True)
class HubTextDesign:
    """What a tower does with its weights.

    activation: a key of `ACTIVATIONS`. pool: one of `HUB_POOLS`. norms_first: the norms stand before each layer, and
    one at the end, instead of behind each and one at the start. scale: of the token embeddings. first_position: of the
    first token that is no padding; padding has the one before. eps: of the layer norms.
    """

    layers: int
    heads: int
    activation: str
    pool: str
    norms_first: bool
    scale: float
    pad_id: int
    first_position: int
    eps: float


class HubTextTower(BatchedTexts):
    """A text tower over its weights.

    weights: float32. token_embedding (vocabulary, width), positional_embedding (positions, width), per block those of
    `block_weights`, ln_outer.weight and .bias (width,); where the tower has them pooler.weight and .bias,
    projection.weight (width, dim), projection_2.weight (hidden, dim). Raises ValueError where one is missing.
    """

    def __init__(self, design: HubTextDesign, weights: Mapping[str, Floats]) -> None:
        self.design = design
        self._weights = weights
        names = {"token_embedding", "positional_embedding", "ln_outer.weight", "ln_outer.bias"}
        names |= {"pooler.weight"} if design.pool == "pooler" else set()
        if missing := sorted(names - set(weights)):
            raise ValueError(f"a tower without {missing[0]}")
        self._transform = (Transformer if design.norms_first else PostNormTransformer)(design, weights)

    @property
    def dim(self) -> int:
        for name in ("projection_2.weight", "projection.weight"):
            if name in self._weights:
                return int(self._weights[name].shape[1])
        return len(self._weights["ln_outer.weight"])

    def lengths(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        # Up to the last one that is no padding.
        padding = (ids != self.design.pad_id)[:, ::-1].argmax(axis=1)
        return np.asarray(ids.shape[1] - padding, np.intp)

    def forward(self, ids: NDArray[np.int64], length: int) -> Floats:
        design, weights, ids = self.design, self._weights, ids[:, :length]
        seen = ids != design.pad_id
        positions = np.cumsum(seen, axis=1) * seen + design.first_position - 1
        x = weights["token_embedding"][ids] * np.float32(design.scale) + weights["positional_embedding"][positions]
        mask = np.where(seen, np.float32(0), _UNSEEN)[:, None, None, :]
        if design.norms_first:
            x = norm(self._transform(x, mask), weights, "ln_outer", design.eps)
        else:
            x = self._transform(norm(x, weights, "ln_outer", design.eps), mask)
        return self._projected(self._pooled(x, seen))

    def _pooled(self, x: Floats, seen: NDArray[np.bool_]) -> Floats:
        pooled: Floats = x[:, 0]
        if self.design.pool == "mean":
            shares = seen / seen.sum(axis=1, keepdims=True)
            pooled = np.einsum("ntw,nt->nw", x, shares.astype(np.float32))
        elif self.design.pool == "pooler":
            pooled = np.tanh(linear(pooled, self._weights, "pooler"))
        return pooled

    def _projected(self, x: Floats) -> Floats:
        """By open_clip's own layers: none, one, or two with a GELU between them."""
        if "projection.weight" in self._weights:
            x = linear(x, self._weights, "projection")
        if "projection_2.weight" in self._weights:
            x = linear(ACTIVATIONS["gelu"](x), self._weights, "projection_2")
        return x
