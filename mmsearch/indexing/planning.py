"""Chooses the kind of index that suits a gallery and predicts its costs, before anything is built."""

import math
from dataclasses import dataclass

from mmsearch.ann import count_lists, held_bytes_per_row, row_bytes, training_rows_needed
from mmsearch.errors import AnnIndexError
from mmsearch.indexing.memory import find_installed_memory, format_bytes

__all__ = ["FLAT_ROWS", "Plan", "assigning", "automatic_factory", "learning", "operations", "plan_index"]

# Below this a flat scan answers in tens of milliseconds, and any other index only loses recall.
FLAT_ROWS = 50_000
# Assigning rows to lists is most of the work of building, and scanning codes little of that of searching: fewer lists
# than the usual 4 * sqrt(rows) build four times as fast and answer as quickly.
MOST_LISTS = 65_536
# From here on lists are found through a graph: comparing every row with every centroid would take hours.
GRAPH_LISTS = 16_384
# FAISS asks for 39 vectors a centroid; more than 64 buy little and cost k-means time.
TRAINING_ROWS_PER_LIST, LEAST_ROWS_PER_LIST = 64, 20
LEAST_TRAINING_ROWS = 20_000
# Dimensions that share a code of 4 bits, finest first: 512 dimensions in 128, 64, 32 or 16 bytes.
_DIMENSIONS_A_CODE = (2, 4, 8, 16)
# Anonymous memory of a process that does nothing yet: interpreter, numpy, Arrow and FAISS; and while it builds, blocks
# of rows on their way, and the scores of the exact pass.
IDLE_BYTES, WORKING_BYTES = 160 << 20, 320 << 20
# FAISS's lists grow by doubling.
_SLACK = 1.6


@dataclass(frozen=True, slots=True)
class Plan:
    """An index that could be built, with what it would cost. Bytes and seconds are predictions.

    Attributes:
        why: The reason for this kind.
        training_rows: How many rows its lists and codes are learned from.
        build_memory: Anonymous resident memory (RssAnon) while it is built; mapped files are not counted.
        search_memory: The same while it is searched.
        mapped: Bytes of mapped files that search reads by random access.
        disk: Bytes of the files of the index.
        seconds: Time to build and to measure it; 0 where unknown.
        steps: The time of each step. Encoding general captions, which is done once for a model, is not among them.
    """

    factory: str
    why: str
    rows: int
    dim: int
    training_rows: int
    build_memory: int
    search_memory: int
    mapped: int
    disk: int
    seconds: float = 0.0
    steps: tuple[tuple[str, float], ...] = ()


def automatic_factory(rows: int, dim: int, *, dimensions_a_code: int = 2) -> str:
    """A flat index while that is quick; then IVF with about sqrt(rows) lists, a power of two, of FastScan codes.

    dimensions_a_code: how many share 4 bits. The codes are of what a row differs from its list's centre by ("r"):
    without, recall is 16 to 25 points lower.
    """
    codes = _count_codes(dim, dimensions_a_code)
    if rows < FLAT_ROWS or codes is None:
        return "Flat"
    lists = min(MOST_LISTS, 1 << round(math.log2(math.sqrt(rows))))
    graph = "_HNSW32" if lists >= GRAPH_LISTS else ""
    return f"IVF{lists}{graph},PQ{codes}x4fsr"


