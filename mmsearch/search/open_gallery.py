"""`query`: the best items of a gallery for a question, exact or through an index, and always complete."""

import hashlib
import io
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsearch.ann import AnnIndex, Effort, open_index
from mmsearch.blas import one_thread
from mmsearch.encoders import Encoder, TextEncoder, find_text_encoder, load_encoder
from mmsearch.errors import (
    AnnIndexError,
    EncoderError,
    EncoderMismatch,
    ImageError,
    MmsearchError,
    MmsearchWarning,
    QueryError,
)
from mmsearch.exact import Neighbours, exact_search, merge
from mmsearch.gallery import Gallery, HeldGallery, consistently, require_same_encoder
from mmsearch.identity import EncoderIdentity
from mmsearch.items import ItemTable
from mmsearch.locations import Location
from mmsearch.search.chain import answered
from mmsearch.search.describing import Answer, Hit, hits_of
from mmsearch.search.own_items import vector_of
from mmsearch.search.query import Part, Picture, Query, Text
from mmsearch.sources import read_picture

if TYPE_CHECKING:
    import pyarrow as pa

    from mmsearch.filter_process import BoundedFilter, FilterProcesses
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
_SEARCHING = min(4, os.cpu_count() or 1)  # threads of an exact search; more wait for the memory
_FILTERING = 2  # processes that run the filters of strangers
_KEPT_FILTERS = 8  # each has a connection of its own

DEFAULT = SearchOptions()
EXACT = SearchOptions(exact=True)


