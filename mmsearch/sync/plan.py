"""What was found below a root, held against what the gallery knows of it: what is to be embedded, and what is gone."""

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
from mmsearch.sync.guard import check_prune, count_lost, suspicious
from mmsearch.sync.known import KnownFiles
from mmsearch.sync.roots import RootPlan

__all__ = ["Plan", "RootState", "Task", "plan_root"]

_SHOW_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class Task:
    """An item to embed. replaces, replaces_skipped: the live rows that the outcome takes the place of."""

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
    """A root that was looked at.

    live: how many items it had. vanished: per kind, the rows of those that have no file any more. named: whether files
    of it were named.
    """

    root_id: int
    folder: Location
    live: int
    vanished: dict[str, list[int]]
    named: bool

    @property
    def gone(self) -> int:
        """How many items have no file any more."""
        return sum(map(len, self.vanished.values()))


@dataclass(slots=True)
class Plan:
    """What was found below some roots. candidates: items found. unchanged: of them, by kind. vanished_skipped: row ids
    of skipped rows.

    notes: what the user should know of it, in a line each.
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
        """Those of an encoder that carrying it out needs."""
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
    """Look at a root and add to `plan` what has to be done.

    Raises SourceError for an empty root and PruneRefused, unless `prune` says that such deletes are meant.
    """
    look = _RootPlanner(gallery, root, plan, selection, progress)
    before, first_task = plan.candidates, len(plan.tasks)
    look.plan_everything()
    plan.unreadable += [(str(root.folder / name), reason) for name, reason in look.unknown]
    plan.linked_folders += [str(root.folder / folder) for folder in look.walk.linked_folders]
    vanished = look.vanished()
    plan.vanished_skipped += vanished.pop(SKIPPED.name)
    plan.roots.append(RootState(root.root.id, root.folder, look.live, vanished, named=root.files is not None))
    if not prune:
        nothing = plan.candidates == before and not look.unknown
        if nothing and (root.files is None or selection.partial):
            _refuse_empty(root.folder, look.walk, look.live, selection)
        # A vanished file may have been moved: only those that cannot be are sure to be deletes at this point.
        new_files = sum(task.replaces is None for task in plan.tasks[first_task:])
        if suspicious(sum(map(len, vanished.values())) - new_files, look.live):
            lost = sum(count_lost(gallery, table, rows) for table, rows in vanished.items())
            check_prune(root.folder, lost - new_files, look.live)


class _RootPlanner:
    """One look at a root. items: by kind. unknown: (name, reason) of folders and containers that could not be read."""

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
        self._gone: dict[str, list[int]] = {name: [] for name in self._tables}  # no longer in their containers

    def plan_everything(self) -> None:
        for file in self._files():
            if self._full:
                break
            if container_form(file.name) and file.size is not None:
                if not self._excludes(file.name):
                    self._at_container(file)
            elif self._wants(file.name):
                reason = refused_archive(file.name)
                self._plan_file(file if reason is None else replace(file, refused=reason))
        self.unknown += self.walk.unreadable

    def vanished(self) -> dict[str, list[int]]:
        """Per table the row ids that stand for nothing any more."""
        if self._selection.partial:
            return {name: [] for name in self._tables}
        if self._root.files is not None:
            return self._gone  # named files only add or update; but what a named container no longer holds is gone
        unknown, hidden = [name for name, _ in self.unknown], self._selection.hidden or not self.walked
        return {name: known.unseen(unknown, hidden=hidden) for name, known in self._tables.items()}

    @property
    def _full(self) -> bool:
        limit = self._selection.limit
        return limit is not None and len(self._plan.tasks) >= limit

    def _files(self) -> Iterator[SourceFile]:
        folder = self._root.folder
        if self.walked:
            yield from self.walk
        elif self._root.files is not None:
            yield from (file_in(folder, file, identified=self._root.identified) for file in self._root.files)
        else:  # a root of named files: those, as far as they are still there
            names = dict.fromkeys(name for known in self._tables.values() for name in known.files())
            yield from (file for name in names if (file := file_in(folder, folder / name)).size is not None)

    def _plan_file(self, file: SourceFile) -> None:
        plan = self._plan
        plan.candidates += 1
        if plan.candidates % _SHOW_EVERY == 0:
            self._progress(Progress("looking", plan.candidates, None))
        kind = kind_of_file(file.name).name
        item, same_item = self.items[kind].find(file)
        skip, same_skip = self.skipped.find(file)
        if item is not None and same_item:
            plan.unchanged[kind] += 1
        elif skip is not None and same_skip and not self._selection.retry_skipped:
            plan.still_skipped += 1
        elif not self._full:
            plan.tasks.append(Task(file, self._root.root.id, item, skip))

    def _at_container(self, file: SourceFile) -> None:
        plan, former = self._plan, self._unchanged(file)
        if former is not None:
            unchanged = {kind: known.keep_members(file, former=former) for kind, known in self.items.items()}
            skipped = self.skipped.keep_members(file, former=former)
            plan.unchanged.update(unchanged)
            plan.still_skipped += skipped
            plan.candidates += sum(unchanged.values()) + skipped
        else:
            try:
                listing = list_container(file, hidden=self._selection.hidden)
            except OSError as error:
                self._unknown(file, error.strerror or str(error))
                return
            self._plan_members(file, listing)
        for name, known in self._tables.items():
            self._gone[name] += known.missing_members(file, hidden=self._selection.hidden)

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
            # What it held before and does not show now is unknown, not vanished.
            self._keep_all(file)
            self._plan_file(replace(file, refused=listing.damaged))

    def _unchanged(self, file: SourceFile) -> bool | None:
        """None: the container has to be listed. Else it is as it was when all that it holds was taken in.

        True: rows of its former states are to be kept, since it is damaged and they may still be in it."""
        if self._selection.hidden or (self._selection.retry_skipped and self.skipped.etags(file)):
            return None
        rows = sum((known.etags(file) for known in self._tables.values()), Counter[str]())
        states = ((ContainerState.of(etag), count) for etag, count in rows.items())
        whole = next((state for state, count in states if state.members == str(count)), None)
        if whole is None:
            return None
        if whole.complete:
            return False
        skip, same = self.skipped.find(file)
        if skip is None or not same or self._selection.retry_skipped:
            return None
        self._plan.still_skipped += 1
        self._plan.candidates += 1
        return True

    def _keep_all(self, file: SourceFile) -> None:
        for known in self._tables.values():
            known.keep_members(file, former=True)

    def _unknown(self, file: SourceFile, reason: str) -> None:
        self._keep_all(file)
        self.unknown.append((file.name, reason))


def _refuse_empty(folder: Location, walk: FolderWalk, live: int, selection: Selection) -> None:
    hints = []
    if selection.include or selection.exclude:
        options = [f"--include {each!r}" for each in selection.include]
        options += [f"--exclude {each!r}" for each in selection.exclude]
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
