"""`duplicates`: groups of files that show the same, with the best of each. Nothing is deleted.

Files with the same content are known by its hash, unless they are one file under several names: who deletes what a link
leads to loses the picture. Whether two files show the same picture is seen in the pictures
themselves, since embeddings call many things alike that are not one picture: those are compared that look alike in
small, and for parts of each other those whose vectors are near. Bursts are pictures of one folder that were taken
within seconds and are near to each other.
"""

import itertools
import os
from collections import defaultdict, deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from mmsearch import images
from mmsearch.errors import ImageError
from mmsearch.gallery import Gallery, read_consistently, sample_rows
from mmsearch.images.likeness import Likeness, alike_pairs, same_picture, sharpness
from mmsearch.items import IMAGES, ImageRow
from mmsearch.names import real_name
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.picture_filter import filter_pictures
from mmsearch.sources import read_location
from mmsearch.workers import Overdue, Workers

__all__ = ["DUPLICATE_KINDS", "DuplicateFile", "DuplicateGroup", "DuplicateKind", "DuplicatesReport", "duplicates"]

DuplicateKind: TypeAlias = Literal["identical", "same_picture", "burst"]
DUPLICATE_KINDS: tuple[DuplicateKind, ...] = get_args(DuplicateKind)

_Path = str | os.PathLike[str]
_Value = TypeVar("_Value")

_NEIGHBOURS = 8  # of each picture, copies among them, of which it may be a part
_FEW = 32  # pictures, all of which are compared with each other
_QUERIES = 512
_SAMPLED = 2_048
_NEAR = 2.5  # standard deviations above what two pictures of the gallery score with each other
_LOOKED_AT, _SHARP_AT = 256, 1_024  # pixels of the longer side
_SECONDS = 60.0  # that a file may take


