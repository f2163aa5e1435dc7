"""What is asked: texts, images and items of the gallery, each with a weight, and what the answer may contain.

The parts of a query become one vector: each is a unit vector, they are added up by their weights, and the sum is
normalised again. The ranking is then that of the weighted sum of the parts' own scores.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.boxes import Box
from mmsearch.budget import MOST_RERANKED, RERANKED, TEXT_CHARACTERS
from mmsearch.errors import QueryError
from mmsearch.items import BOTH, DEFAULT_KIND, IMAGES, askable, kind
from mmsearch.names import is_unicode, shown
from mmsearch.search.near import filter_near, require_positions

__all__ = [
    "CORRECTIONS",
    "NEAR_DUPLICATE",
    "PER_VIDEO",
    "PLUS_SCORE",
    "RERANK_BY",
    "SLOT",
    "SORTS",
    "ImagePart",
    "ItemPart",
    "MarkPart",
    "Part",
    "Query",
    "TextPart",
    "VectorPart",
    "filled_characters",
    "parts_from_json",
]

_Path = str | os.PathLike[str]

NEAR_DUPLICATE = 0.97
"""The cosine from which two items count as near-duplicates.

Of 500 different COCO photos under CLIP ViT-B/16 no two reach it: the closest pair has 0.963. Postcards saved again at
JPEG quality 50 or at half their size do under the bundled model (tests/test_ask.py)."""

PLUS_SCORE = "logit+score"
RERANK_BY = ("logit", PLUS_SCORE)
CORRECTIONS = ("measured", "general", "none")
SORTS = ("rank", "date")
PER_VIDEO = ("max", "mean")

SLOT = "{}"
"""Where a template takes the text."""

_URL = re.compile(r"(https?|ftp|file|data):", re.IGNORECASE)
_CONTENT_HASH = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class TextPart:
    """Ask with words."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ImagePart:
    """Ask with an image. One whose content the gallery holds needs no model.

    image: a file or an object (s3://…) anywhere; or the content hash (16 bytes) of an image that the gallery holds.
    box: the part of it that is asked with, of a file only; None for all of it.
    """

    image: _Path | bytes
    weight: float = 1.0
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class ItemPart:
    """Ask with an image of the gallery, which is left out of the answer. Its file need not be there any more, unless a
    part of it is asked with.

    item: its file, or its path as the gallery says it, relative to its root; or its row id.
    box: the part of it that is asked with; None for all of it.
    vector: of that part, where it is known: float32 (dim,), L2-normalised. Then the file need not be there.
    """

    item: _Path | int
    weight: float = 1.0
    box: Box | None = None
    vector: NDArray[np.float32] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, eq=False)
class VectorPart:
    """Ask with a vector that is there already: float32 (dim,), L2-normalised, of the gallery's encoder; or with those
    of a film or document, (n, dim), of which the one that an item is most like counts.

    name: how people call what it is of.
    """

    vector: NDArray[np.float32]
    name: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class MarkPart:
    """Teach the query with an image of the gallery that is marked as right or wrong (`mmsearch.scoring.teaching`). One
    that is wrong is left out of the answer.

    item: its file, or its path as the gallery says it, relative to its root; or its row id.
    weight: above 0 for right, below for wrong; how much the mark counts.
    vector: float32 (dim,), L2-normalised, where it is kept with the mark: then the image need not be there any more.
    """

    item: _Path | int
    weight: float = 1.0
    vector: NDArray[np.float32] | None = None


