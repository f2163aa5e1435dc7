"""`evaluate_composed`: pictures asked for by a picture and words, as `query` adds them up."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.benchmarks import COMPOSED_SETS, ComposedBenchmark, ComposedGroup, ComposedSet, load_composed
from mmsearch.encoders import Encoder
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.benchmark_encoding import encode_images, encode_plain_texts
from mmsearch.evaluation.encoded_pairs import tables_of
from mmsearch.evaluation.figure_tables import FigureName, FigureReport, FigureRow, mean_row, table_row
from mmsearch.evaluation.records import EvaluateOptions
from mmsearch.exact import scores_of_record
from mmsearch.locations import located
from mmsearch.metrics import Ids, Relevance, Vectors, rank_bounds, resampled_means
from mmsearch.progress import ProgressCallback, quiet
from mmsearch.search.encoding import combined

__all__ = ["evaluate_composed"]

_Path = str | os.PathLike[str]
_Ways: TypeAlias = dict[str, tuple[float, float]]
"""Name of a row -> the weights of the picture and of the words."""

_PROTOCOL = (
    "A query is a picture and words that change it; its vector is the normalised sum of both, each of unit length, the "
    "words by their weight: what `mmsearch query WORDS --image FILE` asks. R@k is the share of queries whose target "
    "is among the k best. Intervals are the middle 95 % of 2,000 bootstrap samples of the pictures that ask, each with "
    "all its queries. The rows of words alone and of the picture alone say what either does by itself. "
)
_WITHOUT_REFERENCE = "The picture that asks is left out of the answer. "
_SUBSET = "subset R@k looks among the six images that were shown with the picture, without that one. "


def evaluate_composed(
    benchmark: str,
    *,
    images: _Path,
    annotations: _Path,
    split: str = "val",
    weight: float = 1.0,
    encoder: str | Encoder | Sequence[str | Encoder] | None = None,
    options: EvaluateOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> FigureReport:
    """Measure composed queries: a picture and words, words alone, the picture alone.

    benchmark: "cirr" or "fashioniq". annotations: the folder with their files. weight: of the words; that of the
    picture is 1. Of the options count allow_missing, device, precision and fresh. Raises BenchmarkError, EncoderError,
    GalleryBusy, StoreError.
    """
    options = options or EvaluateOptions()
    if not np.isfinite(weight) or weight <= 0:
        raise BenchmarkError(f"the weight of the words must be above 0, not {weight}")
    loaded = load_composed(
        benchmark,
        images=located(images),
        annotations=located(annotations),
        split=split,
        allow_missing=options.allow_missing,
    )
    known = COMPOSED_SETS[benchmark]
    ways: _Ways = {"picture and words": (1, weight), "words alone": (0, 1), "picture alone": (1, 0)}

    def rows(opened: Encoder) -> Iterator[FigureRow]:
        vectors, readable, _ = encode_images(
            *(loaded.root, loaded.images, opened),
            product=False,
            allow_missing=False,
            fresh=options.fresh,
            progress=progress,
        )
        assert readable == loaded.images
        for name, weights in ways.items():
            by_group = []
            for group in loaded.groups:
                words, _ = encode_plain_texts(opened, [query.words for query in group.queries], progress)
                label = f"{group.name}, {name}" if group.name else name
                by_group.append(_row(label, known, group, vectors, words, weights))
            yield from by_group
            if len(by_group) > 1:
                yield mean_row(f"mean, {name}", by_group)

    together = "picture and words"
    row = f"mean, {together}" if len(loaded.groups) > 1 else together
    headline: tuple[str, FigureName] = (row, ("", f"R@{known.ks[0]}"))
    queries = sum(len(group.queries) for group in loaded.groups)
    title = f"{benchmark}, split {split}: {len(loaded.images):,} images, {queries:,} queries"
    if weight != 1:
        title += f"; words weigh {weight:g}"
    protocol = _PROTOCOL + (_WITHOUT_REFERENCE if known.leaves_out_reference else "")
    return tables_of(
        *(benchmark, _with_missing(title, loaded), "asked with", headline, "the files of its authors"),
        protocol + (_SUBSET if known.subset_ks else ""),
        *(encoder, options, rows, announce),
        problems=loaded.problems,
    )


def _with_missing(title: str, loaded: ComposedBenchmark) -> str:
    return "; ".join((title, *loaded.problems))


def _row(
    name: str,
    known: ComposedSet,
    group: ComposedGroup,
    vectors: Vectors,
    words: Vectors,
    weights: tuple[float, float],
) -> FigureRow:
    asked = [
        combined(
            [part for part, weight in zip((vectors[query.reference], text), weights, strict=True) if weight],
            [weight for weight in weights if weight],
        )
        for query, text in zip(group.queries, words, strict=True)
    ]
    queries = np.asarray(asked, np.float32)
    reference = np.array([query.reference for query in group.queries], np.int64)
    ranks = _target_ranks(queries, group, vectors, leave_out=known.leaves_out_reference)
    figures: dict[FigureName, NDArray[np.float64]] = {("", f"R@{k}"): _found(ranks, k) for k in known.ks}
    if known.subset_ks:
        within = _subset_ranks(queries, group, vectors)
        figures |= {("subset", f"R@{k}"): _found(within, k) for k in known.subset_ks}
        mean: FigureName = ("", "mean of R@5 and subset R@1")
        figures[mean] = (figures["", "R@5"] + figures["subset", "R@1"]) / 2
    named = {f"{place} {figure}": value for (place, figure), value in figures.items()}
    drawn = resampled_means(named, reference, len(vectors))
    resampled = {figure: drawn[f"{figure[0]} {figure[1]}"] for figure in figures}
    counts = {"queries": len(group.queries), "gallery": len(group.gallery)}
    return table_row(name, counts, figures, resampled, len(np.unique(reference)))


def _found(ranks: Ids, k: int) -> NDArray[np.float64]:
    return (ranks <= k).astype(np.float64)


def _target_ranks(queries: Vectors, group: ComposedGroup, vectors: Vectors, *, leave_out: bool) -> Ids:
    """The rank of each target in the gallery of the group; without the picture that asks, if it is left out."""
    place: Mapping[int, int] = {image: position for position, image in enumerate(group.gallery)}
    target = np.array([place[query.target] for query in group.queries], np.int64)
    gallery = vectors[np.array(group.gallery, np.int64)]
    ranks = rank_bounds(queries, gallery, Relevance.one_each(target)).ranks
    if not leave_out:
        return ranks
    reference = np.array([place.get(query.reference, -1) for query in group.queries], np.int64)
    number = np.arange(len(queries))
    own = scores_of_record(queries, number, gallery, np.maximum(reference, 0))
    best = scores_of_record(queries, number, gallery, target)
    is_before = (own > best) | ((own == best) & (reference < target))
    without: Ids = ranks - (is_before & (reference >= 0) & (reference != target))
    return without


def _subset_ranks(queries: Vectors, group: ComposedGroup, vectors: Vectors) -> Ids:
    """The rank of each target among the few images that its query names; equal scores in their order."""
    ranks = np.empty(len(queries), np.int64)
    for number, query in enumerate(group.queries):
        members = np.array(list(dict.fromkeys((*query.subset, query.target))), np.int64)
        scores = scores_of_record(queries, np.full(len(members), number), vectors, members)
        at = int(np.flatnonzero(members == query.target)[0])
        ranks[number] = 1 + np.count_nonzero(scores > scores[at]) + np.count_nonzero(scores[:at] == scores[at])
    return ranks
