"""The chain that answers: queries are encoded, rows retrieved, candidates go through the stages, hits are described.

    encode, taught -> retrieve, corrected -> leave out -> probabilities -> group by file -> distinct -> rerank -> sort
    -> describe, with moments

Each query gets the answer that it would get alone; what is wrong with one is the answer to that one. But texts are
encoded in one call, and queries that look for the same number of the same rows are searched in one.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import EncoderError, EncoderMismatch, QueryError
from mmsearch.exact import Neighbours, Vectors
from mmsearch.gallery import Gallery, read_consistently
from mmsearch.items import BOTH, CAPTIONS, IMAGES, kind, kinds
from mmsearch.locations import located
from mmsearch.search.answers import NOTHING_KNOWN, Answer, Worth, why_nothing
from mmsearch.search.by_date import sort_by_date
from mmsearch.search.candidates import Candidates, MakeStage, SecondLook, Stage, StageContext
from mmsearch.search.correct import alpha_for
from mmsearch.search.describing import hits_of, side_by_side, why_gone
from mmsearch.search.distinct import leave_out_near_duplicates
from mmsearch.search.encoding import (
    EncodesQueries,
    combined,
    image_vector,
    part_vector,
    text_vectors,
    texts_of,
    vector_of_length,
)
from mmsearch.search.group import group_by_file
from mmsearch.search.hits import Hit
from mmsearch.search.leave_out import leave_out_low_scores, leave_out_own_rows
from mmsearch.search.marks import find_marked, teach_by_marks
from mmsearch.search.mixed import by_table, merge_answers
from mmsearch.search.near import NO_PLACES, knows_places, remark_on
from mmsearch.search.own_items import row_named, rows_named, vector_at, vector_of, vector_of_all
from mmsearch.search.probable import add_probabilities, chances_for
from mmsearch.search.query import ImagePart, ItemPart, MarkPart, Part, Query, TextPart, VectorPart
from mmsearch.search.rerank import Rerankers, rerank
from mmsearch.search.retrieval import SearchOptions

if TYPE_CHECKING:
    from mmsearch.gallery import FileSpans
    from mmsearch.scoring import Moments
    from mmsearch.scoring.presence import Chances
    from mmsearch.scoring.stored import TableScores
    from mmsearch.search.film_moments import Films

__all__ = ["STAGES", "Retrieves", "answer_queries", "require_items", "vector_of_query"]

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

_TEXT_SIDE = CAPTIONS.side

_LOOK_FURTHER = 4
"""How many times as many rows are retrieved where the stages left too few of them."""


class Retrieves(Protocol):
    """The first stage, with all that it needs."""

    def search(
        self,
        vectors: NDArray[np.float32],
        *,
        k: int,
        table: str,
        where: str | None,
        options: SearchOptions,
        alpha: float,
    ) -> Neighbours:
        """The k best live rows for each vector, corrected by alpha, and fewer only where there are no more."""
        ...

    def scores(self, table: str) -> "TableScores | None":
        """What makes the scores of a table comparable."""
        ...

    def moments(self, table: str) -> "Moments":
        """What makes the scores of a table comparable with those of another."""
        ...

    def check_filter(self, table: str, where: str) -> None:
        """Raise FilterError where an expression is no filter of a table."""
        ...

    def admitted(self, gallery: Gallery, table: str, where: str) -> NDArray[np.int64]:
        """The ids of the live rows that a filter admits, ascending."""
        ...

    def file_spans(self, table: str) -> "FileSpans | None":
        """Which rows of a table share a file; None where none does."""
        ...


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
    groups = [_pending(query, gallery) for query in queries]
    asked = [one for group in groups for one in group]
    for one in asked:
        with one.may_fail():
            _check_query(one, gallery, retriever, encoders)
    _encode(_without_error(asked), gallery, encoders)
    for one in _without_error(asked):
        with one.may_fail():
            _teach(one, retriever)
    ready = _without_error(asked)
    chains = {one: _Chain(one, gallery, stages, retriever, rerankers) for one in ready}
    _find(chains, retriever, options)
    for query, group in zip(queries, groups, strict=True):
        if query.table == BOTH:
            _add_standard_scores(_without_error(group), retriever)
    _describe(_without_error(asked), gallery)
    return [_answer(query, group) for query, group in zip(queries, groups, strict=True)]


def vector_of_query(
    query: Query, gallery: Gallery, encoders: EncodesQueries, retriever: Retrieves
) -> NDArray[np.float32]:
    """The unit vector (dim,) that a query searches by, with what marks taught. Raises QueryError, EncoderError."""
    pending = _pending(query, gallery)[0]
    with pending.may_fail():
        _check_query(pending, gallery, retriever, encoders)
        _encode([pending], gallery, encoders)
    with pending.may_fail():
        if pending.error is None:
            _teach(pending, retriever)
    if pending.error is not None:
        raise pending.error
    return pending.vector()


def require_items(gallery: Gallery, table: str) -> None:
    """Raise QueryError where there is nothing to search."""
    if not gallery.live_rows(table):
        raise QueryError(f"{gallery.path} holds no {table}. Add some: {kind(table).how_to_add}")


@dataclass(slots=True, eq=False)
class _PendingQuery:
    """A query to one table on its way to its answer.

    Attributes:
        own: the row that each `ItemPart` names, and each `MarkPart` whose image the gallery holds; of a film or
            document one in its middle.
        whole: all rows (n,) of each `ItemPart` that names a film or a document.
        scores: what makes those of the table comparable; None where that is not known.
        alpha: of the correction; 0 for none.
        chances: what its hits are worth, where that is known.
        vectors: of the parts.
        taught: the vector that the marks made of them; None where there are no marks.
        candidates: the candidates that there is use for, those that are passed over among them.
        films: the rows that share a file with others, as the query sees them; None where none does.
    """

    query: Query
    own: dict[ItemPart | MarkPart, int] = field(default_factory=dict)
    whole: dict[ItemPart, NDArray[np.int64]] = field(default_factory=dict)
    scores: "TableScores | None" = None
    alpha: float = 0.0
    chances: "Chances | None" = None
    worth: Worth = NOTHING_KNOWN
    vectors: dict[Part, NDArray[np.float32]] = field(default_factory=dict)
    taught: NDArray[np.float32] | None = None
    candidates: Candidates | None = None
    more: bool = False
    truncated: bool = False
    hits: Sequence[Hit] = ()
    pictures: Sequence[str] = ()
    remarks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    second_look: SecondLook | None = None
    films: "Films | None" = None
    error: QueryError | EncoderError | None = None

    @property
    def own_rows(self) -> NDArray[np.int64]:
        """Those of `own` that are no answer and stand in the searched table, ascending."""
        if self.query.table != IMAGES.name:
            return np.zeros(0, np.int64)
        rows = {row for part, row in self.own.items() if isinstance(part, ItemPart) or part.weight < 0}
        rows.update(*(each.tolist() for each in self.whole.values()))
        return np.array(sorted(rows), np.int64)

    @contextmanager
    def may_fail(self) -> Iterator[None]:
        try:
            yield
        except (QueryError, EncoderError) as error:
            self.error = error

    def vector(self) -> NDArray[np.float32]:
        """All parts together. Raises QueryError."""
        if self.taught is not None:
            return self.taught
        return self.untaught()

    def untaught(self) -> NDArray[np.float32]:
        """All parts that are no marks together. Raises QueryError."""
        parts = [part for part in self.query.parts if not isinstance(part, MarkPart)]
        return combined([self.vectors[part] for part in parts], [part.weight for part in parts])

    def answer(self) -> Answer:
        remarks, notes = tuple(self.remarks), tuple(self.notes)
        looked_at = None if self.second_look is None or self.query.rerank is None else self.second_look.looked_at
        return Answer(
            self.query, self.hits, self.pictures, self.more, remarks, self.truncated, self.worth, notes, looked_at
        )


def _pending(query: Query, gallery: Gallery) -> list[_PendingQuery]:
    """One for each table that a query looks through, which share what they ask with."""
    vectors: dict[Part, NDArray[np.float32]] = {}
    return [_PendingQuery(each, vectors=vectors) for each in by_table(query, gallery)]


def _answer(query: Query, group: Sequence[_PendingQuery]) -> Answer | QueryError | EncoderError:
    for one in group:
        if one.error is not None:
            return one.error
    answers = [one.answer() for one in group]
    answer = merge_answers(query, answers) if query.table == BOTH else answers[0]
    return replace(answer, remarks=(*answer.remarks, *why_gone(answer.hits)))


def _without_error(asked: Sequence[_PendingQuery]) -> list[_PendingQuery]:
    return [one for one in asked if one.error is None]


def _check_query(asked: _PendingQuery, gallery: Gallery, retriever: Retrieves, encoders: EncodesQueries) -> None:
    """Say what can be said before a model has to be loaded."""
    query = asked.query
    require_items(gallery, query.table)
    if query.where is not None:
        retriever.check_filter(query.table, query.where)
    if query.near is not None and (remark := remark_on(query.near)) is not None:
        asked.remarks.append(remark)
    is_of_texts = kind(query.table).side == _TEXT_SIDE
    with_texts = is_of_texts or any(isinstance(part, TextPart) for part in query.parts)
    other_texts = with_texts and encoders.has_own_texts  # for which a model may have to be loaded
    if other_texts and is_of_texts:
        spec = encoders.encoder(_TEXT_SIDE).identity.spec
        raise EncoderMismatch(
            f"the vectors of {query.table} in {gallery.path} are of the text side of {gallery.manifest.encoder.spec}, "
            f"and cannot be compared with those of {spec}. To have them encoded anew: mmsearch embed --model {spec} "
            f"--gallery {gallery.path}"
        )
    asked.scores = None if other_texts else retriever.scores(query.table)
    asked.alpha = alpha_for(query, asked.scores)
    asked.chances = chances_for(query, asked.scores, asked.alpha)
    like = [part for part in query.parts if isinstance(part, ItemPart)]
    for part in like:
        if part.box is None and len(rows := rows_named(gallery, part.item)) > 1:
            asked.whole[part], asked.own[part] = rows, int(rows[len(rows) // 2])
        else:
            asked.own[part] = row_named(gallery, part.item)
    asked.own.update(find_marked(query, gallery).items())


def _encode(asked: Sequence[_PendingQuery], gallery: Gallery, encoders: EncodesQueries) -> None:
    """Give each query the vectors of its parts. What the gallery holds needs no encoder."""
    for one in asked:
        with one.may_fail():
            for part in one.query.parts:
                if not isinstance(part, TextPart) and part not in one.vectors:
                    one.vectors[part] = _part_vector(part, one, gallery, encoders)
    texts = {one: texts_of(one.query) for one in _without_error(asked)}
    texts = {one: own for one, own in texts.items() if own}
    if not texts:
        return
    distinct = {text: row for row, text in enumerate(dict.fromkeys(chain.from_iterable(texts.values())))}
    try:
        encoded = encoders.encoder("text").text.encode([*distinct])
    except EncoderError as error:
        for one in texts:
            one.error = error
        return
    for one, own in texts.items():
        rows = [distinct[text] for text in own]
        parts = (part for part in one.query.parts if isinstance(part, TextPart))
        with one.may_fail():
            one.vectors |= dict(zip(parts, text_vectors(one.query, encoded.vectors[rows]), strict=True))
        if encoded.truncated[rows].any():
            one.truncated = True
            one.remarks.append("the query is longer than the model reads; its end was cut")


def _part_vector(
    part: ImagePart | ItemPart | VectorPart | MarkPart, asked: _PendingQuery, gallery: Gallery, encoders: EncodesQueries
) -> NDArray[np.float32]:
    if isinstance(part, MarkPart) and part.vector is not None:
        return vector_of_length(part.vector, gallery.manifest.encoder.dim, str(part.item))
    if isinstance(part, ItemPart) and part.box is not None:
        if part.vector is not None:
            return vector_of_length(part.vector, gallery.manifest.encoder.dim, str(part.item))
        return part_vector(gallery, asked.own[part], part.box, encoders)
    if isinstance(part, ItemPart) and part in asked.whole:
        return vector_of_all(gallery, asked.whole[part])
    if isinstance(part, ItemPart | MarkPart):
        return vector_at(gallery, asked.own[part])
    if isinstance(part, VectorPart):
        return vector_of_length(part.vector, gallery.manifest.encoder.dim, part.name)
    if not isinstance(part.image, bytes):
        return image_vector(part.image, gallery, encoders, part.box)
    held = vector_of(gallery, part.image)
    if held is None:
        raise QueryError(f"the gallery {gallery.path} holds no picture with the content hash {part.image.hex()}")
    return held


def _teach(asked: _PendingQuery, retriever: Retrieves) -> None:
    """Have the marks of a query move its vector, and say how well they agree."""
    marks = [part for part in asked.query.parts if isinstance(part, MarkPart)]
    if not marks:
        return
    untaught = None if len(marks) == len(asked.query.parts) else asked.untaught()
    taught = teach_by_marks(untaught, {mark: asked.vectors[mark] for mark in marks}, retriever.moments(IMAGES.name))
    asked.taught = taught.vector
    if (said := taught.in_words()) is not None:
        asked.notes.append(said)


def _find(chains: "Mapping[_PendingQuery, _Chain]", retriever: Retrieves, options: SearchOptions) -> None:
    """Retrieve rows for each query until its stages leave enough, or no more can come.

    Queries that look as far among the same rows are searched in one call.
    """
    vectors: dict[_PendingQuery, NDArray[np.float32]] = {}
    for one in _without_error([*chains]):
        with one.may_fail():
            vectors[one] = one.vector()
    looking = {
        one: one.query.looked_at * (1 if one.films is None else _OF_A_FILE[one.query.per_video]) + len(one.own_rows)
        for one in vectors
    }
    while looking:
        alike: dict[tuple[str, str | None, int, float], list[_PendingQuery]] = {}
        for one, look in looking.items():
            alike.setdefault((one.query.table, one.query.filter, look, one.alpha), []).append(one)
        looking = {}
        for (table, where, look, alpha), group in alike.items():
            asked_vectors = np.stack([vectors[one] for one in group])
            try:
                neighbours = retriever.search(
                    asked_vectors, k=look, table=table, where=where, options=options, alpha=alpha
                )
            except QueryError as error:  # of the filter that they share
                for one in group:
                    one.error = error
                continue
            for number, one in enumerate(group):
                settled = True
                with one.may_fail():
                    settled = chains[one].settle(_only(neighbours, number), look)
                if not settled:
                    looking[one] = look * _LOOK_FURTHER


def _films(asked: _PendingQuery, gallery: Gallery, retriever: Retrieves) -> "Films | None":
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
        asked.vector(),
        live_rows=gallery.live_rows(query.table),
        lowest=-np.inf if query.min_score is None else query.min_score,
        admitted=None if where is None else lambda: retriever.admitted(gallery, query.table, where),
    )


def _vectors(gallery: Gallery, table: str, row_ids: NDArray[np.int64]) -> Vectors:
    return read_consistently(gallery, lambda now: now.vectors(table, row_ids))


def _only(neighbours: Neighbours, query: int) -> Neighbours:
    """Those of one query, without padding."""
    there = neighbours.row_ids[query] >= 0
    corrected = None if neighbours.corrected is None else neighbours.corrected[query][there]
    row_ids, scores = neighbours.row_ids[query][there], neighbours.scores[query][there]
    return Neighbours(row_ids, scores, corrected, neighbours.searched)


class _Chain:
    """The stages of one query."""

    def __init__(
        self,
        asked: _PendingQuery,
        gallery: Gallery,
        stages: Sequence[MakeStage],
        retriever: Retrieves,
        rerankers: Rerankers,
    ) -> None:
        query = asked.query
        table_scores = asked.scores
        self._asked, self._gallery, self._table_scores = asked, gallery, table_scores
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

    def settle(self, neighbours: Neighbours, look: int) -> bool:
        """Answer from what was retrieved, (n,) each; False where more is needed. look: so many rows were asked for."""
        asked, wanted = self._asked, self._asked.query.wanted
        retrieved = candidates = self._as_candidates(neighbours, look)
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
        fetch = partial(_vectors, self._gallery, self._asked.query.table)
        return self._table_scores.lowered(row_ids, lambda chosen: fetch(row_ids[chosen]), alpha=self._asked.alpha)

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


def _add_standard_scores(asked: Sequence[_PendingQuery], retriever: Retrieves) -> None:
    """Make the candidates of several tables comparable."""
    for one in asked:
        if one.candidates is not None:
            moments, ranking = retriever.moments(one.query.table), one.candidates.ranking
            z = moments.standard_scores(one.vector(), ranking, alpha=one.alpha)
            one.candidates = one.candidates.with_scores("z", z)


def _describe(asked: Sequence[_PendingQuery], gallery: Gallery) -> None:
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


def _name_pictures(asked: Sequence[_PendingQuery], gallery: Gallery) -> None:
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
