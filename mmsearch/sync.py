"""What a run has to do: a gallery's rows held against the folders it mirrors."""

import os
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmsearch.errors import PruneRefused, SourceError
from mmsearch.gallery import FileRows, Gallery, GalleryWriter
from mmsearch.records import Progress, ProgressCallback, Root
from mmsearch.sources import FolderWalk, SourceFile, file_in

__all__ = [
    "Plan",
    "RootPlan",
    "Task",
    "RootState",
    "check_prune",
    "choose_roots",
    "count_lost",
    "plan_root",
    "require_apart",
    "suspicious",
]

# An unmounted disk must not erase a gallery: more deletes than both of these need --prune.
PRUNE_ITEMS = 100
PRUNE_SHARE = 0.2
_SHOW_EVERY = 1_000

_FILE_COLUMNS = ["root_id", "path", "path_bytes", "bytes", "mtime_ns"]


@dataclass(frozen=True, slots=True)
class RootPlan:
    """A root that this run looks at: all of it (files None), or the files that were named."""

    root: Root
    folder: Path
    files: tuple[Path, ...] | None


@dataclass(frozen=True, slots=True)
class Task:
    """A file to embed. replaces: the live rows (image, skipped) that the outcome takes the place of."""

    file: SourceFile
    root_id: int
    replaces_image: int | None
    replaces_skipped: int | None


@dataclass(frozen=True, slots=True)
class RootState:
    """A root that was looked at: how many live images it had, and which of them have no file any more."""

    root_id: int
    folder: Path
    live: int
    vanished: list[int]


@dataclass(slots=True)
class Plan:
    """What was found below some roots. candidates: files found. vanished_skipped: row ids of skipped rows."""

    roots: list[RootState] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    unchanged: int = 0
    still_skipped: int = 0
    candidates: int = 0
    vanished_skipped: list[int] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    linked_folders: list[str] = field(default_factory=list)


def choose_roots(writer: GalleryWriter, paths: Sequence[str | os.PathLike[str]]) -> list[RootPlan]:
    """The roots that the named folders and files stand for; new ones are added to the writer.

    A folder is a root. A file belongs to the root that holds it, else its folder becomes one. Nothing named: every root
    that the gallery has. Raises SourceError: nothing there, nothing named, a root inside another.
    """
    if not paths:
        if not writer.roots:
            raise SourceError("nothing to embed: name a folder of pictures, as in: mmsearch embed ~/Pictures")
        return [RootPlan(root, _present(writer.root_path(root)), None) for root in writer.roots]
    chosen: dict[int, RootPlan] = {}
    named = [_existing(path) for path in paths]
    for folder in dict.fromkeys(path for path in named if path.is_dir()):
        root = _root_for_folder(writer, folder)
        chosen[root.id] = RootPlan(root, writer.root_path(root), None)
    files: dict[Path, Root] = {}
    for file in (path for path in named if not path.is_dir()):
        root = _root_holding(writer, file.parent) or _root_for_folder(writer, file.parent)
        files[_below(file, writer.root_path(root))] = root
    for root in dict.fromkeys(files.values()):
        mine = tuple(file for file, holder in files.items() if holder == root)
        chosen.setdefault(root.id, RootPlan(root, writer.root_path(root), mine))
    return list(chosen.values())


def _existing(path: str | os.PathLike[str]) -> Path:
    absolute = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - resolve() would follow links
    if not absolute.exists():
        raise SourceError(f"no such file or folder: {path}")
    return absolute


def _present(folder: Path) -> Path:
    if not folder.is_dir():
        raise SourceError(
            f"the root {folder} is not there. Is a disk not mounted? If it was moved: mmsearch relocate {folder} NEW; "
            f"if it is gone for good: mmsearch forget {folder}"
        )
    return folder


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _root_holding(writer: GalleryWriter, folder: Path) -> Root | None:
    real = _real(folder)
    return next((root for root in writer.roots if real.is_relative_to(_real(writer.root_path(root)))), None)


def _below(file: Path, folder: Path) -> Path:
    """`file` as a path below `folder`, by the one way to it that goes through no link."""
    return folder / (_real(file.parent) / file.name).relative_to(_real(folder))


def _root_for_folder(writer: GalleryWriter, folder: Path) -> Root:
    real = _real(folder)
    for root in writer.roots:
        if _real(writer.root_path(root)) == real:
            return root
    require_apart(writer, folder)
    return writer.add_root(folder)


def require_apart(writer: GalleryWriter, folder: Path, *, but: Root | None = None) -> None:
    """Raise SourceError where `folder` lies in a root (other than `but`), holds one, or lies in the gallery."""
    real = _real(folder)
    if real.is_relative_to(_real(writer.gallery.path)):
        raise SourceError(f"{folder} is the gallery itself or inside it; name another place for it with --gallery")
    for root in writer.roots:
        other = writer.root_path(root)
        if root == but:
            continue
        if real == _real(other):
            raise SourceError(f"{folder} is a root of this gallery already; drop it first: mmsearch forget {other}")
        if real.is_relative_to(_real(other)):
            raise SourceError(f"{folder} lies inside the root {other}. Embed that one: mmsearch embed {other}")
        if _real(other).is_relative_to(real):
            raise SourceError(
                f"the root {other} lies inside {folder}; a picture belongs to one root. "
                f"Drop the inner one first: mmsearch forget {other}"
            )


