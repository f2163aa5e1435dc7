"""`index`: build a FAISS index over a table, measure what it finds, and set its effort to a recall target."""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann import (
    AnnIndex,
    Effort,
    IndexRecord,
    MeasuredRecall,
    QueryKind,
    build,
    open_index,
    save,
    training_rows_needed,
)
from mmsearch.errors import AnnIndexError
from mmsearch.exact import Neighbours, exact_search, rescore
from mmsearch.gallery import Gallery, consistently
from mmsearch.metrics import ann_recall_at_k
from mmsearch.records import IndexEntry, ItemTable, Progress, ProgressCallback, quiet

__all__ = ["IndexReport", "automatic_factory", "index", "search_index"]

_Path = str | os.PathLike[str]

# Below this a flat scan answers in tens of milliseconds, and any other index only loses recall.
FLAT_ROWS = 50_000
MOST_LISTS = 65_536
# FAISS asks for 39 vectors a centroid; more than 64 buy little and cost k-means time.
TRAINING_ROWS_PER_CENTROID = 64
LEAST_TRAINING_ROWS = 10_000
# Queries to measure with: the standard error of a recall near .95 is then about a percentage point.
MEASURED_QUERIES = 400
LEAST_QUERIES = 30
# A recall this near to the best is not worth a greater effort, where the target is out of reach.
CLOSE_TO_BEST = 0.005
# Texts were measured to need two to four times the effort of images for the same recall.
UNMEASURED_FACTOR = 4
_KINDS: tuple[tuple[QueryKind, ItemTable], ...] = (("image", "images"), ("text", "captions"))


@dataclass(frozen=True, slots=True)
class IndexReport:
    """An index and what was measured of it.

    effort: what searches use unless told otherwise. recall: at that effort, one for each kind of query; an unmeasured
    one says why. reached: whether each that was measured is at least the target. bytes: on disk. reused: nothing was
    built, because the index that is there holds exactly the live rows.
    """

    name: str
    table: ItemTable
    factory: str
    rows: int
    effort: Effort
    recall: tuple[MeasuredRecall, ...]
    recall_target: float
    reached: bool
    build_seconds: float
    bytes: int
    reused: bool = False


@dataclass(frozen=True, slots=True)
class _Questions:
    """Queries of one kind with their exact answers. own: (n,) row ids that may not be found, -1 for none."""

    kind: QueryKind
    vectors: NDArray[np.float32]
    own: NDArray[np.int64]
    answers: Neighbours


def automatic_factory(rows: int) -> str:
    """A flat index while that is quick; then IVF with about 4 * sqrt(rows) lists, a power of two.

    Its lists hold float16, as the gallery does: half the bytes of float32 and the same recall.
    """
    if rows < FLAT_ROWS:
        return "Flat"
    return f"IVF{min(MOST_LISTS, 1 << round(math.log2(4 * math.sqrt(rows))))},SQfp16"


def index(
    gallery: _Path | None = None,
    *,
    table: ItemTable = "images",
    factory: str | None = None,
    recall_target: float = 0.95,
    k: int = 10,
    seed: int = 0,
    progress: ProgressCallback = quiet,
) -> IndexReport:
    """Index the live rows of a table and commit the index; the older ones of that table are dropped.

    factory: a FAISS factory string; by default one by the number of rows. The search effort is the cheapest at which
    `ann_recall_at_k` reaches the target on image queries and on text queries: images and captions of the gallery, which
    may not find themselves. Works on a snapshot and takes no lock. Raises AnnIndexError, GalleryError, StoreError.
    """
    opened = Gallery.open(gallery)
    rows = opened.live_rows(table)
    if not rows:
        more = "mmsearch embed PICTURES" if table == "images" else "mmsearch embed --captions FILE"
        raise AnnIndexError(f"nothing to index: {opened.path} holds no {table}. Add some: {more}")
    if not 0 < recall_target <= 1 or k < 1:
        raise AnnIndexError(f"a recall target of {recall_target} at k = {k} is out of reach: 0 < target <= 1, k >= 1")
    wanted = factory or automatic_factory(rows)
    present = _present(opened, table, wanted)
    if present is not None and _measured_as_asked(opened, present[1], recall_target, k):
        return _report(*present, reused=True)
    return consistently(opened, lambda current: _build(current, table, wanted, recall_target, k, seed, progress))


