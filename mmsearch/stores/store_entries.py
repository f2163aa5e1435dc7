"""The records by which stores describe what they hold."""

from dataclasses import dataclass

__all__ = ["FolderEntry", "StoredObject", "ObjectListing", "NameTaken"]


class NameTaken(Exception):
    """The name that was to be created exists already: somebody else committed first."""


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """A file, or a folder with all that is in it.

    Attributes:
        files: The number of files.
        bytes: Their size.
        modified: When the newest of them was modified, as a Unix time.
    """

    name: str
    is_folder: bool
    files: int
    bytes: int
    modified: float


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of a store.

    Attributes:
        modified_ns: Unix time in nanoseconds, by the clock of the store.
        etag: The store's mark of the content.
    """

    name: str
    size: int
    modified_ns: int
    etag: str | None


@dataclass(frozen=True, slots=True)
class ObjectListing:
    """The objects and folders directly in a folder.

    Attributes:
        unaddressable: Names that cannot be addressed, as people may be shown them: "a//…".
    """

    files: tuple[StoredObject, ...]
    folders: tuple[str, ...]
    unaddressable: tuple[str, ...]
