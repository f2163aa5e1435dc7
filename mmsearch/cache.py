"""The user's cache folder: `MMSEARCH_CACHE`, else the platform's own place; and what tells that a result is stale."""

import atexit
import os
from functools import lru_cache
from pathlib import Path

__all__ = ["cache_dir", "file_identity", "writable_cache"]


def cache_dir() -> Path:
    """The folder for everything that can be computed again; not created here."""
    if override := os.environ.get("MMSEARCH_CACHE"):
        return Path(os.path.expanduser(override))  # noqa: PTH111 - that of Path raises for the home of nobody
    # Imported late: start-up pays for platformdirs only where the cache is used.
    import platformdirs

    return Path(platformdirs.user_cache_dir("mmsearch"))


def writable_cache(*parts: str) -> Path:
    """A folder of the cache that can be written; not created here.

    A cache never decides whether a command works: where this folder, or what would hold it, is read-only or another
    user's, a folder for this run alone stands in for it, which is removed at the end.
    """
    place = cache_dir().joinpath(*parts)
    there = next(folder for folder in (place, *place.parents) if os.path.lexists(folder))
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK | os.R_OK):
        return place
    return _for_this_run(os.getpid(), cache_dir()).joinpath(*parts)


@lru_cache
def _for_this_run(_process: int, _instead_of: Path) -> Path:
    import shutil  # late, as tempfile: a cache that can be written needs neither
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="mmsearch-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def file_identity(status: os.stat_result) -> str:
    """All that a file system tells of a file's content: size, times and inode. A file that was replaced by one of equal
    size and mtime has another ctime; where there is none (Windows: the time of creation) the rest has to do."""
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}:{status.st_ino}"
