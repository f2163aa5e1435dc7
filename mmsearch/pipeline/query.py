"""`query`: the best items of a gallery for a text or a picture, exact or through an index, and always complete."""

import hashlib
import os
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann import AnnIndex, Effort, open_index
from mmsearch.blas import one_thread
from mmsearch.encoders import Encoder, TextEncoder, find_text_encoder, load_encoder
from mmsearch.errors import AnnIndexError, EncoderMismatch, ImageError, MmsearchWarning, QueryError
from mmsearch.exact import Neighbours, ascending, exact_search, merge
from mmsearch.gallery import Gallery, consistently, require_same_encoder
from mmsearch.records import CaptionRow, EncoderIdentity, ImageRow, ItemTable
from mmsearch.sources import read_location

__all__ = ["EXACT", "Hit", "OpenGallery", "SearchOptions", "open_gallery"]

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


@dataclass(frozen=True, slots=True)
class Hit:
    """One returned row.

    rank: from 1. score: cosine, the float64 dot product of query and stored vector. path: relative to `root`, as valid
    text. file: where to open it, a file system string. For a caption, path and file are those of its image, if any.
    """

    rank: int
    score: float
    row_id: int
    table: ItemTable
    caption: str | None
    root: str | None
    path: str | None
    file: str | None
    width: int | None = None
    height: int | None = None
    taken_at: datetime | None = None


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

    def query(
        self,
        text: str | None = None,
        *,
        image: _Path | None = None,
        k: int = 10,
        table: ItemTable = "images",
        options: SearchOptions = DEFAULT,
    ) -> list[Hit]:
        """The k best items of a table for a text or for a picture (a file); all live ones where there are fewer.

        Raises QueryError (nothing asked, a picture that does not decode, an empty table), EncoderError,
        EncoderMismatch.
        """
        if k < 1:
            raise QueryError(f"k is {k}; ask for at least one hit")
        self.require_items(table)
        vector = self._encode(text, image)
        return self.hits(self.search(vector[None], k=k, table=table, options=options), table)[0]

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
        options: SearchOptions = DEFAULT,
    ) -> Neighbours:
        """The k best live rows for each of `vectors` (n, dim), L2-normalised, by the score of record.

        Through the index of the table where there is one; rows that it does not cover are scored exactly beside it.
        """
        with one_thread() if len(vectors) <= _FEW_QUERIES else nullcontext():
            return consistently(self.gallery, lambda gallery: self._search(gallery, vectors, k, table, options))

    def hits(self, found: Neighbours, table: ItemTable) -> list[list[Hit]]:
        """What was found, with the metadata of each row: a list a query."""
        wanted = ascending(found.row_ids[found.row_ids >= 0])
        make = consistently(self.gallery, lambda gallery: _rows(gallery, table, wanted))
        folders = {root.id: self.gallery.root_path(root.id) for root in self.gallery.manifest.roots}
        answers = []
        for row_ids, scores in zip(found.row_ids.tolist(), found.scores.tolist(), strict=True):
            pairs = [(row_id, score) for row_id, score in zip(row_ids, scores, strict=True) if row_id >= 0]
            answers.append(
                [_hit(rank, score, row_id, make[row_id], folders) for rank, (row_id, score) in enumerate(pairs, 1)]
            )
        return answers

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

    def _encode(self, text: str | None, image: _Path | None) -> NDArray[np.float32]:
        if (text is None) == (image is None):
            raise QueryError("ask with a text or with a picture (--image), one of them")
        if text is not None:
            return self._encode_text(text)
        return self._encode_image(Path(os.fspath(image or "")).expanduser())

    def _encode_text(self, text: str) -> NDArray[np.float32]:
        if not text.strip():
            raise QueryError('the query is empty; say what to look for, as in: mmsearch query "sunset over mountains"')
        encoded = self.text_encoder().encode_texts([text])
        if encoded.truncated[0]:
            warnings.warn("the query is longer than the model reads; its end was cut", MmsearchWarning, stacklevel=2)
        vector: NDArray[np.float32] = encoded.vectors[0]
        return vector

    def _encode_image(self, file: Path) -> NDArray[np.float32]:
        try:
            data = read_location(file)
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


def _warn_declared(gallery: EncoderIdentity, other: EncoderIdentity, folder: Path) -> None:
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
    return None if row_id is None else np.asarray(gallery.vectors("images", np.array([row_id]))[0], np.float32)


_Row = ImageRow | CaptionRow


def _rows(gallery: Gallery, table: ItemTable, row_ids: NDArray[np.int64]) -> dict[int, _Row]:
    rows: list[_Row] = [*(gallery.image_rows(row_ids) if table == "images" else gallery.caption_rows(row_ids))]
    return dict(zip(row_ids.tolist(), rows, strict=True))


def _hit(rank: int, score: float, row_id: int, row: _Row, folders: dict[int, Path | None]) -> Hit:
    root = folders.get(row.root_id) if row.root_id is not None else None
    name = row.path if row.path_bytes is None else os.fsdecode(row.path_bytes)
    file = None if root is None or name is None else str(root / name)
    where = None if root is None else str(root)
    if isinstance(row, CaptionRow):
        return Hit(rank, score, row_id, "captions", row.caption, where, row.path, file)
    return Hit(rank, score, row_id, "images", None, where, row.path, file, row.width, row.height, row.taken_at)
