"""`evaluate_positives`: COCO by extended positives, a row a set of them."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.benchmarks import Positives, find_positives, image_number
from mmsearch.encoders import Encoder
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.encoded_pairs import EncodedPairs, encode_pairs, load_single, tables_of, title_of
from mmsearch.evaluation.figure_tables import FigureName, FigureReport, FigureRow, table_row
from mmsearch.evaluation.records import EvaluateOptions
from mmsearch.locations import located
from mmsearch.metrics import (
    Direction,
    Ids,
    Ranking,
    Relevance,
    average_precision_at_r,
    r_precisions,
    rank_both,
    resampled_means,
)
from mmsearch.progress import ProgressCallback, quiet

__all__ = ["evaluate_positives"]

_Path = str | os.PathLike[str]
_MOST_POSITIVES = 2_000
"""Of one query: top lists of more would fill the memory. Those of Plausible Match have up to 13,380."""

_PROTOCOL = (
    "Everything is searched: all images, all captions. Those ask that the set of positives has asking. R@k is the "
    "share of queries with at least one positive among the k best. R-precision is the share of the R best that are "
    "positives, and mAP@R the sum of the precisions at the ranks of positives within the R best, divided by R, where "
    "R is the number of positives of the query (Chun et al. 2022, ECCV Caption). Ties rank in the order of the "
    "annotations. Intervals are the middle 95 % of 2,000 bootstrap samples of images, each with all its captions."
)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Which queries ask in one direction, and what is right.

    Attributes:
        queries: Positions of the queries.
        relevant: What is relevant to each of them.
        lost: How many queries and how many positives of the set are not in the benchmark.
    """

    queries: Ids
    relevant: Relevance | None
    lost: tuple[int, int]


