"""Items of every kind in one list.

A query among all kinds is a query to each of them, whose answers become one: hits are ordered by their standard scores,
since the cosines of texts and of images cannot be compared. Within a kind that order is the order of its own ranking.
"""

from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter

from mmsearch.gallery import Gallery
from mmsearch.items import BOTH, DEFAULT_KIND, kinds
from mmsearch.search.answers import Answer
from mmsearch.search.query import Query

__all__ = ["by_table", "merge_answers"]


def by_table(query: Query, gallery: Gallery) -> list[Query]:
    """The queries to single tables that a query stands for: itself, or one to each table that holds anything."""
    if query.table != BOTH:
        return [query]
    tables = [each.name for each in kinds() if gallery.live_rows(each.name)] or [DEFAULT_KIND.name]
    return [replace(query, table=table, k=query.wanted, offset=0) for table in tables]


def merge_answers(query: Query, answers: Sequence[Answer]) -> Answer:
    """The answer to a query among all kinds, out of those of single tables, whose hits have standard scores.

    What the best hits are worth was measured for single tables, and is not said of their mixture.
    """
    hits = sorted((hit for answer in answers for hit in answer.hits), key=attrgetter("z"), reverse=True)
    ranked = [replace(hit, rank=rank) for rank, hit in enumerate(hits[: query.wanted], 1)][query.offset :]
    remarking = [answer for answer in answers if answer.hits] or answers  # why one table has no hit is no matter
    return Answer(
        query,
        ranked,
        answers[0].pictures,
        more=len(hits) > query.wanted or any(answer.more for answer in answers),
        remarks=tuple(dict.fromkeys(remark for answer in remarking for remark in answer.remarks)),
        truncated=answers[0].truncated,
    )
