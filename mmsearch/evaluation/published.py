"""Sets measured figures beside published ones, and says how the two were measured differently."""

from collections.abc import Sequence

from mmsearch.benchmarks import OFFICIAL_CAPTIONS, PublishedRow, find_published
from mmsearch.encoders.hub_tags import tags_of_repository
from mmsearch.evaluation.records import PublishedFigure, SystemResult

__all__ = ["published_figures"]


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


def _first_rows(benchmark: str, known_as: Sequence[str], language: str) -> tuple[PublishedRow, ...]:
    for spec in known_as:
        for name in (spec, *tags_of_repository(spec)):
            if rows := find_published(benchmark, name, language):
                return rows
    return ()


def _differences(row: PublishedRow, system: SystemResult) -> tuple[str, ...]:
    """What a source did otherwise, in words; what it does not say is said too."""
    source, ours = row.source, system.precision or "fp32"
    differing = []
    if not source.precision:
        differing.append(f"precision not stated, here {ours}")
    elif source.precision != ours:
        differing.append(f"{source.precision}, here {ours}")
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
