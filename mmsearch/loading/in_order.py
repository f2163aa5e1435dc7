"""Many files at once by threads, and what comes of them in the files' order, each within its time."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from mmsearch.cutting import cutter_of
from mmsearch.errors import ImageError
from mmsearch.loading.records import LoadedFile
from mmsearch.sources import Member, SourceFile, read_ahead
from mmsearch.workers import Overdue, Workers

__all__ = ["load_in_order"]

_FILES_PER_THREAD = 4  # in flight: enough that no thread waits, few enough that pixels stay a few megabytes


def load_in_order(
    load_one: Callable[[SourceFile], LoadedFile],
    files: Iterable[SourceFile],
    workers: Workers,
    threads: int,
    seconds: float,
    load_pictures: "Callable[[Sequence[Member]], Generator[LoadedFile, None, None]] | None" = None,
) -> Iterator[LoadedFile]:
    pending: deque[_Pending] = deque()
    in_flight = 0

    def submit(batch: Sequence[SourceFile]) -> list[_Pending]:
        if load_pictures is None or not _is_made(batch[0]):
            task = workers.submit(load_one, batch[0])
            return [_Pending(batch[0].without_bytes(), task, task, 1)]
        members = [file for file in batch if isinstance(file, Member)]
        results = [Future[LoadedFile]() for _ in members]
        task_of_all = workers.submit(_load_together, load_pictures, members, results, workers)
        counted = len(members) - _FILES_PER_THREAD  # together they count as much as one thread may have
        return [
            _Pending(member, result, task_of_all, int(position >= counted))
            for position, (member, result) in enumerate(zip(members, results, strict=True))
        ]

    def take_first() -> LoadedFile:
        nonlocal in_flight
        first = pending.popleft()
        in_flight -= first.weight
        try:
            return _wait(workers, first, seconds)
        except Overdue:
            if rest := [other for other in pending if other.task is first.task]:  # another thread does the others
                others = [other for other in pending if other.task is not first.task]
                pending.clear()
                pending.extend((*submit([other.file for other in rest]), *others))
                in_flight = sum(each.weight for each in pending)
            return LoadedFile(first.file, error=ImageError("decode", f"not decoded within {seconds:g} seconds"))

    try:
        for batch in _batches(read_ahead(files)):
            submitted = submit(batch)
            pending.extend(submitted)
            in_flight += sum(each.weight for each in submitted)
            while in_flight > threads * _FILES_PER_THREAD:
                yield take_first()
        while pending:
            yield take_first()
    finally:
        for each in pending:
            each.result.cancel()
            each.task.cancel()


@dataclass(frozen=True, slots=True)
class _Pending:
    """A file that is being loaded. task: that of a worker, which may have more than this one to load. weight: how much
    it counts among what is in flight."""

    file: SourceFile
    result: Future[LoadedFile]
    task: Future[Any]
    weight: int


def _wait(workers: Workers, pending: _Pending, seconds: float) -> LoadedFile:
    """See `Workers.result`."""
    while True:
        try:
            return pending.result.result(timeout=workers.left(pending.task, seconds))
        except TimeoutError:
            if pending.result.done():
                return pending.result.result()


def _is_made(file: SourceFile) -> bool:
    """Whether a picture is made of its file, as a page or a frame is."""
    return (
        isinstance(file, Member)
        and file.container is not None
        and file.container.form == "pictures"
        and bool(file.span)
    )


def _batches(files: Iterable[SourceFile]) -> Iterator[list[SourceFile]]:
    """Files one by one, and together those pictures of one file that are made by one call."""
    batch: list[SourceFile] = []
    for file in files:
        if batch and not _are_made_together(batch, file):
            yield batch
            batch = []
        batch.append(file)
        if not _is_made(file):
            yield batch
            batch = []
    if batch:
        yield batch


def _are_made_together(batch: Sequence[SourceFile], file: SourceFile) -> bool:
    first = batch[0]
    if not (isinstance(first, Member) and isinstance(file, Member) and first.container and file.container):
        return False
    if not _is_made(file) or first.container.location != file.container.location:
        return False
    cutter = cutter_of(file.container.location, file.span)
    return cutter is cutter_of(first.container.location, first.span) and (
        cutter is None or len(batch) < cutter.together
    )


def _load_together(
    load_pictures: Callable[[Sequence[Member]], Generator[LoadedFile, None, None]],
    members: Sequence[Member],
    results: Sequence[Future[LoadedFile]],
    workers: Workers,
) -> None:
    """Load pictures of one file; each has its own time, and its result is there as soon as it is loaded."""
    done = 0
    try:
        loading = load_pictures(members)
        for _ in members:
            loaded = next(loading)
            if done == len(members) - 1:
                loading.close()  # the program may end with the last result: nothing is held any more, as the encoder
                del loading
            if not results[done].set_running_or_notify_cancel():
                return
            results[done].set_result(loaded)
            done += 1
            workers.begin_anew()
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
        for result in results[done:]:
            if result.set_running_or_notify_cancel():
                result.set_exception(error)
