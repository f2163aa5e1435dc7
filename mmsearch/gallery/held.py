"""A gallery whose shards are held in memory, as far as a bound allows: for those who ask many questions.

Shards never change, so that what is held serves every later version that still names it.
"""

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsearch.exact import VectorBlock
from mmsearch.gallery import tables
from mmsearch.gallery.reading import Gallery
from mmsearch.stores import Store
from mmsearch.versions import Coverage, Manifest, Shard

__all__ = ["HeldGallery", "Holding"]

_PIECE_ROWS = 16_384  # of a scan: as bounded as one of files

_Part = tuple[str, str, bool]
"""A table, a shard, and whether it is its vectors or all else."""


class Holding:
    """What is held of the shards of a gallery. For any number of threads.

    What is read first stays, until no version has use for it: a scan of more than there is room for would otherwise
    drive out just what it needs next.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._parts: dict[_Part, pa.Table] = {}
        self._no_room: set[_Part] = set()
        self._bytes = 0
        self._locks: dict[_Part, threading.Lock] = {}
        self._keeping = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """How much is held."""
        return self._bytes

    def part(self, gallery: Gallery, table: str, shard: Shard, *, vectors: bool) -> pa.Table | None:
        """The vectors of a shard, or all else, each with `row_id`; None where there is no room."""
        key = (table, shard.name, vectors)
        with self._keeping:
            if (found := self._parts.get(key)) is not None:
                return found
            if key in self._no_room or not self._room(gallery, shard, vectors=vectors):
                return None
            reading = self._locks.setdefault(key, threading.Lock())
        with reading:
            if (found := self._parts.get(key)) is not None:  # somebody else read it meanwhile
                return found
            names = [name for name in gallery.schema(table).names if (name == "embedding") == vectors]
            pieces = tables.scan(gallery.store, table, shard, names, gallery.schema(table))
            rows = pa.concat_tables(pieces).combine_chunks()
            with self._keeping:
                self._locks.pop(key, None)
                if self._bytes + rows.nbytes > self._most:  # more than the file let one expect
                    self._no_room.add(key)
                    return None
                self._parts[key] = rows
                self._bytes += rows.nbytes
            return rows

    def keep_only(self, manifest: Manifest) -> None:
        """Let go of what a version does not name."""
        named = {(table, shard.name) for table, shards in manifest.shards.items() for shard in shards}
        with self._keeping:
            for key in [key for key in self._parts if key[:2] not in named]:
                self._bytes -= self._parts.pop(key).nbytes
            self._no_room.clear()

    def _room(self, gallery: Gallery, shard: Shard, *, vectors: bool) -> bool:
        value = np.dtype(gallery.manifest.dtype).itemsize
        size = shard.rows * (8 + gallery.manifest.encoder.dim * value)
        # What all else takes is known when it is read; the file says about how much.
        return self._bytes + (size if vectors else max(0, shard.file_bytes - size)) <= self._most


class HeldGallery(Gallery):
    """A version of a gallery that reads each shard once."""

    def __init__(self, store: Store, manifest: Manifest, holding: Holding) -> None:
        super().__init__(store, manifest)
        self._holding = holding
        self._live_rows: dict[tuple[str, str, Coverage], NDArray[np.bool_] | None] = {}

    @classmethod
    def holding(cls, gallery: Gallery, most_bytes: int) -> "HeldGallery":
        """This version, of which at most so many bytes are held."""
        return cls(gallery.store, gallery.manifest, Holding(most_bytes))

    @property
    def held_bytes(self) -> int:
        """How much of it is held."""
        return self._holding.held_bytes

    def newest(self) -> "HeldGallery":
        newest = super().newest()
        if newest is self:
            return self
        self._holding.keep_only(newest.manifest)
        return HeldGallery(newest.store, newest.manifest, self._holding)

    def vector_blocks(self, table: str, *, skip: Coverage = ()) -> Iterator[VectorBlock]:
        for shard in self.manifest.shards[table]:
            if any(low <= shard.min_row_id and shard.max_row_id < high for low, high in skip):
                continue
            held = self._holding.part(self, table, shard, vectors=True)
            if held is None:
                for rows in self._live(table, shard, ["embedding"], skip):
                    yield VectorBlock(tables.row_ids_of(rows), tables.matrix(rows.column("embedding")))
            else:
                row_ids = tables.row_ids_of(held)
                live = self._live_mask(table, shard, row_ids, skip)
                yield VectorBlock(row_ids, tables.matrix(held.column("embedding")), live)

    def _live_mask(
        self, table: str, shard: Shard, row_ids: NDArray[np.int64], skip: Coverage
    ) -> NDArray[np.bool_] | None:
        """Which rows of a shard are live and outside `skip`; None where all are."""
        key = (table, shard.name, skip)
        if key not in self._live_rows:
            live = ~tables.contains(self.dead_row_ids(table), row_ids)
            for low, high in skip:
                live &= (row_ids < low) | (row_ids >= high)
            self._live_rows[key] = None if live.all() else live
        return self._live_rows[key]

    def _scan_shard(self, table: str, shard: Shard, columns: Sequence[str]) -> Iterator[pa.Table]:
        held = self._held(table, shard, columns)
        if held is None:
            yield from super()._scan_shard(table, shard, columns)
        else:
            for start in range(0, held.num_rows, _PIECE_ROWS):
                yield held.slice(start, _PIECE_ROWS)

    def _read_rows(self, table: str, shard: Shard, row_ids: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        held = self._held(table, shard, columns)
        if held is None:
            return super()._read_rows(table, shard, row_ids, columns)
        present = tables.row_ids_of(held)
        places = np.searchsorted(present, row_ids)
        places = places[(places < len(present)) & (present[np.minimum(places, len(present) - 1)] == row_ids)]
        return tables.picked(held, places)

    def _held(self, table: str, shard: Shard, columns: Sequence[str]) -> pa.Table | None:
        """These columns of a shard, with `row_id`; None where they are not all held."""
        wanted = list(dict.fromkeys(["row_id", *columns]))
        others = [name for name in wanted if name not in ("row_id", "embedding")]
        rows = vectors = None
        if "embedding" in wanted and (vectors := self._holding.part(self, table, shard, vectors=True)) is None:
            return None
        if others or vectors is None:
            rows = self._holding.part(self, table, shard, vectors=False)
            if rows is None:
                return None
        if rows is None or vectors is None:
            held = vectors if rows is None else rows
            return held.select(wanted) if held is not None else None
        return rows.append_column(self.schema(table).field("embedding"), vectors.column("embedding")).select(wanted)