def _present(gallery: Gallery, table: ItemTable, factory: str) -> tuple[str, IndexRecord] | None:
    """Name and record of the index that is there, if it is whole and holds exactly the live rows."""
    entry = gallery.index_for(table)
    if entry is None or entry.factory != factory or entry.rows != gallery.live_rows(table):
        return None
    if next(gallery.scan(table, [], skip=entry.covers), None) is not None:
        return None
    own = gallery.manifest.encoder
    try:
        folder = gallery.index_folder(entry.name)
        return entry.name, open_index(folder, fingerprint=own.fingerprint, dim=own.dim, entry=entry).record
    except AnnIndexError:  # damaged: to be built again
        return None


def _measured_as_asked(gallery: Gallery, record: IndexRecord, recall_target: float, k: int) -> bool:
    measurable = {kind for kind, table in _KINDS if gallery.live_rows(table) >= LEAST_QUERIES}
    measured = {recall.kind for recall in record.recall if recall.mean is not None}
    same_k = all(recall.k == k for recall in record.recall)
    return record.recall_target == recall_target and same_k and measured == measurable


def _build(
    gallery: Gallery,
    table: ItemTable,
    factory: str,
    recall_target: float,
    k: int,
    seed: int,
    progress: ProgressCallback,
) -> IndexReport:
    started = time.monotonic()
    own, rows = gallery.manifest.encoder, gallery.live_rows(table)
    rng = np.random.default_rng(seed)
    training = _training(gallery, table, training_rows_needed(factory, own.dim), rng)
    ann = build(
        factory,
        table=table,
        fingerprint=own.fingerprint,
        dim=own.dim,
        training=training,
        blocks=gallery.vector_blocks(table),
        rows=rows,
        seed=seed,
        progress=progress,
    )
    questions = [_questions(gallery, table, kind, source, k, rng) for kind, source in _KINDS]
    effort, recall = _tuned(ann, gallery, table, questions, recall_target, k, progress)
    name, folder = gallery.new_index_folder()
    ann = save(ann.measured(effort, recall, recall_target, time.monotonic() - started), folder)
    entry = IndexEntry(name, table, ((0, gallery.manifest.next_row_ids[table]),), ann.record.rows, factory)
    replaced = [older.name for older in gallery.manifest.indexes if older.table == table]
    gallery.commit_index(entry, replaces=replaced)
    return _report(name, ann.record)


def _report(name: str, record: IndexRecord, *, reused: bool = False) -> IndexReport:
    target = record.recall_target or 0.0
    return IndexReport(
        name=name,
        table=record.table,
        factory=record.factory,
        rows=record.rows,
        effort=record.effort,
        recall=record.recall,
        recall_target=target,
        reached=all(recall.mean is None or recall.mean >= target for recall in record.recall),
        build_seconds=record.build_seconds,
        bytes=record.bytes,
        reused=reused,
    )


