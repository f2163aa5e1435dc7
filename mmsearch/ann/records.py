"""What is recorded of an index, and how hard it is searched."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from mmsearch.records import ItemTable

__all__ = ["FORMAT_VERSION", "Effort", "FileRecord", "IndexRecord", "MeasuredRecall", "QueryKind"]

FORMAT_VERSION = 1


QueryKind: TypeAlias = Literal["image", "text"]
"""Recall differs by what asks: a text lies far from every image, and its nearest images are spread over more lists."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to search; None where the index has no such setting.

    nprobe: IVF lists visited. ef_search: HNSW candidates kept. k_factor: candidates that Refine rescores for each hit.
    """

    nprobe: int | None = None
    ef_search: int | None = None
    k_factor: int | None = None


@dataclass(frozen=True, slots=True)
class MeasuredRecall:
    """ann_recall_at_k of one kind of query at the recorded effort.

    mean: over n_queries, None where it was not measured; `unmeasured` then says why.
    """

    kind: QueryKind
    k: int
    n_queries: int
    mean: float | None
    unmeasured: str | None = None


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file of an index: its size and the blake2b-128 of its bytes."""

    name: str
    bytes: int
    blake2b: str


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """What record.json says.

    fingerprint, dim: of the encoder whose vectors these are. ascending: position order is row id order.
    effort: at which recall was measured, and the default of a search. files: all but the record itself.
    """

    table: ItemTable
    fingerprint: str
    dim: int
    rows: int
    ascending: bool
    factory: str
    seed: int
    build_seconds: float
    faiss_version: str
    effort: Effort = field(default_factory=Effort)
    recall: tuple[MeasuredRecall, ...] = ()
    recall_target: float | None = None
    files: tuple[FileRecord, ...] = ()

    @property
    def bytes(self) -> int:
        """Size on disk, without the record."""
        return sum(file.bytes for file in self.files)
