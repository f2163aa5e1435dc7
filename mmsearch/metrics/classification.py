"""How good classification is where classes are unequally large, or a picture has several.

Pictures are resampled, as everywhere here.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.metrics.relevance import Ids
from mmsearch.metrics.uncertainty import Difference, Estimate, Interval, differences, image_draws

__all__ = [
    "MeanPrecision",
    "average_precision",
    "mean_average_precision",
    "mean_average_precision_difference",
    "mean_per_class",
    "mean_per_class_difference",
]

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]
MeanPrecision: TypeAlias = Literal["area", "11-point"]
_DRAWS_AT_ONCE = 1 << 21  # weights, so that what is computed of them stays small
_RECALL_POINTS = np.arange(11) / 10


def mean_per_class(right: Floats, class_of_image: Ids) -> Estimate:
    """The mean over classes of the share of their pictures that are right, with its bootstrap interval over pictures.

    Balanced accuracy, mean-per-class recall. right: (n,), 1 or 0. class_of_image: (n,); classes without a
    picture are left out, and so are in a bootstrap sample those that it lacks.

    >>> mean_per_class(np.array([1.0, 1.0, 1.0, 0.0]), np.array([0, 0, 0, 1])).value
    0.5
    """
    resampled = _resampled_class_means(right, class_of_image)
    return Estimate(float(_class_means(np.ones((1, len(right))), right, class_of_image)[0]), Interval.of(resampled))


def mean_per_class_difference(first: Floats, second: Floats, class_of_image: Ids) -> Difference:
    """Second minus first of `mean_per_class`, for two systems on the same pictures.

    The interval is the bootstrap's. The test is that of `differences`: a picture weighs as much as it does in the mean.
    """
    counts = np.bincount(class_of_image)
    weights = len(first) / (np.count_nonzero(counts) * counts[class_of_image])
    positions = np.arange(len(first))
    before, after = ({"mean_per_class": weights * right} for right in (first, second))
    difference = differences(before, after, positions, len(first))["mean_per_class"]
    resampled = _resampled_class_means(second, class_of_image) - _resampled_class_means(first, class_of_image)
    return replace(difference, interval=Interval.of(resampled))


def _resampled_class_means(right: Floats, class_of_image: Ids) -> Floats:
    return np.concatenate([_class_means(drawn, right, class_of_image) for drawn in _draws(len(right))])


def _class_means(drawn: Floats, right: Floats, class_of_image: Ids) -> Floats:
    """Of each bootstrap sample the mean over its classes of their shares. drawn: (some, n) how often each is drawn."""
    order = np.argsort(class_of_image, kind="stable")
    starts = np.flatnonzero(np.diff(class_of_image[order], prepend=-1))
    weights = drawn[:, order]
    totals = np.add.reduceat(weights, starts, axis=1)
    hits = np.add.reduceat(weights * right[order], starts, axis=1)
    shares = np.divide(hits, totals, out=np.full(totals.shape, math.nan), where=totals > 0)
    return _mean_of_known(shares.T)


def average_precision(scores: Floats, relevant: Flags, how: MeanPrecision = "area") -> float:
    """The average precision of one ranking; equal scores stand at one rank. NaN where nothing is relevant.

    scores, relevant: (n,). area: the sum over ranks of the rise of recall times precision (TREC's, scikit-learn's, and
    that of VOC from 2010 on but for its smoothing). 11-point: the mean of the highest precision at recall of at least
    0, 0.1, …, 1 (VOC 2007: Everingham et al. 2010, 4.2).

    >>> scores, relevant = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    >>> round(average_precision(scores, relevant), 4)  # (1 + 2/3) / 2
    0.8333
    >>> round(average_precision(scores, relevant, "11-point"), 4)  # (6 * 1 + 5 * 2/3) / 11
    0.8485
    """
    return float(_precisions(scores, relevant, how)(np.ones((1, len(scores))))[0])


def mean_average_precision(
    scores: Floats, relevant: Flags, judged: Flags, how: MeanPrecision = "area"
) -> tuple[Estimate, Floats]:
    """mAP over classes with its bootstrap interval over pictures, and (n_classes,) of each class.

    scores, relevant, judged: (n, n_classes). What is not judged counts neither way ("difficult" in VOC). Classes
    without a relevant picture are NaN and left out.
    """
    by_class = _statistics(scores, relevant, judged, how)
    each = np.array([float(statistic(np.ones((1, len(scores))))[0]) for statistic in by_class])
    return Estimate(float(_mean_of_known(each)), Interval.of(_resampled_means(by_class, len(scores)))), each


def mean_average_precision_difference(
    first: Floats, second: Floats, relevant: Flags, judged: Flags, how: MeanPrecision = "area"
) -> Difference:
    """Second minus first of mAP, for the scores of two systems on the same pictures.

    Interval and p are the paired bootstrap's: p is twice the share of samples in which the difference has the other
    sign or none, since a ranking of all pictures cannot be swapped picture by picture at a bearable price.
    """
    values, resampled = [], []
    for scores in (first, second):
        by_class = _statistics(scores, relevant, judged, how)
        whole = np.ones((1, len(scores)))
        values.append(float(_mean_of_known(np.array([statistic(whole)[0] for statistic in by_class]))))
        resampled.append(_resampled_means(by_class, len(scores)))
    changes = resampled[1] - resampled[0]
    against = min(np.count_nonzero(changes <= 0), np.count_nonzero(changes >= 0))
    return Difference(
        first=values[0],
        second=values[1],
        value=values[1] - values[0],
        interval=Interval.of(changes),
        p=min(1.0, 2 * (1 + int(against)) / (1 + len(changes))),
    )


_Statistic: TypeAlias = Callable[[Floats], Floats]
"""From how often each picture is drawn, (some, n), to a value for each row."""


def _statistics(scores: Floats, relevant: Flags, judged: Flags, how: MeanPrecision) -> list[_Statistic]:
    return [
        _precisions(scores[:, column], relevant[:, column] & judged[:, column], how, judged[:, column])
        for column in range(scores.shape[1])
    ]


def _resampled_means(by_class: list[_Statistic], n_images: int) -> Floats:
    return np.concatenate(
        [_mean_of_known(np.array([statistic(drawn) for statistic in by_class])) for drawn in _draws(n_images)]
    )


def _mean_of_known(values: Floats) -> Floats:
    """The mean along the first axis of what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    counts = known.sum(axis=0)
    totals = np.where(known, values, 0).sum(axis=0)
    means: Floats = np.divide(totals, counts, out=np.full(np.shape(totals), math.nan), where=counts > 0)
    return means


