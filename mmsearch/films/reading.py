"""Reads films through processes, one film at a time: one that hangs, or wants too much memory, is ended.

A process that has read a film is kept for the next: to start one takes as long as a short film.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import ImageError
from mmsearch.file_ranges import AnyFile, as_range
from mmsearch.films.frame_table import MOST_FRAMES, FrameTable, read_mp4_table
from mmsearch.films.messages import FilmRequest, read_message
from mmsearch.kept_processes import KeptProcesses

__all__ = ["Film", "FilmFrame", "FilmLimits", "film_processes", "has_decoder", "open_film", "read_table"]

_COMMAND = [sys.executable, "-P", "-m", "mmsearch.films.film_process"]
_BYTES_A_FRAME = 9  # of a table
_MOST_RATIO = 64
"""Of the longer side of a frame to the shorter: how many bytes one may have follows from that."""


def has_decoder() -> bool:
    """Whether films can be read: the extra `video` is installed. Imports nothing."""
    return find_spec("av") is not None


@dataclass(frozen=True, slots=True)
class FilmLimits:
    """What a film may cost.

    Attributes:
        side: pixels of the shorter side of a frame that is taken out, at most; more than models look at.
        max_pixels: a film of larger frames is not read.
        seconds: how long nothing may come. A table of a film in a container without one takes as long as reading it.
        threads: that decode; None for the cores, shared with what is read beside it.
    """

    side: int = 720
    max_pixels: int = 200_000_000
    seconds: float = 120.0
    table_seconds: float = 1_800.0
    threads: int | None = None


_USUAL = FilmLimits()


@dataclass(frozen=True, slots=True)
class FilmFrame:
    """One frame.

    Attributes:
        seconds: when it is shown, from the beginning of the film.
        pixels: (height, width, 3), RGB, upright.
        damaged: whether its decoder says so.
        seen_at: which of the times that were asked for it is seen at, by their indices.
    """

    seconds: float
    pixels: NDArray[np.uint8] = field(repr=False)
    damaged: bool
    seen_at: tuple[int, ...]


@dataclass(slots=True)
class Film:
    """An open film.

    Attributes:
        width, height: of its frames as they are stored.
        tags: texts that it says of itself, by their names in small letters.
        frames: those that were asked for, in their order; what cannot be decoded is not among them. Raises ImageError
            where the film cannot be read on.
    """

    width: int
    height: int
    tags: Mapping[str, str]
    frames: Iterator[FilmFrame]


def read_table(film: AnyFile, limits: FilmLimits = _USUAL) -> FrameTable:
    """When the frames of a film are shown. Raises ImageError, OSError.

    Of most MP4 and QuickTime files this takes a moment; others are read to their end, and nothing of them is decoded.
    """
    with as_range(film).open() as file:
        table = read_mp4_table(file)
    if table is not None:
        return table
    with _answers(film, None, limits, limits.table_seconds) as answers:
        answers.next("header")
        _, said, data = answers.next("table")
    count = said["frames"]
    times, is_key = np.frombuffer(data, np.float64, count), np.frombuffer(data, np.bool_, count, 8 * count)
    return FrameTable(times, is_key, said["end"], said["damage"])


@contextmanager
def open_film(film: AnyFile, times: Sequence[float], limits: FilmLimits = _USUAL) -> Iterator[Film]:
    """Open a film for the frames that are seen at some seconds, ascending. Raises ImageError, OSError."""
    with _answers(film, times, limits, limits.seconds) as answers:
        _, said, _ = answers.next("header")
        with closing(_frames(answers)) as frames:
            yield Film(said["width"], said["height"], said["tags"], frames)


def _frames(answers: "_Answers") -> Generator[FilmFrame]:
    while True:
        event, said, data = answers.next("frame")
        if event == "end":
            return
        pixels = np.frombuffer(data, np.uint8).reshape(said["height"], said["width"], 3)
        yield FilmFrame(said["seconds"], pixels, said["damaged"], tuple(said["seen_at"]))


@contextmanager
def _answers(film: AnyFile, times: Sequence[float] | None, limits: FilmLimits, seconds: float) -> Iterator["_Answers"]:
    """Ask a process. Raises ImageError where there is none, OSError where the file is not there."""
    file = as_range(film)
    file.state()
    if not has_decoder():
        raise ImageError("identify", NO_DECODER)
    with film_processes.one() as process:
        threads = limits.threads or max(1, (os.cpu_count() or 1) // film_processes.used)
        process.ask(FilmRequest(file.path, times, limits.side, limits.max_pixels, threads, file.start, file.size))
        most_bytes = 3 * limits.side**2 * _MOST_RATIO if times is not None else _BYTES_A_FRAME * MOST_FRAMES
        yield _Answers(process, seconds, most_bytes)


NO_DECODER = "a film, which is read through: pip install 'mmsearch[video]'"
_BROKEN = "its decoder broke down: damaged film, or one that needs more memory than it may have"
_LAST = frozenset({"table", "end"})
"""Messages behind which nothing more comes of a request."""


class _FilmProcess:
    """A process that reads films."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._has_answered = True

    @property
    def is_free(self) -> bool:
        """See `KeptProcess`."""
        return self._has_answered and self._process.poll() is None

    def ask(self, request: FilmRequest) -> None:
        """Send a request. Raises ImageError."""
        assert self._process.stdin is not None
        self._has_answered = False
        try:
            request.write(self._process.stdin)
        except OSError:
            raise ImageError("decode", _BROKEN) from None

    def answer(self, most_bytes: int) -> tuple[str, Mapping[str, Any], bytes] | None:
        """The next message; None where it ended."""
        assert self._process.stdout is not None
        message = read_message(self._process.stdout, most_bytes)
        self._has_answered = message is not None and message[0] in _LAST
        return message

    def kill(self) -> None:
        """End it, from any thread; whoever waits for an answer gets none."""
        self._process.kill()

    def end(self) -> None:
        """End it, and leave nothing of it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was written to it and not taken
                    pipe.close()


film_processes = KeptProcesses(_FilmProcess)
"""Those of this program."""


class _Answers:
    """What a process says of a film, message by message."""

    def __init__(self, process: _FilmProcess, seconds: float, most_bytes: int) -> None:
        self._process, self._seconds, self._most_bytes = process, seconds, most_bytes

    def next(self, expected: str) -> tuple[str, Mapping[str, Any], bytes]:
        """The next message. Raises ImageError where there is none, or where it says so."""
        overdue = threading.Event()

        def end() -> None:
            overdue.set()
            self._process.kill()

        timer = threading.Timer(self._seconds, end)
        timer.daemon = True
        timer.start()
        try:
            message = self._process.answer(self._most_bytes)
        finally:
            timer.cancel()
        if message is None:
            late = f"damaged film: nothing came of it for {self._seconds:g} seconds"
            raise ImageError("decode", late if overdue.is_set() else _BROKEN)
        event, fields, _ = message
        if event == "error":
            raise ImageError("identify" if expected == "header" else "decode", str(fields["reason"]))
        return message
