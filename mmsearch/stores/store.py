"""The operations that a gallery needs of whatever holds its files."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol, TypeAlias

from mmsearch.file_ranges import RangedFile
from mmsearch.locations import Location
from mmsearch.stores.local import LocalStore
from mmsearch.stores.store_entries import FolderEntry

__all__ = ["ReadableFile", "Store", "open_store"]


ReadableFile: TypeAlias = Path | RangedFile
"""A file that is open for reading parts of it."""


class Store(Protocol):
    """A folder of files. Names are POSIX paths relative to it. Can be pickled, and used by several threads.

    What is wrong with the storage itself is a StoreError; a file that is not there a FileNotFoundError that names it.
    """

    @property
    def location(self) -> Location:
        """The folder."""

    def exists(self) -> bool:
        """Whether anything stands at the location. Raises GalleryError where it is a file."""

    def require_reachable(self) -> None:
        """Raise StoreError where what would hold the location is known to be missing: a bucket."""

    def names(self, folder: str) -> list[str]:
        """Names directly in a folder, sorted; empty where there is no such folder."""

    def entries(self, folder: str) -> list[FolderEntry]:
        """What stands directly in a folder, with size and age; empty where there is no such folder."""

    def read(self, name: str) -> bytes:
        """The bytes of one file."""

    def open(self, name: str, *, size: int | None = None, whole: bool = False) -> ReadableFile:
        """A file for reading parts of it: its path where it lies on this machine, else a stream.

        size: its bytes, where the caller knows. whole: most of it will be read. Raises OSError for another size.
        """

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Write a new file; it can be seen, and is durable, when the block has ended, and never if the block fails."""

    def replace(self, name: str) -> AbstractContextManager[BinaryIO]:
        """As `create`, in the place of what has the name. For files outside of galleries, such as an export."""

    def create_if_absent(self, name: str, data: bytes) -> None:
        """Create a file that holds all of `data`, atomically and durably. Raises NameTaken if there is one."""

    def local_folder(self, name: str) -> Path:
        """A folder with its files, as one on this machine. Raises FileNotFoundError."""

    def new_folder(self, name: str) -> AbstractContextManager[Path]:
        """A new, empty folder on this machine, to be filled and then published. `local_folder` finds it at once.

        Until the block ends it is among the `unfinished`. What becomes of it then is for whoever asked.
        """

    def unfinished(self, folder: str) -> set[str]:
        """Names in a folder of what a process is still filling, whatever its age says: nobody else may remove it."""

    def publish(self, name: str) -> None:
        """Make a new folder and its files (durable already) a part of the store."""

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone already is fine."""

    def remove_folder(self, name: str) -> None:
        """Remove a folder with all in it; one that is gone already is fine."""

    def lock(self, purpose: str) -> AbstractContextManager[None]:
        """Keep other writers out, as far as the storage can; `create_if_absent` decides in any case.

        Raises GalleryBusy, at once, naming who is in.
        """

    def abandon(self, folders: Sequence[str]) -> None:
        """Take away what a writer that committed nothing has left of a store that it began. Best effort."""


def open_store(location: Location) -> Store:
    """The store of a gallery's folder, which need not be there."""
    if isinstance(location, Path):
        return LocalStore(location)
    from mmsearch.stores.remote import ObjectStore  # late: a gallery on a disk needs none of it

    return ObjectStore(location)
