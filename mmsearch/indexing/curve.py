"""Recall against latency: the efforts that no other one beats, and a drawing of them as SVG."""

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from mmsearch.ann import TriedEffort
from mmsearch.errors import AnnIndexError, StoreError
from mmsearch.indexing.records import IndexReport

__all__ = ["chosen", "curve", "draw"]

_WIDTH, _HEIGHT = 720, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 56, 56
_COLOURS = {"text": "#b3471d", "image": "#1d6fb3"}


def curve(tried: Sequence[TriedEffort], *, kept: TriedEffort | None = None) -> list[TriedEffort]:
    """Of all efforts those that find more than every quicker one, and the one that is kept; quickest first."""
    best: list[TriedEffort] = []
    most = -math.inf
    for point in sorted(tried, key=lambda point: (point.milliseconds, -point.low)):
        if point.low > most or point == kept:
            best.append(point)
            most = max(most, point.low)
    return best


def chosen(report: IndexReport) -> TriedEffort | None:
    """The point of the curve at which the index searches; None where it was raised beyond those that were tried."""
    return next((point for point in report.tried if point.effort == report.effort), None)


def draw(report: IndexReport, file: Path) -> Path:
    """Draw recall against the latency of single queries, for text and for image queries. Raises StoreError."""
    if file.suffix.lower() != ".svg":
        raise AnnIndexError(f"the curve is drawn as SVG: name the file {file.with_suffix('.svg')}")
    at = chosen(report)
    points = curve(report.tried, kept=at)
    try:
        file.write_text(_svg(report, points, at), encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {file}: {(error.strerror or str(error)).lower()}") from error
    return file


def _svg(report: IndexReport, points: Sequence[TriedEffort], at: TriedEffort | None) -> str:
    recalls = [value for point in points for value in (point.text, point.image) if value is not None]
    low = math.floor(10 * min([*recalls, report.recall_target, 0.9])) / 10
    times = [point.milliseconds for point in points] or [1.0]
    first, last = math.log10(min(times) / 1.2), math.log10(max(times) * 1.2)

    def x(milliseconds: float) -> float:
        return _LEFT + (math.log10(milliseconds) - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y(recall: float) -> float:
        return _TOP + (1 - recall) / (1 - low) * (_HEIGHT - _TOP - _BOTTOM)

    title = f"{report.factory}, {report.rows:,} {report.table}: recall at {_k(report)} against time"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="24" font-size="15">{escape(title)}</text>',
        *_axes(x, y, low, 10**first, 10**last),
        _line(_LEFT, y(report.recall_target), _WIDTH - _RIGHT, y(report.recall_target), "#888", dash="6 4"),
        f'<text x="{_WIDTH - _RIGHT}" y="{y(report.recall_target) + 14:.1f}" text-anchor="end" fill="#666">'
        f"target {report.recall_target:g}</text>",
    ]
    for place, (kind, colour) in enumerate(_COLOURS.items()):
        values = [(point.milliseconds, getattr(point, kind)) for point in points]
        there = [(x(time), y(recall)) for time, recall in values if recall is not None]
        if not there:
            continue
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top in there)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{colour}"/>' for left, top in there]
        parts.append(f'<text x="{_LEFT + 110 * place}" y="44" fill="{colour}">● {kind} queries</text>')
    if at is not None:
        parts.append(_line(x(at.milliseconds), _TOP, x(at.milliseconds), _HEIGHT - _BOTTOM, "#2a7d2a", dash="2 3"))
        parts.append(f'<text x="{x(at.milliseconds) + 4:.1f}" y="{_HEIGHT - _BOTTOM - 8}" fill="#2a7d2a">chosen</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _k(report: IndexReport) -> int:
    return next((recall.k for recall in report.recall), 0)


def _axes(x: Callable[[float], float], y: Callable[[float], float], low: float, first: float, last: float) -> list[str]:
    parts = []
    step = 0.05 if low >= 0.5 else 0.1
    for number in range(round((1 - low) / step) + 1):
        recall = low + number * step
        parts.append(_line(_LEFT, y(recall), _WIDTH - _RIGHT, y(recall), "#e4e4e4"))
        parts.append(f'<text x="{_LEFT - 8}" y="{y(recall) + 4:.1f}" text-anchor="end">{recall:.2f}</text>')
    for power in range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1):
        for digit in (1, 2, 5):
            time = digit * 10.0**power
            if first <= time <= last:
                parts.append(_line(x(time), _TOP, x(time), _HEIGHT - _BOTTOM, "#e4e4e4"))
                parts.append(
                    f'<text x="{x(time):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{time:g}</text>'
                )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 14}" text-anchor="middle">milliseconds for one query</text>')
    return parts


def _line(left: float, top: float, right: float, bottom: float, colour: str, *, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{left:.1f}" y1="{top:.1f}" x2="{right:.1f}" y2="{bottom:.1f}" stroke="{colour}"{dashes}/>'
