"""A picture half way through an image tower."""

from dataclasses import dataclass

from mmsearch.towers.transformer import Floats

__all__ = ["InnerPicture"]


@dataclass(frozen=True, slots=True)
class InnerPicture:
    """A picture as it is before the last blocks of an image tower.

    Attributes:
        values: What the next block takes, of one picture.
        blocks: How many blocks are done.
        grid: Rows and columns of the places that can be hidden there.
    """

    values: Floats
    blocks: int
    grid: tuple[int, int]
