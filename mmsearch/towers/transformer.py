"""Transformer blocks, forward, in numpy: what the towers of texts and of images have in common.

Residual blocks, most with the norms first (Radford et al. 2021), in float32.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.blas import product

__all__ = ["ACTIVATIONS", "BlockDesign", "Floats", "PostNormTransformer", "Transformer", "attend", "block_weights"]
__all__ += ["feed", "linear", "norm"]

Floats = NDArray[np.float32]

_TILE = 16
_ALL = slice(None)


class BlockDesign(Protocol):
    """What blocks do with their weights.

    activation: a key of `ACTIVATIONS`. eps: of the layer norms.
    """

    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def activation(self) -> str: ...
    @property
    def eps(self) -> float: ...


def block_weights(layer: int) -> dict[str, str]:
    """The names of a block's tensors: part -> name in the file. Matrices are (in, out), as `x @ matrix` reads them:
    several times as fast as (out, in) for the few rows of a query."""
    parts = ("ln_1", "qkv", "out", "ln_2", "widen", "narrow")
    return {f"{part}.{kind}": f"blocks.{layer}.{part}.{kind}" for part in parts for kind in ("weight", "bias")}


class Transformer:
    """Blocks over their weights: float32, of each those of `block_weights`. Raises ValueError for a missing one."""

    def __init__(self, design: BlockDesign, weights: Mapping[str, Floats]) -> None:
        self._heads, self._eps = design.heads, design.eps
        self._activate = ACTIVATIONS[design.activation]
        names = [block_weights(layer) for layer in range(design.layers)]
        if missing := sorted({name for parts in names for name in parts.values()} - set(weights)):
            raise ValueError(f"a tower without {missing[0]}")
        self._blocks = [{part: weights[name] for part, name in parts.items()} for parts in names]

    def __call__(self, x: Floats, mask: Floats | None = None, blocks: slice = _ALL) -> Floats:
        """(n, tokens, width) -> the same shape. mask: as of `attend`. blocks: only these of them."""
        for block in self._blocks[blocks]:
            x = x + self._attend_to_itself(norm(x, block, "ln_1", self._eps), block, mask)
            x = x + feed(norm(x, block, "ln_2", self._eps), block, self._activate)
        return x

    def _attend_to_itself(self, x: Floats, block: Mapping[str, Floats], mask: Floats | None) -> Floats:
        n, tokens, width = x.shape
        qkv = linear(x, block, "qkv").reshape(n, tokens, 3, self._heads, width // self._heads)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)
        return linear(attend(q, k, v, mask), block, "out")


class PostNormTransformer(Transformer):
    """The same with the norms behind each layer (Vaswani et al. 2017)."""

    def __call__(self, x: Floats, mask: Floats | None = None, blocks: slice = _ALL) -> Floats:
        for block in self._blocks[blocks]:
            x = norm(x + self._attend_to_itself(x, block, mask), block, "ln_1", self._eps)
            x = norm(x + feed(x, block, self._activate), block, "ln_2", self._eps)
        return x


def linear(x: Floats, weights: Mapping[str, Floats], name: str) -> Floats:
    """(…, in) -> (…, out), as one product of matrices; the bias need not be there."""
    y = product(x.reshape(-1, x.shape[-1]), weights[f"{name}.weight"])
    if (bias := weights.get(f"{name}.bias")) is not None:
        y += bias
    return y.reshape(*x.shape[:-1], y.shape[-1])


def norm(x: Floats, weights: Mapping[str, Floats], name: str, eps: float) -> Floats:
    """The layer norm of (…, width)."""
    x = x - x.mean(axis=-1, keepdims=True)
    variance = np.einsum("...d,...d->...", x, x)[..., None] / np.float32(x.shape[-1])
    x *= weights[f"{name}.weight"] / np.sqrt(variance + np.float32(eps))
    x += weights[f"{name}.bias"]
    return x


def attend(q: Floats, k: Floats, v: Floats, mask: Floats | None = None) -> Floats:
    """Multi-head attention: what each of the queries sees of the values.

    q: (n, heads, queries, width of a head). k, v: (n, heads, tokens, width of a head). mask: what to add to the scores
    (n or 1, 1, queries, tokens) of a query for a token: 0 or -inf. Gives (n, queries, width).
    """
    scores = (q * np.float32(q.shape[-1] ** -0.5)) @ k.swapaxes(-1, -2)
    if mask is not None:
        scores += mask
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    seen: Any = (scores @ v).swapaxes(1, 2)
    together: Floats = seen.reshape(*seen.shape[:2], seen.shape[2] * seen.shape[3])
    return together


def feed(x: Floats, weights: Mapping[str, Floats], activate: Callable[[Floats], Floats]) -> Floats:
    """The two layers of a perceptron, "widen" and "narrow", on (n, tokens, width)."""
    wide = linear(x, weights, "widen").reshape(-1, weights["widen.bias"].shape[0])
    for start in range(0, len(wide), _TILE):  # so that what it computes on stays in the processor's cache
        wide[start : start + _TILE] = activate(wide[start : start + _TILE])
    return linear(wide, weights, "narrow").reshape(x.shape)


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


def _relu(x: Floats) -> Floats:
    return np.maximum(x, np.float32(0))


ACTIVATIONS: Mapping[str, Callable[[Floats], Floats]] = {
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "quick_gelu": _quick_gelu,
    "relu": _relu,
}
