"""`calibrate`: choose how scores are corrected, take the mean of every row, and commit both."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.calibration.corrected_effort import is_tuned_for_index, tune_corrected
from mmsearch.calibration.pairs import Pairs, read_pairs
from mmsearch.calibration.records import CalibrateOptions, CalibrationReport, TableCalibration
from mmsearch.errors import MmsearchError, QueryError
from mmsearch.exact import Vectors, exact_search
from mmsearch.gallery import FileSpans, Gallery, commit_scores, read_consistently, read_file_spans
from mmsearch.items import CAPTIONS, IMAGES, AnyKind
from mmsearch.metrics import Relevance
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.scoring import (
    CAUTIOUS,
    KEPT,
    NO_CORRECTION,
    Bank,
    Chances,
    CorrectionRecord,
    CorrectionTrial,
    Moments,
    MomentsSum,
    ScoresRecord,
    Setting,
    TableScores,
    average_trials,
    bank_means,
    best_of_files,
    fit_chances,
    keep_threshold,
    open_scores,
    rewrite_scores,
    sample_presence,
    try_settings,
    write_scores,
)
from mmsearch.search.general_captions import GENERAL, general_vectors

__all__ = ["calibrate"]

_Path = str | os.PathLike[str]

DEFAULT = CalibrateOptions()

# The standard error of a share near a half is then a hundredth.
QUERIES = 2000
# Of fewer queries several splits into halves are averaged, so that the lot does not decide.
SPLITS = 8
# More items than this would make the choice slow and no other: what is measured is a difference.
SEARCHED = 10_000
# A larger bank moves the means little and costs in proportion.
BANK = 1024
# Of fewer captions an interval is wider than any gain; and with fewer the gallery's own are no sample of what is asked.
LEAST_QUERIES = 60
ENOUGH_CAPTIONS = 200
# So many rows tell the standard deviation of a query's scores to half a percent.
MOMENTS_ROWS = 1 << 16
# A gallery that has grown or shrunk by more than this is another one.
STALE = 0.25
KNOWN_ROWS = 8
ROWS_AT_ONCE = 8_192  # of files that hold several items; more where one holds more


def calibrate(
    gallery: _Path | None = None, *, options: CalibrateOptions = DEFAULT, progress: ProgressCallback = quiet
) -> CalibrationReport:
    """Measure what makes the scores of a gallery comparable, and commit it in the place of what was there.

    Pictures are corrected for texts by the gallery's captions, or by general ones where it has too few; captions for
    pictures by its pictures. Whether that helps is judged by captions whose picture is known. Works on a snapshot and
    takes no lock. Raises QueryError (nothing to calibrate), GalleryError, StoreError.
    """
    began = time.monotonic()
    opened = Gallery.open(gallery)
    if not opened.live_rows(IMAGES.name):
        raise QueryError(f"nothing to calibrate: {opened.path} holds no pictures. Add some: {IMAGES.how_to_add}")
    tables = read_consistently(opened, lambda current: _CalibrationRun(current, options, progress).run())
    return CalibrationReport(tuple(tables), time.monotonic() - began)


class _CalibrationRun:
    """One run over one version of a gallery."""

    def __init__(self, gallery: Gallery, options: CalibrateOptions, progress: ProgressCallback) -> None:
        self.gallery, self.options, self.progress = gallery, options, progress
        self.rng = np.random.default_rng(options.seed)
        self._known_rows: dict[str, tuple[NDArray[np.int64], Vectors]] = {}

    def run(self) -> list[TableCalibration]:
        tables = [self._kept(kind) for kind in (IMAGES, CAPTIONS)]
        if all(kept is not None for kept in tables):
            return [kept for kept in tables if kept is not None]
        self.progress(Progress("reading captions", 0, None))
        self._known_rows = {kind.name: _some_rows(self.gallery, kind.name) for kind in (IMAGES, CAPTIONS)}
        pairs = read_pairs(self.gallery)
        makes = (self._calibrate_images, self._calibrate_captions)
        return [kept or make(pairs) for kept, make in zip(tables, makes, strict=True)]

    def _kept(self, kind: AnyKind) -> TableCalibration | None:
        """What is there, where that is good enough; tuned for another index where that has come."""
        entry, rows = self.gallery.scores_for(kind.name), self.gallery.live_rows(kind.name)
        if not self.options.only_if_stale or entry is None or abs(rows - entry.rows) > STALE * entry.rows:
            return None
        own = self.gallery.manifest.encoder
        try:
            folder = self.gallery.scores_folder(entry.name)
            scores = open_scores(folder, table=kind.name, fingerprint=own.fingerprint, dim=own.dim)
        except (MmsearchError, FileNotFoundError):
            return None
        correction = scores.record.correction
        if not correction.measured and self.gallery.live_rows(CAPTIONS.name) >= LEAST_QUERIES:
            return None
        tuned = None
        if not is_tuned_for_index(self.gallery, scores.record):
            tuned = tune_corrected(self.gallery, scores, self.rng, self.progress)
        if tuned is None:
            return TableCalibration(kind.name, scores.record, "kept", correction.why)
        record = replace(scores.record, through_index=tuned)
        commit_scores(
            self.gallery,
            kind.name,
            lambda new_folder: rewrite_scores(folder, new_folder, record),
            *_some_rows(self.gallery, kind.name),
            rows=entry.rows,
        )
        return TableCalibration(kind.name, record, "tuned", correction.why)

    def _calibrate_images(self, pairs: Pairs) -> TableCalibration:
        """Images, for texts. Of frames, pages and tiles the file is what a caption asks for, and what answers it."""
        table = IMAGES.name
        spans = read_file_spans(self.gallery, table)
        files_of = _each_alone if spans is None else spans.first_rows
        pairs = pairs.with_images(files_of)
        linked = pairs.linked()
        own_bank = len(pairs.captions) >= ENOUGH_CAPTIONS
        general: NDArray[np.float32] | None = None
        if not own_bank:
            try:
                general = general_vectors(self.gallery, self.options.encoder)
            except MmsearchError as error:
                reason = f"the gallery holds {len(pairs.captions):,} captions, and its text side could not be loaded"
                why = f"{reason} ({str(error).splitlines()[0]})"
                return TableCalibration(table, None, "left out", why)

        def bank_of(chosen: NDArray[np.bool_] | None = None, size: int = BANK) -> Bank:
            """Of captions for which `chosen` is true, or of all."""
            if general is not None:
                return Bank(general, np.full(len(general), -1))
            rows = slice(None) if chosen is None else chosen
            return self._bank_of(CAPTIONS, pairs.captions[rows], pairs.images[rows], size)

        source = CAPTIONS.name if general is None else GENERAL
        if len(np.unique(linked.images)) < LEAST_QUERIES:
            count = len(np.unique(linked.images))
            why = f"not measured: captions name {count:,} of its pictures, and {LEAST_QUERIES} are needed"
            return self._store(IMAGES, bank_of(), None, source, why, owners_of=files_of, spans=spans)
        asking = linked.take(self.rng.permutation(len(linked.captions))[:QUERIES])
        items = self._searched(table, np.unique(asking.images), files_of)
        vectors = self.gallery.vectors(table, items.row_ids)

        def split() -> _Split:
            fold_of = self._folds(linked.images)
            banks = [bank_of((pairs.images < 0) | (fold_of(pairs.images) != fold)) for fold in (0, 1)]
            return _Split.of(fold_of(asking.images), banks, vectors, items.files, items.starts)

        measured = self._try(
            np.asarray(self.gallery.vectors(CAPTIONS.name, asking.captions), np.float32),
            vectors,
            Relevance.one_each(np.searchsorted(items.files[items.starts], asking.images)),
            split,
            asking.images,
            items.starts,
        )
        searched = len(items.starts)
        why = _explain(measured.trial, CAPTIONS, searched, IMAGES.name if spans is None else "files")
        bank = bank_of(size=measured.bank)
        return self._store(IMAGES, bank, measured, source, why, searched=searched, owners_of=files_of, spans=spans)

    def _calibrate_captions(self, pairs: Pairs) -> TableCalibration:
        """Captions, for images."""
        linked, table = pairs.linked(), CAPTIONS.name
        images = np.unique(linked.images)
        if len(images) < LEAST_QUERIES:
            why = f"captions name {len(images):,} of the pictures, and {LEAST_QUERIES} are needed to judge by"
            return TableCalibration(table, None, "left out", why)
        image_of = dict(zip(pairs.captions.tolist(), pairs.images.tolist(), strict=True))

        def owners_of(captions: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.array([image_of[row_id] for row_id in captions.tolist()], np.int64)

        def bank_of(chosen: NDArray[np.int64], size: int = BANK) -> Bank:
            return self._bank_of(IMAGES, chosen, chosen, size)

        asking = np.sort(self.rng.permutation(images)[:QUERIES])
        own_captions = linked.captions[np.isin(linked.images, asking)]
        items = self._searched(table, own_captions, _each_alone).row_ids
        owners = owners_of(items)
        by_owner: dict[int, list[int]] = {image: [] for image in asking.tolist()}
        for position, owner in enumerate(owners.tolist()):
            if owner in by_owner:
                by_owner[owner].append(position)
        vectors = self.gallery.vectors(table, items)

        def split() -> _Split:
            fold_of = self._folds(images)
            banks = [bank_of(images[fold_of(images) != fold]) for fold in (0, 1)]
            return _Split.of(fold_of(asking), banks, vectors, owners)

        measured = self._try(
            np.asarray(self.gallery.vectors(IMAGES.name, asking), np.float32),
            vectors,
            Relevance.lists(by_owner[image] for image in asking.tolist()),
            split,
            asking,
            np.arange(len(items)),
        )
        why = _explain(measured.trial, IMAGES, len(items), CAPTIONS.name)
        bank = bank_of(images, measured.bank)
        return self._store(CAPTIONS, bank, measured, IMAGES.name, why, searched=len(items), owners_of=owners_of)

    def _try(
        self,
        queries: NDArray[np.float32],
        vectors: Vectors,
        relevant: Relevance,
        split: Callable[[], "_Split"],
        clusters: NDArray[np.int64],
        starts: NDArray[np.int64],
    ) -> "_Measured":
        self.progress(Progress("choosing a correction", 0, None))
        scores = queries @ np.asarray(vectors, np.float32).T
        clusters = np.unique(clusters, return_inverse=True)[1]
        splits = [split() for _ in range(min(SPLITS, max(1, round(QUERIES / len(queries)))))]
        trials = [try_settings(scores, relevant, each.means, each.folds, clusters, starts) for each in splits]
        trial, (folds, means) = average_trials(trials, clusters), (splits[0].folds, splits[0].means)
        self.progress(Progress("fitting probabilities", 0, None))
        samples, relevant_scores, asked = [], [], []
        for fold in (0, 1):
            (of_fold,) = np.nonzero(folds == fold)
            left = scores[of_fold].astype(np.float64)
            if trial.setting.alpha:
                left -= trial.setting.alpha * means[fold][trial.setting.k]
            left = np.asarray(best_of_files(left, starts), np.float64)
            own = relevant.take(of_fold)
            samples.append(sample_presence(left, own, self.rng))
            relevant_scores.append(left[np.repeat(np.arange(len(own)), own.counts), own.positions])
            asked.append(of_fold)
        chances = fit_chances(samples, clusters[np.concatenate(asked)])
        return _Measured(
            trial, chances, keep_threshold(np.concatenate(relevant_scores), KEPT), min(each.bank for each in splits)
        )

    def _folds(self, images: NDArray[np.int64]) -> Callable[[NDArray[np.int64]], NDArray[np.int64]]:
        """Image row ids -> their fold, 0 or 1: half of the images in each."""
        distinct = np.unique(images)
        folds = self.rng.permutation(len(distinct)) % 2

        def fold_of(row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
            return folds[np.minimum(np.searchsorted(distinct, row_ids), len(distinct) - 1)]

        return fold_of

    def _searched(self, table: str, needed: NDArray[np.int64], files_of: "_FilesOf") -> "_Searched":
        """The rows of the needed files, and of others at random."""
        everything = np.concatenate([block.column("row_id").to_numpy() for block in self.gallery.scan(table, [])])
        files = files_of(everything)
        names, counts = np.unique(files, return_counts=True)
        others = self.rng.permutation(np.setdiff1d(names, needed))
        rows = np.cumsum(counts[np.searchsorted(names, others)])
        room = SEARCHED - int(counts[np.isin(names, needed)].sum())
        is_searched = np.isin(files, np.concatenate([needed, others[rows <= room]]))
        return _Searched.of(everything[is_searched], files[is_searched])

    def _bank_of(self, kind: AnyKind, row_ids: NDArray[np.int64], owners: NDArray[np.int64], size: int) -> Bank:
        chosen = np.sort(self.rng.permutation(len(row_ids))[:size])
        vectors = np.asarray(self.gallery.vectors(kind.name, row_ids[chosen]), np.float32)
        return Bank(vectors, owners[chosen])

    def _store(
        self,
        kind: AnyKind,
        bank: Bank,
        measured: "_Measured | None",
        source: str,
        why: str,
        *,
        searched: int = 0,
        owners_of: "_FilesOf",
        spans: FileSpans | None = None,
    ) -> TableCalibration:
        own, rows = self.gallery.manifest.encoder, self.gallery.live_rows(kind.name)
        setting = CAUTIOUS if measured is None else measured.trial.setting
        row_ids, means, moments = self._take_means(kind, bank, setting, owners_of, spans)
        correction = CorrectionRecord(setting.alpha, setting.k, source, len(bank.vectors), measured is not None, why)
        if measured is not None:
            trial, gain = measured.trial, measured.trial.gain
            correction = replace(
                correction,
                queries=len(trial.plain_ranks),
                searched=searched,
                plain=_figures(trial.plain_ranks),
                corrected=_figures(trial.corrected_ranks),
                gain=(gain.value, gain.interval.low, gain.interval.high),
            )
        record = ScoresRecord(
            table=kind.name,
            asks="text" if kind.side == "image" else "image",
            fingerprint=own.fingerprint,
            dim=own.dim,
            rows=rows,
            correction=correction,
            highest=float(means.max()) if len(means) else 0.0,
            by_file=True,
        )
        if measured is None:
            record = replace(record, general=self._general_scores(kind, bank))
        else:
            keep = None if measured.keep == -np.inf else measured.keep
            record = replace(record, chances=measured.chances, keep=keep)
        made = TableScores(record, bank, row_ids, means, moments)
        record = replace(record, through_index=tune_corrected(self.gallery, made, self.rng, self.progress))
        ids, vectors = self._known_rows[kind.name]
        commit_scores(
            self.gallery,
            kind.name,
            lambda folder: write_scores(folder, record, bank, row_ids, means, moments),
            ids,
            vectors,
        )
        return TableCalibration(kind.name, record, "calibrated", why)

    def _general_scores(self, kind: AnyKind, bank: Bank) -> tuple[float, ...]:
        """Percentiles 0 to 100 of the best score that each query of a bank finds."""
        best = exact_search(self.gallery.vector_blocks(kind.name), bank.vectors, 1).scores[:, 0]
        return tuple(np.percentile(best, np.arange(101)).tolist())

    def _take_means(
        self,
        kind: AnyKind,
        bank: Bank,
        setting: Setting,
        owners_of: "_FilesOf",
        spans: FileSpans | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], Moments]:
        """(row ids ascending, their means, the moments of all rows). Of means there are none where nothing is
        corrected, else one of every live row."""
        ids, means, total = [], [], self.gallery.live_rows(kind.name)
        moments = MomentsSum(self.gallery.manifest.encoder.dim, step=max(1, total // MOMENTS_ROWS))
        done = 0
        shared, shared_means = np.empty(0, np.int64), np.empty(0, np.float32)
        if spans is not None and setting != NO_CORRECTION:
            shared, shared_means = self._means_of_files(kind, bank, setting, owners_of, spans)
        for block in self.gallery.vector_blocks(kind.name):
            done += len(block.row_ids)
            if setting == NO_CORRECTION:
                moments.add(block.vectors)
            else:
                alone = ~np.isin(block.row_ids, shared)
                some = block.vectors if alone.all() else block.vectors[alone]
                of_block = np.empty(len(block.row_ids), np.float32)
                of_block[alone] = bank.means(some, setting.k, owners_of(block.row_ids[alone]))
                of_block[~alone] = shared_means[np.searchsorted(shared, block.row_ids[~alone])]
                ids.append(block.row_ids)
                means.append(of_block)
                moments.add(block.vectors, of_block)
            self.progress(Progress(f"correcting {kind.name}", done, total))
        if not ids:
            return np.empty(0, np.int64), np.empty(0, np.float32), moments.moments()
        row_ids = np.concatenate(ids)
        order = np.argsort(row_ids)
        return row_ids[order], np.concatenate(means)[order], moments.moments()

    def _means_of_files(
        self, kind: AnyKind, bank: Bank, setting: Setting, owners_of: "_FilesOf", spans: FileSpans
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """(row ids ascending, their means) of all rows that share a file."""
        row_ids, starts = spans.by_file()
        means = np.empty(len(row_ids), np.float32)
        ends = np.append(starts[1:], len(row_ids))
        file = 0
        while file < len(starts):
            past = max(file + 1, int(np.searchsorted(ends, starts[file] + ROWS_AT_ONCE, side="right")))
            rows = slice(int(starts[file]), int(ends[past - 1]))
            vectors = self.gallery.vectors(kind.name, row_ids[rows])
            owners = owners_of(row_ids[rows])
            means[rows] = bank.means(vectors, setting.k, owners, starts[file:past] - starts[file])
            file = past
        order = np.argsort(row_ids)
        return row_ids[order], means[order]


_FilesOf = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Row ids (n,) -> the file of each, by the lowest row id that it has."""


