"""A gallery as its readers see it: one version, unaffected by whoever writes the next."""

import contextlib
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsearch.errors import EncoderMismatch, GalleryError, GalleryNotFound
from mmsearch.exact import VectorBlock, Vectors, ascending
from mmsearch.gallery import manifests, tables
from mmsearch.gallery.places import candidates, root_path
from mmsearch.items import CAPTIONS, IMAGES, SKIPPED, CaptionRow, ImageRow, SkippedRow, Table
from mmsearch.locations import Location
from mmsearch.names import composed, composed_column, printable_column, real_name
from mmsearch.stores import Store, open_store
from mmsearch.versions import Coverage, IndexEntry, Manifest, ScoresEntry, Shard

__all__ = ["FileRows", "Gallery", "consistently", "missing"]

_R = TypeVar("_R")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class FileRows:
    """Rows that stand for files below one root.

    names: file system strings relative to the root. sizes, times: bytes and mtime_ns, -1 where unknown. etags: of
    members of archives, see `sources.Archive`; None for files.
    """

    row_ids: NDArray[np.int64]
    names: list[str]
    sizes: NDArray[np.int64]
    times: NDArray[np.int64]
    etags: list[str | None]


class Gallery:
    """One version of a gallery, for reading.

    path: its folder. manifest: what this version consists of. Live rows are those in shards and not in deletes.
    """

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self.store = store
        self.manifest = manifest
        self._dead: dict[str, NDArray[np.int64]] = {}

    @classmethod
    def open(cls, gallery: str | os.PathLike[str] | None = None) -> "Gallery":
        """The newest version of the gallery that `find_gallery` finds. Raises GalleryError, StoreError."""
        for place in candidates(gallery):
            store = open_store(place)
            if (manifest := manifests.newest(store)) is not None:
                return cls(store, manifest)
            store.require_reachable()
        named = gallery or os.environ.get("MMSEARCH_GALLERY")
        where = f"at {place}" if named else f"in {Path.cwd()} or any folder above it"
        raise GalleryNotFound(
            f"no gallery {where}. Make one with: mmsearch embed PICTURES" + (f" --gallery {named}" if named else "")
        )

    @property
    def path(self) -> Location:
        return self.store.location

    def newest(self) -> "Gallery":
        """The newest version: this object when nothing was committed since."""
        present = manifests.versions(self.store)
        if present and present[-1] == self.manifest.version:
            return self
        current = manifests.newest(self.store)
        if current is None:
            raise GalleryNotFound(f"the gallery {self.path} is gone")
        return Gallery(self.store, current)

    def schema(self, table: str) -> pa.Schema:
        """The columns of a table of this gallery."""
        return tables.schema(table, self.manifest.encoder.dim, self.manifest.dtype)

    def live_rows(self, table: str) -> int:
        """How many rows of a table are live; from the manifest alone."""
        stored = sum(shard.rows for shard in self.manifest.shards[table])
        return stored - sum(file.in_shards for file in self.manifest.deletes[table])

    def dead_row_ids(self, table: str) -> NDArray[np.int64]:
        """Ids that are no longer live, ascending. An id that no shard holds and no index returns may be missing."""
        if table not in self._dead:
            self._dead[table] = tables.read_row_ids(self.store, self.manifest.deletes[table])
        return self._dead[table]

    def scan(self, table: str, columns: Sequence[str], *, skip: Coverage = ()) -> Iterator[pa.Table]:
        """Live rows whose ids lie outside `skip`, in bounded pieces, ascending within a piece; `row_id` comes along."""
        for shard in self.manifest.shards[table]:
            if not any(low <= shard.min_row_id and shard.max_row_id < high for low, high in skip):
                yield from self._live(table, shard, columns, skip)

    def _live(self, table: str, shard: Shard, columns: Sequence[str], skip: Coverage = ()) -> Iterator[pa.Table]:
        dead = self.dead_row_ids(table)
        for rows in self._scan_shard(table, shard, columns):
            row_ids = tables.row_ids_of(rows)
            keep = ~tables.contains(dead, row_ids)
            for low, high in skip:
                keep &= (row_ids < low) | (row_ids >= high)
            kept = tables.kept(rows, keep)
            if kept.num_rows:
                yield kept

    def vector_blocks(self, table: str, *, skip: Coverage = ()) -> Iterator[VectorBlock]:
        """The vectors of live rows whose ids lie outside `skip`; row ids ascend within a block."""
        for rows in self.scan(table, ["embedding"], skip=skip):
            yield VectorBlock(tables.row_ids_of(rows), tables.matrix(rows.column("embedding")))

    def admitted_blocks(
        self, table: str, columns: Sequence[str], admits: Callable[[pa.Table], NDArray[np.int64]]
    ) -> Iterator[VectorBlock]:
        """The vectors of those live rows that a filter admits, in one pass and bounded pieces.

        admits: rows with `row_id` and `columns` -> the ids of those wanted, ascending. Nothing else is read of a row
        group in which there are none.
        """
        for shard in self.manifest.shards[table]:
            for rows in self._live(table, shard, columns):
                wanted = admits(rows)
                if wanted.size:
                    found = self._read_rows(table, shard, wanted, ["embedding"])
                    yield VectorBlock(tables.row_ids_of(found), tables.matrix(found.column("embedding")))

    def rows(self, table: str, row_ids: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """The rows with these ids in the order asked, dead or alive; only the row groups that hold them are read.

        Raises GalleryError where an id is in no shard.
        """
        wanted = ascending(row_ids)
        parts = []
        for shard in self.manifest.shards[table]:
            inside = wanted[
                np.searchsorted(wanted, shard.min_row_id) : np.searchsorted(wanted, shard.max_row_id, "right")
            ]
            if inside.size:
                parts.append(self._read_rows(table, shard, inside, columns))
        found = pa.concat_tables(parts) if parts else self._no_rows(table, columns)
        present = tables.row_ids_of(found)
        if len(present) != len(wanted):
            missing = np.setdiff1d(wanted, present)
            raise GalleryError(f"rows {missing[:5].tolist()} of {table} are in no shard of {self.path}")
        return tables.picked(found, np.argsort(present)[np.searchsorted(wanted, row_ids)])

    def records(self, table: Table[_R], row_ids: NDArray[np.int64]) -> list[_R]:
        """These rows as records, in the order asked."""
        columns = table.columns
        return [table.row(**row) for row in self.rows(table.name, row_ids, columns).select(columns).to_pylist()]

    def all_records(self, table: Table[_R]) -> Iterator[tuple[int, _R]]:
        """Every live row as a record, with its id."""
        columns = table.columns
        for rows in self.scan(table.name, columns):
            records = rows.select(columns).to_pylist()
            yield from zip(tables.row_ids_of(rows).tolist(), (table.row(**row) for row in records), strict=True)

    def image_rows(self, row_ids: NDArray[np.int64]) -> list[ImageRow]:
        """These images, in the order asked."""
        return self.records(IMAGES, row_ids)

    def all_captions(self) -> Iterator[tuple[int, CaptionRow]]:
        """Every live caption with its row id."""
        return self.all_records(CAPTIONS)

    def skipped_rows(self) -> Iterator[SkippedRow]:
        """Every input that is skipped at present."""
        return (row for _, row in self.all_records(SKIPPED))

    def files(self, table: str, root_id: int) -> FileRows:
        """The live rows that stand for files below a root."""
        import pyarrow.compute as pc

        columns = ["root_id", "path", "path_bytes", "bytes", "mtime_ns", "etag"]
        parts = [rows.filter(pc.equal(rows.column("root_id"), root_id)) for rows in self.scan(table, columns)]
        if not parts:
            empty = np.empty(0, np.int64)
            return FileRows(empty, [], empty, empty, [])
        found = pa.concat_tables(parts)
        return FileRows(
            tables.row_ids_of(found),
            _names(found),
            found.column("bytes").fill_null(-1).to_numpy(),
            found.column("mtime_ns").fill_null(-1).to_numpy(),
            found.column("etag").to_pylist(),
        )

    def rows_per_root(self, table: str) -> dict[int, int]:
        """Root id -> how many live rows stand for files below it."""
        import pyarrow.compute as pc

        found: Counter[int] = Counter()
        for rows in self.scan(table, ["root_id"]):
            for count in pc.value_counts(rows.column("root_id")).to_pylist():
                found[count["values"]] += count["counts"]
        return found

    def damaged_images(self) -> int:
        """How many live images are damaged."""
        import pyarrow.compute as pc

        return sum(pc.sum(rows.column("damaged")).as_py() or 0 for rows in self.scan(IMAGES.name, ["damaged"]))

    def image_names(self) -> Iterator[tuple[int, int, str]]:
        """(row id, root id, name) of every live image; the name is a file system string relative to its root."""
        for rows in self.scan(IMAGES.name, ["root_id", "path", "path_bytes"]):
            roots = rows.column("root_id").to_pylist()
            yield from zip(tables.row_ids_of(rows).tolist(), roots, _names(rows), strict=True)

    def hashes(self, table: str) -> Iterator[tuple[NDArray[np.int64], list[bytes]]]:
        """Row ids and content hashes of the live rows, piece by piece."""
        for rows in self.scan(table, ["content_hash"]):
            yield tables.row_ids_of(rows), rows.column("content_hash").to_pylist()

    def content_hashes(self, table: str) -> dict[bytes, int]:
        """Content hash -> row id, over the live rows."""
        found: dict[bytes, int] = {}
        for row_ids, hashes in self.hashes(table):
            found.update(zip(hashes, row_ids.tolist(), strict=True))
        return found

    def row_with_content(self, table: str, content_hash: bytes) -> int | None:
        """The id of a live row with this content, or None."""
        import pyarrow.compute as pc

        for rows in self.scan(table, ["content_hash"]):
            found = rows.filter(pc.equal(rows.column("content_hash"), pa.scalar(content_hash, pa.binary())))
            if found.num_rows:
                return int(tables.row_ids_of(found)[0])
        return None

    def is_live(self, table: str, row_id: int) -> bool:
        """Whether this row is live."""
        for shard in self.manifest.shards[table]:
            if shard.min_row_id <= row_id <= shard.max_row_id:
                wanted = np.array([row_id], np.int64)
                if self._read_rows(table, shard, wanted, []).num_rows:
                    return not tables.contains(self.dead_row_ids(table), wanted)[0]
        return False

    def rows_at(self, table: str, path: str) -> list[tuple[int, int]]:
        """(row id, root id) of the live rows that stand under this path, as valid text, below any root.

        Where there is none, those whose path is the same in another form of Unicode, or is printed so: a name that
        holds a line break is shown, and may be typed, as a\\nb."""
        import pyarrow.compute as pc

        found: list[tuple[int, int]] = []
        alike: list[tuple[int, int]] = []
        wanted = composed(path)
        for rows in self.scan(table, ["root_id", "path"]):
            paths = rows.column("path")
            places = [(pc.equal(paths, path), found)]
            if not path.isascii():
                places.append((pc.equal(composed_column(paths), wanted), alike))
            if "\\" in path:
                places.append((pc.equal(printable_column(paths), path), alike))
            for matches, into in places:
                same = rows.filter(matches)
                into += zip(tables.row_ids_of(same).tolist(), same.column("root_id").to_pylist(), strict=True)
        return found or alike

    def images_at(self, paths: Sequence[str]) -> list[tuple[int, int, str, int | None, int | None]]:
        """(row id, root id, path, width, height) of the live images under these paths, below any root; in one pass."""
        import pyarrow.compute as pc

        wanted = pa.array(sorted(set(paths)), pa.string())
        found: list[tuple[int, int, str, int | None, int | None]] = []
        for rows in self.scan(IMAGES.name, ["root_id", "path", "width", "height"]):
            those = rows.filter(pc.is_in(rows.column("path"), wanted))
            columns = (those.column(name).to_pylist() for name in ("root_id", "path", "width", "height"))
            found += zip(tables.row_ids_of(those).tolist(), *columns, strict=True)
        return found

    def captions_of(self, root_id: int, path: str) -> list[str]:
        """The live captions of an image."""
        import pyarrow.compute as pc

        found: list[str] = []
        for rows in self.scan(CAPTIONS.name, ["caption", "root_id", "path"]):
            own = pc.and_(pc.equal(rows.column("root_id"), root_id), pc.equal(rows.column("path"), path))
            found += rows.filter(own).column("caption").to_pylist()
        return found

    def _scan_shard(self, table: str, shard: Shard, columns: Sequence[str]) -> Iterator[pa.Table]:
        """All rows of a shard, dead ones too, in bounded pieces; `row_id` comes along."""
        yield from tables.scan(self.store, table, shard, columns, self.schema(table))

    def _read_rows(self, table: str, shard: Shard, row_ids: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Those rows of a shard whose ids are among `row_ids` (ascending)."""
        return tables.read_rows(self.store, table, shard, row_ids, columns, self.schema(table))

    def _no_rows(self, table: str, columns: Sequence[str]) -> pa.Table:
        fields = [self.schema(table).field(name) for name in dict.fromkeys(["row_id", *columns])]
        return pa.schema(fields).empty_table()

    def vectors(self, table: str, row_ids: NDArray[np.int64]) -> Vectors:
        """The stored vectors (n, dim) of these rows, in the order asked."""
        return tables.matrix(self.rows(table, row_ids, ["embedding"]).column("embedding"))

    def root_path(self, root_id: int) -> Location | None:
        """The folder of a root, or None for a root that the gallery does not have."""
        found = [root for root in self.manifest.roots if root.id == root_id]
        return root_path(self.path, found[0]) if found else None

    def index_for(self, table: str) -> IndexEntry | None:
        """The newest index of a table, or None."""
        found = [entry for entry in self.manifest.indexes if entry.table == table]
        return found[-1] if found else None

    def index_names(self) -> set[str]:
        """The names of all indexes."""
        return {entry.name for entry in self.manifest.indexes}

    def index_folder(self, name: str) -> Path:
        """The folder of an index, on this machine."""
        return self.store.local_folder(f"index/{name}")

    def coverage(self, table: str) -> Coverage:
        """The row ids that an index of all rows of this version answers for: no row will come that has one of them."""
        first, covers = 0, []
        for low, high in sorted(self.manifest.promised.get(table, ())):
            covers.append((first, low))
            first = high
        covers.append((first, self.manifest.next_row_ids[table]))
        return tuple(part for part in covers if part[0] < part[1])

    @contextlib.contextmanager
    def new_index_folder(self) -> Iterator[tuple[str, Path]]:
        """A fresh name and its folder, created. It belongs to the gallery once `commit_index` names it.

        For the block it is safe from compactions; afterwards it is not, unless a version names it.
        """
        name = secrets.token_hex(12)
        with self.store.new_folder(f"index/{name}") as folder:
            yield name, folder

    def drop_index_folder(self, name: str) -> None:
        """Remove the folder of an index that no version names."""
        self.store.remove_folder(f"index/{name}")

    def commit_index(
        self,
        entry: IndexEntry,
        row_ids: NDArray[np.int64],
        *,
        replaces: Sequence[str] = (),
        begun: "Gallery | None" = None,
    ) -> "Gallery":
        """Add an index of this version's rows, whose folder is complete, drop the named ones, return the new version.

        row_ids: (n,), of the rows in the index. begun: the newest version when its folder was made; this one, if None.
        Needs no lock: what others committed meanwhile stays, since rows that the index does not cover are scored beside
        it. Raises CommitConflict where files were removed after `begun`, and the folder may be among them.
        """

        def add(current: Manifest) -> Manifest:
            if current.encoder.fingerprint != self.manifest.encoder.fingerprint:
                raise EncoderMismatch(f"{self.path} was made anew with another encoder while its index was built")
            kept = tuple(index for index in current.indexes if index.name not in replaces)
            gone = self.dropped_since(current, entry.table, row_ids)
            deletes = current.deletes[entry.table]
            if gone.size:
                deletes = (*deletes, tables.write_row_ids(self.store, gone, in_shards=0))
            return replace(current, indexes=(*kept, entry), deletes={**current.deletes, entry.table: deletes})

        self.store.publish(f"index/{entry.name}")
        base = (begun or self).manifest
        return Gallery(self.store, manifests.commit(self.store, base, add, command="index", onto_any=True))

    def scores_for(self, table: str) -> ScoresEntry | None:
        """What makes the scores of a table comparable, or None."""
        return next((entry for entry in self.manifest.scores if entry.table == table), None)

    def scores_folder(self, name: str) -> Path:
        """The folder of an entry of scores, on this machine."""
        return self.store.local_folder(f"scores/{name}")

    def commit_scores(self, table: str, rows: int, write: Callable[[Path], object]) -> "Gallery":
        """Put new scores in the place of a table's older ones; the new version. Needs no lock.

        rows: of the table when they were made. write: is given an empty folder and fills it. Raises CommitConflict,
        StoreError, EncoderMismatch where the gallery was made anew meanwhile.
        """
        name = secrets.token_hex(12)

        def add(current: Manifest) -> Manifest:
            if current.encoder.fingerprint != self.manifest.encoder.fingerprint:
                raise EncoderMismatch(f"{self.path} was made anew with another encoder while it was calibrated")
            others = tuple(entry for entry in current.scores if entry.table != table)
            return replace(current, scores=(*others, ScoresEntry(name, table, rows)))

        base = self.newest().manifest
        with self.store.new_folder(f"scores/{name}") as folder:
            write(folder)
            self.store.publish(f"scores/{name}")
            return Gallery(self.store, manifests.commit(self.store, base, add, command="calibrate", onto_any=True))

    def dropped_since(
        self, current: Manifest, table: str, row_ids: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Rows of this version that a compaction has since dropped: an index built from it would still return them.

        row_ids: (n,), of such an index; then only shards of the current version are read, as others may be gone.
        """
        then, now = set(self.manifest.shards[table]), set(current.shards[table])
        if row_ids is None:
            return np.setdiff1d(self._ids_in(table, then - now), self._ids_in(table, now - then))
        lost = np.zeros(len(row_ids), bool)
        for shard in then - now:
            lost |= (row_ids >= shard.min_row_id) & (row_ids <= shard.max_row_id)
        dropped = np.sort(row_ids[lost])
        for shard in now:
            if np.searchsorted(dropped, shard.min_row_id) < np.searchsorted(dropped, shard.max_row_id, "right"):
                dropped = np.setdiff1d(dropped, self._ids_in(table, [shard]), assume_unique=True)
        return dropped

    def holds(self, table: str, row_ids: NDArray[np.int64], vectors: Vectors) -> bool:
        """Whether those of these rows that stand in this version's shards have these vectors.

        row_ids: (n,), ascending. vectors: (n, dim), as the gallery stores them.
        """
        for shard in self.manifest.shards[table]:
            inside = row_ids[(row_ids >= shard.min_row_id) & (row_ids <= shard.max_row_id)]
            if inside.size:
                found = self._read_rows(table, shard, inside, ["embedding"])
                expected = vectors[np.searchsorted(row_ids, tables.row_ids_of(found))]
                if not np.array_equal(tables.matrix(found.column("embedding")), expected):
                    return False
        return True

    def _ids_in(self, table: str, shards: Iterable[Shard]) -> NDArray[np.int64]:
        ids = [np.empty(0, np.int64)]
        for shard in shards:
            ids += [tables.row_ids_of(rows) for rows in tables.scan(self.store, table, shard, [], self.schema(table))]
        return np.concatenate(ids)

    def write_rows(self, table: str, target: Location) -> tuple[int, int]:
        """Write the live rows, ordered by row id, as one Parquet file; how many, and its bytes. Raises StoreError."""
        return tables.write_file(self._ordered(table), self.schema(table), target)

    def _ordered(self, table: str) -> Iterator[pa.Table]:
        # Shards are written in ascending order; one that was merged from small ones may span others.
        shards = sorted(self.manifest.shards[table], key=lambda shard: shard.min_row_id)
        if all(low.max_row_id < high.min_row_id for low, high in pairwise(shards)):
            for shard in shards:
                yield from self._live(table, shard, self.schema(table).names)
            return
        ids = np.sort(np.concatenate([tables.row_ids_of(rows) for rows in self.scan(table, [])]))
        for start in range(0, len(ids), tables.ROW_GROUP_ROWS):
            yield self.rows(table, ids[start : start + tables.ROW_GROUP_ROWS], self.schema(table).names)

    def data_bytes(self) -> int:
        """Bytes of all that this version names: shards, indexes and scores."""
        shards = sum(shard.file_bytes for group in self.manifest.shards.values() for shard in group)
        named = {"index": self.index_names(), "scores": {entry.name for entry in self.manifest.scores}}
        folders = ((entry, names) for folder, names in named.items() for entry in self.store.entries(folder))
        return shards + sum(entry.bytes for entry, names in folders if entry.name in names)

    def shards(self, table: str) -> tuple[Shard, ...]:
        """The shards of a table."""
        return self.manifest.shards[table]

    def shard_path(self, table: str, shard: Shard) -> Location:
        """The Parquet file of a shard."""
        return self.store.location / f"{table}/{shard.name}"


def consistently(gallery: Gallery, work: Callable[[Gallery], _T]) -> _T:
    """`work(gallery)`; again on the newest version whenever a file has been cleaned away since that one was current.

    Raises GalleryError where a file of the newest version is missing.
    """
    while True:
        try:
            return work(gallery)
        except FileNotFoundError as error:
            newest = gallery.newest()
            if newest is gallery:
                raise missing(error, gallery.path) from error
            gallery = newest


def missing(error: FileNotFoundError, folder: Location) -> GalleryError:
    """The error for a file that the newest version of the gallery in `folder` names and that is not there."""
    return GalleryError(
        f"{error.filename or error} is missing from {folder}, which names it: the gallery is damaged. "
        "Restore it from a backup, or embed into a new one."
    )


def _names(rows: pa.Table) -> list[str]:
    """The real names, as file system strings."""
    pairs = zip(rows.column("path").to_pylist(), rows.column("path_bytes").to_pylist(), strict=True)
    return [real_name(path, path_bytes) for path, path_bytes in pairs]
