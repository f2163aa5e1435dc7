"""Reads the texts of documents as captions of their pages."""

import re
from collections.abc import Iterator

from mmsearch.cutting import read_page_texts, why_missing
from mmsearch.errors import ImageError, SourceError
from mmsearch.file_ranges import FileRange
from mmsearch.locations import Location
from mmsearch.sources.caption_files import CaptionFile, CaptionLine
from mmsearch.sources.source_files import MEMBER
from mmsearch.sources.spans import local_path

__all__ = ["holds_page_texts", "read_document_captions", "read_page_captions"]

_SUFFIX = ".pdf"
_LONGEST = 300
"""Characters of a passage. Models read some 75 tokens, which are as many characters of English."""
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])")


def holds_page_texts(name: str) -> bool:
    """Whether a file of this name is a document whose pages have texts."""
    return name.lower().endswith(_SUFFIX)


def read_document_captions(file: Location) -> CaptionFile:
    """The captions of one document: a caption a passage, its `image` the page. Raises SourceError."""
    problems: list[str] = []
    lines = tuple(read_page_captions(file, "", problems))
    if not lines:
        raise SourceError(f"{file} has no text{''.join(f': {problem}' for problem in problems)}")
    return CaptionFile(lines, (), "the text of its pages")


def read_page_captions(file: Location, prefix: str, problems: list[str]) -> Iterator[CaptionLine]:
    """The captions of a document's pages; what is wrong with it goes to `problems`.

    prefix: what `image` begins with, before the name of a page.
    """
    try:
        if (missing := why_missing(file.name)) is not None:
            raise ImageError("identify", missing)
        for page, text in read_page_texts(FileRange(local_path(str(file)))):
            name = f"{prefix}page={page}"
            for ordinal, passage in enumerate(passages(text)):
                yield CaptionLine(ordinal, passage, name, name, stem=True)
    except ImageError as error:
        problems.append(f"{prefix.removesuffix(MEMBER) or file.name}: {error.reason}")
    except OSError as error:
        problems.append(f"{prefix.removesuffix(MEMBER) or file.name}: {error.strerror or error}")


def passages(text: str) -> list[str]:
    """A text in pieces of at most 300 characters: whole sentences where they fit, else whole words.

    >>> passages("One. " * 100)[0].count("One.")
    60
    """
    found: list[str] = []
    for sentence in _SENTENCE.split(text):
        for piece in _fitting(sentence.strip()):
            if found and len(found[-1]) + 1 + len(piece) <= _LONGEST:
                found[-1] += f" {piece}"
            elif piece:
                found.append(piece)
    return found


def _fitting(sentence: str) -> Iterator[str]:
    while len(sentence) > _LONGEST:
        end = sentence.rfind(" ", 0, _LONGEST + 1)
        end = _LONGEST if end <= 0 else end
        yield sentence[:end].strip()
        sentence = sentence[end:].strip()
    yield sentence
