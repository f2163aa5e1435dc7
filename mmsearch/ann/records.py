"""The record of an index, and the effort of a search."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = ["FORMAT_VERSION", "Effort", "FileRecord", "IndexRecord", "MeasuredRecall", "QueryKind", "TriedEffort"]

FORMAT_VERSION = 2


QueryKind: TypeAlias = Literal["image", "text"]
"""Recall differs by kind of query: a text lies far from every image, and its nearest images spread over more lists."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to search; None where the index has no such setting.

    Attributes:
        nprobe: IVF lists visited.
        ef_search: HNSW candidates kept.
        k_factor: Candidates scored again for each hit, with the stored vectors, where the codes lose something.
    """

    nprobe: int | None = None
    ef_search: int | None = None
    k_factor: int | None = None


@dataclass(frozen=True, slots=True)
class MeasuredRecall:
    """ann_recall_at_k of one kind of query at the recorded effort.

    Attributes:
        mean: Over n_queries; None where it was not measured.
        unmeasured: Why it was not measured, or None.
        low: The lower bound of the mean's one-sided 95 % interval.
        source: Where the queries come from: "captions" or "images" of the gallery, or "general captions".
        best: The mean of ann_recall_at_k at 1, in the same search; None where it was not measured, and in older
            records.
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

    Attributes:
        milliseconds: The median of single queries.
        text: ann_recall_at_k on the text queries used for tuning; None where there were none.
        text_low: Its lower bound, as in MeasuredRecall.
        image: ann_recall_at_k on the image queries used for tuning; None where there were none.
        image_low: Its lower bound.
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
    """The content of record.json.

    Attributes:
        name: The index's folder, by which its gallery's manifest names it: no index of another gallery has it.
        fingerprint: The fingerprint of the encoder whose vectors these are.
        dim: The dimension of these vectors.
        ascending: Whether position order is row id order.
        trained_rows: How many rows there were when its lists and codes were learned; the others were added later.
        effort: The effort at which recall was measured, and the default of a search.
        reached: Whether recall and latency at that effort are what was asked for.
        milliseconds: Time of a single query at that effort.
        tried: The efforts among which it was chosen.
        files: All files but the record itself.
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
