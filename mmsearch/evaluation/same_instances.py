"""`evaluate_instances`: pictures asked for by a part of another that shows the same place."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.benchmarks import INSTANCE_SETS, InstanceBenchmark, InstanceQuery, load_instances
from mmsearch.encoders import Encoder
from mmsearch.errors import BenchmarkError, ImageError
from mmsearch.evaluation.benchmark_encoding import encode_images
from mmsearch.evaluation.encoded_pairs import tables_of
from mmsearch.evaluation.figure_tables import FigureName, FigureReport, FigureRow, table_row
from mmsearch.evaluation.records import EvaluateOptions
from mmsearch.exact import scores_of_record
from mmsearch.images import decode_for_benchmark
from mmsearch.locations import located
from mmsearch.metrics import (
    Ids,
    Vectors,
    precisions_without_junk,
    ranks_without_junk,
    resampled_means,
    trapezoid_average_precision,
)
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.sources import read_picture

__all__ = ["evaluate_instances"]

_Path = str | os.PathLike[str]

_PROTOCOL = (
    "The part of a picture that its box cuts out asks for images of the same place, of which junk is taken out of "
    "each ranking: it counts neither as right nor as wrong. easy: what is easy is right, what is hard is junk too; "
    "medium: both are right; hard: what is hard is right, what is easy is junk too (Radenović et al. 2018). mAP is "
    "the mean over queries of the area under precision and recall by trapezoids; mP@k is the mean precision at k, "
    "or at the last that is right where that comes first. Queries for which nothing is right are left out. One size "
    "of the pictures, the model's own transform; published figures of models made for this task mostly use several, "
    "larger ones. Intervals are the middle 95 % of 2,000 bootstrap samples of queries."
)


@dataclass(frozen=True, slots=True)
class _Setup:
    """What is right and what is junk in one row."""

    right: tuple[str, ...]
    junk: tuple[str, ...]


_SETUPS = {
    "easy": _Setup(("easy",), ("junk", "hard")),
    "medium": _Setup(("easy", "hard"), ("junk",)),
    "hard": _Setup(("hard",), ("junk", "easy")),
}
_PRECISION_KS = (1, 5, 10)


def evaluate_instances(
    benchmark: str,
    *,
    images: _Path,
    annotations: _Path,
    encoder: str | Encoder | Sequence[str | Encoder] | None = None,
    options: EvaluateOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> FigureReport:
    """Measure image to image: mAP and mP@k in three grades of difficulty.

    benchmark: "roxford5k" or "rparis6k". annotations: its ground truth, gnd_roxford5k.pkl. Of the options count device,
    precision and fresh. Raises BenchmarkError, EncoderError, GalleryBusy, StoreError.
    """
    options = options or EvaluateOptions()
    if benchmark not in INSTANCE_SETS:
        raise BenchmarkError(f"no data set of places {benchmark!r}: choose one of {', '.join(INSTANCE_SETS)}")
    loaded = load_instances(benchmark, images=located(images), annotations=located(annotations))

    def rows(opened: Encoder) -> Iterator[FigureRow]:
        gallery, readable, _ = encode_images(
            *(loaded.root, loaded.images, opened),
            product=False,
            allow_missing=False,
            fresh=options.fresh,
            progress=progress,
        )
        place = {path: row for row, path in enumerate(readable)}
        vectors = gallery[np.array([place[path] for path in loaded.images])]
        queries = _encode_queries(loaded, opened, progress)
        rankings = [_rank(queries, number, vectors) for number in range(len(queries))]
        for name, setup in _SETUPS.items():
            yield _row(name, setup, loaded, rankings)

    return tables_of(
        *(
            benchmark,
            _title(loaded),
            "difficulty",
            ("medium", ("", "mAP")),
            "the ground truth of its authors",
            _PROTOCOL,
        ),
        *(encoder, options, rows, announce),
        problems=(),
    )


def _title(loaded: InstanceBenchmark) -> str:
    title = f"{loaded.name}: {len(loaded.images):,} images, {len(loaded.queries):,} queries"
    queries, images = INSTANCE_SETS[loaded.name]
    if (len(loaded.queries), len(loaded.images)) != (queries, images):
        title += f"; NOT THE DATA SET, which has {images:,} images and {queries:,} queries"
    return title


def _encode_queries(loaded: InstanceBenchmark, encoder: Encoder, progress: ProgressCallback) -> NDArray[np.float32]:
    """(n_queries, dim). One by one: there are few."""
    vectors = np.empty((len(loaded.queries), encoder.identity.dim), np.float32)
    for number, query in enumerate(loaded.queries):
        file = str(loaded.root / loaded.asking[query.image])
        try:
            image = decode_for_benchmark(read_picture(file))
        except (ImageError, OSError) as error:
            raise BenchmarkError(f"{file}: the picture that asks cannot be read ({error})") from error
        if query.box is not None:
            image = image.crop(query.box)
        vectors[number] = encoder.image.encode(encoder.image.prepare(image)[np.newaxis])[0]
        progress(Progress("encoding queries", number + 1, len(loaded.queries)))
    return vectors


def _rank(queries: Vectors, number: int, vectors: Vectors) -> Ids:
    """All images, best first; equal scores in the order of the ground truth."""
    rows = np.arange(len(vectors))
    scores = scores_of_record(queries, np.full(len(vectors), number), vectors, rows)
    return np.lexsort((rows, -scores))


def _row(name: str, setup: _Setup, loaded: InstanceBenchmark, rankings: Sequence[Ids]) -> FigureRow:
    precision: list[float] = []
    at_k: list[list[float]] = []
    for query, ranking in zip(loaded.queries, rankings, strict=True):
        right = _joined(query, setup.right)
        if not len(right):
            continue
        ranks = ranks_without_junk(ranking, right, _joined(query, setup.junk))
        if not len(ranks):
            continue
        precision.append(trapezoid_average_precision(ranks))
        at_k.append(precisions_without_junk(ranks, _PRECISION_KS))
    if not precision:
        raise BenchmarkError(f"{loaded.name}: no query for which something is right in the row {name}")
    named = {"mAP": np.array(precision)}
    named |= {f"mP@{k}": np.array([each[place] for each in at_k]) for place, k in enumerate(_PRECISION_KS)}
    drawn = resampled_means(named, np.arange(len(precision)), len(precision))
    figures: dict[FigureName, NDArray[np.float64]] = {("", figure): value for figure, value in named.items()}
    resampled = {("", figure): value for figure, value in drawn.items()}
    return table_row(name, {"queries": len(precision)}, figures, resampled, len(precision))


def _joined(query: InstanceQuery, keys: Sequence[str]) -> NDArray[np.int64]:
    parts = {"easy": query.easy, "hard": query.hard, "junk": query.junk}
    return np.concatenate([parts[key] for key in keys])
