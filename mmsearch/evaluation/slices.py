"""Benchmarks in slices: by language, by the length of captions, in folds."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.benchmarks import Benchmark, data_set, languages_of, official_order
from mmsearch.encoders import Encoder
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.encoded_pairs import EncodedPairs, encode_pairs, load_options, load_single, tables_of, title_of
from mmsearch.evaluation.figure_tables import (
    FigureName,
    FigureReport,
    FigureRow,
    mean_row,
    table_row,
)
from mmsearch.evaluation.measuring import MEAN_RECALL_KS
from mmsearch.evaluation.records import EvaluateOptions
from mmsearch.locations import Location, located
from mmsearch.metrics import Direction, Ids, Relevance, rank_both, resampled_means
from mmsearch.progress import ProgressCallback, quiet

__all__ = ["LENGTHS", "evaluate_folds", "evaluate_languages", "evaluate_lengths"]

_Path = str | os.PathLike[str]

_BOTH = (
    "R@k is the share of queries with at least one relevant item among the k best. text_to_image: a caption asks for "
    "its image; image_to_text: an image asks for any of its captions. Mean recall is the mean of R@1, R@5 and R@10 of "
    "both directions. Intervals are the middle 95 % of 2,000 bootstrap samples of images, each with all its captions; "
    "where all queries agree Wilson's interval is given. Cut is the share of captions that are longer than the model "
    "reads. "
)
_BY_LANGUAGE = _BOTH + "Each language is searched by itself; the mean gives each language one weight."
_BY_LENGTH = _BOTH + (
    "Words are what spaces separate. All captions ask and are searched together; a row holds the captions of its "
    "length, and the images whose captions have that many words on average."
)
_BY_FOLD = _BOTH + (
    "Each fold is searched by itself, so that R@k is higher than over all images; the mean is what papers call COCO 1K."
)
_MEAN_RECALL: FigureName = ("", "mean recall")
LENGTHS = (20, 40, 60, 100, 150)
"""A row of `evaluate_lengths` goes to so many words, the last beyond."""


def evaluate_languages(
    benchmark: str,
    *,
    images: _Path,
    annotations: _Path | Mapping[str, _Path],
    languages: Sequence[str] = (),
    encoder: str | Encoder | Sequence[str | Encoder] | None = None,
    options: EvaluateOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> FigureReport:
    """Measure retrieval language by language, and the mean of the languages.

    benchmark: of `mmsearch.benchmarks.DATA_SETS`. annotations: the files of one that has captions in several languages,
    or language -> file. languages: which, by default all. Raises BenchmarkError, EncoderError, GalleryBusy, StoreError.
    """
    options = options or EvaluateOptions()
    loaded = _load_languages(benchmark, located(images), annotations, languages, options)

    def rows(opened: Encoder) -> Iterator[FigureRow]:
        measured = []
        for language, each in loaded.items():
            announce(f"{language}: {len(each.captions):,} captions of {len(each.images):,} images")
            measured.append(_row_of(language, encode_pairs(each, opened, options, progress), options.ks))
        yield from measured
        if len(measured) > 1:
            yield mean_row("mean", measured)

    first = next(iter(loaded.values()))
    headline = "mean" if len(loaded) > 1 else next(iter(loaded))
    count = f"{len(loaded):,} language{'' if len(loaded) == 1 else 's'}"
    return tables_of(
        *(benchmark, f"{benchmark}: {count}", "language", (headline, _MEAN_RECALL), first.source, _BY_LANGUAGE),
        *(encoder, options, rows, announce),
        problems=_named_problems(loaded),
    )


def evaluate_lengths(
    benchmark: str,
    *,
    images: _Path,
    annotations: _Path | None = None,
    encoder: str | Encoder | Sequence[str | Encoder] | None = None,
    lengths: Sequence[int] = LENGTHS,
    options: EvaluateOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> FigureReport:
    """Measure retrieval by the length of captions, and how many of them are cut.

    benchmark, images, annotations: as of `evaluate`. lengths: a row goes to so many words, the last beyond. Raises
    BenchmarkError, EncoderError, GalleryBusy, StoreError.
    """
    options = options or EvaluateOptions()
    edges = sorted(set(lengths))
    if not edges or edges[0] < 1:
        raise BenchmarkError("lengths must be numbers of words, from 1")
    loaded = load_single(benchmark, located(images), annotations, options)

    def rows(opened: Encoder) -> Iterator[FigureRow]:
        pairs = encode_pairs(loaded, opened, options, progress)
        words = np.array([len(text.split()) for text in pairs.texts], np.int64)
        sums = np.bincount(pairs.image_of_caption, words, len(pairs.images))
        of_image = sums / np.bincount(pairs.image_of_caption, minlength=len(pairs.images))
        ranks = _rank_all(pairs)
        yield _row_of_some("all", pairs, ranks, options.ks, np.arange(len(words)), np.arange(len(of_image)))
        for low, high in zip((0, *edges), (*edges, None), strict=True):
            captions = np.flatnonzero((words > low) & (words <= (high or np.inf)))
            asking = np.flatnonzero((of_image > low) & (of_image <= (high or np.inf)))
            if len(captions):
                name = f"{low + 1:,} to {high:,}" if high else f"over {low:,}"
                yield _row_of_some(name, pairs, ranks, options.ks, captions, asking)

    return tables_of(
        *(benchmark, title_of(loaded), "words", ("all", _MEAN_RECALL), loaded.source, _BY_LENGTH),
        *(encoder, options, rows, announce),
        problems=[str(problem) for problem in loaded.problems],
    )


def evaluate_folds(
    benchmark: str = "coco",
    *,
    images: _Path,
    annotations: _Path | None = None,
    encoder: str | Encoder | Sequence[str | Encoder] | None = None,
    folds: int = 5,
    options: EvaluateOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> FigureReport:
    """Measure retrieval in folds of consecutive images, each searched by itself, and the mean of the folds.

    Five of COCO's 5,000 test images, in the order of the Karpathy split, make what papers call COCO 1K. Other
    benchmarks are cut in the order of their annotations. Raises BenchmarkError, EncoderError, GalleryBusy, StoreError.
    """
    options = options or EvaluateOptions()
    loaded = load_single(benchmark, located(images), annotations, options)
    if not 2 <= folds <= len(loaded.images):
        raise BenchmarkError(f"{folds} folds of {len(loaded.images):,} images: there must be 2 to one an image")

    def rows(opened: Encoder) -> Iterator[FigureRow]:
        pairs = encode_pairs(loaded, opened, options, progress)
        order = official_order(benchmark, loaded.split, pairs.names)
        measured = []
        for number, members in enumerate(np.array_split(order, folds), 1):
            measured.append(_row_of(f"fold {number}", _take_images(pairs, members), options.ks))
        yield from measured
        yield mean_row("mean", measured)
        yield _row_of("all images", pairs, options.ks)

    return tables_of(
        *(benchmark, f"{title_of(loaded)}; {folds} folds", "fold", ("mean", _MEAN_RECALL), loaded.source, _BY_FOLD),
        *(encoder, options, rows, announce),
        problems=[str(problem) for problem in loaded.problems],
    )


def _load_languages(
    benchmark: str,
    images: Location,
    annotations: _Path | Mapping[str, _Path],
    languages: Sequence[str],
    options: EvaluateOptions,
) -> dict[str, Benchmark]:
    if isinstance(annotations, Mapping):
        files = {language: located(file) for language, file in annotations.items()}
        known: tuple[str, ...] = tuple(files)
    else:
        place = located(annotations)
        known = languages_of(benchmark, place)
        files = dict.fromkeys(known, place)
        if not known:
            raise BenchmarkError(
                f"{benchmark} has captions in one language; name files by language, as in --annotations en=FILE "
                "--annotations de=FILE"
            )
    chosen = list(dict.fromkeys(languages)) or list(known)
    if unknown := [language for language in chosen if language not in known]:
        raise BenchmarkError(f"{benchmark}: no language {', '.join(unknown)}; it has {', '.join(known)}")
    several = data_set(benchmark).languages
    return {
        language: load_options(benchmark, images, files[language], options, language if several else None)
        for language in chosen
    }


def _named_problems(loaded: Mapping[str, Benchmark]) -> list[str]:
    """The problems of all languages; one that all share is said once."""
    by_problem: dict[str, list[str]] = {}
    for language, each in loaded.items():
        for problem in each.problems:
            by_problem.setdefault(str(problem), []).append(language)
    return [
        problem if len(languages) == len(loaded) else f"{', '.join(languages)}: {problem}"
        for problem, languages in by_problem.items()
    ]


def _rank_all(pairs: EncodedPairs) -> dict[Direction, Ids]:
    """The rank of the best relevant item of each caption and each image; all are searched."""
    of_caption = Relevance.one_each(pairs.image_of_caption)
    of_image = Relevance.inverse(pairs.image_of_caption, len(pairs.images))
    forward, backward = rank_both(pairs.captions, pairs.images, of_caption, of_image, depth=0)
    assert forward is not None
    assert backward is not None
    return {"text_to_image": forward.bounds.ranks, "image_to_text": backward.bounds.ranks}


def _row_of(name: str, pairs: EncodedPairs, ks: Sequence[int]) -> FigureRow:
    """The row of all captions and images."""
    everything = np.arange(len(pairs.captions)), np.arange(len(pairs.images))
    return _row_of_some(name, pairs, _rank_all(pairs), ks, *everything)


def _row_of_some(
    name: str, pairs: EncodedPairs, ranks: Mapping[Direction, Ids], ks: Sequence[int], captions: Ids, asking: Ids
) -> FigureRow:
    """The row of some captions and images that ask."""
    sides: dict[Direction, tuple[Ids, Ids]] = {
        "text_to_image": (ranks["text_to_image"][captions], pairs.image_of_caption[captions]),
        "image_to_text": (ranks["image_to_text"][asking], asking),
    }
    sides = {direction: side for direction, side in sides.items() if len(side[0])}
    every_k = sorted({*ks, *MEAN_RECALL_KS})
    values: dict[FigureName, NDArray[np.float64]] = {}
    drawn: dict[FigureName, NDArray[np.float64]] = {}
    for direction, (query_ranks, image_of_query) in sides.items():
        recalls = {f"R@{k}": (query_ranks <= k).astype(np.float64) for k in every_k}
        values |= {(direction, figure): recall for figure, recall in recalls.items()}
        resampled = resampled_means(recalls, image_of_query, len(pairs.images))
        drawn |= {(direction, figure): means for figure, means in resampled.items()}
    shown = {figure: value for figure, value in values.items() if figure[1] in {f"R@{k}" for k in ks}}
    counts = {"images": len(asking), "captions": len(captions)}
    draws = min(len(np.unique(image)) for _, image in sides.values())
    row = table_row(name, counts, shown, drawn, draws)
    if len(sides) == 2:
        row = _with_mean_recall(row, values, draws)
    return replace(row, figures={**row.figures, ("", "cut"): float(np.mean(pairs.cut[captions]))})


def _with_mean_recall(row: FigureRow, values: Mapping[FigureName, NDArray[np.float64]], draws: int) -> FigureRow:
    parts = [part for part in values if part[1] in {f"R@{k}" for k in MEAN_RECALL_KS}]
    share = np.array([np.mean([np.mean(values[part]) for part in parts])])
    drawn = {**row.resampled, _MEAN_RECALL: np.mean([row.resampled[part] for part in parts], axis=0)}
    whole = table_row(row.name, {}, {_MEAN_RECALL: share}, drawn, draws)
    return replace(
        row,
        figures={**row.figures, **whole.figures},
        intervals={**row.intervals, **whole.intervals},
        resampled=drawn,
    )


def _take_images(pairs: EncodedPairs, members: Ids) -> EncodedPairs:
    """Some of the images, in their order, with their captions."""
    new_index = np.full(len(pairs.images), -1, np.int64)
    new_index[members] = np.arange(len(members))
    kept = np.flatnonzero(new_index[pairs.image_of_caption] >= 0)
    return EncodedPairs(
        images=pairs.images[members],
        captions=pairs.captions[kept],
        cut=pairs.cut[kept],
        image_of_caption=new_index[pairs.image_of_caption[kept]],
        names=tuple(pairs.names[n] for n in members.tolist()),
        texts=tuple(pairs.texts[n] for n in kept.tolist()),
        keys=tuple(pairs.keys[n] for n in kept.tolist()),
        unreadable=pairs.unreadable,
    )
