"""Locks beside folders that a process fills for hours: they show that it is still at work, whatever the clocks say."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["fill_folder", "is_being_filled", "list_unfinished"]

_SUFFIX = ".lock"


@contextlib.contextmanager
def fill_folder(folder: Path) -> Iterator[None]:
    """Make a folder, whose name nobody else uses, and hold its lock for the block. Raises OSError."""
    import filelock

    lock = _lock_of(folder)
    with filelock.FileLock(lock):
        folder.mkdir()
        try:
            yield
        finally:
            # While the lock is held: where there is no lock file, the folder is finished.
            lock.unlink(missing_ok=True)


def is_being_filled(folder: Path) -> bool:
    """Whether a process is filling this folder now. The lock of one that has ended is cleared away."""
    import filelock

    lock = _lock_of(folder)
    if not lock.exists():
        return False
    try:
        with filelock.FileLock(lock, blocking=False):
            lock.unlink(missing_ok=True)
    except (filelock.Timeout, OSError):  # somebody holds it, or it is another user's and may be held
        return True
    return False


def list_unfinished(parent: Path) -> set[str]:
    """The names in `parent` of folders that a process is filling, and of their locks.

    Ask after what stands in `parent` was listed: a folder that was listed and is not named here is finished with.
    """
    locks = [lock.name for lock in parent.glob(f".*{_SUFFIX}")]
    folders = [name.removeprefix(".").removesuffix(_SUFFIX) for name in locks]
    filling = [name for name in folders if is_being_filled(parent / name)]
    return {*filling, *(_lock_of(parent / name).name for name in filling)}


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}{_SUFFIX}")
