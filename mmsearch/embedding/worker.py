"""A worker of a cluster: reads, decodes and encodes a piece, checks parity, writes a shard, and reports the outcome."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch import encoders
from mmsearch.cluster import WorkerResources
from mmsearch.embedding.batch_sizes import BatchSize
from mmsearch.embedding.exact_encoding import encode_exactly
from mmsearch.embedding.file_work import process_files
from mmsearch.embedding.parity import ComparedImages, ParityCheck
from mmsearch.embedding.pieces import Piece
from mmsearch.embedding.records import EmbedOptions
from mmsearch.embedding.sink import LoadedTask, copy_row, make_row, select_samples, split_by_parity, stack_references
from mmsearch.embedding.stage_times import StageClock
from mmsearch.encoders import EncodedImages, Encoder
from mmsearch.errors import EncoderError, ImageError, StoreError
from mmsearch.gallery import write_rows
from mmsearch.identity import EncoderIdentity
from mmsearch.items import AnyKind, know
from mmsearch.loading import DecodeGroup, LoadedFile
from mmsearch.locations import Location
from mmsearch.version import __version__
from mmsearch.versions import Provenance, Shard

__all__ = ["Hashes", "PieceOutcome", "Worker", "WorkerInfo", "WorkerSettings", "sort_hashes"]

Hashes = NDArray[np.bytes_]
"""Content hashes, ascending, (n,) of 16 bytes each."""


def sort_hashes(known: Sequence[bytes]) -> Hashes:
    """Sort content hashes into an array, which processes of a machine can share without a copy."""
    return np.sort(np.array(known, dtype="S16"))


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker says of itself.

    Attributes:
        threads: how many load, and on a CPU encode.
        announcements: lines of its encoder for the user.
    """

    identity: EncoderIdentity
    provenance: Provenance
    version: str
    threads: int
    announcements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PieceOutcome:
    """The outcome of a piece.

    Attributes:
        shards: as written.
        task_indices: (n,), ascending, of the tasks whose rows are in `shards`.
        content_hashes: of these tasks.
        copies: how many of them took the vector of another file of the piece.
        known: (task index, loaded file) where the content is in the gallery already.
        skipped: (task index, loaded file) where the file could not be read.
        alike: task indices of frames that get no row, since they show nothing new.
        compared: pictures that were encoded by the exact way too.
        seconds: for the whole piece.
    """

    shards: tuple[Shard, ...]
    task_indices: NDArray[np.int64]
    content_hashes: tuple[bytes, ...]
    copies: int
    known: tuple[tuple[int, LoadedFile], ...]
    skipped: tuple[tuple[int, LoadedFile], ...]
    alike: tuple[int, ...]
    compared: ComparedImages
    clock: StageClock
    seconds: float


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What is needed to make a worker. kind: of the items that it embeds. route: see `Provenance`.
    hash_name: of the gallery, see `content_hasher`."""

    encoder: str | Encoder
    options: EmbedOptions
    kind: AnyKind
    route: str
    gallery: Location
    dtype: str
    hash_name: str

    def __call__(self, share: WorkerResources) -> "Worker":
        """Make a worker that uses `share` of its machine. Raises EncoderError, StoreError."""
        return Worker(self, share)


class Worker:
    """Does one piece after the other, with an encoder that is loaded once. Raises EncoderError, StoreError."""

    def __init__(self, recipe: WorkerSettings, share: WorkerResources) -> None:
        know(recipe.kind)  # which an extension may have registered in the process that asks
        self._recipe, self._threads = recipe, share.threads
        if isinstance(recipe.gallery, Path) and not (recipe.gallery / "lock").exists():
            raise StoreError(
                f"the gallery {recipe.gallery} is not there; it has to be on storage that every machine of the cluster "
                "has at the same path"
            )
        if recipe.options.device == "cuda" and not share.gpu:
            raise EncoderError("--device cuda: the cluster has no GPU to give; leave it out to work on processors")
        announcements: list[str] = []
        device, precision = "cuda" if share.gpu else "cpu", recipe.options.precision
        encoder = encoders.open(
            recipe.encoder, [recipe.kind.side], device=device, precision=precision, announce=announcements.append
        )
        self._encoder = encoder
        provenance = Provenance(encoder.device, encoder.precision, recipe.route)
        self.info = WorkerInfo(encoder.identity, provenance, __version__, self._threads, tuple(announcements))
        self._parity = ParityCheck()
        batch_size = recipe.options.batch_size
        self._sizes = (
            BatchSize(batch_size) if batch_size else BatchSize.for_device("cpu" if encoder.device == "cpu" else "gpu")
        )

    def __call__(self, piece: Piece, known: Hashes) -> PieceOutcome:
        """Do a piece. Doing it again gives the same outcome, except for the names of the shards.

        known: content whose vectors are not needed. Raises EncoderError, ParityError, StoreError; then nothing was
        written.
        """
        started = time.perf_counter()
        clock = StageClock(threads=self._threads)
        self._parity.expect(piece.run_files)
        buffer = _PieceBuffer(piece, known, self._encoder, self._parity, clock, self._recipe.hash_name)
        process_files(piece.tasks, buffer, lambda: self._encoder, self._recipe.options, clock, sizes=self._sizes)
        self._parity.measure(self._encoder)
        buffer.encode_disagreeing(self._recipe.options)
        writing = time.perf_counter()
        shards: tuple[Shard, ...] = ()
        recipe, fast = self._recipe, self.info.provenance
        for provenance, exact in ((fast, False), (replace(fast, precision="fp32", route="exact"), True)):
            task_indices, rows, vectors = buffer.rows_in_order(exact=exact)
            if rows:
                ids = task_indices + piece.first_row_id
                shards += write_rows(recipe.gallery, recipe.kind.name, ids, rows, vectors, recipe.dtype, provenance)
        task_indices, rows, _ = buffer.rows_in_order()
        clock.write, clock.compare = time.perf_counter() - writing, self._parity.take_seconds()
        return PieceOutcome(
            shards,
            task_indices,
            tuple(row.content_hash or b"" for row in rows),
            buffer.copies,
            tuple(buffer.known),
            tuple(buffer.unread),
            tuple(buffer.alike),
            self._parity.take_compared(),
            clock,
            time.perf_counter() - started,
        )


class _PieceBuffer:
    """Holds the results of a piece until they are written all at once. Implements `Sink`."""

    def __init__(
        self,
        piece: Piece,
        known: Hashes,
        encoder: Encoder,
        parity: ParityCheck,
        clock: StageClock,
        hash_name: str,
    ) -> None:
        self.encoder: Encoder | None = encoder
        self._encoder = encoder
        self.parity = parity
        self.hash_name = hash_name
        self.copies = 0
        self.known: list[tuple[int, LoadedFile]] = []
        self.unread: list[tuple[int, LoadedFile]] = []
        self.alike: list[int] = []
        self._piece, self._known, self._clock = piece, known, clock
        self._task_indices = {id(task): task_index for task_index, task in enumerate(piece.tasks)}
        self._rows: dict[int, tuple[Any, NDArray[np.float32]]] = {}
        self._own_hashes: dict[bytes, int] = {}
        self._groups: dict[int, DecodeGroup] = {}
        self._exact: set[int] = set()

    def knows(self, content_hash: bytes) -> bool:
        if content_hash in self._own_hashes:
            return True
        task_index = int(np.searchsorted(self._known, np.bytes_(content_hash)))
        # numpy drops trailing zero bytes.
        return task_index < len(self._known) and self._known[task_index].ljust(16, b"\0") == content_hash

    def add_encoded(self, entries: Sequence[LoadedTask], images: EncodedImages) -> None:
        self._clock.transfer += images.transfer_seconds
        self._clock.encode += images.encode_seconds
        self.parity.count_encoded(images)
        fast, exact = split_by_parity(entries, self.parity)
        chosen, vectors = [entries[task_index] for task_index in fast], images.vectors[fast]
        for sample in select_samples(chosen, vectors):
            self.parity.add(sample)
        self._add_rows(chosen, vectors)
        if exact:
            chosen = [entries[task_index] for task_index in exact]
            self._add_rows(chosen, self._encoder.image.encode_reference(stack_references(chosen)))
            for entry in chosen:
                self._count_exact(self._task_indices[id(entry.task)])

    def _add_rows(self, entries: Sequence[LoadedTask], vectors: NDArray[np.float32]) -> None:
        for entry, vector in zip(entries, vectors, strict=True):
            task_index = self._task_indices[id(entry.task)]
            self._rows[task_index] = make_row(entry), vector
            self._own_hashes[entry.loaded.content_hash] = task_index
            if entry.loaded.group is not None:
                self._groups[task_index] = entry.loaded.group

    def _count_exact(self, task_index: int) -> None:
        self._exact.add(task_index)
        self.parity.count_exact(self._groups[task_index], self._piece.tasks[task_index].file.location)

    def encode_disagreeing(self, options: EmbedOptions) -> None:
        """Encode again, by the exact way, all pictures whose groups do not agree."""
        chosen = [
            task_index
            for task_index, group in self._groups.items()
            if task_index not in self._exact and not self.parity.agrees(group)
        ]
        files = [
            (self._piece.tasks[task_index], self._rows[task_index][0].content_hash or b"") for task_index in chosen
        ]
        vectors = encode_exactly(files, self._encoder, options, self._clock.threads, self.hash_name) if files else ()
        for task_index, vector in zip(chosen, vectors, strict=True):
            row, _ = self._rows[task_index]
            if vector is None:
                del self._rows[task_index]
                error = ImageError("read", "changed while it was read")
                self.unread.append(
                    (task_index, LoadedFile(self._piece.tasks[task_index].file.without_bytes(), error=error))
                )
            else:
                self._rows[task_index] = row, vector
                self._count_exact(task_index)

    def add_reused(self, entries: Sequence[LoadedTask]) -> None:
        for entry in entries:
            task_index, original = self._task_indices[id(entry.task)], self._own_hashes.get(entry.loaded.content_hash)
            if original is None:
                self.known.append((task_index, entry.loaded))
                continue
            row, vector = self._rows[original]
            self._rows[task_index] = copy_row(entry, row, same=False), vector
            if original in self._groups:
                self._groups[task_index] = self._groups[original]
            if original in self._exact:
                self._exact.add(task_index)
            self.copies += 1

    def add_skipped(self, entries: Sequence[LoadedTask]) -> None:
        for task, loaded in ((entry.task, entry.loaded) for entry in entries):
            self.unread.append((self._task_indices[id(task)], replace(loaded, file=loaded.file.without_bytes())))

    def add_alike(self, entries: Sequence[LoadedTask]) -> None:
        self.alike += [self._task_indices[id(entry.task)] for entry in entries]

    def vectors_of(self, entries: Sequence[LoadedTask]) -> list[NDArray[np.float32] | None]:
        own = (self._own_hashes.get(entry.loaded.content_hash) for entry in entries)
        return [None if task_index is None else self._rows[task_index][1] for task_index in own]

    def abandon(self) -> None:
        """Do nothing: nothing was written yet."""

    def rows_in_order(self, *, exact: bool | None = None) -> tuple[NDArray[np.int64], list[Any], NDArray[np.float32]]:
        """Task indices (n,), ascending, rows, and vectors (n, dim) of all pictures.

        exact: True for those encoded by the exact way only, False for the others only.
        """
        task_indices = sorted(
            task_index for task_index in self._rows if exact is None or (task_index in self._exact) == exact
        )
        vectors = [self._rows[task_index][1] for task_index in task_indices]
        rows = [self._rows[task_index][0] for task_index in task_indices]
        return np.array(task_indices, np.int64), rows, np.stack(vectors) if vectors else np.empty((0, 0), np.float32)
