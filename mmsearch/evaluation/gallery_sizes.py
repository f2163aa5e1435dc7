"""R@k against the size of the gallery: measured among some of the images, drawn several times, and the law that tells
what a larger gallery would give.

More items among which to be found are more that may come first, so that R@k says little without the size of its
gallery. The images of a draw are the first of a random order, so that smaller galleries are parts of larger ones; the
captions of an image come and go with it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.records import (
    EvaluationReport,
    Extrapolation,
    GallerySizes,
    Items,
    SizeCurve,
    SizePoint,
    SystemResult,
)
from mmsearch.metrics import (
    Direction,
    FittedLaw,
    Ids,
    Relevance,
    SizeLaw,
    fit_size_law,
    fit_size_laws,
    rank_both,
    recall_at_k,
)
from mmsearch.progress import Progress, ProgressCallback, quiet

__all__ = ["with_gallery_sizes"]

SEEDS = (0, 1, 2, 3, 4)
_FEWEST = 25
"""Images that a gallery has at least."""
_AHEAD = (2, 10, 100)
"""How many times the whole gallery a law is asked for."""


def with_gallery_sizes(report: EvaluationReport, *, progress: ProgressCallback = quiet) -> EvaluationReport:
    """The report, with R@k of every system among fewer images, and the laws that fit.

    Takes about five times what ranking took. Raises BenchmarkError where there are too few images for three sizes.
    """
    sizes = _sizes(len(report.items.images))
    parts = len(report.systems) * (1 + len(SEEDS) * (len(sizes) - 1))
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        progress(Progress("gallery sizes", done, parts))

    systems = tuple(replace(system, sizes=_measure(system, report.items, sizes, count)) for system in report.systems)
    return replace(report, systems=systems)


def _sizes(images: int) -> list[int]:
    """The whole gallery and what is left by dividing it by the root of two, the largest first."""
    sizes: list[int] = []
    while (size := round(images / 2 ** (len(sizes) / 2))) >= _FEWEST:
        sizes.append(size)
    if len(sizes) < 3:
        raise BenchmarkError(
            f"{images:,} images are too few to see how recall falls with their number; at least {2 * _FEWEST} are "
            "needed"
        )
    return sizes


@dataclass(frozen=True, slots=True)
class _Draw:
    """R@k of one direction among some of the images: size of the gallery, queries, k -> share."""

    gallery: int
    queries: int
    recall: dict[int, float]


def _measure(system: SystemResult, items: Items, sizes: Sequence[int], count: Callable[[], None]) -> GallerySizes:
    ks = list(system.text_to_image.recall)
    draws: dict[Direction, list[list[_Draw]]] = {"text_to_image": [], "image_to_text": []}
    for size in sizes:
        everything = size == len(items.images)
        drawn = [_draw(system, items, size, seed, ks) for seed in (SEEDS[:1] if everything else SEEDS)]
        for direction, found in draws.items():
            found.append([draw[direction] for draw in drawn if direction in draw])
        for _ in drawn:
            count()
    curves = [
        curve for direction, found in draws.items() for k in ks if (curve := _curve(direction, k, found)) is not None
    ]
    return GallerySizes(SEEDS, tuple(curves))


def _draw(system: SystemResult, items: Items, size: int, seed: int, ks: Sequence[int]) -> dict[Direction, _Draw]:
    """Both directions among so many images; without a direction in which none of them has a query."""
    rng = np.random.default_rng(seed)
    is_chosen = np.zeros(len(items.images), bool)
    is_chosen[rng.permutation(len(items.images))[:size]] = True
    images, captions = np.flatnonzero(is_chosen), _captions_of(items, is_chosen, rng)
    vectors = system.evidence
    found: dict[Direction, _Draw] = {}
    sides: tuple[tuple[Direction, Ids, Relevance, Ids, bool], ...] = (
        ("text_to_image", items.query_captions, items.images_of_caption, images, True),
        ("image_to_text", items.query_images, items.captions_of_image, captions, False),
    )
    for direction, asking, relevant, gallery, text_asks in sides:
        among = None if text_asks else is_chosen[asking]
        rows, kept = _within(relevant, gallery, len(items.images) if text_asks else len(items.captions), among)
        if kept is None:
            continue
        queries = asking[rows]
        if text_asks:
            ranking, _ = rank_both(vectors.captions[queries], vectors.images[gallery], kept, None, depth=0)
        else:
            _, ranking = rank_both(vectors.captions[gallery], vectors.images[queries], None, kept, depth=0)
        assert ranking is not None
        recall = {k: recall_at_k(ranking.bounds.ranks, k) for k in ks}
        found[direction] = _Draw(len(gallery), len(rows), recall)
    return found


def _captions_of(items: Items, is_chosen: NDArray[np.bool_], rng: np.random.Generator) -> Ids:
    """The captions of the chosen images, and of those that belong to no image as large a share; ascending."""
    relevant = items.images_of_caption
    belongs = np.zeros(len(items.captions), bool)
    query = np.repeat(items.query_captions, relevant.counts)
    belongs[query[is_chosen[relevant.positions]]] = True
    unpaired = np.setdiff1d(np.arange(len(items.captions)), items.query_captions)
    share = np.count_nonzero(is_chosen) / len(is_chosen)
    belongs[rng.permutation(unpaired)[: round(share * len(unpaired))]] = True
    return np.flatnonzero(belongs)


def _within(
    relevant: Relevance, gallery: Ids, items: int, asking: NDArray[np.bool_] | None
) -> tuple[Ids, Relevance | None]:
    """The queries, of those that ask, to which something in a smaller gallery is relevant, and what, by its place
    there; no relevance where there is no such query."""
    place = np.full(items, -1, np.int64)
    place[gallery] = np.arange(len(gallery))
    places = place[relevant.positions]
    query = np.repeat(np.arange(len(relevant)), relevant.counts)
    kept = (places >= 0) & (asking[query] if asking is not None else True)
    counts = np.bincount(query[kept], minlength=len(relevant))
    rows = np.flatnonzero(counts)
    if not len(rows):
        return rows, None
    return rows, Relevance(np.concatenate([[0], np.cumsum(counts[rows])]), places[kept])


def _curve(direction: Direction, k: int, draws: Sequence[Sequence[_Draw]]) -> SizeCurve | None:
    """The points of one figure, the smallest gallery first, and its law; None where fewer than three sizes tell
    something: among k items or fewer everything is found."""
    told = [each for each in reversed(draws) if each and all(draw.gallery >= 2 * k for draw in each)]
    if len(told) < 3:
        return None
    points = [
        SizePoint(
            gallery=round(float(np.mean([draw.gallery for draw in each]))),
            queries=round(float(np.mean([draw.queries for draw in each]))),
            recall=float(np.mean([draw.recall[k] for draw in each])),
            draws=tuple(draw.recall[k] for draw in each),
        )
        for each in told
    ]
    sizes, shares = [point.gallery for point in points], [point.recall for point in points]
    fitted = fit_size_laws(sizes, shares, k, points[-1].queries)
    best = fitted[0]
    # What an extrapolation hangs on is said: on the draw, and on the law where another is hardly worse.
    laws = [each.law for each in fitted if _off(each) <= 2 * _off(best)]
    for number in range(len(SEEDS)):
        of_draw = np.array([point.draws[min(number, len(point.draws) - 1)] for point in points])
        laws.append(fit_size_law(best.law.name, np.array(sizes, np.float64), of_draw, k, points[-1].queries))
    return SizeCurve(
        direction=direction,
        k=k,
        points=tuple(points),
        fitted=fitted,
        extrapolated=tuple(_extrapolate(best.law, laws, times * sizes[-1]) for times in _AHEAD),
    )


def _off(fitted: FittedLaw) -> float:
    return fitted.error if fitted.ahead is None else fitted.ahead


def _extrapolate(law: SizeLaw, laws: Sequence[SizeLaw], size: int) -> Extrapolation:
    shares = [float(each.recall([size])[0]) for each in (law, *laws)]
    return Extrapolation(size, shares[0], min(shares), max(shares))
