"""Processes that others have started, as Linux lists them."""

from contextlib import suppress
from pathlib import Path

__all__ = ["children"]


def children(pid: int) -> list[int]:
    """The processes that a process, or one of its threads, has started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end between being listed and being read: by then its children are another's.
        with suppress(FileNotFoundError, ProcessLookupError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found
