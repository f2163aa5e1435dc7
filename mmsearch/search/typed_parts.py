"""Parts of a query as people type them: words, files and items, each with its weight at its end, as in beach^2; of a
file or an item a part of the picture, as in dog.jpg#box=0,0,0.5,0.5."""

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from mmsearch.boxes import Box
from mmsearch.errors import MmsearchWarning
from mmsearch.locations import expanded
from mmsearch.names import on_disk, shell_quoted
from mmsearch.search.query import ImagePart, ItemPart, MarkPart, Part, TextPart

__all__ = ["image_part", "item_part", "typed_parts", "weighted"]

# As Lucene writes boosts. Only a number at the very end counts, so that "x^2 + y^2 = r" needs nothing, and "x^2" is
# asked for as "x^2^1".
_WEIGHTED = re.compile(r"(?P<what>.*)\^(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))", re.DOTALL)

_BOX = "#box="
"""Between a picture and the part of it that is asked with."""


def typed_parts(
    text: str | None,
    *,
    also: Sequence[str] = (),
    away: Sequence[str] = (),
    pictures: Sequence[str] = (),
    like: Sequence[str] = (),
    right: Sequence[str] = (),
    wrong: Sequence[str] = (),
) -> list[Part]:
    """The parts of a query as they are typed.

    text, also: words. away: words to keep away from, whose weight counts against. pictures: files. like: items.
    Raises QueryError (no box).
    right, wrong: items that are marked so.
    """
    words = [*([] if text is None else [text]), *also]
    for word in words:
        if _is_file(word):
            instead = f"--image {shell_quoted(word)}"
            asked = f"{word} is a file, and was asked for by its name; to ask with the picture: {instead}"
            warnings.warn(asked, MmsearchWarning, stacklevel=2)
    return [
        *(TextPart(*weighted(word)) for word in words),
        *map(image_part, pictures),
        *map(item_part, like),
        *(TextPart(words, -weight) for words, weight in map(weighted, away)),
        *(MarkPart(path) for path in right),
        *(MarkPart(path, -1.0) for path in wrong),
    ]


def image_part(typed: str | os.PathLike[str]) -> ImagePart:
    """A file to ask with. Raises QueryError (no box)."""
    return ImagePart(*_named_weight_and_box(os.fspath(typed)))


def item_part(typed: str) -> ItemPart:
    """An item of the gallery to ask with. Raises QueryError (no box)."""
    return ItemPart(*_named_weight_and_box(typed))


def _named_weight_and_box(typed: str) -> tuple[str, float, Box | None]:
    """What is named by what was typed; a file that has such a name is that file, whatever it says."""
    if _is_file(typed):
        return typed, 1.0, None
    named, weight = weighted(typed)
    if _is_file(named):
        return named, weight, None
    name, mark, box = named.rpartition(_BOX)
    return (name, weight, Box.read(box)) if mark else (named, weight, None)


def weighted(typed: str) -> tuple[str, float]:
    """What is asked with, and its weight.

    >>> weighted("beach"), weighted("beach^2"), weighted("people^-0.5"), weighted("x^2^1")
    (('beach', 1.0), ('beach', 2.0), ('people', -0.5), ('x^2', 1.0))
    """
    match = _WEIGHTED.fullmatch(typed)
    return (match["what"], float(match["weight"])) if match else (typed, 1.0)


def _is_file(name: str) -> bool:
    try:
        return Path(on_disk(str(expanded(name).absolute()))).is_file()
    except (OSError, ValueError, RuntimeError):  # too long for a name, a null byte, a home of nobody
        return False