Part: TypeAlias = TextPart | ImagePart | ItemPart | VectorPart | MarkPart


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of a gallery.

    Attributes:
        parts: what is asked with; a negative weight leads away from it.
        k: how many hits, at most.
        offset: so many of the best are passed over: the hits are those ranked offset + 1 to offset + k.
        table: among what: a kind of item by its name, or `BOTH`.
        templates: each text is put into each of these in the place of {}, and the mean of the unit vectors counts.
        where: an SQL expression over the columns of the table; only rows for which it is true are looked at.
        near: only pictures that were taken near a place are looked at: "Lisbon 20km", "38.72,-9.14 20km", "Paris, US 5
            miles". Of several places of a name the largest.
        min_score: hits that score less are left out.
        min_probability: hits that are relevant with less of a chance are left out; the gallery has to be calibrated.
        distinct: hits with at least this cosine to a better hit (or to an item that is asked with) are left out.
        correct: how hits are corrected for hubs where the gallery was calibrated: "measured": as it was seen to help;
            "general": also where nothing was measured; "none".
        sort: "rank": best first; "date": what is likely relevant, newest first. The gallery has to be calibrated.
        rerank: the re-ranker that takes a second look at the best, as `rerankers.open_reranker` takes its name;
            None for none. It looks at a picture and a text: the query is one text, and looks among pictures.
        rerank_by: what it ranks by: "logit": its own value; "logit+score": that plus the score, as BLIP was evaluated.
        depth: so many of the best candidates are re-ranked.
        within: seconds after which no further candidates are re-ranked, counted from the first; None: all are.
        each: every page and tile of a file, and every moment of a film, is a hit; else the best of a file is one.
        per_video: what films are ranked by: "max": by their best frame; "mean": by the mean of all their frames.
        id: its name in a TREC run.
        title: how people call it; by default made from its parts.

    Raises QueryError where it cannot have an answer.
    """

    parts: Sequence[Part]
    k: int = 10
    offset: int = 0
    table: str = DEFAULT_KIND.name
    templates: Sequence[str] = ()
    where: str | None = None
    near: str | None = None
    min_score: float | None = None
    min_probability: float | None = None
    distinct: float | None = None
    correct: str = "measured"
    sort: str = "rank"
    rerank: str | None = None
    rerank_by: str = "logit"
    depth: int = RERANKED
    within: float | None = None
    each: bool = False
    per_video: str = "max"
    id: str = "1"
    title: str = ""

    def __post_init__(self) -> None:
        if not self.parts:
            raise QueryError(
                'nothing is asked: give a text, as in mmsearch query "sunset over mountains", '
                "a picture (--image FILE) or an item of the gallery (--like PATH)"
            )
        if all(isinstance(part, MarkPart) and part.weight < 0 for part in self.parts):
            raise QueryError("nothing is asked but what is wrong: say what to look for, or mark what is right (--yes)")
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
            if isinstance(part, TextPart):
                for template in self.templates or [SLOT]:
                    _require_readable(template, part.text)
        for name, cosine in (("the lowest score", self.min_score), ("the cosine of near-duplicates", self.distinct)):
            if cosine is not None and not -1 <= cosine <= 1:
                raise QueryError(f"{name} is {cosine}; scores are cosines, between -1 and 1")
        if self.min_probability is not None and not 0 <= self.min_probability <= 1:
            raise QueryError(f"the lowest probability is {self.min_probability}; it is between 0 and 1")
        for name, value, words in (
            ("correct", self.correct, CORRECTIONS),
            ("sort", self.sort, SORTS),
            ("rerank_by", self.rerank_by, RERANK_BY),
            ("per_video", self.per_video, PER_VIDEO),
        ):
            if value not in words:
                raise QueryError(f"{name} of a query is {value!r}; it is one of {', '.join(words)}")
        if self.near is not None:
            require_positions(self.table)
        if self.table != IMAGES.name and any(isinstance(part, MarkPart) for part in self.parts):
            raise QueryError(f"marks teach which pictures are right, not which {self.nouns}: ask with --in images")
        if self.table == BOTH and self.min_probability is not None:
            raise QueryError(
                "the probability of hits was measured for each kind by itself, and items of several kinds are not left "
                "out by it; look among one kind (--in images), or leave them out by their score (--min-score)"
            )
        if self.table == BOTH and self.sort != "rank":
            raise QueryError(f"items of several kinds are not sorted by {self.sort}; look among one kind: --in images")
        if self.each and self.per_video != "max":
            raise QueryError(f"a film has one {self.per_video}: of each of its moments there is none")
        self._check_rerank()
        if not self.title:
            object.__setattr__(self, "title", _title(self.parts))

    def _check_rerank(self) -> None:
        if not 1 <= self.depth <= MOST_RERANKED:
            raise QueryError(f"the depth is {self.depth:,}; from 1 to {MOST_RERANKED:,} candidates are re-ranked")
        if self.within is not None and not (math.isfinite(self.within) and self.within > 0):
            raise QueryError(f"within is {self.within} seconds; there has to be some time to re-rank in")
        if self.rerank is None:
            return
        (part, *others) = self.parts
        if others or self.templates or not isinstance(part, TextPart) or part.weight <= 0:
            raise QueryError(
                "a re-ranker looks at a picture and one text together: ask with a text alone, without a template"
            )
        if self.table != IMAGES.name:
            raise QueryError(f"a re-ranker looks at pictures, not at {self.nouns}: ask with --in images")
        if self.sort != "rank":
            raise QueryError(f"hits are in the order of a re-ranker, or by {self.sort}: not both")

    @classmethod
    def of(cls, text: str, k: int = 10) -> "Query":
        """The k best images for a text."""
        return cls([TextPart(text)], k=k)

    @property
    def filter(self) -> str | None:
        """What admits rows, as one SQL expression: `where` and `near`. Raises QueryError where that is no place."""
        return filter_near(self.where, self.near)

    @property
    def wanted(self) -> int:
        """How many ranks there is use for: those that are passed over and the hits."""
        return self.offset + self.k

    @property
    def looked_at(self) -> int:
        """How many candidates are needed for these ranks: those that are re-ranked among them."""
        return self.wanted if self.rerank is None else max(self.wanted, self.depth)

    @property
    def noun(self) -> str:
        """What people call one of what is looked among."""
        return "item" if self.table == BOTH else kind(self.table).noun

    @property
    def nouns(self) -> str:
        """What is looked among, in the plural, for people."""
        return "items" if self.table == BOTH else self.table

    def conditions(self) -> list[str]:
        """What limits the answer, for people."""
        return [
            *(["by how far each stands out among its kind"] if self.table == BOTH else []),
            *(f'in "{template}"' for template in self.templates),
            *([f"where {self.where}"] if self.where else []),
            *([f"near {self.near}"] if self.near else []),
            *([f"score at least {self.min_score:g}"] if self.min_score is not None else []),
            *([f"probability at least {self.min_probability:g}"] if self.min_probability is not None else []),
            *(["newest first, of what is likely relevant"] if self.sort == "date" else []),
            *(["every moment, page and tile"] if self.each else []),
            *(["films by the mean of their frames"] if self.per_video == "mean" else []),
            *(["near-duplicates left out"] if self.distinct is not None else []),
            *([f"the best {self.depth:,} re-ranked with {self.rerank}"] if self.rerank is not None else []),
        ]

    def to_json(self) -> dict[str, Any]:
        """The query as an object of JSON: the body of `POST /api/query`, a line of `--from-file`. What is as by default
        is left out, but for k.

        A part is an object of its weight and one of "text", "file" (an image), "picture" (the content hash of one, in
        hexadecimal digits), "like" (an item: its path or row id), "mark" (likewise; a negative weight says that it is
        wrong; with its "vector", where that is kept) and "vector" (numbers, or of a film a list of them for each of its
        vectors; with a "name"). Of "file" and "like" a "box" is the part that is asked with: left, top, right and
        bottom, in shares of the upright picture.

        >>> Query([TextPart("beach"), ItemPart(7, weight=-1.0)], k=3).to_json()
        {'parts': [{'text': 'beach'}, {'like': 7, 'weight': -1.0}], 'k': 3}
        """
        values = {field.name: getattr(self, field.name) for field in fields(Query)[1:] if field.name != "title"}
        given = {field.name: field.default for field in fields(Query)}
        said = {name: value for name, value in values.items() if name == "k" or value != given[name]}
        if "templates" in said:
            said["templates"] = [*said["templates"]]
        titled = {} if self.title == _title(self.parts) else {"title": self.title}
        return {"parts": [_part_to_json(part) for part in self.parts], **said, **titled}

    @classmethod
    def from_json(cls, value: object, *, parts: Sequence[Part] | None = None) -> "Query":
        """The query that `to_json` gives as this. "distinct": true stands for `NEAR_DUPLICATE`. Raises QueryError.

        parts: what it asks with, instead of its own.

        >>> Query.from_json({"parts": [{"text": "beach", "weight": 2}], "where": "width > 800"}).title
        '2 × beach'
        """
        given = dict(_object(value, "a query"))
        own_parts = given.pop("parts", None)
        if given.get("distinct") is True:
            given["distinct"] = NEAR_DUPLICATE
        if given.get("distinct") is False:
            given["distinct"] = None
        for name, field_value in given.items():
            if name not in _FIELDS:
                raise QueryError(f"a query has no {name!r}; it has parts, {', '.join(_FIELDS)}")
            _require(field_value, _FIELDS[name], f"{name} of a query")
        names = askable()
        if given.get("table", DEFAULT_KIND.name) not in names:
            raise QueryError(f"table of a query is {given['table']!r}; it is one of {', '.join(names)}")
        for template in given.get("templates", ()):
            _require(template, (str,), "a template")
        return cls(parts_from_json(own_parts) if parts is None else parts, **given)


def parts_from_json(value: object) -> list[Part]:
    """The parts of a query, as `Query.to_json` gives them. Raises QueryError."""
    if not isinstance(value, list):
        raise QueryError('a query has "parts": a list of objects, as in {"parts": [{"text": "beach"}]}')
    return [_part_from_json(part) for part in value]


_FIELDS: dict[str, tuple[type, ...]] = {
    "k": (int,),
    "offset": (int,),
    "table": (str,),
    "templates": (list,),
    "where": (str, type(None)),
    "near": (str, type(None)),
    "min_score": (float, int, type(None)),
    "min_probability": (float, int, type(None)),
    "distinct": (float, int, type(None)),
    "correct": (str,),
    "sort": (str,),
    "rerank": (str, type(None)),
    "rerank_by": (str,),
    "depth": (int,),
    "within": (float, int, type(None)),
    "each": (bool,),
    "per_video": (str,),
    "id": (str,),
    "title": (str,),
}


def _part_to_json(part: Part) -> dict[str, Any]:
    weight = {} if part.weight == 1 else {"weight": part.weight}
    if isinstance(part, TextPart):
        return {"text": part.text, **weight}
    if isinstance(part, VectorPart):
        return {"vector": part.vector.tolist(), "name": part.name, **weight}
    box = {} if not isinstance(part, ImagePart | ItemPart) or part.box is None else {"box": [*astuple(part.box)]}
    if isinstance(part, ItemPart | MarkPart):
        item = part.item if isinstance(part.item, int) else os.fspath(part.item)
        if isinstance(part, ItemPart):
            return {"like": item, **box, **weight}
        return {"mark": item, **weight, **({} if part.vector is None else {"vector": part.vector.tolist()})}
    if isinstance(part.image, bytes):
        return {"picture": part.image.hex(), **weight}
    return {"file": os.fspath(part.image), **box, **weight}


def _part_from_json(value: object) -> Part:
    given = dict(_object(value, "a part of a query"))
    weight = given.pop("weight", 1.0)
    _require(weight, (float, int), "the weight of a part")
    if "mark" in given:
        vector = _read_vectors([given.pop("vector")])[0] if "vector" in given else None
    name = given.pop("name", "a vector") if "vector" in given else ""
    box = _read_box(given.pop("box")) if {"box"} < given.keys() and given.keys() & {"file", "like"} else None
    if len(given) != 1 or next(iter(given)) not in ("text", "file", "picture", "like", "mark", "vector"):
        raise QueryError(
            "a part of a query is an object of one of text, file, picture, like, mark and vector, and a weight; "
            f"not of {', '.join(map(repr, given)) or 'none of them'}"
        )
    ((key, what),) = given.items()
    if key == "vector":
        _require(name, (str,), "the name of a vector")
        several = isinstance(what, list) and what and all(isinstance(each, list) for each in what)
        return VectorPart(_read_vectors(what) if several else _read_vectors([what])[0], name, weight)
    _require(what, (str, int) if key in ("like", "mark") else (str,), f"the {key} of a part")
    if key == "mark":
        return MarkPart(what, weight, vector)
    if key == "like":
        return ItemPart(what, weight, box)
    if key == "text":
        return TextPart(what, weight)
    if key == "file":
        return ImagePart(what, weight, box)
    if not _CONTENT_HASH.fullmatch(what):
        raise QueryError(f"the picture {what!r} is no content hash: 32 hexadecimal digits")
    return ImagePart(bytes.fromhex(what), weight)


def _read_vectors(values: Sequence[object]) -> NDArray[np.float32]:
    """(n, dim)"""
    for value in values:
        _require(value, (list,), "the vector of a part")
        assert isinstance(value, list)
        for number in value:
            _require(number, (float, int), "a number of a vector")
        if len(value) != len(values[0]):  # type: ignore[arg-type]
            raise QueryError("the vectors of a part differ in length")
    return np.array(values, np.float32)


def _read_box(value: object) -> Box:
    _require(value, (list,), "the box of a part")
    assert isinstance(value, list)
    for number in value:
        _require(number, (float, int), "a side of a box")
    if len(value) != 4:
        raise QueryError(f"a box is left, top, right and bottom, not {len(value)} numbers")
    return Box(*value)


def _object(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise QueryError(f"{name} is an object of JSON, not {type(value).__name__}")
    return value


def _require(value: object, types: tuple[type, ...], name: str) -> None:
    if (isinstance(value, bool) and bool not in types) or not isinstance(value, types):  # True is an int to Python
        raise QueryError(f"{name} is {value!r}; it is {_JSON_NAMES[types[0]]}")


_JSON_NAMES = {str: "a text", int: "a whole number", float: "a number", list: "a list", bool: "true or false"}


def filled_characters(template: str, text: str) -> int:
    """How long a text is in its template, without putting it there.

    >>> filled_characters("{} and {}", "dog") == len("dog and dog")
    True
    """
    slots = template.count(SLOT)
    return len(template) + slots * (len(text) - len(SLOT))


def _require_readable(template: str, text: str) -> None:
    for each in (template, text):
        if not is_unicode(each):
            raise QueryError(f'"{shown(each)}" is not UTF-8 text; what you type with has to be set to UTF-8')
    if (length := filled_characters(template, text)) > TEXT_CHARACTERS:
        inside = "" if template == SLOT else ", as it stands in its template"
        raise QueryError(
            f"a text of {length:,} characters{inside}; at most {TEXT_CHARACTERS:,} are looked at, and models "
            "read some dozen words"
        )


def _check(part: Part) -> None:
    if not math.isfinite(part.weight) or part.weight == 0:
        raise QueryError(f"a weight of {part.weight:g} in the query; use a number other than 0, as in beach^2")
    if isinstance(part, TextPart):
        if not part.text.strip():
            raise QueryError('the query is empty; say what to look for, as in: mmsearch query "sunset over mountains"')
        return
    if isinstance(part, ImagePart) and isinstance(part.image, bytes) and part.box is not None:
        raise QueryError("a part is of a file or an item, not of a picture that is known by its content alone")
    name = _file(part)
    if name is not None and _URL.match(name):
        raise QueryError(f"{name} is a URL, and pictures are read from files. Download it first: curl -O {name}")


def _title(parts: Sequence[Part]) -> str:
    """The parts as people would write them: "2 × beach + dog.jpg − people"."""
    words = []
    for position, part in enumerate(part for part in parts if not isinstance(part, MarkPart)):
        sign = "" if position == 0 and part.weight > 0 else "− " if part.weight < 0 else "+ "
        times = "" if abs(part.weight) == 1 else f"{abs(part.weight):g} × "
        words.append(f"{sign}{times}{_name(part)}")
    return " ".join([*words, *_title_of_marks([part for part in parts if isinstance(part, MarkPart)], first=not words)])


def _title_of_marks(marks: Sequence[MarkPart], *, first: bool) -> Iterator[str]:
    """How many were marked as right and as wrong: "+ 5 right − 3 wrong"."""
    right = sum(part.weight > 0 for part in marks)
    for count, word, sign in ((right, "right", "" if first else "+ "), (len(marks) - right, "wrong", "− ")):
        if count:
            yield f"{sign}{count} {word}"


def _name(part: TextPart | ImagePart | ItemPart | VectorPart) -> str:
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, VectorPart):
        return f"like {part.name}"
    file = _file(part)
    of = "like" if part.box is None else "like a part of"
    if file is None:
        return f"{of} picture {part.item}" if isinstance(part, ItemPart) else "like a picture"
    return f"{of} {os.path.basename(file)}"  # noqa: PTH119 - a name, not a place


def _file(part: ImagePart | ItemPart | VectorPart | MarkPart) -> str | None:
    """The path that a part names; None where it names none."""
    named = part.image if isinstance(part, ImagePart) else None if isinstance(part, VectorPart) else part.item
    return None if named is None or isinstance(named, int | bytes) else os.fspath(named)
