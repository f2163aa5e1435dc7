"""What is asked of `index`, and what it reports."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from mmsearch.ann import Effort, MeasuredRecall, TriedEffort
from mmsearch.indexing.planning import Plan
from mmsearch.indexing.trial_queries import EncoderChoice

__all__ = ["DEFAULT", "IndexOptions", "IndexReport", "Outcome"]

Outcome: TypeAlias = Literal["built", "rebuilt", "added", "tuned", "kept"]


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """What kind of index, and how good. The defaults are what `mmsearch index` does.

    factory: a FAISS factory string; None: by the number of rows and the memory. recall_target, k: the search effort is
    the cheapest at which the lower bound of `ann_recall_at_k` reaches the target. memory: bytes, or "4GiB": bound on
    anonymous resident memory, of building and of searching. latency_ms: bound on a single query. encoder: for the
    general captions; None: the one that the gallery names.
    """

    factory: str | None = None
    recall_target: float = 0.95
    k: int = 10
    memory: int | str | None = None
    latency_ms: float | None = None
    encoder: EncoderChoice = None
    seed: int = 0


DEFAULT = IndexOptions()


@dataclass(frozen=True, slots=True)
class IndexReport:
    """An index, what was measured of it, and what was done.

    effort: what searches use unless told otherwise. recall: at that effort, one for each kind of query, on queries
    that were not used to choose it; an unmeasured one says why. reached: whether its lower bound was at least the
    target where it was chosen, other queries do not contradict that, and the latency is in its bound.
    milliseconds: of a single query. tried: what other efforts cost and find.
    bytes: on disk; mapped: of them, what is read where it lies. peak: largest anonymous resident memory of this run,
    None where the system does not tell. outcome, why: what was done, and the reason. seconds: for all of it.
    """

    name: str
    table: str
    factory: str
    rows: int
    effort: Effort
    recall: tuple[MeasuredRecall, ...]
    recall_target: float
    reached: bool
    milliseconds: float
    tried: tuple[TriedEffort, ...]
    bytes: int
    mapped: int
    plan: Plan
    outcome: Outcome
    why: str
    seconds: float
    peak: int | None = None

    @property
    def reused(self) -> bool:
        """Whether nothing had to be done."""
        return self.outcome == "kept"
