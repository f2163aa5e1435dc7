"""Cuts a plan into pieces. A worker does one piece at a time; each piece has row ids of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mmsearch.sources import Container, Member
from mmsearch.sync import Task

__all__ = ["Piece", "PieceCutter", "split_piece"]

# How long a piece should take: short, so that little is lost with a worker and commits come often; long, so that the
# fixed cost of a piece (a shard, some messages) does not count. With large files a piece has few of them.
_SECONDS = 20.0
_FIRST = 256  # files, before anything is known of how fast a worker is
_LEAST = 32
MOST = 16_384  # more than a shard may have and still be small
_PARTS = 16  # of a piece that ended its workers


@dataclass(frozen=True, slots=True)
class Piece:
    """Files to embed. If `tasks[i]` becomes a row, the row's id is first_row_id + i. run_files: of the whole run."""

    first_row_id: int
    tasks: tuple[Task, ...]
    run_files: int


class PieceCutter:
    """Cuts the files of a run, in their order. reserve: see `GalleryWriter.reserve`."""

    def __init__(self, tasks: Sequence[Task], reserve: Callable[[int], int]) -> None:
        self._tasks, self._reserve = tasks, reserve
        self._next = 0
        self._files, self._seconds = 0, 0.0

    def learn_rate(self, files: int, seconds: float) -> None:
        """Take in how long a worker took for a piece."""
        # What came last counts more: files differ from folder to folder.
        self._files, self._seconds = self._files // 2 + files, self._seconds / 2 + seconds

    def next_piece(self, workers: int) -> Piece | None:
        """The next piece, so large that each of `workers` still gets some of the rest; None where none is left."""
        start, left = self._next, len(self._tasks) - self._next
        if not left:
            return None
        files_wanted = round(self._files / self._seconds * _SECONDS) if self._seconds > 0 else _FIRST
        size = min(MOST, max(_LEAST, min(files_wanted, left // (2 * max(1, workers)))))
        self._next = self._choose_end(start, min(len(self._tasks), start + size))
        return Piece(self._reserve(self._next - start), tuple(self._tasks[start : self._next]), len(self._tasks))

    def _choose_end(self, start: int, end: int) -> int:
        """Move `end` so that an archive that fits into one piece is opened by one worker only, and that all frames of a
        film are compared, but for one of more than MOST."""
        archive_at_end = None if end == len(self._tasks) else _container_of(self._tasks[end])
        if archive_at_end is None:
            return end
        archive, size = archive_at_end, end - start
        container_start = container_end = end
        while container_start > start and _container_of(self._tasks[container_start - 1]) == archive:
            container_start -= 1
        while (
            container_end < min(len(self._tasks), start + (MOST if archive.form == "pictures" else 2 * size))
            and _container_of(self._tasks[container_end]) == archive
        ):
            container_end += 1
        if (
            container_end < len(self._tasks) and _container_of(self._tasks[container_end]) == archive
        ):  # too much of it to be added
            return container_start if container_start - start >= size // 2 else end
        return container_end


def split_piece(piece: Piece) -> list[Piece]:
    """A piece cut into sixteen, or as many as it has files; each keeps its row ids."""
    size = -(-len(piece.tasks) // _PARTS)
    return [
        replace(piece, first_row_id=piece.first_row_id + start, tasks=piece.tasks[start : start + size])
        for start in range(0, len(piece.tasks), size)
    ]


def _container_of(task: Task) -> Container | None:
    return task.file.container if isinstance(task.file, Member) else None
