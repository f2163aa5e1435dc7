"""Vectors into groups: spherical k-means, how many groups there are, and what belongs to none. Functions of arrays.

Vectors of one model lie in a narrow cone: most of what two of them have in common says nothing about either. So the
mean is taken away first, and what is left is normalised again.

k is chosen by the silhouette ("Silhouettes: a graphical aid to the interpretation and validation of cluster analysis",
Rousseeuw 1987): for each vector, a is its mean cosine distance to the others of its group and b the least mean distance
to those of another one; (b - a) / max(a, b) is 1 where the groups are far apart and 0 between two of them. Over unit
vectors all of these means follow from the sum of each group, without a look at pairs. Of the ks whose silhouette is
within one standard error of the best the largest is taken (the rule of Breiman et al., "Classification and Regression
Trees", 1984, turned around: of two that are as good, more albums tell more).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.blas import each_on_one_thread
from mmsearch.progress import Progress, ProgressCallback, quiet

__all__ = [
    "GroupSums",
    "Grouping",
    "Tried",
    "candidate_ks",
    "center",
    "choose_grouping",
    "group",
    "least_silhouette",
    "silhouettes",
    "without_twins",
]

Floats = NDArray[np.float32]

_ITERATIONS = 40
_STARTS = 8
_MOST_ALBUMS = 64
_LEAST_PER_ALBUM = 5
_LEAST_NORM = 1e-6
_KS = (*range(2, 13), 14, 16, 18, 20, 24, 28, 32, 40, 48, 56, 64)
_ROWS_AT_A_TIME = 1024


@dataclass(frozen=True, slots=True)
class Tried:
    """A number of groups that was tried. silhouette: the mean of the best start. error: its standard error."""

    k: int
    silhouette: float
    error: float


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """Groups of vectors.

    Attributes:
        centres: (k, dim), unit vectors.
        labels: (n,), the group of each vector.
        silhouettes: float64 (n,), see `silhouettes`.
        tried: every k.
    """

    centres: Floats
    labels: NDArray[np.int64]
    silhouettes: NDArray[np.float64]
    tried: tuple[Tried, ...]


def center(vectors: NDArray[np.floating], mean: NDArray[np.floating]) -> Floats:
    """Unit vectors (n, dim) less their mean (dim,), as unit vectors. What is the mean itself becomes zero.

    >>> center(np.array([[1, 0], [0, 1]], np.float32), np.array([0.5, 0.5])).round(2).tolist()
    [[0.7099999785423279, -0.7099999785423279], [-0.7099999785423279, 0.7099999785423279]]
    """
    less = (vectors - mean).astype(np.float32)
    norms = np.linalg.norm(less, axis=1, keepdims=True)
    less[norms[:, 0] < _LEAST_NORM] = 0
    unit: Floats = less / np.maximum(norms, _LEAST_NORM)
    return unit


def without_twins(vectors: Floats, cosine: float) -> NDArray[np.bool_]:
    """Which of unit vectors (n, dim) to keep so that none has this cosine or more with one that is kept before it.

    >>> without_twins(np.array([[1, 0], [1, 0], [0, 1]], np.float32), 0.97).tolist()
    [True, False, True]
    """
    keep = np.ones(len(vectors), np.bool_)
    for start in range(0, len(vectors), _ROWS_AT_A_TIME):
        rows = slice(start, start + _ROWS_AT_A_TIME)
        near = vectors[rows] @ vectors[: rows.stop].T >= cosine
        for position, is_near in enumerate(near, start):
            keep[position] = not np.any(is_near[:position] & keep[:position])
    return keep


def candidate_ks(rows: int) -> list[int]:
    """The numbers of groups that are tried for so many vectors: at least five of them to a group on average."""
    return [k for k in _KS if k <= min(_MOST_ALBUMS, rows // _LEAST_PER_ALBUM)] or [1]


def choose_grouping(vectors: Floats, ks: Sequence[int], seed: int, progress: ProgressCallback = quiet) -> Grouping:
    """The groups of unit vectors (n, dim), by the number of them, of `ks`, that suits best.

    The same vectors and seed give the same groups: starts run beside each other, and each for itself on one thread.
    """
    best = {}
    for number, k in enumerate(ks):
        progress(Progress("trying numbers of albums", number, len(ks)))
        best[k] = _best_start(vectors, k, seed)
    progress(Progress("trying numbers of albums", len(ks), len(ks)))
    tried = tuple(
        Tried(k, float(start.silhouettes.mean()), float(start.silhouettes.std() / np.sqrt(len(vectors))))
        for k, start in best.items()
    )
    chosen = best[_choose_k(tried)]
    return Grouping(chosen.centres, chosen.labels, chosen.silhouettes, tried)


@dataclass(frozen=True, slots=True, eq=False)
class _Start:
    """What k-means came to from one start."""

    centres: Floats
    labels: NDArray[np.int64]
    silhouettes: NDArray[np.float64]


def _best_start(vectors: Floats, k: int, seed: int) -> _Start:
    """By the silhouette, as k is chosen: what k-means itself minimises hardly tells one start from another."""
    starts: dict[int, _Start] = {}

    def run(number: int) -> None:
        centres, labels = group(vectors, k, np.random.default_rng([seed, k, number]))
        starts[number] = _Start(centres, labels, silhouettes(vectors, labels, GroupSums.of(vectors, labels, k)))

    each_on_one_thread(run, range(_STARTS))
    return max((starts[number] for number in range(_STARTS)), key=lambda start: float(start.silhouettes.mean()))


def _choose_k(tried: Sequence[Tried]) -> int:
    top = max(tried, key=lambda each: each.silhouette)
    return max(each.k for each in tried if each.silhouette >= top.silhouette - top.error)


def group(vectors: Floats, k: int, rng: np.random.Generator) -> tuple[Floats, NDArray[np.int64]]:
    """Centres (k, dim), unit vectors, and the group of each vector (n,), by spherical k-means.

    "Concept decompositions for large sparse text data using clustering", Dhillon and Modha 2001, begun as k-means++
    ("k-means++: the advantages of careful seeding", Arthur and Vassilvitskii 2007). A group that loses all of its
    vectors keeps its centre.
    """
    centres = _first_centres(vectors, k, rng)
    labels = np.full(len(vectors), -1)
    for _ in range(_ITERATIONS):
        nearest = np.argmax(vectors @ centres.T, axis=1)
        if np.array_equal(nearest, labels):
            break
        labels = nearest
        centres = np.where(_counts(labels, k)[:, None] > 0, _unit(_sums(vectors, labels, k)), centres)
    return centres, labels


def _first_centres(vectors: Floats, k: int, rng: np.random.Generator) -> Floats:
    """Of a few candidates, drawn by their distance from what is chosen, the one that brings all nearest each time."""
    chosen = [int(rng.integers(len(vectors)))]
    distances = np.maximum(0, 1 - vectors @ vectors[chosen[0]])
    tries = 2 + int(np.log(k))
    for _ in range(1, k):
        total = float(distances.sum(dtype=np.float64))
        chances = distances.astype(np.float64) / total if total > 0 else None
        chances = None if chances is None else chances / chances.sum()
        candidates = rng.choice(len(vectors), tries, p=chances)
        left = np.minimum(distances, np.maximum(0, 1 - vectors[candidates] @ vectors.T))
        best = int(np.argmin(left.sum(axis=1, dtype=np.float64)))
        chosen.append(int(candidates[best]))
        distances = left[best]
    return vectors[chosen]


@dataclass(frozen=True, slots=True, eq=False)
class GroupSums:
    """What all mean distances follow from. sums: (k, dim), of the vectors of each group. counts: (k,), of these."""

    sums: Floats
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, vectors: Floats, labels: NDArray[np.int64], k: int) -> "GroupSums":
        """Of unit vectors (n, dim) in k groups; labels: (n,)."""
        return cls(_sums(vectors, labels, k), _counts(labels, k))


def silhouettes(
    vectors: Floats, labels: NDArray[np.int64], groups: GroupSums, is_summed: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """The silhouette of each unit vector (n, dim) in its group, by cosine distance: float64 (n,).

    is_summed: (n,), which vectors are among those that were summed; None: all. 0 where its group holds nothing else, or
    there is no other group.

    >>> vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    >>> right, wrong = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    >>> silhouettes(vectors, right, GroupSums.of(vectors, right, 2)).tolist()
    [1.0, 1.0, 1.0, 1.0]
    >>> silhouettes(vectors, wrong, GroupSums.of(vectors, wrong, 2)).tolist()
    [-0.5, -0.5, -0.5, -0.5]
    """
    rows = np.arange(len(vectors))
    summed = np.ones(len(vectors), np.int64) if is_summed is None else is_summed.astype(np.int64)
    to_groups = (vectors @ groups.sums.T).astype(np.float64)
    own = np.einsum("nd,nd->n", vectors, vectors) * summed
    others = groups.counts[labels] - summed
    within = 1 - (to_groups[rows, labels] - own) / np.maximum(1, others)
    distances = np.where(groups.counts > 0, 1 - to_groups / np.maximum(1, groups.counts), np.inf)
    distances[rows, labels] = np.inf
    between = distances.min(axis=1)
    has_both = (others > 0) & np.isfinite(between)
    between = np.where(has_both, between, 0)
    values: NDArray[np.float64] = (between - within) / np.maximum(np.maximum(within, between), _LEAST_NORM)
    return np.where(has_both, values, 0.0)


def least_silhouette(values: NDArray[np.float64]) -> float:
    """A vector whose silhouette is less belongs to no group. values: (n,), of all that were grouped.

    It is below 0 where a vector is nearer to another group than to its own; and it is far below what is usual where it
    is less than the median by 2.5 standard deviations, taken from the median absolute deviation as "Detecting outliers:
    do not use standard deviation around the mean, use absolute deviation around the median", Leys et al. 2013, advise.

    >>> least_silhouette(np.array([0.5, 0.5, 0.52, 0.48, 0.1])).__round__(3), least_silhouette(np.array([0.2, 0.9]))
    (0.426, 0.0)
    """
    median = float(np.median(values))
    return max(0.0, median - 2.5 * 1.4826 * float(np.median(np.abs(values - median))))


def _counts(labels: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    return np.bincount(labels, minlength=k)


def _sums(vectors: Floats, labels: NDArray[np.int64], k: int) -> Floats:
    """The sum of each group, (k, dim)."""
    is_in = np.zeros((k, len(vectors)), np.float32)
    is_in[labels, np.arange(len(vectors))] = 1
    sums: Floats = is_in @ vectors
    return sums


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _LEAST_NORM)
    return unit
