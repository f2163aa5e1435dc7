"""Windows of time in a film: how well those that were found agree with those that are meant."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["AP_OVERLAPS", "Windows", "window_average_precision", "window_overlaps"]

Windows: TypeAlias = NDArray[np.float64]
"""(n, 2): when each begins and ends, in seconds."""

AP_OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""The overlaps over which QVHighlights' mAP is averaged: 0.5, 0.55, …, 0.95."""


def window_overlaps(found: Windows, meant: Windows) -> NDArray[np.float64]:
    """(n_found, n_meant): the intersection of each pair over its union; 0 where both take no time.

    >>> window_overlaps(np.array([[0.0, 10.0]]), np.array([[5.0, 15.0], [0.0, 10.0]])).round(3).tolist()
    [[0.333, 1.0]]
    """
    begins = np.maximum(found[:, None, 0], meant[None, :, 0])
    ends = np.minimum(found[:, None, 1], meant[None, :, 1])
    shared = np.maximum(ends - begins, 0.0)
    lengths = (found[:, 1] - found[:, 0])[:, None] + (meant[:, 1] - meant[:, 0])[None, :]
    union = lengths - shared
    overlaps: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlaps


def window_average_precision(
    found: Windows, meant: Windows, overlaps: Sequence[float] = AP_OVERLAPS
) -> NDArray[np.float64]:
    """The average precision of the windows found for one query, at each overlap: (n_overlaps,).

    As QVHighlights defines it (Lei et al. 2021, after ActivityNet's): going down the windows found, best first, each
    takes the window that it overlaps most of those that no better one took, if by at least the overlap asked for; it
    is wrong otherwise. Precision is interpolated: at a recall it is the highest at that recall or more. found: (n, 2),
    best first; meant: (m, 2), m > 0.

    >>> window_average_precision(np.array([[20.0, 30.0], [0.0, 10.0]]), np.array([[0.0, 10.0]]), [0.5]).tolist()
    [0.5]
    """
    agreed = window_overlaps(found, meant)
    precisions = np.zeros(len(overlaps))
    for place, least in enumerate(overlaps):
        free = np.ones(len(meant), bool)
        right = np.zeros(len(found), bool)
        for row in range(len(found)):
            open_to_it = np.where(free & (agreed[row] >= least), agreed[row], -1.0)
            best = int(np.argmax(open_to_it))
            if open_to_it[best] >= 0:
                free[best], right[row] = False, True
        precision = np.cumsum(right) / np.arange(1, len(found) + 1)
        at_least = np.maximum.accumulate(precision[::-1])[::-1]
        precisions[place] = at_least[right].sum() / len(meant)
    return precisions
