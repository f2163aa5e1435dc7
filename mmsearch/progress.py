"""What long work tells of itself, for whoever shows it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Progress", "ProgressCallback", "quiet"]


@dataclass(frozen=True, slots=True)
class Progress:
    """A state of long work, for whoever shows it.

    task: what is being done, a few words. done, total: items (total None while unknown). skipped: of those done.
    """

    task: str
    done: int
    total: int | None
    skipped: int = 0


ProgressCallback: TypeAlias = Callable[[Progress], None]


def quiet(_: Progress) -> None:
    """The default progress callback: says nothing."""
