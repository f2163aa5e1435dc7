"""What agents can do with a gallery: look, and nothing else. Functions from arguments to answers; no protocol here.

Each is answered by the newest version of the gallery. What goes wrong is told in a sentence that names no place of this
machine, unless paths are shown.
"""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from pydantic import BaseModel

from mmsearch.agents.arguments import (
    MOST_HITS,
    MOST_LOOKED_AT,
    DescribeArguments,
    FacetsArguments,
    LookArguments,
    MoreLikeArguments,
    SearchArguments,
)
from mmsearch.agents.conditions import Conditions
from mmsearch.agents.messages import (
    CountBody,
    FacetBody,
    FacetsBody,
    GalleryBody,
    LimitsBody,
    LookBody,
    LookedAtBody,
    clipped,
    describe_answer,
    describe_details,
)
from mmsearch.agents.pictures import EDGE, PICTURE_BYTES, draw_answer, draw_strip, draw_within
from mmsearch.errors import EncoderError, ImageError, MmsearchError, QueryError, StoreError
from mmsearch.gallery import CaptionOf, Gallery, read_consistently
from mmsearch.gallery.positions import knows_places
from mmsearch.items import CAPTIONS, IMAGES, ImageRow, kinds
from mmsearch.names import printable
from mmsearch.search.counting import FACETS, count_facet, count_folders
from mmsearch.search.gallery_files import FileGone, NoSuchImage, image_row, read_content
from mmsearch.search.near import remark_on
from mmsearch.search.open_gallery import OpenGallery
from mmsearch.search.query import ItemPart, Part, Query, TextPart

__all__ = ["ANSWER_BYTES", "VALUES", "GalleryTools", "Tool", "ToolAnswer"]

ANSWER_BYTES = 1_000_000
"""Of an answer as it is sent: its pictures in base64, and its text twice."""

VALUES = 20  # of a facet
_VALUE_CHARACTERS = 80
_TRIES = 3  # on ever newer versions, where one loses its files
_STRIP = 5  # frames
_BESIDE_PICTURES = 2.0  # the weight of words: scores of pictures with each other differ more than those with words

