"""Benchmarks in slices: by language, by the length of captions, in folds."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.benchmarks import Benchmark, data_set, languages_of, load_benchmark, official_order
from mmsearch.encoders import Encoder
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.benchmark_encoding import encode_images, encode_plain_texts, open_encoder
from mmsearch.evaluation.figure_tables import (
    FigureName,
    FigureRow,
    FigureTable,
    TableReport,
    mean_row,
    table_row,
)
from mmsearch.evaluation.measuring import MEAN_RECALL_KS, describe_hardware, find_versions
from mmsearch.evaluation.records import EvaluateOptions
from mmsearch.locations import Location, located
from mmsearch.metrics import Direction, Ids, Relevance, Vectors, rank_both, resampled_means
from mmsearch.progress import ProgressCallback, quiet

__all__ = [
    "LENGTHS",
    "EncodedPairs",
    "encode_pairs",
    "evaluate_folds",
    "evaluate_languages",
    "evaluate_lengths",
    "load_single",
    "tables_of",
    "title_of",
]

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
LENGTHS = (20, 40, 60, 100, 150)
"""A row of `evaluate_lengths` goes to so many words, the last beyond."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPairs:
    """Images and captions as vectors, and which caption belongs to which image.

    Attributes:
        images: (n_images, dim), of the images that could be read.
        captions: (n_captions, dim), of their captions.
        cut: (n_captions,) whether a caption is longer than the model reads.
        image_of_caption: (n_captions,) position in images.
        names: Of the images.
        texts: The captions.
        keys: The annotation file's own ids of captions; "" where it has none.
        unreadable: Names of images that could not be read.
    """

    images: Vectors
    captions: Vectors
    cut: NDArray[np.bool_]
    image_of_caption: Ids
    names: tuple[str, ...]
    texts: tuple[str, ...]
    keys: tuple[str, ...]
    unreadable: tuple[str, ...]


def encode_pairs(
    benchmark: Benchmark, encoder: Encoder, options: EvaluateOptions, progress: ProgressCallback
) -> EncodedPairs:
    """The vectors of a benchmark, from the cache as far as they are there. Raises BenchmarkError."""
    images, names, unreadable = encode_images(
        *(benchmark.root, benchmark.images, encoder),
        product=False,
        allow_missing=options.allow_missing,
        fresh=options.fresh,
        progress=progress,
    )
    position = {name: number for number, name in enumerate(names)}
    new_index = np.array([position.get(name, -1) for name in benchmark.images], np.int64)
    kept = np.flatnonzero(new_index[benchmark.caption_image] >= 0)
    texts = tuple(benchmark.captions[n] for n in kept.tolist())
    captions, cut = encode_plain_texts(encoder, texts, progress, fresh=options.fresh)
    return EncodedPairs(
        images=images,
        captions=captions,
        cut=cut,
        image_of_caption=new_index[benchmark.caption_image[kept]],
        names=names,
        texts=texts,
        keys=tuple(benchmark.caption_keys[n] for n in kept.tolist()),
        unreadable=unreadable,
    )


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
) -> TableReport:
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
    count = f"{len(loaded):,} language{'' if len(loaded) == 1 else 's'}"
    return tables_of(
        *(benchmark, f"{benchmark}: {count}", "language", first.source, _BY_LANGUAGE),
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
) -> TableReport:
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
        yield _row_of("all", pairs, options.ks)
        for low, high in zip((0, *edges), (*edges, None), strict=True):
            captions = np.flatnonzero((words > low) & (words <= (high or np.inf)))
            asking = np.flatnonzero((of_image > low) & (of_image <= (high or np.inf)))
            if len(captions):
                name = f"{low + 1:,} to {high:,}" if high else f"over {low:,}"
                yield _row_of(name, pairs, options.ks, captions, asking)

    return tables_of(
        *(benchmark, title_of(loaded), "words", loaded.source, _BY_LENGTH),
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
) -> TableReport:
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
        *(benchmark, f"{title_of(loaded)}; {folds} folds", "fold", loaded.source, _BY_FOLD),
        *(encoder, options, rows, announce),
        problems=[str(problem) for problem in loaded.problems],
    )