@dataclass(frozen=True, slots=True)
class DuplicateFile:
    """One file of a group. path: where it is. row: what the gallery knows of it."""

    path: str
    row: ImageRow

    @property
    def facts(self) -> list[str]:
        """Its size in pixels and bytes, and when it was taken, where they are known."""
        row = self.row
        facts = [f"{row.width} x {row.height}"] if row.width else []
        facts += [_size(row.bytes)] if row.bytes is not None else []
        return [*facts, *([f"{row.taken_at:%Y-%m-%d %H:%M:%S}"] if row.taken_at else [])]


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Files that show the same.

    kind: "identical" (the same bytes), "same_picture" (in other sizes, codings, crops, colours; copies of these too) or
    "burst". best: the one to keep, if only one is. others: by their paths. why: what speaks for the best.
    """

    kind: DuplicateKind
    best: DuplicateFile
    others: tuple[DuplicateFile, ...]
    why: str

    @property
    def files(self) -> tuple[DuplicateFile, ...]:
        """All of them, the best first."""
        return (self.best, *self.others)


@dataclass(frozen=True, slots=True)
class DuplicatesReport:
    """What was found in `pictures` pictures. looked_at: how many of them were read. unread: (file, reason)."""

    gallery: str
    groups: tuple[DuplicateGroup, ...]
    pictures: int
    looked_at: int
    unread: tuple[tuple[str, str], ...]

    @property
    def spare_bytes(self) -> int:
        """What the files take that show the same picture as the best of their group; bursts are not counted."""
        groups = [group for group in self.groups if group.kind != "burst"]
        return sum(file.row.bytes or 0 for group in groups for file in group.others)


def duplicates(
    gallery: _Path | None = None,
    *,
    where: str | None = None,
    near: str | None = None,
    kinds: Container[str] = DUPLICATE_KINDS,
    burst_seconds: float = 3.0,
    quick: bool = False,
    progress: ProgressCallback = quiet,
) -> DuplicatesReport:
    """Group the pictures of a gallery that show the same. Files are read, and none is touched.

    where: an SQL expression; then only pictures that it admits. near: only those taken near a place, as "Lisbon 20km".
    kinds: of the groups; where only identical files are asked for, no picture is read, and files that the gallery holds
    in other forms too are among them. burst_seconds: at most between two pictures of a burst; 0 for no bursts. quick:
    read only pictures whose vectors are near to those of others; what the model sees otherwise when it is turned or in
    other colours may be missed.

    Raises GalleryError, QueryError, StoreError.
    """
    opened = open_gallery(gallery)
    where = filter_pictures(opened, where, near)
    pictures = read_consistently(opened.gallery, lambda now: _pictures(opened, now, where))
    threshold = _near(opened.gallery) if len(pictures) > _FEW else -1.0
    reader = _Reader(pictures, progress)
    same = identical = _identical(pictures)
    if "same_picture" in kinds or "burst" in kinds:
        pairs = _near_pairs(opened, where, pictures, identical.firsts(), threshold, progress)
        same = _same(reader, identical, pairs, progress, quick=quick)
    groups = []
    for members in same.groups():
        is_one_file = len({identical.first(member) for member in members}) == 1
        groups.append(_best_of("identical" if is_one_file else "same_picture", [pictures[each] for each in members]))
    if burst_seconds > 0 and "burst" in kinds:
        bursts = [*_bursts(opened.gallery, pictures, same.firsts(), timedelta(seconds=burst_seconds), threshold)]
        sharp = reader.read("looking at bursts", sorted(itertools.chain.from_iterable(bursts)), _sharpness)
        groups += [_sharpest_of([(pictures[each].file, sharp.get(each)) for each in burst]) for burst in bursts]
    groups = [group for group in groups if group.kind in kinds]
    groups.sort(key=lambda group: (DUPLICATE_KINDS.index(group.kind), group.best.path))
    return DuplicatesReport(
        str(opened.gallery.path), tuple(groups), len(pictures), reader.files, tuple(dict(reader.unread).items())
    )


@dataclass(frozen=True, slots=True)
class _Picture:
    row_id: int
    file: DuplicateFile

    @property
    def row(self) -> ImageRow:
        return self.file.row


def _pictures(opened: OpenGallery, gallery: Gallery, where: str | None) -> list[_Picture]:
    """The pictures that are files, or members of archives, not parts of one; by row id."""
    admitted = None if where is None else set(opened.retriever.admitted(gallery, IMAGES.name, where).tolist())
    folders = {root.id: gallery.root_path(root.id) for root in gallery.manifest.roots}
    found = []
    for row_id, row in gallery.all_records(IMAGES):
        if admitted is not None and row_id not in admitted:
            continue
        is_part = any(value is not None for value in (row.start_s, row.page, row.box))
        folder = folders.get(row.root_id)
        if folder is not None and not is_part:
            path = str(folder / real_name(row.path, row.path_bytes))
            found.append(_Picture(row_id, DuplicateFile(path, row)))
    return _each_file_once(sorted(found, key=lambda picture: picture.row_id))


def _each_file_once(pictures: Sequence[_Picture]) -> list[_Picture]:
    """The same, without further names of a file that is among them: links of both sorts. Its own name stays before that
    of a symbolic link to it."""
    by_content: defaultdict[bytes | None, list[_Picture]] = defaultdict(list)
    for picture in pictures:
        by_content[picture.row.content_hash].append(picture)
    further: set[int] = set()
    for copies in by_content.values():  # of a single copy nothing is asked of the disk: a file has one content
        names: defaultdict[tuple[int, int], list[_Picture]] = defaultdict(list)
        for picture in copies if len(copies) > 1 else ():
            if (file := _file_on_disk(picture.file.path)) is not None:
                names[file].append(picture)
        for several in names.values():
            own = min(several, key=lambda picture: Path(picture.file.path).is_symlink())
            further.update(picture.row_id for picture in several if picture is not own)
    return [picture for picture in pictures if picture.row_id not in further]


def _file_on_disk(path: str) -> tuple[int, int] | None:
    """Which file a path opens; None for members of archives, objects of stores, and what is gone."""
    try:
        state = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return state.st_dev, state.st_ino


def _identical(pictures: Sequence[_Picture]) -> "_Sets":
    """Which files have the same content."""
    sets = _Sets(len(pictures))
    by_content: dict[bytes, int] = {}
    for position, picture in enumerate(pictures):
        if picture.row.content_hash is not None:
            sets.join(by_content.setdefault(picture.row.content_hash, position), position)
    return sets


def _same(
    reader: "_Reader", identical: "_Sets", near: Set[tuple[int, int]], progress: ProgressCallback, *, quick: bool
) -> "_Sets":
    """Which files show the same picture. near: the pairs of which one may be a part of the other."""
    sets = identical.copy()
    looked_at = sorted({each for pair in near for each in pair}) if quick else identical.firsts()
    seen = reader.read("looking at pictures", looked_at, _likeness)
    positions = sorted(seen)
    alike = alike_pairs([seen[position] for position in positions], progress)
    pairs = sorted(near | {(positions[one], positions[other]) for one, other in alike})
    for done, (one, other) in enumerate(pairs, 1):
        if one in seen and other in seen and same_picture(seen[one], seen[other], parts=(one, other) in near):
            sets.join(one, other)
        progress(Progress("comparing pairs", done, len(pairs)))
    return sets


def _near(gallery: Gallery) -> float:
    """The cosine from which on two pictures of a gallery are nearer than it is usual there: models differ."""
    _, vectors = read_consistently(
        gallery, lambda now: sample_rows(now, IMAGES.name, _SAMPLED, np.random.default_rng(0))
    )
    half = len(vectors) // 2
    scores = np.einsum("ij,ij->i", vectors[:half], vectors[half : 2 * half])
    return float(min(0.95, scores.mean() + _NEAR * scores.std()))


def _near_pairs(
    opened: OpenGallery,
    where: str | None,
    pictures: Sequence[_Picture],
    firsts: Sequence[int],
    threshold: float,
    progress: ProgressCallback,
) -> set[tuple[int, int]]:
    """Pairs of pictures (positions) that are near to each other, of `firsts` alone."""
    position_of = {pictures[position].row_id: position for position in firsts}
    k = min(len(pictures), _FEW if len(pictures) <= _FEW else _NEIGHBOURS + 1)
    pairs: set[tuple[int, int]] = set()
    for start in range(0, len(firsts), _QUERIES):
        some = firsts[start : start + _QUERIES]
        found = opened.search(_vectors(opened.gallery, [pictures[position] for position in some]), k=k, where=where)
        for position, near_ids, scores in zip(some, found.row_ids.tolist(), found.scores.tolist(), strict=True):
            near = itertools.takewhile(lambda each: each[1] >= threshold, zip(near_ids, scores, strict=True))
            others = [position_of[row_id] for row_id, _ in near if row_id in position_of]
            pairs.update((min(position, other), max(position, other)) for other in others if other != position)
        progress(Progress("looking for neighbours", start + len(some), len(firsts)))
    return pairs


def _bursts(
    gallery: Gallery, pictures: Sequence[_Picture], positions: Sequence[int], apart: timedelta, threshold: float
) -> Iterator[list[int]]:
    """Runs of two and more pictures, each taken so shortly after the one before, in its folder, and near to it."""
    taken = [
        (pictures[position].row.root_id, os.path.dirname(pictures[position].row.path), taken_at, position)  # noqa: PTH120
        for position in positions
        if (taken_at := pictures[position].row.taken_at) is not None
    ]
    taken.sort()
    shortly_after = [
        number
        for number, (before, after) in enumerate(itertools.pairwise(taken), 1)
        if before[:2] == after[:2] and after[2] - before[2] <= apart
    ]
    follows: set[int] = set()
    for start in range(0, len(shortly_after), _QUERIES):
        some = shortly_after[start : start + _QUERIES]
        before, after = (_vectors(gallery, [pictures[taken[number - back][-1]] for number in some]) for back in (1, 0))
        near = np.einsum("ij,ij->i", before, after) >= threshold
        follows.update(itertools.compress(some, near))
    run: list[int] = []
    for number, (*_, position) in enumerate(taken):
        if number not in follows:
            if len(run) > 1:
                yield run
            run = []
        run.append(position)
    if len(run) > 1:
        yield run


def _vectors(gallery: Gallery, pictures: Sequence[_Picture]) -> NDArray[np.float32]:
    """(n, dim), as stored."""
    row_ids = np.array([picture.row_id for picture in pictures], np.int64)
    return read_consistently(gallery, lambda now: now.vectors(IMAGES.name, row_ids)).astype(np.float32)


class _Reader:
    """Reads pictures by several threads. files: how many it has read. unread: (file, reason)."""

    def __init__(self, pictures: Sequence[_Picture], progress: ProgressCallback) -> None:
        self._pictures, self._progress = pictures, progress
        self.files = 0
        self.unread: list[tuple[str, str]] = []

    def read(self, task: str, positions: Sequence[int], look: Callable[[bytes], _Value]) -> dict[int, _Value]:
        """What `look` makes of the bytes of each file that can be read, by its position."""
        seen: dict[int, _Value] = {}
        threads = os.cpu_count() or 1
        with Workers(threads, "mmsearch-look") as workers:
            waiting = iter(positions)
            running: deque[tuple[int, Future[_Value]]] = deque()
            for done in range(1, len(positions) + 1):
                for each in itertools.islice(waiting, 4 * threads - len(running)):
                    running.append((each, workers.submit(self._look, each, look)))
                position, future = running.popleft()
                try:
                    seen[position] = workers.result(future, _SECONDS)
                except (OSError, ImageError, Overdue, MemoryError) as error:
                    self.unread.append((self._pictures[position].file.path, _reason(error)))
                self._progress(Progress(task, done, len(positions), len(self.unread)))
        self.files += len(seen)
        return seen

    def _look(self, position: int, look: Callable[[bytes], _Value]) -> _Value:
        return look(read_location(self._pictures[position].file.path))


def _size(size: int) -> str:
    if size < 1_000:
        return f"{size} bytes"
    return f"{size / 1e3:,.0f} kB" if size < 1e6 else f"{size / 1e6:,.1f} MB"


def _reason(error: Exception) -> str:
    if isinstance(error, ImageError):
        return error.reason
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return "out of memory" if isinstance(error, MemoryError) else f"not decoded within {_SECONDS:g} seconds"


def _likeness(data: bytes) -> Likeness:
    return Likeness.of(images.make_thumbnail(data, _LOOKED_AT))


def _sharpness(data: bytes) -> float:
    return sharpness(images.make_thumbnail(data, _SHARP_AT))


def _best_of(kind: DuplicateKind, pictures: Iterable[_Picture]) -> DuplicateGroup:
    """A group whose best is whole, then has the most pixels, then the most bytes, and was there first."""
    files = [picture.file for picture in pictures]

    def pixels(file: DuplicateFile) -> int:
        return (file.row.width or 0) * (file.row.height or 0)

    wishes: list[tuple[Callable[[DuplicateFile], Any], Callable[[DuplicateFile], str]]] = [
        (lambda file: bool(file.row.damaged), lambda _: "the others are damaged"),
        (lambda file: -pixels(file), lambda file: f"the most pixels ({file.row.width} x {file.row.height})"),
        (lambda file: -(file.row.bytes or 0), lambda file: f"the largest file ({_size(file.row.bytes or 0)})"),
        (lambda file: file.row.mtime_ns or 0, lambda _: "the oldest file"),
        (lambda file: len(file.path), lambda _: "the shortest path"),
        (lambda file: file.path, lambda _: "the first by its name"),
    ]
    best, *others = sorted(files, key=lambda file: [wish(file) for wish, _ in wishes])
    why = next(words(best) for wish, words in wishes if any(wish(other) != wish(best) for other in others))
    return DuplicateGroup(kind, best, tuple(sorted(others, key=lambda file: file.path)), why)


def _sharpest_of(files: Sequence[tuple[DuplicateFile, float | None]]) -> DuplicateGroup:
    """A burst whose best is the sharpest; the first, where none could be read."""
    best, sharp = max(files, key=lambda each: -1.0 if each[1] is None else each[1])
    others = tuple(file for file, _ in files if file is not best)
    return DuplicateGroup("burst", best, others, "the first" if sharp is None else "the sharpest")


class _Sets:
    """Which of n positions belong together (union and find). The first of a set is its lowest."""

    def __init__(self, n: int) -> None:
        self._above = [*range(n)]

    def copy(self) -> "_Sets":
        """As it is now."""
        other = _Sets(0)
        other._above = [*self._above]
        return other

    def first(self, position: int) -> int:
        while (above := self._above[position]) != position:
            self._above[position] = self._above[above]
            position = above
        return position

    def join(self, one: int, other: int) -> None:
        lower, higher = sorted((self.first(one), self.first(other)))
        self._above[higher] = lower

    def firsts(self) -> list[int]:
        """The first of each set, ascending."""
        return [position for position in range(len(self._above)) if self.first(position) == position]

    def groups(self) -> list[list[int]]:
        """Those of two and more."""
        members: defaultdict[int, list[int]] = defaultdict(list)
        for position in range(len(self._above)):
            members[self.first(position)].append(position)
        return [group for group in members.values() if len(group) > 1]