_NOT_POSSIBLE = (
    "Nothing can be added, changed, moved or deleted.",
    "Original files are not given: pictures are at most 1,024 pixels wide or high, and without EXIF.",
    "People are not known by name, nor is writing read, unless a title, a caption or a keyword says it; no exact count "
    "of what is to be seen exists: a search ranks.",
    "Pictures from elsewhere cannot be asked with, only those of the gallery.",
)


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What a tool answers. pictures: JPEGs, each with what it shows."""

    body: BaseModel
    pictures: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True, slots=True)
class Tool:
    """One thing that agents can do.

    Attributes:
        description: For them.
        arguments, body: What it takes and answers.
        work: Does it.
    """

    name: str
    title: str
    description: str
    arguments: type[BaseModel]
    body: type[BaseModel]
    work: Callable[["GalleryTools", Any], ToolAnswer]


class GalleryTools:
    """The tools over a gallery, for any number of threads."""

    def __init__(self, newest: Callable[[], OpenGallery], *, paths: bool = False) -> None:
        """newest: gives the newest version. paths: whether agents are told paths of files and folders."""
        self._newest, self._paths = newest, paths
        self._places: Sequence[str] = ()

    def answer(self, tool: Tool, arguments: BaseModel) -> ToolAnswer:
        """What a tool answers. Raises MmsearchError, whose message is for the agent."""
        try:
            return tool.work(self, arguments)
        except QueryError as error:
            raise QueryError(self._without_places(str(error))) from error
        except EncoderError as error:
            _complain(error)
            raise EncoderError(
                "the model of this gallery cannot be loaded here, so that words cannot be asked with; pictures can: "
                "more_like, or search with like. Whoever runs this finds the reason on its standard error"
            ) from error
        except MmsearchError as error:
            _complain(error)
            raise MmsearchError(
                "the gallery cannot be read now; whoever runs this finds the reason on its standard error"
            ) from error

    def describe(self, _: DescribeArguments) -> ToolAnswer:
        """What there is."""
        opened = self._opened()
        gallery = opened.gallery
        years = sorted((int(year), count) for year, count in count_facet(opened, "year"))
        pictures = gallery.live_rows(IMAGES.name)
        scores = opened.retriever.scores(IMAGES.name)
        calibrated = scores is not None and scores.record.chances is not None
        facets = [name for name in self._facets() if self._counts(opened, name, None)]
        known = _known_columns(gallery, facets)
        body = GalleryBody(
            pictures=pictures,
            captions=gallery.live_rows(CAPTIONS.name),
            other_items={
                kind.name: rows
                for kind in kinds()
                if kind not in (IMAGES, CAPTIONS) and (rows := gallery.live_rows(kind.name))
            },
            model=self._model(gallery),
            calibrated=calibrated,
            scores=_CALIBRATED if calibrated else _NOT_CALIBRATED,
            from_year=str(years[0][0]) if years else None,
            to_year=str(years[-1][0]) if years else None,
            undated=pictures - sum(count for _, count in years),
            conditions=[name for name, columns in Conditions.reads().items() if known.issuperset(columns)],
            facets=facets,
            limits=LimitsBody(
                hits=MOST_HITS, pictures_looked_at=MOST_LOOKED_AT, picture_pixels=EDGE, bytes=ANSWER_BYTES
            ),
            not_possible=[*_NOT_POSSIBLE, *([] if self._paths else [_NO_PATHS])],
            untrusted_folders=self._folders(gallery),
            version=gallery.manifest.version,
        )
        return ToolAnswer(body)

    def search(self, asked: SearchArguments) -> ToolAnswer:
        """Hits for words, pictures or both. Raises QueryError."""
        if not asked.like and not (asked.text or "").strip():
            raise QueryError("nothing is asked: give text, as in 'a red boat', or like, row ids of pictures")
        weight = _BESIDE_PICTURES if asked.like else 1.0
        words: list[Part] = [TextPart(asked.text, weight)] if asked.text and asked.text.strip() else []
        away: list[Part] = [
            ItemPart(each, -1.0) if isinstance(each, int) else TextPart(each, -1.0) for each in asked.avoid
        ]
        parts = [*words, *(ItemPart(row_id) for row_id in asked.like), *away]
        return self._hits(parts, asked.where, asked.k, sheet=asked.sheet)

    def more_like(self, asked: MoreLikeArguments) -> ToolAnswer:
        """Hits for one picture, which is not among them. Raises QueryError."""
        return self._hits([ItemPart(asked.row_id)], asked.where, asked.k, sheet=asked.sheet)

    def look(self, asked: LookArguments) -> ToolAnswer:
        """Some pictures, and what is known of them."""
        opened = self._opened()
        gallery = opened.gallery
        row_ids = list(dict.fromkeys(asked.row_ids))
        bodies: list[LookedAtBody] = []
        pictures: list[tuple[str, bytes]] = []
        for row_id in row_ids:
            try:
                row = image_row(gallery, row_id)
            except NoSuchImage:
                bodies.append(LookedAtBody(row_id=row_id, problem="the gallery holds no picture with this row id"))
                continue
            problem, strip_s = None, None
            try:
                strip = _moment(opened, row_id, row)
                most_bytes = PICTURE_BYTES // len(row_ids)
                if len(strip) > 1:
                    drawn = draw_strip(strip, most_bytes)
                    strip_s = [seconds for seconds, _ in strip]
                else:
                    drawn = draw_within(read_content(gallery, row).data, most_bytes)
                pictures.append((f"row {row_id}", drawn))
            except (FileGone, ImageError, StoreError) as error:
                problem = f"it cannot be shown: {self._without_places(str(error))}"
            captions = read_consistently(gallery, partial(_captions, row=row))
            details = describe_details(row, captions, paths=self._paths)
            bodies.append(LookedAtBody(row_id=row_id, problem=problem, strip_s=strip_s, **details))
        return ToolAnswer(LookBody(pictures=bodies, version=gallery.manifest.version), pictures)

    def facets(self, asked: FacetsArguments) -> ToolAnswer:
        """The values that are frequent. Raises QueryError."""
        opened = self._opened()
        where = self._filter(opened.gallery, asked.where)
        if asked.by is not None and "folder" in asked.by and not self._paths:
            raise QueryError(_NO_PATHS)
        facets = {}
        for name in self._facets() if asked.by is None else dict.fromkeys(asked.by):
            values = self._counts(opened, name, where)
            if values:
                counted = [
                    CountBody(untrusted_value=clipped(value, _VALUE_CHARACTERS), count=count)
                    for value, count in values[:VALUES]
                ]
                facets[name] = FacetBody(values=counted, others=max(0, len(values) - VALUES))
        return ToolAnswer(FacetsBody(facets=facets, version=opened.gallery.manifest.version))

    def _opened(self) -> OpenGallery:
        """The newest version. Raises GalleryError."""
        opened = self._newest()
        gallery = opened.gallery
        self._places = [str(gallery.path), *(str(gallery.root_path(root.id)) for root in gallery.manifest.roots)]
        return opened

    def _hits(self, parts: Sequence[Part], where: Conditions | None, k: int, *, sheet: bool) -> ToolAnswer:
        for left in reversed(range(_TRIES)):
            opened = self._opened()
            gallery = opened.gallery
            _require_live(gallery, [part.item for part in parts if isinstance(part, ItemPart)])
            try:
                (answer,) = opened.ask_all([Query(parts, k=k, where=self._filter(gallery, where))])
            except MmsearchError:
                if left and self._newest() is not opened:
                    continue  # a file went between the finding of a row and the reading of it
                raise
            if isinstance(answer, MmsearchError):
                raise answer
            body = describe_answer(answer, gallery.manifest.version, paths=self._paths)
            place = remark_on(where.near) if where is not None and where.near is not None else None
            body.about = [self._without_places(line) for line in (*([place] if place else []), *body.about)]
            drawn = sheet and answer.hits
            return ToolAnswer(body, [("all hits, by rank", draw_answer(answer, gallery))] if drawn else [])
        raise AssertionError("the last try returns or raises")

    def _filter(self, gallery: Gallery, where: Conditions | None) -> str | None:
        """The conditions as SQL. Raises QueryError where the gallery does not know what they are about."""
        if where is None:
            return None
        if where.folder is not None and not self._paths:
            raise QueryError(_NO_PATHS)
        if missing := sorted(where.columns() - {*gallery.schema(IMAGES.name).names}):
            raise QueryError(f"the pictures of this gallery have no {', '.join(missing)}; leave these conditions out")
        if where.near is not None and not read_consistently(gallery, knows_places):
            raise QueryError("where these pictures were taken is not known; leave near out")
        return where.to_sql()

    def _facets(self) -> list[str]:
        named = [name for name in ("year", "camera", "lens", "city", "country", "rating") if name in FACETS]
        return [*named, *(["folder"] if self._paths else [])]

    def _counts(self, opened: OpenGallery, facet: str, where: str | None) -> list[tuple[str, int]]:
        if facet != "folder":
            return count_facet(opened, facet, where)
        found = [
            folder for root in opened.gallery.manifest.roots for folder in count_folders(opened, root.id, "", where)
        ]
        return sorted(((folder.path, folder.count) for folder in found), key=lambda pair: (-pair[1], pair[0]))

    def _folders(self, gallery: Gallery) -> list[str] | None:
        if not self._paths:
            return None
        return [clipped(str(gallery.root_path(root.id)), 2 * _VALUE_CHARACTERS) for root in gallery.manifest.roots][
            :VALUES
        ]

    def _model(self, gallery: Gallery) -> str:
        """The model, without the folder that it may have come from."""
        spec = gallery.manifest.encoder.spec
        named = _PLACED.match(spec)
        if named is not None and not self._paths and named["kind"] != "hf-hub:":
            spec = named["kind"] + named["name"]
        return clipped(spec, _VALUE_CHARACTERS)

    def _without_places(self, message: str) -> str:
        """A message that names neither the gallery's folder nor those of its pictures, unless paths are shown."""
        for place in [] if self._paths else sorted(self._places, key=len, reverse=True):
            message = message.replace(place, "(a folder)")
        return printable(message)


