"""FAISS indexes: built, saved with a record of what they are, opened by memory map, searched without dead rows.

An index is a folder:

    index.faiss    the FAISS index; ids are positions 0 … n-1
    row_ids.npy    (n,) int64: position -> row id
    record.json    what it covers, how it is searched, what recall that was measured at

`index.faiss` is mapped, not read: opening costs a millisecond and processes share the memory. With two exceptions:
FAISS always copies FastScan codes; and an index whose search reads every code is first read through, because cold
page faults in file order take several times as long as reading.

FAISS is imported on first use. Its thread settings are left alone.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import AnnIndexError, StoreError
from mmsearch.exact import VectorBlock
from mmsearch.records import IndexEntry, ItemTable, Progress, ProgressCallback, quiet

__all__ = [
    "AnnIndex",
    "Effort",
    "FileRecord",
    "IndexRecord",
    "MeasuredRecall",
    "QueryKind",
    "build",
    "open_index",
    "read_record",
    "save",
    "training_rows_needed",
]

FORMAT_VERSION = 1
GOOD_FACTORIES = '"Flat", "SQfp16", "IVF1024,Flat", "IVF4096,SQ8", "HNSW32", "OPQ64,IVF1024,PQ64x4fsr,Refine(SQfp16)"'

QueryKind: TypeAlias = Literal["image", "text"]
"""Recall differs by what asks: a text lies far from every image, and its nearest images are spread over more lists."""

_NONE = np.empty(0, np.int64)
# What a factory string ends in when FAISS itself scores by the vectors: their codes are whole, or it refines by them.
_LOSSLESS = re.compile(r"(Flat|SQfp16|HNSW\d+|RFlat|Refine\((Flat|SQfp16)\))$")
_CANDIDATES_PER_HIT = 4
_ADD_ROWS = 1 << 14
_FOUND_AT_ONCE = 1 << 22


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


class AnnIndex:
    """A FAISS index over rows of one table, in memory or mapped. Searching it from several threads is safe."""

    def __init__(self, index: Any, row_ids: NDArray[np.int64], record: IndexRecord) -> None:
        self._index = index
        self.row_ids = row_ids
        self.record = record

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        dead: NDArray[np.int64] = _NONE,
        nprobe: int | None = None,
        ef_search: int | None = None,
        k_factor: int | None = None,
        exhaustive: bool = False,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """(row_ids, scores), both (n, min(k, rows)), best first: row ids unique, padded with -1 and -inf at the end.

        queries: (n, dim), L2-normalised. dead: ascending row ids not to be found. Settings left out are the record's.
        exhaustive: look at every code, whatever the effort. The scores are those of the index's codes: score the rows
        again with the stored vectors (`exact.rescore`).
        """
        if queries.ndim != 2 or queries.shape[1] != self.record.dim or k < 1:
            raise ValueError(f"cannot search dim {self.record.dim} for {k} rows near {queries.shape}")
        k = min(k, self.record.rows)
        given = {"nprobe": nprobe, "ef_search": ef_search, "k_factor": k_factor}
        effort = replace(self.record.effort, **{name: value for name, value in given.items() if value is not None})
        queries = np.ascontiguousarray(queries, np.float32)
        index = self._index
        if exhaustive:
            index, queries = _without_shortcuts(index, queries)
            effort = replace(effort, nprobe=self.record.rows)
        gone = self._positions(dead)
        if len(gone) == 0:
            scores, positions = index.search(queries, k, params=_parameters(index, None, effort, k))
        elif _takes_selector(index):
            selector = _all_but(gone, self.record.rows)
            scores, positions = index.search(queries, k, params=_parameters(index, selector, effort, k))
        else:
            scores, positions = _search_more(index, queries, k, gone, effort)
        missing = positions < 0
        row_ids = np.where(missing, -1, self.row_ids[np.where(missing, 0, positions)])
        return row_ids.astype(np.int64, copy=False), np.where(missing, np.float32(-np.inf), scores)

    def candidates(self, k: int) -> int:
        """How many hits to ask for so that, scored again, the k best are as good as the codes allow.

        k where the codes keep the vectors; more where they lose something, so that a good hit which they put a little
        too low is still among those that are scored.
        """
        return k if _LOSSLESS.search(self.record.factory) else _CANDIDATES_PER_HIT * k

    def efforts(self) -> list[Effort]:
        """Settings worth trying, cheapest first; one that says nothing where the index has no settings."""
        kinds = [_kind(part) for part in _parts(self._index)]
        lists = max((part.nlist for part in _parts(self._index) if _kind(part) == "ivf"), default=0)
        factors = [10, 40] if "refine" in kinds else [None]
        if lists:
            probes = [1 << power for power in range(lists.bit_length()) if 1 << power < lists] + [lists]
            return [Effort(nprobe=nprobe, k_factor=factor) for nprobe in probes for factor in factors]
        if "hnsw" in kinds:
            widths = [1 << power for power in range(4, 12)]
            return [Effort(ef_search=width, k_factor=factor) for width in widths for factor in factors]
        return [Effort(k_factor=factor) for factor in factors]

    def measured(
        self, effort: Effort, recall: tuple[MeasuredRecall, ...], recall_target: float, build_seconds: float
    ) -> "AnnIndex":
        """The same index with what was measured in its record."""
        record = replace(
            self.record, effort=effort, recall=recall, recall_target=recall_target, build_seconds=build_seconds
        )
        return AnnIndex(self._index, self.row_ids, record)

    def _positions(self, row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of those of ascending row ids that the index holds."""
        if not len(row_ids):
            return _NONE
        if not self.record.ascending:
            return np.flatnonzero(np.isin(self.row_ids, row_ids))
        places = np.minimum(np.searchsorted(self.row_ids, row_ids), self.record.rows - 1)
        held: NDArray[np.int64] = places[self.row_ids[places] == row_ids]
        return held