def plan_index(
    rows: int, dim: int, *, bytes_a_value: int = 2, factory: str | None = None, memory: int | None = None
) -> Plan:
    """The index that suits `rows` vectors of `dim`, within `memory` bytes of anonymous resident memory.

    memory: for building and for searching, each; by default half of the machine's. factory: this kind and no other.
    Raises AnnIndexError where the memory does not suffice; the message names the least that would.
    """
    budget = memory if memory is not None else (find_installed_memory() or 8 << 30) // 2
    if factory is not None:
        candidates = [_predict_costs(factory, "asked for", rows, dim, bytes_a_value, budget)]
    else:
        names = dict.fromkeys(automatic_factory(rows, dim, dimensions_a_code=shared) for shared in _DIMENSIONS_A_CODE)
        candidates = [
            _predict_costs(name, _explain_factory(rows, name), rows, dim, bytes_a_value, budget) for name in names
        ]
    for candidate in candidates:
        if max(candidate.build_memory, candidate.search_memory) <= budget:
            return candidate
    if memory is None:  # nothing was asked for: the smallest is tried, and the machine may have swap
        return candidates[-1]
    least = min(max(candidate.build_memory, candidate.search_memory) for candidate in candidates)
    raise AnnIndexError(
        f"{format_bytes(budget)} of memory do not suffice for an index of {rows:,} rows of dim {dim}"
        f"{f' by {factory!r}' if factory else ''}: the least is {format_bytes(least)}. "
        f"Ask for --memory {math.ceil(least / 2**20)}MiB or more, or search without an index"
    )


def _count_codes(dim: int, dimensions_a_code: int) -> int | None:
    """How many codes of 4 bits a vector gets: a divisor of dim, or None where it has none that helps."""
    return next(
        (codes for codes in range(dim // dimensions_a_code, 7, -1) if dim % codes == 0 and codes % 2 == 0), None
    )


def _explain_factory(rows: int, factory: str) -> str:
    if factory == "Flat":
        return f"under {FLAT_ROWS:,} rows a scan of all takes tens of milliseconds and loses nothing"
    return "codes in memory, scored again with the vectors on disk; as fine as the memory allows"


def _predict_costs(factory: str, why: str, rows: int, dim: int, bytes_a_value: int, budget: int) -> Plan:
    lists = count_lists(factory, dim)
    needed = training_rows_needed(factory, dim)
    centroids = lists * dim * 4 * 2  # as they are, and while k-means moves them
    room = max(0, budget - IDLE_BYTES - WORKING_BYTES - centroids)
    wanted = 0 if needed == 0 else max(LEAST_TRAINING_ROWS, TRAINING_ROWS_PER_LIST * lists, needed)
    most = int(room / _training_bytes(1, dim))
    training = min(rows, wanted, max(most, needed, LEAST_ROWS_PER_LIST * lists)) if needed else 0
    held_bytes = rows * row_bytes(factory, dim)
    building = max(_training_bytes(training, dim), int(held_bytes * (_SLACK if lists else 1.1)) + 8 * rows)
    copy = rows * (dim * bytes_a_value + 8)
    return Plan(
        factory=factory,
        why=why,
        rows=rows,
        dim=dim,
        training_rows=training,
        build_memory=IDLE_BYTES + WORKING_BYTES + centroids + building,
        search_memory=IDLE_BYTES + centroids // 2 + rows * held_bytes_per_row(factory, dim),
        mapped=copy + rows * (row_bytes(factory, dim) - held_bytes_per_row(factory, dim)),
        disk=copy + held_bytes + centroids // 2,
    )


def _training_bytes(rows: int, dim: int) -> int:
    # The sample, and residuals of as much of it as codes are learned from.
    return rows * dim * 4 + min(rows, 65_536) * dim * 8


def learning(plan_index: Plan) -> float:
    """Floating point operations of learning the lists: ten rounds of k-means."""
    return 10 * 2 * plan_index.training_rows * count_lists(plan_index.factory, plan_index.dim) * plan_index.dim


def assigning(plan_index: Plan) -> float:
    """Floating point operations of finding the list of each row."""
    lists = count_lists(plan_index.factory, plan_index.dim)
    compared = min(lists, 6_000) if lists >= GRAPH_LISTS else lists  # through a graph, at the speed of single rows
    return 2 * plan_index.rows * compared * plan_index.dim


def operations(plan_index: Plan, queries: int) -> float:
    """Floating point operations of building: lists, and the exact neighbours of queries."""
    return learning(plan_index) + assigning(plan_index) + 1.5 * 2 * plan_index.rows * queries * plan_index.dim
