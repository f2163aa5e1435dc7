"""The same queries with their best candidates re-ranked, in both directions, as re-ranking is published.

The candidates of a query are the best `depth` items by score; a re-ranker puts them in its own order, and what is not
among them keeps its place behind them. A picture is looked at once, with all texts of both directions that it meets: a
caption that found the picture, and one that the picture found.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch import images
from mmsearch.errors import BenchmarkError, ImageError
from mmsearch.evaluation.records import EvaluateOptions, Evidence, Items, Reranked, RerankedDirection
from mmsearch.gallery import Gallery
from mmsearch.metrics import (
    Direction,
    Ids,
    RankBounds,
    Ranking,
    Vectors,
    differences,
    intervals,
    per_query,
    rank_both,
    recall_at_k,
    summarize,
)
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.rerankers import open_reranker
from mmsearch.search.gallery_files import FileGone, image_row, read_content
from mmsearch.search.query import PLUS_SCORE

if TYPE_CHECKING:
    import PIL.Image

    from mmsearch.rerankers import Reranker

__all__ = ["Rereadable", "measure_reranked", "open_named_reranker", "rank_again"]


class Rereadable(Protocol):
    """What was measured, with pictures that can be read again: the images and captions of `items` as vectors, and the
    row of the gallery that each image is."""

    @property
    def gallery(self) -> Gallery: ...

    @property
    def image_row_ids(self) -> NDArray[np.int64]: ...

    @property
    def images(self) -> Vectors: ...

    @property
    def captions(self) -> Vectors: ...

    @property
    def items(self) -> Items: ...


def open_named_reranker(options: EvaluateOptions, announce: Callable[[str], None]) -> "Reranker | None":
    """The re-ranker that the options name: what is wrong with it is said before anything is measured. Raises
    EncoderError."""
    if options.rerank is None:
        return None
    announce(f"loading {getattr(options.rerank, 'spec', options.rerank)}")
    return open_reranker(options.rerank, device=options.device, announce=announce)


def measure_reranked(
    encoded: Rereadable,
    evidence: Evidence,
    reranker: "Reranker",
    options: EvaluateOptions,
    *,
    product: bool,
    progress: ProgressCallback,
) -> Reranked:
    """Both directions re-ranked. Raises BenchmarkError where a picture cannot be read again, EncoderError."""
    started = time.monotonic()
    items, depth = encoded.items, max(options.depth, 10, *options.ks)
    texts = np.asarray(items.query_captions)
    forward, backward = (
        rank_both(encoded.captions[texts], encoded.images, items.images_of_caption, None, depth=depth)[0],
        rank_both(encoded.captions, encoded.images[items.query_images], None, items.captions_of_image, depth=depth)[1],
    )
    assert forward is not None
    assert backward is not None
    by_text, by_image = (
        _Direction(ranking.top[:, : options.depth], queries)
        for ranking, queries in ((forward, texts), (backward, items.query_images))
    )
    pairs = _ask(encoded, by_text, by_image, reranker, product=product, progress=progress)
    if options.rerank_by == PLUS_SCORE:
        for direction, asking, asked in (
            (by_text, encoded.captions, encoded.images),
            (by_image, encoded.images, encoded.captions),
        ):
            direction.add_scores(asking, asked)
    seconds = time.monotonic() - started
    again = rank_again(forward, by_text.values), rank_again(backward, by_image.values)
    return Reranked(
        reranker.spec,
        options.rerank_by,
        options.depth,
        reranker.device,
        pairs,
        seconds,
        _direction("text_to_image", evidence.text_to_image, again[0], items.image_of_caption, items, options),
        _direction("image_to_text", evidence.image_to_text, again[1], items.query_images, items, options),
    )


def rank_again(ranking: Ranking, values: NDArray[np.float64]) -> Ranking:
    """A ranking whose first items are put in the order of their values, (n_queries, depth), higher first; of equal ones
    the lower position. What comes behind them keeps its rank.

    >>> from mmsearch.metrics import Relevance
    >>> wanted = Relevance.one_each(np.array([2]))
    >>> before = Ranking(RankBounds(*[np.array([3])] * 3), np.array([[0, 1, 2, 3]]), wanted)
    >>> after = rank_again(before, np.array([[0.1, 0.9, 0.9]]))
    >>> after.top.tolist(), after.bounds.ranks.tolist(), after.bounds.pessimistic.tolist()
    ([[1, 2, 0, 3]], [2], [2])
    """
    depth = values.shape[1]
    first = ranking.top[:, :depth]
    values = np.where(first >= 0, values, -np.inf)
    order = np.stack([np.lexsort((of, -value)) for of, value in zip(first, values, strict=True)])
    top = np.concatenate([np.take_along_axis(first, order, axis=1), ranking.top[:, depth:]], axis=1)
    ranks, optimistic, pessimistic = (
        np.array(each) for each in (ranking.bounds.ranks, ranking.bounds.optimistic, ranking.bounds.pessimistic)
    )
    for query, (row, of_first) in enumerate(zip(top, first, strict=True)):
        relevant = np.isin(of_first, ranking.relevant.of(np.array([query])).positions)
        if not relevant.any():
            continue
        best = values[query][relevant].max()
        ahead = int(np.count_nonzero(values[query] > best))
        ranks[query] = 1 + np.flatnonzero(np.isin(row[:depth], of_first[relevant]))[0]
        optimistic[query] = 1 + ahead
        pessimistic[query] = 1 + ahead + int(np.count_nonzero((values[query] == best) & ~relevant))
    return Ranking(RankBounds(ranks, optimistic, pessimistic), top, ranking.relevant)


class _Direction:
    """The candidates of one direction, and what the re-ranker says of each.

    candidates: int64 (n, depth), -1 for none. queries: (n,), which caption or image each row is of.
    """

    def __init__(self, candidates: Ids, queries: Ids) -> None:
        self.candidates, self.queries = candidates, queries
        self.values = np.full(candidates.shape, -np.inf)

    def add_scores(self, asking: NDArray[np.float32], asked: NDArray[np.float32]) -> None:
        for row, (query, candidates) in enumerate(zip(self.queries, self.candidates, strict=True)):
            self.values[row] += asked[candidates].astype(np.float64) @ asking[query].astype(np.float64)


def _ask(
    encoded: Rereadable,
    by_text: _Direction,
    by_image: _Direction,
    reranker: "Reranker",
    *,
    product: bool,
    progress: ProgressCallback,
) -> int:
    """Have the values of both directions filled in, a picture at a time. Returns how many pairs were looked at."""
    flat = by_text.candidates.ravel()
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], np.arange(len(encoded.images) + 1))
    row_of_image = {int(image): row for row, image in enumerate(by_image.queries)}
    width, total = by_text.candidates.shape[1], 0
    for image in range(len(encoded.images)):
        found_by = order[starts[image] : starts[image + 1]]
        own_row = row_of_image.get(image)
        found = by_image.candidates[own_row] if own_row is not None else np.zeros(0, np.int64)
        found = found[found >= 0]
        asking = by_text.queries[found_by // width]
        captions = np.unique(np.concatenate([asking, found]))
        if not len(captions):
            continue
        (picture,) = reranker.look([reranker.prepare(_image(encoded, image, product=product))])
        fits = np.empty(len(captions))
        for start in range(0, len(captions), reranker.pairs_at_once):
            some = captions[start : start + reranker.pairs_at_once]
            texts = [encoded.items.captions[caption] for caption in some.tolist()]
            fits[start : start + len(some)] = reranker.match(texts, [picture] * len(some))
        by_text.values.ravel()[found_by] = fits[np.searchsorted(captions, asking)]
        if own_row is not None:
            by_image.values[own_row, : len(found)] = fits[np.searchsorted(captions, found)]
        total += len(captions)
        progress(Progress("re-ranking", image + 1, len(encoded.images)))
    return total


def _image(encoded: Rereadable, image: int, *, product: bool) -> "PIL.Image.Image":
    """A picture of the benchmark as it was encoded."""
    name = encoded.items.images[image]
    try:
        data = read_content(encoded.gallery, image_row(encoded.gallery, int(encoded.image_row_ids[image]))).data
        return images.decode(data).image if product else images.decode_for_benchmark(data)
    except (FileGone, ImageError) as error:
        raise BenchmarkError(f"the picture {name} cannot be read again to be re-ranked: {error}") from error


def _direction(
    name: Direction,
    before: Ranking,
    after: Ranking,
    image_of_query: Ids,
    items: Items,
    options: EvaluateOptions,
) -> RerankedDirection:
    ks, n_images = options.ks, len(items.images)
    figures = per_query(after, ks)
    around = intervals(figures, image_of_query, n_images)
    gallery = n_images if name == "text_to_image" else len(items.captions)
    reached = {"candidates": (before.bounds.ranks <= options.depth).astype(np.float64)}
    return RerankedDirection(
        result=summarize(name, after, gallery, ks, around, len(np.unique(image_of_query))),
        candidate_recall=recall_at_k(before.bounds.ranks, options.depth),
        candidate_interval=intervals(reached, image_of_query, n_images)["candidates"],
        differences=differences(per_query(before, ks), figures, image_of_query, n_images),
    )