def _training(gallery: Gallery, table: ItemTable, centroids: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A sample of the table's vectors, as many as k-means has use for."""
    if centroids == 0:
        return np.empty((0, gallery.manifest.encoder.dim), np.float32)
    wanted = max(LEAST_TRAINING_ROWS, TRAINING_ROWS_PER_CENTROID * centroids)
    return _sample(gallery, table, wanted, rng)[1]


def _sample(
    gallery: Gallery, table: ItemTable, count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Row ids and vectors of `count` live rows at random (all, where there are fewer), in one pass."""
    rows = gallery.live_rows(table)
    chosen = np.sort(rng.choice(rows, size=min(count, rows), replace=False))
    ids: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    vectors = [np.empty((0, gallery.manifest.encoder.dim), np.float32)]
    passed = 0
    for block in gallery.vector_blocks(table):
        past = passed + len(block.row_ids)
        inside = chosen[np.searchsorted(chosen, passed) : np.searchsorted(chosen, past)] - passed
        ids.append(block.row_ids[inside])
        vectors.append(block.vectors[inside].astype(np.float32))
        passed = past
    return np.concatenate(ids), np.concatenate(vectors)


def _questions(
    gallery: Gallery, table: ItemTable, kind: QueryKind, source: ItemTable, k: int, rng: np.random.Generator
) -> _Questions | MeasuredRecall:
    """Queries of a kind with their exact answers; or, where there are too few, a record that says so."""
    rows = gallery.live_rows(source)
    if rows < LEAST_QUERIES:
        why = f"{kind} recall unmeasured: the gallery holds {rows} {source}, and {LEAST_QUERIES} are needed"
        return MeasuredRecall(kind, k, 0, None, why)
    ids, vectors = _sample(gallery, source, MEASURED_QUERIES, rng)
    own = ids if source == table else np.full(len(ids), -1, np.int64)
    found = exact_search(gallery.vector_blocks(table), vectors, k + 1)
    return _Questions(kind, vectors, own, _without_own(found, own, k))


def _without_own(found: Neighbours, own: NDArray[np.int64], k: int) -> Neighbours:
    """k + 1 hits a query -> k, without the query itself."""
    keep = found.row_ids != own[:, None]
    # The row itself is among the hits unless k + 1 others score as much: then the last goes in its place.
    order = np.argsort(~keep, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(keep, order, axis=1)
    return Neighbours(
        np.where(kept, np.take_along_axis(found.row_ids, order, axis=1), -1),
        np.where(kept, np.take_along_axis(found.scores, order, axis=1), -np.inf),
    )


def _tuned(
    ann: AnnIndex,
    gallery: Gallery,
    table: ItemTable,
    questions: Sequence[_Questions | MeasuredRecall],
    recall_target: float,
    k: int,
    progress: ProgressCallback,
) -> tuple[Effort, tuple[MeasuredRecall, ...]]:
    """The cheapest effort at which each kind of query reaches the target, and the recall there.

    Where none does, the cheapest of those that come close to the best. Where texts could not be asked, a multiple of
    what images need: a text lies outside the cloud of images, and what serves images finds too little for it.
    """
    efforts = ann.efforts()
    tried: list[tuple[float, Effort, tuple[MeasuredRecall, ...]]] = []
    for effort in efforts:
        recall = tuple(_measure(ann, gallery, table, asked, effort, k) for asked in questions)
        least = min((found.mean for found in recall if found.mean is not None), default=1.0)
        tried.append((least, effort, recall))
        progress(Progress("measuring recall", len(tried), len(efforts)))
        if least >= recall_target:
            break
    good = min(recall_target, max(least for least, _, _ in tried) - CLOSE_TO_BEST)
    _, effort, recall = next(entry for entry in tried if entry[0] >= good)
    if any(found.mean is None for found in recall):
        effort = _raised(effort, efforts[-1])
        recall = tuple(_measure(ann, gallery, table, asked, effort, k) for asked in questions)
    return effort, recall


def _raised(effort: Effort, most: Effort) -> Effort:
    def times(value: int | None, limit: int | None) -> int | None:
        return None if value is None or limit is None else min(limit, UNMEASURED_FACTOR * value)

    return replace(effort, nprobe=times(effort.nprobe, most.nprobe), ef_search=times(effort.ef_search, most.ef_search))


def _measure(
    ann: AnnIndex, gallery: Gallery, table: ItemTable, asked: _Questions | MeasuredRecall, effort: Effort, k: int
) -> MeasuredRecall:
    if isinstance(asked, MeasuredRecall):
        return asked
    # One more hit only where the query itself will be taken out: others must not profit from it.
    most = k + 1 if (asked.own >= 0).all() else k
    scored = search_index(ann, gallery, table, asked.vectors, most, effort=effort)
    found, exact = _without_own(scored, asked.own, k), asked.answers
    mean = ann_recall_at_k(found.row_ids, found.scores, exact.row_ids, exact.scores, k)
    return MeasuredRecall(asked.kind, k, len(asked.vectors), mean)


def search_index(
    ann: AnnIndex,
    gallery: Gallery,
    table: ItemTable,
    queries: NDArray[np.float32],
    k: int,
    *,
    effort: Effort,
) -> Neighbours:
    """The k best of what an index finds, by the score of record; dead rows left out. queries: (n, dim).

    effort: what is None in it is as the index was tuned. What `query` does and what recall is measured of are this one.
    """
    row_ids, _ = ann.search(
        queries,
        ann.candidates(k),
        dead=gallery.dead_row_ids(table),
        nprobe=effort.nprobe,
        ef_search=effort.ef_search,
        k_factor=effort.k_factor,
    )
    return rescore(queries, row_ids, lambda ids: gallery.vectors(table, ids), k)
