"""Queries on their way to their answers, until they can be searched by: checked, encoded, and taught by marks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import EncoderError, EncoderMismatch, QueryError
from mmsearch.gallery import Gallery
from mmsearch.items import CAPTIONS, IMAGES, kind
from mmsearch.names import shell_quoted
from mmsearch.search.answers import NOTHING_KNOWN, Answer, Worth
from mmsearch.search.candidates import Candidates, SecondLook
from mmsearch.search.correct import alpha_for
from mmsearch.search.encodes_queries import EncodesQueries
from mmsearch.search.encoding import (
    combinations,
    image_vectors,
    part_vector,
    text_vectors,
    texts_of,
    vectors_of_length,
)
from mmsearch.search.hits import Hit
from mmsearch.search.marks import find_marked, teach_by_marks
from mmsearch.search.mixed import by_table
from mmsearch.search.near import remark_on
from mmsearch.search.own_items import mean_vector, row_named, rows_named, vector_at, vector_of
from mmsearch.search.probable import chances_for
from mmsearch.search.query import ImagePart, ItemPart, MarkPart, Part, Query, TextPart, VectorPart
from mmsearch.search.retrieves import Retrieves

if TYPE_CHECKING:
    from mmsearch.scoring.presence import Chances
    from mmsearch.scoring.stored import TableScores
    from mmsearch.search.film_moments import Films

__all__ = ["PendingQuery", "pending_queries", "prepare", "require_items", "vectors_of_query", "without_error"]

_TEXT_SIDE = CAPTIONS.side


@dataclass(slots=True, eq=False)
class PendingQuery:
    """A query to one table on its way to its answer.

    Attributes:
        own: the row that each `ItemPart` names, and each `MarkPart` whose image the gallery holds; of a film or
            document one in its middle.
        whole: all rows (n,) of each `ItemPart` that names a film or a document.
        scores: what makes those of the table comparable; None where that is not known.
        alpha: of the correction; 0 for none.
        chances: what its hits are worth, where that is known.
        vectors: (n, dim) of each part: several of a film or document, one of all others.
        taught: the vector (dim,) that the marks made of them; None where there are no marks.
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

    def asked_vectors(self) -> NDArray[np.float32]:
        """All parts together: (n, dim), of which the one that a row is most like counts. Raises QueryError."""
        if self.taught is not None:
            return self.taught[None]
        return self.untaught()

    def untaught(self) -> NDArray[np.float32]:
        """All parts that are no marks together: (n, dim). Raises QueryError."""
        parts = [part for part in self.query.parts if not isinstance(part, MarkPart)]
        return combinations([self.vectors[part] for part in parts], [part.weight for part in parts])

    def answer(self) -> Answer:
        remarks, notes = tuple(self.remarks), tuple(self.notes)
        looked_at = None if self.second_look is None or self.query.rerank is None else self.second_look.looked_at
        return Answer(
            self.query, self.hits, self.pictures, self.more, remarks, self.truncated, self.worth, notes, looked_at
        )


def pending_queries(query: Query, gallery: Gallery) -> list[PendingQuery]:
    """One for each table that a query looks through, which share what they ask with."""
    vectors: dict[Part, NDArray[np.float32]] = {}
    return [PendingQuery(each, vectors=vectors) for each in by_table(query, gallery)]


def without_error(asked: Sequence[PendingQuery]) -> list[PendingQuery]:
    return [one for one in asked if one.error is None]


def prepare(
    asked: Sequence[PendingQuery], gallery: Gallery, encoders: EncodesQueries, retriever: Retrieves
) -> list[PendingQuery]:
    """Check, encode and teach queries; texts are encoded in one call. Returns those that can be searched by; what is
    wrong with the others becomes their `error`."""
    for one in asked:
        with one.may_fail():
            _check(one, gallery, retriever, encoders)
    _encode(without_error(asked), gallery, encoders)
    for one in without_error(asked):
        with one.may_fail():
            _teach(one, retriever)
            if (vectors := len(one.asked_vectors())) > 1:
                one.chances = chances_for(one.query, one.scores, one.alpha, vectors)
    return without_error(asked)


