"""`embed --watch`: keep a gallery in step with folders, for days.

A sync looks at every file; that is cheap enough to be done for every batch of changes (`_SHARE`), and nothing that the
system fails to report is ever lost. What the system reports says only when to look, and which files are still being
written. Whatever stands in the way (a disk that is not connected, a gallery that somebody else writes) is waited out.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from mmsearch.embedding import (
    EmbedOptions,
    EmbedReport,
    ImageCounts,
    ItemCounts,
    KeptEncoder,
    Selection,
    embed_again,
)
from mmsearch.encoders import Encoder
from mmsearch.errors import CommitConflict, GalleryBusy, MmsearchError, SourceError, StoreError
from mmsearch.gallery import Gallery, find_gallery, gallery_to_write
from mmsearch.locations import Location, Url, located
from mmsearch.progress import ProgressCallback, quiet
from mmsearch.sources import EVERYTHING, SourceFile, is_hidden
from mmsearch.stores import is_folder, real
from mmsearch.upkeep.maintenance import compact

__all__ = ["watch"]

_Path: TypeAlias = str | os.PathLike[str]

_QUIET = 2.0
"""Seconds for which a file's size and time have to stay as they are before it is read."""
_LONGEST_QUIET = 30.0
"""Seconds after which what is quiet is embedded although other files are still being written."""
_SHARE = 10
"""After a sync, ten times as long as a look at all files takes is waited: never more than a tenth of a processor."""
_UNPROMPTED = 600.0
"""Seconds between syncs that nothing prompts: systems do not report everything, file systems of networks hardly any."""
_POLLING = 30.0
"""The same where the system reports nothing at all."""
_RETRY = 5.0
"""Seconds between looks at what is in the way."""
_TICK = 1.0
"""Seconds between looks at the clock, and at files that are being written."""
_ASLEEP = 30.0
"""Seconds by which the clock on the wall runs ahead of the one that stands still while the machine sleeps."""
_TIDY = 86_400.0
"""Seconds between tidyings of the gallery: each batch leaves a version and a small shard."""

_IN_THE_WAY = (SourceError, StoreError, GalleryBusy, CommitConflict)


def watch(
    paths: Sequence[_Path] = (),
    *,
    gallery: _Path | None = None,
    encoder: str | Encoder | None = None,
    options: EmbedOptions | None = None,
    selection: Selection = EVERYTHING,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
    ended: threading.Event | None = None,
) -> Iterator[EmbedReport]:
    """Sync a gallery with folders as `embed` does, and again whenever files in them change, until `ended` is set.

    Yields the report of the first sync, then one of each that changed something. The arguments are those of `embed`.
    A file is read once its size and time have been quiet for two seconds. A folder, a disk or a gallery that is not
    there is waited for, and said; nothing is deleted meanwhile. The encoder is loaded once, when it is first needed.
    Raises MmsearchError where the package watchfiles is not installed, and what `embed` raises of what waiting does not
    mend: of the first sync SourceError too, but for roots that the gallery knows.
    """
    try:
        import watchfiles  # noqa: F401 - said now, not after the first sync
    except ImportError:
        raise MmsearchError("watching folders needs a package: pip install 'mmsearch[watch]'") from None
    place = gallery_to_write(gallery, adds=bool(paths))
    return _Watching(
        *(paths, place, encoder, options or EmbedOptions(), selection),
        *(progress, announce, ended or threading.Event()),
    ).reports()


