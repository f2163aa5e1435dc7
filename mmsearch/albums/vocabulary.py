"""The words that albums are named with: those that come along, or a file of one's own.

`words.txt` was written by hand for this: some 1,100 everyday things, places, weathers, doings and kinds of pictures.
"""

import os
from importlib.resources import files
from pathlib import Path

from mmsearch.errors import QueryError
from mmsearch.locations import expanded
from mmsearch.stores import read_lines

__all__ = ["general_words", "read_words"]

_LONGEST = 200  # characters of a name


def general_words() -> list[str]:
    """The words that come along."""
    text = files("mmsearch.albums").joinpath("words.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line]


def read_words(file: str | os.PathLike[str]) -> list[str]:
    """The words in a file, a word or a few a line, each once whatever its capitals. Raises QueryError."""
    try:
        lines = read_lines(expanded(file))
    except OSError as error:
        raise QueryError(f"cannot read the words in {Path(file)}: {(error.strerror or str(error)).lower()}") from error
    words: dict[str, str] = {}
    for line in lines:
        word = " ".join(line.split())
        if word:
            words.setdefault(word.casefold(), word)
    if not words:
        raise QueryError(f"{Path(file)} holds no words: write a word or a few a line, as in: birthday party")
    if long := next((word for word in words.values() if len(word) > _LONGEST), None):
        raise QueryError(f"{Path(file)} holds a line of {len(long):,} characters; write a word or a few a line")
    return [*words.values()]
