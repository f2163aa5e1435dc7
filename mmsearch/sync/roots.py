"""Which roots the named folders, files, archives and lists stand for."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from mmsearch.errors import SourceError
from mmsearch.gallery import GalleryWriter
from mmsearch.locations import Location, Url, located
from mmsearch.sources import FileList, is_list, read_list
from mmsearch.stores import absence, exists, is_folder, real
from mmsearch.versions import Root

__all__ = ["RootPlan", "choose_roots", "require_apart"]


@dataclass(frozen=True, slots=True)
class RootPlan:
    """A root that this run looks at: all of it (files None), or the files that were named.

    identified: named files are known by all that the file system tells of them, not by size and mtime alone."""

    root: Root
    folder: Location
    files: tuple[Location, ...] | None
    identified: bool = False


def choose_roots(
    writer: GalleryWriter,
    paths: Sequence[str | os.PathLike[str]],
    *,
    announce: Callable[[str], None] = lambda _: None,
) -> list[RootPlan]:
    """The roots that the named folders and files stand for; new ones are added to the writer.

    A folder is a root. A file (an archive too) belongs to the root that holds it, else its folder becomes one, of which
    only named files belong to the gallery. A list stands for the files that it names; those that no root holds get one
    root together. Nothing named: every root that the gallery has.
    Raises SourceError: nothing there, nothing named, a root inside another.
    """
    if not paths:
        if not writer.roots:
            raise SourceError("nothing to embed: name a folder of pictures, as in: mmsearch embed ~/Pictures")
        return [RootPlan(root, _present(writer.root_path(root)), None) for root in writer.roots]
    chosen: dict[int, RootPlan] = {}
    before = frozenset(root.id for root in writer.roots)
    named = [_existing(path) for path in paths]
    folders = dict.fromkeys(place for place in named if is_folder(place))
    for folder in folders:
        root = _root_for_folder(writer, folder)
        chosen[root.id] = RootPlan(root, writer.root_path(root), None)
    files = _Files(writer, before)
    for file in (place for place in named if place not in folders):
        if _is_list(file):
            files.add_list(file, _announced(file, read_list(file), announce))
        else:
            files.add([file])
    for root, mine in files.by_root():
        chosen.setdefault(root.id, RootPlan(root, writer.root_path(root), mine))
    return list(chosen.values())


def _is_list(file: Location) -> bool:
    try:
        return is_list(file)
    except OSError:
        return False  # as a picture that cannot be read it becomes a skipped row that says why


def _announced(file: Location, listed: FileList, announce: Callable[[str], None]) -> FileList:
    announce(f"{file.name}: a list of {len(listed.files):,} files")
    if listed.urls:
        announce(f"{file.name}: {listed.urls:,} addresses are not downloaded; img2dataset makes files of them")
    for problem in listed.problems[:3]:
        announce(f"{file.name}: {problem}")
    if listed.captions:
        announce(f"{file.name} holds captions too; to embed them: --captions {file}")
    return listed


@dataclass(slots=True)
class _Files:
    """Named files on their way to the roots that hold them. before: ids of the roots that were there before."""

    writer: GalleryWriter
    before: frozenset[int]
    roots: dict[Location, Root] = field(default_factory=dict)
    _held: dict[Location, Root | None] = field(default_factory=dict)
    _real: Callable[[Location], Location] = field(default_factory=lambda: lru_cache(1 << 16)(real))

    def add(self, files: Iterable[Location], folder: Location | None = None) -> None:
        """Add files; those that no root holds make a root of `folder`, or of the folder that each is in."""
        for file in files:
            root = self._holding(file.parent)
            if root is None:
                self._require_named_apart(file, folder or file.parent)
                root = _root_for_folder(self.writer, folder or file.parent, whole=False)
                self._held.clear()
            self.roots[self._below(file, root)] = root

    def _require_named_apart(self, file: Location, folder: Location) -> None:
        """Raise SourceError for files that are named together with folders beside them, as by `embed *`."""
        for root in self.writer.roots:
            other = self.writer.root_path(root)
            if root.id not in self.before and self._real(other).is_relative_to(self._real(folder)):
                raise SourceError(
                    f"{file} and the folder {other} were named together, and a picture belongs to one root. Embed the "
                    f"folder that holds both: mmsearch embed {folder} (--include and --exclude choose from it); or "
                    "name folders alone"
                )

    def add_list(self, file: Location, listed: FileList) -> None:
        """Add the files of a list; those that no root holds share one: the list's folder, or what they are all in."""
        loose = [found for found in listed.files if self._holding(found.parent) is None]
        for group in _apart(loose):
            folder = _common_folder(group)
            if folder.is_relative_to(file.parent):
                folder = file.parent
            if folder.parent == folder or self._holds_a_root(folder):
                # Neither may the whole disk become a root, nor what holds one: each folder is one, outer ones first.
                self.add(sorted(group, key=lambda found: (len(found.parts), str(found))))
            else:
                self.add(group, folder)
        self.add(listed.files)

    def by_root(self) -> list[tuple[Root, tuple[Location, ...]]]:
        found: dict[Root, list[Location]] = {}
        for file, root in self.roots.items():
            found.setdefault(root, []).append(file)
        return [(root, tuple(files)) for root, files in found.items()]

    def _holding(self, folder: Location) -> Root | None:
        if folder not in self._held:
            place = self._real(folder)
            self._held[folder] = next(
                (root for root in self.writer.roots if place.is_relative_to(self._real(self.writer.root_path(root)))),
                None,
            )
        return self._held[folder]

    def _holds_a_root(self, folder: Location) -> bool:
        place = self._real(folder)
        return any(self._real(self.writer.root_path(root)).is_relative_to(place) for root in self.writer.roots)

    def _below(self, file: Location, root: Root) -> Location:
        """`file` as a path below its root, by the one way to it that goes through no link."""
        folder = self.writer.root_path(root)
        return folder / (self._real(file.parent) / file.name).relative_to(self._real(folder))


