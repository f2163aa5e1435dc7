"""The chance that something of such a score is relevant, fitted to scores whose answers are known.

    index        a + b * score + c * log(searched), b >= 0: the more items are searched, the higher the best of those
                 scores that mean nothing
    Platt        1 / (1 + exp(-index))
    isotonic     the non-decreasing function of the index that is nearest to what was seen

"Probabilistic Outputs for Support Vector Machines", Platt 1999, with the targets that it recommends, (N+ + 1) /
(N+ + 2) and 1 / (N- + 2), which keep the fit finite where a score separates all that is relevant from all that is not;
the search with backtracking is Lin, Lin and Weng's, 2007. "Transforming Classifier Scores into Accurate Multiclass
Probability Estimates", Zadrozny and Elkan 2002, for the isotonic form.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Form", "Probability", "fit_probability", "keep_threshold", "pool_adjacent_violators"]

Floats = NDArray[np.float64]
Form = Literal["platt", "isotonic"]

_DECIMALS = 12
_ITERATIONS = 100
_TINY = 1e-9  # keeps the equations of a step solvable where two columns say the same
_SEED = 0


@dataclass(frozen=True, slots=True)
class Probability:
    """A map from scores to chances that never falls while a score rises.

    Attributes:
        form: Which of the two forms it has.
        intercept: a of the index.
        slope: b, at least 0.
        searched_slope: c, of the logarithm of the number of items that were searched.
        lowest: No chance is less: 1 / (N- + 2). So many samples cannot say more.
        highest: No chance is more: (N+ + 1) / (N+ + 2).
        knots: Of the isotonic form, the index at the centre of each block, ascending; else empty.
        levels: The chance there; between two centres it is interpolated.
    """

    form: Form
    intercept: float
    slope: float
    searched_slope: float
    lowest: float
    highest: float
    knots: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()

    def __call__(self, scores: ArrayLike, searched: ArrayLike) -> Floats:
        """The chance of each score: float64, of the shape of both together, never 0 or 1.

        scores: finite. searched: among how many items was searched, at least 1; one number or one a score. Raises
        ValueError where a score is not finite.

        >>> chance = fit_probability(np.array([.1, .2, .3, .4]), np.full(4, 9), np.array([0, 0, 1, 1]), np.arange(4))
        >>> chance([0.0, 0.25, 0.5], 9).round(2).tolist()
        [0.25, 0.5, 0.75]
        """
        index = self.index(scores, searched)
        chances = _sigmoid(index) if self.form == "platt" else np.interp(index, self.knots, self.levels)
        # The last digits of a product depend on how many stand together, and a score has one chance in any company.
        return np.clip(np.round(chances, _DECIMALS), self.lowest, self.highest)

    def index(self, scores: ArrayLike, searched: ArrayLike) -> Floats:
        """a + b * score + c * log(searched), which brings scores of different fits to one scale; see `__call__`."""
        index: Floats = self.intercept + _features(scores, searched) @ np.array([self.slope, self.searched_slope])
        return index

    def to_json(self) -> dict[str, Any]:
        """A plain dict of strings, floats and lists of floats."""
        return {
            "form": self.form,
            "intercept": self.intercept,
            "slope": self.slope,
            "searched_slope": self.searched_slope,
            "lowest": self.lowest,
            "highest": self.highest,
            "knots": list(self.knots),
            "levels": list(self.levels),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """What `to_json` gave. Raises ValueError where a form is not known, KeyError where something is missing."""
        if record["form"] not in get_args(Form):
            raise ValueError(f"the form {record['form']!r} of a probability is not known")
        numbers = ("intercept", "slope", "searched_slope", "lowest", "highest")
        return cls(
            form=record["form"],
            **{name: float(record[name]) for name in numbers},
            knots=tuple(map(float, record["knots"])),
            levels=tuple(map(float, record["levels"])),
        )


def fit_probability(scores: ArrayLike, searched: ArrayLike, relevant: ArrayLike, clusters: ArrayLike) -> Probability:
    """The form that has the lower log loss on samples held out, fitted to all of them.

    scores: (n,), finite. searched: (n,) or one number, among how many items each was found. relevant: (n,) of 0 and 1.
    clusters: (n,), integers; samples of one cluster (an image) are held out together, in two folds. Isotonic has to be
    better by more than the standard error of the difference (Breiman et al. 1984): it has as many parameters as it
    likes. Where nothing can be held out, for want of clusters or because a fold has one answer only, the form is
    Platt's. If all samples are relevant, or none is, the chance is the same for every score, and so it is where higher
    scores are no better. Raises ValueError where there is no sample or a score is not finite.
    """
    features = _features(scores, searched)
    is_relevant = np.asarray(relevant, bool)
    _, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    if features.ndim != 2 or len(features) == 0 or not len(features) == len(is_relevant) == len(cluster):
        raise ValueError(f"{features.shape[:-1]} scores, {len(is_relevant)} answers and {len(cluster)} clusters")
    platt = _fit_platt(features, is_relevant)
    # By lot: whoever made the samples may have gone by the parity of something as well.
    fold = (np.random.default_rng(_SEED).permutation(int(cluster.max()) + 1) % 2)[cluster]
    gains = np.zeros(len(is_relevant))
    for held_out in (fold == 0, fold == 1):
        if len(np.unique(is_relevant[~held_out])) < 2 or not held_out.any():
            return platt
        simple = _fit_platt(features[~held_out], is_relevant[~held_out])
        isotonic = _fit_isotonic(simple, features[~held_out], is_relevant[~held_out])
        before, after = (_loss(form, features[held_out], is_relevant[held_out]) for form in (simple, isotonic))
        gains[held_out] = before - after
    by_cluster = np.bincount(cluster, gains)
    is_better = by_cluster.sum() > math.sqrt(float(by_cluster @ by_cluster))
    return _fit_isotonic(platt, features, is_relevant) if is_better else platt


def keep_threshold(relevant_scores: ArrayLike, keep: float = 0.9) -> float:
    """The highest threshold that a new relevant score reaches with a chance of at least `keep`.

    Split conformal prediction (Vovk, Gammerman and Shafer 2005; Lei et al. 2018): if the new score is exchangeable
    with n known ones, it lies below the r-th smallest of them with a chance of at most r / (n + 1). r is
    floor((n + 1) * (1 - keep)); where that is 0, n is too small and the threshold -inf. relevant_scores: (n,), no NaN.

    >>> keep_threshold(np.arange(1.0, 20.0)), keep_threshold(np.arange(1.0, 9.0))
    (2.0, -inf)
    """
    scores = np.sort(np.asarray(relevant_scores, np.float64))
    if not 0 <= keep <= 1 or np.isnan(scores).any():
        raise ValueError(f"a share of {keep} of {len(scores)} scores")
    # 10 * (1 - 0.9) is 0.9999999999999998
    rank = min(math.floor((len(scores) + 1) * (1 - keep) + 1e-9), len(scores))
    return float(scores[rank - 1]) if rank else -math.inf


def pool_adjacent_violators(values: Floats, weights: Floats) -> Floats:
    """The non-decreasing sequence that is nearest to `values` by weighted squares: (n,).

    Ayer, Brunk, Ewing, Reid and Silverman 1955. The weighted mean stays what it is. weights: (n,), above 0.

    >>> pool_adjacent_violators(np.array([1.0, 3.0, 2.0, 4.0]), np.ones(4)).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    means: list[float] = []
    sizes: list[float] = []
    lengths: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, size, length = value, weight, 1
        while means and means[-1] >= mean:
            earlier, earlier_size = means.pop(), sizes.pop()
            mean = (mean * size + earlier * earlier_size) / (size + earlier_size)
            size, length = size + earlier_size, length + lengths.pop()
        means.append(mean)
        sizes.append(size)
        lengths.append(length)
    return np.repeat(np.array(means, np.float64), lengths)


