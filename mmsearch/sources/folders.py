"""Folders: every regular file below a root, with what `stat` says of it."""

import os
from collections.abc import Callable, Iterator

from mmsearch.locations import Location
from mmsearch.sources.files import SourceFile, sidecars

__all__ = ["FolderWalk"]


class FolderWalk:
    """Iterates over the files below `root`, folder by folder in the order of their names.

    Passed over are hidden files and folders (a leading dot) unless `hidden`, the folder `avoid` (the gallery), folders
    that `enters` refuses (told their names), and what accompanies a picture unless `sidecars_too`. Links to files are
    followed; links to folders are not, so that no loop and no second copy arises.

    After the iteration: `unreadable` holds (name, reason) of folders that could not be listed: what is in them is
    unknown. `linked_folders` holds the names of links to folders. `hidden` and `beside` count what was passed over.
    """

    def __init__(
        self,
        root: Location,
        *,
        avoid: Location | None = None,
        hidden: bool = False,
        enters: Callable[[str], bool] = lambda _: True,
        sidecars_too: bool = False,
    ) -> None:
        self._root = str(root)
        self._avoid = os.path.realpath(avoid) if avoid else None
        self._with_hidden = hidden
        self._enters = enters
        self._sidecars_too = sidecars_too
        self.unreadable: list[tuple[str, str]] = []
        self.linked_folders: list[str] = []
        self.hidden = 0
        self.beside = 0

    def __iter__(self) -> Iterator[SourceFile]:
        # A stack of names rather than recursion: folders can be nested deeper than Python's stack.
        pending = [""]
        while pending:
            current = pending.pop()
            try:
                with os.scandir(f"{self._root}/{current}" if current else self._root) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                self.unreadable.append((current, error.strerror or str(error)))
                continue
            beside = frozenset() if self._sidecars_too else sidecars(entry.name for entry in entries)
            self.beside += len(beside)
            folders = []
            for entry in entries:
                name = f"{current}/{entry.name}" if current else entry.name
                if entry.name.startswith(".") and not self._with_hidden:
                    self.hidden += 1
                elif entry.is_dir(follow_symlinks=False):
                    avoided = self._avoid is not None and os.path.realpath(entry.path) == self._avoid
                    if not avoided and self._enters(name):
                        folders.append(name)
                elif entry.name not in beside and (found := self._file(entry, name)) is not None:
                    yield found
            pending.extend(reversed(folders))

    def _file(self, entry: "os.DirEntry[str]", name: str) -> SourceFile | None:
        try:
            if entry.is_file():
                status = entry.stat()
                return SourceFile(self._root, name, status.st_size, status.st_mtime_ns)
            if entry.is_dir():
                self.linked_folders.append(name)
                return None
            if entry.is_symlink():
                return SourceFile(self._root, name, None, None)
        except OSError:  # vanished, or a link into a folder that may not be entered
            return SourceFile(self._root, name, None, None)
        return None  # a socket, a device, a pipe: never an image
