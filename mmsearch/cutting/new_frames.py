"""Which frames of a film show something new, by their vectors."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["choose_new"]


def choose_new(vectors: Sequence[NDArray[np.float32] | None], alike: float) -> list[bool]:
    """Which of some vectors in a row show something new: the first, and each whose cosine with the last that does is
    less than `alike`.

    vectors: of length 1; None where it is not known, of a frame that was kept by an earlier run. It is kept; what
    follows it is not, up to the next that is known, as it was by that run.

    >>> choose_new([np.array(each, np.float32) for each in ([1, 0], [0.99, 0.14], [0.9, 0.44], [0.8, 0.6])], 0.95)
    [True, False, True, False]
    """
    kept: list[bool] = []
    last: NDArray[np.float32] | None = None
    for number, vector in enumerate(vectors):
        is_new = number == 0 or vector is None or (last is not None and float(vector @ last) < alike)
        kept.append(is_new)
        last = vector if is_new else last
    return kept
