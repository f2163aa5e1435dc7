"""Masks over pictures, what is put in the place of what they hide, and maps and boxes from falls of scores.

Pure functions of arrays. A mask is float32 (H, W), 1 where a picture is hidden and 0 where it is seen.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.explaining.records import Box

__all__ = ["box_masks", "fill_masked", "heat_maps", "windows"]

Floats = NDArray[np.float32]

_TINY = np.float32(1e-6)


def windows(steps: int, share: float) -> list[Box]:
    """steps * steps windows that slide over a picture, each `share` of its width and height, by rows.

    >>> windows(2, 0.5)
    [(0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5), (0.0, 0.5, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0)]
    """
    starts = [(1 - share) * step / max(1, steps - 1) for step in range(steps)]
    return [(left, top, left + share, top + share) for top in starts for left in starts]


def box_masks(boxes: Sequence[Box], height: int, width: int) -> Floats:
    """Boxes -> masks (n, height, width). A pixel of which a box holds the middle is hidden; at least one is."""
    masks = np.zeros((len(boxes), height, width), np.float32)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        rows, columns = _pixels(top, bottom, height), _pixels(left, right, width)
        mask[rows, columns] = 1
    return masks


def fill_masked(pixels: Floats, masks: Floats) -> Floats:
    """A picture (3, H, W) and masks (m, H, W) -> (m, 3, H, W): what is hidden is filled smoothly from around it.

    By pull and push (Gortler et al. 1996, "The Lumigraph"): means of what is seen, of ever larger squares, fill what is
    not. A fill that continues its surroundings hides a thing and adds none: a grey rectangle would be one.

    >>> fill_masked(np.full((3, 4, 4), 2, np.float32), np.eye(4, dtype=np.float32)[None])[0, 0].tolist()[0]
    [2.0, 2.0, 2.0, 2.0]
    """
    weights = (np.float32(1) - masks)[:, None]
    return _fill(pixels[None] * weights, weights)


def heat_maps(falls: NDArray[np.float64], steps: int, share: float, side: int) -> Floats:
    """falls (n, steps * steps) of n texts by the `windows` of a picture -> maps (n, side, side): each window's fall
    stands at its middle, and between them it is linear; beyond the outermost it stays.

    >>> heat_maps(np.array([[0.0, 4.0, 0.0, 4.0]]), 2, 0.5, 4)[0, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    grid = falls.reshape(len(falls), steps, steps)
    middles = share / 2 + (1 - share) * np.arange(steps) / max(1, steps - 1)
    places = (np.arange(side) + 0.5) / side
    position = np.interp(places, middles, np.arange(steps))
    low = np.minimum(position.astype(int), max(0, steps - 2))
    mix = np.zeros((side, steps))
    mix[np.arange(side), low] = 1 - (position - low)
    mix[np.arange(side), np.minimum(low + 1, steps - 1)] += position - low
    return np.asarray(np.einsum("ar,nrc,bc->nab", mix, grid, mix), np.float32)


def _pixels(low: float, high: float, count: int) -> slice:
    first = min(max(0, round(low * count)), count - 1)
    return slice(first, min(count, max(first + 1, round(high * count))))


def _fill(seen: Floats, weights: Floats) -> Floats:
    """seen (m, 3, h, w), multiplied with weights (m, 1, h, w) -> (m, 3, h, w), filled."""
    height, width = seen.shape[2:]
    if height == 1 and width == 1:
        return np.asarray(seen / np.maximum(weights, _TINY), np.float32)
    coarse = _fill(_halved(seen), _halved(weights))
    filled: Floats = seen + (np.float32(1) - weights) * _doubled(coarse)[:, :, :height, :width]
    return filled


def _halved(values: Floats) -> Floats:
    """(m, c, h, w) -> (m, c, h / 2, w / 2), rounded up: means of squares; what lies outside of the picture is 0."""
    down, across = values.shape[2] % 2, values.shape[3] % 2
    if down or across:
        values = np.pad(values, ((0, 0), (0, 0), (0, down), (0, across)))
    rows = values[:, :, ::2] + values[:, :, 1::2]
    halved: Floats = (rows[..., ::2] + rows[..., 1::2]) * np.float32(0.25)
    return halved


def _doubled(values: Floats) -> Floats:
    """(m, c, h, w) -> (m, c, 2 h, 2 w), linear between the middles of the pixels."""
    for axis in (2, 3):
        ends = np.take(values, [0, -1], axis)
        wide = np.concatenate([np.take(ends, [0], axis), values, np.take(ends, [1], axis)], axis)
        count = values.shape[axis]
        middle = np.take(wide, range(1, count + 1), axis)
        before, after = np.take(wide, range(count), axis), np.take(wide, range(2, count + 2), axis)
        pair = [middle * np.float32(0.75) + other * np.float32(0.25) for other in (before, after)]
        shape = [*values.shape]
        shape[axis] = 2 * count
        values = np.asarray(np.stack(pair, axis + 1).reshape(shape), np.float32)
    return values
