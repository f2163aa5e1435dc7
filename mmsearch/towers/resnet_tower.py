"""CLIP's residual networks, forward, in numpy: pixels to vectors.

They compute what `open_clip.modified_resnet.ModifiedResNet` does (He et al. 2016; Radford et al. 2021: three
convolutions at the start, means before each convolution with steps, attention at the end), in float32. Channels stand
last, so that a convolution is a product of matrices.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmsearch.towers.inner_picture import InnerPicture
from mmsearch.towers.transformer import Floats, attend, linear

__all__ = ["ResNetDesign", "ResNetTower"]

_STEM = ("stem.1", "stem.2", "stem.3")
_LEAST_PLACES = 8
_POOL = ("positions", "query.weight", "kv.weight", "pool.weight")


@dataclass(frozen=True, slots=True)
class ResNetDesign:
    """What a residual network does with its weights.

    strides: of each block, in order: how many pixels in each direction become one. heads: of the attention that pools.
    """

    strides: tuple[int, ...]
    heads: int


class ResNetTower:
    """A residual network over its weights.

    weights: float32. Convolutions with the norm behind them multiplied in: their weight (in, out), of windows of 3 x 3
    (9 * in, out) by row, column and channel, and their bias: stem.1 (with steps of 2), stem.2 and stem.3; of each block
    blocks.N.1, blocks.N.2 (of windows), blocks.N.3, and blocks.N.shortcut where it changes the shape. The attention:
    positions (1 + places, width), query, kv, pool. Raises ValueError where a tensor is missing.
    """

    def __init__(self, design: ResNetDesign, weights: Mapping[str, Floats]) -> None:
        self.design = design
        self._weights = weights
        blocks = [f"blocks.{number}.{part}" for number in range(len(design.strides)) for part in (1, 2, 3)]
        names = {f"{name}.weight" for name in (*_STEM, *blocks)} | set(_POOL)
        if missing := sorted(names - set(weights)):
            raise ValueError(f"a tower without {missing[0]}")

    def __call__(self, pixels: Floats) -> Floats:
        """(n, 3, H, W), normalised -> (n, dim) vectors, not normalised."""
        return self._finish(self._begin(pixels), 0)

    def inner(self, pixels: Floats) -> InnerPicture:
        """A picture (1, 3, H, W) as it is before the block that would leave fewer than 8 places in a direction."""
        x, done = self._begin(pixels), 0
        for number, stride in enumerate(self.design.strides):
            if min(x.shape[1:3]) // stride < _LEAST_PLACES:
                break
            x, done = self._block(x, f"blocks.{number}", stride), number + 1
        return InnerPicture(x, done, (x.shape[1], x.shape[2]))

    def rest(self, inner: InnerPicture, mask: Floats) -> Floats:
        """What `inner` gave and a mask (rows, columns), 1 where a place is hidden -> (1, dim), not normalised. Hidden
        places get the mean of all."""
        hidden, x = mask[None, :, :, None], inner.values
        x = x * (np.float32(1) - hidden) + x.mean(axis=(1, 2), keepdims=True) * hidden
        return self._finish(x, inner.blocks)

    def _begin(self, pixels: Floats) -> Floats:
        """(n, 3, H, W) -> (n, h, w, channels), before the blocks."""
        x = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        for name, stride in zip(_STEM, (2, 1, 1), strict=True):
            x = _rectified(linear(_windows(x, stride), self._weights, name))
        return _means(x, 2)

    def _finish(self, x: Floats, first: int) -> Floats:
        """(n, h, w, channels), before a block -> (n, dim)."""
        for number in range(first, len(self.design.strides)):
            x = self._block(x, f"blocks.{number}", self.design.strides[number])
        return self._pool(x.reshape(len(x), -1, x.shape[-1]))

    def _block(self, x: Floats, name: str, stride: int) -> Floats:
        inner = _rectified(linear(x, self._weights, f"{name}.1"))
        inner = _rectified(linear(_windows(inner), self._weights, f"{name}.2"))
        inner = linear(_means(inner, stride), self._weights, f"{name}.3")
        if f"{name}.shortcut.weight" in self._weights:
            x = linear(_means(x, stride), self._weights, f"{name}.shortcut")
        inner += x
        return _rectified(inner)

    def _pool(self, x: Floats) -> Floats:
        """(n, places, width) -> (n, dim): what the mean of all places sees of them and of itself."""
        weights, heads = self._weights, self.design.heads
        x = np.concatenate([x.mean(axis=1, keepdims=True), x], axis=1) + weights["positions"]
        q = linear(x[:, :1], weights, "query").reshape(len(x), 1, heads, -1).swapaxes(1, 2)
        k, v = linear(x, weights, "kv").reshape(*x.shape[:2], 2, heads, -1).transpose(2, 0, 3, 1, 4)
        return linear(attend(q, k, v)[:, 0], weights, "pool")


def _rectified(x: Floats) -> Floats:
    """In place."""
    return np.maximum(x, np.float32(0), out=x)


def _windows(x: Floats, stride: int = 1) -> Floats:
    """(n, h, w, channels) -> (n, h / stride, w / stride, 9 * channels): the 3 x 3 pixels around each, zeros outside."""
    n, height, width, channels = x.shape
    padded = np.zeros((n, height + 2, width + 2, channels), np.float32)
    padded[:, 1:-1, 1:-1] = x
    rows, columns = -(-height // stride), -(-width // stride)
    windows = np.empty((n, rows, columns, 3, 3, channels), np.float32)
    for down in range(3):
        for across in range(3):
            windows[:, :, :, down, across] = padded[:, down : down + height : stride, across : across + width : stride]
    return windows.reshape(n, rows, columns, 9 * channels)


def _means(x: Floats, side: int) -> Floats:
    """(n, h, w, channels) -> (n, h / side, w / side, channels): means of squares; what fills no square is left out."""
    if side == 1:
        return x
    n, rows, columns, channels = len(x), x.shape[1] // side, x.shape[2] // side, x.shape[3]
    squares = x[:, : rows * side, : columns * side].reshape(n, rows, side, columns, side, channels)
    means: Floats = squares.mean(axis=(2, 4))
    return means
