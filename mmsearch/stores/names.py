"""What stores say of the names in them."""

from dataclasses import dataclass

__all__ = ["Entry", "NameTaken"]


class NameTaken(Exception):
    """The name that was to be created exists already: somebody else committed first."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, or a folder with all that is in it. files: how many. modified: of the newest, as a Unix time."""

    name: str
    files: int
    bytes: int
    modified: float
