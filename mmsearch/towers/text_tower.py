"""open_clip's text transformer, forward, in numpy: token ids to vectors.

It computes what `open_clip.CLIP.encode_text` and `TextTransformer.forward` do (pre-norm residual blocks, Radford et
al. 2021; CoCa's class token, Yu et al. 2022), in float32, for texts cut to what can reach the answer: what stands
behind the token that speaks for a causal text counts for nothing.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.blas import one_thread

__all__ = ["ACTIVATIONS", "POOLS", "Design", "TextTower", "block_weights"]

Floats = NDArray[np.float32]

# Rows of a batch: matrix products are at full speed from some hundreds on, and temporary arrays stay small.
_TOKENS_AT_ONCE = 1024

POOLS = ("argmax", "eos", "first", "last")
"""Which token speaks for the text: the highest id (CLIP's end-of-text), the first `eos_id`, the first, the last."""


@dataclass(frozen=True, slots=True)
class Design:
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


def block_weights(layer: int) -> dict[str, str]:
    """The names of a block's tensors: part -> name in the file. Matrices are (in, out), as `x @ matrix` reads them:
    several times as fast as (out, in) for the few rows of a query."""
    parts = ("ln_1", "qkv", "out", "ln_2", "widen", "narrow")
    return {f"{part}.{kind}": f"blocks.{layer}.{part}.{kind}" for part in parts for kind in ("weight", "bias")}


class TextTower:
    """A text tower over its weights.

    weights: float32. token_embedding (vocabulary, width), positional_embedding (positions, width), per block those of
    `block_weights`, ln_final.weight and .bias (width,); where the tower has them class_embedding (width,),
    projection.weight (width, dim), projection.bias (dim,). Raises ValueError where one is missing.
    """

    def __init__(self, design: Design, weights: Mapping[str, Floats]) -> None:
        self.design = design
        self._weights = weights
        names = {name for layer in range(design.layers) for name in block_weights(layer).values()}
        names |= {"token_embedding", "positional_embedding", "ln_final.weight", "ln_final.bias"}
        if missing := sorted(names - set(weights)):
            raise ValueError(f"a tower without {missing[0]}")
        self._class = weights.get("class_embedding")
        self._activate = ACTIVATIONS[design.activation]
        self._blocks = [
            {part: weights[name] for part, name in block_weights(layer).items()} for layer in range(design.layers)
        ]

    @property
    def context_length(self) -> int:
        """Tokens of a text, padding included."""
        return len(self._weights["positional_embedding"]) - (self._class is not None)

    def encode(self, ids: NDArray[np.int64]) -> Floats:
        """(n, context length) token ids -> (n, dim) vectors, not normalised. Raises IndexError for ids beyond the
        vocabulary."""
        vectors = np.empty((len(ids), self._dim), np.float32)
        batches = list(_batches(self._lengths(ids)))

        def encode(batch: tuple[NDArray[np.intp], int]) -> None:
            rows, length = batch
            vectors[rows] = self._encode(ids[rows], length)

        with one_thread():
            if len(batches) == 1:
                encode(batches[0])
            else:  # beside each other, which keeps the processors busier than to share each product among them
                from concurrent.futures import ThreadPoolExecutor

                with ThreadPoolExecutor(os.cpu_count()) as pool:
                    list(pool.map(encode, batches))
        return vectors

    @property
    def _dim(self) -> int:
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

    def _lengths(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """How many tokens of each text can reach its vector."""
        if self._class is not None:
            # The last one that is no padding, and one more: see _visible.
            padding: Any = (ids != self.design.pad_id)[:, ::-1].argmax(axis=1)
            return np.asarray(ids.shape[1] - np.maximum(padding - 1, 0), np.intp)
        if self.design.causal:
            return self._speaker(ids) + 1
        return np.full(len(ids), ids.shape[1])

    def _encode(self, ids: NDArray[np.int64], length: int) -> Floats:
        """Texts of which the first `length` tokens are enough -> (n, dim)."""
        weights, n = self._weights, len(ids)
        x = weights["token_embedding"][ids[:, :length]] + weights["positional_embedding"][:length]
        if self._class is not None:
            at_the_end = self._class + weights["positional_embedding"][-1]
            x = np.concatenate([x, np.broadcast_to(at_the_end, (n, 1, len(at_the_end)))], axis=1)
        mask = self._mask(ids, length)
        for block in self._blocks:
            x = x + self._attend(self._norm(x, block["ln_1.weight"], block["ln_1.bias"]), block, mask)
            x = x + self._feed(self._norm(x, block["ln_2.weight"], block["ln_2.bias"]), block)
        speaker = self._speaker(ids) if self._class is None else np.full(n, length)
        x = self._norm(x[np.arange(n), speaker], weights["ln_final.weight"], weights["ln_final.bias"])
        if "projection.weight" in weights:
            x = x @ weights["projection.weight"]
        if "projection.bias" in weights:
            x = x + weights["projection.bias"]
        return x

    def _mask(self, ids: NDArray[np.int64], length: int) -> Floats | None:
        """What to add to the scores (n or 1, 1, tokens, tokens) of a token (row) for another (column): 0 or -inf."""
        if self._class is None:
            return _as_addend(np.tri(length, dtype=np.bool_)[None, None]) if self.design.causal else None
        seen = _visible(ids, self.design.pad_id)
        seen = np.concatenate([seen[:, :length], seen[:, -1:]], axis=1)[:, None, None, :]
        return _as_addend(seen & np.tri(length + 1, dtype=np.bool_) if self.design.causal else seen)

    def _norm(self, x: Floats, weight: Floats, bias: Floats) -> Floats:
        x = x - x.mean(axis=-1, keepdims=True)
        variance = np.einsum("...d,...d->...", x, x)[..., None] / np.float32(x.shape[-1])
        x *= weight / np.sqrt(variance + np.float32(self.design.eps))
        x += bias
        return x

    def _attend(self, x: Floats, block: Mapping[str, Floats], mask: Floats | None) -> Floats:
        """Multi-head attention of (n, tokens, width) on itself (Vaswani et al. 2017)."""
        n, tokens, width = x.shape
        heads = self.design.heads
        qkv = x.reshape(-1, width) @ block["qkv.weight"] + block["qkv.bias"]
        q, k, v = qkv.reshape(n, tokens, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)
        scores = (q * np.float32((width // heads) ** -0.5)) @ k.swapaxes(-1, -2)
        if mask is not None:
            scores += mask
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        together = (scores @ v).swapaxes(1, 2).reshape(-1, width)
        attended: Floats = together @ block["out.weight"] + block["out.bias"]
        return attended.reshape(n, tokens, width)

    def _feed(self, x: Floats, block: Mapping[str, Floats]) -> Floats:
        n, tokens, width = x.shape
        wide = x.reshape(-1, width) @ block["widen.weight"]
        wide += block["widen.bias"]
        for start in range(0, len(wide), _TILE):  # so that what it computes on stays in the processor's cache
            wide[start : start + _TILE] = self._activate(wide[start : start + _TILE])
        narrow: Any = wide @ block["narrow.weight"] + block["narrow.bias"]
        result: Floats = narrow.reshape(n, tokens, width)
        return result


_TILE = 16


def _batches(lengths: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], int]]:
    """(rows, their greatest length) of batches of similar length, so that little is computed for padding."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        # The longest of the next `n` is the last of them: take as many as fit.
        fitting = np.flatnonzero(np.arange(1, len(order) - start + 1) * lengths[order[start:]] > _TOKENS_AT_ONCE)
        past = start + max(1, int(fitting[0])) if len(fitting) else len(order)
        rows = order[start:past]
        yield rows, int(lengths[rows[-1]])
        start = past


def _visible(ids: NDArray[np.int64], pad_id: int) -> NDArray[np.bool_]:
    """(n, context) -> (n, context + 1): which tokens others may look at, in a tower with a class token at the end.

    CoCa was trained with the mask shifted by one: a token is seen where the one before it is no padding, and the class
    token itself where the text fills its context.
    """
    return np.concatenate([np.ones((len(ids), 1), np.bool_), ids != pad_id], axis=1)


def _as_addend(allowed: NDArray[np.bool_]) -> Floats:
    return np.where(allowed, np.float32(0), np.float32(-np.inf))


# --- activations ------------------------------------------------------------------------------------------------------


def _gelu(x: Floats) -> Floats:
    """x * Phi(x), exact but for the error of `_erf` (Hendrycks and Gimpel 2016)."""
    return np.float32(0.5) * x * (np.float32(1) + _erf(x * np.float32(np.sqrt(0.5))))


def _erf(x: Floats) -> Floats:
    """The error function, which numpy lacks, by formula 7.1.26 of Abramowitz and Stegun: to 1.5e-7, and to 5e-7 by
    float32's rounding near 0, where GELU multiplies it by next to nothing."""
    size = np.abs(x)
    t = np.float32(1) / (np.float32(1) + np.float32(0.3275911) * size)
    polynomial = np.float32(1.061405429) * t
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        polynomial += np.float32(coefficient)
        polynomial *= t
    error: Floats = np.copysign(np.float32(1) - polynomial * np.exp(-size * size), x)
    return error


def _gelu_tanh(x: Floats) -> Floats:
    """GELU by its approximation with tanh."""
    inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x)
    activated: Any = np.float32(0.5) * x * (np.float32(1) + np.tanh(inner))
    return np.asarray(activated, np.float32)


def _quick_gelu(x: Floats) -> Floats:
    """x * sigmoid(1.702 x). The sigmoid through tanh: exp would overflow for large negative x."""
    sigmoid: Floats = np.float32(0.5) + np.float32(0.5) * np.tanh(np.float32(0.851) * x)
    return x * sigmoid


ACTIVATIONS: Mapping[str, Callable[[Floats], Floats]] = {
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "quick_gelu": _quick_gelu,
}
