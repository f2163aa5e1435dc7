"""`cache`: what the user's cache folder holds, and what of it was not used for long.

    CACHE/<kind>/<entry>    a file or a folder; kinds are benchmarks, texts, fingerprints, …

Everything in it can be computed again, so that any entry may be removed at any time by anyone.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmsearch.cache import cache_dir
from mmsearch.errors import StoreError

__all__ = ["CacheKind", "cached", "prune_cache"]

_IN_USE = 600
"""Seconds: what was written this recently may be in the middle of being written, and stays whatever is asked."""


@dataclass(frozen=True, slots=True)
class CacheKind:
    """One folder of the cache.

    Attributes:
        entries: The number of its entries.
        bytes: Their size.
        used: When the newest of them was last used, as a Unix time.
    """

    name: str
    entries: int
    bytes: int
    used: float


def cached(kinds: Sequence[str] = ()) -> tuple[CacheKind, ...]:
    """What the cache holds, by kind; of all kinds where none is named. Raises StoreError for one that is not there."""
    return tuple(_describe_kind(name, list(_list_entries(name))) for name in _select_kinds(kinds))


def prune_cache(kinds: Sequence[str] = (), *, unused_days: float = 30.0) -> tuple[CacheKind, ...]:
    """Remove entries that were not used for so many days, 0 for all; what was removed, by kind.

    What was written in the last ten minutes stays: somebody may be at it. Raises StoreError.
    """
    now = time.time()
    removed = []
    for name in _select_kinds(kinds):
        old = [entry for entry in _list_entries(name) if now - entry.used > max(unused_days * 86_400, _IN_USE)]
        for entry in old:
            _remove(entry.path)
        removed.append(_describe_kind(name, old))
    return tuple(removed)


@dataclass(frozen=True, slots=True)
class _CacheEntry:
    path: Path
    bytes: int
    used: float


def _select_kinds(wanted: Sequence[str]) -> list[str]:
    present = sorted(entry.name for entry in cache_dir().iterdir() if entry.is_dir()) if cache_dir().is_dir() else []
    for name in wanted:
        if name not in present:
            raise StoreError(f"the cache {cache_dir()} has no {name!r}; it has {', '.join(present) or 'nothing'}")
    return list(dict.fromkeys(wanted)) or present


def _list_entries(kind: str) -> list[_CacheEntry]:
    return [_measure_entry(path) for path in sorted((cache_dir() / kind).iterdir())]


def _measure_entry(path: Path) -> _CacheEntry:
    total, used = 0, 0.0
    files = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    for file in files:
        try:
            status = file.lstat()
        except FileNotFoundError:  # removed by somebody else meanwhile
            continue
        # Reading marks files where the file system keeps access times; who uses a folder touches it.
        used = max(used, status.st_mtime, status.st_atime if not file.is_dir() else 0)
        total += 0 if file.is_dir() else status.st_size
    return _CacheEntry(path, total, used)


def _describe_kind(kind: str, entries: Sequence[_CacheEntry]) -> CacheKind:
    return CacheKind(kind, len(entries), sum(e.bytes for e in entries), max((e.used for e in entries), default=0.0))


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot remove {path}: {error.strerror or error}") from error
