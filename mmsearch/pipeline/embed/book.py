"""What a run writes, in the order of its files: rows, skipped rows, and what they take the place of."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders import EncodedImages, Encoder
from mmsearch.errors import ImageError
from mmsearch.gallery import GalleryWriter
from mmsearch.pipeline.embed.parity import ParityCheck, Sample
from mmsearch.pipeline.embed.sink import Entry
from mmsearch.records import ImageRow, Provenance, SkippedRow, Table
from mmsearch.sync import Task

__all__ = ["Book"]


@dataclass(slots=True)
class Book:
    """Rows on their way into the writer. Used by one thread at a time.

    known: content hash -> row id of every vector that can be reused. written: hashes of this run's rows.
    broken: files whose picture the gallery holds and that no longer decode; they leave it at the end, if allowed.
    unknown: (file, reason) of files that could not be read at all; their pictures stay, as do those of a folder that
    cannot be listed.
    """

    writer: GalleryWriter
    route: str
    parity: ParityCheck
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

    def knows(self, content_hash: bytes) -> bool:
        """Whether some row has this content."""
        return content_hash in self.known

    def abandon(self) -> None:
        """Commit no more of it."""
        self.writer.abandon()

    def encoded(self, entries: Sequence[Entry], images: EncodedImages) -> None:
        """Write rows with new vectors (n, dim)."""
        self.transfer_seconds += images.transfer_seconds
        self.encode_seconds += images.encode_seconds
        for entry, vector in zip(entries, images.vectors, strict=True):
            picture = entry.picture
            if picture.reference is not None and picture.kind is not None:
                self.parity.add(Sample(picture.kind, picture.pixel_error, vector, picture.reference))
        self._write(entries, [_row(entry) for entry in entries], images.vectors, self._own_provenance())
        self._commit_if_due()

    def reused(self, entries: Sequence[Entry]) -> None:
        """Write rows whose content is known, with the vectors that it has."""
        ids = np.array([self.known[entry.picture.content_hash] for entry in entries])
        old, vectors = self.writer.stored_images(ids)
        rows = [
            replace(_row(entry), width=row.width, height=row.height, taken_at=row.taken_at)
            for entry, row in zip(entries, old, strict=True)
        ]
        self._write(entries, rows, vectors, self._copied_provenance())
        self.copied += len(entries)
        self._commit_if_due()

    def skipped(self, entries: Sequence[Entry]) -> None:
        """Write skipped rows, but of files that the gallery holds a picture of."""
        rows, replaced = [], []
        for task, picture in ((entry.task, entry.picture) for entry in entries):
            error = picture.error or ImageError("read", "unknown")
            if error.stage == "read" and task.replaces_image is not None:
                self.unknown.append((task.file.location, error.reason))
                continue
            self.reasons[error.reason] += 1
            file = task.file
            state: tuple[int | None, int | None, str | None] = picture.file.size, picture.file.mtime_ns, file.etag
            if error.stage == "read":
                # A failing disk or a lost mount says nothing of the file: without its state every run tries it again.
                state = None, None, None
            row = SkippedRow(task.root_id, file.path, file.path_bytes, *state, error.stage, error.reason)
            if task.replaces_image is not None:
                self.broken.append((task, row))
                continue
            rows.append(row)
            if task.replaces_skipped is not None:
                replaced.append(task.replaces_skipped)
        if rows:
            self.writer.append("skipped", rows, replaces={"skipped": replaced})
        self._commit_if_due()

    def delete_broken(self) -> None:
        """Put skipped rows in the place of pictures that no longer decode."""
        if self.broken:
            replaces = _replaced([task for task, _ in self.broken])
            self.writer.append("skipped", [row for _, row in self.broken], replaces=replaces)

    def settle(self) -> None:
        """Hold what has been written since the last time against the exact route. Raises ParityError."""
        if self.encoder is not None and (parity := self.parity.measure(self.encoder)) is not None:
            self.writer.set_parity(parity)

    def _write(
        self,
        entries: Sequence[Entry],
        rows: list[ImageRow],
        vectors: NDArray[np.floating],
        provenance: Provenance | None,
    ) -> None:
        started = time.perf_counter()
        replaces = _replaced([entry.task for entry in entries])
        ids = self.writer.append("images", rows, vectors, provenance, replaces=replaces)
        for entry, row_id in zip(entries, ids.tolist(), strict=True):
            content_hash = entry.picture.content_hash
            self.known[content_hash] = row_id
            self.written.add(content_hash)
            if entry.task.replaces_image is None:
                self.added += 1
            else:
                self.updated += 1
        self.write_seconds += time.perf_counter() - started

    def _own_provenance(self) -> Provenance | None:
        return Provenance(self.encoder.device, self.encoder.precision, self.route) if self.encoder else None

    def _copied_provenance(self) -> Provenance:
        """Of vectors that another row has had: where they all came the same way, that one."""
        ways = {shard.provenance for shard in self.writer.manifest.shards["images"]} | {self._own_provenance()}
        known = [way for way in ways if way is not None]
        return known[0] if len(known) == 1 else Provenance("several", "several", "copied")

    def _commit_if_due(self) -> None:
        if self.writer.due:
            self.settle()
            started = time.perf_counter()
            self.writer.commit()
            self.write_seconds += time.perf_counter() - started


def _replaced(tasks: Sequence[Task]) -> dict[Table, list[int]]:
    return {
        "images": [task.replaces_image for task in tasks if task.replaces_image is not None],
        "skipped": [task.replaces_skipped for task in tasks if task.replaces_skipped is not None],
    }


def _row(entry: Entry) -> ImageRow:
    task, picture = entry.task, entry.picture
    file = picture.file
    return ImageRow(
        root_id=task.root_id,
        path=file.path,
        path_bytes=file.path_bytes,
        bytes=file.size,
        mtime_ns=file.mtime_ns,
        etag=file.etag,
        content_hash=picture.content_hash,
        width=picture.width,
        height=picture.height,
        taken_at=picture.taken_at,
    )
