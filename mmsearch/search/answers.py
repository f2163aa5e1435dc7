"""An answer, and why there may be none."""

from collections.abc import Sequence
from dataclasses import dataclass

from mmsearch.search.hits import Hit
from mmsearch.search.query import Query

__all__ = ["Answer", "why_nothing"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A query and its hits.

    Attributes:
        query: what was asked.
        hits: best first.
        pictures: the files of the images that it asked with.
        more: whether there may be hits beyond these.
        remarks: what whoever asked should know: why there is no hit, which files are gone, that a text was cut.
        truncated: whether a text was longer than the model reads, so that its end did not count.
    """

    query: Query
    hits: Sequence[Hit]
    pictures: Sequence[str] = ()
    more: bool = False
    remarks: Sequence[str] = ()
    truncated: bool = False


def why_nothing(query: Query, best: float | None, *, left_out: int, items: int) -> str:
    """A line that says why there is no hit. best: the highest score that was seen. left_out: hits asked with."""
    if best is not None:
        return f"no hit scores {query.min_score:g} or more; the best scores {best:.4f}"
    if query.where is not None:
        other = "other " if left_out else ""
        return f"the filter admits none of the {items:,} {other}{query.table}: {query.where}"
    return f"the gallery holds no other {query.table}"
