"""Folders: every regular file below a root, with what `stat` says of it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FolderWalk", "SourceFile", "file_in", "shown"]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file below a root.

    name: relative to the root, "/" between parts, a file system string (undecodable bytes as surrogates).
    size, mtime_ns: None where the file could not be asked (a broken link).
    """

    root: str
    name: str
    size: int | None
    mtime_ns: int | None

    @property
    def location(self) -> str:
        """Where to open it."""
        return os.path.join(self.root, self.name)  # noqa: PTH118 - Path would cost more than the walk itself

    @property
    def path(self) -> str:
        """The name as valid text: undecodable bytes shown as \\xNN."""
        return shown(self.name)

    @property
    def path_bytes(self) -> bytes | None:
        """The real name, where `path` is not it."""
        return None if self.path == self.name else os.fsencode(self.name)


def shown(name: str) -> str:
    """A file system string as text that can be printed and stored: undecodable bytes become \\xNN."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    return name


def file_in(root: Path, file: Path) -> SourceFile:
    """A file that was named rather than found. Raises FileNotFoundError."""
    status = file.stat()
    name = os.path.relpath(file, root).replace(os.sep, "/")
    return SourceFile(str(root), name, status.st_size, status.st_mtime_ns)


class FolderWalk:
    """Iterates over the files below `root`, folder by folder in the order of their names.

    Hidden files and folders (a leading dot) are passed over, and so is the folder `avoid` (the gallery). Links to
    files are followed; links to folders are not, so that no loop and no second copy arises.

    After the iteration: `unreadable` holds (name, reason) of folders that could not be listed: what is in them is
    unknown. `linked_folders` holds the names of links to folders. `hidden` counts what was passed over.
    """

    def __init__(self, root: Path, *, avoid: Path | None = None) -> None:
        self._root = str(root)
        self._avoid = os.path.realpath(avoid) if avoid else None
        self.unreadable: list[tuple[str, str]] = []
        self.linked_folders: list[str] = []
        self.hidden = 0

    def __iter__(self) -> Iterator[SourceFile]:
        yield from self._folder("")

    def _folder(self, folder: str) -> Iterator[SourceFile]:
        # A stack of names rather than recursion: folders can be nested deeper than Python's stack.
        pending = [folder]
        while pending:
            current = pending.pop()
            try:
                with os.scandir(f"{self._root}/{current}" if current else self._root) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                self.unreadable.append((current, error.strerror or str(error)))
                continue
            folders = []
            for entry in entries:
                name = f"{current}/{entry.name}" if current else entry.name
                if entry.name.startswith("."):
                    self.hidden += 1
                elif entry.is_dir(follow_symlinks=False):
                    if self._avoid is None or os.path.realpath(entry.path) != self._avoid:
                        folders.append(name)
                elif (found := self._file(entry, name)) is not None:
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
