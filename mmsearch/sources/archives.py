"""Lists the items in a container: tar (webdataset shards too), zip, Parquet with a column of image bytes, and files
that their kind cuts into spans.

Only names, sizes and positions are read here; nothing is unpacked. Archives may be hostile, so everything that they say
is checked first.
"""

import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from mmsearch.errors import SourceError
from mmsearch.items import MEMBER, Span, kind_of_file
from mmsearch.locations import url_of
from mmsearch.sources import parquet
from mmsearch.sources.companions import NOTHING_JOINED, Beside, Joined, join_names
from mmsearch.sources.source_files import (
    JOINED,
    Container,
    ContainerForm,
    Member,
    SourceFile,
    is_clutter,
    is_hidden,
    join_files,
    shown,
)
from mmsearch.sources.spans import spanned
from mmsearch.stores import local_copy, require_file

__all__ = [
    "ArchiveListing",
    "container_form",
    "cutting_of",
    "has_joined",
    "list_container",
    "member_names",
    "refused_archive",
]

_FORMS: dict[str, ContainerForm] = {".tar": "tar", ".zip": "zip", ".parquet": "parquet"}
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".7z", ".rar")
# Names and attributes of a member take some hundred bytes; a header that wants more than this is an attack.
_MOST_HEADER_BYTES = 1 << 24
_MOST_ZEROS = 1 << 30  # behind the end of a tar, until no other is looked for
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@dataclass(frozen=True, slots=True)
class ArchiveListing:
    """What an archive holds. members: of equal names the last, which is what unpacking would leave.

    damaged: why it could not be read to its end, or at all; then what else it may have held is unknown.
    repeated: how many names stood in it more than once. hidden, clutter, captions: how many members were passed over,
    see `FolderWalk`.
    backslashed: how many were written as Windows writes paths, with backslashes; they are addressed with slashes.
    ambiguous: how many were left out since their names are those of pictures made of other members.
    """

    container: Container
    members: tuple[Member, ...]
    damaged: str | None
    repeated: int
    hidden: int
    clutter: int
    captions: int
    backslashed: int
    ambiguous: int = 0


@dataclass(frozen=True, slots=True)
class _ArchiveEntry:
    """A member as its archive describes it."""

    name: str
    size: int | None
    position: int
    refused: str | None = None
    backslashed: bool = False
    numbers: Mapping[str, Any] = field(default_factory=dict)


def container_form(name: str) -> ContainerForm | None:
    """How a file holds many items, by its name; None where it is one item."""
    form = _FORMS.get(os.path.splitext(name)[1].lower())  # noqa: PTH122 - asked of every file of a walk
    return form or ("spans" if _cut_of(name) is not None else None)


def cutting_of(name: str) -> str:
    """The word for how a kind cuts the items out of a file, see `mmsearch.items.Files`; empty for archives."""
    files = kind_of_file(name).files
    return files.cutting if files is not None and files.cut is not None else ""


def _cut_of(name: str) -> Callable[[str], Iterator[Span]] | None:
    files = kind_of_file(name).files
    return files.cut if files is not None else None


def refused_archive(name: str) -> str | None:
    """Why a file that is an archive by its name is not opened, or None."""
    if name.lower().endswith(_COMPRESSED):
        return "an archive of a kind whose members cannot be read one by one; unpack it, or make it a .tar or .zip"
    return None


def list_container(file: SourceFile, *, hidden: bool = False, apart: bool = False) -> ArchiveListing:
    """The items in a container; of the files of one picture that to look at, see `SourceFile.beside`.

    apart: pictures and films are never joined. Passed over: folders, links, captions beside a picture, and hidden
    members and clutter unless `hidden`.
    Raises OSError where the archive cannot be read at all (permissions, a failing disk): what is in it is unknown.
    """
    list_entries = _lister(file)
    entries_by_name: dict[str, _ArchiveEntry] = {}
    repeated = passed_over = clutter = ambiguous = 0
    damaged = None
    local_path = _local_path(file)
    try:
        for entry in list_entries(local_path):
            if is_hidden(entry.name) and not hidden:
                passed_over += 1
                continue
            if not hidden and is_clutter(entry.name):
                clutter += 1
                continue
            if MEMBER in entry.name and spanned(entry.name) is not None:
                ambiguous += 1
                continue
            repeated += entry.name in entries_by_name
            entries_by_name[entry.name] = entry
    except Damaged as error:
        damaged = str(error)
    joined = (
        _join_names(entries_by_name, apart=apart) if container_form(file.name) in ("tar", "zip") else NOTHING_JOINED
    )
    left_out = joined.captions.union(other.name for beside in joined.beside.values() for other in beside)
    entries = [entry for name, entry in entries_by_name.items() if name not in left_out]
    container = _container(file, local_path, len(entries), complete=damaged is None, joined=_joins_pictures(joined))

    def find(name: str) -> Member:
        return _make_member(file, container, entries_by_name[name])

    members = tuple(
        join_files(find(entry.name), joined.beside[entry.name], find)
        if entry.name in joined.beside
        else _make_member(file, container, entry)
        for entry in entries
    )
    backslashed = sum(entry.backslashed for entry in entries)
    captions = len(joined.captions)
    return ArchiveListing(container, members, damaged, repeated, passed_over, clutter, captions, backslashed, ambiguous)


