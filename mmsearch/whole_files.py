"""Files that appear under their name when they are whole, or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from mmsearch.names import random_name

__all__ = ["is_partial", "make_durable", "whole_file"]


@contextlib.contextmanager
def whole_file(target: Path, *, synced: bool = False) -> Iterator[Path]:
    """A path to write to, which takes the name `target` when the block ends well; otherwise nothing is left of it.

    It lies beside the target and ends as that does, since some writers go by the ending. synced: it is on the disk
    before it has the name: else a crash could leave a file of the right size, full of zeros. Raises OSError.
    """
    partial = target.with_name(f".{random_name(8)}.tmp{target.suffix}")
    try:
        yield partial
        if synced:
            make_durable(partial)
        partial.replace(target)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def is_partial(file: Path) -> bool:
    """Whether a file is one that `whole_file` has begun: left by a writer that was killed, or being written now."""
    return file.name.startswith(".") and ".tmp" in file.suffixes


def make_durable(path: Path) -> None:
    """Have a file's bytes on the disk before anything goes on; of a folder, its names. Raises OSError."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open folders and syncs names with the file.
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
