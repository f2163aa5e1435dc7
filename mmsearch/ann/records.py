"""What is recorded of an index, and how hard it is searched."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = ["FORMAT_VERSION", "Effort", "FileRecord", "IndexRecord", "MeasuredRecall", "QueryKind", "TriedEffort"]

FORMAT_VERSION = 2


QueryKind: TypeAlias = Literal["image", "text"]
"""Recall differs by what asks: a text lies far from every image, and its nearest images are spread over more lists."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to search; None where the index has no such setting.

    nprobe: IVF lists visited. ef_search: HNSW candidates kept. k_factor: candidates scored again for each hit, with the
    stored vectors, where the codes lose something.
    """

    nprobe: int | None = None
    ef_search: int | None = None
    k_factor: int | None = None


@dataclass(frozen=True, slots=True)
class MeasuredRecall:
    """ann_recall_at_k of one kind of query at the recorded effort.

    mean: over n_queries, None where it was not measured; `unmeasured` then says why. low: the lower bound of the mean's
    one-sided 95 % interval. source: what asked, "captions" or "images" of the gallery, or "general captions".
    best: the mean of ann_recall_at_k at 1, in the same search; None where it was not measured, and in older records.
    """

    kind: QueryKind
    k: int
    n_queries: int
    mean: float | None
    unmeasured: str | None = None
    low: float | None = None
    source: str = ""
    best: float | None = None


@dataclass(frozen=True, slots=True)
class TriedEffort:
    """A point of the curve: what an effort costs and finds.

    milliseconds: the median of single queries. text, image: ann_recall_at_k on the queries used for tuning, None where
    there were none; text_low, image_low: lower bounds as in MeasuredRecall.
    """

    effort: Effort
    milliseconds: float
    text: float | None = None
    text_low: float | None = None
    image: float | None = None
    image_low: float | None = None

    @property
    def low(self) -> float:
        """The least lower bound of the kinds of queries that were asked; 1 where none was."""
        return min((low for low in (self.text_low, self.image_low) if low is not None), default=1.0)


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file of an index: its size and the blake2b-128 of its bytes."""

    name: str
    bytes: int
    blake2b: str


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """What record.json says.

    name: the index's folder, by which its gallery's manifest names it: no index of another gallery has it.
    fingerprint, dim: of the encoder whose vectors these are. ascending: position order is row id order.
    trained_rows: how many rows there were when its lists and codes were learned; the others were added later.
    effort: at which recall was measured, and the default of a search. milliseconds: of a single query at that effort.
    reached: whether that is what was asked for. tried: the efforts among which it was chosen.
    files: all but the record itself.
    """

    name: str
    table: str
    fingerprint: str
    dim: int
    rows: int
    ascending: bool
    factory: str
    seed: int
    build_seconds: float
    faiss_version: str
    trained_rows: int
    effort: Effort = field(default_factory=Effort)
    recall: tuple[MeasuredRecall, ...] = ()
    recall_target: float | None = None
    reached: bool = True
    latency_ms: float | None = None
    milliseconds: float | None = None
    tried: tuple[TriedEffort, ...] = ()
    files: tuple[FileRecord, ...] = ()

    @property
    def tuned_k(self) -> int:
        """How many hits the effort was chosen for; 1 where that is not known."""
        return max((recall.k for recall in self.recall), default=1)

    @property
    def bytes(self) -> int:
        """Size on disk, without the record."""
        return sum(file.bytes for file in self.files)

    @property
    def mapped_bytes(self) -> int:
        """What is mapped from the disk and not held in memory: vectors and row ids."""
        return sum(file.bytes for file in self.files if file.name != "index.faiss")
