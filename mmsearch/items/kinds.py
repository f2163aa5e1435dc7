"""What a kind of item is: one record, in one file, with all that is particular to it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from mmsearch.items.rows import SkippedRow

__all__ = ["NUMBERS", "SKIPPED", "AnyKind", "Content", "Files", "Kind", "Side", "Span", "Table"]

Side: TypeAlias = Literal["image", "text"]
"""A side of an encoder."""

_Row = TypeVar("_Row", covariant=True)


@dataclass(frozen=True, slots=True)
class Table(Generic[_Row]):
    """A table of a gallery: a folder of shards. Row ids of each table count apart.

    Attributes:
        name: of the table, and of its folder.
        row: the record of a row, all but its id and its vector; its fields are the columns (see `items.rows`).
    """

    name: str
    row: type[_Row]

    @property
    def columns(self) -> list[str]:
        """The columns of a row, but for its id and its vector."""
        return [column.name for column in fields(self.row)]  # type: ignore[arg-type]


SKIPPED = Table("skipped", SkippedRow)
"""Inputs that could not be embedded: a table that is no kind of item."""


NUMBERS = ("start_s", "end_s", "page", "box")
"""Columns that say where in its file an item stands, of kinds that have them; null where it is the whole file."""


@dataclass(frozen=True, slots=True)
class Span:
    """One piece of a file, as the kind of the file cuts it.

    Attributes:
        name: what follows `!/` in its address, as "heading=2"; unique in its file.
        start, size: where its bytes stand in the file.
        numbers: those columns of its row that say where it stands, as `page` or `start_s`.
    """

    name: str
    start: int
    size: int
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Content:
    """What was read of an item of the text side. text: to be encoded. columns: of its row, those of its own."""

    text: str
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Files:
    """How files become items of a kind.

    Attributes:
        suffixes: of the names of its files, in small letters; none: every file that no other kind takes.
        cut: told where a file's bytes stand on this machine, gives its pieces; None where a file is one item. Raises
            ValueError, with the reason, for a file that cannot be cut.
        cutting: how it cuts, in a word without ":"; where it differs from what the rows of a file say, the file is cut
            anew.
        read: what to encode of an item's bytes, where that is a text; None for pictures. Raises ValueError, with the
            reason.
    """

    suffixes: tuple[str, ...] = ()
    cut: Callable[[str], Iterator[Span]] | None = None
    cutting: str = ""
    read: Callable[[bytes], Content] | None = None


@dataclass(frozen=True, slots=True)
class Kind(Table[_Row]):
    """A kind of item: a table whose rows have vectors and can be found.

    Attributes:
        side: of an encoder, which makes its vectors.
        noun: what people call an item of it.
        how_to_add: the command that brings some into a gallery.
        told: the fields of a hit, in the order in which programs are told them after rank, score and row_id. They are
            columns of the row, or of what every hit has: file, gone, file_bytes.
        text: what of a row is shown in words; None where the picture is shown.
        belongs_to: the kind of the item that `root_id` and `path` name, where that is another one.
        files: how files become items of it; None where its rows do not stand for files.
    """

    side: Side
    noun: str
    how_to_add: str
    told: tuple[str, ...]
    text: str | None = None
    belongs_to: str | None = None
    files: Files | None = None

    @property
    def has_picture(self) -> bool:
        """Whether the file of a hit is a picture, its own or the one that it belongs to."""
        return self.side == "image" or self.belongs_to is not None


AnyKind: TypeAlias = Kind[Any]