def _loss(fitted: Probability, features: Floats, is_relevant: NDArray[np.bool_]) -> Floats:
    """The log loss of each sample."""
    chances = fitted(features[:, 0], np.exp(features[:, 1]))
    return -np.log(np.where(is_relevant, chances, 1 - chances))


def _features(scores: ArrayLike, searched: ArrayLike) -> Floats:
    """(..., 2): the score and the logarithm of the number of items searched."""
    both = np.broadcast_arrays(np.asarray(scores, np.float64), np.asarray(searched, np.float64))
    if not np.isfinite(both[0]).all() or not (both[1] > 0).all():
        raise ValueError("scores have to be finite, and the number of items searched at least 1")
    return np.stack([both[0], np.log(both[1])], axis=-1)


def _fit_platt(features: Floats, is_relevant: NDArray[np.bool_]) -> Probability:
    positives = int(np.count_nonzero(is_relevant))
    lowest, highest = 1 / (len(is_relevant) - positives + 2), (positives + 1) / (positives + 2)
    targets = np.where(is_relevant, highest, lowest)
    middle, width = features.mean(axis=0), features.std(axis=0)
    varies = width > 1e-12 * np.maximum(1, np.abs(middle))
    coefficients = _fit_logistic((features - middle) / np.where(varies, width, 1), targets, varies)
    if coefficients[1] < 0:  # the loss is convex: with b >= 0 its least value then is at b = 0
        varies[0] = False
        coefficients = _fit_logistic((features - middle) / np.where(varies, width, 1), targets, varies)
    slopes = coefficients[1:] / np.where(varies, width, 1)
    intercept = coefficients[0] - float(slopes @ middle)
    return Probability("platt", float(intercept), float(slopes[0]), float(slopes[1]), lowest, highest)


