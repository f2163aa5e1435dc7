"""The picture half of `embed`: carry out a plan, and delete what vanished."""

import os
from collections.abc import Callable, Sequence

from mmsearch.encoders import Encoder
from mmsearch.gallery import GalleryWriter
from mmsearch.loader import LoadOptions, load
from mmsearch.pipeline.embed.book import Book
from mmsearch.pipeline.embed.flow import Flow
from mmsearch.pipeline.embed.parity import ParityCheck
from mmsearch.pipeline.embed.report import EmbedOptions, ImageCounts
from mmsearch.pipeline.embed.stages import Stages, StageTimes
from mmsearch.records import Progress, ProgressCallback
from mmsearch.sync import Plan, Task, check_prune, count_lost, suspicious
from mmsearch.workers import Workers

__all__ = ["embed_pictures"]


def embed_pictures(
    writer: GalleryWriter,
    encoder: Callable[[], Encoder],
    plan: Plan,
    options: EmbedOptions,
    progress: ProgressCallback,
) -> tuple[ImageCounts, StageTimes]:
    """Embed the tasks of a plan, committing as it goes, and leave the deletes of what vanished pending."""
    book = Book(writer, _route(options), ParityCheck())
    stages = Stages(options.threads or os.cpu_count() or 1)
    skipped = 0
    if plan.tasks:
        book.known = writer.gallery.content_hashes()
        skipped = _carry_out(book, encoder, plan.tasks, options, stages, progress)
    stages.write = book.write_seconds
    stages.transfer, stages.encode = book.transfer_seconds, book.encode_seconds
    return _counts(plan, book, skipped, _delete_vanished(book, plan, options)), stages.times()


def _route(options: EmbedOptions) -> str:
    return "benchmark" if options.benchmark else "exact" if options.exact else "fast"


def _carry_out(
    book: Book,
    encoder: Callable[[], Encoder],
    tasks: Sequence[Task],
    options: EmbedOptions,
    stages: Stages,
    progress: ProgressCallback,
) -> int:
    """Everything of `tasks` into the writer; returns how many were skipped."""
    writer = book.writer
    load_options = LoadOptions(options.max_pixels, options.exact, options.benchmark, options.seconds)
    threads = options.threads or os.cpu_count() or 1
    done = skipped = 0

    def loaded() -> Encoder:
        if book.encoder is None:
            raise _EncoderWanted
        return book.encoder

    with Workers(threads, "mmsearch-load") as workers:
        flow = Flow(book, workers, threads, options.batch_size)
        try:
            while done < len(tasks):
                files = (task.file for task in tasks[done:])
                pictures = load(
                    *(files, loaded, workers, threads),
                    known=book.known.__contains__,
                    sampled=book.parity.wanted,
                    options=load_options,
                )
                try:
                    for picture in pictures:
                        flow.take(tasks[done], picture)
                        stages.add(picture.seconds)
                        done += 1
                        skipped += picture.error is not None
                        progress(Progress("embedding", done, len(tasks), skipped))
                except _EncoderWanted:
                    # Here and not in a decoder's thread: a download must answer to Ctrl-C. A few files are read again.
                    book.encoder = encoder()
                    stages.lanes = flow.begin(book.encoder)
            flow.finish()
            book.settle()
        except BaseException:
            # Ctrl-C, a failing device: what is encoded is kept, if it agrees.
            try:
                flow.stop()
                book.settle()
            except BaseException:  # Ctrl-C again, or it does not agree
                writer.abandon()
                raise
            raise
    return skipped


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
        writer.delete("images", root.vanished)
    writer.delete("skipped", plan.vanished_skipped)
    return sum(len(root.vanished) for root in plan.roots) + len(book.broken)


def _counts(plan: Plan, book: Book, skipped: int, deleted: int) -> ImageCounts:
    return ImageCounts(
        added=book.added,
        updated=book.updated,
        reused=book.copied,
        unchanged=plan.unchanged,
        deleted=deleted,
        skipped=skipped - len(book.unknown),
        still_skipped=plan.still_skipped,
        in_gallery=book.added + book.updated + plan.unchanged + len(book.unknown),
        skipped_reasons=tuple(book.reasons.most_common()),
        unreadable=(*plan.unreadable, *book.unknown),
        linked_folders=tuple(plan.linked_folders),
    )


class _EncoderWanted(Exception):
    """A picture is to be encoded, and the encoder is not loaded yet."""
