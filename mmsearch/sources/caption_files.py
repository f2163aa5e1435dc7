"""Files of captions: CSV, JSON, Flickr's token files, or a caption a line."""

import codecs
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
from mmsearch.sources.caption_tables import (
    LOOKED_AT,
    TABLE_SUFFIXES,
    USUAL_NAMES,
    BareRows,
    ColumnNames,
    Layout,
    UnknownColumns,
    captions_in_cell,
    find_bare_rows,
    find_layout,
)
from mmsearch.sources.source_files import MEMBER
from mmsearch.stores import MOST_TEXT_BYTES, absence, local_copy, read_whole, unpacked, without_gz

__all__ = ["CaptionFile", "CaptionLine", "read_captions"]

_NO_CAPTION = "a caption's by its name"


@dataclass(frozen=True, slots=True)
class CaptionLine:
    """One caption.

    Attributes:
        ordinal: Its number in the file, from 0.
        image: The path that the file gives for its picture, if any.
        member: Where the source is a folder or an archive, the file in it that holds the caption; ordinals count in
            that.
        stem: Whether `image` lacks its suffix.
    """

    ordinal: int
    caption: str
    image: str | None
    member: str | None = None
    stem: bool = False


@dataclass(frozen=True, slots=True)
class CaptionFile:
    """The captions of a file.

    Attributes:
        problems: Lines without a caption, as "line 7: ...".
        form: How the file was read.
    """

    lines: tuple[CaptionLine, ...]
    problems: tuple[str, ...]
    form: str = "lines"


def read_captions(file: Location, names: ColumnNames = USUAL_NAMES) -> CaptionFile:
    """Read a file of captions; its kind is told by its content rather than its name.

    names: of its columns or keys, where they are not the usual ones (`caption_tables`).

    - JSON: a list of objects, or an object a line, with "caption" and optionally "image"; COCO's captions_*.json and
      Karpathy's dataset_*.json.
    - CSV, also with tabs, bars or semicolons, with a header that names a caption column, or several (caption1,
      caption2), and optionally an image column; or without one, as name.jpg,caption or name.jpg,0,caption.
    - Flickr's token files: name.jpg#0<TAB>caption.
    - Parquet, by its name: a caption column (text, or a list of texts), and a path or the image itself beside it.
    - Anything else: a caption a line.

    A cell may hold a list of captions. UTF-8, or UTF-16 with its mark.
    Raises SourceError: no such file, not text, damaged CSV, a table whose columns are not known, no caption in it.
    """
    if file.suffix.lower() == ".parquet":
        return _collect_lines(file, "a Parquet table", _from_parquet(file, names))
    try:
        data = unpacked(read_whole(local_copy(file), MOST_TEXT_BYTES), str(file))
    except FileNotFoundError:
        raise SourceError(absence(file)) from None
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error.strerror or error}") from error
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise SourceError(f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    return _collect_lines(file, *_parse(file, text, names))


def _collect_lines(file: Location, kind: str, rows: "Iterator[_Row]") -> CaptionFile:
    lines: list[CaptionLine] = []
    problems: list[str] = []
    counted = _COUNTED.get(kind, "line")
    for number, caption, image, problem in rows:
        if problem or not caption.strip():
            problems.append(f"{counted} {number}: {problem or 'no caption'}")
        else:
            lines.append(CaptionLine(len(lines), _make_valid(caption.strip()), _make_valid(image) or None))
    if not lines:
        raise SourceError(
            f"no caption in {file}{''.join(f'; {problem}' for problem in problems[:3])}. Expected a caption a line, "
            'JSON with a "caption", COCO\'s or Karpathy\'s, or CSV with a header such as "image,caption".'
        )
    return CaptionFile(tuple(lines), tuple(problems), kind)


_COUNTED = {"COCO JSON": "annotation", "Karpathy JSON": "image"}
"""What numbers count in files that are one object."""

_Row = tuple[int, str, str, str]  # line number, caption, image, problem
_TOKEN = re.compile(r"(.+\.\w+)#\d+\t(.*)")


def _make_valid(text: str) -> str:
    # JSON can hold half of a surrogate pair (a cut emoji), which is no text.
    return text.encode("utf-8", "replace").decode()


def _split_lines(text: str) -> list[str]:
    # Not splitlines(): captions may hold U+2028, form feeds and the like.
    return re.split(r"\r\n|\r|\n", text)


def _parse(file: Location, text: str, names: ColumnNames) -> tuple[str, Iterator[_Row]]:
    lines = [(number, line) for number, line in enumerate(_split_lines(text), 1) if line.strip()]
    first = [line for _, line in lines[:LOOKED_AT]]
    start = first[0].lstrip()[:1] if first else ""
    if start == "[" and (records := _list_of_records(text)) is not None:
        return "a JSON list", (row for n, record in enumerate(records, 1) for row in _from_record(n, record, names))
    if start == "{" and (dataset := _data_set(text)) is not None:
        return dataset
    if start == "{":
        return "JSON lines", _from_json_lines(text, names)
    if first and _TOKEN.fullmatch(first[0]):
        return "a Flickr token file", _from_tokens(text)
    try:
        layout = (
            find_layout(first, names, table=without_gz(file.name).lower().endswith(TABLE_SUFFIXES)) if first else None
        )
    except UnknownColumns as error:
        raise SourceError(f"{file}: {error}") from None
    if layout is not None:
        return f"a table with {_DELIMITER_NAMES.get(layout.delimiter, layout.delimiter)}", _from_csv(file, text, layout)
    if bare := find_bare_rows(first):
        return "a table without a header", _from_bare_rows(lines, bare)
    return "a caption a line", ((number, line, "", "") for number, line in lines)


_DELIMITER_NAMES = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars"}


def _from_bare_rows(lines: list[tuple[int, str]], bare: BareRows) -> Iterator[_Row]:
    for number, line in lines:
        if cells := bare.split(line):
            yield number, cells[2], cells[0], ""
        else:
            yield number, "", "", "not the name of an image and a caption"


def _from_parquet(file: Location, names: ColumnNames) -> Iterator[_Row]:
    try:
        local_path = str(local_copy(file))
        holds_images = parquet.is_image_table(local_path)
        for row, fields in parquet.columns(local_path, (*names.caption_names(), *names.image_names())):
            if not row and not any(name in fields for name in names.caption_names()):
                raise SourceError(f"{file}: {UnknownColumns(parquet.column_names(local_path), _NO_CAPTION)}")
            image = next((fields[name] for name in names.image_names() if isinstance(fields.get(name), str)), "")
            captions = [fields[name] for name in names.caption_names() if fields.get(name)]
            for caption in captions if names.captions else captions[:1] or [None]:
                for text in caption if isinstance(caption, list) else [caption]:
                    valid_text = text if isinstance(text, str) else ""
                    yield row, valid_text, f"{file.name}{MEMBER}{row}" if holds_images else image, ""
    except parquet.Unreadable as error:
        raise SourceError(f"{file}: {error}. Nothing was changed.") from error
    except FileNotFoundError:
        raise SourceError(absence(file)) from None
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error.strerror or error}") from error


