"""The bytes of a file as it stood, with its state."""

from collections.abc import Callable
from typing import BinaryIO

from mmsearch.errors import ImageError
from mmsearch.sources import MAX_FILE_BYTES, SourceFile, open_source_file

__all__ = ["CHANGED", "describe_error", "read_file"]

CHANGED = "changed while it was read"
_SMALL_BYTES = 1 << 20
"""Files of so many bytes are read at once, and their headers only where they are decoded: reading one alone takes a
tenth of a millisecond in which no other thread works, and thousands of small files come a second where GPUs encode."""


def read_file(file: SourceFile, check: Callable[[BinaryIO], None]) -> tuple[SourceFile, bytes]:
    """Read a file. Returns its state and its content.

    check: called first with the stream of a large file. Raises ImageError.
    """
    try:
        with open_source_file(file) as source:
            before = source.state()
            if not 0 < (before.size or 0) <= _SMALL_BYTES:
                check(source.stream)
                if (before.size or 0) > MAX_FILE_BYTES:
                    raise ImageError("identify", f"{before.size:,} bytes, over the limit of {MAX_FILE_BYTES:,}")
                source.stream.seek(0)
            data = source.stream.read()
            after = source.state()
    except OSError as error:
        raise ImageError("read", describe_error(error)) from error
    if before != after or (after.size is not None and len(data) != after.size):
        raise ImageError("read", CHANGED)
    return after, data


def describe_error(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file (a broken link, or it vanished)"
    if isinstance(error, PermissionError):
        return "permission denied"
    return (error.strerror or str(error)).lower()
