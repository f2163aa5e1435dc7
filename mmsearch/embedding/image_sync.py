"""The picture half of `embed`: carry out a plan, and delete what vanished."""

import os
from collections.abc import Callable, Sequence
from typing import Protocol

from mmsearch.embedding.file_work import carry_out
from mmsearch.embedding.parity import ParityCheck
from mmsearch.embedding.recording import Book
from mmsearch.embedding.records import EmbedOptions, ImageCounts
from mmsearch.embedding.stage_times import Stages, StageTimes
from mmsearch.encoders import Encoder
from mmsearch.gallery import GalleryWriter
from mmsearch.items import IMAGES, SKIPPED
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.sync import Plan, Task, check_prune, count_lost, suspicious

__all__ = ["Executor", "Here", "embed_pictures", "route"]


class Executor(Protocol):
    """Has files embedded, by this process or by others."""

    def carry_out(
        self,
        tasks: Sequence[Task],
        book: Book,
        encoder: Callable[[], Encoder],
        options: EmbedOptions,
        stages: Stages,
        progress: ProgressCallback,
    ) -> int:
        """Bring everything of `tasks` into `book` and settle it; returns how many were skipped.

        encoder: loads it, in this process. stages: gets where the time went. Where this raises, `book` holds what was
        done until then, or has been abandoned.
        """
        ...


class Here:
    """The executor that works in this process: rows go into the book as they are encoded."""

    def carry_out(
        self,
        tasks: Sequence[Task],
        book: Book,
        encoder: Callable[[], Encoder],
        options: EmbedOptions,
        stages: Stages,
        progress: ProgressCallback,
    ) -> int:
        """See `Executor`."""

        def tell(done: int, skipped: int) -> None:
            progress(Progress("embedding", done, len(tasks), skipped))

        stages.threads = options.threads or os.cpu_count() or 1
        with book.settling():
            skipped = carry_out(tasks, book, encoder, options, stages, tell=tell)
        stages.write = book.write_seconds
        stages.transfer, stages.encode = book.transfer_seconds, book.encode_seconds
        return skipped


def embed_pictures(
    writer: GalleryWriter,
    encoder: Callable[[], Encoder],
    plan: Plan,
    options: EmbedOptions,
    progress: ProgressCallback,
    executor: Executor | None = None,
) -> tuple[ImageCounts, StageTimes]:
    """Embed the tasks of a plan, committing as it goes, and leave the deletes of what vanished pending.

    executor: who does it; by default this process.
    """
    book = Book(writer, route(options), ParityCheck(), options)
    stages = Stages()
    skipped = 0
    if plan.tasks:
        book.known = writer.gallery.content_hashes(IMAGES.name)
        executor = executor or Here()
        skipped = executor.carry_out(plan.tasks, book, encoder, options, stages, progress)
    return _counts(plan, book, skipped, _delete_vanished(book, plan, options)), stages.times()


def route(options: EmbedOptions) -> str:
    """How files become pixels, as provenance says it."""
    return "benchmark" if options.benchmark else "exact" if options.exact else "fast"


def _delete_vanished(book: Book, plan: Plan, options: EmbedOptions) -> int:
    """Delete what is gone and what can no longer be decoded; all roots are checked before any delete is made."""
    writer = book.writer
    for root in plan.roots:
        broken = [entry for entry in book.broken if entry[0].root_id == root.root_id]
        if not options.prune and suspicious(len(root.vanished) + len(broken), root.live):
            lost = count_lost(writer.gallery, root.vanished, book.written)
            check_prune(root.folder, lost + len(broken), root.live)
    book.delete_broken()
    for root in plan.roots:
        writer.delete(IMAGES.name, root.vanished)
    writer.delete(SKIPPED.name, plan.vanished_skipped)
    return sum(len(root.vanished) for root in plan.roots) + len(book.broken)


def _counts(plan: Plan, book: Book, skipped: int, deleted: int) -> ImageCounts:
    return ImageCounts(
        added=book.added,
        updated=book.updated,
        reused=book.copied,
        unchanged=plan.unchanged,
        deleted=deleted,
        skipped=skipped - len(book.unknown) + book.withdrawn,
        still_skipped=plan.still_skipped,
        in_gallery=book.added + book.updated + plan.unchanged + len(book.unknown),
        skipped_reasons=tuple(book.reasons.most_common()),
        unreadable=(*plan.unreadable, *book.unknown),
        linked_folders=tuple(plan.linked_folders),
    )
