"""Compares the files below a root with the gallery's rows: which are to be embedded, and which rows have vanished."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from mmsearch.cutting import alike_from, as_before, cutting_word, why_missing
from mmsearch.errors import SourceError
from mmsearch.gallery import Gallery
from mmsearch.items import DEFAULT_KIND, SKIPPED, AnyKind, Side, kind_of_file, kinds
from mmsearch.locations import Location, url_of
from mmsearch.names import shell_quoted
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.sources import (
    EVERYTHING,
    ArchiveListing,
    FolderWalk,
    Member,
    Selection,
    SourceFile,
    container_form,
    file_in,
    find_files,
    has_joined,
    join_named,
    list_container,
    list_pictures,
    refused_archive,
    whole_picture,
)
from mmsearch.sync.known_files import KnownFiles
from mmsearch.sync.prune_guard import check_prune, count_lost, needs_prune
from mmsearch.sync.roots import RootPlan
from mmsearch.sync.whole_containers import WholeContainers

__all__ = ["IsSettled", "Plan", "RootState", "Task", "plan_root"]

IsSettled: TypeAlias = Callable[[SourceFile], bool]
"""Whether a file that is new or has changed may be read by now; one that may not stays as the gallery has it."""

_FILES_PER_REPORT = 1_000


@dataclass(frozen=True, slots=True)
class Task:
    """An item to embed.

    Attributes:
        replaces, replaces_skipped: ids of the live rows that its new row replaces.
        joins: ids of the live rows of other files of the same picture, which end with that.
        instead: what is to be embedded where this file holds no picture: another file of the same one.
    """

    file: SourceFile
    root_id: int
    replaces: int | None
    replaces_skipped: int | None
    joins: tuple[int, ...] = ()
    instead: "Task | None" = None

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
        clutter: by table, the row ids of items that are looked at no more, see `mmsearch.sources.is_clutter`, and of
            pictures that are no longer made of a file which is still there.
        named: whether single files of it were named.
    """

    root_id: int
    folder: Location
    live: int
    vanished: dict[str, list[int]]
    clutter: dict[str, list[int]]
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
        joined: how many files stand beside others of the same picture.
        passed_over: how many files and folders were passed over: hidden, or clutter.
        captions: how many files beside pictures are none of theirs, but may be read as captions.
        vanished_skipped: row ids of skipped rows that have no file any more.
        unsettled: how many files are new or changed, and left for later since they are still being written.
        unreadable: (folder or file, reason).
        linked_folders: links to folders, which are not followed.
        notes: lines for the user.
    """

    roots: list[RootState] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    unchanged: Counter[str] = field(default_factory=Counter)
    still_skipped: int = 0
    candidates: int = 0
    joined: int = 0
    passed_over: int = 0
    captions: int = 0
    vanished_skipped: list[int] = field(default_factory=list)
    unsettled: int = 0
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
    is_settled: IsSettled = lambda _: True,
) -> None:
    """Compare a root with the gallery and add to `plan` what has to be done.

    Raises SourceError for an empty root, and PruneRefused where too much would be deleted; neither with `prune`.
    """
    planner = _RootPlanner(gallery, root, plan, selection, progress, is_settled)
    candidates_before, first_task = plan.candidates, len(plan.tasks)
    planner.plan_everything()
    plan.unreadable += [(str(root.folder / name), reason) for name, reason in planner.unknown]
    plan.linked_folders += [str(root.folder / folder) for folder in planner.walk.linked_folders]
    plan.passed_over += planner.walk.hidden + planner.walk.clutter
    plan.captions += planner.walk.captions
    clutter = planner.find_clutter()
    for name, rows in planner.find_uncut().items():
        clutter[name] += rows
    vanished = planner.find_vanished()
    plan.vanished_skipped += [*clutter.pop(SKIPPED.name), *vanished.pop(SKIPPED.name)]
    named = root.files is not None
    plan.roots.append(RootState(root.root.id, root.folder, planner.live, vanished, clutter, named=named))
    if not prune:
        found_nothing = plan.candidates == candidates_before and not planner.unknown
        if found_nothing and (root.files is None or selection.partial):
            _refuse_empty(root.folder, planner.walk, planner.live, selection)
        # A vanished file may be a new one, moved. Only vanished rows beyond the number of new files are sure deletes.
        new_files = sum(task.replaces is None and not task.joins for task in plan.tasks[first_task:])
        if needs_prune(sum(map(len, vanished.values())) - new_files, planner.live):
            lost = sum(count_lost(gallery, table, rows) for table, rows in vanished.items())
            check_prune(root.folder, lost - new_files, planner.live)


class _RootPlanner:
    """Plans one root. items: the known files by kind. unknown: (name, reason) of what could not be read."""

    def __init__(
        self,
        gallery: Gallery,
        root: RootPlan,
        plan: Plan,
        selection: Selection,
        progress: ProgressCallback,
        is_settled: IsSettled,
    ) -> None:
        self._root, self._plan, self._selection, self._progress = root, plan, selection, progress
        self._is_settled = is_settled
        self.items = {
            kind.name: KnownFiles(gallery.files(kind.name, root.root.id), apart=selection.apart)
            for kind in kinds()
            if kind.files is not None
        }
        self.live = sum(map(len, self.items.values()))
        self.skipped = KnownFiles(gallery.files(SKIPPED.name, root.root.id), apart=selection.apart)
        self._tables = {**self.items, SKIPPED.name: self.skipped}
        cuttings = {word for known in self._tables.values() for word in known.cuttings()}
        self._selection = replace(selection, cuts=as_before(cuttings, selection.cuts))
        self._whole = WholeContainers(self._tables.values(), self._selection.cuts, identified=root.identified)
        self._wants, self._excludes = selection.wants(), selection.excludes()
        self.walk = FolderWalk(
            root.folder,
            avoid=gallery.path,
            hidden=selection.hidden,
            apart=selection.apart,
            enters=lambda folder: not self._excludes(f"{folder}/"),
        )
        self.walked = root.files is None and root.root.whole
        self.unknown: list[tuple[str, str]] = []
        self._missing_members: dict[str, list[int]] = {
            name: [] for name in self._tables
        }  # no longer in their containers
        self._uncut: dict[str, list[int]] = {name: [] for name in self._tables}

    def plan_everything(self) -> None:
        for file in self._files():
            if self._has_enough:
                break
            if container_form(file.name) and file.size is not None:
                if not self._excludes(file.name):
                    self._plan_container(file)
            elif (chosen := self._choose(file)) is not None:
                self._plan_chosen(chosen)
        self.unknown += self.walk.unreadable

    def find_vanished(self) -> dict[str, list[int]]:
        """By table, the row ids of items that have no file any more."""
        if self._selection.partial:
            return {name: [] for name in self._tables}
        if self._root.files is not None:
            return self._missing_members  # named files add or update; only items of named containers can vanish
        unknown, hidden = [name for name, _ in self.unknown], self._selection.hidden or not self.walked
        return {name: known.find_unseen(unknown, hidden=hidden) for name, known in self._tables.items()}

    def find_clutter(self) -> dict[str, list[int]]:
        """By table, the row ids of items that are looked at no more. To be called before `find_vanished`."""
        if self._selection.partial or self._selection.hidden or not self.walked:
            return {name: [] for name in self._tables}
        return {name: known.find_clutter() for name, known in self._tables.items()}

    def find_uncut(self) -> dict[str, list[int]]:
        """By table, the row ids of pictures that were made of files which are still there and are cut otherwise now."""
        return {name: [] for name in self._tables} if self._selection.partial else self._uncut

    @property
    def _has_enough(self) -> bool:
        limit = self._selection.limit
        return limit is not None and len(self._plan.tasks) >= limit

    def _files(self) -> Iterator[SourceFile]:
        folder = self._root.folder
        if self.walked:
            yield from self.walk
        elif self._root.identified:  # the pictures of a benchmark are what its annotations name, and no other
            yield from find_files(folder, self._root.files or ())
        elif self._root.files is not None:
            named = [file_in(folder, file) for file in self._root.files]
            held = {name for known in self.items.values() for name in (*known.file_names(), *known.beside_names())}
            yield from self._join({file.name: file for file in named}, held)
        else:  # a root of named files: those that are still there
            tables = self._tables.values()
            names = dict.fromkeys(name for known in tables for name in (*known.file_names(), *known.beside_names()))
            there = {name: file for name in names if (file := file_in(folder, folder / name)).size is not None}
            yield from self._join(there, ())

    def _join(self, files: Mapping[str, SourceFile], held: Collection[str]) -> Iterator[SourceFile]:
        """Named files, those of one picture as one."""
        folder = self._root.folder

        def find(name: str) -> SourceFile:
            return files.get(name) or file_in(folder, folder / name)

        return join_named(folder, files, held, find, apart=self._selection.apart)

    def _choose(self, file: SourceFile) -> SourceFile | None:
        """Of the files of one picture the best that is selected and can be read, as far as that is known; the best that
        is selected where none can; None where none is selected."""
        if not file.beside:
            return file if self._wants(file.name) else None
        candidates = [file, *(file.instead(other) for other in file.beside if other.is_picture)]
        selected = [candidate for candidate in candidates if self._wants(candidate.name)]
        if len(selected) < 2:
            return next(iter(selected), None)
        known_unreadable = [] if self._selection.retry_skipped else [*map(self._is_unreadable, selected)]
        if not any(known_unreadable):
            return selected[0]
        first = len(selected) - 1 if all(known_unreadable) else known_unreadable.index(False)
        chosen, unreadable = selected[first], {candidate.name for candidate in selected[:first]}
        for candidate in selected[:first]:
            self._plan_file(replace(candidate, beside=()))
        return replace(chosen, beside=tuple(each for each in chosen.beside if each.file.name not in unreadable))

    def _plan_chosen(self, file: SourceFile) -> None:
        reason = None if isinstance(file, Member) else refused_archive(file.name)
        # Why a member is refused, is said of it as of what is cut: so the next run knows that there is no more of it.
        is_there = isinstance(file, Member) or (file.size is not None and file.refused is None)
        if reason is None and is_there and self._cutting(file):
            reason = why_missing(file.name, self._selection.cuts)
            if reason is None:
                self._plan_cut_file(file, self._cutting(file))
                return
        self._plan_file(file if reason is None else replace(file, refused=file.refused or reason))
        if file.size is not None:
            for name, known in self._tables.items():  # what was made of it when it was cut
                self._uncut[name] += known.find_unseen_pieces(file)

    def _cutting(self, file: SourceFile) -> str:
        """The word for how pictures are made of a file; empty where it is what it is."""
        if self._root.identified or kind_of_file(file.name) is not DEFAULT_KIND:
            return ""
        is_remote = not isinstance(file, Member) and url_of(file.location) is not None
        return cutting_word(file.name, self._selection.cuts, remote=is_remote)

    def _plan_cut_file(self, file: SourceFile, cutting: str) -> None:
        """Plan the pictures of a file that holds several, and that file itself, where it is one of them."""
        members = self._count_pictures(file, cutting)
        if members is None and not self._is_settled(file):
            self._plan.candidates += 1
            self._plan.unsettled += 1
            self._mark_members_seen(file)
            for known in self._tables.values():
                known.find(file, alone=True)  # which marks it as seen
            return
        if members is None and isinstance(file, Member) and self._has_enough:  # an archive may hold thousands
            self._mark_members_seen(file)
            return
        if members is None:
            try:
                pictures = list_pictures(file, cutting, self._selection.cuts)
            except OSError as error:
                self._add_unknown(file, error.strerror or str(error))
                return
            as_a_whole = alike_from(file.name, cutting) is not None and not self._has_enough
            for picture in pictures:
                self._plan_file(picture, anew=as_a_whole)
        else:
            unchanged = {
                kind: known.mark_members_seen(file, former=False, cutting=cutting) for kind, known in self.items.items()
            }
            skipped = self.skipped.mark_members_seen(file, former=False, cutting=cutting)
            self._plan.unchanged.update(unchanged)
            self._plan.still_skipped += skipped
            self._plan.candidates += sum(unchanged.values()) + skipped
            if any(known.row_of(file) is not None for known in self._tables.values()):
                self._plan_file(whole_picture(file, cutting, members))
        for name, known in self._tables.items():
            self._uncut[name] += known.find_unseen_pieces(file)

    def _count_pictures(self, file: SourceFile, cutting: str) -> int | None:
        """How many pictures the file was cut into, where it is unchanged since and all were embedded; else None."""
        if self._selection.retry_skipped and self.skipped.count_etags(file, cutting):
            return None
        return self._whole.count_pictures(file, cutting)

    def _is_unreadable(self, file: SourceFile) -> bool:
        """Whether a file was read and holds no picture, or is a link to nothing that never held one."""
        if file.size is None and file.refused is None:
            return self.items[kind_of_file(file.name).name].row_of(file) is None
        return self.skipped.holds_unchanged(file)

    def _plan_file(self, file: SourceFile, *, anew: bool = False) -> None:
        """anew: whether it is embedded also where it is unchanged, as what stands beside it in its file is."""
        plan = self._plan
        plan.candidates += 1
        if plan.candidates % _FILES_PER_REPORT == 0:
            self._progress(Progress("looking", plan.candidates, None))
        kind = kind_of_file(file.name).name
        item_row, is_unchanged = self.items[kind].find(file)
        skipped_row, is_still_skipped = self.skipped.find(file, alone=True)  # what is beside it makes it no picture
        joins = self._rows_beside(file)
        plan.joined += len(file.beside)
        if item_row is not None and is_unchanged and not joins and not anew:
            plan.unchanged[kind] += 1
        elif skipped_row is not None and is_still_skipped and not self._selection.retry_skipped and not anew:
            plan.still_skipped += 1
        elif not all(self._is_settled(each) for each in (file, *(other.file for other in file.beside))):
            plan.unsettled += 1
        elif anew or not self._has_enough:
            plan.tasks.append(Task(file, self._root.root.id, item_row, skipped_row, joins, self._instead(file)))

    def _instead(self, file: SourceFile) -> Task | None:
        """The task of the next file that could stand for a picture; None where there is none, or where it does already,
        as it is."""
        others = (file.instead(other) for other in file.beside if other.is_picture)
        other = next((other for other in others if self._wants(other.name)), None)
        if other is None:
            return None
        row, is_unchanged = self.items[kind_of_file(other.name).name].find(other)
        joins = self._rows_beside(other)
        if row is not None and is_unchanged and not joins:
            return None
        # Its skipped row is not seen by that: it goes if this file holds a picture, which the other then stands beside.
        skipped_row = self.skipped.row_of(other)
        return Task(other, self._root.root.id, row, skipped_row, joins, self._instead(other))

    def _rows_beside(self, file: SourceFile) -> tuple[int, ...]:
        """The ids of the live rows of the files beside a picture."""
        known = self.items[kind_of_file(file.name).name]
        rows = (known.find(other.file)[0] for other in file.beside)
        return tuple(row for row in rows if row is not None)

    def _plan_container(self, file: SourceFile) -> None:
        plan, former = self._plan, self._state_of_container(file)
        if former is not None:
            unchanged = {kind: known.mark_members_seen(file, former=former) for kind, known in self.items.items()}
            skipped = self.skipped.mark_members_seen(file, former=former)
            plan.unchanged.update(unchanged)
            plan.still_skipped += skipped
            plan.candidates += sum(unchanged.values()) + skipped
            plan.joined += sum(known.count_beside(file) for known in self.items.values())
        elif not self._is_settled(file):
            plan.candidates += 1
            plan.unsettled += 1
            self._mark_members_seen(file)
        else:
            try:
                listing = list_container(file, hidden=self._selection.hidden, apart=self._selection.apart)
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
        if listing.ambiguous:
            self._plan.notes.append(
                f"{file.location} holds {listing.ambiguous} names that read as pieces of other members; left out"
            )
        self.walk.hidden += listing.hidden
        self.walk.clutter += listing.clutter
        self.walk.captions += listing.captions
        only = self._root.only
        for member in listing.members:
            if only is not None and member.name not in only:
                continue
            # Of an archive members are chosen by their own names; of a file that is cut, none or all.
            if listing.container.form == "spans":
                if self._wants(file.name):
                    self._plan_file(member)
            elif (chosen := self._choose(member)) is not None:
                self._plan_chosen(chosen)
        if listing.damaged is not None:
            # Items that it held before and that cannot be read now are unknown, not vanished.
            self._mark_members_seen(file)
            self._plan_file(replace(file, refused=listing.damaged))

    def _state_of_container(self, file: SourceFile) -> bool | None:
        """None: the container has to be listed. Else it is unchanged since all its items were embedded.

        True: rows of its former states are kept, since it is damaged and may still hold these items."""
        if self._selection.hidden:
            return None
        if self._selection.retry_skipped and (self.skipped.count_etags(file) or self.skipped.count_pieces(file)):
            return None
        whole = self._whole.state_of(file)
        if whole is None:
            return None
        if not self._selection.apart and whole.cutting == "" and self._holds_joined(file):
            return None  # listed before files of one picture were joined
        if whole.complete:
            return False
        skipped_row, is_still_skipped = self.skipped.find(file)
        if skipped_row is None or not is_still_skipped or self._selection.retry_skipped:
            return None
        self._plan.still_skipped += 1
        self._plan.candidates += 1
        return True

    def _holds_joined(self, file: SourceFile) -> bool:
        if container_form(file.name) not in ("tar", "zip"):
            return False
        return has_joined(name for known in self._tables.values() for name in known.member_names(file))

    def _mark_members_seen(self, file: SourceFile) -> None:
        for known in self._tables.values():
            known.mark_members_seen(file, former=True)

    def _add_unknown(self, file: SourceFile, reason: str) -> None:
        self._mark_members_seen(file)
        self.unknown.append((file.name, reason))


def _refuse_empty(folder: Location, walk: FolderWalk, live: int, selection: Selection) -> None:
    hints = []
    if selection.include or selection.exclude:
        options = [f"--include {shell_quoted(pattern)}" for pattern in selection.include]
        options += [f"--exclude {shell_quoted(pattern)}" for pattern in selection.exclude]
        raise SourceError(
            f"no file in {folder} is selected by {' '.join(options)}. "
            "Patterns are those of .gitignore: '*.jpg' at any depth, '/2019' at the top, 'raw/' a folder."
        )
    if live:
        hints.append(f"its {live:,} pictures stay in the gallery; if they are meant to leave it, add --prune")
    if passed_over := walk.hidden + walk.clutter:
        hints.append(f"{passed_over} hidden files or folders were passed over; --hidden takes them in")
    if walk.linked_folders:
        hints.append(f"{len(walk.linked_folders)} links to folders are not followed; name the folders themselves")
    raise SourceError(f"no files in {folder}" + (f" ({'; '.join(hints)})" if hints else ""))
