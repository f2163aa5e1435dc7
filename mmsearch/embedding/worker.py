"""What a worker does with a piece: read, decode, encode, hold it against the exact route, write a shard, report."""

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
from mmsearch.embedding.file_work import process_files
from mmsearch.embedding.parity import Compared, ParityCheck
from mmsearch.embedding.pieces import Piece
from mmsearch.embedding.records import EmbedOptions
from mmsearch.embedding.redoing import vectors_exactly
from mmsearch.embedding.sink import LoadedTask, copy_of, parted, references_of, row_of, samples_of
from mmsearch.embedding.stage_times import StageClock
from mmsearch.encoders import EncodedImages, Encoder
from mmsearch.errors import EncoderError, ImageError, StoreError
from mmsearch.gallery import write_rows
from mmsearch.identity import EncoderIdentity
from mmsearch.items import AnyKind, know
from mmsearch.loader import Kind, Loaded
from mmsearch.locations import Location
from mmsearch.version import __version__
from mmsearch.versions import Provenance, Shard

__all__ = ["Hashes", "PieceOutcome", "Worker", "WorkerInfo", "WorkerSettings", "hashes"]

Hashes = NDArray[np.bytes_]
"""Content hashes, ascending, (n,) of 16 bytes each."""


def hashes(known: Sequence[bytes]) -> Hashes:
    """Content hashes in a form that is shared between processes without a copy."""
    return np.sort(np.array(known, dtype="S16"))


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Who a worker is. threads: that load, and on a CPU encode. said: what its encoder had to announce."""

    identity: EncoderIdentity
    provenance: Provenance
    version: str
    threads: int
    announcements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PieceOutcome:
    """What became of a piece. places: of the files (n,) that stand in `shards`, ascending; content: their hashes.

    copies: how many of them took the vector of another file of the piece. known: (place, what was read) of those whose
    content stands in the gallery already. skipped: likewise, of those that could not be read. compared: pictures that
    went the exact way too. seconds: that the whole took.
    """

    shards: tuple[Shard, ...]
    places: NDArray[np.int64]
    content: tuple[bytes, ...]
    copies: int
    known: tuple[tuple[int, Loaded], ...]
    skipped: tuple[tuple[int, Loaded], ...]
    compared: Compared
    clock: StageClock
    seconds: float


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """All that a worker is made of. kind: of the items that it makes. route: see `Provenance`."""

    encoder: str | Encoder
    options: EmbedOptions
    kind: AnyKind
    route: str
    gallery: Location
    dtype: str

    def __call__(self, share: WorkerResources) -> "Worker":
        """Make a worker that has so much of its machine. Raises EncoderError, StoreError."""
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
        said: list[str] = []
        device, precision = "cuda" if share.gpu else "cpu", recipe.options.precision
        encoder = encoders.open(
            recipe.encoder, [recipe.kind.side], device=device, precision=precision, announce=said.append
        )
        self._encoder = encoder
        provenance = Provenance(encoder.device, encoder.precision, recipe.route)
        self.info = WorkerInfo(encoder.identity, provenance, __version__, self._threads, tuple(said))
        self._parity = ParityCheck()
        given = recipe.options.batch_size
        self._sizes = BatchSize(given) if given else BatchSize.on("cpu" if encoder.device == "cpu" else "gpu")

    def __call__(self, piece: Piece, known: Hashes) -> PieceOutcome:
        """Do a piece; what it comes to is the same however often it is done, but for the name of the shard.

        known: content whose vectors are not needed. Raises EncoderError, ParityError, StoreError; then nothing was
        written.
        """
        started = time.perf_counter()
        clock = StageClock(threads=self._threads)
        buffer = _PieceBuffer(piece, known, self._encoder, self._parity, clock)
        process_files(piece.tasks, buffer, lambda: self._encoder, self._recipe.options, clock, sizes=self._sizes)
        self._parity.measure(self._encoder)
        buffer.redo(self._recipe.options)
        writing = time.perf_counter()
        shards: tuple[Shard, ...] = ()
        recipe, fast = self._recipe, self.info.provenance
        for provenance, exact in ((fast, False), (replace(fast, precision="fp32", route="exact"), True)):
            places, rows, vectors = buffer.in_order(exact=exact)
            if rows:
                ids = places + piece.first_row_id
                shards += write_rows(recipe.gallery, recipe.kind.name, ids, rows, vectors, recipe.dtype, provenance)
        places, rows, _ = buffer.in_order()
        clock.write = time.perf_counter() - writing
        return PieceOutcome(
            shards,
            places,
            tuple(row.content_hash or b"" for row in rows),
            buffer.copies,
            tuple(buffer.known),
            tuple(buffer.unread),
            self._parity.compared(),
            clock,
            time.perf_counter() - started,
        )


class _PieceBuffer:
    """Holds what becomes of a piece's files until all of it is written at once. Implements `Sink`."""

    def __init__(self, piece: Piece, known: Hashes, encoder: Encoder, parity: ParityCheck, clock: StageClock) -> None:
        self.encoder: Encoder | None = encoder
        self._encoder = encoder
        self.parity = parity
        self.copies = 0
        self.known: list[tuple[int, Loaded]] = []
        self.unread: list[tuple[int, Loaded]] = []
        self._piece, self._known, self._clock = piece, known, clock
        self._places = {id(task): place for place, task in enumerate(piece.tasks)}
        self._rows: dict[int, tuple[Any, NDArray[np.float32]]] = {}
        self._own: dict[bytes, int] = {}
        self._kinds: dict[int, Kind] = {}
        self._exact: set[int] = set()

    def knows(self, content_hash: bytes) -> bool:
        if content_hash in self._own:
            return True
        place = int(np.searchsorted(self._known, np.bytes_(content_hash)))
        # What numpy gives back lacks the zeros at its end.
        return place < len(self._known) and self._known[place].ljust(16, b"\0") == content_hash

    def encoded(self, entries: Sequence[LoadedTask], images: EncodedImages) -> None:
        self._clock.transfer += images.transfer_seconds
        self._clock.encode += images.encode_seconds
        fast, exact = parted(entries, self.parity)
        mine, vectors = [entries[place] for place in fast], images.vectors[fast]
        for sample in samples_of(mine, vectors):
            self.parity.add(sample)
        self._take(mine, vectors)
        if exact:
            mine = [entries[place] for place in exact]
            self._take(mine, self._encoder.image.encode_reference(references_of(mine)))
            for entry in mine:
                self._went_exactly(self._places[id(entry.task)])

    def _take(self, entries: Sequence[LoadedTask], vectors: NDArray[np.float32]) -> None:
        for entry, vector in zip(entries, vectors, strict=True):
            place = self._places[id(entry.task)]
            self._rows[place] = row_of(entry), vector
            self._own[entry.picture.content_hash] = place
            if entry.picture.kind is not None:
                self._kinds[place] = entry.picture.kind

    def _went_exactly(self, place: int) -> None:
        self._exact.add(place)
        self.parity.went_exactly(self._kinds[place], self._piece.tasks[place].file.location)

    def redo(self, options: EmbedOptions) -> None:
        """Make the vectors anew, by the exact way, of all pictures whose kinds do not agree."""
        chosen = [
            place for place, kind in self._kinds.items() if place not in self._exact and not self.parity.agrees(kind)
        ]
        files = [(self._piece.tasks[place], self._rows[place][0].content_hash or b"") for place in chosen]
        found = vectors_exactly(files, self._encoder, options, self._clock.threads) if files else ()
        for place, vector in zip(chosen, found, strict=True):
            row, _ = self._rows[place]
            if vector is None:
                del self._rows[place]
                error = ImageError("read", "changed while it was read")
                self.unread.append((place, Loaded(self._piece.tasks[place].file.without_bytes(), error=error)))
            else:
                self._rows[place] = row, vector
                self._went_exactly(place)

    def reused(self, entries: Sequence[LoadedTask]) -> None:
        for entry in entries:
            place, original = self._places[id(entry.task)], self._own.get(entry.picture.content_hash)
            if original is None:
                self.known.append((place, entry.picture))
                continue
            row, vector = self._rows[original]
            self._rows[place] = copy_of(entry, row), vector
            if original in self._kinds:
                self._kinds[place] = self._kinds[original]
            if original in self._exact:
                self._exact.add(place)
            self.copies += 1

    def skipped(self, entries: Sequence[LoadedTask]) -> None:
        for task, picture in ((entry.task, entry.picture) for entry in entries):
            self.unread.append((self._places[id(task)], replace(picture, file=picture.file.without_bytes())))

    def abandon(self) -> None:
        """Nothing of it was written yet."""

    def in_order(self, *, exact: bool | None = None) -> tuple[NDArray[np.int64], list[Any], NDArray[np.float32]]:
        """Places (n,) ascending, rows, and vectors (n, dim) of all that became pictures.

        exact: of those alone that went the exact way, or did not.
        """
        places = sorted(place for place in self._rows if exact is None or (place in self._exact) == exact)
        vectors = [self._rows[place][1] for place in places]
        rows = [self._rows[place][0] for place in places]
        return np.array(places, np.int64), rows, np.stack(vectors) if vectors else np.empty((0, 0), np.float32)