def _apart(files: Sequence[Location]) -> Iterable[Sequence[Location]]:
    """Files by the disk or the bucket that they are on."""
    groups: dict[str, list[Location]] = {}
    for file in files:
        groups.setdefault(file.anchor, []).append(file)
    return groups.values()


def _common_folder(files: Sequence[Location]) -> Location:
    """The innermost folder that holds all of some files of one disk or bucket."""
    folders = list(dict.fromkeys(file.parent for file in files))
    inmost = folders[0]
    while not all(folder.is_relative_to(inmost) for folder in folders):
        inmost = inmost.parent
    return inmost


def _existing(path: str | os.PathLike[str]) -> Location:
    place = located(path)
    if not exists(place):
        raise SourceError(absence(place))
    return place


def _why(folder: Location) -> str:
    return "Is a disk not mounted?" if not isinstance(folder, Url) else "Is it the right account and endpoint?"


def _present(folder: Location) -> Location:
    if not is_folder(folder):
        raise SourceError(
            f"the root {folder} is not there. {_why(folder)} If it was moved: mmsearch relocate {folder} NEW; "
            f"if it is gone for good: mmsearch forget {folder}"
        )
    return folder


def _root_for_folder(writer: GalleryWriter, folder: Location, *, whole: bool = True) -> Root:
    place = real(folder)
    for root in writer.roots:
        if real(writer.root_path(root)) == place:
            if whole and not root.whole:
                root = _made_whole(writer, root)
            return root
    require_apart(writer, folder)
    return writer.add_root(folder, whole=whole)


def _made_whole(writer: GalleryWriter, root: Root) -> Root:
    whole = replace(root, whole=True)
    writer.set_roots([whole if other == root else other for other in writer.roots])
    return whole


def require_apart(writer: GalleryWriter, folder: Location, *, but: Root | None = None) -> None:
    """Raise SourceError where `folder` lies in a root (other than `but`), holds one, or lies in the gallery."""
    place = real(folder)
    if place.is_relative_to(real(writer.gallery.path)):
        raise SourceError(f"{folder} is the gallery itself or inside it; name another place for it with --gallery")
    for root in writer.roots:
        other = writer.root_path(root)
        if root == but:
            continue
        if place == real(other):
            raise SourceError(f"{folder} is a root of this gallery already; drop it first: mmsearch forget {other}")
        if place.is_relative_to(real(other)):
            if root.whole:
                raise SourceError(f"{folder} lies inside the root {other}. Embed that one: mmsearch embed {other}")
            raise SourceError(
                f"{folder} lies inside the root {other}, of which single files were named. Embed that one: mmsearch "
                f"embed {other}; or drop it first: mmsearch forget {other}"
            )
        if real(other).is_relative_to(place):
            raise SourceError(
                f"the root {other} lies inside {folder}; a picture belongs to one root. "
                f"Drop the inner one first: mmsearch forget {other}"
            )
