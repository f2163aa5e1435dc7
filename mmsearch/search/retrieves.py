"""What the chain needs of the first stage, which `Retriever` is."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.exact import Neighbours
from mmsearch.gallery import Gallery
from mmsearch.search.retrieval import SearchOptions

if TYPE_CHECKING:
    from mmsearch.gallery import FileSpans
    from mmsearch.scoring import Moments
    from mmsearch.scoring.stored import TableScores

__all__ = ["Retrieves"]


class Retrieves(Protocol):
    """The first stage, with all that it needs."""

    def search(
        self,
        vectors: NDArray[np.float32],
        *,
        k: int,
        table: str,
        where: str | None,
        options: SearchOptions,
        alpha: float,
    ) -> Neighbours:
        """The k best live rows for each vector, corrected by alpha, and fewer only where there are no more."""
        ...

    def scores(self, table: str) -> "TableScores | None":
        """What makes the scores of a table comparable."""
        ...

    def moments(self, table: str) -> "Moments":
        """What makes the scores of a table comparable with those of another."""
        ...

    def check_filter(self, table: str, where: str) -> None:
        """Raise FilterError where an expression is no filter of a table."""
        ...

    def admitted(self, gallery: Gallery, table: str, where: str) -> NDArray[np.int64]:
        """The ids of the live rows that a filter admits, ascending."""
        ...

    def file_spans(self, table: str) -> "FileSpans | None":
        """Which rows of a table share a file; None where none does."""
        ...