def training_rows_needed(factory: str, dim: int) -> int:
    """The least number of training rows with which `build` succeeds; 0 for an index that is not trained.

    Raises AnnIndexError for a factory string that FAISS does not know or that cannot answer inner-product queries.
    """
    index = _make(factory, dim)
    return 0 if index.is_trained else max(1, _prepare(index, seed=0)[0])


def build(
    factory: str,
    *,
    table: ItemTable,
    fingerprint: str,
    dim: int,
    training: NDArray[np.float32],
    blocks: Iterable[VectorBlock],
    rows: int,
    seed: int,
    progress: ProgressCallback = quiet,
) -> AnnIndex:
    """An index of all blocks, in memory.

    training: (n, dim), a sample of the vectors; may be empty where `training_rows_needed` is 0. rows: in all blocks,
    for progress.
    The same seed, vectors and machine give the same index, except that the graph of HNSW depends on the order in which
    threads add to it. Raises AnnIndexError.
    """
    faiss = _faiss()

    began = time.perf_counter()
    index = _make(factory, dim)
    if not index.is_trained:
        needed, keep_alive = _prepare(index, seed)
        if len(training) < max(1, needed):
            raise AnnIndexError(
                f"the index {factory!r} needs at least {max(1, needed):,} vectors to be trained, and there are "
                f'{len(training):,}: choose one with fewer lists or codes, or "Flat"'
            )
        progress(Progress("training the index", 0, None))
        with _as_ours(factory):
            index.train(np.ascontiguousarray(training, np.float32))
        for holder in keep_alive:
            holder.pq = None  # set by _prepare, for the time of training
    row_ids = [_NONE]
    for block in blocks:
        for start in range(0, len(block.row_ids), _ADD_ROWS):
            some = slice(start, start + _ADD_ROWS)
            with _as_ours(factory):
                # Never add_core: on FastScan indexes it corrupts the heap.
                index.add(np.ascontiguousarray(block.vectors[some], np.float32))
            progress(Progress(f"indexing {table}", index.ntotal, rows))
        row_ids.append(block.row_ids)
    ids = np.concatenate(row_ids)
    record = IndexRecord(
        table=table,
        fingerprint=fingerprint,
        dim=dim,
        rows=len(ids),
        ascending=bool(np.all(ids[1:] > ids[:-1])),
        factory=factory,
        seed=seed,
        build_seconds=time.perf_counter() - began,
        faiss_version=faiss.__version__,
    )
    ann = AnnIndex(index, ids, record)
    return AnnIndex(index, ids, replace(record, effort=ann.efforts()[-1]))