def tables_of(
    benchmark: str,
    title: str,
    rows_are: str,
    source: str,
    protocol: str,
    encoder: str | Encoder | Sequence[str | Encoder] | None,
    options: EvaluateOptions,
    rows: Callable[[Encoder], Iterator[FigureRow]],
    announce: Callable[[str], None],
    *,
    problems: Sequence[str],
) -> TableReport:
    """The report of several encoders. rows: makes the rows of one."""
    models = encoder if isinstance(encoder, Sequence) and not isinstance(encoder, str) else [encoder]
    tables: list[FigureTable] = []
    for model in models:
        opened = open_encoder(model, options.device, options.precision, announce)
        if any(table.encoder.fingerprint == opened.identity.fingerprint for table in tables):
            raise BenchmarkError(f"{opened.identity.spec} is the same encoder as one named before")
        tables.append(FigureTable(opened.identity, opened.device, opened.precision, tuple(rows(opened))))
    return TableReport(
        benchmark=benchmark,
        title=title,
        rows_are=rows_are,
        source=source,
        protocol=protocol,
        tables=tuple(tables),
        problems=tuple(problems),
        versions=find_versions(),
        hardware=describe_hardware(),
    )


def load_single(benchmark: str, images: Location, annotations: _Path | None, options: EvaluateOptions) -> Benchmark:
    """A benchmark with captions in one language. Raises BenchmarkError."""
    if data_set(benchmark).languages:
        raise BenchmarkError(f"{benchmark} has captions in several languages: mmsearch eval languages {benchmark}")
    return _load_one(benchmark, images, None if annotations is None else located(annotations), options, None)


def _load_one(
    benchmark: str, images: Location, annotations: Location | None, options: EvaluateOptions, language: str | None
) -> Benchmark:
    return load_benchmark(
        benchmark,
        images=images,
        annotations=annotations,
        split=options.split,
        split_file=options.split_file,
        captions_per_image=options.captions_per_image,
        allow_missing=options.allow_missing,
        columns=options.columns,
        language=language,
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
        language: _load_one(benchmark, images, files[language], options, language if several else None)
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


def title_of(loaded: Benchmark) -> str:
    """What was evaluated, with its counts."""
    split = f", split {loaded.split}" if loaded.split else ""
    return f"{loaded.name}{split}: {len(loaded.images):,} images, {len(loaded.captions):,} captions"


def _row_of(
    name: str, pairs: EncodedPairs, ks: Sequence[int], captions: Ids | None = None, asking: Ids | None = None
) -> FigureRow:
    """The row of all captions and images, or of those that ask; all are searched."""
    n_images = len(pairs.images)
    captions = np.arange(len(pairs.captions)) if captions is None else captions
    asking = np.arange(n_images) if asking is None else asking
    of_caption, of_image = (
        Relevance.one_each(pairs.image_of_caption),
        Relevance.inverse(pairs.image_of_caption, n_images),
    )
    forward, backward = rank_both(pairs.captions, pairs.images, of_caption, of_image, depth=0)
    assert forward is not None
    assert backward is not None
    sides: dict[Direction, tuple[Ids, Ids]] = {
        "text_to_image": (forward.bounds.ranks[captions], pairs.image_of_caption[captions]),
        "image_to_text": (backward.bounds.ranks[asking], asking),
    }
    every_k = sorted({*ks, *MEAN_RECALL_KS})
    values: dict[FigureName, NDArray[np.float64]] = {}
    drawn: dict[FigureName, NDArray[np.float64]] = {}
    for direction, (ranks, image_of_query) in sides.items():
        if not len(ranks):
            continue
        recalls = {f"R@{k}": (ranks <= k).astype(np.float64) for k in every_k}
        values |= {(direction, figure): recall for figure, recall in recalls.items()}
        resampled = resampled_means(recalls, image_of_query, n_images)
        drawn |= {(direction, figure): means for figure, means in resampled.items()}
    parts = [(direction, f"R@{k}") for direction in sides for k in MEAN_RECALL_KS]
    has_both = all(part in values for part in parts)
    mean_recall: FigureName = ("", "mean recall")
    if has_both:
        drawn[mean_recall] = np.mean([drawn[part] for part in parts], axis=0)
    shown = {figure: value for figure, value in values.items() if figure[1] in {f"R@{k}" for k in ks}}
    counts = {"images": len(asking), "captions": len(captions)}
    row = table_row(name, counts, shown, drawn, min(len(np.unique(image)) for _, image in sides.values() if len(image)))
    figures = dict(row.figures)
    around = dict(row.intervals)
    if has_both:
        share = float(np.mean([np.mean(values[part]) for part in parts]))
        whole = table_row(name, {}, {mean_recall: np.array([share])}, drawn, counts["images"])
        figures |= whole.figures
        around |= whole.intervals
    figures[("", "cut")] = float(np.mean(pairs.cut[captions]))
    return replace(row, figures=figures, intervals=around)


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
