"""Tables of captions: which of their columns are what. One rule for what `embed` and what `eval` are given."""

import ast
import csv
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "CAPTION_COLUMNS",
    "IMAGE_COLUMNS",
    "IMAGE_ENDINGS",
    "LOOKED_AT",
    "TABLE_SUFFIXES",
    "USUAL_NAMES",
    "BareRows",
    "ColumnNames",
    "Layout",
    "UnknownColumns",
    "captions_in_cell",
    "find_bare_rows",
    "find_layout",
    "numbered_captions",
    "unquote",
]

# What people call these, the most specific first: a record may have "image" beside "image_name".
IMAGE_COLUMNS = (
    "image_name", "file_name", "filename", "image_path", "image", "img", "path", "file_path", "filepath", "file",
)  # fmt: skip
CAPTION_COLUMNS = ("captions", "caption", "comment", "raw", "text", "sentence", "sentences", "title")
_NUMBER_COLUMNS = ("comment_number", "caption_number", "number")
_NUMBERED_CAPTION = re.compile(rf"({'|'.join(CAPTION_COLUMNS)})[ _.-]?\d+")

IMAGE_ENDINGS = (
    "jpg", "jpeg", "jpe", "png", "webp", "bmp", "gif", "tif", "tiff",
    "heic", "heif", "avif", "jxl", "jp2", "ppm", "pgm", "pbm",
)  # fmt: skip
TABLE_SUFFIXES = (".csv", ".tsv", ".tab")
_DELIMITERS = "\t|;,"
_SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # how Excel is told the delimiter
_NAME = rf"(?P<name>[^\t,|;]+?\.(?:{'|'.join(IMAGE_ENDINGS)}))"
_BARE = re.compile(_NAME + r"\s*(?P<delimiter>[\t,|;])(?P<caption>.*\w.*)", re.DOTALL | re.IGNORECASE)
_ANOTHER_NAME = re.compile(r"\s*" + _NAME + r"(#\d+)?(\s|$)", re.IGNORECASE)
_IMAGE_NAME = re.compile(rf"\S.*\.(?:{'|'.join(IMAGE_ENDINGS)})", re.IGNORECASE)

LOOKED_AT = 20
"""How many lines decide what a file is: the first may be damaged, and a header stands on the first."""


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """What the columns of a table are called, where that is none of the usual names. Upper and lower case are one.

    Attributes:
        image: The column of image names.
        captions: The columns of captions, one or several.
    """

    image: str | None = None
    captions: tuple[str, ...] = ()

    def image_names(self) -> tuple[str, ...]:
        """The names to look for, the first that is there counts."""
        return (self.image.lower(),) if self.image else IMAGE_COLUMNS

    def caption_names(self) -> tuple[str, ...]:
        """Likewise."""
        return tuple(name.lower() for name in self.captions) or CAPTION_COLUMNS


USUAL_NAMES = ColumnNames()


@dataclass(frozen=True, slots=True)
class Layout:
    """The header of a table.

    Attributes:
        columns: The names of the columns, in lower case.
        image: Which column names the image, if any.
        captions: Which columns hold captions, one or several.
        number: Which column numbers the captions, if any.
        split: Which column names the split, if any.
        header_lines: How many lines stand before the first row.
    """

    delimiter: str
    columns: tuple[str, ...]
    image: int | None
    captions: tuple[int, ...]
    number: int | None
    split: int | None
    header_lines: int


class UnknownColumns(Exception):
    """A table whose columns are called as none of the names that were looked for. columns: as they are called."""

    def __init__(self, columns: Sequence[str], missing: str) -> None:
        super().__init__(
            f"a table with the columns {', '.join(columns)}, and none of them is {missing}: say which is which with "
            "--image-column and --caption-column"
        )
        self.columns = tuple(columns)


def numbered_captions(columns: Iterable[str]) -> list[str]:
    """The columns of a wide table that hold a caption each, as they are called.

    >>> numbered_captions(["image", "caption_0", "caption_1"])
    ['caption_0', 'caption_1']
    """
    return [column for column in columns if _NUMBERED_CAPTION.fullmatch(column.lower())]


