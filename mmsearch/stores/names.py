"""What stores say of the names in them."""

from dataclasses import dataclass

__all__ = ["Entry", "Found", "Listed", "NameTaken"]


class NameTaken(Exception):
    """The name that was to be created exists already: somebody else committed first."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, or a folder with all that is in it. files: how many. modified: of the newest, as a Unix time."""

    name: str
    is_folder: bool
    files: int
    bytes: int
    modified: float


@dataclass(frozen=True, slots=True)
class Found:
    """An object. modified: Unix time in nanoseconds, by the clock of the store. etag: its mark of the content."""

    name: str
    size: int
    modified_ns: int
    etag: str | None


@dataclass(frozen=True, slots=True)
class Listed:
    """What stands directly in a folder. odd: what cannot be addressed, as people may be shown it: "a//…"."""

    files: tuple[Found, ...]
    folders: tuple[str, ...]
    odd: tuple[str, ...]
