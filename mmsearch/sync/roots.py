"""Chooses the roots for the folders, files, archives and lists that the user named."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from mmsearch.errors import SourceError
from mmsearch.gallery import GalleryWriter
from mmsearch.locations import Location, Url, located
from mmsearch.names import shell_quoted
from mmsearch.sources import FileList, is_list, read_list
from mmsearch.stores import absence, exists, is_folder, real
from mmsearch.versions import Root

__all__ = ["RootPlan", "choose_roots", "require_apart"]


@dataclass(frozen=True, slots=True)
class RootPlan:
    """A root that this run looks at: all of it (`files` is None), or the files that were named.

    identified: whether named files are told apart by `mmsearch.cache.file_identity`, not by size and mtime alone.
    only: the names of the items to take of named archives; None for all of them."""

    root: Root
    folder: Location
    files: tuple[Location, ...] | None
    identified: bool = False
    only: frozenset[str] | None = None


def choose_roots(
    writer: GalleryWriter,
    paths: Sequence[str | os.PathLike[str]],
    *,
    announce: Callable[[str], None] = lambda _: None,
) -> list[RootPlan]:
    """Choose the roots of the named folders and files; new roots are added to the writer.

    A folder is a root. A file (an archive too) belongs to the root that holds it, else its folder becomes one, of which
    only named files belong to the gallery. A list stands for the files that it names; those that no root holds get one
    root together. Nothing named: every root that the gallery has.
    Raises SourceError: nothing there, nothing named, a root inside another.
    """
    if not paths:
        if not writer.roots:
            raise SourceError("nothing to embed: name a folder of pictures, as in: mmsearch embed ~/Pictures")
        return [RootPlan(root, _require_folder(writer.root_path(root)), None) for root in writer.roots]
    chosen: dict[int, RootPlan] = {}
    roots_before = frozenset(root.id for root in writer.roots)
    named = [_require_existing(path) for path in paths]
    folders = dict.fromkeys(location for location in named if is_folder(location))
    for folder in folders:
        root = _root_for_folder(writer, folder)
        chosen[root.id] = RootPlan(root, writer.root_path(root), None)
    files = _NamedFiles(writer, roots_before)
    for file in (location for location in named if location not in folders):
        if _is_list(file):
            files.add_list(file, _announce_list(file, read_list(file), announce))
        else:
            files.add([file])
    for root, named_files in files.by_root():
        chosen.setdefault(root.id, RootPlan(root, writer.root_path(root), named_files))
    return list(chosen.values())


def _is_list(file: Location) -> bool:
    try:
        return is_list(file)
    except OSError:
        return False  # as a picture that cannot be read it becomes a skipped row that says why


def _announce_list(file: Location, listed: FileList, announce: Callable[[str], None]) -> FileList:
    announce(f"{file.name}: a list of {len(listed.files):,} files")
    if listed.urls:
        announce(f"{file.name}: {listed.urls:,} addresses are not downloaded; img2dataset makes files of them")
    for problem in listed.problems[:3]:
        announce(f"{file.name}: {problem}")
    if listed.captions:
        announce(f"{file.name} holds captions too; to embed them: --captions {shell_quoted(file)}")
    return listed


@dataclass(slots=True)
class _NamedFiles:
    """Assigns named files to the roots that hold them. before: ids of the roots that the gallery had before the run."""

    writer: GalleryWriter
    before: frozenset[int]
    roots: dict[Location, Root] = field(default_factory=dict)
    _root_of_folder: dict[Location, Root | None] = field(default_factory=dict)
    _real: Callable[[Location], Location] = field(default_factory=lambda: lru_cache(1 << 16)(real))

    def add(self, files: Iterable[Location], folder: Location | None = None) -> None:
        """Add files; those that no root holds make a root of `folder`, or of the folder that each is in."""
        for file in files:
            root = self._find_root(file.parent)
            if root is None:
                self._require_not_beside(file, folder or file.parent)
                root = _root_for_folder(self.writer, folder or file.parent, whole=False)
                self._root_of_folder.clear()
            self.roots[self._path_in_root(file, root)] = root

    def _require_not_beside(self, file: Location, folder: Location) -> None:
        """Raise SourceError for files that are named together with folders beside them, as by `embed *`."""
        for root in self.writer.roots:
            other = self.writer.root_path(root)
            if root.id not in self.before and self._real(other).is_relative_to(self._real(folder)):
                raise SourceError(
                    f"{file} and the folder {other} were named together, and a picture belongs to one root. Embed the "
                    f"folder that holds both: mmsearch embed {shell_quoted(folder)} (--include and --exclude choose "
                    "from it); or name folders alone"
                )

    def add_list(self, file: Location, listed: FileList) -> None:
        """Add the files of a list; those that no root holds share one: the list's folder, or what they are all in."""
        rootless = [listed_file for listed_file in listed.files if self._find_root(listed_file.parent) is None]
        for group in _group_by_disk(rootless):
            folder = _common_folder(group)
            if folder.is_relative_to(file.parent):
                folder = file.parent
            if folder.parent == folder or self._holds_root(folder):
                # Neither the whole disk nor a folder that holds a root may become a root. So the folder of each file
                # becomes one, outer folders first.
                self.add(sorted(group, key=lambda listed_file: (len(listed_file.parts), str(listed_file))))
            else:
                self.add(group, folder)
        self.add(listed.files)

    def by_root(self) -> list[tuple[Root, tuple[Location, ...]]]:
        files_by_root: dict[Root, list[Location]] = {}
        for file, root in self.roots.items():
            files_by_root.setdefault(root, []).append(file)
        return [(root, tuple(files)) for root, files in files_by_root.items()]

    def _find_root(self, folder: Location) -> Root | None:
        if folder not in self._root_of_folder:
            real_folder = self._real(folder)
            self._root_of_folder[folder] = next(
                (
                    root
                    for root in self.writer.roots
                    if real_folder.is_relative_to(self._real(self.writer.root_path(root)))
                ),
                None,
            )
        return self._root_of_folder[folder]

    def _holds_root(self, folder: Location) -> bool:
        real_folder = self._real(folder)
        return any(self._real(self.writer.root_path(root)).is_relative_to(real_folder) for root in self.writer.roots)

    def _path_in_root(self, file: Location, root: Root) -> Location:
        """The path of `file` below its root, with all links resolved."""
        folder = self.writer.root_path(root)
        return folder / (self._real(file.parent) / file.name).relative_to(self._real(folder))


