"""A film or a document to ask with, which is no picture itself: the mean of what its frames or pages show.

One vector is searched by as that of a picture is, exactly and through an index. It stands for what a film shows again
and again; to ask for one scene, a frame is named: `trip.mp4!/t=12.48`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import ImageError, QueryError
from mmsearch.file_ranges import FileRange
from mmsearch.gallery import Gallery, read_consistently
from mmsearch.images import MAX_PIXELS, WHOLE
from mmsearch.items import MEMBER
from mmsearch.search.own_items import mean_vector, rows_named, vector_of_all

if TYPE_CHECKING:
    from mmsearch.search.encoding import EncodesQueries

__all__ = ["file_vector"]

_LOOKED_AT = 64
"""So many frames or pages are encoded, evenly spread: more of them move a mean little."""

_AT_ONCE = 8


def file_vector(file: str, gallery: Gallery, by: "EncodesQueries") -> NDArray[np.float32] | None:
    """The unit vector (dim,) of a film or document on this machine; None for what is a picture, or not there.

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
            return _vector_of(found, file, gallery, by)
    except OSError as error:
        raise QueryError(f"cannot read {file}: {(error.strerror or str(error)).lower()}") from error
    except ImageError as error:
        raise QueryError(f"cannot ask with {file}: {error.reason}") from error


def _vector_of(found: FileRange, file: str, gallery: Gallery, by: "EncodesQueries") -> NDArray[np.float32] | None:
    """The vector of a file whose bytes were found. Raises ImageError, OSError, QueryError, EncoderError."""
    from mmsearch.cutting import list_spans

    spans: list[str] = []
    try:
        for span in list_spans(found, file):
            if span.name == WHOLE:
                return None
            if span.refused is None:
                spans.append(span.name)
    except ImageError:
        if not spans:
            raise
    rows = None if by.chosen else _held_rows(found, file, gallery)
    return _encode(found, file, spans, by) if rows is None else vector_of_all(gallery, rows)


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


def _encode(found: FileRange, file: str, spans: Sequence[str], by: "EncodesQueries") -> NDArray[np.float32]:
    """The mean of what some of the spans of a file show; of a film each thing counts once, as in a gallery."""
    from mmsearch.cutting import alike_from, choose_new, cutting_word, make_pictures
    from mmsearch.loading import apply_transform

    chosen = [spans[place] for place in np.unique(np.linspace(0, len(spans) - 1, _LOOKED_AT).round().astype(int))]
    side = by.encoder("image").image
    vectors: list[NDArray[np.float32]] = []
    reason = "it holds no picture"
    for start in range(0, len(chosen), _AT_ONCE):
        pixels = []
        for picture in make_pictures(found, file, chosen[start : start + _AT_ONCE], MAX_PIXELS):
            if isinstance(picture, ImageError):
                reason = picture.reason
            else:
                image = picture.image
                pixels.append(apply_transform(lambda image=image: side.prepare(image)))  # type: ignore[misc]
        if pixels:
            vectors += [*side.encode(np.stack(pixels))]
    if not vectors:
        raise QueryError(f"cannot ask with {file}: {reason}")
    alike = alike_from(file, cutting_word(file))
    return mean_vector(np.stack(vectors) if alike is None else np.stack(vectors)[choose_new(vectors, alike)])
