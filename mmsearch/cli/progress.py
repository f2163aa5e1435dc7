"""Shows the progress of long work on stderr: a bar on a terminal, nothing elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mmsearch.records import Progress, ProgressCallback, quiet

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["progress_bar"]


@contextmanager
def progress_bar() -> Iterator[ProgressCallback]:
    """A progress callback: a bar with rate, time left and the count of skipped files."""
    if not sys.stderr.isatty():
        yield quiet
        return
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
        tasks: dict[str, TaskID] = {}

        def show(state: Progress) -> None:
            if state.task not in tasks:
                for task in tasks.values():
                    bars.stop_task(task)
                tasks[state.task] = bars.add_task(state.task, total=state.total, rate="", skipped="")
            task = tasks[state.task]
            speed = next((entry.speed for entry in bars.tasks if entry.id == task), None)
            bars.update(
                task,
                completed=state.done,
                total=state.total,
                rate=f"{speed:,.1f}/s" if speed else "",
                skipped=f"{state.skipped:,} skipped" if state.skipped else "",
            )

        yield show
