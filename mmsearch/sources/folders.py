"""Folders: every regular file below a root, with what `stat` says of it."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TypeAlias

from mmsearch.locations import Location, Url
from mmsearch.sources.companions import join_names
from mmsearch.sources.folder_listings import FolderListings, ObjectEntry
from mmsearch.sources.source_files import SourceFile, is_clutter, join_files
from mmsearch.stores import special_file

__all__ = ["FolderWalk"]


class FolderWalk:
    """Iterates over the files below `root`, folder by folder in the order of their names.

    Passed over are hidden files and folders (a leading dot) and clutter (`is_clutter`) unless `hidden`, the folder
    `avoid` (the gallery), folders that `enters` refuses (told their names), and captions beside a picture. The files of
    one picture come as one, see `SourceFile.beside`; with `apart` only what is said of it stands beside a picture.
    sidecars_too: every file comes by itself, captions too. Links to files are followed; links to folders are not, so
    that no loop and no second copy arises.

    After the iteration: `unreadable` holds (name, reason) of folders that could not be listed: what is in them is
    unknown. `linked_folders` holds the names of links to folders. `hidden`, `clutter` and `captions` count what was
    passed over, files and folders.
    """

    def __init__(
        self,
        root: Location,
        *,
        avoid: Location | None = None,
        hidden: bool = False,
        enters: Callable[[str], bool] = lambda _: True,
        apart: bool = False,
        sidecars_too: bool = False,
    ) -> None:
        self._url = root if isinstance(root, Url) else None
        self._root = str(root)
        self._avoid = None if avoid is None else str(avoid) if isinstance(avoid, Url) else os.path.realpath(avoid)
        self._with_hidden = hidden
        self._enters = enters
        self._apart = apart
        self._sidecars_too = sidecars_too
        self.unreadable: list[tuple[str, str]] = []
        self.linked_folders: list[str] = []
        self.hidden = self.clutter = self.captions = 0

    def __iter__(self) -> Iterator[SourceFile]:
        with ExitStack() as stack:
            listings = stack.enter_context(FolderListings(self._url)) if self._url else None
            yield from self._walk(listings.scan if listings else self._scan)
            self.unreadable += listings.unaddressable if listings else []

    def _scan(self, folder: str, _: Sequence[str]) -> list["os.DirEntry[str]"]:
        with os.scandir(f"{self._root}/{folder}" if folder else self._root) as listing:
            return sorted(listing, key=lambda entry: entry.name)

    def _walk(self, scan: "_Scan") -> Iterator[SourceFile]:
        # A stack of names rather than recursion: folders can be nested deeper than Python's stack.
        pending = [""]
        while pending:
            current = pending.pop()
            try:
                entries = scan(current, pending)
            except OSError as error:
                self.unreadable.append((current, error.strerror or str(error)))
                continue
            folders: list[str] = []
            prefix = f"{current}/" if current else ""
            yield from self._join(self._choose(entries, prefix, folders), prefix)
            pending.extend(reversed(folders))

    def _choose(self, entries: "_Entries", prefix: str, folders: list[str]) -> "dict[str, _Entry]":
        """The files among the entries of a folder, by name; its folders are added to `folders`."""
        files: dict[str, _Entry] = {}
        for entry in entries:
            name = entry.name
            if name.startswith(".") and not self._with_hidden:
                self.hidden += 1
            elif entry.is_dir(follow_symlinks=False):
                if not self._with_hidden and is_clutter(f"{prefix}{name}/"):
                    self.clutter += 1
                elif not self._is_avoided(entry.path) and self._enters(f"{prefix}{name}"):
                    folders.append(f"{prefix}{name}")
            elif not self._with_hidden and is_clutter(name):
                self.clutter += 1
            else:
                files[name] = entry
        return files

    def _join(self, entries: "dict[str, _Entry]", prefix: str) -> Iterator[SourceFile]:
        """The files of a folder, those of one picture as one."""
        if self._sidecars_too:
            yield from self._make_files(entries, prefix)
            return
        joined = join_names(entries, apart=self._apart, size_of=lambda name: _size_of(entries[name]))
        if not joined.beside and not joined.captions:
            yield from self._make_files(entries, prefix)
            return
        self.captions += len(joined.captions)
        others = {other.name for beside in joined.beside.values() for other in beside}

        def find(name: str) -> SourceFile | None:
            return self._make_file(entries[name], f"{prefix}{name}")

        for name, entry in entries.items():
            if name in others or name in joined.captions:
                continue
            file = self._make_file(entry, f"{prefix}{name}")
            if file is None:  # a pipe, say, that has the name of a picture
                for other in joined.beside.get(name, ()):
                    if (alone := find(other.name)) is not None:
                        yield alone
            else:
                yield join_files(file, joined.beside[name], find) if name in joined.beside else file

    def _make_files(self, entries: "dict[str, _Entry]", prefix: str) -> Iterator[SourceFile]:
        for name, entry in entries.items():
            if (file := self._make_file(entry, f"{prefix}{name}")) is not None:
                yield file

    def _is_avoided(self, path: str) -> bool:
        if self._avoid is None:
            return False
        return (path if self._url else os.path.realpath(path)) == self._avoid

    def _make_file(self, entry: "os.DirEntry[str] | ObjectEntry", name: str) -> SourceFile | None:
        if isinstance(entry, ObjectEntry):
            stored = entry.stored
            if stored is None:
                return None
            return SourceFile(self._root, name, stored.size, stored.modified_ns, version=stored.etag)
        try:
            if entry.is_file():
                status = entry.stat()
                return SourceFile(self._root, name, status.st_size, status.st_mtime_ns)
            if entry.is_dir():
                self.linked_folders.append(name)
                return None
            if entry.is_symlink():
                return SourceFile(self._root, name, None, None, refused=_target_refused(entry))
        except OSError:  # vanished, or a link into a folder that may not be entered
            return SourceFile(self._root, name, None, None)
        return None  # a socket, a device, a pipe: never an image


def _size_of(entry: "_Entry") -> int | None:
    if isinstance(entry, ObjectEntry):
        return None if entry.stored is None else entry.stored.size
    try:
        return entry.stat().st_size
    except OSError:
        return None


def _target_refused(link: "os.DirEntry[str]") -> str | None:
    """Why what a link leads to is not opened; None where it leads nowhere."""
    try:
        return special_file(link.stat().st_mode)
    except FileNotFoundError:
        return None


_Entry: TypeAlias = "os.DirEntry[str] | ObjectEntry"
_Entries: TypeAlias = "Sequence[os.DirEntry[str] | ObjectEntry]"
_Scan = Callable[[str, Sequence[str]], "Sequence[os.DirEntry[str] | ObjectEntry]"]