def save(ann: AnnIndex, folder: Path) -> AnnIndex:
    """Write an index into an existing, empty folder and make it durable; the result's record names the files."""
    faiss = _faiss()

    try:
        faiss.write_index(ann._index, str(folder / "index.faiss"))
        np.save(folder / "row_ids.npy", ann.row_ids, allow_pickle=False)
        files = tuple(_file_record(folder / name) for name in ("index.faiss", "row_ids.npy"))
        record = replace(ann.record, files=files)
        document = {"format_version": FORMAT_VERSION, **asdict(record)}
        (folder / "record.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        for path in (*(folder / file.name for file in files), folder / "record.json", folder):
            _fsync(path)
    except (OSError, RuntimeError) as error:  # FAISS raises RuntimeError where a write fails
        reason = "the disk is full" if "No space left" in str(error) else _reason(error)
        raise StoreError(f"cannot write the index {folder}: {reason}. The gallery is as it was.") from error
    return AnnIndex(ann._index, ann.row_ids, record)


def read_record(folder: Path) -> IndexRecord:
    """The record of an index folder. Raises AnnIndexError where it is missing or of another format."""
    try:
        document = json.loads((folder / "record.json").read_text("utf-8"))
        version = document.pop("format_version")
        if version != FORMAT_VERSION:
            raise _unusable(folder, f"has format version {version}, this mmsearch reads {FORMAT_VERSION}")
        return IndexRecord(
            **{
                **document,
                "effort": Effort(**document["effort"]),
                "recall": tuple(MeasuredRecall(**entry) for entry in document["recall"]),
                "files": tuple(FileRecord(**entry) for entry in document["files"]),
            }
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(folder, f"has no readable record ({error})") from error


def open_index(folder: Path, *, fingerprint: str, dim: int, entry: IndexEntry) -> AnnIndex:
    """The index in a folder, mapped.

    Raises AnnIndexError unless it is what the gallery's manifest says (entry), made of vectors of this encoder
    (fingerprint, dim), and whole by the sizes of its files.
    """
    faiss = _faiss()

    record = read_record(folder)
    expected = (entry.table, entry.factory, entry.rows, fingerprint, dim)
    found = (record.table, record.factory, record.rows, record.fingerprint, record.dim)
    for what, want, have in zip(("table", "factory", "rows", "encoder", "dim"), expected, found, strict=True):
        if want != have:
            raise _unusable(folder, f"is not the one that the gallery names ({what} {have!r} instead of {want!r})")
    try:
        for file in record.files:
            size = (folder / file.name).stat().st_size
            if size != file.bytes:
                raise _unusable(folder, f"is damaged: {file.name} has {size:,} bytes instead of {file.bytes:,}")
        row_ids = np.load(folder / "row_ids.npy", mmap_mode="r", allow_pickle=False)
        path = folder / "index.faiss"
        # IO_FLAG_MMAP maps inverted lists only; IO_FLAG_MMAP_IFC also flat codes and graphs.
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except (OSError, ValueError, RuntimeError) as error:
        raise _unusable(folder, f"cannot be read ({_reason(error)})") from error
    if row_ids.shape != (record.rows,) or row_ids.dtype != np.int64 or index.ntotal != record.rows or index.d != dim:
        raise _unusable(folder, f"is damaged: its files do not hold {record.rows:,} rows of dim {dim}")
    if not any(_kind(part) in ("ivf", "hnsw") for part in _parts(index)):
        _read_through(path)
    return AnnIndex(index, row_ids, record)


def _faiss() -> Any:
    """FAISS, imported on first use. As Any: its type stubs leave out what its Python layer adds."""
    import faiss

    return faiss


def _unusable(folder: Path, what: str) -> AnnIndexError:
    return AnnIndexError(f"the index {folder} {what}. Build it again: mmsearch index")


def _make(factory: str, dim: int) -> Any:
    """A new FAISS index. Refuses what FAISS accepts and later crashes on or answers with another metric."""
    faiss = _faiss()

    try:
        index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, MemoryError) as error:
        raise AnnIndexError(_refusal(factory, dim, _reason(error))) from error
    for part in _parts(index):
        kind = _kind(part)
        if part.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise AnnIndexError(_refusal(factory, dim, "this kind cannot rank by inner product"))
        if kind == "ivf" and part.nlist < 1:
            raise AnnIndexError(_refusal(factory, dim, "an IVF index needs at least one list"))
        if kind == "ivf" and _kind(faiss.downcast_index(part.quantizer)) == "ivf":
            raise AnnIndexError(_refusal(factory, dim, "an IVF index inside another: use a graph, IVF1024_HNSW32"))
        if kind == "hnsw" and part.hnsw.cum_nneighbor_per_level.size() < 3:
            raise AnnIndexError(_refusal(factory, dim, "an HNSW graph needs at least two links a node"))
        if type(part).__name__.startswith("IndexIDMap"):
            raise AnnIndexError(_refusal(factory, dim, "row ids are kept beside the index, leave IDMap out"))
    return index


def _refusal(factory: str, dim: int, reason: str) -> str:
    return (
        f"not a usable FAISS factory string for dim {dim}: {factory!r} ({reason}). Good ones, for example: "
        f"{GOOD_FACTORIES}. The syntax: https://github.com/facebookresearch/faiss/wiki/The-index-factory"
    )


@contextmanager
def _as_ours(factory: str) -> Iterator[None]:
    """FAISS's RuntimeError as AnnIndexError."""
    try:
        yield
    except RuntimeError as error:
        raise AnnIndexError(f"FAISS cannot build {factory!r} of these vectors: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The last part of a FAISS message, without C++ signature and source line."""
    return re.sub(r"^.* at \S+:\d+: (Error: )?", "", str(error), flags=re.DOTALL).strip()


def _parts(index: Any) -> Iterator[Any]:
    """The index and all that it is made of, each as its own class. They live as long as `index`."""
    part = _faiss().downcast_index(index)
    yield part
    for name in ("index", "base_index", "refine_index", "quantizer", "storage"):
        if (inner := getattr(part, name, None)) is not None:
            yield from _parts(inner)


def _kind(part: Any) -> Literal["transform", "refine", "ivf", "hnsw", "scan"]:
    faiss = _faiss()

    if isinstance(part, faiss.IndexPreTransform):
        return "transform"
    if isinstance(part, faiss.IndexRefine):
        return "refine"
    if isinstance(part, faiss.IndexIVF):
        return "ivf"
    if isinstance(part, faiss.IndexHNSW):
        return "hnsw"
    return "scan"


def _prepare(index: Any, seed: int) -> tuple[int, list[Any]]:
    """Seeds k-means in all parts, silences its warnings on stderr, and leaves out training that no search uses.

    Returns the number of rows that k-means cannot do without, and transforms whose `pq` is to be reset after training.
    """
    faiss = _faiss()
    needed, holders = 0, []
    clusterings: list[tuple[Any, int]] = []
    for part in _parts(index):
        if _kind(part) == "transform":
            for transform in _transforms(part):
                if isinstance(transform, faiss.OPQMatrix):
                    transform.pq = faiss.ProductQuantizer(transform.d_out, transform.M, 8)
                    clusterings.append((transform.pq.cp, transform.pq.ksub))
                    holders.append(transform)
        if _kind(part) == "ivf":
            clusterings.append((part.cp, part.nlist))
        if hasattr(part, "do_polysemous_training"):
            # Orders centroids for a filter that is not used here, at 1.5 s for each sub-quantizer of 8 bits.
            part.do_polysemous_training = False
        for quantizer in (getattr(part, name, None) for name in ("pq", "rq")):
            if quantizer is not None:
                clusterings.append((quantizer.cp, getattr(quantizer, "ksub", 1)))
    for parameters, centroids in clusterings:
        parameters.min_points_per_centroid = 1  # below 39 FAISS prints; how good the index is gets measured instead
        parameters.seed = seed
        needed = max(needed, centroids)
    return needed, holders


def _transforms(part: Any) -> list[Any]:
    return [_faiss().downcast_VectorTransform(part.chain.at(place)) for place in range(part.chain.size())]


_SELECTIVE = {
    *("IndexFlat", "IndexFlatIP", "IndexScalarQuantizer", "IndexRaBitQ", "IndexHNSWFlat", "IndexHNSWSQ"),
    *("IndexIVFFlat", "IndexIVFScalarQuantizer", "IndexIVFPQ", "IndexIVFPQFastScan"),
    *("IndexIVFRaBitQ", "IndexIVFRaBitQFastScan"),
}
"""Classes tried with an IDSelector in FAISS 1.15. Others (PQ, RQ, LSQ, NSG, FastScan without IVF) refuse one."""


def _takes_selector(index: Any) -> bool:
    part = _faiss().downcast_index(index)
    kind = _kind(part)
    if kind in ("transform", "refine"):
        return _takes_selector(part.index if kind == "transform" else part.base_index)
    return type(part).__name__ in _SELECTIVE


def _all_but(positions: NDArray[np.int64], rows: int) -> Any:
    """An IDSelector of all rows but these: a bit a row, so its cost does not grow with the number of dead."""
    faiss = _faiss()

    bits = np.full((rows + 7) // 8, 0xFF, np.uint8)
    np.bitwise_and.at(bits, positions >> 3, ~(np.uint8(1) << (positions & 7).astype(np.uint8)))
    return faiss.IDSelectorBitmap(bits)


def _parameters(index: Any, selector: Any, effort: Effort, k: int) -> Any:
    """SearchParameters for an index and what it wraps, or None where it takes none or needs none."""
    faiss = _faiss()

    part = faiss.downcast_index(index)
    chosen = {} if selector is None else {"sel": selector}
    kind = _kind(part)
    if kind == "transform":
        inner = _parameters(part.index, selector, effort, k)
        return inner and faiss.SearchParametersPreTransform(index_params=inner)
    if kind == "refine":
        factor = effort.k_factor or 1
        inner = _parameters(part.base_index, selector, effort, k * factor)
        return faiss.IndexRefineSearchParameters(k_factor=factor, **({"base_index_params": inner} if inner else {}))
    if kind == "ivf":
        return faiss.IVFSearchParameters(nprobe=min(effort.nprobe or 1, part.nlist), **chosen)
    if kind == "hnsw":
        return faiss.SearchParametersHNSW(efSearch=max(effort.ef_search or 16, k), **chosen)
    return faiss.SearchParameters(**chosen) if chosen else None


def _search_more(
    index: Any, queries: NDArray[np.float32], k: int, gone: NDArray[np.int64], effort: Effort
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """For kinds without a selector: ask for as many more rows as are dead, then drop those."""
    more = min(k + len(gone), index.ntotal)
    scores = np.empty((len(queries), k), np.float32)
    positions = np.empty((len(queries), k), np.int64)
    step = max(1, _FOUND_AT_ONCE // more)
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        all_scores, found = index.search(queries[some], more, params=_parameters(index, None, effort, more))
        unwanted = (found < 0) | np.isin(found, gone)
        found[unwanted] = -1
        order = np.argsort(unwanted, axis=1, kind="stable")[:, :k]  # the wanted first, in their order
        scores[some] = np.take_along_axis(all_scores, order, axis=1)
        positions[some] = np.take_along_axis(found, order, axis=1)
    return scores, positions


def _without_shortcuts(index: Any, queries: NDArray[np.float32]) -> tuple[Any, NDArray[np.float32]]:
    """The innermost index that holds a code of every row, and the queries as it sees them."""
    faiss = _faiss()

    part = faiss.downcast_index(index)
    kind = _kind(part)
    if kind == "transform":
        for transform in _transforms(part):
            queries = transform.apply(queries)
        return _without_shortcuts(part.index, queries)
    if kind == "refine":
        return _without_shortcuts(part.refine_index, queries)
    return (faiss.downcast_index(part.storage), queries) if kind == "hnsw" else (part, queries)


def _file_record(path: Path) -> FileRecord:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    return FileRecord(path.name, path.stat().st_size, digest.hexdigest())


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_through(path: Path) -> None:
    """Bring a file into the page cache by reading it in order."""
    buffer = bytearray(1 << 22)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
