"""The options of `index` and its report."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from mmsearch.ann import Effort, MeasuredRecall, TriedEffort
from mmsearch.indexing.planning import Plan
from mmsearch.indexing.trial_queries import EncoderChoice

__all__ = ["DEFAULT", "IndexOptions", "IndexReport", "Outcome"]

Outcome: TypeAlias = Literal["built", "rebuilt", "added", "tuned", "kept"]


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """Which kind of index to build, and how good it has to be. The defaults are those of `mmsearch index`.

    Attributes:
        factory: A FAISS factory string; None: chosen by the number of rows and the memory.
        recall_target: The search effort is the cheapest at which the lower bound of `ann_recall_at_k` reaches it.
        k: The number of hits at which that recall is measured.
        memory: Bytes, or "4GiB": bound on anonymous resident memory, of building and of searching.
        latency_ms: Bound on a single query.
        encoder: Encodes the general captions; None: the one that the gallery names.
        seed: Seeds the sampling of rows and the training.
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

    Attributes:
        effort: What searches use unless told otherwise.
        recall: At that effort, one for each kind of query, on queries that were not used to choose it; an unmeasured
            one says why.
        reached: Whether the lower bound was at least the target where it was chosen, other queries do not contradict
            that, and the latency is in its bound.
        milliseconds: Time of a single query.
        tried: What other efforts cost and find.
        bytes: Size on disk.
        mapped: How many of these bytes are read where they lie.
        outcome: What was done.
        why: The reason for that.
        seconds: Time of the whole run.
        peak: Largest anonymous resident memory of this run; None where the system does not tell.
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
