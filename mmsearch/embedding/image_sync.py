"""The half of `embed` that takes files: carry out a plan, and delete what vanished."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from mmsearch.embedding.file_work import carry_out
from mmsearch.embedding.parity import ParityCheck
from mmsearch.embedding.recording import Book
from mmsearch.embedding.records import EmbedOptions, ImageCounts, ItemCounts
from mmsearch.embedding.stage_times import Stages, StageTimes
from mmsearch.encoders import Encoder
from mmsearch.gallery import GalleryWriter
from mmsearch.items import DEFAULT_KIND, SKIPPED, AnyKind, kinds
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.sync import Plan, Task, check_prune, count_lost, suspicious

__all__ = ["Executor", "LocalExecutor", "embed_files", "route"]


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


class LocalExecutor:
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


def embed_files(
    writer: GalleryWriter,
    encoder: Callable[[], Encoder],
    plan: Plan,
    options: EmbedOptions,
    progress: ProgressCallback,
    executor: Executor | None = None,
) -> tuple[ImageCounts, dict[str, ItemCounts], StageTimes]:
    """Embed the tasks of a plan, committing as it goes, and leave the deletes of what vanished pending.

    Returns what happened to pictures and to all files, what to the items of other kinds, and where the time went.
    executor: who does it; by default this process.
    """
    executor = executor or LocalExecutor()
    stages = Stages()
    books = {
        kind.name: Book(writer, kind, route(kind, options), ParityCheck(), options)
        for kind in kinds()
        if kind.files is not None
    }
    skipped = 0
    for name, book in books.items():
        if tasks := [task for task in plan.tasks if task.kind.name == name]:
            book.known = writer.gallery.content_hashes(name)
            skipped += executor.carry_out(tasks, book, encoder, options, stages, progress)
    deleted = _delete_vanished(books, plan, options)
    counts = {
        name: ItemCounts(book.added, book.updated, book.copied, plan.unchanged[name], deleted[name])
        for name, book in books.items()
    }
    return _of_run(plan, books, skipped, counts.pop(DEFAULT_KIND.name)), counts, stages.times()


def route(kind: AnyKind, options: EmbedOptions) -> str:
    """How files become what is encoded, as provenance says it."""
    if kind.side != "image":
        return kind.side
    return "benchmark" if options.benchmark else "exact" if options.exact else "fast"


def _delete_vanished(books: Mapping[str, Book], plan: Plan, options: EmbedOptions) -> Counter[str]:
    """Delete what is gone and what can no longer be decoded; how many of each kind. All roots are checked before any
    delete is made."""
    writer = next(iter(books.values())).writer
    deleted = Counter({name: len(book.broken) for name, book in books.items()})
    for root in plan.roots:
        broken = [entry for book in books.values() for entry in book.broken if entry[0].root_id == root.root_id]
        if not options.prune and suspicious(root.gone + len(broken), root.live):
            lost = sum(
                count_lost(writer.gallery, table, rows, books[table].written) for table, rows in root.vanished.items()
            )
            check_prune(root.folder, lost + len(broken), root.live)
    for book in books.values():
        book.delete_broken()
    for root in plan.roots:
        for table, rows in root.vanished.items():
            writer.delete(table, rows)
            deleted[table] += len(rows)
    writer.delete(SKIPPED.name, plan.vanished_skipped)
    return deleted


def _of_run(plan: Plan, books: Mapping[str, Book], skipped: int, images: ItemCounts) -> ImageCounts:
    unknown = [entry for book in books.values() for entry in book.unknown]
    written = sum(book.added + book.updated for book in books.values())
    return ImageCounts(
        added=images.added,
        updated=images.updated,
        reused=images.reused,
        unchanged=images.unchanged,
        deleted=images.deleted,
        skipped=skipped - len(unknown) + sum(book.withdrawn for book in books.values()),
        still_skipped=plan.still_skipped,
        in_gallery=written + plan.unchanged.total() + len(unknown),
        skipped_reasons=tuple(sum((book.reasons for book in books.values()), Counter[str]()).most_common()),
        unreadable=(*plan.unreadable, *unknown),
        linked_folders=tuple(plan.linked_folders),
    )
