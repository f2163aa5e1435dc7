"""The files of a gallery, given only while they are what the gallery holds.

A name says nothing: a file may have been replaced, a folder turned into a link to somewhere else. What is read counts
only when its hash is that of the row.
"""

import hashlib
import os
import stat
from pathlib import Path

import numpy as np

from mmsearch.errors import ImageError
from mmsearch.gallery import Gallery, consistently
from mmsearch.records import ImageRow
from mmsearch.sources import archive_of, read_location

__all__ = ["Gone", "NoSuchImage", "file_of", "image_row", "read_content"]


class NoSuchImage(Exception):
    """No live row has this id."""


class Gone(Exception):
    """The file of a row is not there any more, or no longer what the gallery holds."""


def image_row(gallery: Gallery, row_id: int) -> ImageRow:
    """A live row of the pictures. Raises NoSuchImage."""
    if not consistently(gallery, lambda now: now.is_live("images", row_id)):
        raise NoSuchImage(row_id)
    return consistently(gallery, lambda now: now.image_rows(np.array([row_id], np.int64)))[0]


def file_of(gallery: Gallery, row: ImageRow) -> str | None:
    """Where a row's file stands, a file system string."""
    root = gallery.root_path(row.root_id)
    name = row.path if row.path_bytes is None else os.fsdecode(row.path_bytes)
    return None if root is None else str(root / name)


def read_content(gallery: Gallery, row: ImageRow) -> bytes:
    """The bytes of a row's file. Raises Gone unless they are those that were embedded."""
    file = file_of(gallery, row)
    if file is None:
        raise Gone("its folder is no longer a part of the gallery")
    if row.content_hash is None:
        raise Gone("the gallery was imported without the content hashes of its files, so that none can be checked")
    try:
        data = _member(file, row) if archive_of(file) else _file(file, row)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Gone("the file is gone since it was embedded") from error
    except OSError as error:
        raise Gone(f"the file cannot be read: {(error.strerror or str(error)).lower()}") from error
    except ImageError as error:
        raise Gone(f"the file cannot be read: {error.reason}") from error
    if hashlib.blake2b(data, digest_size=16).digest() != row.content_hash:
        raise Gone("the file was changed since it was embedded")
    return data


def _file(file: str, row: ImageRow) -> bytes:
    if not stat.S_ISREG(Path(file).stat().st_mode):  # before it is opened: opening a device may do things
        raise Gone("it is no file any more")
    # Without waiting, should it have become a pipe since.
    handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(handle, "rb") as stream:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode) or (row.bytes is not None and state.st_size != row.bytes):
            raise Gone("the file was changed since it was embedded")
        return stream.read(state.st_size + 1)


def _member(file: str, row: ImageRow) -> bytes:
    return read_location(file)
