"""The one writer of a gallery: buffers rows and deletes, and commits them together."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsearch.errors import GalleryError, StoreError
from mmsearch.exact import Vectors
from mmsearch.gallery import compacting, manifests, tables
from mmsearch.gallery.places import root_path, root_uri
from mmsearch.gallery.reading import Gallery, missing
from mmsearch.identity import EncoderIdentity, require_same_encoder
from mmsearch.items import ItemRow, Kind, table_names
from mmsearch.locations import Location
from mmsearch.stores import Store, exists, open_store
from mmsearch.versions import Coverage, Manifest, Parity, Provenance, Root, Shard

__all__ = ["COMMIT_SECONDS", "GalleryWriter", "open_writer", "write_rows"]

COMMIT_SECONDS = 60.0
NOTHING: Mapping[str, Sequence[int]] = MappingProxyType({})
_R = TypeVar("_R")
_NOBODY = EncoderIdentity("", "", 0)
_Row: TypeAlias = Any
"""A record of the row that the table has."""
_PARTS = {"manifests", "deletes", "index", "scores", "lock", "lock.commit"}


@contextlib.contextmanager
def open_writer(place: Location, *, command: str) -> Iterator["GalleryWriter"]:
    """Lock the gallery at `place` and write it. What was not committed by the end is dropped.

    A gallery that does not exist yet begins with the writer's first commit; without one, nothing is left behind.
    Raises GalleryBusy, StoreError, GalleryError; CommitConflict also where another writer has removed what is read.
    """
    store = open_store(place)
    fresh = _require_ours(store)
    with store.lock(command):
        writer = GalleryWriter(store, manifests.newest(store) or manifests.first(_NOBODY, "float16", command), command)
        try:
            yield writer
        except FileNotFoundError as error:
            if not str(error.filename).startswith(str(place)):
                raise
            current = manifests.newest(store)
            # Nothing keeps a compaction out of a bucket.
            if current is not None and current.version != writer.manifest.version:
                raise manifests.conflict(store, writer.manifest, current) from error
            raise missing(error, place) from error
        finally:
            if fresh and writer.manifest.version == 0:
                store.abandon(table_names())


def write_rows(
    place: Location,
    table: str,
    row_ids: NDArray[np.int64],
    rows: Sequence[ItemRow],
    vectors: NDArray[np.floating],
    dtype: str,
    provenance: Provenance,
) -> tuple[Shard, ...]:
    """Write items into the gallery at `place`, durably, for its writer to `adopt`.

    Until then they are not in it, so that this needs no lock. row_ids: (n,), ascending, of a range that the writer
    reserved. vectors: (n, dim), L2-normalised. Raises StoreError.
    """
    held = _table(table, row_ids, rows, vectors, vectors.shape[1], dtype)
    return tuple(tables.write_shards(open_store(place), table, held, provenance))


def _require_ours(store: Store) -> bool:
    """Whether nothing stands there yet.

    Raises GalleryError for a folder that holds other things: a gallery is not strewn among somebody's files.
    """
    if manifests.versions(store):
        return False
    if not store.exists():
        return True
    others = [name for name in store.names(".") if name not in {*_PARTS, *table_names()}]
    if others:
        raise GalleryError(
            f"{store.location} holds other files ({', '.join(others[:3])}{', …' if len(others) > 3 else ''}) and is no "
            "gallery; name a folder that is empty or not there yet"
        )
    return False


def _table(
    table: str, row_ids: NDArray[np.int64], rows: Sequence[_Row], vectors: Any, dim: int, dtype: str
) -> pa.Table:
    expected = tables.schema(table, dim, dtype)
    columns: list[pa.Array] = []
    for field in expected:
        if field.name == "row_id":
            columns.append(pa.array(row_ids))
        elif field.name == "embedding":
            columns.append(tables.embedding_column(np.asarray(vectors), dtype))
        else:
            columns.append(pa.array([getattr(row, field.name) for row in rows], type=field.type))
    return pa.table(columns, schema=expected)


@dataclass(frozen=True, slots=True)
class _Pending:
    """Rows that wait for the next commit, and live rows that die in it. shards: of rows that are written already."""

    table: str
    provenance: Provenance | None
    rows: pa.Table | None
    replaces: Mapping[str, Sequence[int]]
    shards: tuple[Shard, ...] = ()

    @property
    def count(self) -> int:
        return (self.rows.num_rows if self.rows is not None else 0) + sum(shard.rows for shard in self.shards)


class GalleryWriter:
    """Rows and deletes on their way into the next version. Made by `open_writer`, which holds the lock."""

    def __init__(self, store: Store, manifest: Manifest, command: str) -> None:
        self._store = store
        self._command = command
        self._opened = manifest
        self._pending: list[_Pending] = []
        self._stopped = False
        self._next_row_ids = dict(manifest.next_row_ids)
        self._roots = manifest.roots
        self._next_root_id = manifest.next_root_id
        self._parity = manifest.parity
        self._promised: dict[str, Coverage] = {}  # what an earlier run was promised, it will never write
        self._last_commit = time.monotonic()
        self.manifest = manifest

    def begin(self, encoder: EncoderIdentity, dtype: str = "float16") -> None:
        """Say whose vectors will be appended. Raises EncoderMismatch where the gallery holds another encoder's."""
        if self.manifest.version == 0:
            self.manifest = manifests.first(encoder, dtype, self._command)
        else:
            require_same_encoder(self.manifest.encoder, encoder, self._store.location)

    @property
    def gallery(self) -> Gallery:
        """The version last committed."""
        return Gallery(self._store, self.manifest)

    @property
    def roots(self) -> tuple[Root, ...]:
        """The roots as the next commit will have them."""
        return self._roots

    def root_path(self, root: Root) -> Location:
        """The folder that a root names."""
        return root_path(self._store.location, root)

    def add_root(self, folder: Location, *, whole: bool = True) -> Root:
        """A new root for `folder` (absolute). whole: all that is in it, or only files that are named."""
        root = Root(self._next_root_id, root_uri(self._store.location, folder), whole)
        self._roots = (*self._roots, root)
        self._next_root_id += 1
        return root

    def uri(self, file: Location) -> str:
        """How a file is written down in this gallery."""
        return root_uri(self._store.location, file)

    def set_roots(self, roots: Sequence[Root]) -> None:
        """Put these in the place of all roots (`relocate`, `forget`)."""
        self._roots = tuple(roots)

    def set_parity(self, parity: Parity) -> None:
        """Record how a run's pictures agree, in place of what is known of the same device and precision."""
        others = [each for each in self._parity if (each.device, each.precision) != (parity.device, parity.precision)]
        self._parity = (*others, parity)

    def abandon(self) -> None:
        """Commit no more: what is pending is not to be trusted."""
        self._stopped = True

    def append(
        self,
        table: str,
        rows: Sequence[_Row],
        vectors: NDArray[np.floating] | None = None,
        provenance: Provenance | None = None,
        *,
        replaces: Mapping[str, Sequence[int]] = NOTHING,
    ) -> NDArray[np.int64]:
        """Add rows and return their new ids (n,).

        vectors: (n, dim), L2-normalised, stored in the gallery's dtype; None for skipped rows.
        replaces: live rows, by table, that die in the same commit, whatever interrupts the program.
        """
        first = self._next_row_ids[table]
        self._next_row_ids[table] += len(rows)
        ids = np.arange(first, first + len(rows), dtype=np.int64)
        held = _table(table, ids, rows, vectors, self.manifest.encoder.dim, self.manifest.dtype)
        self._pending.append(_Pending(table, provenance, held, replaces))
        return ids

    def revise(
        self, table: str, row_ids: NDArray[np.int64], vectors: NDArray[np.floating], provenance: Provenance
    ) -> None:
        """Give items that wait for the next commit other vectors. row_ids: (n,), ascending; vectors: (n, dim)."""
        moved: list[_Pending] = []
        for number, part in enumerate(self._pending):
            if part.table != table or part.rows is None:
                continue
            ids = tables.row_ids_of(part.rows)
            chosen = tables.contains(row_ids, ids)
            if chosen.any():
                rows = part.rows.filter(pa.array(chosen))
                column = rows.schema.get_field_index("embedding")
                found = vectors[np.searchsorted(row_ids, ids[chosen])]
                embeddings = tables.embedding_column(found, self.manifest.dtype)
                moved.append(
                    _Pending(table, provenance, rows.set_column(column, rows.schema.field(column), embeddings), {})
                )
                self._pending[number] = replace(part, rows=part.rows.filter(pa.array(~chosen)))
        self._pending += moved

    def reserve(self, table: str, count: int) -> int:
        """Promise so many ids of a table, from the one returned, to whoever writes them later with `write_rows`."""
        first = self._next_row_ids[table]
        self._next_row_ids[table] += count
        self._promised[table] = (*self._promised.get(table, ()), (first, first + count))
        return first

    def release(self, table: str, first: int, count: int) -> None:
        """Take a promise, or a part of one, back: what was to come of these ids is adopted, or will never come."""
        past = first + count
        kept = (
            ((low, min(high, first)) for low, high in self._promised.get(table, ())),
            ((max(low, past), high) for low, high in self._promised.get(table, ())),
        )
        self._promised[table] = tuple(sorted(part for parts in kept for part in parts if part[0] < part[1]))

    def release_all(self) -> None:
        """Take all promises back."""
        self._promised = {}

    def require_written(self, table: str, shards: Sequence[Shard], where: str) -> None:
        """Raise StoreError unless shards that were written on another machine can be seen from here."""
        place = self._store.location
        for shard in shards:
            if not exists(place / table / shard.name):
                raise StoreError(
                    f"a worker on {where} wrote {shard.name} into {place}, and it is not there: the gallery has to be "
                    "on storage that every machine of the cluster has under the same name"
                )

    def adopt(self, table: str, shards: Sequence[Shard], *, replaces: Mapping[str, Sequence[int]] = NOTHING) -> None:
        """Add items that others have written with ids that were promised. replaces: as for `append`."""
        self._pending.append(_Pending(table, None, None, replaces, tuple(shards)))

    def delete(self, table: str, row_ids: Sequence[int] | NDArray[np.int64]) -> None:
        """Mark live rows as dead, in the same commit as whatever else is pending."""
        if len(row_ids):
            self._pending.append(_Pending(table, None, None, {table: [int(row_id) for row_id in row_ids]}))

    def stored(self, kind: Kind[_R], row_ids: NDArray[np.int64]) -> tuple[list[_R], Vectors]:
        """Items with their vectors (n, dim), in the order asked: pending, committed, or alive when writing began."""
        wanted = np.unique(row_ids)
        table = kind.name
        names = tables.schema(table, self.manifest.encoder.dim, self.manifest.dtype).names
        pending = [part.rows for part in self._pending if part.table == table and part.rows is not None]
        parts = [tables.picked(rows, tables.places_of(rows, wanted)) for rows in pending]
        expected = self.gallery.schema(table)
        for shard in (shard for part in self._pending if part.table == table for shard in part.shards):
            inside = wanted[(wanted >= shard.min_row_id) & (wanted <= shard.max_row_id)]
            if inside.size:
                parts.append(tables.read_rows(self._store, table, shard, inside, names, expected).select(names))
        # A row of the first version may have been replaced and merged away since; there it still stands.
        begun = self._opened.next_row_ids[table]
        waiting = np.sort(np.concatenate([np.empty(0, np.int64), *map(tables.row_ids_of, parts)]))
        committed = wanted[(wanted >= begun) & ~tables.contains(waiting, wanted)]
        for gallery, ids in ((Gallery(self._store, self._opened), wanted[wanted < begun]), (self.gallery, committed)):
            if ids.size:
                parts.append(gallery.rows(table, ids, names).select(names))
        found = pa.concat_tables(parts).sort_by("row_id")
        found = found.take(pa.array(np.searchsorted(wanted, row_ids)))
        plain = found.drop_columns(["row_id", "embedding"]).to_pylist()
        return [kind.row(**row) for row in plain], tables.matrix(found.column("embedding"))

    @property
    def due(self) -> bool:
        """Whether it is time to commit: a full shard is pending, or a minute has passed."""
        pending = sum(part.count for part in self._pending)
        waited = time.monotonic() - self._last_commit > COMMIT_SECONDS
        return pending >= tables.SHARD_ROWS or (waited and self.dirty)

    @property
    def dirty(self) -> bool:
        """Whether a commit would change anything."""
        return bool(self._pending) or self._roots != self.manifest.roots

    def commit(self) -> Manifest:
        """Write what is pending and commit it as the next version; nothing pending (or nothing begun), nothing written.

        Raises StoreError, CommitConflict; then nothing of it is in the gallery. After an interruption (Ctrl-C) of a
        commit the writer commits no more, since nobody can tell whether that one came through.
        """
        self._last_commit = time.monotonic()
        if self._stopped or not self.dirty or self.manifest.encoder == _NOBODY:
            return self.manifest
        self._stopped = True
        try:
            self._commit(compacting.merge_small(self._store, self._proposed()))
        except Exception:
            self._stopped = False
            raise
        self._pending.clear()
        self._stopped = False
        return self.manifest

    def _proposed(self) -> Manifest:
        """The manifest with what is pending, whose files are written here."""
        shards = {table: list(held) for table, held in self.manifest.shards.items()}
        groups: dict[tuple[str, Provenance | None], list[pa.Table]] = {}
        dead: dict[str, set[int]] = {table: set() for table in shards}
        for part in self._pending:
            if part.rows is not None and part.rows.num_rows:
                groups.setdefault((part.table, part.provenance), []).append(part.rows)
            shards[part.table] += part.shards
            for table, row_ids in part.replaces.items():
                dead[table].update(row_ids)
        for (table, provenance), rows in groups.items():
            held = pa.concat_tables(rows)
            if np.any(np.diff(tables.row_ids_of(held)) < 0):  # some were revised
                held = held.sort_by("row_id")
            shards[table] += tables.write_shards(self._store, table, held, provenance)
        deletes = {table: list(lists) for table, lists in self.manifest.deletes.items()}
        for table, ids in dead.items():
            if ids:
                ascending = np.array(sorted(ids), dtype=np.int64)
                deletes[table].append(tables.write_row_ids(self._store, ascending, in_shards=len(ids)))
        return replace(
            self.manifest,
            roots=self._roots,
            next_root_id=self._next_root_id,
            parity=self._parity,
            next_row_ids=dict(self._next_row_ids),
            promised=dict(self._promised),
            shards={table: tuple(held) for table, held in shards.items()},
            deletes={table: tuple(lists) for table, lists in deletes.items()},
        )

    def rewrite(self, rewritten: Callable[[Store, Manifest], Manifest]) -> Manifest:
        """Commit a manifest that holds the same live rows in other files, where `rewritten` gives another one."""
        proposed = rewritten(self._store, self.manifest)
        if proposed != self.manifest:
            self._commit(proposed)
        return self.manifest

    def _commit(self, proposed: Manifest) -> None:
        base = self.manifest

        def change(current: Manifest) -> Manifest:
            # `index` and `calibrate` take no lock: indexes, lists of rows that only these hold, and scores may be new.
            deletes = dict(proposed.deletes)
            for table in proposed.deletes:
                added = [file for file in current.deletes.get(table, ()) if file not in base.deletes[table]]
                if any(index.table == table and index not in base.indexes for index in current.indexes):
                    gone = Gallery(self._store, current).dropped_since(proposed, table)
                    if gone.size:
                        added.append(tables.write_row_ids(self._store, gone, in_shards=0))
                deletes[table] = (*proposed.deletes[table], *added)
            return replace(proposed, indexes=current.indexes, scores=current.scores, deletes=deletes)

        self.manifest = manifests.commit(self._store, self.manifest, change, command=self._command)
