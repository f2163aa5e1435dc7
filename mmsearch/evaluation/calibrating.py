"""Measures whether a best score tells that what was asked for is there at all.

Each caption asks twice: with its images among those searched, and with them taken away. The chance that they are there
is fitted to the queries of one half of the images and judged by those of the other.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.evaluation.correcting import LEAST_IMAGES, CorrectedVectors, Side
from mmsearch.evaluation.records import Calibration, PresenceCalibration
from mmsearch.metrics import (
    Relevance,
    Vectors,
    auroc,
    brier_score,
    calibration_error,
    reliability,
    risk_coverage,
    risk_coverage_area,
)
from mmsearch.scoring import fit_probability

__all__ = ["calibrate_presence"]

Floats = NDArray[np.float64]

_SCORES_AT_ONCE = 1 << 23
_POINTS = 200
"""Of a curve: more cannot be told apart, and would be most of the report."""


def calibrate_presence(
    side: Side, corrected: tuple[CorrectedVectors, CorrectedVectors] | None
) -> PresenceCalibration | None:
    """By the score and by the corrected score; None where too few images are asked for to judge.

    corrected: what the queries of each fold are judged by, and what the probability is fitted to for the other fold.
    """
    if len(np.unique(side.image_of_query)) < LEAST_IMAGES:
        return None
    # Items that nobody asks for stay out: a bank may be of texts that ask for them, and has then lowered them.
    asked_for, positions = np.unique(side.relevant.positions, return_inverse=True)
    relevant = Relevance(side.relevant.offsets, positions)
    plain = _find_best(side.queries, side.items[asked_for], relevant)
    # Queries to which everything is relevant have nothing left to ask among.
    usable = np.flatnonzero(np.isfinite(plain.absent))
    if len(np.unique(side.image_of_query[usable])) < LEAST_IMAGES:
        return None
    by_score = _judge(side, usable, len(asked_for), plain, plain)
    if corrected is None:
        by_corrected = by_score
    else:
        for_judging, for_fitting = corrected
        judged = fitted = _find_best(for_judging.queries, for_judging.items[asked_for], relevant)
        if for_fitting is not for_judging:
            fitted = _find_best(for_fitting.queries, for_fitting.items[asked_for], relevant)
        by_corrected = _judge(side, usable, len(asked_for), judged, fitted)
    return PresenceCalibration(len(usable), len(asked_for), by_score, by_corrected)


@dataclass(frozen=True, slots=True, eq=False)
class _Best:
    """The best score of each query, float64 (n_queries,): with what it asks for among the items, and without; -inf
    where nothing is left."""

    present: Floats
    absent: Floats


def _find_best(queries: Vectors, items: Vectors, relevant: Relevance) -> _Best:
    present, absent = np.empty(len(queries)), np.empty(len(queries))
    gallery = items.astype(np.float32, copy=False).T
    step = max(1, _SCORES_AT_ONCE // len(items))
    for start in range(0, len(queries), step):
        rows = np.arange(start, min(start + step, len(queries)))
        scores = queries[rows].astype(np.float32, copy=False) @ gallery
        present[rows] = scores.max(axis=1)
        scores[np.repeat(rows - start, relevant.counts[rows]), relevant.of(rows).positions] = -np.inf
        absent[rows] = scores.max(axis=1)
    return _Best(present, absent)


def _judge(side: Side, usable: NDArray[np.intp], searched: int, judged: _Best, fitted: _Best) -> Calibration:
    """searched: How many items, also where the own ones are taken away: by their number those queries would be known at
    once. judged: the scores that are judged. fitted: of the same queries, by the setting of their own fold: what the
    probability for the other fold's queries is fitted to, since that fold's queries are scored in the same way."""
    images, folds = (np.tile(each[usable], 2) for each in (side.image_of_query, side.folds))
    is_there = np.repeat([True, False], len(usable))
    scores, fit_scores = (np.concatenate([best.present[usable], best.absent[usable]]) for best in (judged, fitted))
    chances, confidence, forms = np.empty(len(scores)), np.empty(len(scores)), []
    for fold in (0, 1):
        inside = folds == fold
        fit = fit_probability(fit_scores[~inside], searched, is_there[~inside], images[~inside])
        chances[inside] = fit(scores[inside], searched)
        # Where folds are corrected by different settings only the fits bring them to one scale.
        confidence[inside] = scores[inside] if judged is fitted else fit.index(scores[inside], searched)
        forms.append(fit.form)
    curve = risk_coverage(confidence, is_there)
    shown = np.unique(np.linspace(0, len(curve.coverage) - 1, _POINTS).round().astype(np.int64))
    return Calibration(
        forms=(forms[0], forms[1]),
        error=calibration_error(chances, is_there, images, side.n_images),
        brier=brier_score(chances, is_there, images, side.n_images),
        auroc=auroc(confidence, is_there, images, side.n_images),
        risk_area=risk_coverage_area(confidence, is_there, images, side.n_images),
        bins=reliability(chances, is_there, images, side.n_images),
        coverage=tuple(curve.coverage[shown].tolist()),
        risk=tuple(curve.risk[shown].tolist()),
    )
