"""Which items are relevant to which query."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Direction", "Ids", "Relevance", "Vectors"]

Vectors: TypeAlias = NDArray[np.floating[Any]]
"""(n, dim) finite vectors as stored: float16, float32 or float64. Normalised or not: the score is the dot
product."""
Ids: TypeAlias = NDArray[np.int64]
Direction: TypeAlias = Literal["text_to_image", "image_to_text"]


@dataclass(frozen=True, slots=True, eq=False)
class Relevance:
    """Which gallery positions are relevant to each query, as ragged rows: those of query q are
    positions[offsets[q]:offsets[q + 1]], ascending.

    offsets: int64 (n_queries + 1,), from 0 to len(positions). positions: int64, at least one for each query:
    a query that nothing can answer has no rank, and leaving it out or counting it as missed is for the caller
    to decide.

    >>> relevant = Relevance.lists([[2], [0, 1]])
    >>> relevant.offsets.tolist(), relevant.positions.tolist()
    ([0, 1, 3], [2, 0, 1])
    """

    offsets: Ids
    positions: Ids

    def __post_init__(self) -> None:
        if len(self.offsets) < 2:
            raise ValueError("no queries")
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.positions):
            raise ValueError("offsets must run from 0 to the number of positions")
        counts = np.diff(self.offsets)
        if np.any(counts < 1):
            without = int(np.flatnonzero(counts < 1)[0])
            raise ValueError(f"query {without} has no relevant item")
        same_query = np.diff(np.repeat(np.arange(len(counts)), counts)) == 0
        if np.any(self.positions < 0) or np.any(np.diff(self.positions)[same_query] <= 0):
            raise ValueError("positions must be ascending within a query, without repetition or negative numbers")

    def __len__(self) -> int:
        """The number of queries."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> Ids:
        """How many items are relevant to each query, (n_queries,)."""
        return np.diff(self.offsets)

    def take(self, queries: NDArray[np.integer[Any]]) -> "Relevance":
        """Of some queries, in the order asked."""
        return Relevance.lists(self.positions[self.offsets[q] : self.offsets[q + 1]] for q in queries)

    @classmethod
    def one_each(cls, positions: NDArray[np.integer[Any]]) -> Self:
        """One relevant item for each query: caption_image makes this the relevance of text_to_image."""
        return cls(np.arange(len(positions) + 1, dtype=np.int64), np.asarray(positions, np.int64))

    @classmethod
    def inverse(cls, positions: NDArray[np.integer[Any]], n_queries: int) -> Self:
        """Item i is relevant to query positions[i]: caption_image and the number of images make this
        image_to_text.

        >>> Relevance.inverse(np.array([1, 0, 1]), n_queries=2).positions.tolist()
        [1, 0, 2]
        """
        counts = np.bincount(positions, minlength=n_queries)
        if len(counts) > n_queries:
            raise ValueError(f"query {len(counts) - 1} is named, but there are only {n_queries}")
        return cls(np.concatenate([[0], np.cumsum(counts)]), np.argsort(positions, kind="stable"))

    @classmethod
    def lists(cls, relevant: Iterable[Iterable[int]]) -> Self:
        """One list of positions for each query, in any order."""
        rows = [sorted(set(row)) for row in relevant]
        flat = np.array([position for row in rows for position in row], np.int64)
        return cls(np.cumsum([0, *map(len, rows)]), flat)

    def of(self, queries: Ids) -> "Relevance":
        """The relevance of some of the queries, in that order.

        >>> Relevance.lists([[2], [0, 1], [3]]).of(np.array([2, 1])).positions.tolist()
        [3, 0, 1]
        """
        counts = self.counts[queries]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        return Relevance(offsets, self.positions[np.repeat(self.offsets[queries], counts) + within])

    def are_relevant(self, query: Ids, position: Ids) -> NDArray[np.bool_]:
        """Whether each pair of a query and a position is relevant. Both arrays of one shape; positions may be -1.

        >>> Relevance.lists([[2], [0, 1]]).are_relevant(np.array([0, 1, 1]), np.array([2, 2, -1])).tolist()
        [True, False, False]
        """
        # One sorted array of (query, position) pairs, each a single number, answers for all pairs at once.
        span = int(max(position.max(initial=0), self.positions.max())) + 1
        pairs = np.repeat(np.arange(len(self), dtype=np.int64), self.counts) * span + self.positions
        wanted = query * span + position
        index = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
        is_relevant: NDArray[np.bool_] = (pairs[index] == wanted) & (position >= 0)
        return is_relevant
