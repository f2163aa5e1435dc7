"""Vectors in two dimensions, so that those that are near stay near: t-SNE, exact, and the same on every run.

"Visualizing Data using t-SNE", van der Maaten and Hinton 2008, begun from the two principal axes ("The art of using
t-SNE for single-cell transcriptomics", Kobak and Berens 2019), so that nothing is left to chance, with the learning
rate of "Automated optimized parameters for t-distributed stochastic neighbor embedding", Belkina et al. 2019. Every
pair is looked at, which is affordable for some thousand vectors; more are placed at their neighbours among these.

Libraries that lay out more (openTSNE, scikit-learn, umap-learn) bring 100 MB and more along, and the first gave another
map for another number of threads.
"""

import numpy as np
from numpy.typing import NDArray

from mmsearch.blas import one_thread
from mmsearch.progress import Progress, ProgressCallback, quiet

__all__ = ["lay_out", "place_at_neighbours", "trustworthiness"]

Floats = NDArray[np.float32]

_PERPLEXITY = 30.0
_EXAGGERATION = 12.0
_EARLY, _STEPS = 120, 500
_NEIGHBOURS = 5
_HALVINGS = 40
_ROWS_AT_A_TIME = 1024
_LEAST = 1e-12


def lay_out(vectors: Floats, progress: ProgressCallback = quiet) -> Floats:
    """Positions (n, 2) of unit vectors (n, dim); n * n numbers are held a few times. n is at least 4."""
    n = len(vectors)
    with one_thread():
        wanted = _affinities(np.maximum(0, 2 - 2 * (vectors @ vectors.T)), min(_PERPLEXITY, (n - 1) / 3))
        positions = _principal_axes(vectors) * np.float32(1e-4)
        change, gains = np.zeros_like(positions), np.ones_like(positions)
        rate = np.float32(max(n / _EXAGGERATION, 50.0))
        wanted *= np.float32(_EXAGGERATION)
        for step in range(_STEPS):
            if step == _EARLY:
                wanted /= np.float32(_EXAGGERATION)
            slope = _slope(wanted, positions)
            gains = np.where((slope > 0) != (change > 0), gains + np.float32(0.2), gains * np.float32(0.8))
            gains = np.maximum(gains, np.float32(0.01))
            change = np.float32(0.5 if step < _EARLY else 0.8) * change - rate * gains * slope
            positions = positions + change
            positions -= positions.mean(axis=0)
            progress(Progress("laying out the map", step + 1, _STEPS))
    return positions


def _slope(wanted: Floats, positions: Floats) -> Floats:
    """The gradient of the divergence of the map from what is wanted of it, (n, 2)."""
    squares = np.einsum("nd,nd->n", positions, positions)
    nearness = positions @ positions.T
    nearness *= -2
    nearness += squares[:, None]
    nearness += squares[None, :]
    np.maximum(nearness, 0, out=nearness)
    nearness += 1
    np.reciprocal(nearness, out=nearness)
    np.fill_diagonal(nearness, 0)
    forces = wanted - nearness / np.float32(nearness.sum(dtype=np.float64))
    forces *= nearness
    slope: Floats = 4 * (forces.sum(axis=1)[:, None] * positions - forces @ positions)
    return slope


def _affinities(squares: Floats, perplexity: float) -> Floats:
    """How much each pair should be together, (n, n), summing up to 1. squares: of the distances.

    Each row's kernel is as wide as gives its neighbours the entropy of so many equal ones.
    """
    n = len(squares)
    np.fill_diagonal(squares, np.inf)
    near = squares - squares.min(axis=1, keepdims=True)
    finite = np.where(np.isfinite(near), near, 0)
    low, high = np.zeros(n, np.float32), np.full(n, np.inf, np.float32)
    beta = np.ones(n, np.float32)
    for _ in range(_HALVINGS):
        weights = np.exp(-near * beta[:, None])
        sums = np.maximum(weights.sum(axis=1), _LEAST)
        entropy = np.log(sums) + beta * np.einsum("ij,ij->i", finite, weights) / sums
        is_wide = entropy > np.log(perplexity)
        low, high = np.where(is_wide, beta, low), np.where(is_wide, high, beta)
        middle = (low + np.minimum(high, np.float32(1e30))) / 2
        beta = np.where(np.isfinite(high), middle, np.minimum(beta * 2, np.float32(1e12))).astype(np.float32)
    weights = np.exp(-near * beta[:, None])
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), _LEAST)
    together: Floats = ((weights + weights.T) / (2 * n)).astype(np.float32)
    return together


def _principal_axes(vectors: Floats) -> Floats:
    """Where the vectors lie on the two axes along which they differ most, (n, 2), the first with deviation 1."""
    centred = (vectors - vectors.mean(axis=0)).astype(np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    two = axes[:, :-3:-1]
    signs = np.sign(two[np.abs(two).argmax(axis=0), [0, 1]])  # an axis has no direction of its own
    along = centred @ (two * signs)
    scaled: Floats = (along / max(float(along[:, 0].std()), _LEAST)).astype(np.float32)
    return scaled


def place_at_neighbours(vectors: Floats, landmarks: Floats, positions: Floats) -> Floats:
    """Positions (n, 2) of unit vectors (n, dim) among landmarks (m, dim) at their positions (m, 2).

    Each stands at the mean of its five nearest landmarks, the nearest of them counting most.
    """
    placed = np.empty((len(vectors), 2), np.float32)
    k = min(_NEIGHBOURS, len(landmarks))
    for start in range(0, len(vectors), _ROWS_AT_A_TIME):
        rows = slice(start, start + _ROWS_AT_A_TIME)
        scores = vectors[rows] @ landmarks.T
        nearest = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        best = np.take_along_axis(scores, nearest, axis=1)
        weights = np.exp((best - best.max(axis=1, keepdims=True)) * 20)
        weights /= weights.sum(axis=1, keepdims=True)
        placed[rows] = np.einsum("nk,nkd->nd", weights, positions[nearest])
    return placed


def trustworthiness(vectors: Floats, positions: Floats, k: int = 10) -> float:
    """How far neighbours on the map are neighbours: 1 where the k nearest of each on the map are its k nearest.

    vectors: (n, dim), unit vectors, n more than 2 k. positions: (n, 2). What stands among the k nearest on the map and
    is only the r-th by cosine counts r - k against it ("Neighborhood preservation in nonlinear projection methods",
    Venna and Kaski 2001). By chance it is about .5.
    """
    n = len(vectors)
    penalty = 0
    for start in range(0, n, _ROWS_AT_A_TIME):
        rows = np.arange(start, min(start + _ROWS_AT_A_TIME, n))
        scores = vectors[rows] @ vectors.T
        scores[rows - start, rows] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(1, n + 1)[None, :], axis=1)
        distances = ((positions[rows, None] - positions[None]) ** 2).sum(axis=2)
        distances[rows - start, rows] = np.inf
        on_map = np.argpartition(distances, k - 1, axis=1)[:, :k]
        penalty += int(np.maximum(0, np.take_along_axis(ranks, on_map, axis=1) - k).sum())
    return 1 - 2 * penalty / (n * k * (2 * n - 3 * k - 1))
