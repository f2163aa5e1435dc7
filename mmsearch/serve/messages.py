"""What goes over the wire: the bodies of requests, checked, and how answers look in the documentation of the API."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, create_model, model_validator
from pydantic_core import PydanticCustomError

from mmsearch.budget import REQUEST, RERANKED
from mmsearch.gallery import Gallery
from mmsearch.items import DEFAULT_KIND, IMAGES, AnyKind, askable, kinds
from mmsearch.search.answers import Answer
from mmsearch.search.gallery_files import images_of
from mmsearch.search.hits import record
from mmsearch.search.query import NEAR_DUPLICATE, SLOT, filled_characters
from mmsearch.serve.zips import MOST_CHOSEN

__all__ = [
    "AnswerBody",
    "AnswersBody",
    "ChosenBody",
    "ErrorBody",
    "ExplainBody",
    "ExplanationBody",
    "FacetBody",
    "FilesBody",
    "FoldersBody",
    "GalleryBody",
    "HealthBody",
    "ImageBody",
    "KeepBody",
    "KeptBody",
    "PartBody",
    "PictureBody",
    "PlacesBody",
    "QueriesBody",
    "QueryBody",
    "RowIdsBody",
    "SampleBody",
    "TimelineBody",
    "TimelinePicturesBody",
    "ZipBody",
    "answer_json",
    "to_json",
]

_LONGEST_PATH = 4_096
_LONGEST_NAME = 1_000


def _checked(name: str) -> str:
    if name not in (names := askable()):
        expected = " or ".join(map(repr, names))
        raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})
    return name


_Among = Annotated[str, AfterValidator(_checked), WithJsonSchema({"enum": askable(), "type": "string"})]
"""What is looked among: a kind of item, by its name, or several."""

RowId = Annotated[int, Field(ge=0, le=2**63 - 1)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class PartBody(_Message):
    """One thing to ask with: exactly one of text, picture, like, mark and kept."""

    text: str | None = Field(None, min_length=1, max_length=REQUEST.text_characters, description="Words.")
    picture: str | None = Field(
        None,
        pattern="^[0-9a-f]{32}$",
        description="A picture by its content hash: one that was uploaded, or one that the gallery holds.",
    )
    like: RowId | Annotated[str, Field(min_length=1, max_length=_LONGEST_PATH)] | None = Field(
        None, description="A picture of the gallery, left out of the answer: its row id, or its path."
    )
    mark: RowId | Annotated[str, Field(min_length=1, max_length=_LONGEST_PATH)] | None = Field(
        None,
        description="A picture of the gallery that is right, or wrong where its weight is negative: what the query "
        "looks for is learnt from such marks. One that is wrong is left out of the answer.",
    )
    kept: str | None = Field(
        None,
        min_length=1,
        max_length=_LONGEST_NAME,
        description="All that is kept under this name (`POST /api/kept`); one at most, of weight 1.",
    )
    box: Annotated[list[float], Field(min_length=4, max_length=4)] | None = Field(
        None,
        description="Of `like`: the part of the picture that is asked with: left, top, right and bottom, in shares of "
        "the upright picture.",
    )
    weight: float = Field(1.0, ge=-1e6, le=1e6, description="A negative one leads away from it.")

    @model_validator(mode="after")
    def _one(self) -> "PartBody":
        if self.box is not None and self.like is None:
            raise ValueError("a box is of like; of a picture that is sent: POST /api/pictures?box=")
        if sum(each is not None for each in (self.text, self.picture, self.like, self.mark, self.kept)) != 1:
            raise ValueError("give exactly one of text, picture, like, mark and kept")
        if self.kept is not None and self.weight != 1:
            raise ValueError("what is kept under a name has its own weights: leave its weight out")
        return self


class QueryBody(_Message):
    """A query to the gallery."""

    parts: list[PartBody] = Field(min_length=1, max_length=REQUEST.parts)
    k: int = Field(60, ge=1, le=REQUEST.hits, description="How many hits.")
    offset: int = Field(0, ge=0, lt=REQUEST.hits, description="Pass over so many of the best.")
    table: _Among = DEFAULT_KIND.name
    where: str | None = Field(
        None, max_length=REQUEST.filter_characters, description="An SQL expression over the columns of the table."
    )
    near: str | None = Field(
        None, max_length=200, description='Only pictures that were taken near a place, as "Lisbon 20km".'
    )
    min_score: float | None = Field(None, ge=-1, le=1)
    min_probability: float | None = Field(None, ge=0, le=1, description="The gallery has to be calibrated.")
    distinct: bool | float | None = Field(
        None, description=f"Leave out hits with this cosine to a better one; true for {NEAR_DUPLICATE}."
    )
    correct: Literal["measured", "general", "none"] = Field(
        "measured", description="Correct hits for hubs as that was seen to help, also unmeasured, or not at all."
    )
    sort: Literal["rank", "date"] = Field(
        "rank", description="date: newest first, of what is likely relevant. The gallery has to be calibrated."
    )
    rerank: Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)] | bool | None = Field(
        None,
        description="The re-ranker of the server, as GET /api/gallery names it, or true. It looks at the best for a "
        "text.",
    )
    rerank_by: Literal["logit", "logit+score"] = Field("logit", description="What it ranks by.")
    depth: int = Field(RERANKED, ge=1, le=REQUEST.reranked, description="How many of the best it looks at.")
    within: float = Field(
        float(REQUEST.rerank_seconds), gt=0, le=REQUEST.rerank_seconds, description="Seconds in which it looks at them."
    )
    each: bool = Field(
        False, description="Every moment of a film, page and tile of a file is a hit; else the best of a file is one."
    )
    per_video: Literal["max", "mean"] = Field(
        "max", description="Rank films by their best frame, or by the mean of all of their frames."
    )
    templates: list[Annotated[str, Field(min_length=1, max_length=REQUEST.text_characters)]] = Field(
        default_factory=list, max_length=REQUEST.templates, description="Each text is put in the place of {} in each."
    )

    id: str = Field("1", min_length=1, max_length=_LONGEST_NAME, description="Its name among others. For the client.")
    title: str = Field("", max_length=_LONGEST_NAME, description="What the answer calls it; by default its parts.")

    @model_validator(mode="after")
    def _not_too_far(self) -> "QueryBody":
        if (looked := self.k + self.offset) > REQUEST.hits:
            raise ValueError(
                f"k + offset is {looked:,}; it is at most {REQUEST.hits:,}; a filter makes an answer shorter"
            )
        _require_within([self])
        return self


class QueriesBody(_Message):
    """Several queries, answered together."""

    queries: list[QueryBody] = Field(min_length=1, max_length=REQUEST.queries)

    @model_validator(mode="after")
    def _not_too_many(self) -> "QueriesBody":
        _require_within(self.queries)
        return self


def _require_within(queries: Sequence[QueryBody]) -> None:
    """Raise ValueError where queries ask for more work than one request may. Nothing is put together for it."""
    lengths = [
        filled_characters(form, part.text)
        for each in queries
        for part in each.parts
        if part.text is not None
        for form in each.templates or [SLOT]
    ]
    longest = max(lengths, default=0)
    if longest > REQUEST.text_characters:
        raise ValueError(
            f"a text of {longest:,} characters, as it stands in its template; at most {REQUEST.text_characters:,} are "
            "encoded"
        )
    for count, most, name in (
        (len(lengths), REQUEST.texts, "texts (each in each template)"),
        (sum(lengths), REQUEST.characters, "characters to encode"),
        (sum(part.mark is not None for each in queries for part in each.parts), REQUEST.marks, "marks"),
        (sum(each.depth for each in queries if each.rerank), REQUEST.reranked, "candidates to re-rank"),
        (sum(each.k + each.offset for each in queries), REQUEST.hits_together, "hits (k + offset of all queries)"),
    ):
        if count > most:
            raise ValueError(f"{count:,} {name}; one request has at most {most:,}: send some of it apart")


class KeepBody(_Message):
    """What is to be kept under a name, to be asked again by it."""

    name: str = Field(min_length=1, max_length=_LONGEST_NAME, description="Letters, digits, and - _ . between them.")
    parts: list[PartBody] = Field(min_length=1, max_length=REQUEST.parts)
    templates: list[Annotated[str, Field(min_length=1, max_length=REQUEST.text_characters)]] = Field(
        default_factory=list, max_length=REQUEST.templates
    )
    replace: bool = Field(False, description="Instead of what is kept under the name by now.")


class ChosenBody(_Message):
    """Pictures that were chosen, by their row ids."""

    row_ids: list[RowId] = Field(min_length=1, max_length=MOST_CHOSEN)


class ExplainBody(_Message):
    """What is looked for in a picture: what a query asks with. quick: as a preview, several times as fast."""

    parts: list[PartBody] = Field(min_length=1, max_length=REQUEST.parts)
    quick: bool = False


class RegionBody(BaseModel):
    """Where in a picture a phrase is seen: box as left, top, right, bottom in shares of the upright picture, peak the x
    and y that speak most, heat by rows the fall of the phrase's score where its surroundings are hidden, over the whole
    picture; all null where no place stands out. score: of the phrase alone. fall, phrase_fall: by how much the scores
    of all that is asked and of the phrase fall where the box is hidden. text_fall: by how much the score falls where
    the phrase is left out of the text; null where it is no piece of it. preview: whether the place is that of a
    preview."""

    phrase: str
    box: list[float] | None
    peak: list[float] | None
    score: float
    fall: float
    phrase_fall: float
    text_fall: float | None
    stands_out: float
    fits: float | None
    preview: bool
    heat: list[list[float]] | None


class ExplanationBody(BaseModel):
    """A region a phrase, in their order."""

    regions: list[RegionBody]
    version: int


class KeptBody(BaseModel):
    """The names that queries are kept under, sorted."""

    names: list[str]


class FilesBody(BaseModel):
    """Where the file of each picture is; null for one that is no longer in the gallery."""

    files: list[str | None]


class ZipBody(BaseModel):
    """A zip that can be asked for. pictures: that it will hold; bytes: of these, as far as they are known."""

    zip: str
    pictures: int
    bytes: int


class ErrorBody(BaseModel):
    """What is wrong, where, and what to do. code: for programs, where there is one: unknown_picture (`picture` is its
    content hash), bad_filter, name_taken."""

    error: str
    code: str | None = None
    picture: str | None = None


_OF_HIT: dict[str, Any] = {
    "rank": int,
    "score": float,
    "row_id": int,
    "file": str | None,
    "gone": bool,
    "file_bytes": str | None,
}


def _told() -> Any:
    """What programs are told of hits, of each kind: null where a kind tells no such thing."""
    fields: dict[str, Any] = {name: (_OF_HIT[name], ...) for name in ("rank", "score", "row_id")}
    for each in kinds():
        for name in each.told:
            everywhere = all(name in other.told for other in kinds())
            hint = _told_as(each, name)
            fields[name] = (hint if name in _OF_HIT else hint | None, ... if everywhere else None)
    return create_model("Told", **fields)


def _told_of_image() -> Any:
    """What programs are told of a picture, of those fields that a hit has too."""
    fields: dict[str, Any] = {
        name: (_told_as(IMAGES, name), ...) for name in ("row_id", *IMAGES.told) if name != "file_bytes"
    }
    return create_model("ToldOfImage", **fields)


def _told_as(kind: AnyKind, name: str) -> Any:
    """What stands in JSON for a field of a hit: for a date or bytes a text."""
    if name in _OF_HIT:
        return _OF_HIT[name]
    hint = get_type_hints(kind.row)[name]
    plain = next((each for each in get_args(hint) if each is not type(None)), hint)
    told = str if plain in (bytes, datetime) else plain
    return told | None if type(None) in get_args(hint) else told


_Told: Any = _told()


class HitBody(_Told):  # type: ignore[misc]
    """A hit: the object of `mmsearch query --format jsonl`. Of a caption, path and file are those of its picture.

    path_bytes, file_bytes: base64 of the real name where path or file is not it, since it is no UTF-8.
    image: of a caption, the row id of its picture; null where the gallery holds none.
    corrected: the score less what hubs lose, which ranks go by; null where it was not corrected. probability: the
    chance that it is relevant; null where that is not known. z, table: among items of several kinds, the standard score
    that ranks go by, and the kind; else null. rerank: what a re-ranker finds, which ranks go by; null where it did not
    look. from_s, to_s: of a frame of a film, when the moment that it is the best frame of is seen, in seconds; start_s,
    end_s: when the frame is. page, box: of a page and of a tile. mean: with per_video "mean", what ranks go by."""

    image: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    page: int | None = None
    box: list[float] | None = None
    from_s: float | None = None
    to_s: float | None = None
    mean: float | None = None
    corrected: float | None = None
    probability: float | None = None
    z: float | None = None
    rerank: float | None = None
    table: str | None = None


class AnswerBody(BaseModel):
    """The hits of a query, best first. more: whether there may be others beyond them. notes: what is as it should be
    and worth knowing: how well marks agree. version: of the gallery. probability: the chance that any of the ten best
    is relevant; above_general: the share of general texts whose best score is lower than the best here; null where that
    is not known. worth: what people should know of that. reranked: how many of the best were re-ranked; null where that
    was not asked for."""

    title: str
    hits: list[HitBody]
    more: bool
    warnings: list[str]
    notes: list[str] = []
    version: int
    probability: float | None = None
    above_general: float | None = None
    worth: str | None = None
    reranked: int | None = None


class SampledBody(HitBody):
    """A picture that nobody asked for."""

    score: None


class SampleBody(BaseModel):
    """Pictures from all over the gallery, and some of its captions: examples of what can be asked."""

    hits: list[SampledBody]
    captions: list[str]
    version: int


class MonthBody(BaseModel):
    """How many pictures were taken in a month, as "2024-05"; null: those whose date is not known."""

    month: str | None
    count: int


class TimelineBody(BaseModel):
    """How many pictures there are of each month, newest first, those without a date last."""

    months: list[MonthBody]
    version: int


class TimelinePicturesBody(BaseModel):
    """Some pictures of the timeline, in its order; the rank of the first of all is 1."""

    hits: list[SampledBody]
    version: int


class RowIdsBody(BaseModel):
    """Row ids of pictures."""

    row_ids: list[int]
    version: int


class FacetValueBody(BaseModel):
    """A value, as text, and how many pictures have it."""

    value: str
    count: int


class FacetBody(BaseModel):
    """The values of a facet, the most frequent first. others: how many values are left out."""

    values: list[FacetValueBody]
    others: int
    version: int


class FolderBody(BaseModel):
    """A folder below a root, and how many pictures lie in it and below it."""

    root: int
    path: str
    count: int


class FoldersBody(BaseModel):
    """Folders in the order of their names. others: how many are left out."""

    folders: list[FolderBody]
    others: int
    version: int


class PlaceBody(BaseModel):
    """Pictures that were taken near to each other: the middle of where, in degrees, how many, the row id of one of
    them, and the part of the world that all of them lie in."""

    lat: float
    lon: float
    count: int
    row_id: int
    south: float
    west: float
    north: float
    east: float


class PlacesBody(BaseModel):
    """Places, the one with most pictures first."""

    places: list[PlaceBody]
    version: int


class AnswersBody(BaseModel):
    """An answer a query, in their order."""

    answers: list[AnswerBody | ErrorBody]


class PictureBody(BaseModel):
    """A picture that was sent, to be asked with by its content hash."""

    picture: str
    width: int
    height: int
    in_gallery: bool


class EncoderBody(BaseModel):
    """What made the vectors. declared: nobody has checked that it did."""

    spec: str
    dim: int
    declared: bool


class IndexBody(BaseModel):
    """An index of a table."""

    table: str
    factory: str
    rows: int


class RootBody(BaseModel):
    """A folder whose pictures the gallery holds."""

    id: int
    path: str


class ColumnBody(BaseModel):
    """A column that a filter may use."""

    name: str
    type: str


class LimitsBody(BaseModel):
    """How much one request may ask for: as the description of the API says it, and bytes of a picture that is sent."""

    upload_bytes: int
    body_bytes: int
    text_characters: int
    texts: int
    characters: int
    parts: int
    marks: int
    templates: int
    queries: int
    hits: int
    hits_together: int
    filter_characters: int
    filter_seconds: int
    reranked: int
    rerank_seconds: int
    phrases: int
    explain_seconds: int
    pixels: int
    seconds: int


class GalleryBody(BaseModel):
    """What is served. reranker: what queries may name as `rerank`; null for nothing. columns: by table. keeps: whether
    queries can be kept here. answers_text: false where the model of its queries could not be loaded; text_problem:
    why."""

    name: str
    version: int
    images: int
    captions: int
    encoder: EncoderBody
    reranker: str | None
    indexes: list[IndexBody]
    roots: list[RootBody]
    columns: dict[str, list[ColumnBody]]
    limits: LimitsBody
    keeps: bool
    answers_text: bool
    text_problem: str | None
    mmsearch: str


_ToldOfImage: Any = _told_of_image()


class GuessBody(BaseModel):
    """What a model says of a picture: a machine's guess, of which nothing is checked."""

    guess: str
    guessed_by: str