def _group_by_disk(files: Sequence[Location]) -> Iterable[Sequence[Location]]:
    """Group files by the disk or the bucket that they are on."""
    groups: dict[str, list[Location]] = {}
    for file in files:
        groups.setdefault(file.anchor, []).append(file)
    return groups.values()


def _common_folder(files: Sequence[Location]) -> Location:
    """The innermost folder that holds all of some files of one disk or bucket."""
    folders = list(dict.fromkeys(file.parent for file in files))
    common = folders[0]
    while not all(folder.is_relative_to(common) for folder in folders):
        common = common.parent
    return common


def _require_existing(path: str | os.PathLike[str]) -> Location:
    location = located(path)
    if not exists(location):
        raise SourceError(absence(location))
    return location


def _hint(folder: Location) -> str:
    return "Is a disk not mounted?" if not isinstance(folder, Url) else "Is it the right account and endpoint?"


def _require_folder(folder: Location) -> Location:
    if not is_folder(folder):
        raise SourceError(
            f"the root {folder} is not there. {_hint(folder)} If it was moved: mmsearch relocate "
            f"{shell_quoted(folder)} NEW; if it is gone for good: mmsearch forget {shell_quoted(folder)}"
        )
    return folder


def _root_for_folder(writer: GalleryWriter, folder: Location, *, whole: bool = True) -> Root:
    real_folder = real(folder)
    for root in writer.roots:
        if real(writer.root_path(root)) == real_folder:
            if whole and not root.whole:
                root = _make_whole(writer, root)
            return root
    require_apart(writer, folder)
    return writer.add_root(folder, whole=whole)


def _make_whole(writer: GalleryWriter, root: Root) -> Root:
    whole = replace(root, whole=True)
    writer.set_roots([whole if other == root else other for other in writer.roots])
    return whole


def require_apart(writer: GalleryWriter, folder: Location, *, but: Root | None = None) -> None:
    """Raise SourceError where `folder` lies in a root (other than `but`), holds one, or lies in the gallery."""
    real_folder = real(folder)
    if real_folder.is_relative_to(real(writer.gallery.path)):
        raise SourceError(f"{folder} is the gallery itself or inside it; name another place for it with --gallery")
    for root in writer.roots:
        other = writer.root_path(root)
        if root == but:
            continue
        quoted = shell_quoted(other)
        if real_folder == real(other):
            raise SourceError(f"{folder} is a root of this gallery already; drop it first: mmsearch forget {quoted}")
        if real_folder.is_relative_to(real(other)):
            if root.whole:
                raise SourceError(f"{folder} lies inside the root {other}. Embed that one: mmsearch embed {quoted}")
            raise SourceError(
                f"{folder} lies inside the root {other}, of which single files were named. Embed that one: mmsearch "
                f"embed {quoted}; or drop it first: mmsearch forget {quoted}"
            )
        if real(other).is_relative_to(real_folder):
            raise SourceError(
                f"the root {other} lies inside {folder}; a picture belongs to one root. "
                f"Drop the inner one first: mmsearch forget {quoted}"
            )
