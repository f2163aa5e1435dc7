"""Files of captions: CSV, JSON lines, or a caption a line."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mmsearch.errors import SourceError

__all__ = ["CaptionFile", "CaptionLine", "read_captions"]

CAPTION_COLUMNS = ("caption", "captions", "text", "title")
IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name", "image_name", "image_path")


@dataclass(frozen=True, slots=True)
class CaptionLine:
    """One caption. ordinal: its place in the file, from 0. image: the path that the file gives for it, if any."""

    ordinal: int
    caption: str
    image: str | None


@dataclass(frozen=True, slots=True)
class CaptionFile:
    """What a file of captions holds. problems: lines that hold no caption, as "line 7: ..."."""

    lines: tuple[CaptionLine, ...]
    problems: tuple[str, ...]


def read_captions(file: Path) -> CaptionFile:
    """Read a file of captions; its kind is told by its content rather than its name.

    - JSON lines: an object a line, with "caption" and optionally "image".
    - CSV (or TSV) with a header that names a caption column, and optionally an image column.
    - Anything else: a caption a line.

    Raises SourceError: no such file, not text, no caption in it.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            text = stream.read()
    except FileNotFoundError:
        raise SourceError(f"no such file: {file}") from None
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    lines: list[CaptionLine] = []
    problems: list[str] = []
    for number, caption, image, problem in _parsed(text):
        if problem or not caption.strip():
            problems.append(f"line {number}: {problem or 'no caption'}")
        else:
            lines.append(CaptionLine(len(lines), caption.strip(), image or None))
    if not lines:
        raise SourceError(
            f'no caption in {file}. Expected a caption a line, JSON lines with a "caption", or CSV with a header '
            'such as "image,caption".'
        )
    return CaptionFile(tuple(lines), tuple(problems))


_Row = tuple[int, str, str, str]  # line number, caption, image, problem


def _parsed(text: str) -> Iterator[_Row]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    if first.lstrip().startswith("{"):
        return _from_json(text)
    delimiter = "\t" if "\t" in first else ","
    header = [name.strip().lower() for name in next(csv.reader([first], delimiter=delimiter), [])]
    if (caption := _column(header, CAPTION_COLUMNS)) is not None and (len(header) > 1 or header[0] == "caption"):
        return _from_csv(text, delimiter, caption, _column(header, IMAGE_COLUMNS))
    return ((number, line, "", "") for number, line in enumerate(text.splitlines(), 1) if line.strip())


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _from_json(text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except ValueError as error:
            yield number, "", "", f"not JSON ({error})"
            continue
        if not isinstance(fields, dict):
            yield number, "", "", "not a JSON object"
            continue
        caption = next((fields[name] for name in CAPTION_COLUMNS if name in fields), None)
        image = next((fields[name] for name in IMAGE_COLUMNS if name in fields), None)
        if not isinstance(caption, str):
            yield number, "", "", f'no "caption" text among {sorted(fields)}'
        else:
            yield number, caption, image if isinstance(image, str) else "", ""


def _from_csv(text: str, delimiter: str, caption: int, image: int | None) -> Iterator[_Row]:
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    try:
        for row in islice(reader, 1, None):
            if not any(row):
                continue
            if len(row) <= caption:
                yield reader.line_num, "", "", f"{len(row)} columns, too few to hold a caption"
            else:
                yield reader.line_num, row[caption], row[image] if image is not None and image < len(row) else "", ""
    except csv.Error as error:
        yield reader.line_num, "", "", f"not CSV ({error})"