class _Watching:
    def __init__(
        self,
        paths: Sequence[_Path],
        gallery: Location,
        encoder: str | Encoder | None,
        options: EmbedOptions,
        selection: Selection,
        progress: ProgressCallback,
        announce: Callable[[str], None],
        ended: threading.Event,
    ) -> None:
        self._paths = [located(path) for path in paths]
        self._gallery, self._encoder, self._options, self._selection = gallery, encoder, options, selection
        self._progress, self._announce, self._ended = progress, announce, ended
        self._kept = KeptEncoder()
        self._restless = _RestlessFiles()
        self._unreported: dict[str, _Identity] | None = None  # folders whose changes the system does not report
        self._mounts: frozenset[str] = frozenset()
        self._has_synced = self._has_gallery = False
        self._said: str | None = None
        self._look_seconds = 0.0
        self._synced_at = self._tidied_at = time.monotonic()
        self._asleep = _clock_difference()

    def reports(self) -> Iterator[EmbedReport]:
        changes: _Changes | None = None
        try:
            while not self._ended.is_set():
                is_first = not self._has_synced
                report = self._sync()
                if report is not None and (is_first or _has_changed(report)):
                    yield report
                    self._tidy()
                changes = self._wait(changes, stuck=report is None)
        finally:
            if changes is not None:
                changes.close()

    def _sync(self) -> EmbedReport | None:
        """Sync once; None where something is in the way."""
        if (reason := self._why_not()) is not None:
            self._say(reason)
            return None
        started = time.monotonic()
        self._restless.waited()
        mounts = frozenset().union(*(_mounts_of(folder) for folder in self._folders()))
        selection = self._selection
        if self._has_synced and selection.retry_skipped:
            selection = replace(selection, retry_skipped=False)
        try:
            report = embed_again(
                self._paths,
                gallery=self._gallery,
                encoder=self._encoder,
                options=self._options,
                selection=selection,
                progress=self._progress,
                announce=self._announce,
                kept=self._kept,
                is_settled=self._restless.is_settled,
            )
        except _IN_THE_WAY as error:
            if not (self._has_synced or isinstance(error, GalleryBusy) or self._knows(self._folders())):
                raise
            self._say(str(error))
            return None
        finally:
            self._synced_at = time.monotonic()
        if self._said is not None:
            self._announce("watching goes on")
            self._said = None
        if report.device is None:
            self._look_seconds = self._synced_at - started
        self._mounts = mounts
        self._has_synced = True
        self._has_gallery |= bool(report.version)
        return report

    def _why_not(self) -> str | None:
        """What is not there and has to be, or the folder would be taken for empty and the gallery for none."""
        known = find_gallery(self._gallery) is not None
        if self._has_gallery and not known:
            return f"the gallery {self._gallery} is not there"
        if gone := sorted(mount for mount in self._mounts if not _is_mounted(mount)):
            return f"{gone[0]} is not mounted any more. If it is meant to stay away, end this and start it again"
        absent = [folder for folder in self._folders() if not is_folder(folder)] if known else []
        if absent and (self._has_synced or self._knows(absent)):
            return f"{absent[0]} is not there; is a disk not connected?"
        return None

    def _knows(self, folders: Sequence[Location]) -> bool:
        """Whether the gallery holds pictures of all of these: then none of them is a slip of the fingers."""
        roots = {real(root) for root in self._roots()}
        return bool(folders) and all(real(folder) in roots for folder in folders)

    def _roots(self) -> list[Location]:
        if find_gallery(self._gallery) is None:
            return []
        gallery = Gallery.open(self._gallery)
        folders = (gallery.root_path(root.id) for root in gallery.manifest.roots)
        return [folder for folder in folders if folder is not None]

    def _folders(self) -> list[Location]:
        """What is watched, as the gallery calls it: roots, and folders of files that were named."""
        roots = {real(root): root for root in self._roots()}
        if not self._paths:
            return list(roots.values())
        named = (path if is_folder(path) or real(path) in roots else path.parent for path in self._paths)
        return list(dict.fromkeys(roots.get(real(folder), folder) for folder in named))

    def _say(self, reason: str) -> None:
        if reason != self._said:
            self._announce(f"{reason.rstrip('.')}{'' if reason.endswith('?') else '.'} Waiting; nothing is deleted")
            self._said = reason

    def _wait(self, changes: "_Changes | None", *, stuck: bool) -> "_Changes | None":
        """Wait until it is time for the next sync. changes, and what is returned: what reports them."""
        until = self._synced_at + _RETRY if stuck else None
        is_due = has_begun = False
        watched = self._folders()
        folders = [folder for folder in watched if isinstance(folder, Path)]
        while not self._ended.is_set():
            woke = abs((difference := _clock_difference()) - self._asleep) > _ASLEEP
            self._asleep = difference
            if changes is not None and (woke or changes.folders != _identities(folders)):
                changes.close()
                changes = None
            if changes is None and not stuck and _identities(folders) != self._unreported:
                changes = self._report_changes(folders)
                has_begun = True
            now = time.monotonic()
            if until is not None and now >= until:
                return changes
            if not stuck:
                is_polling = changes is None and bool(folders)  # an object store would be asked for money
                earliest = self._synced_at + _SHARE * self._look_seconds
                if now >= max(earliest, self._synced_at + (_POLLING if is_polling else _UNPROMPTED)):
                    return changes
                if is_due and now >= earliest and not self._restless.must_wait():
                    return changes
            if changes is None or stuck:
                self._ended.wait(_TICK)
                is_due |= self._restless.look() or has_begun
                continue
            try:
                touched = changes.next()
            except (OSError, RuntimeError, StopIteration):  # it reports nothing any more, or this has ended
                changes.close()
                changes = None
                continue
            is_due |= self._restless.add(self._relevant(touched, folders))
            # What changed before was not reported; what is being written is known only now.
            is_due |= self._restless.look() or has_begun
        return changes

    def _report_changes(self, folders: Sequence[Path]) -> "_Changes | None":
        """What reports changes from now on; where the system does not, None."""
        try:
            return _Changes(folders, self._ended)
        except (OSError, RuntimeError) as error:  # RuntimeError is how watchfiles says what it did not expect
            if isinstance(error, FileNotFoundError):  # gone this very moment: the next sync says it
                return None
            self._unreported = _identities(folders)
            instead = f"files are looked at every {_POLLING:.0f} seconds instead"
            if not folders:
                self._announce(f"{error}: they are looked at every {_UNPROMPTED / 60:.0f} minutes")
            if "limit" in str(error).lower():
                self._announce(
                    f"this system does not report changes in so many folders: {instead}. More by: sudo sysctl "
                    "fs.inotify.max_user_watches=1048576"
                )
            elif folders:
                self._announce(f"changes are not reported ({error}): {instead}")
            return None

    def _relevant(self, touched: Iterable[str], folders: Sequence[Path]) -> list[str]:
        """Those files and folders that a sync would look at, as it calls them: not what is hidden, not the gallery."""
        own = str(real(self._gallery))
        roots = {f"{real(folder)}{os.sep}": folder for folder in folders}
        relevant = []
        for name in touched:
            if name == own or name.startswith(f"{own}{os.sep}"):
                continue
            root = next((root for root in roots if name.startswith(root)), None)
            below = name.removeprefix(root).replace(os.sep, "/") if root else ""
            if below and (self._selection.hidden or not is_hidden(below)):
                relevant.append(os.path.join(roots[root or ""], below))  # noqa: PTH118 - as SourceFile.location
        return relevant

    def _tidy(self) -> None:
        if time.monotonic() - self._tidied_at > _TIDY:
            self._tidied_at = time.monotonic()
            with suppress(MmsearchError):  # somebody else is at it: tomorrow is another day
                compact(self._gallery)