def find_layout(lines: Sequence[str], names: ColumnNames, *, table: bool = False) -> Layout | None:
    """The layout that the first lines of a file show, None where it is no table with a header.

    lines: none blank. table: whether the file's name says that it is one. Raises UnknownColumns where it is a table and
    not to be guessed: what is then taken for captions would be whole rows.

    >>> find_layout(["sep=;", "image;caption1;caption2", "a.jpg;one;two"], ColumnNames()).captions
    (1, 2)
    """
    separator = _SEPARATOR.fullmatch(lines[0].strip()) if lines else None
    header_at = 1 if separator else 0
    if len(lines) <= header_at:
        return None
    header = lines[header_at]
    for delimiter in separator[1] if separator else _DELIMITERS:
        columns = _split_header(header, delimiter)
        image, captions = _find_first(columns, names.image_names()), _find_captions(columns, names)
        # One column called "text" may well be a line of text; and prose has commas.
        if captions and (image is not None or len(columns) > 1 or columns == ("caption",) or names.captions):
            number = _find_first(columns, _NUMBER_COLUMNS)
            return Layout(delimiter, columns, image, captions, number, _find_first(columns, ("split",)), header_at + 1)
        if image is not None and len(columns) > 1:
            raise UnknownColumns(columns, "a caption's by its name")
    rows = lines[header_at : header_at + LOOKED_AT]
    bare = find_bare_rows(rows)
    if bare is not None and bare.split(header) is not None:
        return None  # else the first line is a header of names that nobody knows
    for delimiter in separator[1] if separator else _DELIMITERS:
        columns = _split_header(header, delimiter)
        known_by_rows = _names_images(rows[1:], delimiter) and not any(map(_IMAGE_NAME.fullmatch, columns))
        if len(columns) > 1 and (table or separator or names != USUAL_NAMES or known_by_rows):
            raise UnknownColumns(columns, "a caption's by its name" if names == USUAL_NAMES else "what was named")
    if names != USUAL_NAMES:
        raise UnknownColumns(_split_header(header, ","), "what was named")
    return None


def _split_header(header: str, delimiter: str) -> tuple[str, ...]:
    cells = next(csv.reader([header], delimiter=delimiter), [])
    return tuple(name.strip().strip('"').strip().lower() for name in cells)


def _find_first(columns: Sequence[str], names: Sequence[str]) -> int | None:
    return next((columns.index(name) for name in names if name in columns), None)


def _find_captions(columns: Sequence[str], names: ColumnNames) -> tuple[int, ...]:
    """The columns that were named, all of them; or the first of the usual ones; or caption1, caption2, …."""
    if names.captions:
        named = [columns.index(name) for name in names.caption_names() if name in columns]
        return tuple(named) if len(named) == len(names.captions) else ()
    numbered = tuple(column for column, name in enumerate(columns) if _NUMBERED_CAPTION.fullmatch(name))
    unnumbered = _find_first(columns, CAPTION_COLUMNS)
    if len(numbered) > 1:
        return numbered if unnumbered is None else (unnumbered, *numbered)
    return (unnumbered,) if unnumbered is not None else numbered


def _names_images(rows: Sequence[str], delimiter: str) -> bool:
    """Whether most rows have the name of an image in the same column."""
    table = [next(csv.reader([row], delimiter=delimiter), []) for row in rows]
    widest = max((len(cells) for cells in table), default=0)
    return any(
        2 * sum(len(cells) > column and _IMAGE_NAME.fullmatch(cells[column].strip()) is not None for cells in table)
        > len(table)
        for column in range(widest)
    )


@dataclass(frozen=True, slots=True)
class BareRows:
    """Rows without a header: a name, perhaps a number, a caption. numbered: whether there is a number."""

    numbered: bool

    def split(self, line: str) -> tuple[str, str | None, str] | None:
        """(name, number, caption) of a line; None where it is no such row."""
        match = _BARE.fullmatch(line)
        if match is None:
            return None
        name, caption, number = match["name"].strip().strip('"'), match["caption"], None
        if self.numbered:
            number, _, caption = (part.strip() for part in caption.partition(match["delimiter"]))
            if not number.strip('"').isdecimal() or not caption:
                return None
        return name, number, unquote(caption)


def find_bare_rows(lines: Sequence[str]) -> BareRows | None:
    """How the first lines of a file without a header are to be split; None where most of them are no such rows.

    Not all that begins with a name is one: Flickr8k's judgements are a name and another name.

    >>> find_bare_rows(["a.jpg,0,a dog, and a cat", "a.jpg,1,two"]).split("b.jpg,2,a hat, red")
    ('b.jpg', '2', 'a hat, red')
    """
    first_lines = lines[:LOOKED_AT]
    plain, numbered = BareRows(False), BareRows(True)
    bare = [line for line in first_lines if (row := plain.split(line)) is not None and not _ANOTHER_NAME.match(row[2])]
    if 2 * len(bare) <= len(first_lines):
        return None
    return numbered if all(numbered.split(line) is not None for line in bare) else plain


def unquote(cell: str) -> str:
    """What a quoted cell stands for; a cell that only has quotes in it is left as it is."""
    cell = cell.strip()
    content = cell[1:-1]
    quoted = len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in content.replace('""', "")
    return content.replace('""', '"') if quoted else cell


def captions_in_cell(cell: str) -> list[str]:
    """The captions of a cell: one, or several as a list in JSON, or as Python prints it (pandas' to_csv).

    >>> captions_in_cell("['one', 'it\\\\'s two']"), captions_in_cell('["one"]'), captions_in_cell("[red] hat")
    (['one', "it's two"], ['one'], ['[red] hat'])
    """
    text = cell.strip()
    if text[:1] != "[" or text[-1:] != "]" or text[1:].lstrip()[:1] not in ('"', "'"):
        return [cell]
    for read in (json.loads, ast.literal_eval):
        try:
            captions = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(captions, list) and all(isinstance(caption, str) for caption in captions):
            return captions
    return [cell]