def _join_names(names: Iterable[str], *, apart: bool) -> Joined:
    """`join_names` of the members of an archive, folder by folder."""
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, slash, last = name.rpartition("/")
        folders.setdefault(f"{folder}{slash}", []).append(last)
    beside: dict[str, tuple[Beside, ...]] = {}
    captions: set[str] = set()
    for folder, inner in folders.items():
        joined = join_names(inner, apart=apart)
        captions.update(f"{folder}{name}" for name in joined.captions)
        for best, others in joined.beside.items():
            beside[f"{folder}{best}"] = tuple(replace(other, name=f"{folder}{other.name}") for other in others)
    return Joined(beside, frozenset(captions))


def has_joined(names: Iterable[str]) -> bool:
    """Whether pictures among these members of an archive are to be joined with others."""
    return _joins_pictures(_join_names(names, apart=False))


def _joins_pictures(joined: Joined) -> bool:
    return any(other.role in ("original", "raw", "film") for others in joined.beside.values() for other in others)


def member_names(file: SourceFile) -> dict[str, Member]:
    """Every member of an archive, captions and hidden ones too, by its name within. Raises SourceError, OSError."""
    list_entries = _lister(file)
    local_path = _local_path(file)
    container = _container(file, local_path, 0, complete=True)
    try:
        return {entry.name: _make_member(file, container, entry) for entry in list_entries(local_path)}
    except Damaged as error:
        raise SourceError(f"{file.location}: {error}") from error


def _local_path(file: SourceFile) -> str:
    """The path of an archive on this machine. One in an object store is fetched whole: only to list the members of a
    tar would take a request for each."""
    if (url := url_of(file.location)) is not None:
        return str(local_copy(url))
    require_file(Path(file.location))  # the readers of archives would wait for a pipe
    return file.location


def _lister(file: SourceFile) -> "Callable[[str], Iterator[_ArchiveEntry]]":
    """The function that lists the entries of a container, given its path on this machine. Raises SourceError."""
    form = container_form(file.name)
    if form is None:
        raise SourceError(f"{file.location} is no archive of a kind that is read: {', '.join(_FORMS)}")
    cut = _cut_of(file.name)
    return _LISTERS[form] if cut is None else partial(_spans, cut)


def _container(file: SourceFile, local_path: str, members: int, *, complete: bool, joined: bool = False) -> Container:
    form = container_form(file.name) or "spans"
    copy = None if local_path == file.location else local_path
    state = file.size or 0, file.mtime_ns or 0
    return Container(file.location, form, *state, members, complete, copy, JOINED if joined else cutting_of(file.name))


class Damaged(Exception):
    """The archive is not what its name says, or ends too early."""


def _make_member(file: SourceFile, archive: Container, entry: _ArchiveEntry) -> Member:
    refused = entry.refused
    inside = archive.form in ("tar", "zip") and (container_form(entry.name) or refused_archive(entry.name))
    if refused is None and inside:
        refused = "an archive inside of an archive is not opened"
    name = f"{file.name}{MEMBER}{entry.name}"
    return Member(
        file.root,
        name,
        entry.size,
        archive.mtime_ns,
        refused=refused,
        container=archive,
        position=entry.position,
        numbers=entry.numbers,
    )


def _clean_name(name: str) -> tuple[str, str | None]:
    """A member's name as part of an address, and why it is refused, or None. Nothing is ever unpacked to that name."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts:
        return "", "it has no name in the archive"
    return "/".join(parts), "its name leads out of the archive" if ".." in parts else None


class _HeaderReader:
    """The file of a tar archive, for tarfile: refuses headers of a size that only an attack has."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if size > _MOST_HEADER_BYTES:
            raise Damaged(f"damaged tar: a header of {size:,} bytes")
        return self._stream.read(size)


