"""Files of captions: CSV, JSON, Flickr's token files, or a caption a line."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mmsearch.errors import SourceError
from mmsearch.locations import Location
from mmsearch.sources import parquet
from mmsearch.sources.files import MEMBER
from mmsearch.stores import local_copy

__all__ = ["CaptionFile", "CaptionLine", "read_captions"]

CAPTION_COLUMNS = ("caption", "captions", "text", "title")
IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name", "image_name", "image_path")


@dataclass(frozen=True, slots=True)
class CaptionLine:
    """One caption. ordinal: its place in the file, from 0. image: the path that the file gives for it, if any.

    member: where the source is a folder or an archive, the file in it that holds the caption; ordinals count in that.
    stem: whether `image` lacks its suffix.
    """

    ordinal: int
    caption: str
    image: str | None
    member: str | None = None
    stem: bool = False


@dataclass(frozen=True, slots=True)
class CaptionFile:
    """What a file of captions holds. kind: how it was read. problems: lines without a caption, as "line 7: ..."."""

    lines: tuple[CaptionLine, ...]
    problems: tuple[str, ...]
    kind: str = "captions"


def read_captions(file: Location) -> CaptionFile:
    """Read a file of captions; its kind is told by its content rather than its name.

    - JSON: a list of objects, or an object a line, with "caption" and optionally "image".
    - CSV, also with tabs or semicolons, with a header that names a caption column, and optionally an image column.
    - Flickr's token files: name.jpg#0<TAB>caption.
    - Parquet, by its name: a caption column (text, or a list of texts), and a path or the image itself beside it.
    - Anything else: a caption a line.

    Raises SourceError: no such file, not text, damaged CSV, a table without a caption column, no caption in it.
    """
    if file.suffix.lower() == ".parquet":
        return _collected(file, "a Parquet table", _from_parquet(file))
    try:
        with local_copy(file).open(encoding="utf-8-sig", newline="") as stream:
            text = stream.read()
    except FileNotFoundError:
        raise SourceError(f"no such file: {file}") from None
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    return _collected(file, *_parsed(file, text))


def _collected(file: Location, kind: str, rows: "Iterator[_Row]") -> CaptionFile:
    lines: list[CaptionLine] = []
    problems: list[str] = []
    for number, caption, image, problem in rows:
        if problem or not caption.strip():
            problems.append(f"line {number}: {problem or 'no caption'}")
        else:
            lines.append(CaptionLine(len(lines), _valid(caption.strip()), _valid(image) or None))
    if not lines:
        raise SourceError(
            f"no caption in {file}{''.join(f'; {problem}' for problem in problems[:3])}. Expected a caption a line, "
            'JSON with a "caption", or CSV with a header such as "image,caption".'
        )
    return CaptionFile(tuple(lines), tuple(problems), kind)


_Row = tuple[int, str, str, str]  # line number, caption, image, problem
_TOKEN = re.compile(r"(.+\.\w+)#\d+\t(.*)")


def _valid(text: str) -> str:
    # JSON can hold half of a surrogate pair (a cut emoji), which is no text.
    return text.encode("utf-8", "replace").decode()


def _split(text: str) -> list[str]:
    # Not splitlines(): captions may hold U+2028, form feeds and the like.
    return re.split(r"\r\n|\r|\n", text)


def _parsed(file: Location, text: str) -> tuple[str, Iterator[_Row]]:
    first = next((line for line in _split(text) if line.strip()), "")
    if first.lstrip().startswith("[") and (records := _list_of_records(text)) is not None:
        return "a JSON list", (_from_record(number, record) for number, record in enumerate(records, 1))
    if first.lstrip().startswith("{"):
        return "JSON lines", _from_json_lines(text)
    if _TOKEN.fullmatch(first):
        return "a Flickr token file", _from_tokens(text)
    for delimiter, name in (("\t", "tabs"), (";", "semicolons"), (",", "commas")):
        header = [cell.strip().lower() for cell in next(csv.reader([first], delimiter=delimiter), [])]
        caption, image = _column(header, CAPTION_COLUMNS), _column(header, IMAGE_COLUMNS)
        if caption is not None and (len(header) > 1 or header[0] == "caption"):
            return f"a table with {name}", _from_csv(file, text, delimiter, caption, image)
        if image is not None and len(header) > 1:
            raise SourceError(
                f"{file} is a table with the columns {', '.join(header)}, and none of them is a caption's: "
                f"name one {' or '.join(CAPTION_COLUMNS)}"
            )
    plain = ((number, line, "", "") for number, line in enumerate(_split(text), 1) if line.strip())
    return "a caption a line", plain


def _from_parquet(file: Location) -> Iterator[_Row]:
    try:
        here = str(local_copy(file))
        own = parquet.is_image_table(here)
        for row, fields in parquet.columns(here, (*CAPTION_COLUMNS, *IMAGE_COLUMNS)):
            caption = next((fields[name] for name in CAPTION_COLUMNS if fields.get(name)), None)
            image = next((fields[name] for name in IMAGE_COLUMNS if isinstance(fields.get(name), str)), "")
            for each in caption if isinstance(caption, list) else [caption]:
                found = each if isinstance(each, str) else ""
                yield row, found, f"{file.name}{MEMBER}{row}" if own else image, ""
    except parquet.Unreadable as error:
        raise SourceError(f"{file}: {error}. Nothing was changed.") from error
    except FileNotFoundError:
        raise SourceError(f"no such file: {file}") from None
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error.strerror or error}") from error


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _list_of_records(text: str) -> list[Any] | None:
    try:
        records = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return records if isinstance(records, list) and any(isinstance(record, dict) for record in records) else None


def _from_json_lines(text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, "", "", f"not JSON ({error})"
        else:
            yield _from_record(number, record)


def _from_record(number: int, record: Any) -> _Row:
    if not isinstance(record, dict):
        return number, "", "", "not a JSON object"
    caption = next((record[name] for name in CAPTION_COLUMNS if name in record), None)
    image = next((record[name] for name in IMAGE_COLUMNS if name in record), None)
    if not isinstance(caption, str):
        return number, "", "", f'no "caption" text among {sorted(record)}'
    return number, caption, image if isinstance(image, str) else "", ""


def _from_tokens(text: str) -> Iterator[_Row]:
    for number, line in enumerate(_split(text), 1):
        if found := _TOKEN.fullmatch(line):
            yield number, found[2], found[1], ""
        elif line.strip():
            yield number, "", "", "not name.jpg#0<TAB>caption"


def _from_csv(file: Location, text: str, delimiter: str, caption: int, image: int | None) -> Iterator[_Row]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in islice(reader, 1, None):
            if not any(row):
                continue
            if len(row) <= caption:
                yield reader.line_num, "", "", f"{len(row)} columns, too few to hold a caption"
            else:
                yield reader.line_num, row[caption], row[image] if image is not None and image < len(row) else "", ""
    except csv.Error as error:
        # What follows cannot be told apart; to go on would drop captions that an earlier run has read.
        where = f"{file} is damaged CSV near line {reader.line_num}"
        raise SourceError(f"{where}: {error}. Nothing was changed.") from error
