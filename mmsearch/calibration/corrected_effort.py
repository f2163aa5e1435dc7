"""Corrected searches through an index: the effort that they need, chosen and measured as `index` does for plain ones.

What a correction leaves of scores is less alike within a list than the scores themselves, so that the best rows lie in
more lists: at the effort of plain searches, corrected ones find less.
"""

import numpy as np

from mmsearch.ann import open_index
from mmsearch.errors import AnnIndexError
from mmsearch.gallery import Gallery
from mmsearch.indexing.trial_queries import make_corrected_queries
from mmsearch.indexing.tuning import (
    Goal,
    MeasuredIndex,
    choose_effort,
    is_surely_below,
    measure_milliseconds,
    measure_recall,
    try_efforts,
)
from mmsearch.items import CAPTIONS, IMAGES, kind
from mmsearch.progress import ProgressCallback
from mmsearch.scoring import CorrectedEffort, ScoresRecord, TableScores
from mmsearch.search.correct import with_lowered

__all__ = ["is_tuned_for_index", "tune_corrected"]

_DEFAULT_TARGET = 0.95  # of an index that does not say what was asked of it


def is_tuned_for_index(gallery: Gallery, record: ScoresRecord) -> bool:
    """Whether nothing is left to be tuned: nothing is corrected unasked, there is no index, or it is for that one."""
    entry = gallery.index_for(record.table)
    if entry is None or not record.correction.alpha or not record.correction.measured:
        return True
    return record.through_index is not None and record.through_index.index == entry.name


def tune_corrected(
    gallery: Gallery, scores: TableScores, rng: np.random.Generator, progress: ProgressCallback
) -> CorrectedEffort | None:
    """The least effort at which corrected searches reach the target of the index; None where there is none to tune.

    Queries are items of the kind that asks, half of them to choose and half to judge. Reads the whole table once.
    """
    record = scores.record
    entry, alpha = gallery.index_for(record.table), record.correction.alpha
    if entry is None or not alpha or not record.correction.measured:
        return None
    own = gallery.manifest.encoder
    side = kind(entry.table).side
    try:
        ann = open_index(gallery.index_folder(entry.name), fingerprint=own.of_side(side), dim=own.dim, entry=entry)
    except AnnIndexError:
        return None  # queries pass it by, and say so
    vectors = ann.vectors
    assert vectors is not None
    goal = Goal(ann.record.recall_target or _DEFAULT_TARGET, ann.record.tuned_k, ann.record.latency_ms)
    queries = make_corrected_queries(
        *(gallery, record.table, CAPTIONS if record.asks == CAPTIONS.side else IMAGES, goal.k, rng),
        lower=lambda blocks: with_lowered(blocks, scores, alpha),
        progress=progress,
    )
    if queries is None:
        return None
    lowered = scores.lowered(ann.row_ids, lambda rows: vectors[rows], alpha=alpha)
    ann.lower(lowered)
    searched = MeasuredIndex(ann, gallery, record.table, lowered)
    tuning, judging = queries.halves()
    chosen = choose_effort(try_efforts(searched, [tuning], goal, progress), goal)
    recall = measure_recall(searched, judging, chosen.effort, goal.k)
    milliseconds = measure_milliseconds(searched, judging.vectors, chosen.effort, goal.k)
    reached = chosen.low >= goal.recall and not is_surely_below(recall, goal.recall)
    return CorrectedEffort(entry.name, chosen.effort, recall, goal.recall, reached, milliseconds)
