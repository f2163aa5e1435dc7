"""Standard scores: how far a score stands above what the same query scores with the items of a table at large.

    z(q, i) = (score(q, i) - mean) / standard deviation, over all items of the table

Texts lie nearer to texts than to any image (the modality gap), so that cosines with items of two kinds cannot be
compared; their standard scores can. Mean and deviation of a query's scores follow from mean and covariance of the
vectors, without a pass over them:

    mean = q . mean(x),  variance = q' covariance(x) q

A corrected score is a dot product too, of (q, -alpha) and (x, what the item's score is lowered by for alpha 1).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.exact import Vectors

__all__ = ["Moments", "MomentsSum"]

_LEAST_DEVIATION = 1e-6  # items that are all alike tell nothing apart


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Of the vectors of a table, each with the mean that lowers it. mean: float64 (dim + 1,); covariance: float64
    (dim + 1, dim + 1)."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def standard_scores(
        self, query: NDArray[np.float32], scores: NDArray[np.float64], *, alpha: float = 0.0
    ) -> NDArray[np.float64]:
        """Scores of one query, which are corrected by alpha, as standard scores, (n,) each.

        query: (dim,); or (m, dim) where the scores are the highest with any of so many vectors: mean and deviation are
        then those of the scores with all of them.

        >>> moments = Moments(np.array([0.2, 0.0]), np.array([[0.04, 0.0], [0.0, 0.0]]))
        >>> moments.standard_scores(np.array([1.0], np.float32), np.array([0.2, 0.6])).tolist()
        [0.0, 2.0]
        """
        vectors = np.atleast_2d(query).astype(np.float64)
        asked = np.column_stack([vectors, np.full(len(vectors), -alpha)])
        means, variances = asked @ self.mean, ((asked @ self.covariance) * asked).sum(axis=1)
        deviation = np.sqrt(max(0.0, float(variances.mean() + means.var())))
        standard: NDArray[np.float64] = (scores - means.mean()) / max(deviation, _LEAST_DEVIATION)
        return standard


class MomentsSum:
    """Adds up the rows of a table, block by block, every `step`-th of them."""

    def __init__(self, dim: int, *, step: int = 1) -> None:
        self._step = step
        self._rows = 0
        self._sum = np.zeros(dim + 1)
        self._products = np.zeros((dim + 1, dim + 1))

    def add(self, vectors: Vectors, means: NDArray[np.floating] | None = None) -> None:
        """vectors: (n, dim). means: (n,), of the bank; None where nothing is corrected."""
        chosen = np.asarray(vectors[:: self._step], np.float32)
        lowered = np.zeros(len(chosen), np.float32) if means is None else means[:: self._step]
        wide = np.column_stack([chosen, lowered]).astype(np.float32, copy=False)
        self._rows += len(wide)
        self._sum += wide.sum(axis=0, dtype=np.float64)
        self._products += wide.T @ wide

    def moments(self) -> Moments:
        """Raises ValueError where no row was added."""
        if not self._rows:
            raise ValueError("no rows")
        mean = self._sum / self._rows
        return Moments(mean, self._products / self._rows - np.outer(mean, mean))
