"""Whether chances come true, and whether a score tells what is relevant from what is not.

Samples (queries, or hits) of one image are not independent: intervals resample images, as everywhere here. Equal scores
are never told apart by their order.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.metrics.relevance import Ids
from mmsearch.metrics.uncertainty import RESAMPLES, SEED, Estimate, Interval, image_draws, intervals

__all__ = [
    "ReliabilityBin",
    "RiskCoverage",
    "auroc",
    "brier_score",
    "calibration_error",
    "reliability",
    "risk_coverage",
    "risk_coverage_area",
]

Floats: TypeAlias = NDArray[np.float64]
Answers: TypeAlias = NDArray[np.bool_]
"""(n,), whether each sample is relevant, or right."""
_Statistic: TypeAlias = Callable[[Floats], Floats]
"""From how often each image is drawn, (some, n_images), to a value for each row, NaN where it has none."""

BINS = 10
_WEIGHTS_AT_ONCE = 1 << 20  # few enough to stay in a cache


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Samples of about the same chance.

    Attributes:
        count: How many there are.
        predicted: The mean of their chances.
        relevant: The share of them that is relevant, with its interval.
    """

    count: int
    predicted: float
    relevant: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """What happens where only the surest are answered (El-Yaniv and Wiener 2010).

    Attributes:
        coverage: Of each different confidence, from the highest, the share of samples that have at least as much.
        risk: The share of those that are wrong.
    """

    coverage: Floats
    risk: Floats


def reliability(
    chances: Floats, relevant: Answers, image_of_sample: Ids, n_images: int, *, bins: int = BINS, width: bool = False
) -> tuple[ReliabilityBin, ...]:
    """The reliability diagram: bins of about equally many samples, by rising chance; equal chances share a bin.

    chances: (n,), from 0 to 1. width: bins of equal width instead; those without a sample are left out.

    >>> low, high = reliability(
    ...     np.array([0.1, 0.1, 0.9, 0.9]), np.array([False, False, True, False]), np.arange(4), 4, bins=2
    ... )
    >>> (low.count, round(low.predicted, 2), low.relevant.value), (round(high.predicted, 2), high.relevant.value)
    ((2, 0.1, 0.0), (0.9, 0.5))
    """
    _check(chances, relevant)
    bin_of_sample = _bins(chances, bins, width=width)
    n_bins = int(bin_of_sample.max()) + 1
    cells = image_of_sample * n_bins + bin_of_sample
    hits, counts = (np.bincount(cells, each, n_images * n_bins).reshape(n_images, n_bins) for each in (relevant, None))

    def shares(drawn: Floats) -> Floats:
        totals = drawn @ counts
        found: Floats = np.divide(drawn @ hits, totals, out=np.full(totals.shape, math.nan), where=totals > 0)
        return found

    resampled = _resample(shares, image_of_sample, n_images)
    diagram = []
    for number in range(n_bins):
        inside = bin_of_sample == number
        share = Estimate(float(relevant[inside].mean()), Interval.of(resampled[:, number]))
        diagram.append(ReliabilityBin(int(inside.sum()), float(chances[inside].mean()), share))
    return tuple(diagram)


def calibration_error(
    chances: Floats, relevant: Answers, image_of_sample: Ids, n_images: int, *, bins: int = BINS, width: bool = False
) -> Estimate:
    """The expected calibration error (Naeini, Cooper and Hauskrecht 2015) over bins of equally many samples, or of
    equal width (Guo et al. 2017, with 15 bins).

    The mean, weighted by samples, of how far a bin's share of relevant samples is from its mean chance. Chance alone
    makes it larger than 0 where samples are few, and each bootstrap sample a little larger still.

    >>> error = calibration_error(
    ...     np.array([0.1, 0.1, 0.9, 0.9]), np.array([False, False, True, False]), np.arange(4), 4, bins=2
    ... )
    >>> round(error.value, 3)  # (0.1 + 0.4) / 2
    0.25
    """
    _check(chances, relevant)
    bin_of_sample = _bins(chances, bins, width=width)
    n_bins = int(bin_of_sample.max()) + 1
    cells = image_of_sample * n_bins + bin_of_sample
    apart = np.bincount(cells, chances - relevant, n_images * n_bins).reshape(n_images, n_bins)
    counts = np.bincount(image_of_sample, minlength=n_images)
    return _estimate(lambda drawn: np.abs(drawn @ apart).sum(axis=1) / (drawn @ counts), image_of_sample, n_images)


def brier_score(chances: Floats, relevant: Answers, image_of_sample: Ids, n_images: int) -> Estimate:
    """The mean squared distance of chances from what came (Brier 1950): 0 is best, 0.25 is what 0.5 always gets.

    >>> round(brier_score(np.array([0.8, 0.4]), np.array([True, False]), np.arange(2), 2).value, 3)
    0.1
    """
    _check(chances, relevant)
    return _mean((chances - relevant) ** 2, image_of_sample, n_images)