class _RestlessFiles:
    """Files that have just changed, until their size and time have been quiet for a while."""

    def __init__(self) -> None:
        self.names: dict[str, _Restless] = {}
        self._gone_at = float("-inf")
        self._waited_since: float | None = None

    def add(self, names: Iterable[str]) -> bool:
        """Files that were reported as changed. Returns whether some of them are gone."""
        now, gone = time.monotonic(), False
        for name in names:
            self._waited_since = now if self._waited_since is None else self._waited_since
            if (state := _state(name)) is None:
                self.names.pop(name, None)
                self._gone_at, gone = now, True
            else:
                known = self.names.get(name)
                self.names[name] = _Restless(state, now, now if known is None else known.first)
        return gone

    def look(self) -> bool:
        """Look at all of them. Returns whether some are quiet by now, or gone."""
        now, before = time.monotonic(), len(self.names)
        for name, known in list(self.names.items()):
            state = _state(name)
            if state is None:
                self._gone_at = now
            if state is None or (state == known.state and now - known.since >= _QUIET):
                del self.names[name]
            elif state != known.state:
                self.names[name] = _Restless(state, now, known.first)
        return len(self.names) < before

    def must_wait(self) -> bool:
        """Whether a sync should wait for some of them, but for those that are written for long.

        A renamed file is new under one name and gone under the other: who looks too early sees only that it is gone.
        And where a folder is being removed, who looks too early sees a few that are gone, again and again, where the
        guard against large deletes should see many.
        """
        now = time.monotonic()
        going = now - self._gone_at < _QUIET
        coming = any(now - known.first < _LONGEST_QUIET for known in self.names.values())
        return (going or coming) and now - (self._waited_since or now) < _LONGEST_QUIET

    def waited(self) -> None:
        """A sync begins."""
        self._waited_since = None

    def is_settled(self, file: SourceFile) -> bool:
        """Whether a file may be read. One that was written a moment ago is looked at again."""
        name = file.location
        if name in self.names:
            return False
        if file.mtime_ns is not None and 0 <= time.time() - file.mtime_ns / 1e9 < _QUIET:
            self.add([name])
            return name not in self.names
        return True