def open_gallery(
    gallery: _Path | None = None,
    *,
    encoder: str | Encoder | None = None,
    device: str = "cpu",
    hold: int = 0,
    filter_seconds: float | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> "OpenGallery":
    """Open a gallery for questions.

    encoder: for the queries; by default the one that the gallery names, loaded when it is first needed.
    device: where queries are encoded; a single one is quicker on the CPU than a GPU is to start.
    hold: bytes of the gallery that may stay in memory, for who asks many questions; else each reads what it needs.
    filter_seconds: for the questions of strangers: how long a filter may take. It may then use only functions whose
    work is bounded by the row, and runs in a process that is killed where it takes longer; `OpenGallery.close` ends
    these processes.
    Raises GalleryNotFound, GalleryError.
    """
    opened = Gallery.open(gallery)
    if hold:
        opened = HeldGallery.holding(opened, hold)
    encoders = QueryEncoders(opened, encoder, device, announce)
    processes = None
    if filter_seconds is not None:
        from mmsearch.filter_process import FilterProcesses

        processes = FilterProcesses(_FILTERING, seconds=filter_seconds)
    return OpenGallery(opened, encoders=encoders, filter_processes=processes)


class QueryEncoders:
    """What encodes the queries to a gallery, loaded when it is first needed. For any number of threads."""

    def __init__(
        self,
        gallery: Gallery,
        wanted: str | Encoder | None = None,
        device: str = "cpu",
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._identity, self._folder = gallery.manifest.encoder, gallery.path
        self._wanted, self._device, self._announce = wanted, device, announce
        self._encoder: Encoder | None = None
        self._texts: TextEncoder | None = None
        self._loading = threading.RLock()

    def of(self, gallery: Gallery) -> "QueryEncoders":
        """The same choice, for a gallery of another encoder."""
        return QueryEncoders(gallery, self._wanted, self._device, self._announce)

    @property
    def chosen(self) -> bool:
        """Whether whoever asks chose another than the one that the gallery names."""
        return self._wanted is not None

    def encoder(self) -> Encoder:
        """As `OpenGallery.encoder`."""
        with self._loading:
            if self._encoder is None:
                encoder = self._wanted or self._identity.spec
                if isinstance(encoder, str):
                    encoder = load_encoder(encoder, device=self._device, precision="fp32", announce=self._announce)
                if self._identity.declared:
                    _warn_declared(self._identity, encoder.identity, self._folder)
                else:
                    require_same_encoder(self._identity, encoder.identity, self._folder)
                self._encoder = encoder
            return self._encoder

    def texts(self) -> TextEncoder:
        """As `OpenGallery.text_encoder`."""
        with self._loading:
            if self._texts is None and self._encoder is None and self._wanted is None and self._device == "cpu":
                self._texts = find_text_encoder(self._identity, announce=self._announce)
            return self._texts or self.encoder()


class OpenGallery:
    """A gallery that answers, to any number of threads. It stays at the version that it was opened at; `newest` is what
    came since."""

    def __init__(
        self,
        gallery: Gallery,
        *,
        encoders: "QueryEncoders | None" = None,
        filter_processes: "FilterProcesses | None" = None,
    ) -> None:
        self.gallery = gallery
        self._filter_processes = filter_processes
        self._encoders = encoders or QueryEncoders(gallery)
        self._indexes: dict[str, AnnIndex | None] = {}
        self._filters: dict[tuple[ItemTable, str], RowFilter | BoundedFilter] = {}
        self._opening = threading.RLock()

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
        """The best items for a query: as many as it wants, or as there are. What the answer remarks is warned of.

        With `where`, the hits are exactly the best of what it admits, found by scoring all of that in one pass.
        With `distinct`, hits that are near-duplicates of better ones make room for others.
        Raises QueryError (a picture that does not decode, an unknown `Like`, a bad filter, an empty table),
        EncoderError, EncoderMismatch.
        """
        (answer,) = self.ask_all([query], options=options)
        if isinstance(answer, MmsearchError):
            raise answer
        for remark in answer.remarks:
            warnings.warn(remark, MmsearchWarning, stacklevel=2)
        return answer

    def ask_all(
        self, queries: Sequence[Query], *, options: SearchOptions = DEFAULT
    ) -> list[Answer | QueryError | EncoderError]:
        """As `ask`, for several together, each with the answer that it would get alone; an error is the answer to the
        one that has it. Warns of nothing. Raises GalleryError where the gallery is damaged."""
        return answered(self, queries, options)

    def require_items(self, table: ItemTable) -> None:
        """Raise QueryError where there is nothing to search."""
        if not self.gallery.live_rows(table):
            more = "mmsearch embed PICTURES" if table == "images" else "mmsearch embed --captions FILE"
            raise QueryError(f"{self.gallery.path} holds no {table}. Add some: {more}")

    def require_filter(self, table: ItemTable, where: str) -> None:
        """Raise QueryError where an expression is no filter of a table: before a model is loaded for its query."""
        self._filter(table, where)

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
            columns, row_ids = self.admitting(table, where)
            return consistently(
                self.gallery,
                lambda gallery: exact_search(gallery.admitted_blocks(table, columns, row_ids), vectors, k),
            )
        with one_thread() if len(vectors) <= _FEW_QUERIES else nullcontext():
            return consistently(self.gallery, lambda gallery: self._search(gallery, vectors, k, table, options))

    def admitting(self, table: ItemTable, where: str) -> tuple[Sequence[str], Callable[[pa.Table], NDArray[np.int64]]]:
        """A filter: the columns that it reads, and what gives the ids that it admits of some rows with these and
        `row_id`. Raises FilterError; so does what is given."""
        from mmsearch.filter_process import BoundedFilter

        admits = self._filter(table, where)
        return admits.columns, admits.in_time() if isinstance(admits, BoundedFilter) else admits.row_ids

    def hits(self, found: Neighbours, table: ItemTable) -> list[list[Hit]]:
        """What was found, with the metadata of each row: a list a query."""
        return hits_of(self.gallery, found, table)

    def encoder(self) -> Encoder:
        """The encoder of queries, loaded on first use. Raises EncoderMismatch unless it is the gallery's."""
        return self._encoders.encoder()

    def text_encoder(self) -> TextEncoder:
        """What encodes texts: without torch where that is laid out on this machine, unless a model or a device was
        asked for; else the encoder. Raises as `encoder`."""
        return self._encoders.texts()

    def newest(self) -> "OpenGallery":
        """The newest version: this object when nothing was committed since. The encoder and the indexes that it still
        names stay loaded."""
        gallery = self.gallery.newest()
        if gallery is self.gallery:
            return self
        same = gallery.manifest.encoder.fingerprint == self.gallery.manifest.encoder.fingerprint
        encoders = self._encoders if same else self._encoders.of(gallery)
        opened = OpenGallery(gallery, encoders=encoders, filter_processes=self._filter_processes)
        opened._indexes = {
            entry.name: self._indexes[entry.name] for entry in gallery.manifest.indexes if entry.name in self._indexes
        }
        return opened

    def close(self) -> None:
        """End what runs beside this process, of this version and of those opened from it: filters of strangers."""
        if self._filter_processes is not None:
            self._filter_processes.close()

    def picture_vector(self, file: _Path) -> NDArray[np.float32]:
        """The unit vector (dim,) of a picture in a file. Raises QueryError, EncoderError."""
        file = os.fspath(file)
        try:
            data = read_picture(file)
        except OSError as error:
            raise QueryError(f"cannot read the picture {file}: {(error.strerror or str(error)).lower()}") from error
        except ImageError as error:
            raise QueryError(f"cannot read the picture {file}: {error.reason}") from error
        # A picture that the gallery holds has its vector there: no model has to be loaded for it.
        known = vector_of(self.gallery, hashlib.blake2b(data, digest_size=16).digest())
        if known is not None and not self._encoders.chosen:
            return known
        from mmsearch import images  # late: a text needs no Pillow
        from mmsearch.loader import raw_side

        try:
            images.probe(io.BytesIO(data))  # of what is no picture it is said before a model is loaded
            encoder = self.encoder()
            picture = images.decode(data, raw_side=raw_side(encoder))
        except ImageError as error:
            raise QueryError(f"{file} is no picture that can be read: {error.reason}") from error
        vector: NDArray[np.float32] = encoder.encode_images(encoder.preprocess(picture.image)[None])[0]
        return vector

    def _search(
        self, gallery: Gallery, vectors: NDArray[np.float32], k: int, table: ItemTable, options: SearchOptions
    ) -> Neighbours:
        threads = _SEARCHING if isinstance(gallery, HeldGallery) else 1  # what is read comes at the disk's pace
        entry = None if options.exact else gallery.index_for(table)
        index = self._index(gallery, table) if entry is not None else None
        if entry is None or index is None:
            return exact_search(gallery.vector_blocks(table), vectors, k, threads=threads)
        from mmsearch.search.through_index import search_index

        effort = Effort(nprobe=options.nprobe, ef_search=options.ef_search)
        indexed = search_index(index, gallery, table, vectors, k, effort=effort)
        beside = exact_search(gallery.vector_blocks(table, skip=entry.covers), vectors, k, threads=threads)
        return merge([indexed, beside], k)

    def _filter(self, table: ItemTable, where: str) -> "RowFilter | BoundedFilter":
        if (known := self._filters.get((table, where))) is not None:
            return known
        made = self._made_filter(table, where)  # without the lock: one that takes its time holds up no index
        with self._opening:
            self._filters = dict([*self._filters.items()][1 - _KEPT_FILTERS :]) | {(table, where): made}
        return made

    def _made_filter(self, table: ItemTable, where: str) -> "RowFilter | BoundedFilter":
        columns = [field for field in self.gallery.schema(table) if field.name != "embedding"]
        if self._filter_processes is not None:
            from mmsearch.filter_process import BoundedFilter

            return BoundedFilter(where, columns, self._filter_processes)
        from mmsearch.filters import RowFilter  # DuckDB is loaded only where it is asked for

        return RowFilter(where, columns)

    def _index(self, gallery: Gallery, table: ItemTable) -> AnnIndex | None:
        """The opened index of a table; None, with a warning, where it cannot be trusted."""
        entry = gallery.index_for(table)
        if entry is None:
            return None
        with self._opening:
            if entry.name not in self._indexes:
                own, folder = gallery.manifest.encoder, gallery.index_folder(entry.name)
                try:
                    opened = open_index(folder, fingerprint=own.fingerprint, dim=own.dim, entry=entry)
                    self._indexes[entry.name] = opened
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
