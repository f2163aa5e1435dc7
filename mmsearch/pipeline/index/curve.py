"""Recall against latency: the efforts that no other one beats."""

from collections.abc import Sequence
from pathlib import Path

from mmsearch.ann import TriedEffort

__all__ = ["curve", "draw"]


def curve(tried: Sequence[TriedEffort]) -> list[TriedEffort]:
    """Of all efforts those that find more than every quicker one, quickest first."""
    best: list[TriedEffort] = []
    for point in sorted(tried, key=lambda point: (point.milliseconds, -point.low)):
        if not best or point.low > best[-1].low:
            best.append(point)
    return best


def draw(tried: Sequence[TriedEffort], target: float, file: Path) -> Path:
    raise NotImplementedError
