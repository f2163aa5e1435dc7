"""`index`: build an index over a table or bring it up to date, measure it, and set its effort to a recall target."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmsearch.ann import (
    AnnIndex,
    Effort,
    IndexRecord,
    MeasuredRecall,
    TriedEffort,
    VectorFile,
    build,
    find_damaged_file,
    grow,
    open_index,
    save,
    save_record,
    share_files,
    stored_blocks,
    unbuilt,
)
from mmsearch.errors import AnnIndexError, CommitConflict
from mmsearch.gallery import (
    Gallery,
    commit_index,
    drop_index_folder,
    has_kept_rows,
    new_index_folder,
    read_consistently,
    sample_rows,
)
from mmsearch.indexing.durations import measure_speeds, with_seconds
from mmsearch.indexing.memory import AnonymousPeak, parse_size
from mmsearch.indexing.planning import Plan, plan_index
from mmsearch.indexing.records import DEFAULT, IndexOptions, IndexReport, Outcome
from mmsearch.indexing.trial_queries import (
    LEAST_QUERIES,
    NEW_ROWS,
    QUERY_KINDS,
    TrialQueries,
    expected_queries,
    make_trial_queries,
)
from mmsearch.indexing.tuning import (
    CLOSE_TO_BEST,
    Goal,
    MeasuredIndex,
    choose_effort,
    is_surely_below,
    measure_milliseconds,
    measure_recall,
    try_efforts,
    tunable,
)
from mmsearch.items import DEFAULT_KIND, kind
from mmsearch.progress import ProgressCallback, quiet
from mmsearch.versions import IndexEntry

__all__ = ["index", "predict"]

_Path = str | os.PathLike[str]

# Texts were measured to need two to four times the effort of images for the same recall.
UNMEASURED_FACTOR = 4
# An index with more dead rows than this spends its effort on them.
MOST_DEAD = 0.25
# Grown to more than this many times the rows that its lists were learned from, they are too few and too coarse.
MOST_GROWN = 3.0
# Compactions that may sweep one after the other while an index is committed, which takes seconds.
MOST_SWEEPS = 20
# Rows that tell, by their vectors, whether a gallery of which no shard is left is still the same.
COMPARED_ROWS = 8


def index(
    gallery: _Path | None = None,
    *,
    table: str = DEFAULT_KIND.name,
    options: IndexOptions = DEFAULT,
    progress: ProgressCallback = quiet,
) -> IndexReport:
    """Index the live rows of a table and commit the index in the place of the older one.

    New rows are added to an index that is there while its recall holds; else it is built anew. Works on a snapshot and
    takes no lock: whatever others commit meanwhile, it is committed on top. Raises AnnIndexError, GalleryError,
    StoreError.
    """
    opened = _open_gallery(gallery, table)
    goal = _check_goal(options)
    with AnonymousPeak() as memory:
        report = read_consistently(opened, lambda current: _IndexRun(current, table, options, goal, progress).run())
    return replace(report, peak=memory.bytes)


def predict(gallery: _Path | None = None, *, table: str = DEFAULT_KIND.name, options: IndexOptions = DEFAULT) -> Plan:
    """What `index` would build and what that would cost, with times from a try of each step on a few rows.

    Nothing is written. Raises AnnIndexError, GalleryError, StoreError.
    """
    return read_consistently(_open_gallery(gallery, table), lambda current: _predicted(current, table, options))


def _predicted(gallery: Gallery, table: str, options: IndexOptions) -> Plan:
    goal, planned = _check_goal(options), _make_plan(gallery, table, options)
    queries = expected_queries(gallery, general=tunable(unbuilt(planned.factory, planned.dim), goal.k))
    speeds = measure_speeds(
        gallery, table, planned.factory, training_rows=planned.training_rows, queries=queries, k=goal.k
    )
    return with_seconds(planned, queries, goal.k, speeds)


def _open_gallery(gallery: _Path | None, table: str) -> Gallery:
    opened = Gallery.open(gallery)
    if not opened.live_rows(table):
        raise AnnIndexError(f"nothing to index: {opened.path} holds no {table}. Add some: {kind(table).how_to_add}")
    return opened


def _check_goal(options: IndexOptions) -> Goal:
    target, k, latency = options.recall_target, options.k, options.latency_ms
    if not 0 < target <= 1 or k < 1:
        raise AnnIndexError(f"a recall target of {target} at k = {k} is out of reach: 0 < target <= 1, k >= 1")
    if latency is not None and latency <= 0:
        raise AnnIndexError(f"a latency of {latency} ms is out of reach")
    return Goal(target, k, latency)


def _make_plan(gallery: Gallery, table: str, options: IndexOptions) -> Plan:
    memory = parse_size(options.memory) if isinstance(options.memory, str) else options.memory
    value = 2 if gallery.manifest.dtype == "float16" else 4
    rows, dim = gallery.live_rows(table), gallery.manifest.encoder.dim
    return plan_index(rows, dim, bytes_a_value=value, factory=options.factory, memory=memory)


class _IndexRun:
    """One run of `index` over one version of a gallery."""

    def __init__(
        self, gallery: Gallery, table: str, options: IndexOptions, goal: Goal, progress: ProgressCallback
    ) -> None:
        self.gallery, self.table, self.options, self.goal, self.progress = gallery, table, options, goal, progress
        self.began = time.monotonic()
        self.rng = np.random.default_rng(options.seed)
        self.plan = _make_plan(gallery, table, options)
        self.encoder = gallery.manifest.encoder
        self._committed: str | None = None
        self._queries: tuple[list[TrialQueries], list[MeasuredRecall]] | None = None

    def run(self) -> IndexReport:
        """Do the least that is needed, and say what and why."""
        entry = self.gallery.index_for(self.table)
        if entry is None:
            return self._build("built", self.plan.why)
        try:
            present = self._open(entry)
        except AnnIndexError as error:
            return self._build("rebuilt", f"the one that was there cannot be used: {error}")
        if reason := self._reason_to_rebuild(entry, present.record):
            return self._build("rebuilt", reason)
        new = sum(len(rows) for rows in self.gallery.scan(self.table, [], skip=entry.covers))
        if new:
            del present
            return self._add_rows(entry, new)
        folder = self.gallery.index_folder(entry.name)
        if damaged := find_damaged_file(present.record, folder):
            return self._build("rebuilt", f"{damaged} of the one that was there is damaged")
        if self._is_measured_as_asked(present.record):
            why = "it holds every live row, and was tuned for the same"
            return self._make_report(present.record, "kept", why)
        return self._tune_again(entry, present.record)

    def _open(self, entry: IndexEntry, *, writable: bool = False) -> AnnIndex:
        folder = self.gallery.index_folder(entry.name)
        own = self.encoder
        side = kind(entry.table).side
        return open_index(folder, fingerprint=own.of_side(side), dim=own.dim, entry=entry, writable=writable)

    def _reason_to_rebuild(self, entry: IndexEntry, record: IndexRecord) -> str | None:
        """Why an index is built anew rather than added to, or None."""
        rows = self.gallery.live_rows(self.table)
        if entry.factory != self.plan.factory:
            wanted = "was asked for" if self.options.factory else f"suits {rows:,} rows better"
            return f"{self.plan.factory} {wanted}, and there was {entry.factory}"
        if record.trained_rows and rows > MOST_GROWN * record.trained_rows and self.plan.training_rows:
            return f"its lists were learned from {record.trained_rows:,} rows, and there are {rows:,}"
        beside = sum(len(part) for part in self.gallery.scan(self.table, [], skip=entry.covers))
        dead = entry.rows - (rows - beside)
        if dead > MOST_DEAD * entry.rows:
            return f"{dead:,} of its {entry.rows:,} rows are no longer live"
        return None

    def _is_measured_as_asked(self, record: IndexRecord) -> bool:
        measured_kinds = {recall.kind for recall in record.recall if recall.mean is not None}
        live_rows = self.gallery.live_rows
        askable = {query_kind.side for query_kind in QUERY_KINDS if live_rows(query_kind.name) >= LEAST_QUERIES}
        askable |= {"text"} if self.options.encoder is not None else set()
        is_same_k = all(recall.k == self.goal.k for recall in record.recall)
        wanted = (self.goal.recall, self.goal.latency_ms)
        return (record.recall_target, record.latency_ms) == wanted and is_same_k and measured_kinds >= askable

    def _build(self, outcome: Outcome, why: str) -> IndexReport:
        rows = self.gallery.live_rows(self.table)
        with self._new_folder() as (name, folder):
            with self._vector_file(folder, rows) as vectors:
                ann = build(
                    self.plan.factory,
                    name=name,
                    table=self.table,
                    fingerprint=self.encoder.of_side(kind(self.table).side),
                    dim=self.encoder.dim,
                    training=lambda: sample_rows(self.gallery, self.table, self.plan.training_rows, self.rng)[1],
                    blocks=vectors.write_through(self.gallery.vector_blocks(self.table)),
                    rows=rows,
                    seed=self.options.seed,
                    progress=self.progress,
                )
            record = save(ann, folder, vectors.record)
            del ann  # what is tuned is what queries open
            return self._tune_and_commit(record, outcome, why)

    def _add_rows(self, entry: IndexEntry, new: int) -> IndexReport:
        """Add the rows that came since; build anew where the recall does not hold."""
        older = self.gallery.index_folder(entry.name)
        with self._new_folder() as (name, folder):
            ann = self._open(entry, writable=True)
            before = ann.record
            blocks = self.gallery.vector_blocks(self.table, skip=entry.covers)
            with self._vector_file(folder, entry.rows + new) as vectors:
                for _ in vectors.write_through(stored_blocks(older, ann.row_ids)):
                    pass
                ann = grow(ann, name=name, blocks=vectors.write_through(blocks), rows=new, progress=self.progress)
            record = save(ann, folder, vectors.record)
            del ann
            lost = self._explain_lost_recall(record, before, entry) if self.plan.training_rows else None
            if lost is None:
                return self._tune_and_commit(record, "added", f"{new:,} rows came, and its recall holds with them")
        return self._build("rebuilt", lost)

    def _explain_lost_recall(self, record: IndexRecord, before: IndexRecord, entry: IndexEntry) -> str | None:
        """Whose recall does not hold in a grown index, with twice the effort at most; None where all do."""
        ann = self._open(self._make_entry(record))
        doubled = _double_effort(before.effort)
        for queries in self._trial_queries(ann, covered=entry)[0]:
            recall = measure_recall(self._measured(ann), queries, doubled, self.goal.k)
            before_mean = next((older.mean for older in before.recall if older.kind == queries.kind), None)
            if (recall.mean or 0) < min(self.goal.recall, 1 if before_mean is None else before_mean) - CLOSE_TO_BEST:
                who = "new rows ask" if queries.source == NEW_ROWS else f"{queries.source} ask"
                return f"with the new rows in it, its recall was {recall.mean:.3f} at twice the effort where {who}"
        return None

    def _tune_again(self, entry: IndexEntry, record: IndexRecord) -> IndexReport:
        with self._new_folder() as (name, folder):
            shared = share_files(record, self.gallery.index_folder(entry.name), folder, name)
            return self._tune_and_commit(
                shared, "tuned", "it holds every live row; only what it is tuned for is another"
            )

    def _tune_and_commit(self, record: IndexRecord, outcome: Outcome, why: str) -> IndexReport:
        """Choose the effort, measure it on other queries, and commit."""
        ann = self._open(self._make_entry(record))
        ann.record = replace(ann.record, recall=())  # what it was tuned for before has no say in what this finds
        queries, unmeasured = self._trial_queries(ann)
        halves = [group.halves() for group in queries if group.source != NEW_ROWS]
        chosen, tried = self._choose_effort(ann, [tuning for tuning, _ in halves])
        if any(group.kind == "text" for group in unmeasured):
            # A text lies outside of the cloud of images, and what serves images finds too little for it.
            chosen = replace(chosen, effort=_raise_effort(chosen.effort, ann.widths()[-1]))
        recall = [measure_recall(self._measured(ann), judging, chosen.effort, self.goal.k) for _, judging in halves]
        latency = self._measure_latency(ann, [judging for _, judging in halves], chosen.effort)
        is_slow = self.goal.latency_ms is not None and latency > self.goal.latency_ms
        is_short = chosen.low < self.goal.recall or any(
            is_surely_below(measured, self.goal.recall) for measured in recall
        )
        record = replace(
            record,
            effort=chosen.effort,
            recall=(*recall, *unmeasured),
            recall_target=self.goal.recall,
            reached=not (is_slow or is_short),
            latency_ms=self.goal.latency_ms,
            milliseconds=latency,
            tried=tuple(tried),
            build_seconds=time.monotonic() - self.began,
        )
        save_record(record, self.gallery.index_folder(record.name))
        return self._make_report(self._commit(record, ann), outcome, why)

    def _choose_effort(self, ann: AnnIndex, tuning: list[TrialQueries]) -> tuple[TriedEffort, list[TriedEffort]]:
        if not tuning:  # nothing to tune with: everything is looked at
            effort = replace(ann.widths()[-1], k_factor=ann.factors(self.goal.k)[-1])
            return TriedEffort(effort, 0.0), []
        tried = try_efforts(self._measured(ann), tuning, self.goal, self.progress)
        return choose_effort(tried, self.goal), tried

    def _trial_queries(
        self, ann: AnnIndex, *, covered: IndexEntry | None = None
    ) -> tuple[list[TrialQueries], list[MeasuredRecall]]:
        if self._queries is None:
            # Where there is nothing to tune and nothing to lose, captions that the gallery lacks are not missed.
            self._queries = make_trial_queries(
                self.gallery,
                self.table,
                self.goal.k,
                self.rng,
                general=tunable(ann, self.goal.k),
                encoder=self.options.encoder,
                covered=covered.covers if covered else None,
                progress=self.progress,
            )
        return self._queries

    def _measure_latency(self, ann: AnnIndex, queries: list[TrialQueries], effort: Effort) -> float:
        texts = [group.vectors for group in queries if group.kind == "text"]
        row = np.asarray(next(self.gallery.vector_blocks(self.table)).vectors[:1], np.float32)
        asked = [*texts, *(group.vectors for group in queries), row][0]
        return measure_milliseconds(self._measured(ann), asked, effort, self.goal.k)

    def _measured(self, ann: AnnIndex) -> MeasuredIndex:
        return MeasuredIndex(ann, self.gallery, self.table)

    @contextlib.contextmanager
    def _new_folder(self) -> Iterator[tuple[str, Path]]:
        """A folder for an index; gone again where it was not committed."""
        with contextlib.ExitStack() as cleanup, new_index_folder(self.gallery) as (name, folder):
            cleanup.callback(self._drop_uncommitted, name)
            yield name, folder

    def _drop_uncommitted(self, name: str) -> None:
        # Where a commit was interrupted nobody but the gallery can tell whether it came through.
        if name != self._committed and name not in self.gallery.newest().index_names():
            drop_index_folder(self.gallery, name)

    def _commit(self, record: IndexRecord, ann: AnnIndex) -> IndexRecord:
        """Commit an index whose folder is complete; its record, by the name that it has then.

        Building takes long, and others commit meanwhile. Files that were there when a compaction swept may be removed
        by it at any moment: after one, the files of the index are linked into a folder that it has not seen.
        """
        replaced = [older.name for older in self.gallery.manifest.indexes if older.table == self.table]
        begun = self.gallery
        with contextlib.ExitStack() as folders:
            for _ in range(MOST_SWEEPS):
                newest = self.gallery.newest()
                self._require_same_rows(newest, ann)
                if newest.manifest.swept > begun.manifest.version:
                    name, folder = folders.enter_context(self._new_folder())
                    record = share_files(record, self.gallery.index_folder(record.name), folder, name)
                    begun = newest
                with contextlib.suppress(CommitConflict):
                    commit_index(self.gallery, self._make_entry(record), ann.row_ids, replaces=replaced, begun=begun)
                    self._committed = record.name
                    return record
        raise CommitConflict(
            f"{self.gallery.path} was compacted again and again while an index was committed. Nothing is damaged; run "
            "the same command again when that has ended."
        )

    def _require_same_rows(self, newest: Gallery, ann: AnnIndex) -> None:
        """Raise AnnIndexError where row ids mean other rows now."""
        assert ann.vectors is not None
        positions = np.unique(np.linspace(0, ann.record.rows - 1, COMPARED_ROWS).astype(np.int64))
        positions = positions[np.argsort(ann.row_ids[positions])]
        if not has_kept_rows(newest, self.gallery, self.table, ann.row_ids[positions], ann.vectors[positions]):
            raise AnnIndexError(f"{self.gallery.path} was made anew while its index was built; run the command again")

    def _vector_file(self, folder: Path, rows: int) -> VectorFile:
        return VectorFile(folder, rows, self.encoder.dim, self.gallery.manifest.dtype)

    def _make_entry(self, record: IndexRecord) -> IndexEntry:
        covers = self.gallery.coverage(self.table)
        return IndexEntry(record.name, self.table, covers, record.rows, record.factory)

    def _make_report(self, record: IndexRecord, outcome: Outcome, why: str) -> IndexReport:
        return IndexReport(
            name=record.name,
            table=record.table,
            factory=record.factory,
            rows=record.rows,
            effort=record.effort,
            recall=record.recall,
            recall_target=record.recall_target or 0.0,
            reached=record.reached,
            milliseconds=record.milliseconds or 0.0,
            tried=record.tried,
            bytes=record.bytes,
            mapped=record.mapped_bytes,
            plan=self.plan,
            outcome=outcome,
            why=why,
            seconds=time.monotonic() - self.began,
        )


def _double_effort(effort: Effort) -> Effort:
    def twice(value: int | None) -> int | None:
        return None if value is None else 2 * value

    return Effort(twice(effort.nprobe), twice(effort.ef_search), twice(effort.k_factor))


def _raise_effort(effort: Effort, most: Effort) -> Effort:
    def times(value: int | None, limit: int | None) -> int | None:
        return None if value is None or limit is None else min(limit, UNMEASURED_FACTOR * value)

    return replace(effort, nprobe=times(effort.nprobe, most.nprobe), ef_search=times(effort.ef_search, most.ef_search))
