"""Recall against latency: the efforts that no other one beats."""

import math
from collections.abc import Sequence

from mmsearch.ann import TriedEffort
from mmsearch.indexing.records import IndexReport

__all__ = ["find_chosen_effort", "select_best_efforts"]


def select_best_efforts(tried: Sequence[TriedEffort], *, kept: TriedEffort | None = None) -> list[TriedEffort]:
    """Of all efforts those that find more than every quicker one, and the one that is kept; quickest first."""
    best: list[TriedEffort] = []
    most = -math.inf
    for point in sorted(tried, key=lambda point: (point.milliseconds, -point.low)):
        if point.low > most or point == kept:
            best.append(point)
            most = max(most, point.low)
    return best


def find_chosen_effort(report: IndexReport) -> TriedEffort | None:
    """The point of the curve at which the index searches; None where it was raised beyond those that were tried."""
    return next((point for point in report.tried if point.effort == report.effort), None)
