"""The picture half of `embed`: carry out a plan, batch by batch."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders import Encoder
from mmsearch.errors import ImageError
from mmsearch.gallery import GalleryWriter
from mmsearch.loader import Loaded, LoadOptions, load
from mmsearch.pipeline.embed.report import EmbedOptions, ImageCounts
from mmsearch.records import ImageRow, Progress, ProgressCallback, Provenance, SkippedRow
from mmsearch.sync import Plan, Task, check_prune

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["embed_pictures"]

# What was measured best for ViT-B-32 on two cores is 8 to 32; a GPU wants more to be busy.
_CPU_BATCH = 16
_GPU_BATCH = 256
# Vectors of known content are fetched, and skipped rows handed over, this many at a time: each call has a price.
_REUSE_BATCH = 1024


def embed_pictures(
    writer: GalleryWriter,
    encoder: Callable[[], Encoder],
    plan: Plan,
    options: EmbedOptions,
    progress: ProgressCallback,
) -> ImageCounts:
    """Embed the tasks of a plan, committing as it goes, and delete what vanished in the last commit."""
    work = _Work(writer, encoder, options)
    if plan.tasks:
        work.known = writer.gallery.content_hashes()
        loaded = load(
            (task.file for task in plan.tasks),
            work.preprocess,
            known=lambda content_hash: content_hash in work.known,
            options=LoadOptions(options.threads, options.max_pixels, options.benchmark),
        )
        for done, (task, picture) in enumerate(zip(plan.tasks, loaded, strict=True), 1):
            work.take(task, picture)
            if writer.due:
                work.flush()
                writer.commit()
            progress(Progress("embedding", done, len(plan.tasks), work.skipped))
        work.flush()
    deleted = _delete_vanished(writer, plan, work, options)
    return _counts(plan, work, deleted)


def _delete_vanished(writer: GalleryWriter, plan: Plan, work: "_Work", options: EmbedOptions) -> int:
    for vanished in plan.vanished:
        if not options.prune:
            hashes = {row.content_hash for row in writer.stored_images(np.array(vanished.row_ids))[0]}
            moved = len(hashes & work.written)
            check_prune(vanished.folder, len(vanished.row_ids) - moved, vanished.live)
        writer.delete("images", vanished.row_ids)
    writer.delete("skipped", plan.vanished_skipped)
    return sum(len(vanished.row_ids) for vanished in plan.vanished)


def _counts(plan: Plan, work: "_Work", deleted: int) -> ImageCounts:
    return ImageCounts(
        added=work.added,
        updated=work.updated,
        reused=work.reused,
        unchanged=plan.unchanged,
        deleted=deleted + work.lost,
        skipped=work.skipped,
        still_skipped=plan.still_skipped,
        in_gallery=work.added + work.updated + plan.unchanged,
        skipped_reasons=tuple(work.reasons.most_common()),
        unreadable=tuple(plan.unreadable),
        linked_folders=tuple(plan.linked_folders),
    )


@dataclass(slots=True)
class _Work:
    """Pictures on their way through the encoder into the writer.

    known: content hash -> row id of every vector that can be reused. written: hashes of this run's rows.
    lost: pictures that can no longer be read and so left the gallery.
    """

    writer: GalleryWriter
    encoder: Callable[[], Encoder]
    options: EmbedOptions
    known: dict[bytes, int] = field(default_factory=dict)
    written: set[bytes] = field(default_factory=set)
    batch: list[tuple[Task, Loaded]] = field(default_factory=list)
    reuse: list[tuple[Task, Loaded]] = field(default_factory=list)
    added: int = 0
    updated: int = 0
    reused: int = 0
    skipped: int = 0
    lost: int = 0
    skips: list[SkippedRow] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def preprocess(self, image: "Image") -> NDArray[np.float32]:
        """Called in the loader's threads; the first picture loads the encoder."""
        return self.encoder().preprocess(image)

    def take(self, task: Task, picture: Loaded) -> None:
        """One file, read: into the batch that it belongs to."""
        if picture.error is not None:
            self._skip(task, picture.file.size, picture.file.mtime_ns, picture.error)
        elif picture.content_hash in self.known:
            self.reuse.append((task, picture))
            if len(self.reuse) >= _REUSE_BATCH:
                self._flush_reused()
        else:
            self.batch.append((task, picture))
            if len(self.batch) >= self._batch_size():
                self._flush_encoded()

    def flush(self) -> None:
        """Encode and hand over whatever waits."""
        self._flush_encoded()
        self._flush_reused()
        self._flush_skips()

    def _batch_size(self) -> int:
        return self.options.batch_size or (_CPU_BATCH if self.encoder().device == "cpu" else _GPU_BATCH)

    def _flush_encoded(self) -> None:
        if not self.batch:
            return
        batch, self.batch = self.batch, []
        # Copies within a batch are encoded once.
        first = {picture.content_hash: picture.pixels for _, picture in reversed(batch)}
        places = {content_hash: place for place, content_hash in enumerate(first)}
        pixels = np.stack([pixels for pixels in first.values() if pixels is not None])
        vectors = self.encoder().encode_images(pixels)
        rows = [_row(task, picture) for task, picture in batch]
        self._write(batch, rows, vectors[[places[picture.content_hash] for _, picture in batch]])
        self.reused += len(batch) - len(first)

    def _flush_reused(self) -> None:
        if not self.reuse:
            return
        batch, self.reuse = self.reuse, []
        old, vectors = self.writer.stored_images(np.array([self.known[p.content_hash] for _, p in batch]))
        rows = [
            replace(_row(task, picture), width=row.width, height=row.height, taken_at=row.taken_at)
            for (task, picture), row in zip(batch, old, strict=True)
        ]
        self._write(batch, rows, vectors)
        self.reused += len(batch)

    def _write(self, batch: Sequence[tuple[Task, Loaded]], rows: list[ImageRow], vectors: NDArray[np.floating]) -> None:
        ids = self.writer.append("images", rows, vectors, self._provenance())
        for (task, picture), row_id in zip(batch, ids.tolist(), strict=True):
            self.known[picture.content_hash] = row_id
            self.written.add(picture.content_hash)
            self._replace(task)
            if task.replaces_image is None:
                self.added += 1
            else:
                self.updated += 1

    def _provenance(self) -> Provenance:
        encoder = self.encoder()
        return Provenance(encoder.device, encoder.precision, "benchmark" if self.options.benchmark else "pillow")

    def _skip(self, task: Task, size: int | None, mtime_ns: int | None, error: ImageError) -> None:
        self.skipped += 1
        self.reasons[error.reason] += 1
        file = task.file
        row = SkippedRow(task.root_id, file.path, file.path_bytes, size, mtime_ns, None, error.stage, error.reason)
        self.skips.append(row)
        self._replace(task)
        if task.replaces_image is not None:
            self.lost += 1
        if len(self.skips) >= _REUSE_BATCH:
            self._flush_skips()

    def _flush_skips(self) -> None:
        if self.skips:
            self.writer.append("skipped", self.skips)
            self.skips = []

    def _replace(self, task: Task) -> None:
        if task.replaces_image is not None:
            self.writer.delete("images", [task.replaces_image])
        if task.replaces_skipped is not None:
            self.writer.delete("skipped", [task.replaces_skipped])


def _row(task: Task, picture: Loaded) -> ImageRow:
    file = picture.file
    return ImageRow(
        root_id=task.root_id,
        path=file.path,
        path_bytes=file.path_bytes,
        bytes=file.size,
        mtime_ns=file.mtime_ns,
        etag=None,
        content_hash=picture.content_hash,
        width=picture.width,
        height=picture.height,
        taken_at=picture.taken_at,
    )
