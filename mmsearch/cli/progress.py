"""Shows long work: a bar on a terminal, JSON lines for a program that asks for them, nothing elsewhere."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import typer

from mmsearch.cli.options import say
from mmsearch.names import printable
from mmsearch.progress import Progress, ProgressCallback, quiet

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["RESUMABLE", "Display", "display", "duration", "interruptible"]

RESUMABLE = "what was encoded is kept, and the same command continues from there"
_EVERY = 0.5  # seconds between two JSON lines: often enough for a bar, rarely enough to cost nothing


@dataclass(frozen=True, slots=True)
class Display:
    """progress: to be told how far work is. announce: to be told a line; on a terminal it appears above the bar."""

    progress: ProgressCallback = quiet
    announce: Callable[[str], None] = say


@contextmanager
def display(*, interrupted: str, output: Literal["text", "jsonl"] = "text") -> Iterator[Display]:
    """What shows long work while the block runs.

    interrupted: what Ctrl-C and SIGTERM mean here; it is said, and the command exits with 130. output: "jsonl" for a
    line of JSON on stdout twice a second, {"event": "progress", "task", "done", "total", "skipped", "per_second",
    "seconds_left"}.
    """
    with interruptible(interrupted), _shown(output) as shown:
        yield shown


@contextmanager
def interruptible(interrupted: str) -> Iterator[None]:
    """Where Ctrl-C or SIGTERM ends the block, say what that means and exit with 130."""
    import signal
    import threading

    # Only the main thread may; who has other plans for SIGTERM, or takes none, keeps them.
    in_charge = threading.current_thread() is threading.main_thread()
    in_charge = in_charge and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if in_charge:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        say(f"interrupted; {interrupted}")
        raise typer.Exit(130) from None
    finally:
        if in_charge:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _shown(output: Literal["text", "jsonl"]) -> AbstractContextManager[Display]:
    if output == "jsonl":
        return nullcontext(Display(_JsonLines()))
    return _bars() if sys.stderr.isatty() else nullcontext(Display())


def duration(seconds: float) -> str:
    """A length of time as people say it: "40 s", "12 min", "3 h 05 min"."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60:02d} min"


class _JsonLines:
    """A progress callback that prints, at most twice a second and at the end of each task."""

    def __init__(self) -> None:
        self._task, self._started, self._printed = "", 0.0, 0.0

    def __call__(self, state: Progress) -> None:
        now = time.monotonic()
        if state.task != self._task:
            self._task, self._started, self._printed = state.task, now, 0.0
        if now - self._printed < _EVERY and state.done != state.total:
            return
        self._printed = now
        rate = state.done / (now - self._started) if now > self._started else None
        left = (state.total - state.done) / rate if rate and state.total is not None else None
        fields = {"task": state.task, "done": state.done, "total": state.total, "skipped": state.skipped}
        times = {"per_second": rate and round(rate, 2), "seconds_left": None if left is None else round(left, 1)}
        print(json.dumps({"event": "progress", **fields, **times}), flush=True)


@contextmanager
def _bars() -> Iterator[Display]:
    """A bar with share done, rate, time left and the count of skipped files."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[skipped]}"),
    ]
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(state: Progress) -> None:
            if state.task not in tasks:
                tasks[state.task] = bars.add_task(state.task, total=state.total, rate="", skipped="", visible=False)
            task = tasks[state.task]
            bar = next(each for each in bars.tasks if each.id == task)
            if not bar.visible:  # one bar at a time: what is over, or waits, is no news
                for each in tasks.values():
                    bars.update(each, visible=each == task)
            if state.done < bar.completed:
                bars.reset(task)  # the same work, begun anew
            speed = bar.speed
            bars.update(
                task,
                completed=state.done,
                total=state.total,
                rate=_rate(speed, "images/s" if state.task == "embedding" else "/s"),
                skipped=f"{state.skipped:,} skipped" if state.skipped else "",
            )

        yield Display(
            show, lambda line: bars.console.print(f"mmsearch: {printable(line)}", markup=False, highlight=False)
        )


def _rate(speed: float | None, unit: str) -> str:
    return f"{speed:,.1f} {unit}".replace(" /s", "/s") if speed else ""
