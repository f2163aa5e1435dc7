"""Keeping a gallery small: many small shards become few, dead rows leave, and files out of use are removed.

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

__all__ = ["Removed", "merge_small", "remove_unused", "rewrite_wasteful"]

# Under this many rows a shard is small, and more than this many small ones slow every reader down.
SMALL_SHARD_ROWS = 8_192
MOST_SMALL_SHARDS = 32
# `compact` rewrites a shard when this share of it is dead: below, the copy costs more than the space is worth.
_WASTEFUL = 0.2


@dataclass(frozen=True, slots=True)
class Removed:
    """What `remove_unused` took away."""

    files: int
    bytes: int


def merge_small(store: Store, manifest: Manifest) -> Manifest:
    """The manifest with its small shards merged and its delete lists joined, where there are too many of them."""
    for table in table_names():
        small = [shard for shard in manifest.shards[table] if shard.rows < SMALL_SHARD_ROWS]
        if len(small) > MOST_SMALL_SHARDS or len(manifest.deletes[table]) > MOST_SMALL_SHARDS:
            manifest = _rewritten(store, manifest, table, small if len(small) > MOST_SMALL_SHARDS else [])
    return manifest


def rewrite_wasteful(store: Store, manifest: Manifest) -> Manifest:
    """The manifest with every small or largely dead shard rewritten; itself where there is nothing to gain."""
    for table in table_names():
        dead = tables.read_row_ids(store, manifest.deletes[table])
        shards = manifest.shards[table]
        chosen = [shard for shard in shards if _dead_share(store, table, shard, manifest, dead) > _WASTEFUL]
        small = [shard for shard in shards if shard.rows < SMALL_SHARD_ROWS and shard not in chosen]
        alike = Counter(shard.provenance for shard in small)  # only shards of one kind can be merged
        chosen += [shard for shard in small if alike[shard.provenance] > 1]
        lists = Counter(file.in_shards > 0 for file in manifest.deletes[table])
        if chosen or max(lists.values(), default=0) > 1:
            manifest = _rewritten(store, manifest, table, chosen)
    return manifest


def _dead_share(store: Store, table: str, shard: Shard, manifest: Manifest, dead: NDArray[np.int64]) -> float:
    if not np.any((dead >= shard.min_row_id) & (dead <= shard.max_row_id)):
        return 0.0
    expected = tables.schema(table, manifest.encoder.dim, manifest.dtype)
    ids = [tables.row_ids_of(rows) for rows in tables.scan(store, table, shard, [], expected)]
    return float(tables.contains(dead, np.concatenate(ids)).mean())


def _rewritten(store: Store, manifest: Manifest, table: str, chosen: Sequence[Shard]) -> Manifest:
    dead = tables.read_row_ids(store, manifest.deletes[table])
    shards = [shard for shard in manifest.shards[table] if shard not in chosen]
    dropped = [np.empty(0, np.int64)]
    by_provenance: dict[Provenance | None, list[Shard]] = {}
    for shard in chosen:
        by_provenance.setdefault(shard.provenance, []).append(shard)
    for provenance, group in by_provenance.items():
        new, gone = _merged(store, manifest, table, sorted(group, key=lambda shard: shard.min_row_id), provenance, dead)
        shards += new
        dropped.append(gone)
    deletes = _joined_deletes(store, manifest, table, dead, np.concatenate(dropped))
    ordered = tuple(sorted(shards, key=lambda shard: shard.min_row_id))
    return replace(
        manifest,
        shards={**manifest.shards, table: ordered},
        deletes={**manifest.deletes, table: deletes},
    )


def _merged(
    store: Store,
    manifest: Manifest,
    table: str,
    shards: Sequence[Shard],
    provenance: Provenance | None,
    dead: NDArray[np.int64],
) -> tuple[list[Shard], NDArray[np.int64]]:
    """The live rows of some shards as new ones, and the ids of the dead rows that they no longer hold."""
    expected = tables.schema(table, manifest.encoder.dim, manifest.dtype)
    written: list[Shard] = []
    dropped = [np.empty(0, np.int64)]
    pending: list[pa.Table] = []
    for shard in shards:
        for rows in tables.scan(store, table, shard, expected.names, expected):
            ids = tables.row_ids_of(rows)
            gone = tables.contains(dead, ids)
            dropped.append(ids[gone])
            pending.append(rows.filter(pa.array(~gone)).cast(expected))
        # One full shard at a time, so that merging needs memory for one and not for all.
        while sum(rows.num_rows for rows in pending) >= tables.SHARD_ROWS:
            whole = pa.concat_tables(pending).sort_by("row_id")
            written += tables.write_shards(store, table, whole.slice(0, tables.SHARD_ROWS), provenance)
            pending = [whole.slice(tables.SHARD_ROWS)]
    rest = pa.concat_tables(pending).sort_by("row_id") if pending else None
    if rest is not None and rest.num_rows:
        written += tables.write_shards(store, table, rest, provenance)
    return written, np.concatenate(dropped)


def _joined_deletes(
    store: Store, manifest: Manifest, table: str, dead: NDArray[np.int64], dropped: NDArray[np.int64]
) -> tuple[RowIdFile, ...]:
    """One list of the dead rows that stand in shards, and one of those that only an index may still return."""
    out_before = tables.read_row_ids(store, [file for file in manifest.deletes[table] if file.in_shards == 0])
    out = np.union1d(out_before, dropped)
    standing = np.setdiff1d(dead, out)
    indexed = np.zeros(len(out), bool)
    for index in manifest.indexes:
        if index.table == table:
            for low, high in index.covers:
                indexed |= (out >= low) & (out < high)
    lists = []
    if standing.size:
        lists.append(tables.write_row_ids(store, standing, in_shards=len(standing)))
    if indexed.any():
        lists.append(tables.write_row_ids(store, out[indexed], in_shards=0))
    return tuple(lists)


def remove_unused(store: Store, manifest: Manifest, *, grace_seconds: float) -> Removed:
    """Remove the files that no version names which was current within the last `grace_seconds`.

    A version is current until the next is committed; a file that no version names (an interrupted run left it) goes
    when it was last written longer ago than that. The caller holds the lock. Raises CommitConflict.

    Where no lock keeps writers out, one may have written files whose commit is still to come, and neither grace nor
    clocks say so. So what may go is listed first, then a version is committed that says so (`swept`), and only then
    files go: those that were listed and that this version does not name. A writer whose file was listed had read a
    version before that one. If its commit came first, the version names the file, which stays; else its number is
    taken, and reading the version that says so is a conflict, whatever it meant to commit. Who begins after that
    version writes files that were not listed. A number that was freed can be created again by a commit that was
    delayed; that it does not count is seen by whoever committed it, who looks at the newest version afterwards.
    """
    now = time.time()
    listed = _unused(store, manifest, _needed(store, manifest, grace_seconds, now)[0], now - grace_seconds)
    if not listed and not _needed(store, manifest, grace_seconds, now)[1]:
        return Removed(0, 0)
    swept = manifests.commit(store, manifest, lambda current: current, command="compact", onto_any=True, sweeps=True)
    needed, expired = _needed(store, swept, grace_seconds, now)
    # Names leave before what they name, so that no reader finds a version whose files are gone.
    for version in expired:
        store.remove(f"{manifests.FOLDER}/{manifests.name_of(version)}")
    gone = [(folder, entry) for folder, entry in listed if f"{folder}/{entry.name}" not in needed]
    for folder, entry in gone:
        remove = store.remove_folder if entry.is_folder else store.remove
        remove(f"{folder}/{entry.name}")
    return Removed(len(gone), sum(entry.bytes for _, entry in gone))


def _needed(store: Store, manifest: Manifest, grace_seconds: float, now: float) -> tuple[set[str], list[int]]:
    """The files that versions name which stay, and the versions that do not."""
    # An index may have been committed since, by a process that needs no lock.
    kept = [manifest, manifests.newest(store) or manifest]
    expired = []
    written = {entry.name: entry.modified for entry in store.entries(manifests.FOLDER)}
    for version, following in pairwise(manifests.versions(store)):
        if version == manifest.version:
            continue
        if now - written.get(manifests.name_of(following), now) >= grace_seconds:
            expired.append(version)
            continue
        with contextlib.suppress(ValueError):  # a torn manifest names nothing
            kept.append(manifests.read(store, version))
    return set().union(*(manifests.named_files(version) for version in kept)), expired


def _unused(store: Store, manifest: Manifest, needed: set[str], before: float) -> list[tuple[str, FolderEntry]]:
    """What stands in the folders of a gallery, is not needed, was last written before a time, and is finished."""
    found: list[tuple[str, FolderEntry]] = []
    for folder in (*manifest.shards, "deletes", "index", "scores", manifests.FOLDER):
        entries = store.entries(folder)
        unfinished = store.unfinished(folder)  # after the listing, see there
        found += [
            (folder, entry)
            for entry in entries
            if f"{folder}/{entry.name}" not in needed
            and entry.name not in unfinished
            and (folder != manifests.FOLDER or entry.name.startswith("."))
            and entry.modified <= before
        ]
    return found
