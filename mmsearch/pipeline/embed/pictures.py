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
from mmsearch.records import ImageRow, Progress, ProgressCallback, Provenance, SkippedRow, Table
from mmsearch.sync import Plan, Task, check_prune, count_lost, suspicious

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
        _carry_out(work, plan.tasks, progress)
    return _counts(plan, work, _delete_vanished(work, plan))


def _carry_out(work: "_Work", tasks: Sequence[Task], progress: ProgressCallback) -> None:
    load_options = LoadOptions(work.options.threads, work.options.max_pixels, work.options.benchmark)
    done = 0
    while done < len(tasks):
        loaded = load(
            (task.file for task in tasks[done:]),
            work.preprocess,
            known=lambda content_hash: content_hash in work.known,
            options=load_options,
        )
        try:
            for picture in loaded:
                work.take(tasks[done], picture)
                done += 1
                if work.writer.due:
                    work.flush()
                    work.writer.commit()
                progress(Progress("embedding", done, len(tasks), work.skipped))
        except _EncoderWanted:
            # Here and not in a decoder's thread: a download must answer to Ctrl-C. A few files are read again.
            work.loaded = work.encoder()
    work.flush()


def _delete_vanished(work: "_Work", plan: Plan) -> int:
    """Delete what is gone and what can no longer be decoded; all roots are checked before any delete is made."""
    writer = work.writer
    for root in plan.roots:
        broken = [entry for entry in work.broken if entry[0].root_id == root.root_id]
        if not work.options.prune and suspicious(len(root.vanished) + len(broken), root.live):
            lost = count_lost(writer.gallery, root.vanished, work.written)
            check_prune(root.folder, lost + len(broken), root.live)
    if work.broken:
        replaces: dict[Table, list[int]] = {"images": [], "skipped": []}
        for task, _ in work.broken:
            _add_replaced(replaces, task)
        writer.append("skipped", [row for _, row in work.broken], replaces=replaces)
    for root in plan.roots:
        writer.delete("images", root.vanished)
    writer.delete("skipped", plan.vanished_skipped)
    return sum(len(root.vanished) for root in plan.roots) + len(work.broken)


def _counts(plan: Plan, work: "_Work", deleted: int) -> ImageCounts:
    return ImageCounts(
        added=work.added,
        updated=work.updated,
        reused=work.reused,
        unchanged=plan.unchanged,
        deleted=deleted,
        skipped=work.skipped,
        still_skipped=plan.still_skipped,
        in_gallery=work.added + work.updated + plan.unchanged + len(work.unknown),
        skipped_reasons=tuple(work.reasons.most_common()),
        unreadable=(*plan.unreadable, *work.unknown),
        linked_folders=tuple(plan.linked_folders),
    )


@dataclass(slots=True)
class _Work:
    """Pictures on their way through the encoder into the writer.

    known: content hash -> row id of every vector that can be reused. written: hashes of this run's rows.
    broken: files whose picture the gallery holds and that no longer decode; they leave it at the end, if allowed.
    unknown: (file, reason) of files that could not be read at all; their pictures stay, as do those of a folder that
    cannot be listed.
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
    loaded: Encoder | None = None
    broken: list[tuple[Task, SkippedRow]] = field(default_factory=list)
    unknown: list[tuple[str, str]] = field(default_factory=list)
    skips: list[tuple[Task, SkippedRow]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def preprocess(self, image: "Image") -> NDArray[np.float32]:
        """Called in the loader's threads. Raises _EncoderWanted until `loaded` is there."""
        if self.loaded is None:
            raise _EncoderWanted
        return self.loaded.preprocess(image)

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
        replaces: dict[Table, list[int]] = {"images": [], "skipped": []}
        for task, _ in batch:
            _add_replaced(replaces, task)
        ids = self.writer.append("images", rows, vectors, self._provenance(), replaces=replaces)
        for (task, picture), row_id in zip(batch, ids.tolist(), strict=True):
            self.known[picture.content_hash] = row_id
            self.written.add(picture.content_hash)
            if task.replaces_image is None:
                self.added += 1
            else:
                self.updated += 1

    def _provenance(self) -> Provenance:
        encoder = self.encoder()
        return Provenance(encoder.device, encoder.precision, "benchmark" if self.options.benchmark else "pillow")

    def _skip(self, task: Task, size: int | None, mtime_ns: int | None, error: ImageError) -> None:
        if error.stage == "read" and task.replaces_image is not None:
            self.unknown.append((task.file.location, error.reason))
            return
        self.skipped += 1
        self.reasons[error.reason] += 1
        file = task.file
        if error.stage == "read":
            # A failing disk or a lost mount says nothing of the file: without its state it is tried again by every run.
            size = mtime_ns = None
        row = SkippedRow(task.root_id, file.path, file.path_bytes, size, mtime_ns, file.etag, error.stage, error.reason)
        if task.replaces_image is not None:
            self.broken.append((task, row))
            return
        self.skips.append((task, row))
        if len(self.skips) >= _REUSE_BATCH:
            self._flush_skips()

    def _flush_skips(self) -> None:
        if self.skips:
            skips, self.skips = self.skips, []
            replaced = [task.replaces_skipped for task, _ in skips if task.replaces_skipped is not None]
            self.writer.append("skipped", [row for _, row in skips], replaces={"skipped": replaced})


class _EncoderWanted(Exception):
    """A picture is to be encoded, and the encoder is not loaded yet."""


def _add_replaced(replaces: dict[Table, list[int]], task: Task) -> None:
    if task.replaces_image is not None:
        replaces["images"].append(task.replaces_image)
    if task.replaces_skipped is not None:
        replaces["skipped"].append(task.replaces_skipped)


def _row(task: Task, picture: Loaded) -> ImageRow:
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
