"""`query --copy-to`: the files of hits, collected in one folder under names that begin with their rank."""

import contextlib
import filecmp
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from mmsearch.errors import ImageError, StoreError
from mmsearch.films import copy_moment
from mmsearch.locations import Location, expanded, url_of
from mmsearch.search.hits import Hit
from mmsearch.sources import container_of, local_bytes, open_location

__all__ = ["CollectReport", "collect"]

_LONGEST = 200  # bytes of a name; file systems end at 255, some at 143 less what they add
_PIECE = 1 << 20
_MISSING = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What `collect` did.

    Attributes:
        copied: New files, by rank.
        present: Files that stood there already with the same content.
        failed: (file, reason) of hits that could not be copied.
        whole: (file, reason) of films that were copied whole, since the moment could not be cut out.
    """

    folder: Path
    copied: Sequence[Path]
    present: Sequence[Path]
    failed: Sequence[tuple[str, str]]
    whole: Sequence[tuple[str, str]] = ()


def collect(hits: Sequence[Hit], folder: str | os.PathLike[str], *, cut: bool = False) -> CollectReport:
    """Copy the files of hits into a folder, as "01-beach.jpg"; it is made if it is not there.

    cut: of films the moments alone, as "02-trip-0m12s-0m19s.mp4", from the last key frame before; nothing is encoded.

    Nothing is ever overwritten: where a name is taken by another content, a number is added to it. Running it again
    changes nothing. A file that several hits share (captions) is copied once, under its best rank.
    Raises StoreError where the folder cannot be written.
    """
    target = expanded(folder).absolute()
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {target}: {(error.strerror or str(error)).lower()}") from error
    digits = len(str(max((hit.rank for hit in hits), default=1)))
    copied: list[Path] = []
    present: list[Path] = []
    failed: list[tuple[str, str]] = []
    whole: list[tuple[str, str]] = []
    if cut:
        hits = _cut_moments(hits, target, digits, copied, present, whole)
    first_ranks = {hit.whole_file: hit.rank for hit in reversed(hits) if hit.whole_file}
    for file, rank in sorted(first_ranks.items(), key=lambda pair: pair[1]):
        try:
            source = url_of(file) or Path(file)
            with open_location(source):
                pass
        except ImageError as error:  # an archive that is damaged by now
            failed.append((file, error.reason))
            continue
        except OSError as error:
            reason = (
                "gone since it was embedded" if isinstance(error, _MISSING) else (error.strerror or str(error)).lower()
            )
            failed.append((file, reason))
            continue
        copy, is_new = _copy(source, target, f"{rank:0{digits}}-")
        (copied if is_new else present).append(copy)
    return CollectReport(target, copied, present, failed, whole)


def _cut_moments(
    hits: Sequence[Hit],
    folder: Path,
    digits: int,
    copied: list[Path],
    present: list[Path],
    whole: list[tuple[str, str]],
) -> list[Hit]:
    """Cut out what hits are moments of; the others are given back, and films of which that cannot be done."""
    others = []
    for hit in hits:
        file = hit.whole_file
        if hit.from_s is None or hit.to_s is None or not file or hit.gone:
            others.append(hit)
            continue
        source = url_of(file) or Path(file)
        stem = f"{hit.rank:0{digits}}-{_shortened(source.stem)}-{_clock(hit.from_s)}-{_clock(hit.to_s)}"
        try:
            place = tempfile.TemporaryDirectory(dir=folder, prefix=".cut-")
        except OSError as error:
            raise StoreError(f"cannot write into {folder}: {(error.strerror or str(error)).lower()}") from error
        with place as work:
            made = Path(work) / f"moment{source.suffix}"
            try:
                if not isinstance(source, Path):
                    raise ImageError("read", "it lies in an object store")
                with local_bytes(file) as film:
                    copy_moment(film, hit.from_s, hit.to_s, made)
            except OSError as error:
                whole.append((file, (error.strerror or str(error)).lower()))
                others.append(hit)
                continue
            except ImageError as error:
                whole.append((file, error.reason))
                others.append(hit)
                continue
            copy, is_new = _copy(made, folder, "", stem)
            (copied if is_new else present).append(copy)
    return others


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}m{int(seconds) % 60:02}s"


def _shortened(stem: str) -> str:
    return os.fsdecode(os.fsencode(stem)[:_LONGEST])


def _is_same(source: Location, copy: Path) -> bool:
    if isinstance(source, Path) and container_of(source) is None:
        return filecmp.cmp(source, copy, shallow=False)
    with open_location(source) as original, copy.open("rb") as copied:
        while piece := original.read(_PIECE):
            if copied.read(len(piece)) != piece:
                return False
        return not copied.read(1)


def _copy(source: Location, folder: Path, prefix: str, stem: str | None = None) -> tuple[Path, bool]:
    """The copy, and whether it is new. stem: of its name; by default that of the source."""
    stem = _shortened(source.stem) if stem is None else stem
    for number in count(1):
        target = folder / f"{prefix}{stem}{f'-{number}' if number > 1 else ''}{source.suffix}"
        try:
            with open_location(source) as original, target.open("xb") as copy:
                try:
                    shutil.copyfileobj(original, copy)
                except BaseException:
                    target.unlink(missing_ok=True)
                    raise
            with contextlib.suppress(OSError):  # some file systems keep no times, and members of archives have none
                shutil.copystat(source, target)
        except FileExistsError:
            if target.is_file() and _is_same(source, target):
                return target, False
            continue
        except OSError as error:
            raise StoreError(f"cannot write {target}: {(error.strerror or str(error)).lower()}") from error
        return target, True
    raise AssertionError("count() does not end")
