"""Prints what zero-shot classification found, for people."""

from typing import TYPE_CHECKING

from mmsearch.cli.figures import print_differences
from mmsearch.cli.options import say

if TYPE_CHECKING:
    from mmsearch.evaluation import ZeroShotReport, ZeroShotSystem

__all__ = ["print_zeroshot"]

_MOST = 10
"""Classes and confusions that are printed; reports have them all."""


def print_zeroshot(report: "ZeroShotReport") -> None:
    """Figures, calibration, the worst classes, and what is taken for what; of several models compared."""
    left_out = f"; {len(report.unreadable):,} UNREADABLE IMAGES LEFT OUT" if report.unreadable else ""
    print(f"zero-shot: {report.images:,} images, {len(report.classes):,} classes{left_out}")
    templates = f"{len(report.templates)} template{'s' if len(report.templates) > 1 else ''}, {report.templates[0]!r}"
    print(f"{report.title}; read as {report.layout}; {templates}")
    for system in report.systems:
        _print_system(system, report)
    for comparison in report.comparisons:
        print(f"\n{comparison.second} against {comparison.first}")
        print_differences(comparison.differences)
    print(f"\n{report.protocol}")
    for problem in report.problems:
        say(f"note: {problem}")


def _print_system(system: "ZeroShotSystem", report: "ZeroShotReport") -> None:
    print(f"\n{system.name} on {system.device}, {system.precision}")
    for name, estimate in system.figures.items():
        low, high = 100 * estimate.interval.low, 100 * estimate.interval.high
        published = (
            "   what is published for this data set" if name == report.figure and report.benchmark != "custom" else ""
        )
        print(f"{name:15}{100 * estimate.value:8.2f}   95 % interval {low:.2f} to {high:.2f}{published}")
    if (judged := system.calibration) is not None:
        scale = f"scale {judged.scale:.4g}" + ("" if judged.stated else ", CLIP's: the model states none")
        low, high = 100 * judged.error.interval.low, 100 * judged.error.interval.high
        print(f"{'ECE':15}{100 * judged.error.value:8.2f}   95 % interval {low:.2f} to {high:.2f}")
        print(f"{'':15}mean chance of the best class {100 * judged.confidence:.2f}; {scale}")
    _print_classes(system, report)
    if system.truncated:
        say(f"warning: {system.truncated:,} texts are longer than the model reads; their ends were cut")


def _print_classes(system: "ZeroShotSystem", report: "ZeroShotReport") -> None:
    names = ("average_precision",) if report.multilabel else ("top1", "top5")
    shares = [
        ([getattr(result, name) for name in names], each.shown, result.images)
        for each, result in zip(report.classes, system.classes, strict=True)
        if result.images
    ]
    print(
        f"\n{'worst classes':30}" + "".join(f"{name.replace('average_', ''):>10}" for name in names) + f"{'images':>8}"
    )
    for values, name, images in sorted(shares, key=lambda share: share[0][0])[:_MOST]:
        print(f"{name:30}" + "".join(f"{100 * value:10.2f}" for value in values) + f"{images:8,}")
    for confusion in system.confusions[:_MOST]:
        print(f"{confusion.images:6,} x {confusion.actual} taken for {confusion.predicted}")
