"""A kind of item that the package does not know: notes, Markdown files of which every heading is one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from mmsearch.items import Content, Files, ItemRow, Kind, Span

__all__ = ["NOTES", "NoteRow"]

_HEADING = re.compile(rb"^#+ +(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class NoteRow(ItemRow):
    """One heading of a note, with the words below it. page: its place among the headings of the file, from 1."""

    heading: str
    text: str
    page: Annotated[int | None, "int32"] = None


def cut(file: str) -> Iterator[Span]:
    """The headings of a file. Raises ValueError for what is no note."""
    data = Path(file).read_bytes()
    data.decode()
    starts = [found.start() for found in _HEADING.finditer(data)]
    if not starts:
        raise ValueError("a note without a heading")
    for page, (start, end) in enumerate(zip(starts, [*starts[1:], len(data)], strict=True), 1):
        yield Span(f"heading={page}", start, end - start, {"page": page})


def read(data: bytes) -> Content:
    """A heading and the words below it, as one text."""
    heading, _, rest = data.decode().partition("\n")
    heading, text = heading.lstrip("# ").strip(), " ".join(rest.split())
    return Content(f"{heading} {text}", {"heading": heading, "text": text or heading})


NOTES = Kind(
    name="notes",
    row=NoteRow,
    side="text",
    noun="note",
    how_to_add="mmsearch embed FOLDER_OF_NOTES",
    told=("heading", "text", "path", "file", "page", "gone", "path_bytes", "file_bytes"),
    text="text",
    files=Files(suffixes=(".md",), cut=cut, cutting="headings", read=read),
)