def auroc(scores: Floats, relevant: Answers, image_of_sample: Ids, n_images: int) -> Estimate:
    """The chance that a relevant sample scores higher than one that is not; equal scores count half.

    The area under the ROC curve (Hanley and McNeil 1982). NaN where all are relevant or none is. scores: (n,), finite.

    >>> auroc(np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False]), np.arange(4), 4).value
    0.875
    """
    _check(scores, relevant)
    order, ends = _tied_groups(scores)
    images, good = image_of_sample[order], relevant[order]

    def area(drawn: Floats) -> Floats:
        weights = drawn[:, images]
        positive, negative = (np.cumsum(weights * each, axis=1)[:, ends] for each in (good, ~good))
        pairs = positive[:, -1] * negative[:, -1]
        below = (negative + np.pad(negative[:, :-1], ((0, 0), (1, 0)))) / 2
        wins = np.einsum("rg,rg->r", np.diff(positive, axis=1, prepend=0), below)
        shares: Floats = np.divide(wins, pairs, out=np.full(len(pairs), math.nan), where=pairs > 0)
        return shares

    return _estimate(area, image_of_sample, n_images)


def risk_coverage(confidence: Floats, right: Answers) -> RiskCoverage:
    """The share of wrong answers among the surest, for every share that is answered. confidence: (n,), finite.

    >>> curve = risk_coverage(np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False]))
    >>> curve.coverage.tolist(), curve.risk.round(3).tolist()
    ([0.25, 0.75, 1.0], [0.0, 0.333, 0.5])
    """
    _check(confidence, right)
    order, ends = _tied_groups(-confidence)
    answered, wrong = _answered(np.ones((1, len(confidence))), ends, ~right[order])
    return RiskCoverage(answered[0] / len(confidence), wrong[0] / answered[0])


def risk_coverage_area(confidence: Floats, right: Answers, image_of_sample: Ids, n_images: int) -> Estimate:
    """The mean over samples of the risk where all that are at least as sure are answered (AURC, Geifman and El-Yaniv
    2017): smaller is better, and where confidence says nothing it is the share of wrong answers.

    >>> confidence, right = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, True, False, False])
    >>> round(risk_coverage_area(confidence, right, np.arange(4), 4).value, 4)  # (0 + 0 + 1/3 + 1/2) / 4
    0.2083
    """
    _check(confidence, right)
    order, ends = _tied_groups(-confidence)
    images, is_wrong = image_of_sample[order], ~right[order]

    def area(drawn: Floats) -> Floats:
        answered, wrong = _answered(drawn[:, images], ends, is_wrong)
        risk = np.divide(wrong, answered, out=np.zeros_like(wrong), where=answered > 0)
        total: Floats = (np.diff(answered, axis=1, prepend=0) * risk).sum(axis=1) / answered[:, -1]
        return total

    return _estimate(area, image_of_sample, n_images)


def _estimate(statistic: _Statistic, image_of_sample: Ids, n_images: int) -> Estimate:
    resampled = _resample(statistic, image_of_sample, n_images)
    value = float(statistic(np.ones((1, n_images)))[0])
    known = np.isfinite(resampled).any()
    return Estimate(value, Interval.of(resampled) if known else Interval(math.nan, math.nan))


def _resample(statistic: _Statistic, image_of_sample: Ids, n_images: int) -> Floats:
    """Of each bootstrap sample, (resamples, …)."""
    step = max(1, _WEIGHTS_AT_ONCE // max(1, len(image_of_sample)))
    return np.concatenate(
        [
            statistic(drawn[start : start + step])
            for drawn in image_draws(image_of_sample, n_images, resamples=RESAMPLES, seed=SEED)
            for start in range(0, len(drawn), step)
        ]
    )


def _mean(values: Floats, image_of_sample: Ids, n_images: int) -> Estimate:
    figures = {"mean": values}
    return Estimate(float(values.mean()), intervals(figures, image_of_sample, n_images)["mean"])


def _answered(weights: Floats, ends: Ids, wrong: Answers) -> tuple[Floats, Floats]:
    """(some, n_groups): how much weight is answered down to each group, and how much of it wrongly; all in order."""
    return np.cumsum(weights, axis=1)[:, ends], np.cumsum(weights * wrong, axis=1)[:, ends]


def _tied_groups(values: Floats) -> tuple[Ids, Ids]:
    """The ascending order of values, and where in it each group of equal ones has its last."""
    order = np.argsort(values, kind="stable")
    in_order = values[order]
    return order, np.flatnonzero(np.concatenate([in_order[1:] != in_order[:-1], [True]]))


def _bins(chances: Floats, bins: int, *, width: bool) -> Ids:
    """The bin of each sample, (n,): from 0, none empty. width: of equal width, the upper edge within."""
    if not width:
        return _equal_mass_bins(chances, bins)
    # An edge is a whole number of bins: 0.3 * 10 must not be taken for a little more than 3.
    _, used = np.unique(np.clip(np.ceil(np.round(chances * bins, 9)) - 1, 0, bins - 1), return_inverse=True)
    return used.astype(np.int64)


def _equal_mass_bins(chances: Floats, bins: int) -> Ids:
    """The bin of each sample, (n,): from 0, none empty."""
    order, lasts = _tied_groups(chances)
    # A group of equal chances belongs where its middle is.
    ends = lasts + 1
    starts = np.append(0, ends[:-1])
    group_bin = np.minimum((starts + ends) * bins // (2 * len(chances)), bins - 1)
    _, group_bin = np.unique(group_bin, return_inverse=True)
    bin_of_sample = np.empty(len(chances), np.int64)
    bin_of_sample[order] = np.repeat(group_bin, ends - starts)
    return bin_of_sample


def _check(values: NDArray[np.floating[Any]], answers: Answers) -> None:
    if values.ndim != 1 or values.shape != answers.shape or len(values) == 0:
        raise ValueError(f"{values.shape} values for {answers.shape} answers")
    if not np.isfinite(values).all() or answers.dtype != np.bool_:
        raise ValueError("values have to be finite, and answers true or false")
