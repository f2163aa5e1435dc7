"""How far two sets of vectors of one model lie apart."""

import numpy as np
from numpy.typing import NDArray

from mmsearch.metrics.relevance import Ids, Vectors

__all__ = ["frechet_distance", "gaussian_kernel", "median_distance", "mmd_squared", "neighbour_distance"]

Floats = NDArray[np.float64]
_ROWS = 2_048


def frechet_distance(first: Vectors | Floats, second: Vectors | Floats) -> float:
    """The squared Fréchet distance of the normal distributions with the means and covariances of both (Dowson and
    Landau 1982), which of Inception's vectors is called FID: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    It grows as samples shrink: compare it for equal numbers only. first: (n, dim), second: (m, dim), two rows or more.

    >>> line = np.array([[-1.0, 0], [1, 0]])
    >>> round(frechet_distance(line, line + [0, 3]), 6), round(frechet_distance(line, 2 * line), 6)  # 9; (2 - 1)^2 * 2
    (9.0, 2.0)
    """
    wide = [each.astype(np.float64) for each in (first, second)]
    between = wide[0].mean(axis=0) - wide[1].mean(axis=0)
    # C = A'A of the centred rows A, and so is R'R with R of the QR decomposition. The trace of (C1 C2)^(1/2) is the sum
    # of the singular values of A1 A2': no covariance is formed and no root drawn, which takes a third of the time.
    roots = [_root_of_covariance(each) for each in wide]
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    distance = between @ between + sum(float(np.sum(root * root)) for root in roots) - 2 * shared
    return float(max(distance, 0.0))


def _root_of_covariance(vectors: Floats) -> Floats:
    """(at most dim, dim): its product with itself, transposed first, is the covariance of the rows."""
    centred: Floats = (vectors - vectors.mean(axis=0)) / np.sqrt(len(vectors) - 1)
    return centred if len(centred) <= centred.shape[1] else np.asarray(np.linalg.qr(centred, mode="r"), np.float64)


def median_distance(vectors: Vectors | Floats) -> float:
    """The median of the distances between different rows: the usual width of a Gaussian kernel."""
    squared = _squared_distances(vectors.astype(np.float64), vectors.astype(np.float64))
    return float(np.sqrt(np.median(squared[np.triu_indices(len(squared), 1)])))


def gaussian_kernel(vectors: Vectors | Floats, width: float) -> Floats:
    """exp(-|x - y|^2 / (2 width^2)) of all pairs of rows, (n, n)."""
    wide = vectors.astype(np.float64)
    kernel: Floats = np.exp(_squared_distances(wide, wide) / (-2 * width**2))
    return kernel


def mmd_squared(kernel: Floats, first: Floats, second: Floats) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012, lemma 6).

    kernel: (n, n) of all rows of both sets. first, second: (n,), how often each row counts in each set. A row is never
    paired with itself, however often it counts, so that bootstrap samples are no nearer to each other. Around 0, and
    below it as often as above, where both sets are of one distribution.

    >>> kernel = gaussian_kernel(np.array([[0.0], [0], [9], [9]]), width=1.0)
    >>> round(mmd_squared(kernel, np.array([1.0, 1, 0, 0]), np.array([0.0, 0, 1, 1])), 6)  # 1 + 1 - 2 * 0
    2.0
    """
    diagonal = np.diag(kernel)

    def mean(one: Floats, other: Floats) -> float:
        own = one * other
        return float((one @ kernel @ other - own @ diagonal) / (one.sum() * other.sum() - own.sum()))

    return mean(first, first) + mean(second, second) - 2 * mean(first, second)


def neighbour_distance(vectors: Vectors, reference: Vectors, k: int, own: Ids | None = None) -> tuple[Floats, Ids]:
    """Of each row the mean of 1 - cosine to its k nearest rows of a reference, and the nearest of them.

    vectors: (n, dim), reference: (m, dim), L2-normalised. own: (n,), the row of the reference that is the row itself
    and does not count.

    >>> reference = np.eye(3, dtype=np.float32)
    >>> distances, nearest = neighbour_distance(np.array([[0.6, 0.8, 0]], np.float32), reference, k=2)
    >>> distances.round(3).tolist(), nearest.tolist()
    ([0.3], [1])
    """
    if k > len(reference) - (own is not None):
        raise ValueError(f"{k} neighbours of {len(reference)} rows")
    distances, nearest = np.empty(len(vectors)), np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), _ROWS):
        some = slice(start, start + _ROWS)
        cosines = vectors[some].astype(np.float32) @ reference.astype(np.float32).T
        if own is not None:
            cosines[np.arange(len(cosines)), own[some]] = -np.inf
        best = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        scores = np.take_along_axis(cosines, best, axis=1)
        distances[some] = 1 - scores.astype(np.float64).mean(axis=1)
        nearest[some] = best[np.arange(len(best)), scores.argmax(axis=1)]
    return distances, nearest


def _squared_distances(first: Floats, second: Floats) -> Floats:
    lengths = np.einsum("nd,nd->n", first, first)[:, np.newaxis] + np.einsum("nd,nd->n", second, second)
    squared: Floats = np.maximum(lengths - 2 * first @ second.T, 0)
    return squared
