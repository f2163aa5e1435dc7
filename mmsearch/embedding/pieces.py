"""A plan cut into pieces that one worker does at a time, each with row ids of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mmsearch.sources import Container, Member
from mmsearch.sync import Task

__all__ = ["Piece", "Pieces", "parts_of"]

# A piece should take this long: short, so that little is lost with a worker and a commit is never far; long, so that
# what each costs by itself (a shard, some messages) does not count. Large files make it slow, and so small.
_SECONDS = 20.0
_FIRST = 256  # files, before anything is known of how fast a worker is
_LEAST = 32
MOST = 16_384  # more than a shard may have and still be small
_PARTS = 16  # of a piece that ended its workers


@dataclass(frozen=True, slots=True)
class Piece:
    """Files to embed. The file at place i of `tasks`, if it becomes a row of its own, has the id first_row_id + i."""

    first_row_id: int
    tasks: tuple[Task, ...]


class Pieces:
    """Cuts the files of a run, in their order. reserve: see `GalleryWriter.reserve`."""

    def __init__(self, tasks: Sequence[Task], reserve: Callable[[int], int]) -> None:
        self._tasks, self._reserve = tasks, reserve
        self._next = 0
        self._files, self._seconds = 0, 0.0

    def learn_rate(self, files: int, seconds: float) -> None:
        """Tell how long a worker took for a piece."""
        # What came last counts more: files differ from folder to folder.
        self._files, self._seconds = self._files // 2 + files, self._seconds / 2 + seconds

    def next(self, workers: int) -> Piece | None:
        """The next piece, so large that each of `workers` still gets some of what is left; None where all are cut."""
        start, left = self._next, len(self._tasks) - self._next
        if not left:
            return None
        wanted = round(self._files / self._seconds * _SECONDS) if self._seconds > 0 else _FIRST
        size = min(MOST, max(_LEAST, min(wanted, left // (2 * max(1, workers)))))
        self._next = self._end(start, min(len(self._tasks), start + size))
        return Piece(self._reserve(self._next - start), tuple(self._tasks[start : self._next]))

    def _end(self, start: int, end: int) -> int:
        """Where to cut instead of at `end`, so that no archive is opened by two workers that one could do."""
        if end == len(self._tasks) or _archive(self._tasks[end]) is None:
            return end
        archive, size = _archive(self._tasks[end]), end - start
        begins = past = end
        while begins > start and _archive(self._tasks[begins - 1]) == archive:
            begins -= 1
        while past < min(len(self._tasks), start + 2 * size) and _archive(self._tasks[past]) == archive:
            past += 1
        if past < len(self._tasks) and _archive(self._tasks[past]) == archive:  # too much of it to be added
            return begins if begins - start >= size // 2 else end
        return past


def parts_of(piece: Piece) -> list[Piece]:
    """A piece cut into sixteen, or as many as it has files; each keeps its row ids."""
    size = -(-len(piece.tasks) // _PARTS)
    return [
        Piece(piece.first_row_id + start, piece.tasks[start : start + size])
        for start in range(0, len(piece.tasks), size)
    ]


def _archive(task: Task) -> Container | None:
    return task.file.container if isinstance(task.file, Member) else None
