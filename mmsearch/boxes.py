"""Boxes: parts of a picture, as people and addresses write them: `pano.jpg!/box=0,0,0.5,0.5`, `photo.jpg#box=…`."""

import math
from dataclasses import astuple, dataclass

from mmsearch.errors import QueryError

__all__ = ["Box", "PixelBox", "intersection_over_union"]

_DECIMALS = 6
"""Of shares: a fiftieth of a pixel of a picture 20,000 pixels wide. What is written is then what is cut."""


@dataclass(frozen=True, slots=True)
class PixelBox:
    """A part of an upright picture, in its pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Box:
    """A part of an upright picture, in shares of its width and height, to six decimals.

    Attributes:
        left: From 0 at the left edge.
        top: From 0 at the upper edge.
        right: At most 1, the right edge.
        bottom: At most 1, the lower edge.

    Raises QueryError unless it lies in the picture and holds something of it.
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        for name in ("left", "top", "right", "bottom"):
            object.__setattr__(self, name, round(float(getattr(self, name)), _DECIMALS))
        sides = astuple(self)
        if not all(map(math.isfinite, sides)) or not (
            0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1
        ):
            raise QueryError(
                f"the box {','.join(f'{side:g}' for side in sides)} is no part of a picture: left, top, right and "
                "bottom are shares of its width and height, from 0 to 1, as in 0.25,0,0.5,0.5"
            )

    @classmethod
    def read(cls, text: str) -> "Box":
        """The box that somebody wrote. Raises QueryError.

        >>> Box.read("0,0, 0.5,1")
        Box(left=0.0, top=0.0, right=0.5, bottom=1.0)
        """
        try:
            left, top, right, bottom = (float(side) for side in text.split(","))
        except ValueError:
            raise QueryError(
                f"{text!r} is no box: write left, top, right and bottom as shares of the picture, as in 0.25,0,0.5,0.5"
            ) from None
        return cls(left, top, right, bottom)

    def __str__(self) -> str:
        """
        >>> str(Box(0, 1 / 3, 0.5, 1))
        '0,0.333333,0.5,1'
        """
        return ",".join(f"{side:.{_DECIMALS}f}".rstrip("0").rstrip(".") for side in astuple(self))

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in a picture of this size, in whole pixels; at least one each way.

        >>> Box(0.25, 0, 0.5, 0.5).pixels(4000, 3000)
        (1000, 0, 2000, 1500)
        """
        left, top = min(round(self.left * width), width - 1), min(round(self.top * height), height - 1)
        return left, top, max(left + 1, round(self.right * width)), max(top + 1, round(self.bottom * height))


def intersection_over_union(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """How well two boxes agree, 0 to 1: what both hold, of what either does. Each is left, top, right, bottom.

    >>> intersection_over_union((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)
