"""A linear map on the vectors of texts: it takes seconds, and needs neither pictures nor the model.

It stands behind the text side as a matrix that is multiplied into the last one of the text tower, so that a model with
it is an ordinary one.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["STRENGTHS", "fit_text_map", "mapped"]

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""How firmly the map is held to the identity, in shares of the mean variance of the texts."""

_SAME = 1e-9  # the mean squared distance from their mean, at which texts of length 1 differ by rounding alone

_Floats = NDArray[np.float32]


def fit_text_map(texts: _Floats, images: _Floats, *, strength: float) -> _Floats:
    """The matrix (dim, dim) that brings each text x as x @ matrix nearest to its picture, held to the identity: ridge
    regression whose penalty is the squared distance from the identity (Hoerl and Kennard 1970).

    texts, images: (n, dim), row by row pairs; their means are subtracted, since texts and pictures of such models stand
    apart as a whole (Liang et al. 2022), and that is not to be learnt. strength: at infinity the identity, which it is
    also where all texts are the same: then there is nothing to be learnt from.

    >>> texts = np.eye(3, dtype=np.float32)
    >>> np.allclose(fit_text_map(texts, texts, strength=1.0), np.eye(3), atol=1e-6)
    True
    """
    x, y = (each.astype(np.float64) - each.mean(axis=0, dtype=np.float64) for each in (texts, images))
    if (x**2).sum() <= _SAME * len(x):
        return np.eye(x.shape[1], dtype=np.float32)
    # Each picture is compared by its direction: of texts as long as pictures the identity is the right size.
    y *= np.linalg.norm(x) / max(np.linalg.norm(y), np.finfo(np.float64).tiny)
    dim = x.shape[1]
    penalty = strength * (x**2).sum() / dim
    matrix = np.linalg.solve(x.T @ x + penalty * np.eye(dim), x.T @ y + penalty * np.eye(dim))
    return matrix.astype(np.float32)


def mapped(texts: _Floats, matrix: _Floats, alpha: float = 1.0) -> _Floats:
    """Texts (n, dim) by a share of the way from the identity to the map, each of length 1 again."""
    moved = (1 - alpha) * texts + alpha * (texts @ matrix)
    moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return moved.astype(np.float32)
