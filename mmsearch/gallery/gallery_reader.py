"""Reads one version of a gallery, which stays the same while writers commit newer ones."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsearch.content_hashes import content_hasher
from mmsearch.errors import GalleryError, GalleryNotFound
from mmsearch.exact import VectorBlock, Vectors, ascending
from mmsearch.gallery import manifests, tables
from mmsearch.gallery.gallery_in_use import store_in_use
from mmsearch.gallery.gallery_paths import candidate_paths, root_path
from mmsearch.items import CAPTIONS, IMAGES, SKIPPED, CaptionRow, ImageRow, SkippedRow, Table
from mmsearch.locations import Location
from mmsearch.names import composed, composed_column, printable_column, real_name, shell_quoted
from mmsearch.stores import Store, open_store
from mmsearch.versions import Coverage, IndexEntry, Manifest, ScoresEntry, Shard

__all__ = ["CaptionOf", "FileRows", "Gallery", "missing_file_error", "read_consistently"]

_R = TypeVar("_R")
_T = TypeVar("_T")

_ROWS_AT_ONCE = 1 << 14  # whose vectors are read


@dataclass(frozen=True, slots=True)
class FileRows:
    """The rows of files below one root.

    Attributes:
        row_ids: (n,).
        names: file system strings relative to the root.
        sizes, times: bytes and mtime_ns, (n,); -1 where unknown.
        etags: of members of archives, see `sources.Container.etag`; None for most files on a disk.
        beside_states: see `items.ImageRow.files_state`; None where nothing stands beside a file.
        beside: the paths of the files that stand beside each.
    """

    row_ids: NDArray[np.int64]
    names: list[str]
    sizes: NDArray[np.int64]
    times: NDArray[np.int64]
    etags: list[str | None]
    beside_states: list[bytes | None]
    beside: pa.ChunkedArray


@dataclass(frozen=True, slots=True)
class CaptionOf:
    """A caption of an image. guessed_by: the model that has written it; None where people have."""

    caption: str
    guessed_by: str | None


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
        """The newest version of the gallery that `find_gallery` finds; where it finds none, of the one in use.

        Raises GalleryError, StoreError."""
        for path in candidate_paths(gallery):
            store = open_store(path)
            if (manifest := manifests.read_newest(store)) is not None:
                return cls(store, manifest)
            store.require_reachable()
        named = gallery or os.environ.get("MMSEARCH_GALLERY")
        if named:
            raise GalleryNotFound(
                f"no gallery at {path}. Make one with: mmsearch embed PICTURES --gallery {shell_quoted(named)}"
            )
        if (in_use := store_in_use()) is not None and (manifest := manifests.read_newest(in_use)) is not None:
            return cls(in_use, manifest)
        raise GalleryNotFound(
            f"no gallery in {Path.cwd()} or any folder above it, and none in use. Make one with: mmsearch embed "
            "PICTURES; or name one that is elsewhere: mmsearch use GALLERY"
        )

    @property
    def path(self) -> Location:
        return self.store.location

    def newest(self) -> "Gallery":
        """The newest version; this object where nothing was committed since."""
        present = manifests.list_versions(self.store)
        if present and present[-1] == self.manifest.version:
            return self
        current = manifests.read_newest(self.store)
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
        """Ids of dead rows, ascending. Ids that no shard holds and no index returns may be left out."""
        if table not in self._dead:
            self._dead[table] = tables.read_row_ids(self.store, self.manifest.deletes[table])
        return self._dead[table]

    def scan(self, table: str, columns: Sequence[str], *, skip: Coverage = ()) -> Iterator[pa.Table]:
        """Live rows whose ids lie outside `skip`, with `row_id`, in bounded pieces; ids ascend within a piece."""
        for shard in self._shards_outside(table, skip):
            yield from self._live(table, shard, columns, skip)

    def _shards_outside(self, table: str, skip: Coverage) -> Iterator[Shard]:
        """The shards that may hold rows whose ids lie outside `skip`."""
        for shard in self.manifest.shards[table]:
            if not any(low <= shard.min_row_id and shard.max_row_id < high for low, high in skip):
                yield shard

    def _live(self, table: str, shard: Shard, columns: Sequence[str], skip: Coverage = ()) -> Iterator[pa.Table]:
        for rows in self._scan_shard(table, shard, columns):
            kept = tables.filter_rows(rows, self._is_wanted(table, tables.row_ids_of(rows), skip))
            if kept.num_rows:
                yield kept

    def live_rows_of(self, table: str, shard: Shard, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The live rows of one shard, as `scan` gives them."""
        return self._live(table, shard, columns)

    def _is_wanted(self, table: str, row_ids: NDArray[np.int64], skip: Coverage) -> NDArray[np.bool_]:
        """Which rows are live and outside `skip`."""
        wanted = ~tables.contains(self.dead_row_ids(table), row_ids)
        for low, high in skip:
            wanted &= (row_ids < low) | (row_ids >= high)
        return wanted

    def vector_blocks(self, table: str, *, skip: Coverage = ()) -> Iterator[VectorBlock]:
        """The vectors of live rows whose ids lie outside `skip`; row ids ascend within a block."""
        for shard in self._shards_outside(table, skip):
            yield from self._live_vectors(table, shard, skip)

    def _live_vectors(self, table: str, shard: Shard, skip: Coverage) -> Iterator[VectorBlock]:
        for row_ids, vectors in tables.scan_vectors(self.store, table, shard, self.schema(table)):
            keep = self._is_wanted(table, row_ids, skip)
            if keep.all():
                yield VectorBlock(row_ids, vectors)
            elif keep.any():
                yield VectorBlock(row_ids[keep], vectors[keep])

    def blocks_of(self, table: str, row_ids: NDArray[np.int64]) -> Iterator[VectorBlock]:
        """The vectors of these rows (ascending ids), in bounded pieces; only the row groups that hold them are read.

        An id that is in no shard is passed over.
        """
        for shard, wanted in self._in_shards(table, row_ids):
            for start in range(0, len(wanted), _ROWS_AT_ONCE):
                yield VectorBlock(*self._read_vectors(table, shard, wanted[start : start + _ROWS_AT_ONCE]))

    def _in_shards(self, table: str, row_ids: NDArray[np.int64]) -> Iterator[tuple[Shard, NDArray[np.int64]]]:
        """The shards that may hold some of these rows (ascending ids), each with those."""
        for shard in self.manifest.shards[table]:
            first, last = (
                np.searchsorted(row_ids, shard.min_row_id),
                np.searchsorted(row_ids, shard.max_row_id, "right"),
            )
            if first < last:
                yield shard, row_ids[first:last]

    def rows(self, table: str, row_ids: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """The rows with these ids in the order asked, dead or alive; only the row groups that hold them are read.

        Raises GalleryError where an id is in no shard.
        """
        wanted = ascending(row_ids)
        pieces = [
            self._read_rows(table, shard, shard_ids, columns) for shard, shard_ids in self._in_shards(table, wanted)
        ]
        rows = pa.concat_tables(pieces) if pieces else self._no_rows(table, columns)
        return tables.take_rows(rows, self._places(table, row_ids, wanted, tables.row_ids_of(rows)))

    def _places(
        self, table: str, row_ids: NDArray[np.int64], wanted: NDArray[np.int64], present: NDArray[np.int64]
    ) -> NDArray[np.intp]:
        """Where each of `row_ids` stands in `present`. wanted: the distinct of them, ascending."""
        if len(present) != len(wanted):
            missing_ids = np.setdiff1d(wanted, present)
            raise GalleryError(f"rows {missing_ids[:5].tolist()} of {table} are in no shard of {self.path}")
        places: NDArray[np.intp] = np.argsort(present)[np.searchsorted(wanted, row_ids)]
        return places

    def records(self, table: Table[_R], row_ids: NDArray[np.int64]) -> list[_R]:
        """These rows as records, in the order asked."""
        columns = table.columns
        return [table.row(**row) for row in self.rows(table.name, row_ids, columns).select(columns).to_pylist()]

    def all_records(self, table: Table[_R]) -> Iterator[tuple[int, _R]]:
        """Every live row as a record, with its id."""
        for shard in self.manifest.shards[table.name]:
            yield from self.records_in(table, shard)

    def records_in(self, table: Table[_R], shard: Shard) -> Iterator[tuple[int, _R]]:
        """Every live row of a shard as a record, with its id."""
        columns = table.columns
        for rows in self._live(table.name, shard, columns):
            records = rows.select(columns).to_pylist()
            yield from zip(tables.row_ids_of(rows).tolist(), (table.row(**row) for row in records), strict=True)

    def image_rows(self, row_ids: NDArray[np.int64]) -> list[ImageRow]:
        """These images, in the order asked."""
        return self.records(IMAGES, row_ids)

    def all_captions(self) -> Iterator[tuple[int, CaptionRow]]:
        """Every live caption with its row id, also those that a model has written."""
        return self.all_records(CAPTIONS)

    def people_captions(self) -> Iterator[tuple[int, CaptionRow]]:
        """Every live caption that people have written, with its row id: what a search may be measured by, and a model
        be taught."""
        return ((row_id, row) for row_id, row in self.all_records(CAPTIONS) if row.guessed_by is None)

    def guessed_captions(self) -> Coverage:
        """Ranges of row ids that hold all live captions which a model has written, and none that people have."""
        parts = [
            (tables.row_ids_of(rows), rows.column("guessed_by").is_valid().to_numpy(zero_copy_only=False))
            for rows in self.scan(CAPTIONS.name, ["guessed_by"])
        ]
        if not parts:
            return ()
        ids, guessed = (np.concatenate(each) for each in zip(*parts, strict=True))
        order = np.argsort(ids)
        ids, guessed = ids[order], guessed[order]
        starts = np.flatnonzero(np.diff(guessed.astype(np.int8), prepend=0) == 1)
        ends = np.flatnonzero(np.diff(guessed.astype(np.int8), append=0) == -1)
        return tuple((int(ids[start]), int(ids[end]) + 1) for start, end in zip(starts, ends, strict=True))

    def skipped_rows(self) -> Iterator[SkippedRow]:
        """Every input that is skipped at present."""
        return (row for _, row in self.all_records(SKIPPED))

    def files(self, table: str, root_id: int) -> FileRows:
        """The live rows of the files below a root."""
        import pyarrow.compute as pc

        columns = ["root_id", "path", "path_bytes", "bytes", "mtime_ns", "etag"]
        has_beside = "files_state" in self.schema(table).names
        columns += ["files_state", "files"] if has_beside else []
        pieces = [rows.filter(pc.equal(rows.column("root_id"), root_id)) for rows in self.scan(table, columns)]
        if not pieces:
            empty = np.empty(0, np.int64)
            return FileRows(empty, [], empty, empty, [], [], pa.chunked_array([], pa.list_(pa.string())))
        rows = pa.concat_tables(pieces)
        return FileRows(
            tables.row_ids_of(rows),
            _names(rows),
            rows.column("bytes").fill_null(-1).to_numpy(),
            rows.column("mtime_ns").fill_null(-1).to_numpy(),
            rows.column("etag").to_pylist(),
            rows.column("files_state").to_pylist() if has_beside else [None] * rows.num_rows,
            rows.column("files") if has_beside else pa.chunked_array([pa.nulls(rows.num_rows, pa.list_(pa.string()))]),
        )

    def rows_per_root(self, table: str) -> dict[int, int]:
        """Root id -> how many live rows are of files below it."""
        import pyarrow.compute as pc

        counts: Counter[int] = Counter()
        for rows in self.scan(table, ["root_id"]):
            for count in pc.value_counts(rows.column("root_id")).to_pylist():
                counts[count["values"]] += count["counts"]
        return counts

    def damaged_images(self) -> int:
        """How many live images are damaged."""
        import pyarrow.compute as pc

        return sum(pc.sum(rows.column("damaged")).as_py() or 0 for rows in self.scan(IMAGES.name, ["damaged"]))

    def images_without_source(self) -> int:
        """How many live images have a date of which nothing says where it comes from: those of earlier releases, which
        kept neither that nor camera, lens, title, keywords and rating."""
        import pyarrow.compute as pc

        return sum(
            pc.sum(pc.and_(pc.is_valid(rows.column("taken_at")), pc.is_null(rows.column("taken_from")))).as_py() or 0
            for rows in self.scan(IMAGES.name, ["taken_at", "taken_from"])
        )

    def image_names(self) -> Iterator[tuple[int, int, str]]:
        """(row id, root id, name) of every live image; the name is a file system string relative to its root."""
        for rows in self.scan(IMAGES.name, ["root_id", "path", "path_bytes"]):
            roots = rows.column("root_id").to_pylist()
            yield from zip(tables.row_ids_of(rows).tolist(), roots, _names(rows), strict=True)

    def hashes(self, table: str) -> Iterator[tuple[NDArray[np.int64], list[bytes]]]:
        """Row ids and content hashes of the live rows, piece by piece."""
        for rows in self.scan(table, ["content_hash"]):
            yield tables.row_ids_of(rows), rows.column("content_hash").to_pylist()

    def hash_content(self, data: bytes) -> bytes:
        """The content hash (16 bytes) of a file, by the hash of this gallery."""
        return content_hasher(self.manifest.content_hash)(data)

    def content_hashes(self, table: str) -> dict[bytes, int]:
        """Content hash -> row id, over the live rows."""
        row_ids_by_hash: dict[bytes, int] = {}
        for row_ids, hashes in self.hashes(table):
            row_ids_by_hash.update(zip(hashes, row_ids.tolist(), strict=True))
        return row_ids_by_hash

    def row_with_content(self, table: str, content_hash: bytes) -> int | None:
        """The id of a live row with this content, or None."""
        for rows in self.scan(table, ["content_hash"]):
            matches = tables.find_bytes(rows.column("content_hash"), content_hash)
            if matches.size:
                return int(tables.row_ids_of(rows)[matches[0]])
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
        """(row id, root id) of the live rows with this path, as valid text, below any root.

        Where there is none: of those whose path is the same in another form of Unicode, or is printed like this (a
        name that holds a line break is shown, and may be typed, as a\\nb)."""
        import pyarrow.compute as pc

        same: list[tuple[int, int]] = []
        alike: list[tuple[int, int]] = []
        wanted = composed(path)
        for rows in self.scan(table, ["root_id", "path"]):
            paths = rows.column("path")
            searches = [(pc.equal(paths, path), same)]
            if not path.isascii():
                searches.append((pc.equal(composed_column(paths), wanted), alike))
            if "\\" in path:
                searches.append((pc.equal(printable_column(paths), path), alike))
            for matches, results in searches:
                matching = rows.filter(matches)
                results += zip(
                    tables.row_ids_of(matching).tolist(), matching.column("root_id").to_pylist(), strict=True
                )
        return same or alike

    def rows_beside(self, path: str) -> list[tuple[int, int]]:
        """(row id, root id) of the live images that this file, as `rows_at` names it, stands beside."""
        import pyarrow.compute as pc

        rows_found: list[tuple[int, int]] = []
        wanted = composed(path)
        for rows in self.scan(IMAGES.name, ["root_id", "files"]):
            files = rows.column("files").combine_chunks()
            if files.null_count == len(files):
                continue
            places = pc.list_parent_indices(files)
            paths = composed_column(pa.chunked_array([pc.list_flatten(files)]))
            matching = rows.take(pc.unique(places.filter(pc.equal(paths, wanted).combine_chunks())))
            rows_found += zip(tables.row_ids_of(matching).tolist(), matching.column("root_id").to_pylist(), strict=True)
        return rows_found

    def images_at(self, paths: Sequence[str]) -> list[tuple[int, int, str, int | None, int | None]]:
        """(row id, root id, path, width, height) of the live images under these paths, below any root; in one pass."""
        import pyarrow.compute as pc

        wanted = pa.array(sorted(set(paths)), pa.string())
        images: list[tuple[int, int, str, int | None, int | None]] = []
        for rows in self.scan(IMAGES.name, ["root_id", "path", "width", "height"]):
            matching = rows.filter(pc.is_in(rows.column("path"), wanted))
            columns = (matching.column(name).to_pylist() for name in ("root_id", "path", "width", "height"))
            images += zip(tables.row_ids_of(matching).tolist(), *columns, strict=True)
        return images

    def captions_of(self, root_id: int, path: str) -> list[CaptionOf]:
        """The live captions of an image, those of people first."""
        import pyarrow.compute as pc

        captions: list[CaptionOf] = []
        for rows in self.scan(CAPTIONS.name, ["caption", "guessed_by", "root_id", "path"]):
            is_own = pc.and_(pc.equal(rows.column("root_id"), root_id), pc.equal(rows.column("path"), path))
            own = rows.filter(is_own)
            pairs = zip(own.column("caption").to_pylist(), own.column("guessed_by").to_pylist(), strict=True)
            captions += (CaptionOf(caption, guessed_by) for caption, guessed_by in pairs)
        return sorted(captions, key=lambda each: each.guessed_by is not None)

    def _scan_shard(self, table: str, shard: Shard, columns: Sequence[str]) -> Iterator[pa.Table]:
        """All rows of a shard, dead ones too, with `row_id`, in bounded pieces."""
        yield from tables.scan(self.store, table, shard, columns, self.schema(table))

    def _read_rows(self, table: str, shard: Shard, row_ids: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Those rows of a shard whose ids are among `row_ids` (ascending)."""
        return tables.read_rows(self.store, table, shard, row_ids, columns, self.schema(table))

    def _read_vectors(self, table: str, shard: Shard, row_ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], Vectors]:
        """Those of `row_ids` (ascending) that a shard holds, and their vectors."""
        return tables.read_vectors(self.store, table, shard, row_ids, self.schema(table))

    def _no_rows(self, table: str, columns: Sequence[str]) -> pa.Table:
        fields = [self.schema(table).field(name) for name in dict.fromkeys(["row_id", *columns])]
        return pa.Table.from_batches([], pa.schema(fields))

    def vectors(self, table: str, row_ids: NDArray[np.int64]) -> Vectors:
        """The stored vectors (n, dim) of these rows, in the order asked."""
        wanted = ascending(row_ids)
        found = [self._read_vectors(table, shard, some) for shard, some in self._in_shards(table, wanted)]
        nothing = tables.to_matrix(self._no_rows(table, ["embedding"]).column("embedding"))
        present = np.concatenate([np.empty(0, np.int64), *(ids for ids, _ in found)])
        places = self._places(table, row_ids, wanted, present)
        vectors: Vectors = np.concatenate([nothing, *(vectors for _, vectors in found)])[places]
        return vectors

    def root_path(self, root_id: int) -> Location | None:
        """The folder of a root, or None for a root that the gallery does not have."""
        roots = [root for root in self.manifest.roots if root.id == root_id]
        return root_path(self.path, roots[0]) if roots else None

    def index_for(self, table: str) -> IndexEntry | None:
        """The newest index of a table, or None."""
        entries = [entry for entry in self.manifest.indexes if entry.table == table]
        return entries[-1] if entries else None

    def index_names(self) -> set[str]:
        """The names of all indexes."""
        return {entry.name for entry in self.manifest.indexes}

    def index_folder(self, name: str) -> Path:
        """The folder of an index, on this machine."""
        return self.store.local_folder(f"index/{name}")

    def coverage(self, table: str) -> Coverage:
        """The ranges of row ids that an index of all rows of this version covers: no later row will be in them."""
        first, covers = 0, []
        for low, high in sorted(self.manifest.promised.get(table, ())):
            covers.append((first, low))
            first = high
        covers.append((first, self.manifest.next_row_ids[table]))
        return tuple(id_range for id_range in covers if id_range[0] < id_range[1])

    def scores_for(self, table: str) -> ScoresEntry | None:
        """What makes the scores of a table comparable, or None."""
        return next((entry for entry in self.manifest.scores if entry.table == table), None)

    def scores_folder(self, name: str) -> Path:
        """The folder of an entry of scores, on this machine."""
        return self.store.local_folder(f"scores/{name}")

    def holds(self, table: str, row_ids: NDArray[np.int64], vectors: Vectors) -> bool:
        """Whether rows have these vectors; rows that are in no shard of this version are left out.

        row_ids: (n,), ascending. vectors: (n, dim), as the gallery stores them.
        """
        for shard in self.manifest.shards[table]:
            shard_ids = row_ids[(row_ids >= shard.min_row_id) & (row_ids <= shard.max_row_id)]
            if shard_ids.size:
                held, stored = self._read_vectors(table, shard, shard_ids)
                if not np.array_equal(stored, vectors[np.searchsorted(row_ids, held)]):
                    return False
        return True

    def write_rows(self, table: str, target: Location) -> tuple[int, int]:
        """Write the live rows, ordered by row id, as one Parquet file. Returns their number and the file's bytes.

        Raises StoreError.
        """
        return tables.write_file(self._ordered(table), self.schema(table), target)

    def _ordered(self, table: str) -> Iterator[pa.Table]:
        # Shards are written in ascending order, but a shard merged from small ones may overlap with others.
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


def read_consistently(gallery: Gallery, work: Callable[[Gallery], _T]) -> _T:
    """Return `work(gallery)`. Where a compaction has removed a file of that version, try again with the newest one.

    Raises GalleryError where a file of the newest version is missing.
    """
    while True:
        try:
            return work(gallery)
        except FileNotFoundError as error:
            newest = gallery.newest()
            if newest is gallery:
                raise missing_file_error(error, gallery.path) from error
            gallery = newest


def missing_file_error(error: FileNotFoundError, folder: Location) -> GalleryError:
    """The error for a missing file that the newest version of the gallery in `folder` names."""
    return GalleryError(
        f"{error.filename or error} is missing from {folder}, which names it: the gallery is damaged. "
        "Restore it from a backup, or embed into a new one."
    )


def _names(rows: pa.Table) -> list[str]:
    """The real names, as file system strings."""
    pairs = zip(rows.column("path").to_pylist(), rows.column("path_bytes").to_pylist(), strict=True)
    return [real_name(path, path_bytes) for path, path_bytes in pairs]
