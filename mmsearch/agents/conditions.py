"""Which pictures an agent wants to look among: a few typed conditions, which become a filter.

SQL would say more, and a model writes that of some other database half of the time. Each of these becomes a comparison
whose work is bounded by the row, so that there is nothing else to bound, and its description says all that it takes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mmsearch.search.near import filter_near

__all__ = ["Conditions"]

_LONGEST = 200  # characters of a text to compare with
_DATE = re.compile(r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?")


def _checked_date(text: str) -> str:
    _days(text)
    return text


def _checked_text(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("it is a text of letters, digits and signs in one line")
    return text


_Date = Annotated[str, Field(max_length=10), AfterValidator(_checked_date)]
_Text = Annotated[str, Field(max_length=_LONGEST), AfterValidator(_checked_text)]


class Conditions(BaseModel):
    """Look only among pictures that meet all of these. What a picture does not tell, it does not meet."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    taken_from: _Date | None = Field(None, description="Taken then or later: YYYY, YYYY-MM or YYYY-MM-DD.")
    taken_to: _Date | None = Field(None, description="Taken then or before, all of that year, month or day included.")
    shape: Literal["landscape", "portrait", "square"] | None = None
    min_width: int | None = Field(None, ge=1, le=1_000_000, description="Pixels.")
    min_height: int | None = Field(None, ge=1, le=1_000_000, description="Pixels.")
    camera: _Text | None = Field(None, description="Part of the name of the camera; upper and lower case are the same.")
    lens: _Text | None = Field(None, description="Likewise of the lens.")
    city: _Text | None = Field(None, description="Likewise of the city.")
    country: _Text | None = Field(None, description="Likewise of the country.")
    near: _Text | None = Field(None, description='Taken near a place: "Lisbon 20km", or "38.72,-9.14 20km".')
    min_rating: int | None = Field(None, ge=1, le=5, description="Rated so by its owner, 1 to 5.")
    folder: _Text | None = Field(
        None, description="In this folder or below it, as facets names it. Only where paths are shown."
    )

    @staticmethod
    def reads() -> Mapping[str, Sequence[str]]:
        """Condition -> the columns that it reads."""
        return _COLUMNS

    def columns(self) -> set[str]:
        """The columns that these conditions read."""
        return {
            column for name in self.model_fields_set if getattr(self, name) is not None for column in _COLUMNS[name]
        }

    def to_sql(self) -> str | None:
        """The conditions as an expression over the columns of the pictures; None where there are none. Raises
        QueryError where `near` names no place."""
        return filter_near(" AND ".join(self._terms()) or None, self.near)

    def _terms(self) -> Iterator[str]:
        if self.taken_from is not None:
            yield f"taken_at >= '{_days(self.taken_from)[0]}'"
        if self.taken_to is not None:
            yield f"taken_at < '{_days(self.taken_to)[1]}'"
        if self.shape is not None:
            yield f"width {_SHAPES[self.shape]} height"
        for column, least in (("width", self.min_width), ("height", self.min_height), ("rating", self.min_rating)):
            if least is not None:
                yield f"{column} >= {least}"
        for column in ("camera", "lens", "city", "country"):
            if (text := getattr(self, column)) is not None:
                yield f"contains(lower({column}), lower({_quoted(text)}))"
        if self.folder is not None:
            yield f"starts_with(path, {_quoted(self.folder.strip('/') + '/')})"


_COLUMNS = {
    "taken_from": ("taken_at",),
    "taken_to": ("taken_at",),
    "shape": ("width", "height"),
    "min_width": ("width",),
    "min_height": ("height",),
    "camera": ("camera",),
    "lens": ("lens",),
    "city": ("city",),
    "country": ("country",),
    "near": ("lat", "lon"),
    "min_rating": ("rating",),
    "folder": ("path",),
}
"""Condition -> the columns that it reads."""
_SHAPES = {"landscape": ">", "portrait": "<", "square": "="}


def _quoted(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def _days(text: str) -> tuple[date, date]:
    """The first day of a year, a month or a day, and the day after its last. Raises ValueError.

    >>> [str(day) for day in _days("2024-02")]
    ['2024-02-01', '2024-03-01']
    """
    match = _DATE.fullmatch(text)
    if match is None or not 1800 <= int(match[1]) <= 2200:
        raise ValueError("a date is written as 2024, 2024-05 or 2024-05-31")
    year, month, day = (None if part is None else int(part) for part in match.groups())
    assert year is not None
    first = date(year, month or 1, day or 1)
    if day is not None:
        return first, first + timedelta(days=1)
    if month is None or month == 12:
        return first, date(year + 1, 1, 1)
    return first, date(year, month + 1, 1)
