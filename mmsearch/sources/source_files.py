"""One file to embed: in a folder, or a member of an archive."""

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from mmsearch.cache import file_identity
from mmsearch.items import MEMBER
from mmsearch.locations import Location, Url
from mmsearch.names import shown, stored_name
from mmsearch.sources.companions import Beside, Role
from mmsearch.stores import file_state, special_file

__all__ = [
    "JOINED",
    "MEMBER",
    "READ_WHOLE",
    "BytesAhead",
    "Companion",
    "Container",
    "ContainerForm",
    "ContainerState",
    "Member",
    "SourceFile",
    "file_in",
    "is_clutter",
    "is_hidden",
    "join_files",
    "shown",
    "stem",
]

ContainerForm: TypeAlias = Literal["tar", "zip", "parquet", "spans", "pictures"]
"""How a container holds its items. spans: as the kind of the file cuts it. pictures: they are made of it, see
`mmsearch.cutting`."""

_HIDDEN = re.compile(r"(^|/)(\.(?!\./)|__MACOSX/)")
# Folders of network drives, systems and programs: what was thrown away, and small copies of what is there.
_CLUTTER_FOLDERS = re.compile(
    r"(^|/)(?:@eaDir|#recycle|#snapshot|@Recycle|@Recently-Snapshot|\$RECYCLE\.BIN|RECYCLER|System Volume Information"
    r"|lost\+found|__MACOSX|[^/]*\.lrdata|[^/]*\.cocatalog|[^/]*\.(?:photoslibrary|aplibrary)/(?!originals/|Masters/)[^/]+)/",
    re.IGNORECASE,
)
# What systems and programs leave among the pictures.
_CLUTTER_FILES = frozenset(
    {
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "zbthumbnail.info"),
        *("pspbrwse.jbf", "icon\r"),
    }
)
_STATE_BYTES = 8


_LEAST, _MOST = -(1 << 63), (1 << 63) - 1

READ_WHOLE = 1 << 23
"""Of an object with so many bytes the header is not looked at first: two requests take longer than one."""


