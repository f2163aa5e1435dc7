"""From an annotation file to a draft: its bytes, its text, and which reader it is for."""

import re
from collections.abc import Iterator
from pathlib import Path

from mmsearch.benchmarks.json_files import read_json
from mmsearch.benchmarks.model import Draft
from mmsearch.benchmarks.parquet_files import MAGIC, read_parquet
from mmsearch.benchmarks.text_files import Line, read_lines
from mmsearch.errors import BenchmarkError
from mmsearch.sources.caption_tables import TABLE_SUFFIXES, ColumnNames, UnknownColumns
from mmsearch.stores import MOST_TEXT_BYTES, read_whole

__all__ = ["decode_lines", "read_annotations", "read_bytes"]

KNOWN = (
    "Karpathy's dataset_*.json, COCO's captions_*.json, a JSON list or JSON lines of {image, captions}, "
    "a Flickr token file (name.jpg#0<TAB>caption), or a table with a header (image,caption), also as Parquet"
)
BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


def read_annotations(path: Path, names: ColumnNames) -> Draft:
    """The draft of an annotation file of any known kind. names: of its columns or keys, where they are not the usual
    ones. BenchmarkError says what else it is."""
    data = read_bytes(path, "annotations")
    if data.startswith(MAGIC):
        return _require_captions(read_parquet(path, names), path)
    data = _to_utf8(data)
    if not data.decode("latin-1").strip():  # as text: str.strip knows more kinds of space than bytes.strip
        raise BenchmarkError(f"{path}: empty. An annotation file is {KNOWN}.")
    if b"\0" in data:
        raise BenchmarkError(f"{path}: a binary file ({data[:12]!r}…). An annotation file is {KNOWN}.")
    latin1_lines: list[str] = []
    if data.lstrip()[:1] in (b"{", b"["):
        # Decoded line by line as well: one bad byte in a caption must not cost the file.
        draft = read_json("\n".join(_decode(data, latin1_lines)), str(path), names)
    else:
        lines = [Line(n, text) for n, text in enumerate(_decode(data, latin1_lines), 1) if text.strip()]
        try:
            line_draft = read_lines(lines, names, table=path.suffix.lower() in TABLE_SUFFIXES)
        except UnknownColumns as error:
            raise BenchmarkError(f"{path}: {error}") from None
        if line_draft is None:
            raise BenchmarkError(_explain_unknown_file(path, lines))
        draft = line_draft
    for item in latin1_lines:
        draft.report("decoded_as_latin1", item)
    return _require_captions(draft, path)


def _require_captions(draft: Draft, path: Path) -> Draft:
    if not draft.captions:
        raise BenchmarkError(f"{path}: a {draft.source}, but without a single caption.")
    return draft


def decode_lines(data: bytes) -> list[str]:
    """The lines of a text that are not blank, without surrounding whitespace."""
    return [text for line in _decode(_to_utf8(data), []) if (text := line.strip())]


def read_bytes(path: Path, noun: str) -> bytes:
    """The file's content. noun: "annotations" or "split list", for the message."""
    if path.is_dir():
        raise BenchmarkError(f"{noun}: {path} is a folder; give the file in it.")
    try:
        return read_whole(path, MOST_TEXT_BYTES)
    except FileNotFoundError:
        raise BenchmarkError(f"{noun}: there is no file {path}") from None
    except OSError as error:
        raise BenchmarkError(f"{noun}: {path} cannot be read: {error.strerror}") from None


def _to_utf8(data: bytes) -> bytes:
    """Without a byte order mark; Windows programs write UTF-16 with one."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            body = data[len(mark) :]
            return body if encoding == "utf-8" else body.decode(encoding, "replace").encode()
    return data


def _decode(data: bytes, latin1_lines: list[str]) -> Iterator[str]:
    """The lines of a file, LF, CRLF or CR. Those that are not UTF-8 are read as Latin-1 and noted in latin1_lines."""
    for number, line in enumerate(re.split(rb"\r\n|\n|\r", data), 1):
        try:
            yield line.decode()
        except UnicodeDecodeError:
            text = line.decode("latin-1")
            latin1_lines.append(f"line {number}: {text.strip()[:80]}")
            yield text


def _explain_unknown_file(path: Path, lines: list[Line]) -> str:
    if all(len(line.text.split()) == 1 for line in lines) and len(lines) > 1:
        hint = " It looks like a list of names: that is a split list, not annotations."
    else:
        hint = ""
    return f"{path}: not an annotation file. Looked for {KNOWN}; the first line is {lines[0].text[:100]!r}.{hint}"