def _each_alone(row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    return row_ids


@dataclass(frozen=True, slots=True, eq=False)
class _Searched:
    """Rows by their files. row_ids, files: (n,), ascending by file. starts: (n_files,), the first row of each file."""

    row_ids: NDArray[np.int64]
    files: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, row_ids: NDArray[np.int64], files: NDArray[np.int64]) -> "_Searched":
        order = np.lexsort((row_ids, files))
        in_order = files[order]
        starts = np.flatnonzero(np.concatenate([[True], np.diff(in_order) > 0])[: len(order)])
        return cls(row_ids[order], in_order, starts)


@dataclass(frozen=True, slots=True, eq=False)
class _Split:
    """The fold of each query (n_queries,), and the means of the items for the queries of each fold. bank: vectors of
    the smaller of both banks."""

    folds: NDArray[np.int64]
    means: Sequence[dict[int, NDArray[np.float64]]]
    bank: int

    @classmethod
    def of(
        cls,
        folds: NDArray[np.int64],
        banks: Sequence[Bank],
        vectors: Vectors,
        owners: NDArray[np.int64],
        starts: NDArray[np.int64] | None = None,
    ) -> "_Split":
        """banks: for each fold; their own `owners` (n_items,) do not count for items with vectors (n_items, dim).
        starts: see `bank_means`."""
        means = [
            bank_means(vectors, bank.vectors, owners=owners, bank_owners=bank.owners, starts=starts) for bank in banks
        ]
        return cls(folds, means, min(len(bank.vectors) for bank in banks))


