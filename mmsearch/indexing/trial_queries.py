"""Trial queries that measure an index: rows and texts, with their exact neighbours from one pass over the shards."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann import MeasuredRecall, QueryKind
from mmsearch.encoders import Encoder
from mmsearch.errors import MmsearchError
from mmsearch.exact import Neighbours, VectorBlock, exact_search
from mmsearch.gallery import Gallery, sample_rows
from mmsearch.items import CAPTIONS, IMAGES, AnyKind
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.search.general_captions import GENERAL, general_captions, general_vectors
from mmsearch.versions import Coverage

__all__ = [
    "QUERY_KINDS",
    "NEW_ROWS",
    "EncoderChoice",
    "TrialQueries",
    "expected_queries",
    "make_corrected_queries",
    "make_trial_queries",
    "remove_own_rows",
]

# The standard error of a recall near .95 is then under half a percentage point.
TEXT_QUERIES = 1000
IMAGE_QUERIES = 500
# With fewer captions than this the general ones ask; with fewer than the least of all, nobody does.
ENOUGH_CAPTIONS = 200
LEAST_QUERIES = 30
QUERY_KINDS = (IMAGES, CAPTIONS)
"""The kinds whose items serve as queries: images as pictures, captions as texts."""
NEW_ROWS = "new rows"

EncoderChoice: TypeAlias = str | Encoder | None


@dataclass(frozen=True, slots=True)
class TrialQueries:
    """Queries of one kind with their exact neighbours.

    Attributes:
        source: What they are: a table, general captions, or new rows.
        vectors: (n, dim).
        own_row_ids: (n,) row of each query, which does not count as a hit; -1 for none.
        exact_neighbours: The k best of each query.
    """

    kind: QueryKind
    source: str
    vectors: NDArray[np.float32]
    own_row_ids: NDArray[np.int64]
    exact_neighbours: Neighbours

    def halves(self) -> tuple["TrialQueries", "TrialQueries"]:
        """Splits into queries for tuning and others that judge it; the same twice where there are too few to split."""
        if len(self.vectors) < 2 * LEAST_QUERIES:
            return self, self
        return self._take(slice(0, None, 2)), self._take(slice(1, None, 2))

    def _take(self, rows: slice) -> "TrialQueries":
        exact_neighbours = _select(self.exact_neighbours, lambda values, _: values[rows])
        return replace(
            self, vectors=self.vectors[rows], own_row_ids=self.own_row_ids[rows], exact_neighbours=exact_neighbours
        )


@dataclass(frozen=True, slots=True)
class _UnansweredQueries:
    """Queries before their exact neighbours are known."""

    kind: QueryKind
    source: str
    vectors: NDArray[np.float32]
    own_row_ids: NDArray[np.int64]


def make_trial_queries(
    gallery: Gallery,
    table: str,
    k: int,
    rng: np.random.Generator,
    *,
    general: bool,
    encoder: EncoderChoice = None,
    covered: Coverage | None = None,
    progress: ProgressCallback,
) -> tuple[list[TrialQueries], list[MeasuredRecall]]:
    """Image and text queries with their exact neighbours in a table; and for a kind that cannot be asked, why not.

    general: ask with the general captions where the gallery has too few of its own. fresh: what an index covered; rows
    outside of it ask too, as NEW_ROWS.
    """
    drawn = [
        _sample_queries(gallery, table, IMAGES, IMAGE_QUERIES, k, rng),
        _make_text_queries(gallery, table, k, rng, general, encoder),
    ]
    if covered is not None:
        ids, new_vectors = sample_rows(gallery, table, IMAGE_QUERIES // 2, rng, skip=covered)
        drawn += [_UnansweredQueries("image", NEW_ROWS, new_vectors, ids)] if len(ids) else []
    unmeasured = [group for group in drawn if isinstance(group, MeasuredRecall)]
    unanswered = [group for group in drawn if isinstance(group, _UnansweredQueries)]
    if not unanswered:
        return [], unmeasured
    vectors = np.concatenate([group.vectors for group in unanswered])
    blocks = gallery.vector_blocks(table)
    neighbours = exact_search(_with_progress(blocks, gallery.live_rows(table), progress), vectors, k + 1)
    queries, start = [], 0
    for group in unanswered:
        rows = slice(start, start + len(group.vectors))
        exact_neighbours = remove_own_rows(
            Neighbours(neighbours.row_ids[rows], neighbours.scores[rows]), group.own_row_ids, k
        )
        queries.append(TrialQueries(group.kind, group.source, group.vectors, group.own_row_ids, exact_neighbours))
        start = rows.stop
    return queries, unmeasured


def make_corrected_queries(
    gallery: Gallery,
    table: str,
    asking: AnyKind,
    k: int,
    rng: np.random.Generator,
    *,
    lower: Callable[[Iterable[VectorBlock]], Iterable[VectorBlock]],
    progress: ProgressCallback,
) -> TrialQueries | None:
    """Items of the kind that asks, with their exact neighbours in a table by what is left of the scores; None where
    they are too few.

    lower: blocks -> the same with what is taken from the score of each row.
    """
    drawn = _sample_queries(gallery, table, asking, TEXT_QUERIES if asking == CAPTIONS else IMAGE_QUERIES, k, rng)
    if isinstance(drawn, MeasuredRecall):
        return None
    blocks = _with_progress(gallery.vector_blocks(table), gallery.live_rows(table), progress)
    neighbours = remove_own_rows(exact_search(lower(blocks), drawn.vectors, k + 1), drawn.own_row_ids, k)
    return TrialQueries(drawn.kind, drawn.source, drawn.vectors, drawn.own_row_ids, neighbours)


def _own_rows(gallery: Gallery, kind: AnyKind) -> int:
    """How many items of a kind there are, but for captions that a model has written."""
    rows = gallery.live_rows(kind.name)
    if kind != CAPTIONS or not rows:
        return rows
    return sum(len(part) for part in gallery.scan(kind.name, [], skip=gallery.guessed_captions()))


def _with_progress(blocks: Iterable[VectorBlock], rows: int, progress: ProgressCallback) -> Iterator[VectorBlock]:
    passed = 0
    for block in blocks:
        yield block
        passed += len(block.row_ids)
        progress(Progress("exact neighbours", passed, rows))


def _sample_queries(
    gallery: Gallery, table: str, query_kind: AnyKind, count: int, k: int, rng: np.random.Generator
) -> _UnansweredQueries | MeasuredRecall:
    kind, source = query_kind.side, query_kind.name
    rows = _own_rows(gallery, query_kind)
    if rows < LEAST_QUERIES:
        why = f"{kind} recall unmeasured: the gallery holds {rows} {source}, and {LEAST_QUERIES} are needed"
        return MeasuredRecall(kind, k, 0, None, why)
    skip = gallery.guessed_captions() if query_kind == CAPTIONS else ()  # nobody asks as a model writes
    ids, vectors = sample_rows(gallery, source, count, rng, skip=skip)
    order = rng.permutation(len(ids))  # halves are to be alike, though a gallery's rows come in order
    own_row_ids = ids if source == table else np.full(len(ids), -1, np.int64)
    return _UnansweredQueries(kind, source, vectors[order], own_row_ids[order])


def _make_text_queries(
    gallery: Gallery, table: str, k: int, rng: np.random.Generator, general: bool, encoder: EncoderChoice
) -> _UnansweredQueries | MeasuredRecall:
    caption_count = _own_rows(gallery, CAPTIONS)
    if caption_count >= ENOUGH_CAPTIONS or (caption_count >= LEAST_QUERIES and not general):
        return _sample_queries(gallery, table, CAPTIONS, TEXT_QUERIES, k, rng)
    reason = f"the gallery holds {caption_count} captions"
    if general:
        try:
            vectors = general_vectors(gallery, encoder)
            return _UnansweredQueries("text", GENERAL, vectors, np.full(len(vectors), -1, np.int64))
        except MmsearchError as error:
            reason += f", and its text tower could not be loaded ({str(error).splitlines()[0]})"
    if caption_count >= LEAST_QUERIES:
        return _sample_queries(gallery, table, CAPTIONS, TEXT_QUERIES, k, rng)
    return MeasuredRecall("text", k, 0, None, f"text recall unmeasured: {reason}")


def expected_queries(gallery: Gallery, *, general: bool) -> int:
    """How many queries `make_trial_queries` makes, where a text side can be loaded if one is needed."""
    rows, own = gallery.live_rows(IMAGES.name), _own_rows(gallery, CAPTIONS)
    images = min(IMAGE_QUERIES, rows) if rows >= LEAST_QUERIES else 0
    if own < ENOUGH_CAPTIONS and general and not gallery.manifest.encoder.declared:
        return images + len(general_captions())
    return images + (min(TEXT_QUERIES, own) if own >= LEAST_QUERIES else 0)


def remove_own_rows(neighbours: Neighbours, own_row_ids: NDArray[np.int64], k: int) -> Neighbours:
    """k + 1 hits a query -> k, without the query itself."""
    is_other = neighbours.row_ids != own_row_ids[:, None]
    # The row itself is among the hits unless k + 1 others score as much: then the last goes in its place.
    order = np.argsort(~is_other, axis=1, kind="stable")[:, :k]
    is_kept = np.take_along_axis(is_other, order, axis=1)
    return _select(
        neighbours, lambda values, empty: np.where(is_kept, np.take_along_axis(values, order, axis=1), empty)
    )


def _select(neighbours: Neighbours, choose: Callable[[NDArray[Any], float], NDArray[Any]]) -> Neighbours:
    """Some of the neighbours. choose: values of all, (n_queries, width), and what stands for none -> those of some."""
    corrected = None if neighbours.corrected is None else choose(neighbours.corrected, -np.inf)
    return Neighbours(choose(neighbours.row_ids, -1), choose(neighbours.scores, -np.inf), corrected)
