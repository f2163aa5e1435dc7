"""Sets measured figures beside published ones, and says how the two were measured differently."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from mmsearch.benchmarks import (
    OFFICIAL_CAPTIONS,
    PublishedAccuracy,
    PublishedRow,
    PublishedSource,
    find_published,
    find_published_accuracy,
)
from mmsearch.benchmarks.class_sets import class_set_names, load_class_set
from mmsearch.encoders.hub_tags import tags_of_repository
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.records import PublishedFigure, SystemResult
from mmsearch.evaluation.zeroshot_records import PublishedShare, ZeroShotReport, ZeroShotSystem

__all__ = ["published_figures", "with_published_accuracies"]

_Row = TypeVar("_Row", PublishedRow, PublishedAccuracy)


def published_figures(
    benchmark: str, system: SystemResult, known_as: Sequence[str], language: str = "en"
) -> tuple[PublishedFigure, ...]:
    """The published figures of a system's encoder beside those measured, of every source that has some.

    known_as: specs under which the encoder may have been published, the likeliest first; the first of which something
    is known counts.
    """
    figures = []
    for row in _first_rows(benchmark, known_as, language):
        differing = _differences(row, system)
        half_a_place = 0.5 * 10.0**-row.source.places
        for ours, theirs in (
            (system.text_to_image, row.text_to_image),
            (system.image_to_text, row.image_to_text),
        ):
            for k in sorted(theirs.keys() & ours.recall.keys()):
                interval = ours.interval(f"R@{k}")
                figures.append(
                    PublishedFigure(
                        direction=ours.direction,
                        k=k,
                        published=theirs[k],
                        ours=ours.recall[k],
                        interval=interval,
                        inside=interval.low - half_a_place <= theirs[k] <= interval.high + half_a_place,
                        model=row.spec,
                        source=str(row.source),
                        differing=differing,
                    )
                )
    return tuple(figures)


def with_published_accuracies(report: ZeroShotReport, compare_as: Sequence[str] = ()) -> ZeroShotReport:
    """A report of zero-shot classification with the published figures of each encoder beside its own.

    compare_as: a spec for each encoder under which it was published, where that is not its own. Raises BenchmarkError
    where they are not as many.
    """
    if compare_as and len(compare_as) != len(report.systems):
        models = len(report.systems)
        raise BenchmarkError(f"--compare-as names {len(compare_as)} models for {models}: give one for each")
    named = compare_as or [system.encoder.spec for system in report.systems]
    systems = (
        replace(system, published=_accuracies(report, system, spec))
        for system, spec in zip(report.systems, named, strict=True)
    )
    return replace(report, systems=tuple(systems))


def _accuracies(report: ZeroShotReport, system: ZeroShotSystem, spec: str) -> tuple[PublishedShare, ...]:
    named = {"map": "mAP"}
    found = []
    for row in _first_found(spec, lambda name: find_published_accuracy(report.benchmark, name)):
        half_a_place = 0.5 * 10.0**-row.source.places
        for figure, value in row.figures.items():
            ours = system.figures.get(named.get(figure, figure))
            if ours is not None:
                found.append(
                    PublishedShare(
                        figure=named.get(figure, figure),
                        published=value,
                        ours=ours,
                        inside=ours.interval.low - half_a_place <= value <= ours.interval.high + half_a_place,
                        model=row.spec,
                        source=str(row.source),
                        differing=_accuracy_differences(row, report, system),
                    )
                )
    return tuple(found)


def _accuracy_differences(row: PublishedAccuracy, report: ZeroShotReport, system: ZeroShotSystem) -> tuple[str, ...]:
    differing = [*_in_precision(row.source, system.precision)]
    if row.source.images:
        differing.append(f"pictures {row.source.images}, here by the checkpoint's own transform")
    if row.pictures is not None and row.pictures != report.images:
        differing.append(f"{row.pictures:,} pictures, here {report.images:,}")
    if report.benchmark in class_set_names():
        usual = load_class_set(report.benchmark)
        if report.templates != usual.templates:
            differing.append(f"the data set's {len(usual.templates)} templates, here {len(report.templates)} others")
        if tuple(each.name for each in report.classes) != usual.names:
            differing.append("the data set's names of classes, here others")
    return tuple(differing)


def _first_rows(benchmark: str, known_as: Sequence[str], language: str) -> tuple[PublishedRow, ...]:
    for spec in known_as:
        if rows := _first_found(spec, lambda name: find_published(benchmark, name, language)):
            return rows
    return ()


def _first_found(spec: str, find: Callable[[str], tuple[_Row, ...]]) -> tuple[_Row, ...]:
    """What is known of a spec, or of what open_clip takes from the repository that it names."""
    return next((rows for name in (spec, *tags_of_repository(spec)) if (rows := find(name))), ())


def _in_precision(source: PublishedSource, ours: str) -> Iterator[str]:
    if not source.precision:
        yield f"precision not stated, here {ours}"
    elif source.precision != ours:
        yield f"{source.precision}, here {ours}"


def _differences(row: PublishedRow, system: SystemResult) -> tuple[str, ...]:
    """What a source did otherwise, in words; what it does not say is said too."""
    source = row.source
    differing = [*_in_precision(source, system.precision or "fp32")]
    if source.images:
        here = "as embed prepares them" if system.preprocessing == "product" else "by the checkpoint's own transform"
        differing.append(f"pictures {source.images}, here {here}")
    elif system.preprocessing == "product":
        differing.append("pictures by the checkpoint's own transform, here as embed prepares them")
    if source.captions:
        differing.append(f"captions {source.captions}, here as they are")
    if system.templates:
        number = len(system.templates)
        differing.append(f"captions without a template, here in {number} template{'s' if number > 1 else ''}")
    expected = OFFICIAL_CAPTIONS.get(row.benchmark)
    if expected is not None and system.text_to_image.queries != expected:
        differing.append(f"{expected:,} captions, here {system.text_to_image.queries:,}")
    return tuple(differing)
