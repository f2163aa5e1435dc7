"""Classifiers that learn from vectors: what zero-shot classification is compared with. Pure functions of arrays."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.metrics import Ids

__all__ = ["PENALTIES", "LinearProbe", "cache_scores", "choose_penalty", "fit_linear_probe", "nearest_mean_scores"]

Floats: TypeAlias = NDArray[np.floating[Any]]

PENALTIES = tuple(10.0**power for power in range(-1, -6, -1))
"""From strong to weak: of vectors of length 1, the first all but averages them and the last all but separates them."""
ONLY_PENALTY = 1e-3
"""Where there is nothing to choose by: one picture a class."""
_STEPS = 200
_STEPS_TO_CHOOSE = 30  # which answer is best changes little after that
_MEMORY = 10
_TOLERANCE = 1e-6
_LEAST_FALL = 1e-7  # of the function in one step, as a share of it


@dataclass(frozen=True, slots=True, eq=False)
class LinearProbe:
    """Scores are vectors @ weights + bias. weights: (dim, n_classes). bias: (n_classes,)."""

    weights: Floats
    bias: Floats

    def scores(self, vectors: Floats) -> Floats:
        """(n, n_classes); of equal ones the first is taken."""
        scores: Floats = vectors @ self.weights + self.bias
        return scores


def fit_linear_probe(
    vectors: Floats,
    classes: Ids,
    n_classes: int,
    penalty: float,
    *,
    start: LinearProbe | None = None,
    steps: int = _STEPS,
) -> LinearProbe:
    """Multinomial logistic regression: the least of the mean cross-entropy plus penalty / 2 times the squared weights.

    Biases are not penalised. That is scikit-learn's LogisticRegression with C = 1 / (penalty * n). L-BFGS (Liu and
    Nocedal 1989), to a gradient below 1e-6 or until a step wins less than 1e-7 of the value. vectors: (n, dim), of the
    precision that is computed in. classes: (n,). start: where to begin. steps: at most so many.
    """
    centre = vectors.mean(axis=0)  # changes nothing but how fast it goes: biases are free
    centred = vectors - centre
    truth = np.zeros((len(classes), n_classes), vectors.dtype)
    truth[np.arange(len(classes)), classes] = 1
    dim = vectors.shape[1]

    def value_and_slope(flat: Floats) -> tuple[float, Floats]:
        weights, bias = flat[: dim * n_classes].reshape(dim, n_classes), flat[dim * n_classes :]
        logits = centred @ weights + bias
        logits -= logits.max(axis=1, keepdims=True)
        exponents = np.exp(logits)
        totals = exponents.sum(axis=1, keepdims=True)
        loss = np.mean(np.log(totals[:, 0]) - logits[np.arange(len(classes)), classes])
        wrong = (exponents / totals - truth) / len(classes)
        slope = np.concatenate([(centred.T @ wrong + penalty * weights).ravel(), wrong.sum(axis=0)])
        return float(loss + penalty / 2 * np.sum(weights**2)), slope

    flat = np.zeros((dim + 1) * n_classes, vectors.dtype)
    if start is not None:
        flat = np.concatenate([start.weights.ravel(), start.bias + centre @ start.weights])
    flat = _minimise(value_and_slope, flat, steps)
    weights, bias = flat[: dim * n_classes].reshape(dim, n_classes), flat[dim * n_classes :]
    return LinearProbe(weights, bias - centre @ weights)


def _minimise(value_and_slope: Callable[[Floats], tuple[float, Floats]], flat: Floats, steps: int) -> Floats:
    """L-BFGS with a line search that halves until the function falls enough (Armijo)."""
    value, slope = value_and_slope(flat)
    pairs: deque[tuple[Floats, Floats, float]] = deque(maxlen=_MEMORY)
    for _ in range(steps):
        if np.abs(slope).max() < _TOLERANCE:
            break
        direction = -_inverse_curvature(slope, pairs)
        descent = float(direction @ slope)
        step = 1.0 if pairs else 1 / max(1.0, float(np.linalg.norm(slope)))
        while True:
            ahead = flat + step * direction
            next_value, next_slope = value_and_slope(ahead)
            if next_value <= value + 1e-4 * step * descent or step < 1e-6:
                break
            step /= 2
        moved, turned = ahead - flat, next_slope - slope
        if (curvature := float(moved @ turned)) > 1e-18:
            pairs.append((moved, turned, curvature))
        fall = value - next_value
        if fall > 0:
            flat, value, slope = ahead, next_value, next_slope
        if fall <= _LEAST_FALL * value:
            break
    return flat


def _inverse_curvature(slope: Floats, pairs: deque[tuple[Floats, Floats, float]]) -> Floats:
    """The slope times what the last steps say of the inverse Hessian (the two loops of L-BFGS)."""
    direction = slope.copy()
    shares = []
    for moved, turned, curvature in reversed(pairs):
        share = float(moved @ direction) / curvature
        direction -= share * turned
        shares.append(share)
    if pairs:
        _, turned, curvature = pairs[-1]
        direction *= curvature / float(turned @ turned)
    for (moved, turned, curvature), share in zip(pairs, reversed(shares), strict=True):
        direction += (share - float(turned @ direction) / curvature) * moved
    return direction


def choose_penalty(vectors: Floats, classes: Ids, n_classes: int, *, penalties: Iterable[float] = PENALTIES) -> float:
    """The penalty with the most right answers on what was held out of these pictures: two folds, each with half of
    every class. Of equal ones the stronger. ONLY_PENALTY where every class has one picture."""
    counts = np.bincount(classes)
    if counts.max() < 2:
        return ONLY_PENALTY
    place = _places_within_classes(classes)
    single = vectors.astype(np.float32)
    candidates = sorted(penalties, reverse=True)
    right = np.zeros(len(candidates))
    for fold in range(2):
        # A class of one picture stays among those that are learned from.
        held_out = (place % 2 == fold) & (counts[classes] > 1)
        if not held_out.any():
            continue
        probe = None
        for number, penalty in enumerate(candidates):
            learned = single[~held_out], classes[~held_out], n_classes, penalty
            probe = fit_linear_probe(*learned, start=probe, steps=_STEPS_TO_CHOOSE)
            right[number] += np.count_nonzero(probe.scores(single[held_out]).argmax(axis=1) == classes[held_out])
    return candidates[int(right.argmax())]


def _places_within_classes(classes: Ids) -> Ids:
    """(n,) the how-manieth of its class each is, from 0."""
    order = np.argsort(classes, kind="stable")
    starts = np.flatnonzero(np.diff(classes[order], prepend=-1))
    places = np.empty(len(classes), np.int64)
    places[order] = np.arange(len(classes)) - np.repeat(starts, np.diff(np.append(starts, len(classes))))
    return places


def nearest_mean_scores(learned: Floats, classes: Ids, n_classes: int, vectors: Floats) -> Floats:
    """(n, n_classes) cosines with the mean of each class's vectors; -inf for a class without any.

    >>> learned, classes = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])
    >>> nearest_mean_scores(learned, classes, 3, np.array([[0.6, 0.8]])).tolist()
    [[0.6, 0.8, -inf]]
    """
    totals = np.zeros((n_classes, learned.shape[1]))
    np.add.at(totals, classes, learned)
    lengths = np.linalg.norm(totals, axis=1, keepdims=True)
    scores: Floats = vectors @ (totals / np.maximum(lengths, 1e-12)).T
    scores[:, np.bincount(classes, minlength=n_classes) == 0] = -np.inf
    return scores


def cache_scores(
    texts: Floats,
    learned: Floats,
    classes: Ids,
    vectors: Floats,
    scale: float,
    *,
    weight: float = 1.0,
    sharpness: float = 5.5,
) -> Floats:
    """(n, n_classes) zero-shot scores, and beside them what the pictures that are known say.

    Tip-Adapter without training (Zhang et al. 2022): scale * cosine with the text of a class, plus weight times the
    sum over its pictures of exp(-sharpness * (1 - cosine)); weight and sharpness are those of the paper's section 4.

    >>> texts, picture = np.eye(2), np.array([[1.0, 0.0]])
    >>> cache_scores(texts, picture, np.array([1]), picture, 2.0).tolist()
    [[2.0, 1.0]]
    """
    truth = np.zeros((len(classes), len(texts)))
    truth[np.arange(len(classes)), classes] = 1
    alike = np.exp(-sharpness * (1 - vectors @ learned.T))
    scores: Floats = scale * (vectors @ texts.T) + weight * (alike @ truth)
    return scores