_CALIBRATED = "The chance that a hit fits is known of queries of one text: probability, and `fits` of the whole answer."
_NOT_CALIBRATED = (
    "Not calibrated: whether hits fit is not known, and there is always a best one. Look at them before you answer."
)
_NO_PATHS = "Paths and folders are not shown here; whoever runs this shows them with --paths."


_PLACED = re.compile(r"(?P<kind>[\w.-]+[:/]).*[/\\](?P<name>[^/\\]+)[/\\]*", re.DOTALL)
"""A model in a folder: `local-dir:/home/me/model`, `ViT-B-32//home/me/weights.pt`."""


def _known_columns(gallery: Gallery, facets: Sequence[str]) -> set[str]:
    """The columns that conditions may go by: those in which something is known of any picture."""
    columns = {"width", "height", *({"year": "taken_at", "folder": "path"}.get(name, name) for name in facets)}
    return columns | ({"lat", "lon"} if knows_places(gallery) else set())


def _complain(error: BaseException) -> None:
    print(f"mmsearch: warning: {printable(str(error))}", file=sys.stderr, flush=True)


def _moment(opened: OpenGallery, row_id: int, row: ImageRow) -> list[tuple[float, bytes]]:
    """The frames around one of a film, it among them, each with its second; none of what is no frame, or alone.

    A frame that cannot be read is left out. Raises FileGone, ImageError, StoreError where that is the one asked for.
    """
    spans = None if row.start_s is None else opened.retriever.file_spans(IMAGES.name)
    if spans is None:
        return []
    (file,) = spans.files_of(np.array([row_id], np.int64)).tolist()
    near = spans.frames_of(file).row_ids.tolist()
    place = near.index(row_id)
    first = max(0, min(place - _STRIP // 2, len(near) - _STRIP))
    strip: list[tuple[float, bytes]] = []
    for each in near[first : first + _STRIP]:
        try:
            frame = image_row(opened.gallery, each)
            strip.append((frame.start_s or 0.0, read_content(opened.gallery, frame).data))
        except (FileGone, ImageError, NoSuchImage, StoreError):
            if each == row_id:
                raise
    return strip


def _captions(gallery: Gallery, row: ImageRow) -> list[CaptionOf]:
    return gallery.captions_of(row.root_id, row.path)


def _is_live(gallery: Gallery, row_id: int) -> bool:
    return gallery.is_live(IMAGES.name, row_id)


def _require_live(gallery: Gallery, items: Sequence[object]) -> None:
    """Raises QueryError for a row id that no picture has."""
    for item in items:
        if not isinstance(item, int) or not read_consistently(gallery, partial(_is_live, row_id=item)):
            raise QueryError(f"the gallery holds no picture with the row id {item}")
