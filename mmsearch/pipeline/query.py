"""`query`: the best items of a gallery for a question, exact or through an index, and always complete."""

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann import AnnIndex, Effort, open_index
from mmsearch.blas import one_thread
from mmsearch.encoders import Encoder, TextEncoder, find_text_encoder, load_encoder
from mmsearch.errors import AnnIndexError, EncoderMismatch, ImageError, MmsearchWarning, QueryError
from mmsearch.exact import Neighbours, Vectors, exact_search, merge
from mmsearch.gallery import Gallery, consistently, require_same_encoder
from mmsearch.locations import Location, located
from mmsearch.pipeline.answers import Answer, Hit, distinct, hits_of, kept, warn_of_gone, warn_of_nothing
from mmsearch.pipeline.questions import SLOT, Like, Part, Picture, Query, Text, combined
from mmsearch.records import EncoderIdentity, ItemTable
from mmsearch.sources import read_location

if TYPE_CHECKING:
    from mmsearch.filters import RowFilter

__all__ = ["EXACT", "OpenGallery", "SearchOptions", "open_gallery"]

_Path = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search. exact: pass by the index. nprobe, ef_search: search effort; None: as the index was tuned."""

    exact: bool = False
    nprobe: int | None = None
    ef_search: int | None = None


# So few are bound by reading the vectors, not by multiplying with them.
_FEW_QUERIES = 16

DEFAULT = SearchOptions()
EXACT = SearchOptions(exact=True)

_LOOK_FURTHER = 4
"""How many times as many hits are asked for where near-duplicates left too few."""


def open_gallery(
    gallery: _Path | None = None,
    *,
    encoder: str | Encoder | None = None,
    device: str = "cpu",
    announce: Callable[[str], None] = lambda _: None,
) -> "OpenGallery":
    """Open a gallery for questions.

    encoder: for the queries; by default the one that the gallery names, loaded when it is first needed.
    device: where queries are encoded; a single one is quicker on the CPU than a GPU is to start.
    Raises GalleryNotFound, GalleryError.
    """
    return OpenGallery(Gallery.open(gallery), encoder=encoder, device=device, announce=announce)


class OpenGallery:
    """A gallery that answers. It stays at the version that it was opened at; open it again to see what came since."""

    def __init__(
        self,
        gallery: Gallery,
        *,
        encoder: str | Encoder | None = None,
        device: str = "cpu",
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.gallery = gallery
        self._wanted = encoder
        self._device = device
        self._announce = announce
        self._encoder: Encoder | None = None
        self._texts: TextEncoder | None = None
        self._indexes: dict[str, AnnIndex | None] = {}
        self._filters: dict[tuple[ItemTable, str], RowFilter] = {}

    def query(
        self,
        text: str | None = None,
        *,
        image: _Path | None = None,
        k: int = 10,
        table: ItemTable = "images",
        options: SearchOptions = DEFAULT,
    ) -> list[Hit]:
        """The hits for a text, for a picture (a file), or for both together; `ask` takes more.

        Raises QueryError (nothing asked, a picture that does not decode, an empty table), EncoderError,
        EncoderMismatch.
        """
        words: list[Part] = [] if text is None else [Text(text)]
        parts = words if image is None else [*words, Picture(image)]
        return list(self.ask(Query(parts, k=k, table=table), options=options).hits)

    def ask(self, query: Query, *, options: SearchOptions = DEFAULT) -> Answer:
        """The best items for a query: as many as it wants, or as there are. Warns where there are none, and of hits
        whose files are gone.

        With `where`, the hits are exactly the best of what it admits, found by scoring all of that in one pass.
        With `distinct`, hits that are near-duplicates of better ones make room for others.
        Raises QueryError (a picture that does not decode, an unknown `Like`, a bad filter, an empty table),
        EncoderError, EncoderMismatch.
        """
        self.require_items(query.table)
        if query.where is not None:
            self._filter(query.table, query.where)  # a typing mistake should not cost the loading of a model
        own = {part: self._locate(part) for part in query.parts if isinstance(part, Like)}
        vectors = self._part_vectors(query, own)
        vector = combined([vectors[part] for part in query.parts], [part.weight for part in query.parts])
        itself = np.array(sorted(set(own.values())) if query.table == "images" else [], np.int64)
        (hits,) = self.hits(self._found(query, vector, itself, options), query.table)
        warn_of_gone(hits)
        return Answer(query, hits, self._pictures(query.parts, own))

    def require_items(self, table: ItemTable) -> None:
        """Raise QueryError where there is nothing to search."""
        if not self.gallery.live_rows(table):
            more = "mmsearch embed PICTURES" if table == "images" else "mmsearch embed --captions FILE"
            raise QueryError(f"{self.gallery.path} holds no {table}. Add some: {more}")

    def search(
        self,
        vectors: NDArray[np.float32],
        *,
        k: int = 10,
        table: ItemTable = "images",
        where: str | None = None,
        options: SearchOptions = DEFAULT,
    ) -> Neighbours:
        """The k best live rows for each of `vectors` (n, dim), L2-normalised, by the score of record.

        Through the index of the table where there is one; rows that it does not cover are scored exactly beside it.
        where: an SQL expression; then all that it admits is scored exactly. Raises QueryError where it is none.
        """
        if where is not None:
            admits = self._filter(table, where)
            return consistently(
                self.gallery,
                lambda gallery: exact_search(
                    gallery.admitted_blocks(table, admits.columns, admits.row_ids), vectors, k
                ),
            )
        with one_thread() if len(vectors) <= _FEW_QUERIES else nullcontext():
            return consistently(self.gallery, lambda gallery: self._search(gallery, vectors, k, table, options))

    def hits(self, found: Neighbours, table: ItemTable) -> list[list[Hit]]:
        """What was found, with the metadata of each row: a list a query."""
        return hits_of(self.gallery, found, table)

    def encoder(self) -> Encoder:
        """The encoder of queries, loaded on first use. Raises EncoderMismatch unless it is the gallery's."""
        if self._encoder is None:
            own = self.gallery.manifest.encoder
            encoder = self._wanted or own.spec
            if isinstance(encoder, str):
                encoder = load_encoder(encoder, device=self._device, precision="fp32", announce=self._announce)
            if own.declared:
                _warn_declared(own, encoder.identity, self.gallery.path)
            else:
                require_same_encoder(own, encoder.identity, self.gallery.path)
            self._encoder = encoder
        return self._encoder

    def text_encoder(self) -> TextEncoder:
        """What encodes texts: without torch where that is laid out on this machine, unless a model or a device was
        asked for; else the encoder. Raises as `encoder`."""
        if self._texts is None and self._encoder is None and self._wanted is None and self._device == "cpu":
            self._texts = find_text_encoder(self.gallery.manifest.encoder, announce=self._announce)
        return self._texts or self.encoder()

    def _part_vectors(self, query: Query, own: dict[Like, int]) -> dict[Part, NDArray[np.float32]]:
        """The unit vector of each part. Texts are encoded in one call; what the gallery holds needs no encoder."""
        vectors: dict[Part, NDArray[np.float32]] = {}
        for part in query.parts:
            if isinstance(part, Like):
                vectors[part] = self._vector_at(own[part])
            elif isinstance(part, Picture):
                vectors[part] = self._encode_image(os.fspath(part.file))
        texts = [part for part in query.parts if isinstance(part, Text)]
        if texts:
            forms = query.templates or [SLOT]
            encoded = self._encode_texts([form.replace(SLOT, part.text) for part in texts for form in forms])
            for place, part in enumerate(texts):
                some = encoded[place * len(forms) : (place + 1) * len(forms)]
                vectors[part] = some[0] if len(some) == 1 else combined([*some], [1 / len(some)] * len(some))
        return vectors

    def _encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        encoded = self.text_encoder().encode_texts(texts)
        if encoded.truncated.any():
            warnings.warn("the query is longer than the model reads; its end was cut", MmsearchWarning, stacklevel=2)
        return encoded.vectors

    def _encode_image(self, file: str) -> NDArray[np.float32]:
        try:
            data = read_location(located(file))
        except OSError as error:
            raise QueryError(f"cannot read the picture {file}: {(error.strerror or str(error)).lower()}") from error
        except ImageError as error:
            raise QueryError(f"cannot read the picture {file}: {error.reason}") from error
        # A picture that the gallery holds has its vector there: no model has to be loaded for it.
        content_hash = hashlib.blake2b(data, digest_size=16).digest()
        known = consistently(self.gallery, lambda gallery: _vector_of(gallery, content_hash))
        if known is not None and self._wanted is None:
            return known
        from mmsearch import images  # late: a text needs no Pillow

        try:
            picture = images.decode(data)
        except ImageError as error:
            raise QueryError(f"{file} is no picture that can be read: {error.reason}") from error
        encoder = self.encoder()
        vector: NDArray[np.float32] = encoder.encode_images(encoder.preprocess(picture.image)[None])[0]
        return vector

    def _pictures(self, parts: Sequence[Part], own: dict[Like, int]) -> list[str]:
        """The files of the pictures that were asked with, those to be away from left out."""
        rows = np.array(list(own.values()), np.int64)
        (shown,) = self.hits(Neighbours(rows[None], np.zeros((1, len(rows)))), "images") if own else [[]]
        files: dict[Part, str] = {part: hit.file or "" for part, hit in zip(own, shown, strict=True)}
        files.update({part: str(located(part.file)) for part in parts if isinstance(part, Picture)})
        return [files[part] for part in parts if part in files and part.weight > 0]

    def _locate(self, part: Like) -> int:
        """The row that a part names. Raises QueryError unless it is one live picture."""
        asked = os.fspath(part.path)
        absolute = located(asked)
        folders = {root.id: self.gallery.root_path(root.id) for root in self.gallery.manifest.roots}
        places = [
            (root_id, absolute.relative_to(folder))
            for root_id, folder in folders.items()
            if folder is not None and absolute.is_relative_to(folder)
        ]
        rows = [row for place in places for row in self._rows_at(str(place[1])) if row[1] == place[0]]
        rows = rows or self._rows_at(asked)
        if not rows:
            raise QueryError(
                f"the gallery {self.gallery.path} holds no picture {asked}. Name one as a query shows it, "
                "or ask with any file: --image FILE"
            )
        if len(rows) > 1:
            named = ", ".join(str((folders.get(root_id) or Path()) / asked) for _, root_id in rows)
            raise QueryError(f"{asked} stands in the gallery {len(rows)} times; name one of them: {named}")
        return rows[0][0]

    def _rows_at(self, path: str) -> list[tuple[int, int]]:
        text = os.fsencode(path).decode("utf-8", "backslashreplace")  # as the gallery keeps names that are no text
        return consistently(self.gallery, lambda gallery: gallery.rows_at(text))

    def _found(
        self, query: Query, vector: NDArray[np.float32], itself: NDArray[np.int64], options: SearchOptions
    ) -> Neighbours:
        """What answers a query, (1, at most k). itself: rows that it asks with, left out. Warns where nothing does."""
        look = query.k + len(itself)
        while True:
            found = self.search(vector[None], k=look, table=query.table, where=query.where, options=options)
            others = kept(found, (found.row_ids[0] >= 0) & ~np.isin(found.row_ids[0], itself))
            good = others if query.min_score is None else kept(others, others.scores[0] >= query.min_score)
            no_more = found.row_ids.shape[1] < look or good.scores.shape[1] < others.scores.shape[1]
            if query.distinct is not None:
                good = self._distinct(good, query, query.distinct, itself)
            if no_more or good.scores.shape[1] >= query.k:
                break
            look *= _LOOK_FURTHER
        if not good.scores.size:
            best = float(others.scores[0, 0]) if others.scores.size else None
            items = self.gallery.live_rows(query.table) - len(itself)
            warn_of_nothing(query, best, left_out=len(itself), items=items)
        return kept(good, np.arange(good.scores.shape[1]) < query.k)

    def _distinct(self, found: Neighbours, query: Query, cosine: float, itself: NDArray[np.int64]) -> Neighbours:
        def fetch(row_ids: NDArray[np.int64]) -> Vectors:
            return consistently(self.gallery, lambda gallery: gallery.vectors(query.table, row_ids))

        return kept(found, distinct(found.row_ids[0], fetch, cosine=cosine, k=query.k, shown=itself))

    def _search(
        self, gallery: Gallery, vectors: NDArray[np.float32], k: int, table: ItemTable, options: SearchOptions
    ) -> Neighbours:
        entry = None if options.exact else gallery.index_for(table)
        index = self._index(gallery, table) if entry is not None else None
        if entry is None or index is None:
            return exact_search(gallery.vector_blocks(table), vectors, k)
        from mmsearch.pipeline.index import search_index  # late: exact search needs none of it

        effort = Effort(nprobe=options.nprobe, ef_search=options.ef_search)
        indexed = search_index(index, gallery, table, vectors, k, effort=effort)
        beside = exact_search(gallery.vector_blocks(table, skip=entry.covers), vectors, k)
        return merge([indexed, beside], k)

    def _filter(self, table: ItemTable, where: str) -> "RowFilter":
        if (table, where) not in self._filters:
            from mmsearch.filters import RowFilter  # DuckDB is loaded only where it is asked for

            columns = [field for field in self.gallery.schema(table) if field.name != "embedding"]
            self._filters[table, where] = RowFilter(where, columns)
        return self._filters[table, where]

    def _vector_at(self, row_id: int) -> NDArray[np.float32]:
        return consistently(self.gallery, lambda gallery: _vector_at(gallery, row_id))

    def _index(self, gallery: Gallery, table: ItemTable) -> AnnIndex | None:
        """The opened index of a table; None, with a warning, where it cannot be trusted."""
        entry = gallery.index_for(table)
        if entry is None:
            return None
        if entry.name not in self._indexes:
            own = gallery.manifest.encoder
            try:
                folder = gallery.index_folder(entry.name)
                self._indexes[entry.name] = open_index(folder, fingerprint=own.fingerprint, dim=own.dim, entry=entry)
            except AnnIndexError as error:
                warnings.warn(f"{error}. Answering by exact search.", MmsearchWarning, stacklevel=2)
                self._indexes[entry.name] = None
        return self._indexes[entry.name]


def _warn_declared(gallery: EncoderIdentity, other: EncoderIdentity, folder: Location) -> None:
    if gallery.dim != other.dim:
        raise EncoderMismatch(
            f"{folder} holds imported vectors of {gallery.dim} values, declared as those of {gallery.spec}; "
            f"{other.spec} gives {other.dim}"
        )
    warnings.warn(
        f"the vectors of {folder} were imported; that they are of {gallery.spec} was declared and is not checked",
        MmsearchWarning,
        stacklevel=4,
    )


def _vector_of(gallery: Gallery, content_hash: bytes) -> NDArray[np.float32] | None:
    row_id = gallery.row_with_content(content_hash)
    return None if row_id is None else _vector_at(gallery, row_id)


def _vector_at(gallery: Gallery, row_id: int) -> NDArray[np.float32]:
    return np.asarray(gallery.vectors("images", np.array([row_id]))[0], np.float32)
