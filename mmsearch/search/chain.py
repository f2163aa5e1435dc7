"""Several queries answered together: their texts are encoded in one call, and those that look for alike are searched in
one. Each gets the answer that it would get alone; what is wrong with one is the answer to that one."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders import TextEncoder
from mmsearch.errors import EncoderError, QueryError
from mmsearch.exact import Neighbours, Vectors
from mmsearch.gallery import Gallery, consistently
from mmsearch.items import ITEM_TABLES, ItemTable
from mmsearch.locations import located
from mmsearch.search.describing import Answer, Hit, distinct, hits_of, kept, side_by_side, why_gone, why_nothing
from mmsearch.search.own_items import row_named, vector_at
from mmsearch.search.query import SLOT, Known, Like, Part, Picture, Query, Text, combined

__all__ = ["Answering", "answered"]

_LOOK_FURTHER = 4
"""How many times as many hits are asked for where near-duplicates left too few."""


class Answering(Protocol):
    """What answers: a gallery, what encodes for it, and a search of it."""

    @property
    def gallery(self) -> Gallery: ...

    def require_items(self, table: ItemTable) -> None: ...

    def require_filter(self, table: ItemTable, where: str) -> None: ...

    def text_encoder(self) -> TextEncoder: ...

    def picture_vector(self, file: str | os.PathLike[str]) -> NDArray[np.float32]: ...

    def search(
        self, vectors: NDArray[np.float32], *, k: int, table: ItemTable, where: str | None, options: Any
    ) -> Neighbours: ...


def answered(by: Answering, queries: Sequence[Query], options: Any) -> list[Answer | QueryError | EncoderError]:
    """The answers to some queries, in their order. options: for `by.search`.

    Raises GalleryError where the gallery itself is damaged.
    """
    asked = [_Asked(query) for query in queries]
    for each in asked:
        with each.may_fail():
            _look_at(by, each)
    _encode(by, _good(asked))
    _find(by, _good(asked), options)
    _show(by.gallery, _good(asked))
    return [each.error or each.answer() for each in asked]


@dataclass(slots=True, eq=False)
class _Asked:
    """A query on its way to its answer.

    own: the rows of its `Like`s. vectors: of its parts. found: the best that it may have, those that it passes over
    among them.
    """

    query: Query
    own: Mapping[Like, int] = field(default_factory=dict)
    vectors: dict[Part, NDArray[np.float32]] = field(default_factory=dict)
    found: Neighbours | None = None
    more: bool = False
    hits: Sequence[Hit] = ()
    pictures: Sequence[str] = ()
    remarks: list[str] = field(default_factory=list)
    error: QueryError | EncoderError | None = None

    @property
    def most(self) -> int:
        """How many hits it has use for."""
        return self.query.offset + self.query.k

    @property
    def itself(self) -> NDArray[np.int64]:
        """The rows that it asks with, which are no answer."""
        return np.array(sorted(set(self.own.values())) if self.query.table == "images" else [], np.int64)

    @property
    def texts(self) -> list[str]:
        """All that it wants encoded: each text in each template."""
        forms = self.query.templates or [SLOT]
        return [form.replace(SLOT, part.text) for part in self.query.parts if isinstance(part, Text) for form in forms]

    @contextmanager
    def may_fail(self) -> Iterator[None]:
        try:
            yield
        except (QueryError, EncoderError) as error:
            self.error = error

    def vector(self) -> NDArray[np.float32]:
        """All parts together. Raises QueryError."""
        parts = self.query.parts
        return combined([self.vectors[part] for part in parts], [part.weight for part in parts])

    def answer(self) -> Answer:
        return Answer(self.query, self.hits, self.pictures, self.more, tuple(self.remarks))


def _good(asked: Sequence[_Asked]) -> list[_Asked]:
    return [each for each in asked if each.error is None]


def _look_at(by: Answering, asked: _Asked) -> None:
    """What can be said before a model has to be loaded."""
    query = asked.query
    by.require_items(query.table)
    if query.where is not None:
        by.require_filter(query.table, query.where)
    asked.own = {part: row_named(by.gallery, part.path) for part in query.parts if isinstance(part, Like)}


def _encode(by: Answering, asked: Sequence[_Asked]) -> None:
    """Give each the vectors of its parts. What the gallery holds needs no encoder."""
    for each in asked:
        with each.may_fail():
            for part in each.query.parts:
                if isinstance(part, Like):
                    each.vectors[part] = vector_at(by.gallery, each.own[part])
                elif isinstance(part, Picture):
                    each.vectors[part] = by.picture_vector(part.file)
                elif isinstance(part, Known):
                    each.vectors[part] = _of_length(part, by.gallery.manifest.encoder.dim)
    wordy = [each for each in _good(asked) if each.texts]
    if not wordy:
        return
    try:
        encoded = by.text_encoder().encode_texts([text for each in wordy for text in each.texts])
    except EncoderError as error:
        for each in wordy:
            each.error = error
        return
    first = 0
    for each in wordy:
        some = slice(first, first + len(each.texts))
        _take_texts(each, encoded.vectors[some])
        if encoded.truncated[some].any():
            each.remarks.append("the query is longer than the model reads; its end was cut")
        first = some.stop


def _of_length(part: Known, dim: int) -> NDArray[np.float32]:
    if part.vector.shape != (dim,):
        raise QueryError(
            f"{part.name} has a vector of shape {part.vector.shape}; those of the gallery have {dim} values"
        )
    return part.vector


def _take_texts(asked: _Asked, vectors: NDArray[np.float32]) -> None:
    """Give the texts of a query their vectors: of several templates the mean."""
    forms = max(1, len(asked.query.templates))
    for place, part in enumerate(part for part in asked.query.parts if isinstance(part, Text)):
        some = vectors[place * forms : (place + 1) * forms]
        asked.vectors[part] = some[0] if forms == 1 else combined([*some], [1 / forms] * forms)


def _find(by: Answering, asked: Sequence[_Asked], options: Any) -> None:
    """Find what answers each. Those that look as far among the same rows are searched in one call."""
    vectors: dict[_Asked, NDArray[np.float32]] = {}
    for each in asked:
        with each.may_fail():
            vectors[each] = each.vector()
    looking = {each: each.most + len(each.itself) for each in vectors}
    while looking:
        alike: dict[tuple[ItemTable, str | None, int], list[_Asked]] = {}
        for each, look in looking.items():
            alike.setdefault((each.query.table, each.query.where, look), []).append(each)
        looking = {}
        for (table, where, look), some in alike.items():
            try:
                found = by.search(
                    np.stack([vectors[each] for each in some]), k=look, table=table, where=where, options=options
                )
            except QueryError as error:  # of the filter that they share
                for each in some:
                    each.error = error
                continue
            for place, each in enumerate(some):
                own = Neighbours(found.row_ids[place : place + 1], found.scores[place : place + 1])
                if not _enough(by.gallery, each, kept(own, own.row_ids[0] >= 0), look):
                    looking[each] = look * _LOOK_FURTHER


def _enough(gallery: Gallery, asked: _Asked, found: Neighbours, look: int) -> bool:
    """Take the best `look` rows for the answer; False where it needs more of them. Remarks where nothing answers."""
    query, itself, most = asked.query, asked.itself, asked.most
    others = kept(found, ~np.isin(found.row_ids[0], itself))
    good = others if query.min_score is None else kept(others, others.scores[0] >= query.min_score)
    no_more = found.row_ids.shape[1] < look or good.scores.shape[1] < others.scores.shape[1]
    if query.distinct is not None:

        def fetch(row_ids: NDArray[np.int64]) -> Vectors:
            return consistently(gallery, lambda now: now.vectors(query.table, row_ids))

        good = kept(good, distinct(good.row_ids[0], fetch, cosine=query.distinct, k=most, shown=itself))
    if not no_more and good.scores.shape[1] < most:
        return False
    if not good.scores.size:
        best = float(others.scores[0, 0]) if others.scores.size else None
        items = gallery.live_rows(query.table) - len(itself)
        asked.remarks.append(why_nothing(query, best, left_out=len(itself), items=items))
    asked.more = good.scores.shape[1] > most or (not no_more and look < gallery.live_rows(query.table))
    asked.found = kept(good, np.arange(good.scores.shape[1]) < most)
    return True


def _show(gallery: Gallery, asked: Sequence[_Asked]) -> None:
    """Make rows into hits: those of one table are read in one call."""
    for table in ITEM_TABLES:
        some = [each for each in asked if each.query.table == table and each.found is not None]
        found = side_by_side([each.found for each in some if each.found is not None])
        passed = [each.query.offset for each in some]
        for each, hits in zip(some, hits_of(gallery, found, table, passed), strict=True):
            each.hits = hits
            each.remarks += why_gone(hits)
    alike = [each for each in asked if each.own]
    rows = [np.array([list(each.own.values())], np.int64) for each in alike]
    own = hits_of(gallery, side_by_side([Neighbours(row, np.zeros(row.shape)) for row in rows]), "images")
    for each in asked:
        files: dict[Part, str] = {
            part: str(located(part.file)) for part in each.query.parts if isinstance(part, Picture)
        }
        if each.own:
            shown = own[alike.index(each)]
            files |= {part: hit.file or "" for part, hit in zip(each.own, shown, strict=True)}
        each.pictures = [files[part] for part in each.query.parts if part in files and part.weight > 0]
