"""Files that appear under their name when they are whole, or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

__all__ = ["is_partial", "whole_file"]


@contextlib.contextmanager
def whole_file(target: Path, *, synced: bool = False) -> Iterator[Path]:
    """A path to write to, which takes the name `target` when the block ends well; otherwise nothing is left of it.

    It lies beside the target and ends as that does, since some writers go by the ending. synced: it is on the disk
    before it has the name: else a crash could leave a file of the right size, full of zeros. Raises OSError.
    """
    partial = target.with_name(f".{secrets.token_hex(8)}.tmp{target.suffix}")
    try:
        yield partial
        if synced:
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
        partial.replace(target)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def is_partial(file: Path) -> bool:
    """Whether a file is one that `whole_file` has begun: left by a writer that was killed, or being written now."""
    return file.name.startswith(".") and ".tmp" in file.suffixes
