"""The stage that corrects for hubs: whether a query is one whose hits are corrected, and by how much.

It stands inside of the retrieval, not after it: an item that is corrected less may stand anywhere in the order of the
scores, and looking further until no such one can be left means looking at thousands of rows for ten hits. One pass that
ranks by the corrected score costs a subtraction.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from mmsearch.errors import QueryError
from mmsearch.search.query import ImagePart, ItemPart, Query, TextPart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mmsearch.exact import VectorBlock
    from mmsearch.scoring.stored import TableScores

__all__ = ["alpha_for", "with_lowered"]

_ASKING = {"text": (TextPart,), "image": (ImagePart, ItemPart)}


def alpha_for(query: Query, scores: "TableScores | None") -> float:
    """The share of its mean that each item loses for a query; 0 where it is not corrected.

    Only queries of the side that the bank is of are: what texts find too often is not what pictures do. Raises
    QueryError where a general correction is asked for and there is none.
    """
    if query.correct == "none":
        return 0.0
    general = query.correct == "general"
    if scores is None:
        if general:
            raise QueryError(
                f"nothing is known of the scores of these {query.table}: to correct them, run mmsearch calibrate"
            )
        return 0.0
    correction = scores.record.correction
    if not all(isinstance(part, _ASKING[scores.record.asks]) for part in query.parts):
        return 0.0
    return correction.alpha if correction.measured or general else 0.0


def with_lowered(blocks: "Iterable[VectorBlock]", scores: "TableScores", alpha: float) -> "Iterator[VectorBlock]":
    """The blocks, each with what is taken from the scores of its rows."""
    for block in blocks:
        vectors = block.vectors
        yield replace(block, lowered=scores.lowered(block.row_ids, lambda rows: vectors[rows], alpha=alpha))  # noqa: B023
