"""What the tools take. Their JSON schemas are what an agent is shown."""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from mmsearch.agents.conditions import Conditions

__all__ = [
    "MOST_HITS",
    "MOST_LOOKED_AT",
    "DescribeArguments",
    "FacetsArguments",
    "LookArguments",
    "MoreLikeArguments",
    "SearchArguments",
]

MOST_HITS = 50
MOST_LOOKED_AT = 8
_MOST_PARTS = 8
_LONGEST_TEXT = 1_000  # characters; a model reads some dozen words

RowId: TypeAlias = Annotated[int, Field(ge=0, le=2**63 - 1)]
_Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=_LONGEST_TEXT)]
_K: TypeAlias = Annotated[int, Field(ge=1, le=MOST_HITS, description="How many hits, at most.")]
_Where: TypeAlias = Annotated[Conditions | None, Field(description="Look only among pictures that meet all of these.")]
_Sheet: TypeAlias = Annotated[
    bool, Field(description="Also give one picture of all hits, each with its rank and its row id below it.")
]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class DescribeArguments(_Arguments):
    """None."""


class SearchArguments(_Arguments):
    """Words, pictures of the gallery, or both."""

    text: _Text | None = Field(None, description="What is to be seen, in plain words: 'two dogs on a beach at sunset'.")
    like: list[RowId] = Field(
        default_factory=list, max_length=_MOST_PARTS, description="Row ids of pictures that the hits should resemble."
    )
    avoid: list[_Text | RowId] = Field(
        default_factory=list, max_length=_MOST_PARTS, description="What to lead away from: texts, or row ids."
    )
    where: _Where = None
    k: _K = 10
    sheet: _Sheet = False


class MoreLikeArguments(_Arguments):
    """One picture of the gallery."""

    row_id: RowId
    where: _Where = None
    k: _K = 10
    sheet: _Sheet = False


class LookArguments(_Arguments):
    """Some pictures of the gallery."""

    row_ids: list[RowId] = Field(
        min_length=1,
        max_length=MOST_LOOKED_AT,
        description="Of pictures that other tools named. The fewer, the larger.",
    )


class FacetsArguments(_Arguments):
    """Nothing, or less of everything."""

    by: list[Literal["year", "camera", "lens", "city", "country", "rating", "folder"]] | None = Field(
        None, max_length=7, description="Only these. Default: all that the gallery knows something of."
    )
    where: _Where = None