def evaluate_positives(
    benchmark: str = "coco",
    *,
    images: _Path,
    annotations: _Path | None = None,
    positives: _Path,
    encoder: str | Encoder | Sequence[str | Encoder] | None = None,
    options: EvaluateOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> FigureReport:
    """Measure retrieval by extended positives, and by the benchmark's own pairs beside them.

    benchmark, images, annotations: as of `evaluate`; the annotations must hold the ids of captions (COCO's own file, or
    Karpathy's). positives: a folder with files of `mmsearch.benchmarks.positives`, or one of them. Raises
    BenchmarkError, EncoderError, GalleryBusy, StoreError.
    """
    options = options or EvaluateOptions()
    loaded = load_single(benchmark, located(images), annotations, options)
    _require_keys(loaded.caption_keys, loaded.images, loaded.source)
    sets = find_positives(located(positives))
    problems: dict[str, None] = dict.fromkeys(str(problem) for problem in loaded.problems)

    def rows(opened: Encoder) -> Iterator[FigureRow]:
        pairs = encode_pairs(loaded, opened, options, progress)
        for name, asked in _all_asked(pairs, sets):
            most = max((int(each.relevant.counts.max()) for each in asked.values() if each.relevant), default=0)
            if not most:
                problems[f"{name}: none of its pairs is in the benchmark, left out"] = None
            elif most > _MOST_POSITIVES:
                problems[f"{name}: left out, since a query of it has {most:,} positives"] = None
            else:
                _note_lost(problems, name, asked)
                yield _row(name, pairs, asked, options.ks)

    report = tables_of(
        *(
            benchmark,
            title_of(loaded),
            "positives",
            (sets[-1].name, ("text_to_image", "mAP@R")),
            loaded.source,
            _PROTOCOL,
        ),
        *(encoder, options, rows, announce),
        problems=(),
    )
    return replace(report, problems=tuple(problems))


def _require_keys(keys: Sequence[str], images: Sequence[str], source: str) -> None:
    if not any(keys):
        raise BenchmarkError(
            f"the annotations ({source}) hold no ids of captions, by which positives are named: give COCO's "
            "captions_val2014.json or Karpathy's dataset_coco.json"
        )
    if unnumbered := [image for image in images if not image_number(image)]:
        raise BenchmarkError(f"{unnumbered[0]} has no number in its name, by which positives are named")


def _all_asked(pairs: EncodedPairs, sets: Sequence[Positives]) -> Iterator[tuple[str, dict[Direction, _Asked]]]:
    """The benchmark's own pairs, then each set."""
    numbers = [image_number(name) for name in pairs.names]
    own_images: dict[str, tuple[str, ...]] = {}
    own_captions: dict[str, tuple[str, ...]] = {}
    for key, image in zip(pairs.keys, pairs.image_of_caption.tolist(), strict=True):
        own_images[key] = (numbers[image],)
        own_captions[numbers[image]] = (*own_captions.get(numbers[image], ()), key)
    positions: dict[Direction, tuple[dict[str, int], dict[str, int]]] = {
        "text_to_image": (_positions(pairs.keys), _positions(numbers)),
        "image_to_text": (_positions(numbers), _positions(pairs.keys)),
    }
    wanted: dict[str, dict[Direction, Mapping[str, tuple[str, ...]]]] = {
        "as annotated": {"text_to_image": own_images, "image_to_text": own_captions}
    }
    for each in sets:
        images, captions = each.images_of_caption, each.captions_of_image
        if each.ratings:
            images = _changed(own_images, images, each.against)
            captions = _changed(own_captions, captions, {(image, caption) for caption, image in each.against})
        wanted[each.name] = {"text_to_image": images, "image_to_text": captions}
    for name, by_direction in wanted.items():
        yield name, {direction: _asked(ids, *positions[direction]) for direction, ids in by_direction.items()}


def _changed(
    own: Mapping[str, tuple[str, ...]],
    added: Mapping[str, tuple[str, ...]],
    against: Set[tuple[str, str]],
) -> dict[str, tuple[str, ...]]:
    """The benchmark's own pairs without those that were rated too low, with those that were rated high."""
    changed = {}
    for key, ids in own.items():
        kept = dict.fromkeys((*(each for each in ids if (key, each) not in against), *added.get(key, ())))
        if kept:
            changed[key] = tuple(kept)
    return changed


def _positions(ids: Sequence[str]) -> dict[str, int]:
    return {each: position for position, each in enumerate(ids) if each}


def _asked(wanted: Mapping[str, tuple[str, ...]], queries: Mapping[str, int], items: Mapping[str, int]) -> _Asked:
    positions: list[int] = []
    lists: list[list[int]] = []
    lost_queries = lost_items = 0
    for key, ids in wanted.items():
        known = [items[each] for each in dict.fromkeys(ids) if each in items]
        lost_items += len(dict.fromkeys(ids)) - len(known)
        if key in queries and known:
            positions.append(queries[key])
            lists.append(known)
        else:
            lost_queries += 1
    relevant = Relevance.lists(lists) if lists else None
    return _Asked(np.array(positions, np.int64), relevant, (lost_queries, lost_items))


def _note_lost(problems: dict[str, None], name: str, asked: Mapping[Direction, _Asked]) -> None:
    for direction, each in asked.items():
        queries, items = each.lost
        if queries or items:
            problems[
                f"{name}, {direction}: {queries:,} queries and {items:,} positives are not in the benchmark, left out"
            ] = None


def _row(name: str, pairs: EncodedPairs, asked: Mapping[Direction, _Asked], ks: Sequence[int]) -> FigureRow:
    values: dict[FigureName, NDArray[np.float64]] = {}
    drawn: dict[FigureName, NDArray[np.float64]] = {}
    counts: dict[str, int] = {}
    draws = []
    for direction, each in asked.items():
        counts["captions asking" if direction == "text_to_image" else "images asking"] = len(each.queries)
        if each.relevant is None:
            continue
        ranking = _rank(direction, pairs, each.queries, each.relevant, max(ks))
        image = pairs.image_of_caption[each.queries] if direction == "text_to_image" else each.queries
        figures = {
            **{f"R@{k}": (ranking.bounds.ranks <= k).astype(np.float64) for k in ks},
            "R-precision": r_precisions(ranking.top, each.relevant),
            "mAP@R": average_precision_at_r(ranking.top, each.relevant),
        }
        values |= {(direction, figure): value for figure, value in figures.items()}
        resampled = resampled_means(figures, image, len(pairs.images))
        drawn |= {(direction, figure): means for figure, means in resampled.items()}
        draws.append(len(np.unique(image)))
    return table_row(name, counts, values, drawn, min(draws))


def _rank(direction: Direction, pairs: EncodedPairs, queries: Ids, relevant: Relevance, least: int) -> Ranking:
    depth = max(least, int(relevant.counts.max()))
    if direction == "text_to_image":
        ranking, _ = rank_both(pairs.captions[queries], pairs.images, relevant, None, depth=depth)
    else:
        _, ranking = rank_both(pairs.captions, pairs.images[queries], None, relevant, depth=depth)
    assert ranking is not None
    return ranking