def _list_of_records(text: str) -> list[Any] | None:
    try:
        records = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return records if isinstance(records, list) and any(isinstance(record, dict) for record in records) else None


def _data_set(text: str) -> tuple[str, Iterator[_Row]] | None:
    """The rows of one object that holds a whole data set; None for anything else. Where they stand is counted, since
    such files have one line."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return None
    images = whole.get("images") if isinstance(whole, dict) else None
    if not isinstance(images, list):
        return None
    if isinstance(annotations := whole.get("annotations"), list):
        return "COCO JSON", _from_coco(images, annotations)
    return "Karpathy JSON", _from_karpathy(images)


def _from_coco(images: list[Any], annotations: list[Any]) -> Iterator[_Row]:
    names = {str(image.get("id")): image.get("file_name") for image in images if isinstance(image, dict)}
    for number, annotation in enumerate(annotations, 1):
        fields = annotation if isinstance(annotation, dict) else {}
        caption, name = (
            fields.get("caption"),
            names.get(str(fields.get("image_id"))),
        )  # a number here may be a text there
        if isinstance(caption, str) and isinstance(name, str):
            yield number, caption, name, ""
        else:
            yield number, "", "", f"no caption of an image that the file names: {str(annotation)[:60]}"


def _from_karpathy(images: list[Any]) -> Iterator[_Row]:
    for number, image in enumerate(images, 1):
        fields = image if isinstance(image, dict) else {}
        name, sentences = fields.get("filename"), fields.get("sentences")
        if not isinstance(name, str) or not isinstance(sentences, list):
            yield number, "", "", f"no filename with sentences: {str(image)[:60]}"
            continue
        folder = fields.get("filepath")
        path = f"{folder}/{name}" if isinstance(folder, str) and folder else name
        for sentence in sentences:
            raw = sentence.get("raw") if isinstance(sentence, dict) else None
            yield (
                number,
                raw if isinstance(raw, str) else "",
                path,
                "" if isinstance(raw, str) else "a sentence without raw",
            )


def _from_json_lines(text: str, names: ColumnNames) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, "", "", f"not JSON ({error})"
        else:
            yield from _from_record(number, record, names)


def _from_record(number: int, record: Any, names: ColumnNames) -> Iterator[_Row]:
    if not isinstance(record, dict):
        yield number, "", "", "not a JSON object"
        return
    fields = {str(key).lower(): value for key, value in record.items()}
    caption = next((fields[name] for name in names.caption_names() if name in fields), None)
    image = next((fields[name] for name in names.image_names() if name in fields), None)
    for text in caption if isinstance(caption, list) else [caption]:
        if isinstance(text, str):
            yield number, text, image if isinstance(image, str) else "", ""
        else:
            yield number, "", "", f'no "caption" text among {sorted(fields)}'


def _from_tokens(text: str) -> Iterator[_Row]:
    for number, line in enumerate(_split_lines(text), 1):
        if match := _TOKEN.fullmatch(line):
            yield number, match[2], match[1], ""
        elif line.strip():
            yield number, "", "", "not name.jpg#0<TAB>caption"


def _from_csv(file: Location, text: str, layout: Layout) -> Iterator[_Row]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    stream = io.StringIO(text.lstrip("\r\n"), newline="")
    skipped = len(text) - len(text.lstrip("\r\n"))
    for _ in range(layout.header_lines - 1):
        stream.readline()
    reader = csv.reader(stream, delimiter=layout.delimiter, strict=True)
    before = layout.header_lines - 1 + text[:skipped].count("\n")
    several = len(layout.captions) > 1
    try:
        for row in islice(reader, 1, None):
            number = before + reader.line_num
            if not any(row):
                continue
            if len(row) <= min(layout.captions):
                yield number, "", "", f"{len(row)} columns, too few to hold a caption"
                continue
            image = row[layout.image] if layout.image is not None and layout.image < len(row) else ""
            for column in layout.captions:
                # In a wide table some images have fewer captions than others.
                if column < len(row) and (row[column].strip() or not several):
                    for caption in captions_in_cell(row[column]):
                        yield number, caption, image, ""
    except csv.Error as error:
        # What follows cannot be told apart; to go on would drop captions that an earlier run has read.
        where = f"{file} is damaged CSV near line {before + reader.line_num}"
        raise SourceError(f"{where}: {error}. Nothing was changed.") from error