@dataclass(frozen=True, slots=True)
class _Measured:
    """What queries with known answers say.

    Attributes:
        keep: The threshold that keeps `KEPT` of what is relevant.
        bank: As large the bank has to be that is stored: as those that were measured. In a larger one the k best scores
            are higher, and chances that were fitted with a smaller one would be too low.
    """

    trial: CorrectionTrial
    chances: Chances
    keep: float
    bank: int


def _some_rows(gallery: Gallery, table: str) -> tuple[NDArray[np.int64], Vectors]:
    """A few rows of a table, by which a gallery is known again: row ids, ascending, and vectors."""
    for block in gallery.vector_blocks(table):
        return block.row_ids[:KNOWN_ROWS].copy(), block.vectors[:KNOWN_ROWS].copy()
    return np.empty(0, np.int64), np.empty((0, gallery.manifest.encoder.dim), np.float32)


def _figures(ranks: NDArray[np.int64]) -> dict[str, float]:
    return {f"R@{k}": float((ranks <= k).mean()) for k in (1, 5, 10)} | {"MRR": float((1 / ranks).mean())}


def _explain(trial: CorrectionTrial, asking: AnyKind, searched: int, among: str) -> str:
    plain, corrected = _figures(trial.plain_ranks), _figures(trial.corrected_ranks)
    asked = f"{len(trial.plain_ranks):,} {asking.name} among {searched:,} {among}"
    if trial.helps:
        return (
            f"R@1 {100 * plain['R@1']:.1f} % -> {100 * corrected['R@1']:.1f} %, R@10 {100 * plain['R@10']:.1f} % -> "
            f"{100 * corrected['R@10']:.1f} %, of {asked}"
        )
    low, high = trial.gain.interval.low, trial.gain.interval.high
    return (
        f"no correction: that it helps was not seen (mean reciprocal rank {trial.gain.value:+.3f}, 95 % interval "
        f"{low:+.3f} to {high:+.3f}, of {asked})"
    )
