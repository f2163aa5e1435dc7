"""Where a run keeps its lock, and one that trains both towers its pixels and its checkpoint, until it is done."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mmsearch.errors import StoreError, TrainingError

__all__ = ["held_work_folder", "work_folder"]

_LOCK = "lock"


def work_folder(out: Path) -> Path:
    """It lies beside the model that the run makes, so that the same command finds it again."""
    return out.with_name(f".{out.name}.training")


@contextlib.contextmanager
def held_work_folder(out: Path) -> Iterator[Path]:
    """The work folder of a run, which no other run has during the block; afterwards it stays, unless it is empty, and
    so do folders above it that were made for it.

    Raises TrainingError where another run has it now: both would write the same files. Raises StoreError."""
    import filelock

    folder = work_folder(out)
    made = [above for above in folder.parents if not above.exists()]
    lock = filelock.FileLock(folder / _LOCK, blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise TrainingError(
            f"another run is training {out} now, in {folder}: wait until it has ended, or name another folder with "
            "--out"
        ) from None
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {error.strerror or error}") from error
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            (folder / _LOCK).unlink(missing_ok=True)
            for each in (folder, *made):
                each.rmdir()
        lock.release()
