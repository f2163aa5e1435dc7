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
    """One folder of the cache. entries, bytes: in it. used: when the newest of them was last used, as a Unix time."""

    name: str
    entries: int
    bytes: int
    used: float


def cached(kinds: Sequence[str] = ()) -> tuple[CacheKind, ...]:
    """What the cache holds, by kind; of all kinds where none is named. Raises StoreError for one that is not there."""
    return tuple(_described(name, list(_entries(name))) for name in _kinds(kinds))


def prune_cache(kinds: Sequence[str] = (), *, unused_days: float = 30.0) -> tuple[CacheKind, ...]:
    """Remove entries that were not used for so many days, 0 for all; what was removed, by kind.

    What was written in the last ten minutes stays: somebody may be at it. Raises StoreError.
    """
    now = time.time()
    removed = []
    for name in _kinds(kinds):
        old = [entry for entry in _entries(name) if now - entry.used > max(unused_days * 86_400, _IN_USE)]
        for entry in old:
            _remove(entry.place)
        removed.append(_described(name, old))
    return tuple(removed)


@dataclass(frozen=True, slots=True)
class _Entry:
    place: Path
    bytes: int
    used: float


def _kinds(wanted: Sequence[str]) -> list[str]:
    there = sorted(entry.name for entry in cache_dir().iterdir() if entry.is_dir()) if cache_dir().is_dir() else []
    for name in wanted:
        if name not in there:
            raise StoreError(f"the cache {cache_dir()} has no {name!r}; it has {', '.join(there) or 'nothing'}")
    return list(dict.fromkeys(wanted)) or there


def _entries(kind: str) -> list[_Entry]:
    return [_measured(place) for place in sorted((cache_dir() / kind).iterdir())]


def _measured(place: Path) -> _Entry:
    total, used = 0, 0.0
    inside = [place, *place.rglob("*")] if place.is_dir() and not place.is_symlink() else [place]
    for file in inside:
        try:
            status = file.lstat()
        except FileNotFoundError:  # removed by somebody else meanwhile
            continue
        # Reading marks files where the file system keeps access times; who uses a folder touches it.
        used = max(used, status.st_mtime, status.st_atime if not file.is_dir() else 0)
        total += 0 if file.is_dir() else status.st_size
    return _Entry(place, total, used)


def _described(kind: str, entries: Sequence[_Entry]) -> CacheKind:
    return CacheKind(kind, len(entries), sum(e.bytes for e in entries), max((e.used for e in entries), default=0.0))


def _remove(place: Path) -> None:
    try:
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"cannot remove {place}: {error.strerror or error}") from error
