"""Compares the files below a root with the gallery's rows: which are to be embedded, and which rows have vanished."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from mmsearch.errors import SourceError
from mmsearch.gallery import Gallery
from mmsearch.items import SKIPPED, AnyKind, Side, kind_of_file, kinds
from mmsearch.locations import Location
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.sources import (
    EVERYTHING,
    ArchiveListing,
    ContainerState,
    FolderWalk,
    Selection,
    SourceFile,
    container_form,
    file_in,
    list_container,
    refused_archive,
)
from mmsearch.sync.known_files import KnownFiles
from mmsearch.sync.prune_guard import check_prune, count_lost, needs_prune
from mmsearch.sync.roots import RootPlan

__all__ = ["Plan", "RootState", "Task", "plan_root"]

_FILES_PER_REPORT = 1_000


@dataclass(frozen=True, slots=True)
class Task:
    """An item to embed. replaces, replaces_skipped: ids of the live rows that its new row replaces."""

    file: SourceFile
    root_id: int
    replaces: int | None
    replaces_skipped: int | None

    @property
    def kind(self) -> AnyKind:
        """What it becomes."""
        return kind_of_file(self.file.name)


@dataclass(frozen=True, slots=True)
class RootState:
    """A root that was planned.

    Attributes:
        live: how many live items it had.
        vanished: by table, the row ids of items that have no file any more.
        named: whether single files of it were named.
    """

    root_id: int
    folder: Location
    live: int
    vanished: dict[str, list[int]]
    named: bool

    @property
    def vanished_count(self) -> int:
        """How many items have no file any more."""
        return sum(map(len, self.vanished.values()))


@dataclass(slots=True)
class Plan:
    """What a run has to do for some roots.

    Attributes:
        candidates: how many items were found.
        unchanged: how many of them are unchanged, by kind.
        still_skipped: how many of them were skipped before and are unchanged.
        vanished_skipped: row ids of skipped rows that have no file any more.
        unreadable: (folder or file, reason).
        linked_folders: links to folders, which are not followed.
        notes: lines for the user.
    """

    roots: list[RootState] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    unchanged: Counter[str] = field(default_factory=Counter)
    still_skipped: int = 0
    candidates: int = 0
    vanished_skipped: list[int] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    linked_folders: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sides(self) -> set[Side]:
        """The sides of an encoder that the tasks need."""
        return {task.kind.side for task in self.tasks}


def plan_root(
    gallery: Gallery,
    root: RootPlan,
    plan: Plan,
    *,
    prune: bool,
    progress: ProgressCallback,
    selection: Selection = EVERYTHING,
) -> None:
    """Compare a root with the gallery and add to `plan` what has to be done.

    Raises SourceError for an empty root, and PruneRefused where too much would be deleted; neither with `prune`.
    """
    planner = _RootPlanner(gallery, root, plan, selection, progress)
    candidates_before, first_task = plan.candidates, len(plan.tasks)
    planner.plan_everything()
    plan.unreadable += [(str(root.folder / name), reason) for name, reason in planner.unknown]
    plan.linked_folders += [str(root.folder / folder) for folder in planner.walk.linked_folders]
    vanished = planner.find_vanished()
    plan.vanished_skipped += vanished.pop(SKIPPED.name)
    plan.roots.append(RootState(root.root.id, root.folder, planner.live, vanished, named=root.files is not None))
    if not prune:
        found_nothing = plan.candidates == candidates_before and not planner.unknown
        if found_nothing and (root.files is None or selection.partial):
            _refuse_empty(root.folder, planner.walk, planner.live, selection)
        # A vanished file may be a new one, moved. Only vanished rows beyond the number of new files are sure deletes.
        new_files = sum(task.replaces is None for task in plan.tasks[first_task:])
        if needs_prune(sum(map(len, vanished.values())) - new_files, planner.live):
            lost = sum(count_lost(gallery, table, rows) for table, rows in vanished.items())
            check_prune(root.folder, lost - new_files, planner.live)


class _RootPlanner:
    """Plans one root. items: the known files by kind. unknown: (name, reason) of what could not be read."""

    def __init__(
        self, gallery: Gallery, root: RootPlan, plan: Plan, selection: Selection, progress: ProgressCallback
    ) -> None:
        self._root, self._plan, self._selection, self._progress = root, plan, selection, progress
        self.items = {
            kind.name: KnownFiles(gallery.files(kind.name, root.root.id)) for kind in kinds() if kind.files is not None
        }
        self.live = sum(map(len, self.items.values()))
        self.skipped = KnownFiles(gallery.files(SKIPPED.name, root.root.id))
        self._tables = {**self.items, SKIPPED.name: self.skipped}
        self._wants, self._excludes = selection.wants(), selection.excludes()
        self.walk = FolderWalk(
            root.folder,
            avoid=gallery.path,
            hidden=selection.hidden,
            enters=lambda folder: not self._excludes(f"{folder}/"),
        )
        self.walked = root.files is None and root.root.whole
        self.unknown: list[tuple[str, str]] = []
        self._missing_members: dict[str, list[int]] = {
            name: [] for name in self._tables
        }  # no longer in their containers

    def plan_everything(self) -> None:
        for file in self._files():
            if self._has_enough:
                break
            if container_form(file.name) and file.size is not None:
                if not self._excludes(file.name):
                    self._plan_container(file)
            elif self._wants(file.name):
                reason = refused_archive(file.name)
                self._plan_file(file if reason is None else replace(file, refused=reason))
        self.unknown += self.walk.unreadable

    def find_vanished(self) -> dict[str, list[int]]:
        """By table, the row ids of items that have no file any more."""
        if self._selection.partial:
            return {name: [] for name in self._tables}
        if self._root.files is not None:
            return self._missing_members  # named files add or update; only items of named containers can vanish
        unknown, hidden = [name for name, _ in self.unknown], self._selection.hidden or not self.walked
        return {name: known.find_unseen(unknown, hidden=hidden) for name, known in self._tables.items()}

    @property
    def _has_enough(self) -> bool:
        limit = self._selection.limit
        return limit is not None and len(self._plan.tasks) >= limit

    def _files(self) -> Iterator[SourceFile]:
        folder = self._root.folder
        if self.walked:
            yield from self.walk
        elif self._root.files is not None:
            yield from (file_in(folder, file, identified=self._root.identified) for file in self._root.files)
        else:  # a root of named files: those that are still there
            names = dict.fromkeys(name for known in self._tables.values() for name in known.file_names())
            yield from (file for name in names if (file := file_in(folder, folder / name)).size is not None)

    def _plan_file(self, file: SourceFile) -> None:
        plan = self._plan
        plan.candidates += 1
        if plan.candidates % _FILES_PER_REPORT == 0:
            self._progress(Progress("looking", plan.candidates, None))
        kind = kind_of_file(file.name).name
        item_row, is_unchanged = self.items[kind].find(file)
        skipped_row, is_still_skipped = self.skipped.find(file)
        if item_row is not None and is_unchanged:
            plan.unchanged[kind] += 1
        elif skipped_row is not None and is_still_skipped and not self._selection.retry_skipped:
            plan.still_skipped += 1
        elif not self._has_enough:
            plan.tasks.append(Task(file, self._root.root.id, item_row, skipped_row))

    def _plan_container(self, file: SourceFile) -> None:
        plan, former = self._plan, self._state_of_container(file)
        if former is not None:
            unchanged = {kind: known.mark_members_seen(file, former=former) for kind, known in self.items.items()}
            skipped = self.skipped.mark_members_seen(file, former=former)
            plan.unchanged.update(unchanged)
            plan.still_skipped += skipped
            plan.candidates += sum(unchanged.values()) + skipped
        else:
            try:
                listing = list_container(file, hidden=self._selection.hidden)
            except OSError as error:
                self._add_unknown(file, error.strerror or str(error))
                return
            self._plan_members(file, listing)
        for name, known in self._tables.items():
            self._missing_members[name] += known.find_missing_members(file, hidden=self._selection.hidden)

    def _plan_members(self, file: SourceFile, listing: ArchiveListing) -> None:
        if listing.repeated:
            self._plan.notes.append(f"{file.location} holds {listing.repeated} names twice; the last of each counts")
        if listing.backslashed:
            self._plan.notes.append(
                f"{file.location} holds {listing.backslashed} names with backslashes; they stand here with slashes"
            )
        self.walk.hidden += listing.hidden
        for member in listing.members:
            # Of an archive members are chosen by their own names; of a file that is cut, none or all.
            if self._wants(file.name if listing.container.form == "spans" else member.name):
                self._plan_file(member)
        if listing.damaged is not None:
            # Items that it held before and that cannot be read now are unknown, not vanished.
            self._mark_members_seen(file)
            self._plan_file(replace(file, refused=listing.damaged))

    def _state_of_container(self, file: SourceFile) -> bool | None:
        """None: the container has to be listed. Else it is unchanged since all its items were embedded.

        True: rows of its former states are kept, since it is damaged and may still hold these items."""
        if self._selection.hidden or (self._selection.retry_skipped and self.skipped.count_etags(file)):
            return None
        rows = sum((known.count_etags(file) for known in self._tables.values()), Counter[str]())
        states = ((ContainerState.of(etag), count) for etag, count in rows.items())
        whole = next((state for state, count in states if state.members == str(count)), None)
        if whole is None:
            return None
        if whole.complete:
            return False
        skipped_row, is_still_skipped = self.skipped.find(file)
        if skipped_row is None or not is_still_skipped or self._selection.retry_skipped:
            return None
        self._plan.still_skipped += 1
        self._plan.candidates += 1
        return True

    def _mark_members_seen(self, file: SourceFile) -> None:
        for known in self._tables.values():
            known.mark_members_seen(file, former=True)

    def _add_unknown(self, file: SourceFile, reason: str) -> None:
        self._mark_members_seen(file)
        self.unknown.append((file.name, reason))


def _refuse_empty(folder: Location, walk: FolderWalk, live: int, selection: Selection) -> None:
    hints = []
    if selection.include or selection.exclude:
        options = [f"--include {pattern!r}" for pattern in selection.include]
        options += [f"--exclude {pattern!r}" for pattern in selection.exclude]
        raise SourceError(
            f"no file in {folder} is selected by {' '.join(options)}. "
            "Patterns are those of .gitignore: '*.jpg' at any depth, '/2019' at the top, 'raw/' a folder."
        )
    if live:
        hints.append(f"its {live:,} pictures stay in the gallery; if they are meant to leave it, add --prune")
    if walk.hidden:
        hints.append(f"{walk.hidden} hidden files or folders were passed over; --hidden takes them in")
    if walk.linked_folders:
        hints.append(f"{len(walk.linked_folders)} links to folders are not followed; name the folders themselves")
    raise SourceError(f"no files in {folder}" + (f" ({'; '.join(hints)})" if hints else ""))
