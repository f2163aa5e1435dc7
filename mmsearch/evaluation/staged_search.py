"""Searches a benchmark with any of the stages of the pipeline on and the others off."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann import AnnIndex, Effort, build
from mmsearch.evaluation.benchmark_encoding import EncodedBenchmark
from mmsearch.evaluation.budget_records import StageName
from mmsearch.evaluation.cross_correction import CrossCorrection, cross_correct
from mmsearch.exact import VectorBlock, Vectors, exact_search
from mmsearch.metrics import Direction, Ids, Relevance, first_found_ranks

__all__ = ["StagedSearch", "TunedIndex"]

_CANDIDATES_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class TunedIndex:
    """The index of what one direction searches in the product's gallery, whose row ids are positions.

    Attributes:
        effort: With which it is searched: as it was tuned, but for what was asked for.
        seed: It was built by.
    """

    ann: AnnIndex
    effort: Effort
    seed: int


class StagedSearch:
    """Both directions of a benchmark, searched with some stages on.

    reference: encoded by the benchmark's own preprocessing; product: by that of `embed`, of the same items. indexes:
    of product, in float16. admitted: direction -> positions that a filter admits, ascending; a direction without a
    filter is left out. depth: how many hits are looked at.
    """

    def __init__(
        self,
        reference: EncodedBenchmark,
        product: EncodedBenchmark,
        indexes: Mapping[Direction, TunedIndex],
        admitted: Mapping[Direction, Ids],
        depth: int,
    ) -> None:
        self._reference, self._product = reference, product
        self._indexes, self._admitted, self._depth = indexes, admitted, depth
        self._built: dict[tuple[Direction, bool, bool], AnnIndex] = {}
        self._corrections: dict[tuple[Direction, bool, bool], CrossCorrection] = {}

    def ranks(self, direction: Direction, on: Set[StageName]) -> Ids:
        """The rank, from 1, of the first relevant item of each query: int64 (n_queries,); NOT_FOUND below `depth`."""
        queries, items = self._vectors(direction, on)
        relevant = self._relevant(direction)
        if "correction" not in on:
            return first_found_ranks(self._find(direction, on, queries, items, None), relevant)
        correction = self.correction(direction, on)
        ranks = np.empty(len(queries), np.int64)
        for fold, lowered in enumerate(correction.lowered):
            asking = np.flatnonzero(correction.folds == fold)
            if len(asking):
                hits = self._find(direction, on, queries[asking], items, lowered)
                ranks[asking] = first_found_ranks(hits, relevant.of(asking))
        return ranks

    def correction(self, direction: Direction, on: Set[StageName]) -> CrossCorrection:
        """The correction of what these stages leave of the vectors."""
        key = direction, "preprocessing" in on, "float16" in on
        if key not in self._corrections:
            queries, items = self._vectors(direction, on)
            images, captions = (items, queries) if direction == "text_to_image" else (queries, items)
            self._corrections[key] = cross_correct(direction, images, captions, self._reference.items)
        return self._corrections[key]

    def _vectors(self, direction: Direction, on: Set[StageName]) -> tuple[NDArray[np.float32], Vectors]:
        """The queries, (n_queries, dim), and what is searched, (n_items, dim), as it is stored."""
        images = (self._product if "preprocessing" in on else self._reference).images
        captions = self._reference.captions
        queries, items = (captions, images) if direction == "text_to_image" else (images, captions)
        return queries, items.astype(np.float16) if "float16" in on else items

    def _relevant(self, direction: Direction) -> Relevance:
        items = self._reference.items
        return items.images_of_caption if direction == "text_to_image" else items.captions_of_image

    def _find(
        self,
        direction: Direction,
        on: Set[StageName],
        queries: NDArray[np.float32],
        items: Vectors,
        lowered: NDArray[np.float64] | None,
    ) -> Ids:
        """The positions of the hits of each query, best first: (n_queries, at most depth).

        lowered: (n_items,), what is taken from scores before they are ranked.
        """
        if not {"codes", "effort"} & set(on) or ("filter" in on and direction in self._admitted):
            searched = np.arange(len(items))
            if "filter" in on:
                searched = self._admitted.get(direction, searched)
            taken = None if lowered is None else lowered[searched]
            return exact_search([VectorBlock(searched, items[searched], lowered=taken)], queries, self._depth).row_ids
        ann = self._index_of(direction, on, items)
        effort = _effort_of(on, self._indexes[direction].effort, len(items), self._depth)
        taken = None if lowered is None else lowered[ann.row_ids]
        # Alone, the effort has all that it looks at scored again, which is much to hold for all queries at once.
        step = max(1, _CANDIDATES_AT_ONCE // ann.candidates(self._depth, effort))
        # Each query gets as many hits as there are items, up to the depth: rows are of one width.
        return np.concatenate(
            [
                ann.neighbours(queries[start : start + step], self._depth, effort=effort, lowered=taken).row_ids
                for start in range(0, len(queries), step)
            ]
        )

    def _index_of(self, direction: Direction, on: Set[StageName], items: Vectors) -> AnnIndex:
        """The product's index, where it is of these vectors; else one that was built alike."""
        tuned = self._indexes[direction]
        is_product, is_half = "preprocessing" in on, "float16" in on
        if is_product and is_half:
            return tuned.ann
        key = direction, is_product, is_half
        if key not in self._built:
            record = tuned.ann.record
            built = build(
                record.factory,
                table=record.table,
                fingerprint=record.fingerprint,
                dim=record.dim,
                training=lambda: np.asarray(items, np.float32),
                blocks=[VectorBlock(np.arange(len(items)), items)],
                rows=len(items),
                seed=tuned.seed,
            )
            self._built[key] = AnnIndex(built.faiss_index, built.row_ids, built.record, items)
        return self._built[key]


def _effort_of(on: Set[StageName], tuned: Effort, rows: int, k: int) -> Effort:
    """What each of the two stages of an index looks at: codes every row, effort as few as it was tuned to.

    Candidates are scored again as often as the index was tuned to wherever the codes count; for the effort alone, all
    that it looks at.
    """
    if "effort" not in on:
        return replace(tuned, nprobe=rows, ef_search=rows)
    if "codes" in on:
        return tuned
    looked_at = rows if tuned.ef_search is None else tuned.ef_search
    return replace(tuned, k_factor=-(-looked_at // k))
