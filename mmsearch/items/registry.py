"""The kinds that there are, by name and by the suffixes of their files."""

import os
import re

from mmsearch.errors import MmsearchError
from mmsearch.items.captions import CAPTIONS
from mmsearch.items.images import IMAGES
from mmsearch.items.kinds import SKIPPED, AnyKind, Table

__all__ = [
    "BOTH",
    "DEFAULT_KIND",
    "MEMBER",
    "askable",
    "kind",
    "kind_of_file",
    "kinds",
    "know",
    "register",
    "table",
    "table_names",
    "unregister",
    "without_span",
]

MEMBER = "!/"
"""Between a file and a piece of it: `a.tar!/x.jpg`, `notes.md!/heading=2`."""

_SPAN = re.compile(rf"{MEMBER}[a-z]+=-?[0-9.,]+\Z")

DEFAULT_KIND = IMAGES
"""What is searched, indexed and exported unless another kind is named; and what a file is that no other kind takes."""

BOTH = "both"
"""What a query is asked among where items of every kind are to be in one list."""

_TAKEN = frozenset({BOTH, "manifests", "deletes", "index", "scores", "lock", SKIPPED.name})
_KINDS: dict[str, AnyKind] = {each.name: each for each in (IMAGES, CAPTIONS)}
_BY_SUFFIX: dict[str, AnyKind] = {}


def without_span(name: str) -> str:
    """The name of the file that a piece is of; of what is no piece its own.

    >>> without_span("a.zip!/trip.mp4!/t=12.48"), without_span("a.zip!/scan.tif")
    ('a.zip!/trip.mp4', 'a.zip!/scan.tif')
    """
    return _SPAN.sub("", name)


def kinds() -> tuple[AnyKind, ...]:
    """All kinds of items."""
    return tuple(_KINDS.values())


def kind(name: str) -> AnyKind:
    """The kind of this name. Raises MmsearchError where there is none."""
    try:
        return _KINDS[name]
    except KeyError:
        raise MmsearchError(f"there is no kind of item {name!r}; there are {', '.join(_KINDS)}") from None


def askable() -> tuple[str, ...]:
    """What a query may look among."""
    return (*_KINDS, BOTH)


def table_names() -> tuple[str, ...]:
    """The names of all tables of a gallery: one a kind, and what was skipped."""
    return (*_KINDS, SKIPPED.name)


def table(name: str) -> "Table[object]":
    """The table of this name. Raises MmsearchError where there is none."""
    return SKIPPED if name == SKIPPED.name else kind(name)


def kind_of_file(name: str) -> AnyKind:
    """The kind of the items in a file, or in a piece of one, by its name."""
    if not _BY_SUFFIX:
        return DEFAULT_KIND
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - asked of every file of a walk
    found = _BY_SUFFIX.get(suffix)
    if found is None and MEMBER in name:  # a span: its file says what it is of
        return kind_of_file(name.rpartition(MEMBER)[0])
    return found or DEFAULT_KIND


def register(new: AnyKind) -> None:
    """Have one more kind, in this process. Raises ValueError where its name or a suffix of its files is taken."""
    suffixes = new.files.suffixes if new.files else ()
    if new.name in _KINDS or new.name in _TAKEN or (new.files and not suffixes) or _BY_SUFFIX.keys() & set(suffixes):
        raise ValueError(f"the name of the kind {new.name!r}, or a suffix of its files ({suffixes}), is taken")
    _KINDS[new.name] = new
    _BY_SUFFIX.update(dict.fromkeys(suffixes, new))


def know(one: AnyKind) -> None:
    """Have a kind registered, if none of its name is."""
    if one.name not in _KINDS:
        register(one)


def unregister(name: str) -> None:
    """Have a kind that was registered no more. Tables of it stay in their galleries, unread."""
    gone = _KINDS.pop(name)
    for suffix in gone.files.suffixes if gone.files else ():
        del _BY_SUFFIX[suffix]
