"""Candidates: what a stage of the search takes and gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.gallery import Gallery
from mmsearch.search.query import Query

if TYPE_CHECKING:
    from mmsearch.scoring import Chances
    from mmsearch.search.film_moments import Films
    from mmsearch.search.opened_rerankers import Rerankers

__all__ = ["Candidates", "MakeStage", "SecondLook", "Stage", "StageContext"]


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The rows that may answer one query, best first, and what is known of all others.

    Attributes:
        row_ids: int64 (n,).
        scores: name -> float64 (n,). "score" is the score of record; a stage may add others under names of their own.
        bound: no row that is missing here ranks before the last one, and by `ranked_by` none has more than this;
            -inf where none is missing.
        ranked_by: the score that the order goes by, downwards; of equal ones the lower row id comes first.
        score_bound: no row that is missing here has a higher "score" than this; None: than `bound`.
        searched: among how many files they were found, as the chances of hits count them, see `ScoresRecord.by_file`.
    """

    row_ids: NDArray[np.int64]
    scores: Mapping[str, NDArray[np.float64]]
    bound: float
    ranked_by: str = "score"
    score_bound: float | None = None
    searched: int = 0

    def __len__(self) -> int:
        return len(self.row_ids)

    @property
    def ranking(self) -> NDArray[np.float64]:
        """The scores (n,) that the order goes by."""
        return self.scores[self.ranked_by]

    @property
    def highest_missing_score(self) -> float:
        """No row that is missing here has a higher "score"."""
        if self.score_bound is None:
            return self.bound if self.ranked_by == "score" or self.bound == -np.inf else np.inf
        return self.score_bound

    def kept(self, keep: NDArray[np.bool_], *, bound: float | None = None) -> "Candidates":
        """Those for which `keep` (n,) is true; the others are no candidates. bound: by default the same."""
        scores = {name: values[keep] for name, values in self.scores.items()}
        bound = self.bound if bound is None else bound
        return replace(self, row_ids=self.row_ids[keep], scores=scores, bound=bound)

    def with_scores(self, name: str, values: NDArray[np.float64]) -> "Candidates":
        """The same with another score, by which they are not ranked. values: (n,)."""
        return replace(self, scores={**self.scores, name: values})

    def first(self, n: int) -> "Candidates":
        """The n best; the others are missing now."""
        if n >= len(self):
            return self
        scores = {name: values[:n] for name, values in self.scores.items()}
        score_bound = None
        if self.ranked_by != "score":  # what is cut off here may score more than what was missing
            score_bound = max(float(self.scores["score"][n:].max()), self.highest_missing_score)
        bound = float(self.ranking[n])
        return replace(self, row_ids=self.row_ids[:n], scores=scores, bound=bound, score_bound=score_bound)

    def reordered(self, name: str, values: NDArray[np.float64], *, bound: float) -> "Candidates":
        """The same rows in the order of another score, as far as no missing row can come between them.

        name, values (n,): the score. bound: no missing row has more of it. Of these rows, those that do not exceed the
        bound are missing in what is returned: a row that was not looked at may belong before them.

        >>> some = Candidates(np.array([4, 7, 9]), {"score": np.array([0.9, 0.8, 0.7])}, bound=0.7)
        >>> other = some.reordered("corrected", np.array([0.1, 0.6, 0.5]), bound=0.4)
        >>> other.row_ids.tolist(), other.scores["score"].tolist(), other.bound
        ([7, 9], [0.8, 0.7], 0.4)
        """
        order = np.lexsort((self.row_ids, -values))
        order = order[: int(np.count_nonzero(values > bound))] if bound > -np.inf else order
        scores = {key: column[order] for key, column in {**self.scores, name: values}.items()}
        return Candidates(self.row_ids[order], scores, bound, name, self.highest_missing_score, self.searched)

    def reranked(self, values: NDArray[np.float64]) -> "Candidates":
        """The same rows in the order of a re-ranker's values (n,), -inf for those that it did not look at: they come
        last, in their own order, and what is missing comes after them.

        >>> some = Candidates(np.array([4, 7, 9]), {"score": np.array([0.9, 0.8, 0.7])}, bound=0.7)
        >>> other = some.reranked(np.array([0.1, 2.5, -np.inf]))
        >>> other.row_ids.tolist(), other.scores["rerank"].tolist()
        ([7, 4, 9], [2.5, 0.1, -inf])
        """
        looked_at = values > -np.inf
        places = np.arange(len(self))
        order = np.lexsort((np.where(looked_at, self.row_ids, places), -np.where(looked_at, values, 0), ~looked_at))
        scores = {key: column[order] for key, column in {**self.scores, "rerank": values}.items()}
        # Nothing that is missing was looked at: it has less than any value, and is there all the same.
        bound = -np.inf if self.bound == -np.inf else float(np.finfo(np.float64).min)
        return Candidates(self.row_ids[order], scores, bound, "rerank", self.highest_missing_score, self.searched)


@dataclass(slots=True)
class SecondLook:
    """What became of the candidates that were to be re-ranked.

    Attributes:
        wanted: how many were to be.
        looked_at: how many were.
        unread: how many pictures could not be read: their files are gone, or not what was embedded.
    """

    wanted: int = 0
    looked_at: int = 0
    unread: int = 0

    def in_words(self, query: Query) -> list[str]:
        """What whoever asked should know; nothing where all were looked at."""
        said = []
        if self.looked_at + self.unread < self.wanted:
            said.append(
                f"re-ranked are the best {self.looked_at:,} of {self.wanted:,}: there was time for no more "
                f"({query.within:g} s)"
            )
        if self.unread:
            said.append(f"{self.unread:,} of {self.wanted:,} could not be re-ranked: their pictures cannot be read")
        return said


@dataclass(frozen=True, slots=True, eq=False)
class StageContext:
    """What a stage may need to know.

    Attributes:
        query: what is asked.
        gallery: where.
        own_rows: int64 (n,), ascending: the rows of the searched table that the query asks with.
        chances: what hits of this query are worth by what ranks them; None where that is not known.
        keep: what ranks nine in ten of what is relevant is at least this; None where that is not known.
        wanted: how many candidates there is use for, at most: the hits that are passed over among them.
        rerankers: what opens the re-ranker that the query names.
        second_look: where the stage that re-ranks says what it looked at.
        films: the rows that share a file with others, as this query sees them; None where none does.
        lowered: row ids -> what each score loses by the correction; None where nothing is corrected.
    """

    query: Query
    gallery: Gallery
    own_rows: NDArray[np.int64]
    wanted: int
    chances: "Chances | None" = None
    keep: float | None = None
    rerankers: "Rerankers | None" = None
    second_look: SecondLook = field(default_factory=SecondLook)
    films: "Films | None" = None
    lowered: Callable[[NDArray[np.int64]], NDArray[np.float64]] | None = None


Stage = Callable[[Candidates], Candidates]
"""Candidates to candidates, by nothing but arrays. It may be called again with more of the same query's."""

MakeStage = Callable[[StageContext], Stage | None]
"""A stage for one query; None where this query needs none."""
