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
from mmsearch.metrics.uncertainty import RESAMPLES, SEED, Estimate, Interval, image_draws

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
"""From the weights of samples, (some, n), to a value for each row of weights, NaN where it has none."""

BINS = 10
_WEIGHTS_AT_ONCE = 1 << 22


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
    chances: Floats, relevant: Answers, image_of_sample: Ids, n_images: int, *, bins: int = BINS
) -> tuple[ReliabilityBin, ...]:
    """The reliability diagram: bins of about equally many samples, by rising chance; equal chances share a bin.

    chances: (n,), from 0 to 1.

    >>> low, high = reliability(
    ...     np.array([0.1, 0.1, 0.9, 0.9]), np.array([False, False, True, False]), np.arange(4), 4, bins=2
    ... )
    >>> (low.count, round(low.predicted, 2), low.relevant.value), (round(high.predicted, 2), high.relevant.value)
    ((2, 0.1, 0.0), (0.9, 0.5))
    """
    _check(chances, relevant)
    bin_of_sample = _equal_mass_bins(chances, bins)
    found = []
    for number in range(int(bin_of_sample.max()) + 1):
        inside = bin_of_sample == number
        share = _estimate(_mean(relevant[inside].astype(np.float64)), image_of_sample[inside], n_images)
        found.append(ReliabilityBin(int(inside.sum()), float(chances[inside].mean()), share))
    return tuple(found)


def calibration_error(
    chances: Floats, relevant: Answers, image_of_sample: Ids, n_images: int, *, bins: int = BINS
) -> Estimate:
    """The expected calibration error (Naeini, Cooper and Hauskrecht 2015) over bins of equally many samples.

    The mean, weighted by samples, of how far a bin's share of relevant samples is from its mean chance. Chance alone
    makes it larger than 0 where samples are few, and each bootstrap sample a little larger still.

    >>> error = calibration_error(
    ...     np.array([0.1, 0.1, 0.9, 0.9]), np.array([False, False, True, False]), np.arange(4), 4, bins=2
    ... )
    >>> round(error.value, 3)  # (0.1 + 0.4) / 2
    0.25
    """
    _check(chances, relevant)
    bin_of_sample = _equal_mass_bins(chances, bins)
    members = np.equal(bin_of_sample[:, None], np.arange(bin_of_sample.max() + 1))
    apart = members * (chances - relevant)[:, None]
    return _estimate(lambda w: np.abs(w @ apart).sum(axis=1) / w.sum(axis=1), image_of_sample, n_images)


def brier_score(chances: Floats, relevant: Answers, image_of_sample: Ids, n_images: int) -> Estimate:
    """The mean squared distance of chances from what came (Brier 1950): 0 is best, 0.25 is what 0.5 always gets.

    >>> round(brier_score(np.array([0.8, 0.4]), np.array([True, False]), np.arange(2), 2).value, 3)
    0.1
    """
    _check(chances, relevant)
    return _estimate(_mean((chances - relevant) ** 2), image_of_sample, n_images)


def auroc(scores: Floats, relevant: Answers, image_of_sample: Ids, n_images: int) -> Estimate:
    """The chance that a relevant sample scores higher than one that is not; equal scores count half.

    The area under the ROC curve (Hanley and McNeil 1982). NaN where all are relevant or none is. scores: (n,), finite.

    >>> auroc(np.array([0.9, 0.8, 0.8, 0.1]), np.array([True, True, False, False]), np.arange(4), 4).value
    0.875
    """
    _check(scores, relevant)
    order, starts = _tied_groups(scores)
    good = relevant[order].astype(np.float64)

    def area(weights: Floats) -> Floats:
        weights = weights[:, order]
        positive = np.add.reduceat(weights * good, starts, axis=1)
        negative = np.add.reduceat(weights * (1 - good), starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        wins: Floats = (positive * below).sum(axis=1)
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
    order, starts = _tied_groups(-confidence)
    answered, wrong = _answered(np.ones((1, len(confidence))), order, starts, ~right)
    return RiskCoverage(answered[0] / len(confidence), wrong[0] / answered[0])


def risk_coverage_area(confidence: Floats, right: Answers, image_of_sample: Ids, n_images: int) -> Estimate:
    """The mean over samples of the risk where all that are at least as sure are answered (AURC, Geifman and El-Yaniv
    2017): smaller is better, and where confidence says nothing it is the share of wrong answers.

    >>> confidence, right = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, True, False, False])
    >>> round(risk_coverage_area(confidence, right, np.arange(4), 4).value, 4)  # (0 + 0 + 1/3 + 1/2) / 4
    0.2083
    """
    _check(confidence, right)
    order, starts = _tied_groups(-confidence)

    def area(weights: Floats) -> Floats:
        answered, wrong = _answered(weights, order, starts, ~right)
        risk = np.divide(wrong, answered, out=np.zeros_like(wrong), where=answered > 0)
        total: Floats = (np.diff(answered, axis=1, prepend=0) * risk).sum(axis=1) / answered[:, -1]
        return total

    return _estimate(area, image_of_sample, n_images)


def _estimate(statistic: _Statistic, image_of_sample: Ids, n_images: int) -> Estimate:
    values = []
    step = max(1, _WEIGHTS_AT_ONCE // max(1, len(image_of_sample)))
    for drawn in image_draws(image_of_sample, n_images, resamples=RESAMPLES, seed=SEED):
        for start in range(0, len(drawn), step):
            values.append(statistic(drawn[start : start + step, image_of_sample]))
    value = float(statistic(np.ones((1, len(image_of_sample))))[0])
    resampled = np.concatenate(values)
    known = np.isfinite(resampled).any()
    return Estimate(value, Interval.of(resampled) if known else Interval(math.nan, math.nan))


def _mean(values: Floats) -> _Statistic:
    return lambda weights: (weights @ values) / weights.sum(axis=1)


def _answered(weights: Floats, order: Ids, starts: Ids, wrong: Answers) -> tuple[Floats, Floats]:
    """(some, n_groups): how much weight is answered down to each group, and how much of it wrongly."""
    weights = weights[:, order]
    answered = np.cumsum(np.add.reduceat(weights, starts, axis=1), axis=1)
    return answered, np.cumsum(np.add.reduceat(weights * wrong[order], starts, axis=1), axis=1)


def _tied_groups(values: Floats) -> tuple[Ids, Ids]:
    """The ascending order of values, and where in it each group of equal ones starts."""
    order = np.argsort(values, kind="stable")
    in_order = values[order]
    return order, np.flatnonzero(np.concatenate([[True], in_order[1:] != in_order[:-1]]))


def _equal_mass_bins(chances: Floats, bins: int) -> Ids:
    """The bin of each sample, (n,): from 0, none empty."""
    order, starts = _tied_groups(chances)
    # A group of equal chances belongs where its middle is.
    ends = np.append(starts[1:], len(chances))
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
