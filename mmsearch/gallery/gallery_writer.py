"""Writes a gallery: collects rows and deletes, and commits them together."""

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
from mmsearch.gallery.additions import dropped_since
from mmsearch.gallery.gallery_paths import root_path, root_uri
from mmsearch.gallery.gallery_reader import Gallery, missing_file_error
from mmsearch.identity import EncoderIdentity, require_same_encoder, require_same_images
from mmsearch.items import IMAGES, ItemRow, Kind, kind, table_names
from mmsearch.locations import Location
from mmsearch.stores import Store, exists, open_store
from mmsearch.versions import Coverage, Manifest, Parity, Provenance, Root, Shard

__all__ = ["COMMIT_SECONDS", "GalleryWriter", "open_writer", "write_rows"]

COMMIT_SECONDS = 60.0
NO_ROWS: Mapping[str, Sequence[int]] = MappingProxyType({})
_R = TypeVar("_R")
_NO_ENCODER = EncoderIdentity("", "", 0)
_Row: TypeAlias = Any
"""A record: a row of the table."""
_OWN_NAMES = {"manifests", "deletes", "index", "scores", "lock", "lock.commit"}


@contextlib.contextmanager
def open_writer(location: Location, *, command: str) -> Iterator["GalleryWriter"]:
    """Lock the gallery at `location` and open it for writing. What was not committed by the end is dropped.

    A gallery that does not exist yet is created by the first commit; without a commit nothing is left behind. Raises
    GalleryBusy, StoreError, GalleryError, and CommitConflict where another writer has removed files that are read.
    """
    store = open_store(location)
    fresh = _is_absent(store)
    with store.lock(command):
        writer = GalleryWriter(
            store, manifests.read_newest(store) or manifests.make_first(_NO_ENCODER, "float16", command), command
        )
        try:
            yield writer
        except FileNotFoundError as error:
            if not str(error.filename).startswith(str(location)):
                raise
            current = manifests.read_newest(store)
            # In a bucket no lock keeps a compaction out.
            if current is not None and current.version != writer.manifest.version:
                raise manifests.conflict_error(store, writer.manifest, current) from error
            raise missing_file_error(error, location) from error
        finally:
            if fresh and writer.manifest.version == 0:
                store.abandon(table_names())


def write_rows(
    location: Location,
    table: str,
    row_ids: NDArray[np.int64],
    rows: Sequence[ItemRow],
    vectors: NDArray[np.floating],
    dtype: str,
    provenance: Provenance,
) -> tuple[Shard, ...]:
    """Write shards of items into the gallery at `location`, durably. Its writer adds them with `adopt`.

    Until then the items are not in the gallery, so this needs no lock. row_ids: (n,), ascending, of a range that the
    writer has reserved. vectors: (n, dim), L2-normalised. Raises StoreError.
    """
    table_rows = _make_table(table, row_ids, rows, vectors, vectors.shape[1], dtype)
    return tuple(tables.write_shards(open_store(location), table, table_rows, provenance))


def _is_absent(store: Store) -> bool:
    """Whether there is nothing at the location yet.

    Raises GalleryError for a folder that holds other files: a gallery is not written among them.
    """
    if manifests.list_versions(store):
        return False
    if not store.exists():
        return True
    others = [name for name in store.names(".") if name not in {*_OWN_NAMES, *table_names()}]
    if others:
        raise GalleryError(
            f"{store.location} holds other files ({', '.join(others[:3])}{', …' if len(others) > 3 else ''}) and is no "
            "gallery; name a folder that is empty or not there yet"
        )
    return False


