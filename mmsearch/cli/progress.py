"""Shows long work on stderr: a bar on a terminal, nothing elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from mmsearch.cli.options import say
from mmsearch.records import Progress, ProgressCallback, quiet

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["RESUMABLE", "Display", "display"]

RESUMABLE = "what was encoded is kept, and the same command continues from there"


@dataclass(frozen=True, slots=True)
class Display:
    """progress: to be told how far work is. announce: to be told a line; on a terminal it appears above the bar."""

    progress: ProgressCallback = quiet
    announce: Callable[[str], None] = say


@contextmanager
def display(*, interrupted: str) -> Iterator[Display]:
    """What shows long work while the block runs.

    interrupted: what Ctrl-C means here; it is said, and the command exits with 130.
    """
    try:
        with _bars() if sys.stderr.isatty() else nullcontext(Display()) as shown:
            yield shown
    except KeyboardInterrupt:
        say(f"interrupted; {interrupted}")
        raise typer.Exit(130) from None


@contextmanager
def _bars() -> Iterator[Display]:
    """A bar with share done, rate, time left and the count of skipped files."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[skipped]}"),
    ]
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        shown: dict[str, TaskID] = {}

        def show(state: Progress) -> None:
            if state.task not in shown:
                for done in shown.values():  # one bar at a time: what is over is no news
                    bars.update(done, visible=False)
                shown[state.task] = bars.add_task(state.task, total=state.total, rate="", skipped="")
            task = shown[state.task]
            speed = next((entry.speed for entry in bars.tasks if entry.id == task), None)
            bars.update(
                task,
                completed=state.done,
                total=state.total,
                rate=f"{speed:,.1f}/s" if speed else "",
                skipped=f"{state.skipped:,} skipped" if state.skipped else "",
            )

        yield Display(show, lambda line: bars.console.print(f"mmsearch: {line}", markup=False, highlight=False))
