"""The files of a gallery, given only while they are what the gallery holds.

A name says nothing: a file may have been replaced, a folder turned into a link to somewhere else. What is read counts
only when its hash is that of the row. Rows of an imported gallery have no hashes: of these, whatever is a picture and
lies in the folder that the gallery names, links followed, is given.
"""

import io
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmsearch import images
from mmsearch.errors import ImageError
from mmsearch.gallery import Gallery, read_consistently
from mmsearch.items import IMAGES, ImageRow
from mmsearch.locations import url_of
from mmsearch.names import real_name
from mmsearch.search.hits import Hit
from mmsearch.sources import container_of, hash_location, read_location

__all__ = [
    "CaptionImage",
    "FileContent",
    "FileGone",
    "NoSuchImage",
    "file_of",
    "image_row",
    "images_of",
    "read_content",
]

_MOST_BYTES = 1 << 30


class NoSuchImage(Exception):
    """No live row has this id."""


class FileGone(Exception):
    """The file of a row is not there any more, or no longer what the gallery holds."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file's bytes and their content hash."""

    data: bytes
    content_hash: bytes


def image_row(gallery: Gallery, row_id: int) -> ImageRow:
    """A live row of the pictures. Raises NoSuchImage."""

    def find(now: Gallery) -> ImageRow | None:
        return now.image_rows(np.array([row_id], np.int64))[0] if now.is_live(IMAGES.name, row_id) else None

    row = read_consistently(gallery, find)
    if row is None:
        raise NoSuchImage(row_id)
    return row


def file_of(gallery: Gallery, row: ImageRow) -> str | None:
    """Where a row's file stands, a file system string; None where its root is no longer part of the gallery."""
    root = gallery.root_path(row.root_id)
    name = real_name(row.path, row.path_bytes)
    return None if root is None else str(root / name)


@dataclass(frozen=True, slots=True)
class CaptionImage:
    """The picture that a caption stands with: its row, and its size where that is known."""

    row_id: int
    width: int | None
    height: int | None


def images_of(gallery: Gallery, hits: Sequence[Hit]) -> list[CaptionImage | None]:
    """For each of some captions the picture of the gallery that it stands with, or None."""
    paths = [hit.path for hit in hits if hit.path is not None]
    if not paths:
        return [None] * len(hits)
    folders = {root.id: str(gallery.root_path(root.id)) for root in gallery.manifest.roots}
    image_of_path = {
        (folders.get(root_id), path): CaptionImage(row_id, width, height)
        for row_id, root_id, path, width, height in read_consistently(gallery, lambda now: now.images_at(paths))
    }
    return [image_of_path.get((hit.root, hit.path or "")) for hit in hits]


def read_content(gallery: Gallery, row: ImageRow) -> FileContent:
    """A row's file. Raises FileGone unless it is what was embedded."""
    file = file_of(gallery, row)
    if file is None:
        raise FileGone("its folder is no longer a part of the gallery")
    remote = url_of(file) is not None
    if row.content_hash is None and not remote:
        file = _inside(Path(gallery.root_path(row.root_id) or ""), file)
    most = _MOST_BYTES if row.bytes is None else row.bytes
    try:
        data = read_location(file, most=most) if remote or container_of(file) is not None else _read(file, most)
        content_hash = hash_location(file, data, gallery.manifest.content_hash)
        if row.content_hash is None:
            images.probe(io.BytesIO(data))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileGone("the file is gone since it was embedded") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file system takes
        reason = error.strerror if isinstance(error, OSError) else None
        raise FileGone(f"the file cannot be read: {(reason or str(error)).lower()}") from error
    except ImageError as error:
        raise FileGone(f"the file cannot be read: {error.reason}") from error
    if content_hash != (row.content_hash or content_hash):
        raise FileGone("the file was changed since it was embedded")
    return FileContent(data, content_hash)


def _read(file: str, most: int) -> bytes:
    """A file of at most so many bytes."""
    if not stat.S_ISREG(Path(file).stat().st_mode):  # before it is opened: opening a device may do things
        raise FileGone("it is no file any more")
    # Without waiting, should it have become a pipe since.
    handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(handle, "rb") as stream:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode) or state.st_size > most:
            raise FileGone("the file was changed since it was embedded")
        return stream.read(most + 1)


def _inside(root: Path, file: str) -> str:
    """Where a file really is. Raises FileGone unless that is below its root."""
    archive = container_of(file)
    real = os.path.realpath(archive or file)
    if not Path(real).is_relative_to(os.path.realpath(root)):
        raise FileGone("the file lies outside of the folder that the gallery names")
    return real if archive is None else real + file[len(archive) :]
