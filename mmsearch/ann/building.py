"""Building an index by a factory string, deterministic by its seed, with errors that name what is feasible."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann.parts import faiss_reason, load_faiss, parts_of, structure_of, transforms_of
from mmsearch.ann.records import IndexRecord
from mmsearch.ann.searching import AnnIndex
from mmsearch.errors import AnnIndexError
from mmsearch.exact import VectorBlock
from mmsearch.progress import Progress, ProgressCallback, quiet

__all__ = [
    "build",
    "faiss_errors",
    "grow",
    "held_bytes_per_row",
    "count_lists",
    "make_index",
    "prepare_training",
    "row_bytes",
    "training_rows_needed",
]

GOOD_FACTORIES = '"Flat", "SQfp16", "IVF1024,Flat", "IVF4096,SQ8", "HNSW32", "OPQ64,IVF1024,PQ64x4fsr,Refine(SQfp16)"'

_ADD_ROWS = 1 << 14


def count_lists(factory: str, dim: int) -> int:
    """How many IVF lists a factory string asks for; 0 for none. Raises AnnIndexError as `build` does."""
    return max((part.nlist for part in parts_of(make_index(factory, dim)) if structure_of(part) == "ivf"), default=0)


def row_bytes(factory: str, dim: int) -> int:
    """Bytes that each row takes in the index file: its code, its id, its links in a graph. Raises as `build` does."""
    total = 0
    for part in parts_of(make_index(factory, dim)):
        structure = structure_of(part)
        if structure == "ivf":
            return total + int(part.code_size) + 8  # its quantizer, which follows, holds lists and not rows
        if structure == "hnsw":
            total += 4 * int(part.hnsw.cum_nneighbor_per_level.at(1)) + 16
        elif structure == "scan":
            total += int(getattr(part, "code_size", 0) or part.sa_code_size())
    return total


def held_bytes_per_row(factory: str, dim: int) -> int:
    """Of those, the bytes that an opened index holds in memory: FAISS maps all codes but those of FastScan."""
    fast = any("FastScan" in type(part).__name__ for part in parts_of(make_index(factory, dim)))
    return row_bytes(factory, dim) if fast else 0


def training_rows_needed(factory: str, dim: int) -> int:
    """The least number of training rows with which `build` succeeds; 0 for an index that is not trained.

    Raises AnnIndexError for a factory string that FAISS does not know or that cannot answer inner-product queries.
    """
    index = make_index(factory, dim)
    return 0 if index.is_trained else max(1, prepare_training(index, seed=0)[0])


def build(
    factory: str,
    *,
    name: str = "",
    table: str,
    fingerprint: str,
    dim: int,
    training: Callable[[], NDArray[np.float32]],
    blocks: Iterable[VectorBlock],
    rows: int,
    seed: int,
    progress: ProgressCallback = quiet,
) -> AnnIndex:
    """An index of all blocks, in memory.

    training: gives a sample of the vectors, (n, dim); called where `training_rows_needed` is not 0, and not kept, since
    it may be as large as the index. rows: in all blocks, for progress.
    The same seed, vectors and machine give the same index, except that the graph of HNSW depends on the order in which
    threads add to it. Raises AnnIndexError.
    """
    faiss = load_faiss()

    began = time.perf_counter()
    index = make_index(factory, dim)
    if not index.is_trained:
        _train(index, factory, training(), seed, progress)
    ids = _add(index, factory, blocks, table, rows, progress)
    record = IndexRecord(
        name=name,
        table=table,
        fingerprint=fingerprint,
        dim=dim,
        rows=len(ids),
        ascending=_are_ascending(ids),
        factory=factory,
        seed=seed,
        build_seconds=time.perf_counter() - began,
        faiss_version=faiss.__version__,
        trained_rows=len(ids),
    )
    ann = AnnIndex(index, ids, record)
    effort = replace(ann.widths()[-1], k_factor=ann.factors(1)[-1])
    return AnnIndex(index, ids, replace(record, effort=effort))


def grow(
    ann: AnnIndex, *, name: str, blocks: Iterable[VectorBlock], rows: int, progress: ProgressCallback = quiet
) -> AnnIndex:
    """An index with more rows, by lists and codes that it has learned already. rows: in all blocks, for progress.

    ann: held in memory (`open_index(..., writable=True)`); it is used up. Raises AnnIndexError.
    """
    began = time.perf_counter()
    added = _add(ann.faiss_index, ann.record.factory, blocks, ann.record.table, rows, progress)
    ids = np.concatenate([ann.row_ids, added])
    seconds = time.perf_counter() - began
    record = replace(ann.record, name=name, rows=len(ids), ascending=_are_ascending(ids), build_seconds=seconds)
    return AnnIndex(ann.faiss_index, ids, record)


def _train(index: Any, factory: str, training: NDArray[np.float32], seed: int, progress: ProgressCallback) -> None:
    needed, keep_alive = prepare_training(index, seed)
    if len(training) < max(1, needed):
        raise AnnIndexError(
            f"the index {factory!r} needs at least {max(1, needed):,} vectors to be trained, and there are "
            f'{len(training):,}: choose one with fewer lists or codes, or "Flat"'
        )
    progress(Progress("training the index", 0, None))
    with faiss_errors(factory):
        index.train(np.ascontiguousarray(training, np.float32))
    for holder in keep_alive:
        holder.pq = None  # set by prepare_training, for the time of training


def _add(
    index: Any, factory: str, blocks: Iterable[VectorBlock], table: str, rows: int, progress: ProgressCallback
) -> NDArray[np.int64]:
    row_ids = [np.empty(0, np.int64)]
    done = 0
    for block in blocks:
        for start in range(0, len(block.row_ids), _ADD_ROWS):
            rows_now = slice(start, start + _ADD_ROWS)
            with faiss_errors(factory):
                # Never add_core: on FastScan indexes it corrupts the heap.
                index.add(np.ascontiguousarray(block.vectors[rows_now], np.float32))
            done += len(block.row_ids[rows_now])
            progress(Progress(f"indexing {table}", done, rows))
        row_ids.append(block.row_ids)
    return np.concatenate(row_ids)


def _are_ascending(row_ids: NDArray[np.int64]) -> bool:
    return bool(np.all(row_ids[1:] > row_ids[:-1]))


def make_index(factory: str, dim: int) -> Any:
    """A new FAISS index. Refuses what FAISS accepts and later crashes on or answers with another metric."""
    faiss = load_faiss()

    try:
        index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, MemoryError) as error:
        raise AnnIndexError(_refusal(factory, dim, faiss_reason(error))) from error
    for part in parts_of(index):
        structure = structure_of(part)
        if part.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise AnnIndexError(_refusal(factory, dim, "this kind cannot rank by inner product"))
        if structure == "ivf" and part.nlist < 1:
            raise AnnIndexError(_refusal(factory, dim, "an IVF index needs at least one list"))
        if structure == "ivf" and structure_of(faiss.downcast_index(part.quantizer)) == "ivf":
            raise AnnIndexError(_refusal(factory, dim, "an IVF index inside another: use a graph, IVF1024_HNSW32"))
        if structure == "hnsw" and part.hnsw.cum_nneighbor_per_level.size() < 3:
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
def faiss_errors(factory: str) -> Iterator[None]:
    """FAISS's RuntimeError as AnnIndexError."""
    try:
        yield
    except RuntimeError as error:
        raise AnnIndexError(f"FAISS cannot build {factory!r} of these vectors: {faiss_reason(error)}") from error


def prepare_training(index: Any, seed: int) -> tuple[int, list[Any]]:
    """Seeds k-means in all parts, silences its warnings on stderr, and leaves out training that no search uses.

    Returns the number of rows that k-means cannot do without, and transforms whose `pq` is to be reset after training.
    """
    faiss = load_faiss()
    needed, holders = 0, []
    clusterings: list[tuple[Any, int]] = []
    for part in parts_of(index):
        if structure_of(part) == "transform":
            for transform in transforms_of(part):
                if isinstance(transform, faiss.OPQMatrix):
                    transform.pq = faiss.ProductQuantizer(transform.d_out, transform.M, 8)
                    clusterings.append((transform.pq.cp, transform.pq.ksub))
                    holders.append(transform)
        if structure_of(part) == "ivf":
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