def _precisions(scores: Floats, relevant: Flags, how: MeanPrecision, judged: Flags | None = None) -> _Statistic:
    """The average precision as a function of weights. Precision is read where something relevant stands: elsewhere it
    is lower, and recall does not rise."""
    kept = np.arange(len(scores)) if judged is None else np.flatnonzero(judged)
    order = kept[np.argsort(-scores[kept], kind="stable")]
    in_order, is_relevant = scores[order], relevant[order]
    group = np.cumsum(np.diff(in_order, prepend=in_order[:1]) != 0)
    lasts = np.flatnonzero(np.append(group[1:] != group[:-1], [True])) if len(group) else np.empty(0, np.intp)
    has_relevant = np.unique(group[is_relevant])
    ends, hits = lasts[has_relevant], np.flatnonzero(is_relevant)
    hit_ends = np.searchsorted(hits, ends, side="right") - 1

    def values(drawn: Floats) -> Floats:
        if not len(ends):
            return np.full(len(drawn), math.nan)
        weights = drawn[:, order]
        depth = np.cumsum(weights, axis=1)[:, ends]
        found = np.cumsum(weights[:, hits], axis=1)[:, hit_ends]
        total = found[:, -1:]
        precision = np.divide(found, depth, out=np.zeros_like(found), where=depth > 0)
        recall = np.divide(found, total, out=np.zeros_like(found), where=total > 0)
        if how == "area":
            result: Floats = (np.diff(recall, axis=1, prepend=0) * precision).sum(axis=1)
        else:
            highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            # Shares of whole numbers: 3 of 10 is at least 0.3, whatever the last bit says.
            at_least = [recall >= point - 1e-12 for point in _RECALL_POINTS]
            result = np.mean([np.where(r, highest, 0).max(axis=1) for r in at_least], axis=0)
        result[total[:, 0] == 0] = math.nan
        return result

    return values


def _draws(n_images: int) -> Iterator[Floats]:
    step = max(1, _DRAWS_AT_ONCE // max(1, n_images))
    for drawn in image_draws(np.arange(n_images), n_images):
        for start in range(0, len(drawn), step):
            yield drawn[start : start + step]
