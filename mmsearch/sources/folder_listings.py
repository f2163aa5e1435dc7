"""Lists folders in object stores ahead of a walk, since each listing takes a while."""

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass

from mmsearch.locations import Url
from mmsearch.stores import ObjectListing, StoredObject, list_folder
from mmsearch.workers import Workers

__all__ = ["FolderListings", "ObjectEntry"]

_AT_ONCE = 16
_ODD = "names with an empty part, '.' or '..' cannot be read; rename these objects"


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """An object or a folder, with the methods of `os.DirEntry`."""

    name: str
    path: str
    stored: StoredObject | None

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self.stored is None

    def is_file(self) -> bool:
        return self.stored is not None

    def is_symlink(self) -> bool:
        return False


class FolderListings:
    """Lists folders below a root. A context manager. unaddressable: (name, reason) of objects that cannot be read."""

    def __init__(self, root: Url) -> None:
        self._root = root
        self._listings: dict[str, Future[ObjectListing]] = {}
        self._stack = ExitStack()
        self._listers = self._stack.enter_context(Workers(_AT_ONCE, "mmsearch-list"))
        self.unaddressable: list[tuple[str, str]] = []

    def __enter__(self) -> "FolderListings":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def scan(self, folder: str, following: Sequence[str]) -> list[ObjectEntry]:
        """List a folder, and begin to list those in `following`, the last one first. Raises OSError."""
        for name in (folder, *reversed(following[-_AT_ONCE:])):
            if name not in self._listings:
                self._listings[name] = self._listers.submit(list_folder, self._root / name)
        listing = self._listings.pop(folder).result()
        self.unaddressable += [(f"{folder}/{name}" if folder else name, _ODD) for name in listing.unaddressable]
        folder_path = str(self._root / folder)
        return sorted(
            [
                *(ObjectEntry(file.name, f"{folder_path}/{file.name}", file) for file in listing.files),
                *(ObjectEntry(name, f"{folder_path}/{name}", None) for name in listing.folders),
            ],
            key=lambda entry: entry.name,
        )