class _Known:
    """The live rows of one root, by name."""

    def __init__(self, rows: FileRows) -> None:
        self._rows = rows
        self._places = {name: place for place, name in enumerate(rows.names)}
        self._seen = np.zeros(len(rows.row_ids), bool)

    def __len__(self) -> int:
        return len(self._seen)

    def find(self, file: SourceFile) -> tuple[int | None, bool]:
        """The row id of a file, and whether the file is as it was then."""
        place = self._places.get(file.name)
        if place is None:
            return None, False
        self._seen[place] = True
        same = self._rows.sizes[place] == _number(file.size) and self._rows.times[place] == _number(file.mtime_ns)
        return int(self._rows.row_ids[place]), bool(same)

    def unseen(self, unknown: Sequence[str]) -> list[int]:
        """Row ids of what was not found, but for what lies in folders that could not be listed."""
        for name, place in self._places.items():
            if any(not folder or name.startswith(f"{folder}/") for folder in unknown):
                self._seen[place] = True
        return [int(row_id) for row_id in self._rows.row_ids[~self._seen]]


def _number(value: int | None) -> int:
    return -1 if value is None else value


def plan_root(gallery: Gallery, root: RootPlan, plan: Plan, *, prune: bool, progress: ProgressCallback) -> None:
    """Walk a root and add to `plan` what has to be done.

    Raises SourceError for an empty root and PruneRefused, unless `prune` says that such deletes are meant.
    """
    images = _Known(gallery.files("images", root.root.id))
    skipped = _Known(gallery.files("skipped", root.root.id))
    walk = FolderWalk(root.folder, avoid=gallery.path)
    found = iter(walk) if root.files is None else (file_in(root.folder, file) for file in root.files)
    before, first_task = plan.candidates, len(plan.tasks)
    for file in found:
        plan.candidates += 1
        if plan.candidates % _SHOW_EVERY == 0:
            progress(Progress("looking", plan.candidates, None))
        image, same_image = images.find(file)
        skip, same_skip = skipped.find(file)
        if image is not None and same_image:
            plan.unchanged += 1
        elif skip is not None and same_skip:
            plan.still_skipped += 1
        else:
            plan.tasks.append(Task(file, root.root.id, image, skip))
    plan.unreadable += [(str(root.folder / folder), reason) for folder, reason in walk.unreadable]
    plan.linked_folders += [str(root.folder / folder) for folder in walk.linked_folders]
    if root.files is not None:
        plan.roots.append(RootState(root.root.id, root.folder, len(images), []))
        return
    vanished = images.unseen([folder for folder, _ in walk.unreadable])
    plan.roots.append(RootState(root.root.id, root.folder, len(images), vanished))
    new_files = sum(task.replaces_image is None for task in plan.tasks[first_task:])
    if not prune:
        if plan.candidates == before and not walk.unreadable:
            _refuse_empty(root.folder, walk, len(images))
        # A vanished file may have been moved: only those that cannot be are sure to be deletes at this point.
        if suspicious(len(vanished) - new_files, len(images)):
            check_prune(root.folder, count_lost(gallery, vanished) - new_files, len(images))
    plan.vanished_skipped += skipped.unseen([folder for folder, _ in walk.unreadable])


def _refuse_empty(folder: Path, walk: FolderWalk, live: int) -> None:
    hints = []
    if live:
        hints.append(f"its {live:,} pictures stay in the gallery; if they are meant to leave it, add --prune")
    if walk.hidden:
        hints.append(f"{walk.hidden} hidden files or folders were passed over")
    if walk.linked_folders:
        hints.append(f"{len(walk.linked_folders)} links to folders are not followed; name the folders themselves")
    raise SourceError(f"no files in {folder}" + (f" ({'; '.join(hints)})" if hints else ""))


def suspicious(deletes: int, live: int) -> bool:
    """Whether a run that deletes so many of a root's images has to be told that it is meant."""
    return deletes > PRUNE_ITEMS and deletes > PRUNE_SHARE * live


def count_lost(gallery: Gallery, vanished: Sequence[int], written: Container[bytes] = frozenset()) -> int:
    """How many of some rows have a content that no other live row has, nor any in `written`: the others were moved."""
    gone = frozenset(vanished)
    kept: set[bytes] = set()
    missing: list[bytes] = []
    for row_ids, hashes in gallery.image_hashes():
        for row_id, content_hash in zip(row_ids.tolist(), hashes, strict=True):
            if row_id in gone:
                missing.append(content_hash)
            else:
                kept.add(content_hash)
    return sum(content_hash not in kept and content_hash not in written for content_hash in missing)


def check_prune(folder: Path, deletes: int, live: int) -> None:
    """Raise PruneRefused where a run would delete suspiciously much of what a root holds."""
    if suspicious(deletes, live):
        raise PruneRefused(
            f"{deletes:,} of the {live:,} pictures below {folder} are gone or broken. If they are meant to leave the "
            "gallery, run the same command with --prune; if a disk is not mounted, mount it. Nothing was deleted."
        )
