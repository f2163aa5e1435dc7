"""How far the first answers hold groups in other shares than they should (Geyik, Ambler and Kenthapadi 2019)."""

import numpy as np
from numpy.typing import NDArray

from mmsearch.metrics.relevance import Ids

__all__ = ["max_skew_at_k", "ndkl_at_k"]

Floats = NDArray[np.float64]


def max_skew_at_k(ranked_groups: Ids, desired: Floats, k: int) -> float:
    """The largest ln(share in the first k / desired share) of all groups: 0 where all have what they should.

    ranked_groups: (n,), the group of each answer, best first. desired: (groups,), shares that sum to 1.

    >>> round(max_skew_at_k(np.array([0, 0, 0, 1]), np.array([0.5, 0.5]), k=4), 4)  # ln(.75 / .5)
    0.4055
    """
    _check(ranked_groups, desired, k)
    top = ranked_groups[:k]
    shares = np.bincount(top, minlength=len(desired)) / len(top)
    seen = shares > 0
    with np.errstate(divide="ignore"):
        return float(np.log(shares[seen] / desired[seen]).max())


def ndkl_at_k(ranked_groups: Ids, desired: Floats, k: int) -> float:
    """The divergence of Kullback and Leibler of the shares in the first i from the desired ones, i = 1 … k, averaged
    with weights 1 / log2(i + 1): 0 where all prefixes hold what they should, and never less. Natural logarithms.

    >>> round(ndkl_at_k(np.array([0, 1]), np.array([0.5, 0.5]), k=2), 4)  # ln 2 at i = 1, 0 at i = 2
    0.425
    """
    _check(ranked_groups, desired, k)
    top = ranked_groups[:k]
    places = np.arange(1, len(top) + 1)
    shares = np.cumsum(np.eye(len(desired))[top], axis=0) / places[:, np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares > 0, shares * np.log(shares / desired), 0.0)
    weights = 1 / np.log2(places + 1)
    return float((weights @ terms.sum(axis=1)) / weights.sum())


def _check(ranked_groups: Ids, desired: Floats, k: int) -> None:
    if k < 1 or not len(ranked_groups):
        raise ValueError(f"k is {k}, with {len(ranked_groups)} answers: at least one of each")
    if not np.isclose(desired.sum(), 1) or (desired < 0).any():
        raise ValueError(f"desired shares {desired.tolist()} do not sum to 1")
