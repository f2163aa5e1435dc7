"""R@k against the size of the gallery, as tables with their notes."""

from mmsearch.evaluation import EvaluationReport
from mmsearch.metrics import SIZE_LAWS

__all__ = ["size_notes", "size_rows"]

_SHOWN = 5
"""Sizes in a table; plots and CSV have them all."""


def size_rows(report: EvaluationReport) -> tuple[list[str], list[list[str]]]:
    """A row a system, direction and k: R@k in galleries of some sizes, the law, how well it fits, and what it says of
    larger galleries. Without rows where nothing was measured."""
    header = ["model", "direction", "k", "items: R@k, measured", "law", "off where fitted", "off ahead"]
    header.append("items: R@k, extrapolated, not measured")
    rows = []
    for system in report.systems:
        for curve in system.sizes.curves if system.sizes else ():
            best = curve.fitted[0]
            points = curve.points[:: max(1, -(-len(curve.points) // _SHOWN))][:-1] + curve.points[-1:]
            rows.append(
                [
                    system.name,
                    curve.direction,
                    str(curve.k),
                    "; ".join(f"{point.gallery:,}: {100 * point.recall:.1f}" for point in points),
                    f"{best.law.name}, a = {best.law.a:.3g}, b = {best.law.b:.3g}",
                    f"{100 * best.error:.2f}",
                    f"{100 * best.ahead:.2f}" if best.ahead is not None else "not tried",
                    "; ".join(
                        f"{each.gallery:,}: {100 * each.recall:.1f} ({100 * each.low:.1f} to {100 * each.high:.1f})"
                        for each in curve.extrapolated
                    ),
                ]
            )
    return header, rows


def size_notes(report: EvaluationReport) -> list[str]:
    """What the table has to say of itself, a sentence a line; none where nothing was measured."""
    measured = [system.sizes for system in report.systems if system.sizes and system.sizes.curves]
    if not measured:
        return []
    used = dict.fromkeys(curve.fitted[0].law.name for sizes in measured for curve in sizes.curves)
    seeds = measured[0].seeds
    return [
        "R@k among n items, in percent: the mean of galleries of images drawn by lot, each with its captions "
        f"({len(seeds)} draws, seeds {', '.join(map(str, seeds))}; a smaller gallery is part of a larger one).",
        *(f"Law {name}: R@k = {SIZE_LAWS[name]}." for name in used),
        "Off, in points: the root of the mean squared distance from what was measured; ahead: at sizes above a quarter "
        "of the whole, of the law fitted to the sizes up to a quarter.",
        "Extrapolated figures were not measured. Their range is that of the draws, and of laws that are up to twice "
        "as far off; it holds neither the interval of the figures themselves nor what other pictures would do.",
    ]