def _list_tar(file: str) -> Iterator[_ArchiveEntry]:
    names: dict[str, tuple[int, int]] = {}  # for hard links, which say where the bytes stand
    with open(file, "rb") as stream:  # noqa: PTH123 - the location may hold surrogates; Path adds nothing
        end = os.fstat(stream.fileno()).st_size
        try:
            start: int | None = 0
            while start is not None:
                stream.seek(start)
                with tarfile.open(fileobj=_HeaderReader(stream), mode="r:") as archive:  # type: ignore[call-overload]
                    last = -1
                    while (info := archive.next()) is not None:
                        archive.members.clear()  # it would keep them all
                        if info.offset <= last or info.size < 0:
                            raise Damaged("damaged tar: a member that begins before the one before it")
                        last = info.offset
                        if (entry := _tar_entry(info, names, end)) is not None:
                            yield replace(entry, backslashed="\\" in info.name)
                    stream.seek(archive.offset)
                    if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile takes any bad header for the end
                        raise Damaged(f"damaged tar: what stands at byte {archive.offset:,} is no header")
                    start = _next_tar(stream, archive.offset)
        except (tarfile.TarError, ValueError, EOFError, OverflowError, MemoryError) as error:
            raise Damaged(_tar_reason(error, end)) from error


def _next_tar(stream: BinaryIO, end: int) -> int | None:
    """Where another tar begins behind the end of one, as `cat a.tar b.tar` makes them; None where there is none."""
    stream.seek(end)
    offset = end
    while offset - end < _MOST_ZEROS and (blocks := stream.read(1 << 20)):
        rest = blocks.lstrip(b"\0")
        if rest:
            offset += (len(blocks) - len(rest)) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
            stream.seek(offset)
            try:
                tarfile.TarInfo.frombuf(stream.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
            except tarfile.TarError:
                return None  # what others leave behind the end of a tar
            return offset
        offset += len(blocks)
    return None


def _tar_entry(info: tarfile.TarInfo, names: dict[str, tuple[int, int]], end: int) -> _ArchiveEntry | None:
    name, refused = _clean_name(info.name)
    position, size = info.offset_data, info.size
    if info.islnk():
        target = names.get(_clean_name(info.linkname)[0])
        if target is None:
            return _ArchiveEntry(name, None, position, "a link to a member that is not there")
        position, size = target
    elif not info.isreg():
        return None
    elif info.sparse is not None:
        refused = "a sparse member is not read"
    elif position + size > end:
        raise Damaged(f"truncated tar: it ends after {max(0, end - position):,} of the {size:,} bytes of {shown(name)}")
    names[name] = (position, size)
    return _ArchiveEntry(name, size, position, refused)


def _tar_reason(error: Exception, end: int) -> str:
    if not end:
        return "empty file"
    text = str(error)
    if "unexpected end" in text or "truncated" in text:
        return "truncated tar"
    return "not a tar archive" if "not a tar" in text or "invalid header" in text else f"damaged tar: {text}"


def _list_zip(file: str) -> Iterator[_ArchiveEntry]:
    try:
        with zipfile.ZipFile(file) as archive:
            for number, info in enumerate(archive.infolist()):
                if info.is_dir() or stat.S_ISLNK(info.external_attr >> 16):
                    continue
                name, refused = _clean_name(info.filename)
                if info.flag_bits & 0x1:
                    refused = "encrypted"
                elif info.compress_type not in _ZIP_METHODS:
                    refused = f"compressed by a method that is not read ({info.compress_type})"
                yield _ArchiveEntry(name, info.file_size, number, refused, backslashed="\\" in info.filename)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OverflowError, MemoryError) as error:
        raise Damaged(
            "empty file" if not Path(file).stat().st_size else f"truncated, or not a zip archive ({error})"
        ) from error


def _list_parquet(file: str) -> Iterator[_ArchiveEntry]:
    try:
        rows = parquet.image_rows(file)
    except parquet.Unreadable as error:
        raise Damaged(str(error)) from error
    for row in range(rows):
        yield _ArchiveEntry(str(row), None, row)


def _spans(cut: Callable[[str], Iterator[Span]], file: str) -> Iterator[_ArchiveEntry]:
    try:
        for span in cut(file):
            yield _ArchiveEntry(span.name, span.size, span.start, numbers=span.numbers)
    except ValueError as error:
        raise Damaged(" ".join(str(error).split())[:120]) from error


_LISTERS = {"tar": _list_tar, "zip": _list_zip, "parquet": _list_parquet}
