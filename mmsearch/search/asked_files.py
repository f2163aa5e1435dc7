"""A film or a document to ask with, which is no picture itself: what has something of it is found.

Its frames or pages ask one by one, and of a row the highest score counts: two films that share a scene have a pair of
frames that are alike, while the means of their frames may be far apart (`scripts/film_queries_protocol.py`).
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image, Resampling

from mmsearch.errors import ImageError, QueryError
from mmsearch.file_ranges import FileRange
from mmsearch.gallery import Gallery, read_consistently
from mmsearch.images import MAX_PIXELS, WHOLE, PictureSpan
from mmsearch.items import IMAGES, MEMBER, ImageRow
from mmsearch.locations import url_of
from mmsearch.search.encodes_queries import EncodesQueries
from mmsearch.search.own_items import different_places, rows_named

__all__ = ["file_vectors", "held_vectors", "is_plain"]

_LOOKED_AT = 64
"""So many frames or pages are encoded, evenly spread: that is what takes time where no gallery holds the file."""

_AT_ONCE = 8

_LOOKED_THROUGH = 32
"""So many frames of a film of the gallery are decoded to see whether they are plain: those that stand out most."""

_FILES_KNOWN = 16
_SMALL = 64, 64
_ONE_COLOUR, _PLAIN_SHARE = 12, 0.9


def file_vectors(file: str, gallery: Gallery, by: EncodesQueries) -> NDArray[np.float32] | None:
    """What a film or document on this machine asks with, unit vectors (n, dim); None for what is a picture, or not
    there.

    One that the gallery holds has its vectors there: no model has to be loaded for it. Raises QueryError, EncoderError.
    """
    from mmsearch.cutting import cutting_word, why_missing  # late: most ask with pictures
    from mmsearch.sources import container_of, local_bytes

    if not cutting_word(file) or not (Path(file).is_file() or container_of(file) is not None):
        return None
    if (why := why_missing(file)) is not None:
        raise QueryError(f"cannot ask with {file}: {why}")
    try:
        with local_bytes(file) as found:
            return _vectors_of(found, file, gallery, by)
    except OSError as error:
        raise QueryError(f"cannot read {file}: {(error.strerror or str(error)).lower()}") from error
    except ImageError as error:
        raise QueryError(f"cannot ask with {file}: {error.reason}") from error


def _vectors_of(found: FileRange, file: str, gallery: Gallery, by: EncodesQueries) -> NDArray[np.float32] | None:
    """The vectors of a file whose bytes were found. Raises ImageError, OSError, QueryError, EncoderError."""
    from mmsearch.cutting import list_spans

    spans: list[PictureSpan] = []
    try:
        for span in list_spans(found, file):
            if span.name == WHOLE:
                return None
            if span.refused is None:
                spans.append(span)
    except ImageError:
        if not spans:
            raise
    rows = None if by.chosen else _held_rows(found, file, gallery)
    return _encode(found, file, spans, by) if rows is None else held_vectors(gallery, rows)


def held_vectors(gallery: Gallery, row_ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """What the frames or pages of a file, as rows (n,), ask with: the stored vectors (m, dim) of those that differ.

    Of frames that are plain, see `is_plain`, none asks: that takes the film, where it is on this machine and as it was.
    """
    vectors = np.asarray(read_consistently(gallery, lambda now: now.vectors(IMAGES.name, row_ids)), np.float32)
    places = different_places(vectors)
    seen = places[:_LOOKED_THROUGH]
    rows = read_consistently(gallery, lambda now: now.image_rows(row_ids[seen]))
    plain = {place for place, is_so in zip(seen, _plain_rows(gallery, rows), strict=True) if is_so}
    return vectors[[place for place in places if place not in plain] or places]


def is_plain(image: Image) -> bool:
    """Whether nine tenths of a picture, RGB, are of one colour: black, a fade, letters on a plain ground.

    Frames of all films are so now and then, and are like each other whatever else these show.
    """
    small = np.asarray(image.resize(_SMALL, Resampling.BOX), np.int64).reshape(-1, 3)
    apart = np.abs(small - np.median(small, axis=0)).max(axis=1)
    return float((apart <= _ONE_COLOUR).mean()) >= _PLAIN_SHARE


def _plain_rows(gallery: Gallery, rows: Sequence[ImageRow]) -> Sequence[bool]:
    """Which rows of one file are plain frames of a film, as far as that can be seen."""
    from mmsearch.cutting import why_missing
    from mmsearch.search.gallery_files import file_of
    from mmsearch.sources import hash_span, local_bytes, spanned

    unknown = [False] * len(rows)
    address = file_of(gallery, rows[0])
    cut_file = None if address is None or url_of(address) is not None else spanned(address)
    if cut_file is None or any(row.start_s is None for row in rows) or why_missing(cut_file.path) is not None:
        return unknown
    names = tuple(row.path.rpartition(MEMBER)[2] for row in rows)
    try:
        with local_bytes(cut_file.path) as found:
            if hash_span(found, cut_file.span, gallery.manifest.content_hash) != rows[0].content_hash:
                return unknown
            return _plain_spans(found, cut_file.path, found.state(), names)
    except (OSError, ImageError):
        return unknown


@lru_cache(_FILES_KNOWN)  # a query is asked again for its next page
def _plain_spans(found: FileRange, file: str, _: tuple[str, int, int, int], spans: tuple[str, ...]) -> tuple[bool, ...]:
    from mmsearch.cutting import make_pictures

    order = sorted(range(len(spans)), key=lambda place: float(spans[place].partition("=")[2]))  # as a film is read
    pictures = make_pictures(found, file, [spans[place] for place in order], MAX_PIXELS)
    plain = {
        place: not isinstance(picture, ImageError) and is_plain(picture.image)
        for place, picture in zip(order, pictures, strict=True)
    }
    return tuple(plain[place] for place in range(len(spans)))


def _held_rows(found: FileRange, file: str, gallery: Gallery) -> NDArray[np.int64] | None:
    """The rows that the gallery holds of this very file, as it is now; None where it holds none."""
    from mmsearch.sources import hash_span

    try:
        rows = rows_named(gallery, file)
    except QueryError:
        return None
    (row,) = read_consistently(gallery, lambda now: now.image_rows(rows[:1]))
    held = hash_span(found, row.path.rpartition(MEMBER)[2], gallery.manifest.content_hash)
    return rows if held == row.content_hash else None


def _encode(found: FileRange, file: str, spans: Sequence[PictureSpan], by: EncodesQueries) -> NDArray[np.float32]:
    """The vectors (n, dim) of what some of the spans of a file show, as far as they differ."""
    from mmsearch.cutting import make_pictures
    from mmsearch.loading import apply_transform

    chosen = [spans[place] for place in np.unique(np.linspace(0, len(spans) - 1, _LOOKED_AT).round().astype(int))]
    side = by.encoder("image").image
    vectors: list[NDArray[np.float32]] = []
    plain: list[bool] = []
    reason = "it holds no picture"
    for start in range(0, len(chosen), _AT_ONCE):
        pixels = []
        some = chosen[start : start + _AT_ONCE]
        made = make_pictures(found, file, [each.name for each in some], MAX_PIXELS)
        for span, picture in zip(some, made, strict=True):
            if isinstance(picture, ImageError):
                reason = picture.reason
            else:
                image = picture.image
                plain.append("start_s" in span.numbers and is_plain(image))
                pixels.append(apply_transform(lambda image=image: side.prepare(image)))  # type: ignore[misc]
        if pixels:
            vectors += [*side.encode(np.stack(pixels))]
    if not vectors:
        raise QueryError(f"cannot ask with {file}: {reason}")
    shown = np.stack(vectors) if all(plain) else np.stack(vectors)[~np.array(plain)]
    return shown[different_places(shown)]
