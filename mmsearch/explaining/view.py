"""Which part of a picture a model sees: found out by what its transform, whatever it is, does to two ramps."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders import ImageSide
from mmsearch.explaining.records import Box

__all__ = ["View", "view_of"]

_LONGEST = 1024  # pixels of the ramps: their shape counts, not their size
_LEAST_CONTRAST = 0.5  # of the largest between black and white: what has less is a border that the transform added


@dataclass(frozen=True, slots=True)
class View:
    """Where the pixels of a model lie in a picture: at the share first + step * number, counted from 0.

    columns, rows: (first, step). Of what lies below 0 or above 1 there is no picture: it is a border.
    height, width: how many pixels the model takes.
    """

    columns: tuple[float, float]
    rows: tuple[float, float]
    height: int
    width: int

    def box(self, box: Box) -> Box:
        """A box in shares of what the model takes -> in shares of the picture, cut to it."""
        left, right = (self._across(value) for value in box[::2])
        top, bottom = (self._down(value) for value in box[1::2])
        return left, top, right, bottom

    def point(self, x: float, y: float) -> tuple[float, float]:
        """As `box`, of a point."""
        return self._across(x), self._down(y)

    def over_picture(self, heat: NDArray[np.float32], side: int) -> NDArray[np.float32]:
        """A map (h, w) of what the model takes -> (side, side) over the picture; 0 where it sees nothing of it."""
        places = (np.arange(side) + 0.5) / side
        (first_column, column), (first_row, row) = self.columns, self.rows
        across = ((places - first_column) / column + 0.5) / self.width
        down = ((places - first_row) / row + 0.5) / self.height
        columns = np.clip((across * heat.shape[1]).astype(int), 0, heat.shape[1] - 1)
        rows = np.clip((down * heat.shape[0]).astype(int), 0, heat.shape[0] - 1)
        there = ((down >= 0) & (down <= 1))[:, None] & ((across >= 0) & (across <= 1))[None]
        return np.where(there, heat[np.ix_(rows, columns)], np.float32(0))

    def _across(self, share: float) -> float:
        return _place(self.columns, share * self.width)

    def _down(self, share: float) -> float:
        return _place(self.rows, share * self.height)


def view_of(side: ImageSide, width: int, height: int) -> View:
    """What an image side sees of pictures of a size. Raises what its `prepare` raises."""
    import PIL.Image

    longest = max(width, height)
    across, down = (max(1, round(each * min(1.0, _LONGEST / longest))) for each in (width, height))

    def prepare(values: NDArray[np.float64]) -> NDArray[np.float32]:
        image = np.broadcast_to(np.rint(values).astype(np.uint8)[..., None], (down, across, 3))
        return side.prepare(PIL.Image.fromarray(np.ascontiguousarray(image)))

    black, white = prepare(np.zeros((down, across))), prepare(np.full((down, across), 255.0))
    contrast = (white - black).sum(0)
    seen = contrast > _LEAST_CONTRAST * contrast.max()
    steps = [(np.arange(count) + 0.5) / count for count in (across, down)]
    columns = (prepare(np.broadcast_to(255 * steps[0], (down, across))) - black).sum(0)
    rows = (prepare(np.broadcast_to(255 * steps[1][:, None], (down, across))) - black).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_columns, of_rows = columns / contrast, rows / contrast
    return View(
        _line(of_columns, seen, axis=0),
        _line(of_rows, seen, axis=1),
        *contrast.shape,
    )


def _line(shares: NDArray[np.float32], seen: NDArray[np.bool_], *, axis: int) -> tuple[float, float]:
    """(first, step) of the line through the shares of the picture that the columns (or rows) show."""
    numbers = np.flatnonzero(seen.any(axis))
    lines = np.where(seen, shares, np.nan)
    values = np.nanmean(lines[:, numbers] if axis == 0 else lines[numbers], axis=axis)
    if len(numbers) < 2:
        return 0.5 - float(numbers[0]), 1.0
    step, first = np.polyfit(numbers, values, 1)
    return float(first), max(float(step), 1e-9)


def _place(line: tuple[float, float], number: float) -> float:
    """The share of the picture at the left edge of a pixel."""
    first, step = line
    return float(np.clip(first + step * (number - 0.5), 0, 1))
