"""The half of `embed` that takes files: carry out a plan, and delete what vanished."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mmsearch.embedding.file_work import process_files
from mmsearch.embedding.parity import ParityCheck
from mmsearch.embedding.recording import RowRecorder
from mmsearch.embedding.records import EmbedOptions, ImageCounts, ItemCounts
from mmsearch.embedding.stage_times import StageClock, StageTimes
from mmsearch.encoders import Encoder
from mmsearch.gallery import GalleryWriter
from mmsearch.items import DEFAULT_KIND, SKIPPED, AnyKind, kinds
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.sync import Plan, Task, check_prune, count_lost, find_leaving, needs_prune

__all__ = ["Executor", "FileRun", "LocalExecutor", "TaskRun", "embed_files", "route_of"]


@dataclass(frozen=True, slots=True)
class TaskRun:
    """The result of some tasks, beside what the recorder wrote.

    Attributes:
        skipped: how many files were skipped.
        clock: where the time went.
    """

    skipped: int
    clock: StageClock


@dataclass(frozen=True, slots=True)
class FileRun:
    """The result of a plan.

    Attributes:
        images: counts of images, and of all files.
        others: counts of the items of other kinds, by their names.
        stages: where the time went.
    """

    images: ImageCounts
    others: Mapping[str, ItemCounts]
    stages: StageTimes


class Executor(Protocol):
    """Embeds files, in this process or in others."""

    def run_tasks(
        self,
        tasks: Sequence[Task],
        recorder: RowRecorder,
        encoder: Callable[[], Encoder],
        options: EmbedOptions,
        progress: ProgressCallback,
    ) -> TaskRun:
        """Embed `tasks`, give the results to `recorder`, and settle it.

        encoder: loads the encoder, in this process. Where this method raises, `recorder` holds what was done until
        then, or has been abandoned.
        """
        ...


class LocalExecutor:
    """The executor that works in this process: rows go into the recorder as they are encoded."""

    def run_tasks(
        self,
        tasks: Sequence[Task],
        recorder: RowRecorder,
        encoder: Callable[[], Encoder],
        options: EmbedOptions,
        progress: ProgressCallback,
    ) -> TaskRun:
        """See `Executor`."""

        def report(done: int, skipped: int) -> None:
            progress(Progress("embedding", done, len(tasks), skipped))

        clock = StageClock(threads=options.threads or os.cpu_count() or 1)
        recorder.parity.expect(len(tasks))
        with recorder.settling():
            skipped = process_files(tasks, recorder, encoder, options, clock, report=report)
        clock.write, clock.compare = recorder.write_seconds, recorder.parity.take_seconds()
        clock.transfer, clock.encode = recorder.transfer_seconds, recorder.encode_seconds
        return TaskRun(skipped, clock)


def embed_files(
    writer: GalleryWriter,
    encoder: Callable[[], Encoder],
    plan: Plan,
    options: EmbedOptions,
    progress: ProgressCallback,
    executor: Executor | None = None,
) -> FileRun:
    """Embed the tasks of a plan, committing as it goes, and leave the deletes of what vanished pending.

    executor: by default a `LocalExecutor`.
    """
    executor = executor or LocalExecutor()
    clock = StageClock()
    recorders = {
        kind.name: RowRecorder(writer, kind, route_of(kind, options), ParityCheck(), options)
        for kind in kinds()
        if kind.files is not None
    }
    skipped = 0
    for name, recorder in recorders.items():
        if tasks := [task for task in plan.tasks if task.kind.name == name]:
            recorder.known = writer.gallery.content_hashes(name)
            recorder.leaving = find_leaving(writer.gallery, name, [root.vanished[name] for root in plan.roots])
        while tasks:
            run = executor.run_tasks(tasks, recorder, encoder, options, progress)
            skipped += run.skipped
            clock.join(run.clock)
            tasks = recorder.take_instead()
            plan.joined -= len(tasks)
    deleted = _delete_vanished(recorders, plan, options)
    counts = {
        name: ItemCounts(
            recorder.added - recorder.moved,
            recorder.updated,
            max(0, recorder.copied - recorder.moved),
            plan.unchanged[name],
            deleted[name] - recorder.moved,
            recorder.moved,
        )
        for name, recorder in recorders.items()
    }
    images = _count_images(plan, recorders, skipped, counts.pop(DEFAULT_KIND.name))
    return FileRun(images, counts, clock.times())


def route_of(kind: AnyKind, options: EmbedOptions) -> str:
    """The route by which files become what is encoded; see `Provenance.route`."""
    if kind.side != "image":
        return kind.side
    return "benchmark" if options.benchmark else "exact" if options.exact else "fast"


def _delete_vanished(recorders: Mapping[str, RowRecorder], plan: Plan, options: EmbedOptions) -> Counter[str]:
    """Delete the rows of files that are gone or can no longer be decoded. Returns how many of each kind.

    All roots are checked before anything is deleted.
    """
    writer = next(iter(recorders.values())).writer
    deleted = Counter({name: len(recorder.broken) for name, recorder in recorders.items()})
    for root in plan.roots:
        broken = [
            file_and_reason
            for recorder in recorders.values()
            for file_and_reason in recorder.broken
            if file_and_reason[0].root_id == root.root_id
        ]
        if not options.prune and needs_prune(root.vanished_count + len(broken), root.live):
            lost = sum(
                count_lost(writer.gallery, table, rows, recorders[table].written)
                for table, rows in root.vanished.items()
            )
            check_prune(root.folder, lost + len(broken), root.live)
    for recorder in recorders.values():
        recorder.delete_broken()
    for root in plan.roots:
        for table, rows in (*root.vanished.items(), *root.clutter.items()):
            writer.delete(table, rows)
            deleted[table] += len(rows)
    writer.delete(SKIPPED.name, plan.vanished_skipped)
    return deleted


def _count_images(plan: Plan, recorders: Mapping[str, RowRecorder], skipped: int, images: ItemCounts) -> ImageCounts:
    unknown = [file_and_reason for recorder in recorders.values() for file_and_reason in recorder.unknown]
    written = sum(recorder.added + recorder.updated + recorder.kept for recorder in recorders.values())
    return ImageCounts(
        added=images.added,
        updated=images.updated,
        reused=images.reused,
        unchanged=images.unchanged,
        deleted=images.deleted,
        moved=images.moved,
        skipped=skipped - len(unknown) + sum(recorder.withdrawn for recorder in recorders.values()),
        still_skipped=plan.still_skipped,
        merged=sum(recorder.merged for recorder in recorders.values()),
        joined=plan.joined - sum(recorder.kept for recorder in recorders.values()),
        passed_over=plan.passed_over,
        alike=sum(recorder.alike for recorder in recorders.values()),
        in_gallery=written + plan.unchanged.total() + len(unknown),
        skipped_reasons=tuple(sum((recorder.reasons for recorder in recorders.values()), Counter[str]()).most_common()),
        unreadable=(*plan.unreadable, *unknown),
        linked_folders=tuple(plan.linked_folders),
    )
