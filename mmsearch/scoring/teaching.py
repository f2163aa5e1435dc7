"""Teaching a query by example: marked items move its vector.

A logistic regression on the vectors of the marked items, whose weights are kept near a first guess (MAP estimation
under a Gaussian prior with that mean):

    minimise  sum_i c_i log(1 + exp(-y_i f(x_i))) + penalty / 2 |w - w0|^2,  f(x) = w . (x - mean) / spread + b

What has been asked otherwise and the mean of the right items, each scaled so that its scores with the gallery have the
same deviation, make w0. f ranks like the dot product with w, so that w / |w| is a query vector like any other: it goes
through indexes, filters and pages. The minimum is found by the bound on the logistic's curvature (Boehning and Lindsay,
1988), which needs one solution of a system of as many unknowns as there are marks, and no line search.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.scoring.moments import Moments

__all__ = ["Examples", "Taught", "teach"]

# Of 15 words of 500 COCO photos (CLIP ViT-B/16), after five marks each way on the answer to a text or a picture: .76
# and .73 of the first ten others right; by the means of the marks (Rocchio) .71 and .63, before the marks .59 and .50
# (scripts/teaching_protocol.py). Penalties of 0.1 and 3 gave .02 to .03 less.
_PENALTY = 0.3
_DEVIATION = 0.5
"""What the first guess says of an item that lies a standard deviation above the others, as log odds."""

_OFFSET = 3.0  # the deviation of the prior of b, where that of each weight is 1
_LEAST_CHANGE = 1e-9
_MOST_ROUNDS = 500
_LEAST_SPREAD = 1e-6  # of items that are all alike
_FOLDS = 20
"""The most times that the marks are learnt from without some of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """What was marked.

    Attributes:
        vectors: float32 (n, dim), L2-normalised.
        weights: float64 (n,): above 0 for right, below for wrong; how much each counts.
    """

    vectors: NDArray[np.float32]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which are marked as right, (n,)."""
        right: NDArray[np.bool_] = self.weights > 0
        return right

    def only(self, rows: NDArray[np.bool_]) -> "Examples":
        """Those for which `rows` (n,) is true."""
        return Examples(self.vectors[rows], self.weights[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """A query that was taught.

    Attributes:
        vector: float32 (dim,), L2-normalised.
        told_apart: how many of the marks fall on their side when the query is taught without them; None where there are
            fewer than two of a side, of which nothing can be said.
        marks: how many there are.
    """

    vector: NDArray[np.float32]
    told_apart: int | None
    marks: int

    def in_words(self) -> str | None:
        """How far the marks can be trusted, for people; None where nothing can be said.

        >>> Taught(np.ones(1, np.float32), told_apart=9, marks=10).in_words()
        'taught by 10 marks: each left out in turn, 9 fall on their side'
        >>> Taught(np.ones(1, np.float32), told_apart=1, marks=4).in_words()
        'taught by 4 marks: each left out in turn, 1 falls on its side'
        """
        if self.told_apart is None:
            return None
        fall = "falls on its side" if self.told_apart == 1 else "fall on their side"
        return f"taught by {self.marks} marks: each left out in turn, {self.told_apart} {fall}"


def teach(asked: NDArray[np.float32] | None, examples: Examples, moments: Moments) -> Taught:
    """The vector that ranks as the examples say.

    asked: float32 (dim,): what is asked beside them; None for nothing, and then one example at least is right.
    moments: of the table that is searched.
    """
    space = _Space(moments, examples.vectors.shape[1])
    weights, _ = _learn(asked, examples, space)
    length = float(np.linalg.norm(weights))
    vector = examples.vectors[0] if length == 0.0 else (weights / length).astype(np.float32)
    return Taught(vector, _told_apart(asked, examples, space), len(examples))


class _Space:
    """The vectors of a table, centred and scaled to a mean length of 1."""

    def __init__(self, moments: Moments, dim: int) -> None:
        self.mean = moments.mean[:dim]
        self.spread = max(float(np.sqrt(moments.covariance[:dim, :dim].trace())), _LEAST_SPREAD)
        self._covariance = moments.covariance[:dim, :dim] / self.spread**2

    def centred(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        return (vectors - self.mean) / self.spread

    def of_one_deviation(self, direction: NDArray[np.float64]) -> NDArray[np.float64]:
        """A direction so long that its scores with the items of the table have a deviation of 1."""
        variance = float(direction @ self._covariance @ direction)
        deviation = math.sqrt(max(variance, 0.0))
        return direction / deviation if deviation > _LEAST_SPREAD else np.zeros_like(direction)


def _learn(asked: NDArray[np.float32] | None, examples: Examples, space: _Space) -> tuple[NDArray[np.float64], float]:
    """w (dim,) and b."""
    points = space.centred(examples.vectors)
    guess = np.zeros(points.shape[1])
    if asked is not None:
        guess += space.of_one_deviation(asked.astype(np.float64))
    if examples.right.any():
        guess += space.of_one_deviation(examples.weights.clip(0) @ points)
    guess = _DEVIATION * space.of_one_deviation(guess)
    # The answer lies in the span of the examples: guess + points' a.
    counts, wanted = np.abs(examples.weights), examples.right.astype(np.float64)
    first = points @ guess
    kernel = points @ points.T + _OFFSET**2
    inverse = np.linalg.inv(kernel + np.diag(4 * _PENALTY / counts))
    a = np.zeros(len(examples))
    for _ in range(_MOST_ROUNDS):
        reach = kernel @ a
        chance = 1 / (1 + np.exp(-np.clip(first + reach, -700, 700)))
        before, a = a, inverse @ (reach - 4 * (chance - wanted))
        if np.abs(a - before).max() < _LEAST_CHANGE:
            break
    return guess + points.T @ a, float(_OFFSET**2 * a.sum())


def _told_apart(asked: NDArray[np.float32] | None, examples: Examples, space: _Space) -> int | None:
    right = examples.right
    if min(right.sum(), (~right).sum()) < 2:
        return None
    # Each fold has its share of both sides.
    order = np.lexsort((np.arange(len(examples)), right))
    folds = np.empty(len(examples), np.int64)
    folds[order] = np.arange(len(examples)) % min(len(examples), _FOLDS)
    told = 0
    for fold in range(folds.max() + 1):
        out = folds == fold
        if asked is None and not right[~out].any():
            continue
        weights, offset = _learn(asked, examples.only(~out), space)
        sides = space.centred(examples.vectors[out]) @ weights + offset > 0
        told += int((sides == right[out]).sum())
    return told