class ImageBody(_ToldOfImage):  # type: ignore[misc]
    """All that the gallery holds of a picture, but its vector. path_bytes: as of a hit. captions: those that people
    have written; guesses: what models have said."""

    root_id: int
    bytes: int | None
    mtime_ns: int | None
    etag: str | None
    content_hash: str | None
    captions: list[str]
    guesses: list[GuessBody]
    box: list[float] | None
    whole: int | None = Field(description="Of a tile, the row id of the picture that it is of, where that is held.")


class HealthBody(BaseModel):
    """Whether queries are answered, and by which version."""

    status: str
    version: int


def answer_json(answer: Answer, gallery: Gallery) -> bytes:
    """An `AnswerBody` as it goes out. gallery: the version that gave it."""
    hits = [record(hit) for hit in answer.hits]
    belonging = [position for position, hit in enumerate(answer.hits) if hit.kind.belongs_to is not None]
    images = images_of(gallery, [answer.hits[position] for position in belonging])
    for position, image in zip(belonging, images, strict=True):
        width, height = (image.width, image.height) if image else (None, None)
        hits[position] |= {"image": image and image.row_id, "width": width, "height": height}
    return to_json(
        {
            "title": answer.query.title,
            "hits": hits,
            "more": answer.more,
            "warnings": answer.remarks,
            "notes": answer.notes,
            "version": gallery.manifest.version,
            **asdict(answer.worth),
            "worth": answer.worth.in_words(),
            "reranked": answer.reranked,
        }
    )


def to_json(value: object) -> bytes:
    """A message as it goes out; names that are no text have been made valid before, and what has not is escaped."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