def _fit_logistic(features: Floats, targets: Floats, used: NDArray[np.bool_]) -> Floats:
    """The coefficients (1 + n_features,) with the least log loss, by Newton's method; 0 for what is not used."""
    columns = np.concatenate([[True], used])
    inputs = np.concatenate([np.ones((len(features), 1)), features], axis=1)[:, columns]

    def loss(weights: Floats) -> float:
        index = inputs @ weights
        return float(np.sum(np.logaddexp(0, index) - targets * index))

    weights = np.zeros(inputs.shape[1])
    current = loss(weights)
    for _ in range(_ITERATIONS):
        chances = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (chances - targets)
        curvature = (inputs * (chances * (1 - chances))[:, None]).T @ inputs
        step = np.linalg.solve(curvature + _TINY * np.eye(len(weights)), gradient)
        share = 1.0
        while (lower := loss(weights - share * step)) > current and share > 1e-10:
            share /= 2
        if current - lower <= 1e-12 * max(1.0, current):
            break
        weights, current = weights - share * step, lower
    found = np.zeros(len(columns))
    found[columns] = weights
    return found


def _fit_isotonic(platt: Probability, features: Floats, is_relevant: NDArray[np.bool_]) -> Probability:
    """The isotonic form over the index of a fit of Platt's to the same samples."""
    index = platt.intercept + features @ np.array([platt.slope, platt.searched_slope])
    values, group, counts = np.unique(index, return_inverse=True, return_counts=True)
    weights = counts.astype(np.float64)
    levels = pool_adjacent_violators(np.bincount(group, is_relevant) / weights, weights)
    block = np.concatenate([[0], np.cumsum(np.diff(levels) > 0)])
    centres = np.bincount(block, values * weights) / np.bincount(block, weights)
    heights = levels[np.concatenate([[True], np.diff(levels) > 0])]
    return Probability(
        "isotonic",
        platt.intercept,
        platt.slope,
        platt.searched_slope,
        platt.lowest,
        platt.highest,
        tuple(centres.tolist()),
        tuple(heights.tolist()),
    )


def _sigmoid(index: Floats) -> Floats:
    return np.exp(-np.logaddexp(0, -index))
