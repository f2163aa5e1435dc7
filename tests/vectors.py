"""Vectors as tests need them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unit_vectors(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(..., dim) -> the same directions, each of length 1."""
    lengths: NDArray[np.float64] = np.linalg.norm(np.asarray(vectors, np.float64), axis=-1, keepdims=True)
    return vectors / lengths


def random_unit_vectors(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Evenly spread over the directions; the last of the shape is the dimension."""
    return unit_vectors(rng.standard_normal(shape)).astype(np.float32)
