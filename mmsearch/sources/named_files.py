"""Files that were named one by one, with what stands beside them."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from mmsearch.locations import Location, Url
from mmsearch.sources.companions import join_names
from mmsearch.sources.source_files import SourceFile, file_in, join_files
from mmsearch.stores import StoredObject, list_folder

__all__ = ["find_files", "join_named", "list_names"]


def find_files(folder: Location, files: Iterable[Location]) -> Iterator[SourceFile]:
    """The records of files below a folder, told apart by `mmsearch.cache.file_identity`, or by their ETags; without
    size and time where there is no such file. Of an object store each folder is listed once."""
    listed: dict[Url, dict[str, StoredObject]] = {}
    for file in files:
        if not isinstance(file, Url):
            yield file_in(folder, file, identified=True)
            continue
        if file.parent not in listed:
            try:
                listed[file.parent] = {stored.name: stored for stored in list_folder(file.parent).files}
            except OSError:
                listed[file.parent] = {}
        stored = listed[file.parent].get(file.name)
        name = str(file.relative_to(folder))
        if stored is None:
            yield SourceFile(str(folder), name, None, None)
        else:
            yield SourceFile(str(folder), name, stored.size, stored.modified_ns, version=stored.etag)


def join_named(
    folder: Location, names: Iterable[str], held: Collection[str], find: Callable[[str], SourceFile], *, apart: bool
) -> Iterator[SourceFile]:
    """Files below a folder, those of one picture as one, see `SourceFile.beside`.

    names: of those that were named, relative to it. held: others that the gallery holds already; a picture that is
    neither stays out of the gallery, and what is said of one is found in its folder. find: the file of a name. apart:
    see `FolderWalk`.
    """
    names = list(dict.fromkeys(names))
    by_folder: dict[str, list[str]] = {}
    for name in names:
        by_folder.setdefault(name.rpartition("/")[0], []).append(name.rpartition("/")[2])
    held_by_folder: dict[str, set[str]] = {}
    for name in held:
        held_by_folder.setdefault(name.rpartition("/")[0], set()).add(name.rpartition("/")[2])
    for inner, named in by_folder.items():
        prefix = f"{inner}/" if inner else ""
        yield from _join_folder(
            prefix, named, held_by_folder.get(inner, set()), list_names(folder, inner), find, apart=apart
        )


def _join_folder(
    prefix: str,
    named: Collection[str],
    held: Collection[str],
    listed: Collection[str],
    find: Callable[[str], SourceFile],
    *,
    apart: bool,
) -> Iterator[SourceFile]:
    """The files of one folder. listed: all names in it."""
    chosen = set(named)
    # All that is there is joined, so that what is said of a picture finds that one, be it named or not.
    names = dict.fromkeys((*named, *listed))
    joined = join_names(names, apart=apart, size_of=lambda name: find(f"{prefix}{name}").size)
    best_of = {other.name: best for best, others in joined.beside.items() for other in others}
    # A text that was named without the picture that it stands beside was meant as a picture, and is told what it is.
    captions = join_names(named, apart=apart).captions
    done: set[str] = set()
    for name in named:
        best = best_of.get(name, name)
        others = joined.beside.get(best, ())
        picture = best
        if best not in chosen and best not in held:
            picture = name
        if picture in done or name in captions:
            continue
        done.add(picture)
        beside = [
            other
            for other in others
            if other.name != picture
            and (other.role in ("edits", "facts", "film") or other.name in chosen or other.name in held)
        ]
        file = find(f"{prefix}{picture}")
        yield join_files(file, beside, lambda other: find(f"{prefix}{other}")) if beside else file


def list_names(folder: Location, inner: str) -> list[str]:
    """The names of the files in a folder; none where it cannot be listed."""
    try:
        if isinstance(folder, Url):
            return [file.name for file in list_folder(folder / inner).files]
        with os.scandir(Path(folder) / inner) as entries:
            return sorted(entry.name for entry in entries if not entry.is_dir())
    except OSError:
        return []
