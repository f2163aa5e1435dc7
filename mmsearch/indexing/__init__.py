"""`index`: an ANN index over a table of a gallery: chosen by size and memory, tuned on the questions that people ask.

planning     which kind, and what it will cost
trial_queries  image and text queries with their exact neighbours
tuning       what each search effort costs and finds, and the cheapest that reaches the target
durations    how long that will take, tried on a few rows
run          building, growing, tuning again, committing
curve        recall against latency, as lines of a table
"""

from mmsearch.indexing.curve import chosen, curve
from mmsearch.indexing.memory import size
from mmsearch.indexing.planning import FLAT_ROWS, Plan, automatic_factory, plan
from mmsearch.indexing.records import DEFAULT, IndexOptions, IndexReport
from mmsearch.indexing.run import index, predict

__all__ = [
    "DEFAULT",
    "FLAT_ROWS",
    "IndexOptions",
    "IndexReport",
    "Plan",
    "automatic_factory",
    "chosen",
    "curve",
    "index",
    "plan",
    "predict",
    "size",
]
