"""Pictures that are made of a file, as a page or a frame: `scan.tif!/page=2`. What makes them: `mmsearch.cutting`."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from mmsearch.content_hashes import content_hasher
from mmsearch.cutting import cutter_of, list_spans, make_pictures
from mmsearch.errors import ImageError
from mmsearch.file_ranges import AnyFile, FileRange, as_range
from mmsearch.images import MAX_PIXELS, WHOLE, CutOptions, PictureSpan
from mmsearch.items import MEMBER
from mmsearch.locations import url_of
from mmsearch.sources.member_bytes import bytes_of_member
from mmsearch.sources.source_files import Container, Member, SourceFile
from mmsearch.stores import local_copy, require_file

__all__ = [
    "SpanLocation",
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
    """Where the picture of a span is: path of the file, which may be a member of an archive, and the name of the
    span."""

    path: str
    span: str


def spanned(location: str) -> SpanLocation | None:
    """A location such as `scan.tif!/page=2` or `a.zip!/scan.tif!/page=2`, taken apart; None where it is no such
    place."""
    path, mark, span = location.rpartition(MEMBER)
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
    remote = not isinstance(file, Member) and url_of(file.location) is not None
    spans: list[PictureSpan] = []
    copy: str | None = None
    try:
        with _bytes_of(file) as found:
            copy = None if isinstance(file, Member) or found.path == file.location else found.path
            spans += list_spans(found, file.name, options, remote=remote)
    except ImageError as error:
        if not any(span.name == WHOLE for span in spans):
            spans.append(PictureSpan(WHOLE, refused=error.reason))
    container = _container(file, cutting, len(spans), copy)
    return [_member(file, container, span) for span in spans]


@contextmanager
def _bytes_of(file: SourceFile) -> Iterator[FileRange]:
    if isinstance(file, Member):
        with bytes_of_member(file) as found:
            yield found
    else:
        yield FileRange(local_path(file.location))


def whole_picture(file: SourceFile, cutting: str, members: int) -> Member:
    """A file that is cut, as the picture that it is itself, beside `members` - 1 others."""
    return _member(file, _container(file, cutting, members), PictureSpan(WHOLE))


def _container(file: SourceFile, cutting: str, members: int, copy: str | None = None) -> Container:
    """A file of which pictures are made. A member of an archive is as new, and as complete, as its archive."""
    archive = file.container if isinstance(file, Member) else None
    if archive is None:
        state = file.size or 0, file.mtime_ns or 0
        return Container(file.location, "pictures", *state, members, complete=True, copy=copy, cutting=cutting)
    return Container(
        file.location,
        "pictures",
        archive.size,
        archive.mtime_ns,
        members,
        archive.complete,
        archive.copy,
        cutting,
        replace(file, beside=()) if isinstance(file, Member) else None,
    )


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


def hash_span(file: AnyFile, span: str, hash_name: str) -> bytes:
    """By what the picture of a span is known again: the content of its file, and the name of the span. 16 bytes.

    Not by its pixels, which may differ from one release of a decoder to the next. Of a file beyond 64 MiB its size and
    64 blocks of 256 KiB, evenly spread, count. hash_name: see `mmsearch.content_hashes`. Raises OSError.
    """
    whole = as_range(file)
    with _hashing:
        content = _hash_file(whole, whole.state(), hash_name)
    return content_hasher(hash_name)(b"\0".join((b"span", content, span.encode(errors="surrogateescape"))))


_hashing = threading.Lock()  # a file with a thousand frames is read once


@lru_cache(_FILES_KNOWN)
def _hash_file(whole: FileRange, state: tuple[str, int, int, int], hash_name: str) -> bytes:
    hashed = content_hasher(hash_name)
    size = state[2]
    with whole.open() as file:
        if size <= _READ_WHOLE:
            return hashed(file.read())
        blocks = [size.to_bytes(8, "big")]
        for block in range(_BLOCKS):
            file.seek((size - _BLOCK_BYTES) * block // (_BLOCKS - 1))
            blocks.append(file.read(_BLOCK_BYTES))
        return hashed(b"".join(blocks))


def picture_as_file(file: FileRange, name: str, span: str, *, max_pixels: int = MAX_PIXELS) -> bytes:
    """The picture of a span as a file of its own, a PNG. Raises ImageError, OSError.

    name: of the file, by which its cutter is chosen.
    """
    (picture,) = make_pictures(file, name, [span], max_pixels)
    if isinstance(picture, ImageError):
        if picture.stage == "read" and not Path(file.path).exists():
            raise FileNotFoundError(2, "No such file or directory", file.path)
        raise picture
    png = io.BytesIO()
    picture.image.save(png, "PNG", compress_level=1)
    return png.getvalue()
