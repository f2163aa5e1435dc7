"""The executor that has others work: pieces of a plan to workers, what they come to into the gallery.

The workers write the shards; nothing of it is in the gallery before this process, the only one that commits, names it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from mmsearch.cluster import Crew, Dispatch, Done, Lost
from mmsearch.embedding.file_sync import TaskRun
from mmsearch.embedding.parity import ParityCheck
from mmsearch.embedding.pieces import Piece, Pieces, parts_of
from mmsearch.embedding.recording import RowRecorder
from mmsearch.embedding.records import EmbedOptions
from mmsearch.embedding.sink import LoadedTask
from mmsearch.embedding.stage_times import StageClock
from mmsearch.embedding.worker import Introduction, Outcome, hashes
from mmsearch.encoders import Encoder
from mmsearch.errors import ClusterError, EncoderMismatch, ImageError, ParityError, SourceError
from mmsearch.items import AnyKind
from mmsearch.loader import Loaded
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.sources import open_source_file
from mmsearch.sync import Task
from mmsearch.version import __version__

__all__ = ["SharingCrew", "ClusterExecutor"]

# Workers are told anew what content is known when so much more of it is: telling costs a copy to each machine, and what
# they do not know of yet they encode once more, to the same vectors.
_GROWN = 1.25
_LEAST_GROWN = 10_000


class SharingCrew(Crew, Protocol):
    """A crew whose workers are called with a piece and what was last shared."""

    def share(self, value: object) -> None:
        """What every worker is called with from now on, beside its piece."""
        ...


class ClusterExecutor:
    """Has a plan carried out by a crew.

    introduced: told of each worker once it is ready, and raises what speaks against it.
    """

    def __init__(
        self,
        crew: Callable[[AnyKind], SharingCrew],
        *,
        introduced: Callable[[Introduction], None],
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._crew, self._introduced, self._announce = crew, introduced, announce

    def run_tasks(
        self,
        tasks: Sequence[Task],
        recorder: RowRecorder,
        encoder: Callable[[], Encoder],
        options: EmbedOptions,
        progress: ProgressCallback,
    ) -> TaskRun:
        """See `Executor`. The encoder is loaded by the workers alone."""
        crew = self._crew(recorder.kind)
        run = _PlanRun(crew, tasks, recorder, self._admitted, self._announce)
        done = 0
        try:
            with recorder.settling():
                for piece in run:
                    done += len(piece.tasks)
                    progress(Progress("embedding", done, len(tasks), run.skipped))
        finally:
            crew.close()
            run.end()
        return TaskRun(run.skipped, run.clock)

    def _admitted(self, introduction: Introduction, where: str) -> None:
        """Raise unless a worker has the same program and the same model."""
        if introduction.version != __version__:
            raise ClusterError(f"mmsearch on {where} is {introduction.version}, and here it is {__version__}")
        for line in introduction.said:
            self._announce(f"{where}: {line}")
        try:
            self._introduced(introduction)
        except EncoderMismatch as error:
            raise EncoderMismatch(f"the model on {where} is another one: {error}") from error


class _PlanRun:
    """One plan being carried out. Iterated, it yields the pieces that are done with."""

    def __init__(
        self,
        crew: SharingCrew,
        tasks: Sequence[Task],
        recorder: RowRecorder,
        admit: Callable[[Introduction, str], None],
        announce: Callable[[str], None],
    ) -> None:
        self._crew, self._recorder = crew, recorder
        self._admit, self._announce = admit, announce
        self._pieces = Pieces(tasks, partial(recorder.writer.reserve, recorder.kind.name))
        self._workers: dict[int, Introduction] = {}
        self._lanes: dict[int, int] = {}
        self._told = -1
        self.clock = StageClock()
        self.skipped = 0

    def __iter__(self) -> Iterator[Piece]:
        self._tell_what_is_known()
        dispatch: Dispatch[Piece, Outcome] = Dispatch(
            self._crew,
            cut=self._pieces.next,
            split=parts_of,
            ready=self._on_ready,
            fatal=(ParityError, EncoderMismatch),
            announce=self._announce,
        )
        for result in dispatch:
            if isinstance(result, Lost):
                self._lost(result)
            else:
                self._take(result)
            yield result.piece

    def end(self) -> None:
        """Nobody is owed row ids any more; and where the time went."""
        self._recorder.writer.release_all()
        workers, clock = list(self._workers.values()), self.clock
        clock.threads = max(1, sum(each.threads for each in workers))
        clock.lanes = sum(self._lanes.values())
        clock.writers, clock.commit = max(1, len(workers)), self._recorder.write_seconds

    def _on_ready(self, worker: int, introduction: Introduction) -> None:
        self._admit(introduction, self._crew.where(worker))
        self._workers[worker] = introduction

    def _take(self, done: Done[Piece, Outcome]) -> None:
        piece, outcome, where = done.piece, done.outcome, self._crew.where(done.worker)
        self._recorder.writer.require_written(self._recorder.kind.name, outcome.shards, where)
        _require_sources(piece, outcome, where)
        self._pieces.learn_rate(len(piece.tasks), outcome.seconds)
        self.clock.join(outcome.clock)
        self._lanes[done.worker] = outcome.clock.lanes
        way = self._workers[done.worker].provenance
        self._recorder.checks.setdefault(way, ParityCheck()).join(outcome.compared)
        self._recorder.adopted(piece.tasks, piece.first_row_id, outcome)
        self.skipped += len(outcome.skipped)
        self._tell_what_is_known()

    def _lost(self, lost: Lost[Piece]) -> None:
        (task,) = lost.piece.tasks
        self._announce(f"{task.file.location} ended every worker that read it, and is skipped: {lost.reason}")
        error = ImageError("decode", "ended every worker that read it")
        self._recorder.writer.release(self._recorder.kind.name, lost.piece.first_row_id, 1)
        self._recorder.skipped([LoadedTask(task, Loaded(task.file, error=error))])
        self.skipped += 1

    def _tell_what_is_known(self) -> None:
        known = self._recorder.known
        if self._told < 0 or len(known) > max(_GROWN * self._told, self._told + _LEAST_GROWN):
            self._told = len(known)
            self._crew.share(hashes(list(known)))


def _require_sources(piece: Piece, outcome: Outcome, where: str) -> None:
    """Raise SourceError where a worker found no file of a root, and this machine does: it lacks a mount."""
    missing: dict[str, list[Task]] = {}
    for place, picture in outcome.skipped:
        if picture.error is not None and picture.error.stage == "read":
            task = piece.tasks[place]
            missing.setdefault(task.file.root, []).append(task)
    for root, tasks in missing.items():
        if len(tasks) < sum(task.file.root == root for task in piece.tasks):
            continue
        try:
            with open_source_file(tasks[0].file):
                pass
        except (OSError, ImageError):
            continue
        raise SourceError(
            f"on {where} none of {len(tasks):,} files below {root} can be read, and here they can (as "
            f"{tasks[0].file.location}). Every machine of the cluster has to have the pictures at the same path. What "
            "is embedded is kept; mount them there, or take the machine out of the cluster, and run the same command"
        )
