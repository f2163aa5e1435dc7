"""Records the results of a run in the gallery, in the order of its files: rows, skipped rows, and replaced rows."""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.embedding.exact_encoding import encode_exactly
from mmsearch.embedding.parity import ParityCheck
from mmsearch.embedding.records import EmbedOptions
from mmsearch.embedding.sink import (
    LoadedTask,
    copy_row,
    decode_group_of,
    make_row,
    select_samples,
    split_by_parity,
    stack_references,
)
from mmsearch.embedding.worker import PieceOutcome
from mmsearch.encoders import EncodedImages, Encoder
from mmsearch.errors import ImageError
from mmsearch.gallery import GalleryWriter
from mmsearch.items import SKIPPED, AnyKind, SkippedRow
from mmsearch.loading import DecodeGroup
from mmsearch.sync import Task
from mmsearch.versions import Provenance

__all__ = ["RowRecorder"]

_CHANGED = "changed while it was read"


@dataclass(slots=True)
class RowRecorder:
    """Gives rows of one kind to the writer. Used by one thread at a time. Implements `Sink`.

    Attributes:
        checks: what workers of a cluster have compared, by their provenance.
        known: content hash -> row id of every vector that can be reused.
        leaving: content hash -> the rows of files that are gone that have it; those of files that moved are taken away.
        moved: how many new rows are of such files, which have only another name.
        written: content hashes of this run's rows.
        broken: files that no longer decode and whose pictures the gallery holds; these are deleted at the end of the
            run, if that is allowed.
        unknown: (file, reason) of files that could not be read at all; their pictures stay, as do those of a folder
            that cannot be listed.
        uncommitted: (row id, task, content hash, group) of pictures encoded by the fast way since the last commit.
        withdrawn: how many files changed before they could be encoded again; the next run takes them.
        merged: how many items ended, since their files are of the same picture as another.
        kept: how many did not, since that other holds no picture.
        alike: how many frames of films got no row, since they show nothing new.
    """

    writer: GalleryWriter
    kind: AnyKind
    route: str
    parity: ParityCheck
    options: EmbedOptions = field(default_factory=EmbedOptions)
    checks: dict[Provenance, ParityCheck] = field(default_factory=dict)
    encoder: Encoder | None = None
    known: dict[bytes, int] = field(default_factory=dict)
    leaving: dict[bytes, list[int]] = field(default_factory=dict)
    moved: int = 0
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
    uncommitted: list[tuple[int, Task, bytes, DecodeGroup]] = field(default_factory=list)
    withdrawn: int = 0
    merged: int = 0
    kept: int = 0
    alike: int = 0
    _instead: list[Task] = field(default_factory=list)
    _groups: dict[bytes, DecodeGroup] = field(default_factory=dict)

    @property
    def hash_name(self) -> str:
        """The hash by which the gallery knows files."""
        return self.writer.manifest.content_hash

    def knows(self, content_hash: bytes) -> bool:
        """Whether some row has this content."""
        return content_hash in self.known

    def abandon(self) -> None:
        """Have the writer commit no more."""
        self.writer.abandon()

    def add_encoded(self, entries: Sequence[LoadedTask], images: EncodedImages) -> None:
        """Write rows with new vectors (n, dim)."""
        self.transfer_seconds += images.transfer_seconds
        self.encode_seconds += images.encode_seconds
        self.parity.count_encoded(images)
        fast, exact = split_by_parity(entries, self.parity)
        if fast:
            vectors = images.vectors[fast]
            chosen = [entries[task_index] for task_index in fast]
            for sample in select_samples(chosen, vectors):
                self.parity.add(sample)
            self._write(chosen, [make_row(entry) for entry in chosen], vectors, self._fast_provenance())
        if exact and self.encoder is not None:
            chosen = [entries[task_index] for task_index in exact]
            vectors = self.encoder.image.encode_reference(stack_references(chosen))
            for entry in chosen:
                self.parity.count_exact(decode_group_of(entry), entry.task.file.location)
            chosen = [entry.without_group() for entry in chosen]
            self._write(chosen, [make_row(entry) for entry in chosen], vectors, self._exact_provenance())
        if self.parity.is_full:
            self.settle()
        self._commit_if_due()

    def adopt_outcome(self, tasks: Sequence[Task], first_row_id: int, outcome: PieceOutcome) -> None:
        """Add the outcome of a worker, which has written the rows of some files with ids from `first_row_id` on."""
        started = time.perf_counter()
        adopted_tasks = [tasks[task_index] for task_index in outcome.task_indices.tolist()]
        if outcome.shards:
            self.writer.adopt(self.kind.name, outcome.shards, replaces=self._replaced(adopted_tasks))
        self.writer.release(self.kind.name, first_row_id, len(tasks))
        for task, content_hash, task_index in zip(
            adopted_tasks, outcome.content_hashes, outcome.task_indices.tolist(), strict=True
        ):
            self.known.setdefault(content_hash, first_row_id + task_index)
            self._count(task, content_hash)
        self.copied += outcome.copies
        self.write_seconds += time.perf_counter() - started
        if outcome.known:
            self.add_reused([LoadedTask(tasks[task_index], loaded) for task_index, loaded in outcome.known])
        self.add_skipped([LoadedTask(tasks[task_index], loaded) for task_index, loaded in outcome.skipped])
        self._drop([tasks[task_index] for task_index in outcome.alike])

    def add_reused(self, entries: Sequence[LoadedTask]) -> None:
        """Write rows whose content is known, with the stored vectors of that content."""
        ids, same = self._find_rows(entries)
        old, vectors = self.writer.read_items(self.kind, np.array(ids, np.int64))
        rows = [copy_row(entry, row, same=each) for entry, row, each in zip(entries, old, same, strict=True)]
        self._write(entries, rows, vectors, self._copied_provenance())
        self.copied += len(entries)
        self._commit_if_due()

    def _find_rows(self, entries: Sequence[LoadedTask]) -> tuple[list[int], list[bool]]:
        """For each entry a row of its content, and whether it is that of the same picture: what such rows say beside
        the content, as where a picture was taken, may differ. A file's own row, if it had this content before; else one
        of those that leave, which has moved, if it can be by its name."""
        own_ids = np.array([entry.task.replaces for entry in entries if entry.task.replaces is not None], np.int64)
        own_rows = self.writer.read_items(self.kind, own_ids)[0] if own_ids.size else []
        own = dict(zip(own_ids.tolist(), own_rows, strict=True))
        ids, same = [], []
        for entry in entries:
            content_hash, replaced = entry.loaded.content_hash, entry.task.replaces
            if replaced is not None and own[replaced].content_hash == content_hash:
                row_id: int | None = replaced
            else:
                row_id = self._take_leaving(entry) if replaced is None else None
            ids.append(self.known[content_hash] if row_id is None else row_id)
            same.append(row_id is not None)
        return ids, same

    def _take_leaving(self, entry: LoadedTask) -> int | None:
        """The row of this content that moved to the file of a task; None where none leaves."""
        leaving = self.leaving.get(entry.loaded.content_hash)
        if not leaving:
            return None
        chosen = 0
        if len(leaving) > 1:
            rows, _ = self.writer.read_items(self.kind, np.array(leaving, np.int64))
            name = PurePosixPath(entry.task.file.path).name
            chosen = next((number for number, row in enumerate(rows) if PurePosixPath(row.path).name == name), 0)
        self.moved += 1
        return leaving.pop(chosen)

    def add_skipped(self, entries: Sequence[LoadedTask]) -> None:
        """Write skipped rows, except for files whose pictures the gallery holds: see `broken` and `unknown`."""
        rows, replaced = [], []
        for task, loaded in ((entry.task, entry.loaded) for entry in entries):
            error = loaded.error or ImageError("read", "unknown")
            if error.stage == "read" and task.replaces is not None:
                self.unknown.append((task.file.location, error.reason))
                continue
            self.reasons[error.reason] += 1
            if task.instead is not None and error.stage != "read":
                self._instead.append(task.instead)
            else:
                self.kept += len(task.joins)
            file = task.file
            state: tuple[int | None, int | None, str | None] = loaded.file.size, loaded.file.mtime_ns, loaded.file.etag
            if error.stage == "read":
                # A failing disk or a lost mount says nothing of the file: without a state, every run tries it again.
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

    def add_alike(self, entries: Sequence[LoadedTask]) -> None:
        """Count frames that show nothing new, and delete the rows that they would have replaced."""
        self._drop([entry.task for entry in entries])

    def _drop(self, tasks: Sequence[Task]) -> None:
        self.alike += len(tasks)
        for table, row_ids in self._replaced(tasks).items():
            self.writer.delete(table, row_ids)
        self._commit_if_due()

    def vectors_of(self, entries: Sequence[LoadedTask]) -> list[NDArray[np.float32] | None]:
        """The vectors of pictures whose content is known."""
        if not entries:
            return []
        ids = np.array([self.known[entry.loaded.content_hash] for entry in entries], np.int64)
        return [np.asarray(vector, np.float32) for vector in self.writer.read_items(self.kind, ids)[1]]

    def take_instead(self) -> list[Task]:
        """The tasks to be done instead of those that were skipped since the last call, see `Task.instead`."""
        tasks, self._instead = self._instead, []
        return tasks

    def delete_broken(self) -> None:
        """Replace the pictures that no longer decode by skipped rows."""
        if self.broken:
            replaces = self._replaced([replace(task, joins=()) for task, _ in self.broken])
            self.writer.append(SKIPPED.name, [row for _, row in self.broken], replaces=replaces)

    @contextlib.contextmanager
    def settling(self) -> Iterator[None]:
        """Call `settle` after the block, also where the block raises; where `settle` fails, commit no more."""
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
        """Compare the samples since the last call with the exact route, and encode again by that what does not agree.

        Raises ParityError.
        """
        if self.encoder is not None:
            self.parity.measure(self.encoder)
            self._encode_disagreeing(self.encoder)
            if (parity := self.parity.verdict(self.encoder.device, self.encoder.precision)) is not None:
                self.writer.set_parity(parity)
        for provenance, check in self.checks.items():
            if (parity := check.verdict(provenance.device, provenance.precision)) is not None:
                self.writer.set_parity(parity)

    def _encode_disagreeing(self, encoder: Encoder) -> None:
        """Encode uncommitted pictures again by the exact way, where their groups do not agree."""
        chosen = [entry for entry in self.uncommitted if not self.parity.agrees(entry[3])]
        if not chosen:
            return
        self.uncommitted = [entry for entry in self.uncommitted if self.parity.agrees(entry[3])]
        vectors_by_row: dict[int, NDArray[np.float32]] = {}
        files = [(task, content_hash) for _, task, content_hash, _ in chosen]
        threads = self.options.threads or os.cpu_count() or 1
        for (row_id, task, content_hash, group), vector in zip(
            chosen, encode_exactly(files, encoder, self.options, threads, self.hash_name), strict=True
        ):
            if vector is None:
                self._withdraw(row_id, task, content_hash)
            else:
                vectors_by_row[row_id] = vector
                self.parity.count_exact(group, task.file.location)
        if vectors_by_row:
            ids = np.array(sorted(vectors_by_row), np.int64)
            self.writer.replace_vectors(
                self.kind.name,
                ids,
                np.stack([vectors_by_row[row_id] for row_id in ids.tolist()]),
                self._exact_provenance(),
            )

    def _withdraw(self, row_id: int, task: Task, content_hash: bytes) -> None:
        """Delete the row of a file that has changed meanwhile: the next run takes it as a new file."""
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
            content_hash = entry.loaded.content_hash
            group = entry.loaded.group or self._groups.get(content_hash)
            if group is not None:
                self._groups[content_hash] = group
                self.uncommitted.append((row_id, entry.task, content_hash, group))
            self.known[content_hash] = row_id
            self._count(entry.task, content_hash)
        self.write_seconds += time.perf_counter() - started

    def _count(self, task: Task, content_hash: bytes) -> None:
        self.written.add(content_hash)
        self.merged += len(task.joins)
        if task.replaces is not None:
            self.updated += 1
            return
        self.added += 1

    def _fast_provenance(self) -> Provenance | None:
        return Provenance(self.encoder.device, self.encoder.precision, self.route) if self.encoder else None

    def _exact_provenance(self) -> Provenance:
        return Provenance(self.encoder.device if self.encoder else "several", "fp32", "exact")

    def _copied_provenance(self) -> Provenance:
        """The provenance of reused vectors: the one that all vectors have, else "several"."""
        provenances = {shard.provenance for shard in self.writer.manifest.shards[self.kind.name]}
        provenances |= {self._fast_provenance(), *self.checks}
        provenances |= {self._exact_provenance()} if self.parity.has_disagreements else set()
        known = [provenance for provenance in provenances if provenance is not None]
        return known[0] if len(known) == 1 else Provenance("several", "several", "copied")

    def _commit_if_due(self) -> None:
        if self.writer.is_commit_due:
            self.settle()
            started = time.perf_counter()
            self.writer.commit()
            self.uncommitted.clear()
            self._groups.clear()
            self.write_seconds += time.perf_counter() - started

    def _replaced(self, tasks: Sequence[Task]) -> dict[str, list[int]]:
        """The rows, by table, that the rows of these tasks replace."""
        return {
            self.kind.name: [
                *(task.replaces for task in tasks if task.replaces is not None),
                *(row_id for task in tasks for row_id in task.joins),
            ],
            SKIPPED.name: [task.replaces_skipped for task in tasks if task.replaces_skipped is not None],
        }
