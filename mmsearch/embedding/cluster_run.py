"""The executor that uses a cluster: it gives pieces of a plan to workers and brings their outcomes into the gallery.

The workers write the shards. Only this process commits, and a shard belongs to the gallery once a commit names it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from mmsearch.cluster import Dispatcher, FinishedPiece, LostPiece, WorkerPool
from mmsearch.embedding.file_sync import TaskRun
from mmsearch.embedding.parity import ParityCheck
from mmsearch.embedding.pieces import Piece, PieceCutter, split_piece
from mmsearch.embedding.recording import RowRecorder
from mmsearch.embedding.records import EmbedOptions
from mmsearch.embedding.sink import LoadedTask
from mmsearch.embedding.stage_times import StageClock
from mmsearch.embedding.worker import PieceOutcome, WorkerInfo, sort_hashes
from mmsearch.encoders import Encoder
from mmsearch.errors import ClusterError, EncoderMismatch, ImageError, ParityError, SourceError
from mmsearch.items import AnyKind
from mmsearch.loading import LoadedFile
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.sources import open_source_file
from mmsearch.sync import Task
from mmsearch.version import __version__

__all__ = ["ClusterExecutor", "SharingWorkerPool"]

# The hashes of known content are shared with the workers again when there are this many times more of them. Sharing
# costs a copy to each machine; content that a worker does not know of yet it encodes once more, to the same vectors.
_GROWTH = 1.25
_LEAST_GROWTH = 10_000


class SharingWorkerPool(WorkerPool, Protocol):
    """A pool whose workers are called with a piece and with the value that was last shared."""

    def share(self, value: object) -> None:
        """Set the value that every worker is called with from now on, beside its piece."""
        ...


class ClusterExecutor:
    """Has a plan carried out by a pool of workers.

    start_pool: starts one for the items of a kind.
    check_model: called for each worker once it is ready. Raises EncoderMismatch where its model is another one.
    """

    def __init__(
        self,
        start_pool: Callable[[AnyKind], SharingWorkerPool],
        *,
        check_model: Callable[[WorkerInfo], None],
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._start_pool, self._check_model, self._announce = start_pool, check_model, announce

    def run_tasks(
        self,
        tasks: Sequence[Task],
        recorder: RowRecorder,
        encoder: Callable[[], Encoder],
        options: EmbedOptions,
        progress: ProgressCallback,
    ) -> TaskRun:
        """See `Executor`. The encoder is loaded by the workers alone."""
        pool = self._start_pool(recorder.kind)
        run = _PlanRun(pool, tasks, recorder, self._check_worker, self._announce)
        files_done = 0
        try:
            with recorder.settling():
                for piece in run:
                    files_done += len(piece.tasks)
                    progress(Progress("embedding", files_done, len(tasks), run.skipped))
        finally:
            pool.close()
            run.close()
        return TaskRun(run.skipped, run.clock)

    def _check_worker(self, info: WorkerInfo, machine: str) -> None:
        """Raise ClusterError or EncoderMismatch unless a worker has the same program and the same model."""
        if info.version != __version__:
            raise ClusterError(f"mmsearch on {machine} is {info.version}, and here it is {__version__}")
        for line in info.announcements:
            self._announce(f"{machine}: {line}")
        try:
            self._check_model(info)
        except EncoderMismatch as error:
            raise EncoderMismatch(f"the model on {machine} is another one: {error}") from error


class _PlanRun:
    """One plan being carried out. Iterating yields the pieces that are finished or lost."""

    def __init__(
        self,
        pool: SharingWorkerPool,
        tasks: Sequence[Task],
        recorder: RowRecorder,
        check_worker: Callable[[WorkerInfo, str], None],
        announce: Callable[[str], None],
    ) -> None:
        self._pool, self._recorder = pool, recorder
        self._check_worker, self._announce = check_worker, announce
        self._pieces = PieceCutter(tasks, partial(recorder.writer.reserve, recorder.kind.name))
        self._workers: dict[int, WorkerInfo] = {}
        self._lanes: dict[int, int] = {}
        self._shared_count = -1
        self.clock = StageClock()
        self.skipped = 0

    def __iter__(self) -> Iterator[Piece]:
        self._share_known_hashes()
        dispatcher: Dispatcher[Piece, PieceOutcome] = Dispatcher(
            self._pool,
            next_piece=self._pieces.next_piece,
            split_piece=split_piece,
            on_ready=self._add_worker,
            fatal_errors=(ParityError, EncoderMismatch),
            announce=self._announce,
        )
        for result in dispatcher:
            if isinstance(result, LostPiece):
                self._skip_lost_file(result)
            else:
                self._record_outcome(result)
            yield result.piece

    def close(self) -> None:
        """Release the reserved row ids, and complete the clock."""
        self._recorder.writer.release_all()
        workers, clock = list(self._workers.values()), self.clock
        clock.threads = max(1, sum(info.threads for info in workers))
        clock.lanes = sum(self._lanes.values())
        clock.writers, clock.commit = max(1, len(workers)), self._recorder.write_seconds

    def _add_worker(self, worker: int, info: WorkerInfo) -> None:
        self._check_worker(info, self._pool.machine_of(worker))
        self._workers[worker] = info

    def _record_outcome(self, finished: FinishedPiece[Piece, PieceOutcome]) -> None:
        piece, outcome, machine = finished.piece, finished.outcome, self._pool.machine_of(finished.worker)
        self._recorder.writer.require_written(self._recorder.kind.name, outcome.shards, machine)
        _require_sources(piece, outcome, machine)
        self._pieces.learn_rate(len(piece.tasks), outcome.seconds)
        self.clock.join(outcome.clock)
        self._lanes[finished.worker] = outcome.clock.lanes
        provenance = self._workers[finished.worker].provenance
        self._recorder.checks.setdefault(provenance, ParityCheck()).join(outcome.compared)
        self._recorder.adopt_outcome(piece.tasks, piece.first_row_id, outcome)
        self.skipped += len(outcome.skipped)
        self._share_known_hashes()

    def _skip_lost_file(self, lost_piece: LostPiece[Piece]) -> None:
        (task,) = lost_piece.piece.tasks
        self._announce(f"{task.file.location} ended every worker that read it, and is skipped: {lost_piece.reason}")
        error = ImageError("decode", "ended every worker that read it")
        self._recorder.writer.release(self._recorder.kind.name, lost_piece.piece.first_row_id, 1)
        self._recorder.add_skipped([LoadedTask(task, LoadedFile(task.file, error=error))])
        self.skipped += 1

    def _share_known_hashes(self) -> None:
        known = self._recorder.known
        if self._shared_count < 0 or len(known) > max(_GROWTH * self._shared_count, self._shared_count + _LEAST_GROWTH):
            self._shared_count = len(known)
            self._pool.share(sort_hashes(list(known)))


def _require_sources(piece: Piece, outcome: PieceOutcome, machine: str) -> None:
    """Raise SourceError where a worker could read no file of a root and this machine can: the worker lacks a mount."""
    missing: dict[str, list[Task]] = {}
    for task_index, loaded in outcome.skipped:
        if loaded.error is not None and loaded.error.stage == "read":
            task = piece.tasks[task_index]
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
            f"on {machine} none of {len(tasks):,} files below {root} can be read, and here they can (as "
            f"{tasks[0].file.location}). Every machine of the cluster has to have the pictures at the same path. What "
            "is embedded is kept; mount them there, or take the machine out of the cluster, and run the same command"
        )
