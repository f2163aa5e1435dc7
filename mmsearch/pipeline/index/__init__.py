"""`index`: an ANN index over a table of a gallery: chosen by size and memory, tuned on the questions that people ask.

planning     which kind, and what it will cost
questions    image and text queries with their exact neighbours
tuning       what each search effort costs and finds, and the cheapest that reaches the target
indexing     building, growing, tuning again, committing
searching    the search that queries use and recall is measured of
curve        recall against latency, as lines of a table and as a drawing
"""

from mmsearch.pipeline.index.curve import chosen, curve, draw
from mmsearch.pipeline.index.indexing import index, predict
from mmsearch.pipeline.index.memory import size
from mmsearch.pipeline.index.planning import FLAT_ROWS, Plan, automatic_factory, plan
from mmsearch.pipeline.index.records import DEFAULT, IndexOptions, IndexReport
from mmsearch.pipeline.index.searching import search_index

__all__ = [
    "DEFAULT",
    "FLAT_ROWS",
    "IndexOptions",
    "IndexReport",
    "Plan",
    "automatic_factory",
    "chosen",
    "curve",
    "draw",
    "index",
    "plan",
    "predict",
    "search_index",
    "size",
]
