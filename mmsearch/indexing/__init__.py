"""`index`: an ANN index over a table of a gallery: chosen by size and memory, tuned on the queries that people ask.

planning        which kind, and what it will cost
trial_queries   image and text queries with their exact neighbours
tuning          what each search effort costs and finds, and the cheapest that reaches the target
durations       how long that will take, tried on a few rows
index_run       building, growing, tuning again, committing
effort_curve    recall against latency, as lines of a table
"""

from mmsearch.indexing.effort_curve import find_chosen_effort, select_best_efforts
from mmsearch.indexing.index_run import index, predict
from mmsearch.indexing.memory import format_bytes
from mmsearch.indexing.planning import FLAT_ROWS, Plan, automatic_factory, plan_index
from mmsearch.indexing.records import DEFAULT, IndexOptions, IndexReport

__all__ = [
    "DEFAULT",
    "FLAT_ROWS",
    "IndexOptions",
    "IndexReport",
    "Plan",
    "automatic_factory",
    "find_chosen_effort",
    "select_best_efforts",
    "index",
    "plan_index",
    "predict",
    "format_bytes",
]