def vectors_of_query(
    query: Query, gallery: Gallery, encoders: EncodesQueries, retriever: Retrieves
) -> NDArray[np.float32]:
    """The unit vectors (n, dim) that a query searches by, with what marks taught. Raises QueryError, EncoderError."""
    asked = pending_queries(query, gallery)[0]
    prepare([asked], gallery, encoders, retriever)
    if asked.error is not None:
        raise asked.error
    return asked.asked_vectors()


def require_items(gallery: Gallery, table: str) -> None:
    """Raise QueryError where there is nothing to search."""
    if not gallery.live_rows(table):
        raise QueryError(f"{gallery.path} holds no {table}. Add some: {kind(table).how_to_add}")


def _check(asked: PendingQuery, gallery: Gallery, retriever: Retrieves, encoders: EncodesQueries) -> None:
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
            f"and cannot be compared with those of {spec}. To have them encoded anew: mmsearch embed --model "
            f"{shell_quoted(spec)} --gallery {shell_quoted(gallery.path)}"
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


def _encode(asked: Sequence[PendingQuery], gallery: Gallery, encoders: EncodesQueries) -> None:
    """Give each query the vectors of its parts. What the gallery holds needs no encoder."""
    for one in asked:
        with one.may_fail():
            for part in one.query.parts:
                if not isinstance(part, TextPart) and part not in one.vectors:
                    one.vectors[part] = _part_vectors(part, one, gallery, encoders)
    texts = {one: texts_of(one.query) for one in without_error(asked)}
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
            of_texts = (vector[None] for vector in text_vectors(one.query, encoded.vectors[rows]))
            one.vectors |= dict(zip(parts, of_texts, strict=True))
        if encoded.truncated[rows].any():
            one.truncated = True
            one.remarks.append("the query is longer than the model reads; its end was cut")


def _part_vectors(
    part: ImagePart | ItemPart | VectorPart | MarkPart, asked: PendingQuery, gallery: Gallery, encoders: EncodesQueries
) -> NDArray[np.float32]:
    if isinstance(part, MarkPart) and part.vector is not None:
        return vectors_of_length(part.vector, gallery.manifest.encoder.dim, str(part.item))
    if isinstance(part, ItemPart) and part.box is not None:
        if part.vector is not None:
            return vectors_of_length(part.vector, gallery.manifest.encoder.dim, str(part.item))
        return part_vector(gallery, asked.own[part], part.box, encoders)[None]
    if isinstance(part, ItemPart) and part in asked.whole:
        from mmsearch.search.asked_files import held_vectors  # late: most ask with whole pictures

        return held_vectors(gallery, asked.whole[part])
    if isinstance(part, ItemPart | MarkPart):
        return vector_at(gallery, asked.own[part])[None]
    if isinstance(part, VectorPart):
        return vectors_of_length(part.vector, gallery.manifest.encoder.dim, part.name)
    if not isinstance(part.image, bytes):
        return image_vectors(part.image, gallery, encoders, part.box)
    held = vector_of(gallery, part.image)
    if held is None:
        raise QueryError(f"the gallery {gallery.path} holds no picture with the content hash {part.image.hex()}")
    return held[None]


def _teach(asked: PendingQuery, retriever: Retrieves) -> None:
    """Have the marks of a query move its vector, and say how well they agree. Of a film or document the mean is
    moved: marks teach one vector."""
    marks = [part for part in asked.query.parts if isinstance(part, MarkPart)]
    if not marks:
        return
    untaught = None if len(marks) == len(asked.query.parts) else mean_vector(asked.untaught())
    taught = teach_by_marks(untaught, {mark: asked.vectors[mark][0] for mark in marks}, retriever.moments(IMAGES.name))
    asked.taught = taught.vector
    if (said := taught.in_words()) is not None:
        asked.notes.append(said)
