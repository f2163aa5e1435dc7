"""What is added beside the rows of a gallery, without a lock: indexes and scores.

Whoever embeds meanwhile keeps them, and they are committed on top of whatever others commit.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import CommitConflict, EncoderMismatch, GalleryError
from mmsearch.exact import Vectors
from mmsearch.gallery import manifests, tables
from mmsearch.gallery.gallery_reader import Gallery
from mmsearch.items import kind
from mmsearch.names import random_name
from mmsearch.versions import IndexEntry, Manifest, ScoresEntry, Shard

__all__ = [
    "commit_index",
    "commit_scores",
    "drop_index_folder",
    "dropped_since",
    "has_kept_rows",
    "new_index_folder",
]

_MOST_SWEEPS = 20  # compactions that may come one after the other while scores are committed, which takes a moment


@contextlib.contextmanager
def new_index_folder(gallery: Gallery) -> Iterator[tuple[str, Path]]:
    """Make a new, empty folder for an index, and yield its name and path. `commit_index` adds it to the gallery.

    During the block no compaction removes the folder; afterwards one may, unless a version names it.
    """
    name = random_name(12)
    with gallery.store.new_folder(f"index/{name}") as folder:
        yield name, folder


def drop_index_folder(gallery: Gallery, name: str) -> None:
    """Remove the folder of an index that no version names."""
    gallery.store.remove_folder(f"index/{name}")


def commit_index(
    gallery: Gallery,
    entry: IndexEntry,
    row_ids: NDArray[np.int64],
    *,
    replaces: Sequence[str] = (),
    begun: Gallery | None = None,
) -> Gallery:
    """Add an index of this version's rows, whose folder is complete, and drop those in `replaces`.

    row_ids: (n,), of the rows in the index. begun: the version that was the newest when its folder was made; this
    one, if None. Returns the new version. Needs no lock: commits of other writers are kept, since rows that the
    index does not cover are scored without it. Raises CommitConflict where files were removed after `begun`: the
    folder may be among them.
    """

    def add(current: Manifest) -> Manifest:
        side = kind(entry.table).side
        if current.encoder.of_side(side) != gallery.manifest.encoder.of_side(side):
            raise EncoderMismatch(f"{gallery.path} was made anew with another encoder while its index was built")
        kept = tuple(index for index in current.indexes if index.name not in replaces)
        dropped = dropped_since(gallery, current, entry.table, row_ids)
        deletes = current.deletes[entry.table]
        if dropped.size:
            deletes = (*deletes, tables.write_row_ids(gallery.store, dropped, in_shards=0))
        return replace(current, indexes=(*kept, entry), deletes={**current.deletes, entry.table: deletes})

    gallery.store.publish(f"index/{entry.name}")
    base = (begun or gallery).manifest
    return Gallery(gallery.store, manifests.commit(gallery.store, base, add, command="index", onto_any=True))


def commit_scores(
    gallery: Gallery,
    table: str,
    write: Callable[[Path], object],
    row_ids: NDArray[np.int64],
    vectors: Vectors,
    *,
    rows: int | None = None,
) -> Gallery:
    """Put new scores of this version's rows in the place of a table's older ones; the new version. Needs no lock.

    write: is given an empty folder and fills it; again where a compaction came in between. row_ids (n,), ascending,
    vectors (n, dim): some rows of this version, by which it is known again. rows: of the table when the scores were
    made; None: now. Raises CommitConflict, StoreError, GalleryError where the gallery was made anew meanwhile.
    """
    made_of = gallery.live_rows(table) if rows is None else rows
    for _ in range(_MOST_SWEEPS):
        newest = gallery.newest()
        if not has_kept_rows(newest, gallery, table, row_ids, vectors):
            raise GalleryError(f"{gallery.path} was made anew while it was calibrated; run the command again")
        with contextlib.suppress(CommitConflict):
            return _commit_scores(gallery, newest.manifest, table, write, made_of)
    raise CommitConflict(
        f"{gallery.path} was compacted again and again while scores were committed. Nothing is damaged; run the same "
        "command again when that has ended."
    )


def _commit_scores(gallery: Gallery, base: Manifest, table: str, write: Callable[[Path], object], rows: int) -> Gallery:
    name = random_name(12)

    def add(current: Manifest) -> Manifest:
        if current.encoder.fingerprint != gallery.manifest.encoder.fingerprint:
            raise EncoderMismatch(f"{gallery.path} was made anew with another encoder while it was calibrated")
        others = tuple(entry for entry in current.scores if entry.table != table)
        return replace(current, scores=(*others, ScoresEntry(name, table, rows)))

    with gallery.store.new_folder(f"scores/{name}") as folder:
        write(folder)
        gallery.store.publish(f"scores/{name}")
        return Gallery(gallery.store, manifests.commit(gallery.store, base, add, command="calibrate", onto_any=True))


def dropped_since(
    gallery: Gallery, current: Manifest, table: str, row_ids: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Ids of rows of this version that a compaction has dropped since: an index built from it still returns them.

    row_ids: (n,), of such an index; then only shards of the current version are read, since others may be removed.
    """
    old_shards, new_shards = set(gallery.manifest.shards[table]), set(current.shards[table])
    if row_ids is None:
        return np.setdiff1d(
            _ids_in(gallery, table, old_shards - new_shards), _ids_in(gallery, table, new_shards - old_shards)
        )
    is_lost = np.zeros(len(row_ids), bool)
    for shard in old_shards - new_shards:
        is_lost |= (row_ids >= shard.min_row_id) & (row_ids <= shard.max_row_id)
    dropped = np.sort(row_ids[is_lost])
    for shard in new_shards:
        if np.searchsorted(dropped, shard.min_row_id) < np.searchsorted(dropped, shard.max_row_id, "right"):
            dropped = np.setdiff1d(dropped, _ids_in(gallery, table, [shard]), assume_unique=True)
    return dropped


def has_kept_rows(gallery: Gallery, before: Gallery, table: str, row_ids: NDArray[np.int64], vectors: Vectors) -> bool:
    """Whether the row ids of a table mean the rows that they meant in a version before.

    They do, unless the gallery was removed and made anew. Row ids and vectors never change, so that one shard in
    common, or a few equal vectors, say that it is the same. row_ids: (n,), ascending, of some rows of that version.
    vectors: (n, dim), theirs.
    """
    then, now = before.manifest, gallery.manifest
    if set(then.shards[table]) & set(now.shards[table]):
        return True
    return gallery.holds(table, row_ids, vectors) and now.next_row_ids[table] >= then.next_row_ids[table]


def _ids_in(gallery: Gallery, table: str, shards: Iterable[Shard]) -> NDArray[np.int64]:
    ids = [np.empty(0, np.int64)]
    for shard in shards:
        ids += [tables.row_ids_of(rows) for rows in tables.scan(gallery.store, table, shard, [], gallery.schema(table))]
    return np.concatenate(ids)