_State: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Restless:
    """A file's size and mtime; since when it has them; when it was first seen to change."""

    state: _State
    since: float
    first: float


def _state(name: str) -> _State | None:
    try:
        status = os.stat(name)  # noqa: PTH116 - a string in, thousands of times
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


class _Changes:
    """What the system reports of some folders and of all below them. Raises OSError, RuntimeError where it does not."""

    def __init__(self, folders: Sequence[Path], ended: threading.Event) -> None:
        self.folders = _identities(folders)
        if not folders:
            raise OSError("object stores report no changes")
        try:
            self._begin(folders, ended, ignores_denied=False)
        except PermissionError:  # not at once: it ignores the limit of the system too
            self._begin(folders, ended, ignores_denied=True)

    def _begin(self, folders: Sequence[Path], ended: threading.Event, *, ignores_denied: bool) -> None:
        from watchfiles import watch as report

        self._reported: Generator[set[tuple[Any, str]], None, None] = report(
            *(os.path.realpath(folder) for folder in folders),
            watch_filter=None,
            debounce=1_000,
            step=200,
            rust_timeout=int(_TICK * 1_000),
            stop_event=ended,
            yield_on_timeout=True,
            force_polling=False,
            ignore_permission_denied=ignores_denied,
        )
        self._ahead = {name for _, name in next(self._reported)}  # only now are they watched

    def next(self) -> set[str]:
        """What has changed; nothing where for a moment nothing does. Raises OSError, RuntimeError, StopIteration."""
        found, self._ahead = self._ahead, set()
        return found or {name for _, name in next(self._reported)}

    def close(self) -> None:
        self._reported.close()


_Identity: TypeAlias = tuple[int, int] | None


def _identities(folders: Sequence[Path]) -> "dict[str, _Identity]":
    """Which folders these are: one that was removed and made anew, or mounted again, is another one."""
    found: dict[str, _Identity] = {}
    for folder in folders:
        try:
            status = folder.stat()
            found[str(folder)] = status.st_dev, status.st_ino
        except OSError:
            found[str(folder)] = None
    return found


_MOUNTED = re.compile(r"^(?:\S+ ){4}(\S+)", re.MULTILINE)


def _mounts_of(folder: Location) -> frozenset[str]:
    """The places where a file system is mounted at a folder, above it, or below it as far as the system lists them."""
    if isinstance(folder, Url):
        return frozenset()
    place = Path(os.path.realpath(folder))
    above = {str(each) for each in (place, *place.parents) if os.path.ismount(each)}
    return frozenset(above | {each for each in _listed_mounts() if Path(each).is_relative_to(place)})


def _is_mounted(place: str) -> bool:
    return os.path.ismount(place) or place in _listed_mounts()


def _listed_mounts() -> set[str]:
    """Linux lists all, also those that `os.path.ismount` does not see, folders mounted a second time elsewhere."""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return set()
    return {re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), place) for place in _MOUNTED.findall(lines)}


def _clock_difference() -> float:
    return time.time() - time.monotonic()


def _has_changed(report: EmbedReport) -> bool:
    counts: list[ImageCounts | ItemCounts] = [report.images, *report.others.values()]
    return bool(report.images.skipped) or any(
        each.added or each.updated or each.deleted or each.moved for each in counts
    )
