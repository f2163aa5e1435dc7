"""Pictures that are made of a file, as a page or a frame: `scan.tif!/page=2`. What makes them: `mmsearch.cutting`."""

import io
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mmsearch.content_hashes import content_hasher
from mmsearch.cutting import cutter_of, list_spans, make_pictures
from mmsearch.errors import ImageError
from mmsearch.images import MAX_PIXELS, WHOLE, CutOptions, PictureSpan
from mmsearch.items import MEMBER
from mmsearch.locations import url_of
from mmsearch.sources.source_files import Container, Member, SourceFile
from mmsearch.stores import local_copy, require_file

__all__ = [
    "SpanLocation",
    "hash_location",
    "hash_span",
    "list_pictures",
    "local_path",
    "picture_as_file",
    "spanned",
    "whole_picture",
]

_READ_WHOLE = 1 << 26
_BLOCKS, _BLOCK_BYTES = 64, 1 << 18
_FILES_KNOWN = 64


@dataclass(frozen=True, slots=True)
class SpanLocation:
    """Where the picture of a span is: path of the file, and the name of the span."""

    path: str
    span: str


def spanned(location: str) -> SpanLocation | None:
    """A location such as `scan.tif!/page=2`, taken apart; None where it is no such place."""
    path, mark, span = location.partition(MEMBER)
    return SpanLocation(path, span) if mark and cutter_of(path, span) is not None else None


def local_path(location: str) -> str:
    """Where the bytes of a file that is cut stand on this machine; an object is fetched."""
    if (url := url_of(location)) is not None:
        return str(local_copy(url))
    require_file(Path(location))
    return location


def list_pictures(file: SourceFile, cutting: str, options: CutOptions) -> list[Member]:
    """The pictures in a file that is cut, the file itself among them where it is one. Raises OSError.

    What one is refused for stands in its record; where the file holds no picture at all, in that of the file.
    cutting: the word for how it is cut, which is stored.
    """
    path, remote = local_path(file.location), url_of(file.location) is not None
    spans: list[PictureSpan] = []
    try:
        spans += list_spans(path, file.name, options, remote=remote)
    except ImageError as error:
        if not any(span.name == WHOLE for span in spans):
            spans.append(PictureSpan(WHOLE, refused=error.reason))
    state = file.size or 0, file.mtime_ns or 0
    copy = None if path == file.location else path
    container = Container(file.location, "pictures", *state, len(spans), complete=True, copy=copy, cutting=cutting)
    return [_member(file, container, span) for span in spans]


def whole_picture(file: SourceFile, cutting: str, members: int) -> Member:
    """A file that is cut, as the picture that it is itself, beside `members` - 1 others."""
    state = file.size or 0, file.mtime_ns or 0
    container = Container(file.location, "pictures", *state, members, complete=True, cutting=cutting)
    return _member(file, container, PictureSpan(WHOLE))


def _member(file: SourceFile, container: Container, span: PictureSpan) -> Member:
    whole = span.name == WHOLE
    return Member(
        file.root,
        file.name if whole else f"{file.name}{MEMBER}{span.name}",
        file.size if whole else None,
        file.mtime_ns,
        refused=span.refused,
        beside=file.beside if whole else (),
        container=container,
        numbers=span.numbers,
        span=span.name,
    )


def hash_span(path: str, span: str, hash_name: str) -> bytes:
    """By what the picture of a span is known again: the content of its file, and the name of the span. 16 bytes.

    Not by its pixels, which may differ from one release of a decoder to the next. Of a file beyond 64 MiB its size and
    64 blocks of 256 KiB, evenly spread, count. hash_name: see `mmsearch.content_hashes`. Raises OSError.
    """
    state = Path(path).stat()
    with _hashing:
        content = _hash_file(path, state.st_size, state.st_mtime_ns, hash_name)
    return content_hasher(hash_name)(b"\0".join((b"span", content, span.encode(errors="surrogateescape"))))


_hashing = threading.Lock()  # a file with a thousand frames is read once


@lru_cache(_FILES_KNOWN)
def _hash_file(path: str, size: int, _: int, hash_name: str) -> bytes:
    hashed = content_hasher(hash_name)
    with Path(path).open("rb") as file:
        if size <= _READ_WHOLE:
            return hashed(file.read())
        blocks = [size.to_bytes(8, "big")]
        for block in range(_BLOCKS):
            file.seek((size - _BLOCK_BYTES) * block // (_BLOCKS - 1))
            blocks.append(file.read(_BLOCK_BYTES))
        return hashed(b"".join(blocks))


def hash_location(location: str, data: bytes, hash_name: str) -> bytes:
    """The content hash of what stands at a location, whose bytes were read already: as its row holds it. 16 bytes.

    hash_name: see `mmsearch.content_hashes`."""
    if (cut_file := spanned(location)) is None:
        return content_hasher(hash_name)(data)
    return hash_span(local_path(cut_file.path), cut_file.span, hash_name)


def picture_as_file(path: str, name: str, span: str, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """The picture of a span as a file of its own, a PNG. Raises ImageError, OSError.

    path: of the file on this machine. name: of the file, by which its cutter is chosen.
    """
    (picture,) = make_pictures(path, name, [span], max_pixels)
    if isinstance(picture, ImageError):
        if picture.stage == "read" and not Path(path).exists():
            raise FileNotFoundError(2, "No such file or directory", path)
        raise picture
    file = io.BytesIO()
    picture.image.save(file, "PNG", compress_level=1)
    return file.getvalue()
