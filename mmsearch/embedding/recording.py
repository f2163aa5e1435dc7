"""What a run writes, in the order of its files: rows, skipped rows, and what they take the place of."""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.embedding.parity import ParityCheck
from mmsearch.embedding.records import EmbedOptions
from mmsearch.embedding.redoing import vectors_exactly
from mmsearch.embedding.sink import LoadedTask, copy_of, kind_of, parted, references_of, row_of, samples_of
from mmsearch.embedding.worker import PieceOutcome
from mmsearch.encoders import EncodedImages, Encoder
from mmsearch.errors import ImageError
from mmsearch.gallery import GalleryWriter
from mmsearch.items import SKIPPED, AnyKind, SkippedRow
from mmsearch.loader import Kind
from mmsearch.sync import Task
from mmsearch.versions import Provenance

__all__ = ["RowRecorder"]

_CHANGED = "changed while it was read"


@dataclass(slots=True)
class RowRecorder:
    """Rows of one kind on their way into the writer. Used by one thread at a time.

    checks: what workers elsewhere have compared, by how they encode.
    known: content hash -> row id of every vector that can be reused. written: hashes of this run's rows.
    broken: files whose picture the gallery holds and that no longer decode; they leave it at the end, if allowed.
    uncommitted: (row id, task, content hash, kind) of what went the fast way since the last commit.
    withdrawn: how many files changed before their vectors could be made anew; the next run takes them.
    unknown: (file, reason) of files that could not be read at all; their pictures stay, as do those of a folder that
    cannot be listed.
    """

    writer: GalleryWriter
    kind: AnyKind
    route: str
    parity: ParityCheck
    options: EmbedOptions = field(default_factory=EmbedOptions)
    checks: dict[Provenance, ParityCheck] = field(default_factory=dict)
    encoder: Encoder | None = None
    known: dict[bytes, int] = field(default_factory=dict)
    written: set[bytes] = field(default_factory=set)
    added: int = 0
    updated: int = 0
    copied: int = 0
    transfer_seconds: float = 0.0
    encode_seconds: float = 0.0
    write_seconds: float = 0.0
    broken: list[tuple[Task, SkippedRow]] = field(default_factory=list)
    unknown: list[tuple[str, str]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    uncommitted: list[tuple[int, Task, bytes, Kind]] = field(default_factory=list)
    withdrawn: int = 0
    _kinds: dict[bytes, Kind] = field(default_factory=dict)

    def knows(self, content_hash: bytes) -> bool:
        """Whether some row has this content."""
        return content_hash in self.known

    def abandon(self) -> None:
        """Commit no more of it."""
        self.writer.abandon()

    def encoded(self, entries: Sequence[LoadedTask], images: EncodedImages) -> None:
        """Write rows with new vectors (n, dim)."""
        self.transfer_seconds += images.transfer_seconds
        self.encode_seconds += images.encode_seconds
        fast, exact = parted(entries, self.parity)
        if fast:
            vectors = images.vectors[fast]
            mine = [entries[place] for place in fast]
            for sample in samples_of(mine, vectors):
                self.parity.add(sample)
            self._write(mine, [row_of(entry) for entry in mine], vectors, self._own_provenance())
        if exact and self.encoder is not None:
            mine = [entries[place] for place in exact]
            vectors = self.encoder.image.encode_reference(references_of(mine))
            for entry in mine:
                self.parity.went_exactly(kind_of(entry), entry.task.file.location)
            mine = [entry.exactly() for entry in mine]
            self._write(mine, [row_of(entry) for entry in mine], vectors, self._exact_provenance())
        if self.parity.full:
            self.settle()
        self._commit_if_due()

    def adopted(self, tasks: Sequence[Task], first_row_id: int, outcome: PieceOutcome) -> None:
        """Take in what a worker made of some files, whose rows it has written with ids from `first_row_id` on."""
        started = time.perf_counter()
        mine = [tasks[place] for place in outcome.places.tolist()]
        if outcome.shards:
            self.writer.adopt(self.kind.name, outcome.shards, replaces=self._replaced(mine))
        self.writer.release(self.kind.name, first_row_id, len(tasks))
        for task, content_hash, place in zip(mine, outcome.content, outcome.places.tolist(), strict=True):
            self.known.setdefault(content_hash, first_row_id + place)
            self._count(task, content_hash)
        self.copied += outcome.copies
        self.write_seconds += time.perf_counter() - started
        if outcome.known:
            self.reused([LoadedTask(tasks[place], picture) for place, picture in outcome.known])
        self.skipped([LoadedTask(tasks[place], picture) for place, picture in outcome.skipped])

    def reused(self, entries: Sequence[LoadedTask]) -> None:
        """Write rows whose content is known, with the vectors that it has."""
        ids = np.array([self.known[entry.picture.content_hash] for entry in entries])
        old, vectors = self.writer.stored(self.kind, ids)
        rows = [copy_of(entry, row) for entry, row in zip(entries, old, strict=True)]
        self._write(entries, rows, vectors, self._copied_provenance())
        self.copied += len(entries)
        self._commit_if_due()

    def skipped(self, entries: Sequence[LoadedTask]) -> None:
        """Write skipped rows, but of files that the gallery holds a picture of."""
        rows, replaced = [], []
        for task, picture in ((entry.task, entry.picture) for entry in entries):
            error = picture.error or ImageError("read", "unknown")
            if error.stage == "read" and task.replaces is not None:
                self.unknown.append((task.file.location, error.reason))
                continue
            self.reasons[error.reason] += 1
            file = task.file
            state: tuple[int | None, int | None, str | None] = picture.file.size, picture.file.mtime_ns, file.etag
            if error.stage == "read":
                # A failing disk or a lost mount says nothing of the file: without its state every run tries it again.
                state = None, None, None
            row = SkippedRow(task.root_id, file.path, file.path_bytes, *state, error.stage, error.reason)
            if task.replaces is not None:
                self.broken.append((task, row))
                continue
            rows.append(row)
            if task.replaces_skipped is not None:
                replaced.append(task.replaces_skipped)
        if rows:
            self.writer.append(SKIPPED.name, rows, replaces={SKIPPED.name: replaced})
        self._commit_if_due()

    def delete_broken(self) -> None:
        """Put skipped rows in the place of pictures that no longer decode."""
        if self.broken:
            replaces = self._replaced([task for task, _ in self.broken])
            self.writer.append(SKIPPED.name, [row for _, row in self.broken], replaces=replaces)

    @contextlib.contextmanager
    def settling(self) -> Iterator[None]:
        """Settle what the block writes, also where it is cut off; commit no more where that fails."""
        try:
            yield
            self.settle()
        except BaseException:
            # Ctrl-C, a failing device: what is encoded is kept, if it agrees.
            try:
                self.settle()
            except BaseException:  # Ctrl-C again, or it does not agree
                self.abandon()
                raise
            raise

    def settle(self) -> None:
        """Hold what has been written since the last time against the exact route, by which what does not agree is made
        anew. Raises ParityError."""
        if self.encoder is not None:
            self.parity.measure(self.encoder)
            self._redo(self.encoder)
            if (parity := self.parity.verdict(self.encoder.device, self.encoder.precision)) is not None:
                self.writer.set_parity(parity)
        for way, check in self.checks.items():
            if (parity := check.verdict(way.device, way.precision)) is not None:
                self.writer.set_parity(parity)

    def _redo(self, encoder: Encoder) -> None:
        """Make the vectors anew of what went the fast way, is not committed, and is of a kind that does not agree."""
        chosen = [each for each in self.uncommitted if not self.parity.agrees(each[3])]
        if not chosen:
            return
        self.uncommitted = [each for each in self.uncommitted if self.parity.agrees(each[3])]
        found: dict[int, NDArray[np.float32]] = {}
        files = [(task, content_hash) for _, task, content_hash, _ in chosen]
        threads = self.options.threads or os.cpu_count() or 1
        for (row_id, task, content_hash, kind), vector in zip(
            chosen, vectors_exactly(files, encoder, self.options, threads), strict=True
        ):
            if vector is None:
                self._withdraw(row_id, task, content_hash)
            else:
                found[row_id] = vector
                self.parity.went_exactly(kind, task.file.location)
        if found:
            ids = np.array(sorted(found), np.int64)
            self.writer.revise(
                self.kind.name, ids, np.stack([found[row_id] for row_id in ids.tolist()]), self._exact_provenance()
            )

    def _withdraw(self, row_id: int, task: Task, content_hash: bytes) -> None:
        """Take back a row whose file is another one by now: the next run finds it new."""
        self.writer.delete(self.kind.name, [row_id])
        if self.known.get(content_hash) == row_id:
            del self.known[content_hash]
        self.withdrawn += 1
        self.reasons[_CHANGED] += 1
        if task.replaces is None:
            self.added -= 1
        else:
            self.updated -= 1

    def _write(
        self,
        entries: Sequence[LoadedTask],
        rows: list[Any],
        vectors: NDArray[np.floating],
        provenance: Provenance | None,
    ) -> None:
        started = time.perf_counter()
        replaces = self._replaced([entry.task for entry in entries])
        ids = self.writer.append(self.kind.name, rows, vectors, provenance, replaces=replaces)
        for entry, row_id in zip(entries, ids.tolist(), strict=True):
            content_hash = entry.picture.content_hash
            kind = entry.picture.kind or self._kinds.get(content_hash)
            if kind is not None:
                self._kinds[content_hash] = kind
                self.uncommitted.append((row_id, entry.task, content_hash, kind))
            self.known[content_hash] = row_id
            self._count(entry.task, content_hash)
        self.write_seconds += time.perf_counter() - started

    def _count(self, task: Task, content_hash: bytes) -> None:
        self.written.add(content_hash)
        if task.replaces is None:
            self.added += 1
        else:
            self.updated += 1

    def _own_provenance(self) -> Provenance | None:
        return Provenance(self.encoder.device, self.encoder.precision, self.route) if self.encoder else None

    def _exact_provenance(self) -> Provenance:
        return Provenance(self.encoder.device if self.encoder else "several", "fp32", "exact")

    def _copied_provenance(self) -> Provenance:
        """Of vectors that another row has had: where they all came the same way, that one."""
        ways = {shard.provenance for shard in self.writer.manifest.shards[self.kind.name]}
        ways |= {self._own_provenance(), *self.checks}
        ways |= {self._exact_provenance()} if self.parity.disagrees else set()
        known = [way for way in ways if way is not None]
        return known[0] if len(known) == 1 else Provenance("several", "several", "copied")

    def _commit_if_due(self) -> None:
        if self.writer.due:
            self.settle()
            started = time.perf_counter()
            self.writer.commit()
            self.uncommitted.clear()
            self._kinds.clear()
            self.write_seconds += time.perf_counter() - started

    def _replaced(self, tasks: Sequence[Task]) -> dict[str, list[int]]:
        """The rows, by table, that these tasks take the place of."""
        return {
            self.kind.name: [task.replaces for task in tasks if task.replaces is not None],
            SKIPPED.name: [task.replaces_skipped for task in tasks if task.replaces_skipped is not None],
        }
