"""Benchmarks as vectors without a gallery of their own, and the report of several encoders on one."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.benchmarks import Benchmark, data_set, load_benchmark
from mmsearch.encoders import Encoder
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.benchmark_encoding import encode_images, encode_plain_texts, open_encoder
from mmsearch.evaluation.figure_tables import FigureName, FigureReport, FigureRow, FigureTable
from mmsearch.evaluation.measuring import describe_hardware, find_versions
from mmsearch.evaluation.records import EvaluateOptions
from mmsearch.locations import Location, located
from mmsearch.metrics import Ids, Vectors
from mmsearch.names import shell_quoted
from mmsearch.progress import ProgressCallback

__all__ = ["EncodedPairs", "encode_pairs", "load_options", "load_single", "tables_of", "title_of"]

_Path = str | os.PathLike[str]


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


def load_single(benchmark: str, images: Location, annotations: _Path | None, options: EvaluateOptions) -> Benchmark:
    """A benchmark with captions in one language. Raises BenchmarkError."""
    if data_set(benchmark).languages:
        raise BenchmarkError(
            f"{benchmark} has captions in several languages: mmsearch eval languages {shell_quoted(benchmark)}"
        )
    return load_options(benchmark, images, None if annotations is None else located(annotations), options, None)


def load_options(
    benchmark: str, images: Location, annotations: Location | None, options: EvaluateOptions, language: str | None
) -> Benchmark:
    """What the options choose of a benchmark. Raises BenchmarkError."""
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


def title_of(loaded: Benchmark) -> str:
    """What was evaluated, with its counts."""
    split = f", split {loaded.split}" if loaded.split else ""
    return f"{loaded.name}{split}: {len(loaded.images):,} images, {len(loaded.captions):,} captions"


def tables_of(
    benchmark: str,
    title: str,
    rows_are: str,
    headline: tuple[str, FigureName],
    source: str,
    protocol: str,
    encoder: str | Encoder | Sequence[str | Encoder] | None,
    options: EvaluateOptions,
    rows: Callable[[Encoder], Iterator[FigureRow]],
    announce: Callable[[str], None],
    *,
    problems: Sequence[str],
) -> FigureReport:
    """The report of several encoders. rows: makes the rows of one."""
    models = encoder if isinstance(encoder, Sequence) and not isinstance(encoder, str) else [encoder]
    tables: list[FigureTable] = []
    for model in models:
        opened = open_encoder(model, options.device, options.precision, announce)
        if any(table.encoder.fingerprint == opened.identity.fingerprint for table in tables):
            raise BenchmarkError(f"{opened.identity.spec} is the same encoder as one named before")
        tables.append(FigureTable(opened.identity, opened.device, opened.precision, tuple(rows(opened))))
    return FigureReport(
        benchmark=benchmark,
        title=title,
        rows_are=rows_are,
        headline=headline,
        source=source,
        protocol=protocol,
        tables=tuple(tables),
        problems=tuple(problems),
        versions=find_versions(),
        hardware=describe_hardware(),
    )