@dataclass(frozen=True, slots=True)
class BytesAhead:
    """The bytes of a file, read ahead of time. data: finished, perhaps with an OSError. waited: seconds for that."""

    data: Future[bytes]
    waited: float


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file below a root.

    name: relative to the root, "/" between parts, a file system string (undecodable bytes as surrogates).
    size, mtime_ns: None where the file could not be asked (a broken link); the nearest number of 64 bits where what a
    file system or an archive says is beyond (a time before 1677 or after 2262).
    refused: why it is not to be opened, where that is known from the outside.
    version: what an object store says of its content, its ETag, or a file system where size and mtime are not to be
    trusted (`mmsearch.cache.file_identity`); that alone then tells whether it changed.
    ahead: its bytes, where they were read before they were asked for.
    beside: the other files of the same picture, see `mmsearch.sources.companions`.
    """

    root: str
    name: str
    size: int | None
    mtime_ns: int | None
    refused: str | None = None
    version: str | None = None
    ahead: "BytesAhead | None" = field(default=None, compare=False, repr=False)
    beside: "tuple[Companion, ...]" = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.mtime_ns is not None and not _LEAST <= self.mtime_ns <= _MOST:
            object.__setattr__(self, "mtime_ns", min(max(self.mtime_ns, _LEAST), _MOST))
        if self.size is not None and self.size > _MOST:
            object.__setattr__(self, "size", _MOST)

    @property
    def location(self) -> str:
        """Where to open it."""
        return os.path.join(self.root, self.name)  # noqa: PTH118 - Path would cost more than the walk itself

    @property
    def path(self) -> str:
        """The name as valid text: undecodable bytes shown as \\xNN."""
        return shown(self.name)

    @property
    def path_bytes(self) -> bytes | None:
        """The real name, where `path` is not it."""
        return stored_name(self.name)[1]

    @property
    def etag(self) -> str | None:
        """What tells, beside size and time, whether the file is unchanged."""
        return self.version

    @property
    def beside_state(self) -> bytes | None:
        """What tells whether the files beside it are the same, and unchanged; None where there is none."""
        if not self.beside:
            return None
        state = hashlib.blake2b(digest_size=_STATE_BYTES)
        for other in sorted(self.beside, key=lambda each: each.file.name):
            file = other.file
            state.update(repr((file.name, file.size, file.version or file.mtime_ns, other.role)).encode())
        return state.digest()

    def instead(self, other: "Companion") -> "SourceFile":
        """One of the files beside it in its place, with the rest beside that; this one is left out."""
        return replace(other.file, beside=tuple(each for each in self.beside if each is not other))

    def without_bytes(self) -> "SourceFile":
        """A copy without the bytes read ahead: only the decoder needs them, and they would fill the memory."""
        return self if self.ahead is None else replace(self, ahead=None)


@dataclass(frozen=True, slots=True)
class Companion:
    """A file beside a picture: one more of the same. role: what it is to it."""

    file: SourceFile
    role: Role

    @property
    def is_picture(self) -> bool:
        """Whether it can stand for the picture where the better file cannot be read."""
        return self.role in ("original", "raw")


@dataclass(frozen=True, slots=True)
class Container:
    """A file that holds any number of items, in the state in which they were listed.

    Attributes:
        members: how many were found.
        complete: whether it could be read to its end.
        copy: the path of its bytes on this machine, if that is not its location.
        cutting: how its kind cuts it, see `mmsearch.items.Files`; or how pictures are made of it, see
            `mmsearch.images.Cutter`.
        within: the member of an archive that it is, if it is one; size and mtime_ns are those of the archive.
    """

    location: str
    form: ContainerForm
    size: int
    mtime_ns: int
    members: int
    complete: bool
    copy: str | None = None
    cutting: str = ""
    within: "Member | None" = None

    @property
    def etag(self) -> str:
        """Stored in the row of each of its items. It holds the number of items, so missing rows can be noticed; of a
        member of an archive that of the archive too."""
        parts = [str(self.size), str(self.members), *([self.cutting] if self.cutting else [])]
        if self.within is not None and self.within.container is not None:
            parts.append(f"{_WITHIN}{self.within.container.members}")
        return ":".join([*parts, *([] if self.complete else [_CUT_SHORT])])


_CUT_SHORT = "cut"
_WITHIN = "of="
JOINED = "joined"
"""`Container.cutting` of archives in which files of one picture were joined."""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """The parts of `Container.etag`, as the row of an item stores it. within: how many members the archive has that it
    is a member of; empty where it is none."""

    size: str
    members: str
    cutting: str
    complete: bool
    within: str = ""

    @classmethod
    def of(cls, etag: str | None) -> "ContainerState":
        """Parse the etag of any row. That of an item in no container gives a state that no container has."""
        size, members, *parts = [*(etag or "").split(":"), "", ""]
        within = next((part for part in parts if part.startswith(_WITHIN)), "")
        cutting = next((part for part in parts if part not in (_CUT_SHORT, within)), "")
        return cls(size, members, cutting, _CUT_SHORT not in parts, within.removeprefix(_WITHIN))

    def is_of(self, size: int | None, cuttings: Collection[str]) -> bool:
        """Whether the container had this size, and was cut in one of these ways."""
        return self.size == str(size) and self.cutting in cuttings


@dataclass(frozen=True, slots=True)
class Member(SourceFile):
    """An item in a container: a member of an archive, a span of a file. name: `a.tar!/x.jpg`, `notes.md!/heading=2`.

    mtime_ns: the container's, since an item is as old as that. size: None where only reading tells (rows of Parquet).
    position: where it is in the container (an offset, a number). numbers: the columns that say where a span is.
    span: of a picture that is made of the file, its name; empty where it is the file itself, and of all others.
    """

    container: Container | None = None
    position: int = 0
    numbers: Mapping[str, Any] = field(default_factory=dict, compare=False)
    span: str = ""

    @property
    def etag(self) -> str | None:
        return self.container.etag if self.container else None


_File = TypeVar("_File", bound=SourceFile)


def file_in(root: Location, file: Location, *, identified: bool = False) -> SourceFile:
    """Make the record of a file that the user named; without size and time where there is no such file.

    identified: whether its version is set to `mmsearch.cache.file_identity`."""
    name = str(file.relative_to(root)) if isinstance(file, Url) else os.path.relpath(file, root).replace(os.sep, "/")
    try:
        if isinstance(file, Path) and (special := special_file(file.stat().st_mode)) is not None:
            return SourceFile(str(root), name, None, None, refused=special)
        state = file_state(file)
        version = file_identity(file.stat()) if identified and not isinstance(file, Url) else state.etag
    except OSError:
        return SourceFile(str(root), name, None, None)
    return SourceFile(str(root), name, state.size, state.mtime_ns, version=version)


def is_hidden(name: str) -> bool:
    """Whether a file is left out by default: a part of its name begins with a dot, or macOS has put it there."""
    return _HIDDEN.search(name) is not None


def is_clutter(name: str) -> bool:
    """Whether a file, or a folder with a "/" at its end, is none of its owner's pictures: small copies and notes of
    programs, and what was thrown away. Those with a leading dot are hidden, see `is_hidden`."""
    folder, slash, last = name.rpartition("/")
    return last.lower() in _CLUTTER_FILES or (slash != "" and _CLUTTER_FOLDERS.search(f"{folder}/") is not None)


def join_files(best: _File, others: Iterable[Beside], find: Callable[[str], SourceFile | None]) -> _File:
    """A picture with the files beside it. find: the file of a name, None where there is none that can be opened."""
    found = ((find(other.name), other.role) for other in others)
    return replace(best, beside=tuple(Companion(file, role) for file, role in found if file is not None))


def stem(name: str) -> str:
    """A name without its last suffix."""
    return os.path.splitext(name)[0]  # noqa: PTH122 - a string in, a string out, a million times
