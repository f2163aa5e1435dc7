"""A version of a gallery: what its manifest says that it consists of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from mmsearch.content_hashes import FIRST_HASH
from mmsearch.identity import EncoderIdentity

__all__ = [
    "Agreement",
    "Coverage",
    "Disagreement",
    "IndexEntry",
    "Manifest",
    "Parity",
    "Provenance",
    "Root",
    "RowIdFile",
    "ScoresEntry",
    "Shard",
]

Coverage: TypeAlias = tuple[tuple[int, int], ...]
"""Half-open ranges [first, past) of row ids, ascending and disjoint."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """How the vectors of a shard were computed: device ("cpu", "cuda: NVIDIA H100"), precision, decode route."""

    device: str
    precision: str
    route: str


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that a gallery mirrors. uri: percent-encoded, relative to the gallery's folder, or absolute (file:///…).

    whole: whether everything in it belongs to the gallery, or only the files that were named.
    """

    id: int
    uri: str
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Shard:
    """One immutable Parquet file of rows. Row ids lie in [min_row_id, max_row_id], ascending, with gaps.

    has_spans: whether any of its rows is a piece of a file: a frame of a film, a page, a tile.
    """

    name: str
    rows: int
    min_row_id: int
    max_row_id: int
    file_bytes: int
    provenance: Provenance | None = None
    has_spans: bool = False


@dataclass(frozen=True, slots=True)
class RowIdFile:
    """One immutable Parquet file of row ids that are no longer live in a table.

    in_shards: how many of its ids still stand in a shard of the manifest (compaction drops rows, but their ids stay
    listed while an index may still return them).
    """

    name: str
    rows: int
    in_shards: int


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One FAISS index: the folder index/<name>/ and what it answers for.

    covers: every live row whose id lies in these ranges is in the index; ids in them that are not in it were dead
    when it was built.
    rows: vectors in the index.
    """

    name: str
    table: str
    covers: Coverage
    rows: int
    factory: str


@dataclass(frozen=True, slots=True)
class ScoresEntry:
    """What makes the scores of a table comparable: the folder scores/<name>/.

    rows: of the table when it was made. Rows that came later are corrected when they are searched.
    """

    name: str
    table: str
    rows: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well pictures that are decoded alike agree with the exact route.

    format, orientation, route: see `mmsearch.loading.DecodeGroup`. images: compared. psnr_*: of the pixels, in dB; None
    where all are equal (to the median, or to the lowest). cosine_*: of the embeddings, the sample's mean subtracted.
    """

    format: str
    orientation: int
    route: str
    images: int
    psnr_median: float | None
    psnr_lowest: float | None
    cosine_mean: float
    cosine_lowest: float


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Pictures of one kind whose sample did not agree with the exact route, so that all of them went by that one.

    format, orientation, route: of the kind, by the fast way. images: how many went by the exact route. examples: where
    some of them are. psnr_lowest, cosine_lowest: of the sample, as of an `Agreement`.
    """

    format: str
    orientation: int
    route: str
    images: int
    psnr_lowest: float | None
    cosine_lowest: float
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parity:
    """The agreement of a run's pictures, sampled. top10_overlap: of the sample's ten nearest neighbours; None where it
    was too small. disagreements: kinds that went by the exact route instead."""

    measured_at: str
    device: str
    precision: str
    images: int
    top10_overlap: float | None
    agreements: tuple[Agreement, ...]
    disagreements: tuple[Disagreement, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of a gallery: everything it consists of, by name.

    next_row_ids: per table the smallest row id never used. next_root_id: likewise.
    dtype: of stored embeddings, "float16" or "float32".
    parity: for each device and precision that pictures were encoded with, what the last such run measured.
    promised: per table, ids below the next one, whose rows others may be writing: an index does not answer for them.
    swept: the version with which files were last removed, see `gallery.upkeep.remove_unused`; 0 for none.
    scores: one for each table that was calibrated.
    content_hash: the name of the hash of the rows' column of that name, see `mmsearch.content_hashes`.
    """

    version: int
    created_at: str
    created_by: str
    dtype: str
    encoder: EncoderIdentity
    roots: tuple[Root, ...]
    next_root_id: int
    next_row_ids: dict[str, int]
    shards: dict[str, tuple[Shard, ...]]
    deletes: dict[str, tuple[RowIdFile, ...]]
    indexes: tuple[IndexEntry, ...]
    parity: tuple[Parity, ...] = ()
    promised: Mapping[str, Coverage] = field(default_factory=dict)
    swept: int = 0
    scores: tuple[ScoresEntry, ...] = ()
    content_hash: str = FIRST_HASH
