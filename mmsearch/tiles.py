"""Which tiles a large picture is cut into, so that what is small in it is seen: overlapping boxes, planned by size."""

from dataclasses import dataclass

from mmsearch.boxes import Box
from mmsearch.errors import SourceError

__all__ = ["AUTO", "LARGER", "OVERLAP", "USUAL_SIDE", "Tiling"]

LARGER = 2
"""A picture has tiles when its longer side has more than so many times the pixels of the model's input."""
OVERLAP = 0.25
"""The share of its side that a tile has in common with the next: what is no larger stands whole in one of them."""
USUAL_SIDE = 224
"""Pixels of the input of a model that does not say how many it takes."""
_MOST_GRID = 16
_MOST_AUTO = 4
_MOST_TILES = 64  # of one picture, with `auto`: of a panorama, whose tiles are many
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Tiling:
    """How large pictures are cut.

    Attributes:
        grids: 2 stands for 2 x 2 tiles, of the picture's own shape; with several grids each is cut. None: by size.

    Raises SourceError.
    """

    grids: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.grids is not None and not (self.grids and all(2 <= grid <= _MOST_GRID for grid in self.grids)):
            raise SourceError(
                f"no tiles {str(self)!r}: write {AUTO}, or how many a side, from 2 to {_MOST_GRID}, as in 2,3"
            )

    @classmethod
    def read(cls, text: str) -> "Tiling":
        """The tiling that somebody wrote. Raises SourceError.

        >>> Tiling.read("auto"), Tiling.read("3,2,2")
        (Tiling(grids=None), Tiling(grids=(2, 3)))
        """
        if text.strip().lower() == AUTO:
            return cls()
        try:
            grids = sorted({int(grid) for grid in text.split(",")})
        except ValueError:
            raise SourceError(f"no tiles {text!r}: write {AUTO}, or how many a side, as in 2,3") from None
        return cls(tuple(grids))

    def __str__(self) -> str:
        return AUTO if self.grids is None else ",".join(map(str, self.grids))

    def boxes(self, width: int, height: int, side: int) -> tuple[Box, ...]:
        """The tiles of an upright picture, in the order of reading, coarse ones first; none of one that is no larger
        than `LARGER` times the model's input.

        width, height: its pixels. side: the longer side of the model's input.

        `auto` cuts about square tiles, since many models see only the square in the middle: one along the shorter side
        (of a picture that is longer than it is wide), two and four, as long as a tile has the pixels of the input.

        >>> [str(box) for box in Tiling((2,)).boxes(4000, 3000, 224)]
        ['0,0,0.571429,0.571429', '0.428571,0,1,0.571429', '0,0.428571,0.571429,1', '0.428571,0.428571,1,1']
        >>> Tiling((2,)).boxes(448, 300, 224)
        ()
        """
        if max(width, height) <= LARGER * side:
            return ()
        if self.grids is not None:
            return tuple(box for grid in self.grids for box in _grid(grid, grid))
        return _automatic(width, height, side)


def _automatic(width: int, height: int, side: int) -> tuple[Box, ...]:
    shorter, longer = sorted((width, height))
    boxes: list[Box] = []
    along = 1
    while along <= _MOST_AUTO:
        tile = shorter * _share(along)
        if along > 1 and tile < side:
            break
        across = min(max(along, round((longer / tile - OVERLAP) / (1 - OVERLAP))), _MOST_TILES)
        if across > 1:
            columns, rows = (across, along) if width >= height else (along, across)
            if len(boxes) + columns * rows > _MOST_TILES:
                break
            boxes += _grid(columns, rows)
        along *= 2
    return tuple(boxes)


def _grid(columns: int, rows: int) -> list[Box]:
    wide, high = _share(columns), _share(rows)
    return [
        Box(left, top, min(1.0, left + wide), min(1.0, top + high))
        for top in _starts(rows, high)
        for left in _starts(columns, wide)
    ]


def _share(tiles: int) -> float:
    """The share of a side that a tile takes, where so many that overlap fill it."""
    return 1 / (tiles - (tiles - 1) * OVERLAP)


def _starts(tiles: int, share: float) -> list[float]:
    return [0.0] if tiles == 1 else [(1 - share) * place / (tiles - 1) for place in range(tiles)]
