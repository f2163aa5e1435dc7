"""Keeps a gallery small: merges small shards, drops dead rows, and removes unused files.

Row ids never change, so no index is ever invalidated.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsearch.gallery import manifests, tables
from mmsearch.items import table_names
from mmsearch.stores import FolderEntry, Store
from mmsearch.versions import Manifest, Provenance, RowIdFile, Shard

__all__ = ["RemovedFiles", "merge_small", "remove_unused", "rewrite_wasteful"]

# Under this many rows a shard is small, and more than this many small ones slow every reader down.
SMALL_SHARD_ROWS = 8_192
MOST_SMALL_SHARDS = 32
# `compact` rewrites a shard when this share of it is dead: below, the copy costs more than the space is worth.
_WASTEFUL = 0.2


@dataclass(frozen=True, slots=True)
class RemovedFiles:
    """How many files `remove_unused` removed, and their bytes."""

    files: int
    bytes: int


def merge_small(store: Store, manifest: Manifest) -> Manifest:
    """Merge small shards and delete lists where there are too many of them. Returns the new manifest."""
    for table in table_names():
        small = [shard for shard in manifest.shards[table] if shard.rows < SMALL_SHARD_ROWS]
        if len(small) > MOST_SMALL_SHARDS or len(manifest.deletes[table]) > MOST_SMALL_SHARDS:
            manifest = _rewrite_shards(store, manifest, table, small if len(small) > MOST_SMALL_SHARDS else [])
    return manifest


def rewrite_wasteful(store: Store, manifest: Manifest) -> Manifest:
    """Rewrite every small or largely dead shard. Returns the new manifest, or `manifest` where there is no gain."""
    for table in table_names():
        dead = tables.read_row_ids(store, manifest.deletes[table])
        shards = manifest.shards[table]
        chosen = [shard for shard in shards if _dead_share(store, table, shard, manifest, dead) > _WASTEFUL]
        small = [shard for shard in shards if shard.rows < SMALL_SHARD_ROWS and shard not in chosen]
        provenance_counts = Counter(shard.provenance for shard in small)  # only shards of one kind can be merged
        chosen += [shard for shard in small if provenance_counts[shard.provenance] > 1]
        lists = Counter(file.in_shards > 0 for file in manifest.deletes[table])
        if chosen or max(lists.values(), default=0) > 1:
            manifest = _rewrite_shards(store, manifest, table, chosen)
    return manifest


def _dead_share(store: Store, table: str, shard: Shard, manifest: Manifest, dead: NDArray[np.int64]) -> float:
    if not np.any((dead >= shard.min_row_id) & (dead <= shard.max_row_id)):
        return 0.0
    expected = tables.schema(table, manifest.encoder.dim, manifest.dtype)
    ids = [tables.row_ids_of(rows) for rows in tables.scan(store, table, shard, [], expected)]
    return float(tables.contains(dead, np.concatenate(ids)).mean())


def _rewrite_shards(store: Store, manifest: Manifest, table: str, chosen: Sequence[Shard]) -> Manifest:
    dead = tables.read_row_ids(store, manifest.deletes[table])
    shards = [shard for shard in manifest.shards[table] if shard not in chosen]
    dropped = [np.empty(0, np.int64)]
    by_provenance: dict[Provenance | None, list[Shard]] = {}
    for shard in chosen:
        by_provenance.setdefault(shard.provenance, []).append(shard)
    for provenance, group in by_provenance.items():
        merged, dropped_ids = _merge_shards(
            store, manifest, table, sorted(group, key=lambda shard: shard.min_row_id), provenance, dead
        )
        shards += merged
        dropped.append(dropped_ids)
    deletes = _merge_deletes(store, manifest, table, dead, np.concatenate(dropped))
    ordered = tuple(sorted(shards, key=lambda shard: shard.min_row_id))
    return replace(
        manifest,
        shards={**manifest.shards, table: ordered},
        deletes={**manifest.deletes, table: deletes},
    )


def _merge_shards(
    store: Store,
    manifest: Manifest,
    table: str,
    shards: Sequence[Shard],
    provenance: Provenance | None,
    dead: NDArray[np.int64],
) -> tuple[list[Shard], NDArray[np.int64]]:
    """Write the live rows of some shards into new ones. Returns these, and the ids of the dead rows left out."""
    expected = tables.schema(table, manifest.encoder.dim, manifest.dtype)
    written: list[Shard] = []
    dropped = [np.empty(0, np.int64)]
    pending: list[pa.Table] = []
    for shard in shards:
        for rows in tables.scan(store, table, shard, expected.names, expected):
            ids = tables.row_ids_of(rows)
            is_dead = tables.contains(dead, ids)
            dropped.append(ids[is_dead])
            pending.append(rows.filter(pa.array(~is_dead)).cast(expected))
        # One full shard at a time, so that merging needs memory for one and not for all.
        while sum(rows.num_rows for rows in pending) >= tables.SHARD_ROWS:
            merged = pa.concat_tables(pending).sort_by("row_id")
            written += tables.write_shards(store, table, merged.slice(0, tables.SHARD_ROWS), provenance)
            pending = [merged.slice(tables.SHARD_ROWS)]
    rest = pa.concat_tables(pending).sort_by("row_id") if pending else None
    if rest is not None and rest.num_rows:
        written += tables.write_shards(store, table, rest, provenance)
    return written, np.concatenate(dropped)


def _merge_deletes(
    store: Store, manifest: Manifest, table: str, dead: NDArray[np.int64], dropped: NDArray[np.int64]
) -> tuple[RowIdFile, ...]:
    """Write one list of the dead rows in shards, and one of the dead rows that only an index may still return."""
    dropped_before = tables.read_row_ids(store, [file for file in manifest.deletes[table] if file.in_shards == 0])
    dropped_ids = np.union1d(dropped_before, dropped)
    dead_in_shards = np.setdiff1d(dead, dropped_ids)
    is_indexed = np.zeros(len(dropped_ids), bool)
    for index in manifest.indexes:
        if index.table == table:
            for low, high in index.covers:
                is_indexed |= (dropped_ids >= low) & (dropped_ids < high)
    lists = []
    if dead_in_shards.size:
        lists.append(tables.write_row_ids(store, dead_in_shards, in_shards=len(dead_in_shards)))
    if is_indexed.any():
        lists.append(tables.write_row_ids(store, dropped_ids[is_indexed], in_shards=0))
    return tuple(lists)


def remove_unused(store: Store, manifest: Manifest, *, grace_seconds: float) -> RemovedFiles:
    """Remove the files that are named by no version which was current within the last `grace_seconds`.

    A version is current until the next is committed. A file that no version names (an interrupted run left it) is
    removed when it was last written longer ago than that. The caller holds the lock. Raises CommitConflict.

    Where no lock keeps writers out, another writer may have written files that it will commit later, and neither the
    grace period nor clocks show that. So this function first lists the files that may be removed, then commits a
    version that says so (`swept`), and only then removes the listed files that this version does not name. A writer
    whose file was listed has read an older version than that one. If it commits first, the swept version names the
    file, and the file stays. If it commits later, its version number is taken, and it finds a swept version newer than
    its own base, which is always a conflict. A writer that begins after the swept version writes files that were not
    listed. A delayed commit may create a version number again that was freed here. Such a version does not count, and
    its writer notices, because it reads the newest version after each commit.
    """
    now = time.time()
    listed = _find_unused(store, manifest, _find_needed(store, manifest, grace_seconds, now)[0], now - grace_seconds)
    if not listed and not _find_needed(store, manifest, grace_seconds, now)[1]:
        return RemovedFiles(0, 0)
    sweep = manifests.commit(store, manifest, lambda current: current, command="compact", onto_any=True, sweeps=True)
    needed, expired = _find_needed(store, sweep, grace_seconds, now)
    # Versions are removed before the files that they name, so that no reader finds a version whose files are gone.
    for version in expired:
        store.remove(f"{manifests.FOLDER}/{manifests.file_name(version)}")
    removed = [(folder, entry) for folder, entry in listed if f"{folder}/{entry.name}" not in needed]
    for folder, entry in removed:
        remove = store.remove_folder if entry.is_folder else store.remove
        remove(f"{folder}/{entry.name}")
    return RemovedFiles(len(removed), sum(entry.bytes for _, entry in removed))


def _find_needed(store: Store, manifest: Manifest, grace_seconds: float, now: float) -> tuple[set[str], list[int]]:
    """The files that are named by versions that stay, and the numbers of the versions that expire."""
    # An index may have been committed since, by a process that needs no lock.
    kept = [manifest, manifests.read_newest(store) or manifest]
    expired = []
    modified_at = {entry.name: entry.modified for entry in store.entries(manifests.FOLDER)}
    for version, following in pairwise(manifests.list_versions(store)):
        if version == manifest.version:
            continue
        if now - modified_at.get(manifests.file_name(following), now) >= grace_seconds:
            expired.append(version)
            continue
        with contextlib.suppress(ValueError):  # a torn manifest names nothing
            kept.append(manifests.read_version(store, version))
    return set().union(*(manifests.named_files(version) for version in kept)), expired


def _find_unused(store: Store, manifest: Manifest, needed: set[str], before: float) -> list[tuple[str, FolderEntry]]:
    """List the entries of a gallery's folders that are not needed, complete, and last written before a time."""
    unused: list[tuple[str, FolderEntry]] = []
    for folder in (*manifest.shards, "deletes", "index", "scores", manifests.FOLDER):
        entries = store.entries(folder)
        unfinished = store.unfinished(folder)  # after the listing, see there
        unused += [
            (folder, entry)
            for entry in entries
            if f"{folder}/{entry.name}" not in needed
            and entry.name not in unfinished
            and (folder != manifests.FOLDER or entry.name.startswith("."))
            and entry.modified <= before
        ]
    return unused
