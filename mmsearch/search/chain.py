"""The chain that answers: queries are encoded, rows retrieved, candidates go through the stages, hits are described.

    encode, taught -> retrieve, corrected -> leave out -> probabilities -> group by file -> distinct -> rerank -> sort
    -> describe, with moments

Each query gets the answer that it would get alone; what is wrong with one is the answer to that one. But texts are
encoded in one call, and queries that look for the same number of the same rows are searched in one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import EncoderError, QueryError
from mmsearch.exact import Neighbours, Vectors
from mmsearch.gallery import Gallery, read_consistently
from mmsearch.gallery.positions import NO_PLACES, knows_places
from mmsearch.items import BOTH, IMAGES, kinds
from mmsearch.locations import located
from mmsearch.search.answers import NOTHING_KNOWN, Answer, Worth, why_nothing
from mmsearch.search.by_date import sort_by_date
from mmsearch.search.candidates import Candidates, MakeStage, SecondLook, Stage, StageContext
from mmsearch.search.describing import hits_of, side_by_side, why_gone
from mmsearch.search.distinct import leave_out_near_duplicates
from mmsearch.search.encodes_queries import EncodesQueries
from mmsearch.search.group import group_by_file
from mmsearch.search.hits import Hit
from mmsearch.search.leave_out import leave_out_low_scores, leave_out_own_rows
from mmsearch.search.mixed import merge_answers
from mmsearch.search.opened_rerankers import Rerankers
from mmsearch.search.pending import PendingQuery, pending_queries, prepare, without_error
from mmsearch.search.probable import add_probabilities
from mmsearch.search.query import ImagePart, ItemPart, Part, Query, TextPart
from mmsearch.search.rerank import rerank
from mmsearch.search.retrieval import SearchOptions
from mmsearch.search.retrieves import Retrieves
from mmsearch.search.several_vectors import best_rows, of_vectors

if TYPE_CHECKING:
    from mmsearch.search.film_moments import Films

__all__ = ["STAGES", "answer_queries"]

STAGES: tuple[MakeStage, ...] = (
    leave_out_own_rows,
    leave_out_low_scores,
    add_probabilities,
    group_by_file,
    leave_out_near_duplicates,
    rerank,
    sort_by_date,
)
"""What candidates go through between being retrieved and being described, in this order."""

_ADDED = ("probability", "mean", "z", "rerank")
"""Scores beside those that rows are retrieved by."""

_OF_A_FILE = {"max": 8, "mean": 512}
"""How many times as many rows are retrieved at first where several may be of one file, by what films are ranked by: the
mean of a film is far below its best frame, so that many frames are above it."""

_LOOK_FURTHER = 4
"""How many times as many rows are retrieved where the stages left too few of them."""


def answer_queries(
    queries: Sequence[Query],
    gallery: Gallery,
    encoders: EncodesQueries,
    retriever: Retrieves,
    *,
    rerankers: Rerankers,
    options: SearchOptions = SearchOptions(),  # noqa: B008 - frozen
    stages: Sequence[MakeStage] = STAGES,
) -> list[Answer | QueryError | EncoderError]:
    """The answers to some queries, in their order. rerankers: which of them queries may name. Raises GalleryError where
    the gallery itself is damaged."""
    groups = [pending_queries(query, gallery) for query in queries]
    asked = [one for group in groups for one in group]
    ready = prepare(asked, gallery, encoders, retriever)
    chains = {one: _Chain(one, gallery, stages, retriever, rerankers) for one in ready}
    _find(chains, retriever, options)
    for query, group in zip(queries, groups, strict=True):
        if query.table == BOTH:
            _add_standard_scores(without_error(group), retriever)
    _describe(without_error(asked), gallery)
    return [_answer(query, group) for query, group in zip(queries, groups, strict=True)]


def _answer(query: Query, group: Sequence[PendingQuery]) -> Answer | QueryError | EncoderError:
    for one in group:
        if one.error is not None:
            return one.error
    answers = [one.answer() for one in group]
    answer = merge_answers(query, answers) if query.table == BOTH else answers[0]
    return replace(answer, remarks=(*answer.remarks, *why_gone(answer.hits)))


def _find(chains: "Mapping[PendingQuery, _Chain]", retriever: Retrieves, options: SearchOptions) -> None:
    """Retrieve rows for each query until its stages leave enough, or no more can come.

    Queries that look as far among the same rows are searched in one call.
    """
    vectors: dict[PendingQuery, NDArray[np.float32]] = {}
    for one in without_error([*chains]):
        with one.may_fail():
            vectors[one] = one.asked_vectors()
    looking = {
        one: one.query.looked_at * (1 if one.films is None else _OF_A_FILE[one.query.per_video]) + len(one.own_rows)
        for one in vectors
    }
    while looking:
        alike: dict[tuple[str, str | None, int, float], list[PendingQuery]] = {}
        for one, look in looking.items():
            alike.setdefault((one.query.table, one.query.filter, look, one.alpha), []).append(one)
        looking = {}
        for (table, where, look, alpha), group in alike.items():
            asked_vectors = np.concatenate([vectors[one] for one in group])
            try:
                neighbours = retriever.search(
                    asked_vectors, k=look, table=table, where=where, options=options, alpha=alpha
                )
            except QueryError as error:  # of the filter that they share
                for one in group:
                    one.error = error
                continue
            past = np.cumsum([len(vectors[one]) for one in group]).tolist()
            for one, first, end in zip(group, [0, *past], past, strict=False):
                settled = True
                with one.may_fail():
                    settled = chains[one].settle(of_vectors(neighbours, slice(first, end)), look)
                if not settled:
                    looking[one] = look * _LOOK_FURTHER


def _films(asked: PendingQuery, gallery: Gallery, retriever: Retrieves) -> "Films | None":
    """The rows of the searched table that share a file with others; None where none does. Raises QueryError."""
    query = asked.query
    spans = retriever.file_spans(query.table)
    if spans is None:
        return None
    from mmsearch.search.film_moments import Films  # late: most galleries hold whole files

    where = query.filter
    return Films(
        spans,
        partial(_vectors, gallery, query.table),
        asked.asked_vectors(),
        live_rows=gallery.live_rows(query.table),
        lowest=-np.inf if query.min_score is None else query.min_score,
        admitted=None if where is None else lambda: retriever.admitted(gallery, query.table, where),
    )


def _vectors(gallery: Gallery, table: str, row_ids: NDArray[np.int64]) -> Vectors:
    return read_consistently(gallery, lambda now: now.vectors(table, row_ids))


class _Chain:
    """The stages of one query."""

    def __init__(
        self,
        asked: PendingQuery,
        gallery: Gallery,
        stages: Sequence[MakeStage],
        retriever: Retrieves,
        rerankers: Rerankers,
    ) -> None:
        query = asked.query
        table_scores = asked.scores
        self._asked, self._gallery, self._table_scores = asked, gallery, table_scores
        self._fetch = partial(_vectors, gallery, query.table)
        with asked.may_fail():
            asked.films = _films(asked, gallery, retriever)
        # What is to be sorted anew is wanted as a whole.
        wanted = query.looked_at if query.sort == "rank" else gallery.live_rows(query.table)
        keep = table_scores.record.keep if table_scores is not None and asked.chances is not None else None
        self._second_look = SecondLook()
        context = StageContext(
            query,
            gallery,
            asked.own_rows,
            wanted,
            asked.chances,
            keep,
            rerankers,
            self._second_look,
            asked.films,
            self._lowered if asked.alpha else None,
        )
        self._stages: list[Stage] = []
        with asked.may_fail():
            made = (make(context) for make in stages)
            self._stages = [stage for stage in made if stage is not None]

    def settle(self, found: Neighbours, look: int) -> bool:
        """Answer from what was retrieved by each of the query's vectors; False where more is needed. look: so many rows
        were asked for."""
        asked, wanted = self._asked, self._asked.query.wanted
        indexed = self._gallery.index_for(asked.query.table) is not None
        best = best_rows(found, look, asked.asked_vectors(), self._fetch if indexed else None)
        retrieved = candidates = self._as_candidates(best, look)
        for stage in self._stages:
            candidates = stage(candidates)
        if len(candidates) < asked.query.looked_at and candidates.bound > -np.inf:
            return False
        asked.more = len(candidates) > wanted or candidates.bound > -np.inf
        asked.candidates = candidates.first(wanted)
        asked.worth = self._worth(retrieved)
        asked.second_look = self._second_look
        asked.remarks += self._second_look.in_words(asked.query)
        if not len(candidates):
            asked.remarks.append(self._why_nothing(retrieved))
        return True

    def _as_candidates(self, neighbours: Neighbours, look: int) -> Candidates:
        row_ids, scores, corrected = neighbours.row_ids, neighbours.scores, neighbours.corrected
        all_live = self._gallery.live_rows(self._asked.query.table)
        nothing_missing = len(row_ids) < look or len(row_ids) == neighbours.searched or look >= all_live
        bound = -np.inf if nothing_missing else float(neighbours.ranking[-1])
        searched = self._searched(neighbours)
        if corrected is None:
            return Candidates(row_ids, {"score": scores}, bound, searched=searched)
        assert self._table_scores is not None
        score_bound = bound + self._table_scores.most_lowered(self._asked.alpha)
        both = {"score": scores, "corrected": corrected}
        return Candidates(row_ids, both, bound, "corrected", score_bound, searched)

    def _searched(self, neighbours: Neighbours) -> int:
        """Among how many files was searched, or rows where chances are told by their number."""
        asked, scores = self._asked, self._table_scores
        if asked.films is None or asked.chances is None or scores is None or not scores.record.by_file:
            return neighbours.searched
        return asked.films.file_count

    def _lowered(self, row_ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """What the score of each row loses."""
        assert self._table_scores is not None
        return self._table_scores.lowered(row_ids, lambda chosen: self._fetch(row_ids[chosen]), alpha=self._asked.alpha)

    def _worth(self, retrieved: Candidates) -> Worth:
        """What the best of all that was searched is worth."""
        asked, others = self._asked, retrieved.kept(~np.isin(retrieved.row_ids, self._asked.own_rows))
        if not len(others):
            return NOTHING_KNOWN
        best = others.ranking[:1]
        if asked.chances is not None:
            return Worth(probability=float(asked.chances.of_any(best, others.searched)[0]))
        general = self._table_scores.record.general if self._table_scores is not None else ()
        (part, *more) = asked.query.parts
        if not general or more or asked.alpha or asked.query.filter is not None or not isinstance(part, TextPart):
            return NOTHING_KNOWN
        return Worth(above_general=float(np.searchsorted(general, best[0])) / len(general))

    def _why_nothing(self, retrieved: Candidates) -> str:
        own_rows, query = self._asked.own_rows, self._asked.query
        if query.near is not None and not read_consistently(self._gallery, knows_places):
            return NO_PLACES
        others = retrieved.kept(~np.isin(retrieved.row_ids, own_rows))
        best = chance = None
        if len(others):
            best = float(others.scores["score"].max())
            if self._asked.chances is not None:
                chance = float(self._asked.chances.of_hit(others.ranking[:1], others.searched)[0])
        items = self._gallery.live_rows(query.table) - len(own_rows)
        return why_nothing(query, best, chance=chance, left_out=len(own_rows), items=items)


def _add_standard_scores(asked: Sequence[PendingQuery], retriever: Retrieves) -> None:
    """Make the candidates of several tables comparable."""
    for one in asked:
        if one.candidates is not None:
            moments, ranking = retriever.moments(one.query.table), one.candidates.ranking
            z = moments.standard_scores(one.asked_vectors(), ranking, alpha=one.alpha)
            one.candidates = one.candidates.with_scores("z", z)


def _describe(asked: Sequence[PendingQuery], gallery: Gallery) -> None:
    """Turn candidates into hits: those of one table are read in one call."""
    for table in (each.name for each in kinds()):
        alike = [(one, one.candidates) for one in asked if one.query.table == table and one.candidates is not None]
        neighbours = side_by_side([_as_neighbours(candidates) for _, candidates in alike])
        offsets = [one.query.offset for one, _ in alike]
        for (one, candidates), hits in zip(alike, hits_of(gallery, neighbours, table, offsets), strict=True):
            one.hits = _with_moments(_with_scores(hits, candidates, one.query.offset), one.films)
    _name_pictures(asked, gallery)


def _with_scores(hits: Sequence[Hit], candidates: Candidates, offset: int) -> Sequence[Hit]:
    """The hits with what stages added to the scores of their candidates."""
    added = {name: candidates.scores[name][offset:].tolist() for name in _ADDED if name in candidates.scores}
    for name, values in added.items():
        hits = [
            replace(hit, **{name: value}) if value > -math.inf else hit for hit, value in zip(hits, values, strict=True)
        ]
    return hits


def _with_moments(hits: Sequence[Hit], films: "Films | None") -> Sequence[Hit]:
    """The hits that are frames of films with the moments that they are the best frames of."""
    if films is None:
        return hits
    moments = [films.moment_at(hit.row_id) for hit in hits]
    return [
        hit if moment is None else replace(hit, from_s=moment.from_s, to_s=moment.to_s)
        for hit, moment in zip(hits, moments, strict=True)
    ]


def _as_neighbours(candidates: Candidates) -> Neighbours:
    corrected = candidates.scores.get("corrected")
    score = candidates.scores["score"]
    return Neighbours(candidates.row_ids[None], score[None], None if corrected is None else corrected[None])


def _name_pictures(asked: Sequence[PendingQuery], gallery: Gallery) -> None:
    """Say which files the queries asked with."""
    with_items = [one for one in asked if one.own]
    rows = [np.array([list(one.own.values())], np.int64) for one in with_items]
    own_hits = hits_of(gallery, side_by_side([Neighbours(row, np.zeros(row.shape)) for row in rows]), IMAGES.name)
    for one in asked:
        files: dict[Part, str] = {
            part: str(located(part.image))
            for part in one.query.parts
            if isinstance(part, ImagePart) and not isinstance(part.image, bytes)
        }
        if one.own:
            shown = own_hits[with_items.index(one)]
            named = zip(one.own, shown, strict=True)
            files |= {part: hit.file or "" for part, hit in named if isinstance(part, ItemPart)}
        one.pictures = [files[part] for part in one.query.parts if part in files and part.weight > 0]
