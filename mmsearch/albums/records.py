"""What `clusters` gives back."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from mmsearch.albums.grouping import Tried
from mmsearch.search.hits import Hit

__all__ = ["Album", "AlbumWord", "ClustersReport"]


@dataclass(frozen=True, slots=True)
class AlbumWord:
    """A word, or a few, that says what an album shows.

    fit: of a picture of the album and one from outside, in what share of all such pairs the word scores higher with the
    first: 1 where it tells the album from the rest, .5 where it tells nothing. It is no chance that the word is right.
    """

    word: str
    fit: float


@dataclass(frozen=True, slots=True, eq=False)
class Album:
    """Pictures that are like each other; or, as `other`, those that are like none of these.

    Attributes:
        number: From 1, the largest first; of the others the last.
        name: No two albums have the same.
        words: Those that fit best, the name first; empty where albums have no names.
        row_ids: int64 (n,), of its pictures, the most typical first.
        scores: float64 (n,), the cosine of each with the mean vector of the album.
        first_taken, last_taken: When its earliest and its latest picture were taken, as far as that is known.
        typical: Its most typical pictures, near-duplicates left out.
    """

    number: int
    name: str
    words: tuple[AlbumWord, ...]
    row_ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    first_taken: datetime | None
    last_taken: datetime | None
    typical: tuple[Hit, ...]

    @property
    def pictures(self) -> int:
        """How many it holds."""
        return len(self.row_ids)

    @property
    def fit(self) -> float | None:
        """That of its name; None where it has none."""
        return self.words[0].fit if self.words else None

    @property
    def years(self) -> str:
        """The years that it spans: "2014", "2014-2019", or "" where none is known."""
        if self.first_taken is None or self.last_taken is None:
            return ""
        first, last = self.first_taken.year, self.last_taken.year
        return f"{first}" if first == last else f"{first}-{last}"


@dataclass(frozen=True, slots=True, eq=False)
class ClustersReport:
    """The albums of a gallery.

    Attributes:
        albums: The largest first.
        other: The pictures that fit nowhere; None where all fit somewhere.
        pictures: How many were grouped.
        why: Why there are so many albums, in a line.
        tried: The numbers of albums that were tried.
        nameless: Why albums have no names, in a line; None where they have.
    """

    gallery: str
    albums: tuple[Album, ...]
    other: Album | None
    pictures: int
    why: str
    tried: tuple[Tried, ...]
    nameless: str | None

    @property
    def all_albums(self) -> tuple[Album, ...]:
        """The albums, and that of the others at the end."""
        return self.albums if self.other is None else (*self.albums, self.other)
