"""A gallery that keeps its shards in memory, up to a bound: for processes that answer many queries.

Shards never change, so a shard in memory serves every later version that still names it.
"""

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsearch.exact import VectorBlock, Vectors
from mmsearch.gallery import tables
from mmsearch.gallery.gallery_reader import Gallery
from mmsearch.stores import Store
from mmsearch.versions import Coverage, Manifest, Shard

__all__ = ["InMemoryGallery", "ShardCache"]

_PIECE_ROWS = 16_384  # rows that a scan yields at a time, as many as a scan of files

_CacheKey = tuple[str, str, bool]
"""A table, the name of a shard, and whether its vectors or its other columns are meant."""


class ShardCache:
    """Shards of a gallery in memory. Thread-safe.

    The shards read first stay until no version names them: otherwise a scan that is larger than the cache would always
    evict the shards that it needs next.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held: dict[_CacheKey, pa.Table] = {}
        self._no_room: set[_CacheKey] = set()
        self._bytes = 0
        self._locks: dict[_CacheKey, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def bytes_in_memory(self) -> int:
        """Bytes of the shards in memory."""
        return self._bytes

    def read_part(self, gallery: Gallery, table: str, shard: Shard, *, vectors: bool) -> pa.Table | None:
        """The vectors of a shard, or its other columns, each with `row_id`; None where there is no room for them."""
        key = (table, shard.name, vectors)
        with self._lock:
            if (held := self._held.get(key)) is not None:
                return held
            if key in self._no_room or not self._has_room(gallery, shard, vectors=vectors):
                return None
            reading = self._locks.setdefault(key, threading.Lock())
        with reading:
            if (held := self._held.get(key)) is not None:  # another thread has read it meanwhile
                return held
            names = [name for name in gallery.schema(table).names if (name == "embedding") == vectors]
            pieces = tables.scan(gallery.store, table, shard, names, gallery.schema(table))
            rows = pa.concat_tables(pieces).combine_chunks()
            with self._lock:
                self._locks.pop(key, None)
                if self._bytes + rows.nbytes > self._most:  # more than `_has_room` has estimated
                    self._no_room.add(key)
                    return None
                self._held[key] = rows
                self._bytes += rows.nbytes
            return rows

    def keep_only(self, manifest: Manifest) -> None:
        """Drop the shards that a version does not name."""
        named = {(table, shard.name) for table, shards in manifest.shards.items() for shard in shards}
        with self._lock:
            for key in [key for key in self._held if key[:2] not in named]:
                self._bytes -= self._held.pop(key).nbytes
            self._no_room.clear()

    def _has_room(self, gallery: Gallery, shard: Shard, *, vectors: bool) -> bool:
        value = np.dtype(gallery.manifest.dtype).itemsize
        size = shard.rows * (8 + gallery.manifest.encoder.dim * value)
        # The memory of the other columns is known once they are read; their bytes in the file are an estimate.
        return self._bytes + (size if vectors else max(0, shard.file_bytes - size)) <= self._most


class InMemoryGallery(Gallery):
    """A version of a gallery that reads each shard once and keeps it in memory."""

    def __init__(self, store: Store, manifest: Manifest, cache: ShardCache) -> None:
        super().__init__(store, manifest)
        self._cache = cache
        self._live_rows: dict[tuple[str, str, Coverage], NDArray[np.bool_] | None] = {}

    @classmethod
    def wrap(cls, gallery: Gallery, most_bytes: int) -> "InMemoryGallery":
        """The same version, with at most `most_bytes` of its shards in memory."""
        return cls(gallery.store, gallery.manifest, ShardCache(most_bytes))

    @property
    def bytes_in_memory(self) -> int:
        """Bytes of the shards in memory."""
        return self._cache.bytes_in_memory

    def newest(self) -> "InMemoryGallery":
        newest = super().newest()
        if newest is self:
            return self
        self._cache.keep_only(newest.manifest)
        return InMemoryGallery(newest.store, newest.manifest, self._cache)

    def vector_blocks(self, table: str, *, skip: Coverage = ()) -> Iterator[VectorBlock]:
        for shard in self._shards_outside(table, skip):
            held = self._cache.read_part(self, table, shard, vectors=True)
            if held is None:
                yield from self._live_vectors(table, shard, skip)
            else:
                row_ids = tables.row_ids_of(held)
                live = self._live_mask(table, shard, row_ids, skip)
                yield VectorBlock(row_ids, tables.to_matrix(held.column("embedding")), live)

    def _live_mask(
        self, table: str, shard: Shard, row_ids: NDArray[np.int64], skip: Coverage
    ) -> NDArray[np.bool_] | None:
        """Which rows of a shard are live and outside `skip`; None where all are."""
        key = (table, shard.name, skip)
        if key not in self._live_rows:
            live = self._is_wanted(table, row_ids, skip)
            self._live_rows[key] = None if live.all() else live
        return self._live_rows[key]

    def _scan_shard(self, table: str, shard: Shard, columns: Sequence[str]) -> Iterator[pa.Table]:
        held = self._read_held(table, shard, columns)
        if held is None:
            yield from super()._scan_shard(table, shard, columns)
        else:
            for start in range(0, held.num_rows, _PIECE_ROWS):
                yield held.slice(start, _PIECE_ROWS)

    def _read_rows(self, table: str, shard: Shard, row_ids: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        held = self._read_held(table, shard, columns)
        if held is None:
            return super()._read_rows(table, shard, row_ids, columns)
        present = tables.row_ids_of(held)
        indices = np.searchsorted(present, row_ids)
        indices = indices[(indices < len(present)) & (present[np.minimum(indices, len(present) - 1)] == row_ids)]
        return tables.take_rows(held, indices)

    def _read_vectors(self, table: str, shard: Shard, row_ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], Vectors]:
        if self._read_held(table, shard, ["embedding"]) is None:
            return super()._read_vectors(table, shard, row_ids)
        rows = self._read_rows(table, shard, row_ids, ["embedding"])
        return tables.row_ids_of(rows), tables.to_matrix(rows.column("embedding"))

    def _read_held(self, table: str, shard: Shard, columns: Sequence[str]) -> pa.Table | None:
        """These columns of a shard, with `row_id`; None where they are not all in memory."""
        wanted = list(dict.fromkeys(["row_id", *columns]))
        others = [name for name in wanted if name not in ("row_id", "embedding")]
        rows = vectors = None
        if "embedding" in wanted and (vectors := self._cache.read_part(self, table, shard, vectors=True)) is None:
            return None
        if others or vectors is None:
            rows = self._cache.read_part(self, table, shard, vectors=False)
            if rows is None:
                return None
        if rows is None or vectors is None:
            held = vectors if rows is None else rows
            return held.select(wanted) if held is not None else None
        return rows.append_column(self.schema(table).field("embedding"), vectors.column("embedding")).select(wanted)
