"""What is asked: texts, pictures and items of the gallery, each with a weight, and what the answer may contain.

The parts of a query become one vector: each is a unit vector, they are added up by their weights, and the sum is
normalised again. The ranking is then that of the weighted sum of the parts' own scores.
"""

import math
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.budget import TEXT_CHARACTERS
from mmsearch.errors import MmsearchWarning, QueryError
from mmsearch.items import ItemTable
from mmsearch.locations import expanded
from mmsearch.names import on_disk

__all__ = [
    "NEAR_DUPLICATE",
    "SLOT",
    "Known",
    "Like",
    "Part",
    "Picture",
    "Query",
    "Text",
    "combined",
    "filled_characters",
    "typed",
    "weighted",
]

_Path = str | os.PathLike[str]

NEAR_DUPLICATE = 0.97
"""The cosine from which two items count as near-duplicates.

Of 500 different COCO photos under CLIP ViT-B/16 no two reach it: the closest pair has 0.963. Postcards saved again at
JPEG quality 50 or at half their size do under the bundled model (tests/test_ask.py)."""

SLOT = "{}"
"""Where a template takes the text."""

# As Lucene writes boosts. Only a number at the very end counts, so that "x^2 + y^2 = r" needs nothing, and "x^2" is
# asked for as "x^2^1".
_WEIGHTED = re.compile(r"(?P<what>.*)\^(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))", re.DOTALL)
_URL = re.compile(r"(https?|ftp|file|data):", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Text:
    """Ask with words."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Picture:
    """Ask with a picture, a file or an object (s3://…) anywhere. One whose content the gallery holds needs no model."""

    file: _Path
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Like:
    """Ask with a picture of the gallery, which is left out of the answer. Its file need not be there any more.

    path: of the file, or as the gallery says it, relative to its root; or its row id.
    """

    path: _Path | int
    weight: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Ask with a vector that is there already: float32 (dim,), L2-normalised, of the gallery's encoder.

    name: how people call what it is of.
    """

    vector: NDArray[np.float32]
    name: str
    weight: float = 1.0


Part: TypeAlias = Text | Picture | Like | Known


@dataclass(frozen=True, slots=True)
class Query:
    """A question to a gallery.

    parts: what is asked with; a negative weight leads away from it. k: how many hits, at most. table: among what.
    offset: so many of the best are passed over: the hits are those ranked offset + 1 to offset + k.
    templates: each text is put into each of these in the place of {}, and the mean of the unit vectors counts.
    where: an SQL expression over the columns of the table; only rows for which it is true are looked at.
    min_score: hits that score less are left out.
    distinct: hits with at least this cosine to a better hit (or to what they should be `Like`) are left out.
    id: its name in a TREC run. title: how people call it; by default made from its parts.
    Raises QueryError where it cannot have an answer.
    """

    parts: Sequence[Part]
    k: int = 10
    offset: int = 0
    table: ItemTable = "images"
    templates: Sequence[str] = ()
    where: str | None = None
    min_score: float | None = None
    distinct: float | None = None
    id: str = "1"
    title: str = ""

    def __post_init__(self) -> None:
        if not self.parts:
            raise QueryError(
                'nothing is asked: give a text, as in mmsearch query "sunset over mountains", '
                "a picture (--image FILE) or an item of the gallery (--like PATH)"
            )
        if self.k < 1:
            raise QueryError(f"k is {self.k}; ask for at least one hit")
        if self.offset < 0:
            raise QueryError(f"the offset is {self.offset}; hits are passed over from 0 on")
        for part in self.parts:
            _check(part)
        for template in self.templates:
            if SLOT not in template:
                raise QueryError(f'the template "{template}" has no {SLOT} where the text should go')
        for part in self.parts:
            if isinstance(part, Text):
                for template in self.templates or [SLOT]:
                    _require_readable(template, part.text)
        for name, cosine in (("the lowest score", self.min_score), ("the cosine of near-duplicates", self.distinct)):
            if cosine is not None and not -1 <= cosine <= 1:
                raise QueryError(f"{name} is {cosine}; scores are cosines, between -1 and 1")
        if not self.title:
            object.__setattr__(self, "title", _title(self.parts))

    @classmethod
    def of(cls, text: str, k: int = 10) -> "Query":
        """The k best pictures for a text."""
        return cls([Text(text)], k=k)

    def conditions(self) -> list[str]:
        """What limits the answer, for people."""
        return [
            *(f'in "{template}"' for template in self.templates),
            *([f"where {self.where}"] if self.where else []),
            *([f"score at least {self.min_score:g}"] if self.min_score is not None else []),
            *(["near-duplicates left out"] if self.distinct is not None else []),
        ]


def typed(
    text: str | None,
    *,
    also: Sequence[str] = (),
    away: Sequence[str] = (),
    pictures: Sequence[str] = (),
    like: Sequence[str] = (),
) -> list[Part]:
    """The parts of a query as they are typed, each with its weight at its end, as in beach^2.

    text, also: words. away: words to keep away from, whose weight counts against. pictures: files. like: items.
    """
    words = [*([] if text is None else [text]), *also]
    for word in words:
        if _is_file(word):
            asked = f"{word} is a file, and was asked for by its name; to ask with the picture: --image {word}"
            warnings.warn(asked, MmsearchWarning, stacklevel=2)
    return [
        *(Text(*weighted(word)) for word in words),
        *(Picture(*(file, 1.0) if _is_file(file) else weighted(file)) for file in pictures),
        *(Like(*(path, 1.0) if _is_file(path) else weighted(path)) for path in like),
        *(Text(what, -weight) for what, weight in map(weighted, away)),
    ]


def filled_characters(template: str, text: str) -> int:
    """How long a text is in its template, without putting it there.

    >>> filled_characters("{} and {}", "dog") == len("dog and dog")
    True
    """
    slots = template.count(SLOT)
    return len(template) + slots * (len(text) - len(SLOT))


def _require_readable(template: str, text: str) -> None:
    if (length := filled_characters(template, text)) > TEXT_CHARACTERS:
        inside = "" if template == SLOT else ", as it stands in its template"
        raise QueryError(
            f"a text of {length:,} characters{inside}; at most {TEXT_CHARACTERS:,} are looked at, and models "
            "read some dozen words"
        )


def weighted(what: str) -> tuple[str, float]:
    """What is asked with, and its weight, as they are typed.

    >>> weighted("beach"), weighted("beach^2"), weighted("people^-0.5"), weighted("x^2^1")
    (('beach', 1.0), ('beach', 2.0), ('people', -0.5), ('x^2', 1.0))
    """
    found = _WEIGHTED.fullmatch(what)
    return (found["what"], float(found["weight"])) if found else (what, 1.0)


def combined(vectors: Sequence[NDArray[np.float32]], weights: Sequence[float]) -> NDArray[np.float32]:
    """Unit vectors (dim,) added up by their weights, as a unit vector. One alone with weight 1 stays as it is.

    Raises QueryError where they cancel out.

    >>> combined([np.array([1, 0], np.float32), np.array([0, 1], np.float32)], [3, -4]).round(3).tolist()
    [0.6000000238418579, -0.800000011920929]
    """
    if len(vectors) == 1 and weights[0] == 1:
        return vectors[0]
    total = np.einsum("n,nd->d", np.asarray(weights, np.float64), np.asarray(vectors, np.float64))
    length = float(np.linalg.norm(total))
    if length < 1e-3 * max(map(abs, weights)):
        raise QueryError("the parts of the query cancel out: nothing is left to look for")
    direction: NDArray[np.float32] = (total / length).astype(np.float32)
    return direction


def _check(part: Part) -> None:
    if not math.isfinite(part.weight) or part.weight == 0:
        raise QueryError(f"a weight of {part.weight:g} in the query; use a number other than 0, as in beach^2")
    if isinstance(part, Text):
        if not part.text.strip():
            raise QueryError('the query is empty; say what to look for, as in: mmsearch query "sunset over mountains"')
        return
    if isinstance(part, Known) or isinstance(part.path if isinstance(part, Like) else None, int):
        return
    name = _file(part)
    if _URL.match(name):
        raise QueryError(f"{name} is a URL, and pictures are read from files. Download it first: curl -O {name}")


def _is_file(name: str) -> bool:
    try:
        return Path(on_disk(str(expanded(name).absolute()))).is_file()
    except (OSError, ValueError, RuntimeError):  # too long for a name, a null byte, a home of nobody
        return False


def _title(parts: Sequence[Part]) -> str:
    """The parts as people would write them: "2 × beach + dog.jpg − people"."""
    words = []
    for place, part in enumerate(parts):
        sign = "" if place == 0 and part.weight > 0 else "− " if part.weight < 0 else "+ "
        times = "" if abs(part.weight) == 1 else f"{abs(part.weight):g} × "
        words.append(f"{sign}{times}{_name(part)}")
    return " ".join(words)


def _name(part: Part) -> str:
    if isinstance(part, Text):
        return part.text
    if isinstance(part, Known):
        return f"like {part.name}"
    if isinstance(part, Like) and isinstance(part.path, int):
        return f"like picture {part.path}"
    return f"like {os.path.basename(_file(part))}"  # noqa: PTH119 - a name, not a place


def _file(part: Picture | Like) -> str:
    file = part.file if isinstance(part, Picture) else part.path
    return str(file) if isinstance(file, int) else os.fspath(file)