def _make_table(
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
    """Rows that wait for the next commit, and live rows that it deletes. shards: of rows that are written already."""

    table: str
    provenance: Provenance | None
    rows: pa.Table | None
    replaces: Mapping[str, Sequence[int]]
    shards: tuple[Shard, ...] = ()

    @property
    def row_count(self) -> int:
        return (self.rows.num_rows if self.rows is not None else 0) + sum(shard.rows for shard in self.shards)


class GalleryWriter:
    """Collects rows and deletes for the next version. Made by `open_writer`, which holds the lock."""

    def __init__(self, store: Store, manifest: Manifest, command: str) -> None:
        self._store = store
        self._command = command
        self._opened = manifest
        self._pending: list[_Pending] = []
        self._is_stopped = False
        self._text_side: EncoderIdentity | None = None  # that the next commit gives the gallery
        self._next_row_ids = dict(manifest.next_row_ids)
        self._roots = manifest.roots
        self._next_root_id = manifest.next_root_id
        self._parity = manifest.parity
        self._promised: dict[str, Coverage] = {}  # what an earlier run was promised, it will never write
        self._last_commit = time.monotonic()
        self.manifest = manifest

    def set_encoder(self, encoder: EncoderIdentity, dtype: str = "float16") -> None:
        """Set the encoder of the vectors. Raises EncoderMismatch where the gallery holds those of another one."""
        if self.manifest.version == 0:
            self.manifest = manifests.make_first(encoder, dtype, self._command)
        else:
            require_same_encoder(self._text_side or self.manifest.encoder, encoder, self._store.location)

    def take_text_side(self, encoder: EncoderIdentity) -> None:
        """Have the gallery be of an encoder with the same image side from the next commit on, in which every row that
        the text side made has to be replaced. What was built and measured with the text side before goes.

        Raises EncoderMismatch where its image side is another one.
        """
        require_same_images(self.manifest.encoder, encoder, self._store.location)
        self._text_side = encoder

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
        """Add a root for `folder` (absolute). whole: whether it holds all files of the folder, or only named ones."""
        root = Root(self._next_root_id, root_uri(self._store.location, folder), whole)
        self._roots = (*self._roots, root)
        self._next_root_id += 1
        return root

    def uri(self, file: Location) -> str:
        """The URI by which this gallery stores the path of a file."""
        return root_uri(self._store.location, file)

    def set_roots(self, roots: Sequence[Root]) -> None:
        """Replace all roots by these (`relocate`, `forget`)."""
        self._roots = tuple(roots)

    def set_parity(self, parity: Parity) -> None:
        """Record the parity of a run; it replaces the record of the same device and precision."""
        others = [
            other for other in self._parity if (other.device, other.precision) != (parity.device, parity.precision)
        ]
        self._parity = (*others, parity)

    def abandon(self) -> None:
        """Make all later commits do nothing: what is pending is not to be trusted."""
        self._is_stopped = True

    def append(
        self,
        table: str,
        rows: Sequence[_Row],
        vectors: NDArray[np.floating] | None = None,
        provenance: Provenance | None = None,
        *,
        replaces: Mapping[str, Sequence[int]] = NO_ROWS,
    ) -> NDArray[np.int64]:
        """Add rows and return their new ids (n,).

        vectors: (n, dim), L2-normalised, stored in the gallery's dtype; None for skipped rows.
        replaces: live rows, by table, that the same commit deletes, so that no interruption separates the two.
        """
        first = self._next_row_ids[table]
        self._next_row_ids[table] += len(rows)
        ids = np.arange(first, first + len(rows), dtype=np.int64)
        table_rows = _make_table(table, ids, rows, vectors, self.manifest.encoder.dim, self.manifest.dtype)
        self._pending.append(_Pending(table, provenance, table_rows, replaces))
        return ids

    def replace_vectors(
        self, table: str, row_ids: NDArray[np.int64], vectors: NDArray[np.floating], provenance: Provenance
    ) -> None:
        """Replace the vectors of items that wait for the next commit.

        row_ids: (n,), ascending. vectors: (n, dim).
        """
        replaced: list[_Pending] = []
        for index, pending in enumerate(self._pending):
            if pending.table != table or pending.rows is None:
                continue
            ids = tables.row_ids_of(pending.rows)
            chosen = tables.contains(row_ids, ids)
            if chosen.any():
                rows = pending.rows.filter(pa.array(chosen))
                column = rows.schema.get_field_index("embedding")
                new_vectors = vectors[np.searchsorted(row_ids, ids[chosen])]
                embeddings = tables.embedding_column(new_vectors, self.manifest.dtype)
                replaced.append(
                    _Pending(table, provenance, rows.set_column(column, rows.schema.field(column), embeddings), {})
                )
                self._pending[index] = replace(pending, rows=pending.rows.filter(pa.array(~chosen)))
        self._pending += replaced

    def reserve(self, table: str, count: int) -> int:
        """Reserve `count` row ids of a table for a worker that calls `write_rows`. Returns the first id."""
        first = self._next_row_ids[table]
        self._next_row_ids[table] += count
        self._promised[table] = (*self._promised.get(table, ()), (first, first + count))
        return first

    def release(self, table: str, first: int, count: int) -> None:
        """Release reserved ids: their rows are adopted by now, or will never be written."""
        end = first + count
        kept = (
            ((low, min(high, first)) for low, high in self._promised.get(table, ())),
            ((max(low, end), high) for low, high in self._promised.get(table, ())),
        )
        self._promised[table] = tuple(
            sorted(id_range for id_ranges in kept for id_range in id_ranges if id_range[0] < id_range[1])
        )

    def release_all(self) -> None:
        """Release all reserved ids."""
        self._promised = {}

    def require_written(self, table: str, shards: Sequence[Shard], machine: str) -> None:
        """Raise StoreError unless shards that were written on another machine can be seen from here."""
        location = self._store.location
        for shard in shards:
            if not exists(location / table / shard.name):
                raise StoreError(
                    f"a worker on {machine} wrote {shard.name} into {location}, and it is not there: the gallery has "
                    "to be on storage that every machine of the cluster has under the same name"
                )

    def adopt(self, table: str, shards: Sequence[Shard], *, replaces: Mapping[str, Sequence[int]] = NO_ROWS) -> None:
        """Add shards that workers have written with reserved ids. replaces: as for `append`."""
        self._pending.append(_Pending(table, None, None, replaces, tuple(shards)))

    def delete(self, table: str, row_ids: Sequence[int] | NDArray[np.int64]) -> None:
        """Mark live rows as dead, in the same commit as everything else that is pending."""
        if len(row_ids):
            self._pending.append(_Pending(table, None, None, {table: [int(row_id) for row_id in row_ids]}))

    def read_items(self, kind: Kind[_R], row_ids: NDArray[np.int64]) -> tuple[list[_R], Vectors]:
        """Read items with their vectors (n, dim), in the order asked.

        They may be pending, committed, or live when writing began.
        """
        wanted = np.unique(row_ids)
        table = kind.name
        names = tables.schema(table, self.manifest.encoder.dim, self.manifest.dtype).names
        pending = [entry.rows for entry in self._pending if entry.table == table and entry.rows is not None]
        pieces = [tables.take_rows(rows, tables.find_rows(rows, wanted)) for rows in pending]
        expected = self.gallery.schema(table)
        for shard in (shard for entry in self._pending if entry.table == table for shard in entry.shards):
            shard_ids = wanted[(wanted >= shard.min_row_id) & (wanted <= shard.max_row_id)]
            if shard_ids.size:
                pieces.append(tables.read_rows(self._store, table, shard, shard_ids, names, expected).select(names))
        # A row of the version at the start may have been replaced and merged away since; that version still has it.
        first_new_id = self._opened.next_row_ids[table]
        waiting_ids = np.sort(np.concatenate([np.empty(0, np.int64), *map(tables.row_ids_of, pieces)]))
        committed = wanted[(wanted >= first_new_id) & ~tables.contains(waiting_ids, wanted)]
        for gallery, ids in (
            (Gallery(self._store, self._opened), wanted[wanted < first_new_id]),
            (self.gallery, committed),
        ):
            if ids.size:
                pieces.append(gallery.rows(table, ids, names).select(names))
        rows = pa.concat_tables(pieces).sort_by("row_id")
        rows = rows.take(pa.array(np.searchsorted(wanted, row_ids)))
        records = rows.drop_columns(["row_id", "embedding"]).to_pylist()
        return [kind.row(**row) for row in records], tables.to_matrix(rows.column("embedding"))

    @property
    def is_commit_due(self) -> bool:
        """Whether it is time to commit: a full shard is pending, or a minute has passed."""
        pending = sum(entry.row_count for entry in self._pending)
        waited = time.monotonic() - self._last_commit > COMMIT_SECONDS
        return pending >= tables.SHARD_ROWS or (waited and self.has_changes)

    @property
    def has_changes(self) -> bool:
        """Whether a commit would change anything."""
        return bool(self._pending) or self._roots != self.manifest.roots or self._text_side is not None

    def commit(self) -> Manifest:
        """Write what is pending and commit it as the next version. Where nothing is pending, do nothing.

        Raises StoreError, CommitConflict; then nothing of it is in the gallery. After a commit was interrupted (Ctrl-C)
        the writer commits no more, since it cannot know whether that commit succeeded.
        """
        self._last_commit = time.monotonic()
        if self._is_stopped or not self.has_changes or self.manifest.encoder == _NO_ENCODER:
            return self.manifest
        self._is_stopped = True
        try:
            self._commit(compacting.merge_small(self._store, self._write_pending()))
        except Exception:
            self._is_stopped = False
            raise
        self._pending.clear()
        self._text_side = None
        self._is_stopped = False
        return self.manifest

    def _write_pending(self) -> Manifest:
        """Write the files of everything pending, and return the manifest that names them."""
        shards = {table: list(written) for table, written in self.manifest.shards.items()}
        groups: dict[tuple[str, Provenance | None], list[pa.Table]] = {}
        dead: dict[str, set[int]] = {table: set() for table in shards}
        for entry in self._pending:
            if entry.rows is not None and entry.rows.num_rows:
                groups.setdefault((entry.table, entry.provenance), []).append(entry.rows)
            shards[entry.table] += entry.shards
            for table, row_ids in entry.replaces.items():
                dead[table].update(row_ids)
        for (table, provenance), rows in groups.items():
            table_rows = pa.concat_tables(rows)
            if np.any(np.diff(tables.row_ids_of(table_rows)) < 0):  # some vectors were replaced
                table_rows = table_rows.sort_by("row_id")
            shards[table] += tables.write_shards(self._store, table, table_rows, provenance)
        deletes = {table: list(lists) for table, lists in self.manifest.deletes.items()}
        for table, ids in dead.items():
            if ids:
                ascending = np.array(sorted(ids), dtype=np.int64)
                deletes[table].append(tables.write_row_ids(self._store, ascending, in_shards=len(ids)))
        return replace(
            self.manifest,
            encoder=self._text_side or self.manifest.encoder,
            roots=self._roots,
            next_root_id=self._next_root_id,
            parity=self._parity,
            next_row_ids=dict(self._next_row_ids),
            promised=dict(self._promised),
            shards={table: tuple(written) for table, written in shards.items()},
            deletes={table: tuple(lists) for table, lists in deletes.items()},
        )

    def rewrite(self, rewrite_manifest: Callable[[Store, Manifest], Manifest]) -> Manifest:
        """Commit the manifest that `rewrite_manifest` returns: the same live rows in other files, where it differs."""
        proposed = rewrite_manifest(self._store, self.manifest)
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
                    dropped = dropped_since(Gallery(self._store, current), proposed, table)
                    if dropped.size:
                        added.append(tables.write_row_ids(self._store, dropped, in_shards=0))
                deletes[table] = (*proposed.deletes[table], *added)
            indexes, scores = current.indexes, current.scores
            if current.encoder.fingerprint != proposed.encoder.fingerprint:  # another text side
                indexes = tuple(index for index in indexes if kind(index.table).side == IMAGES.side)
                scores = ()
            return replace(proposed, indexes=indexes, scores=scores, deletes=deletes)

        self.manifest = manifests.commit(self._store, self.manifest, change, command=self._command)
