"""How long building an index would take: each step is tried on a few rows, and there are so many more of them."""

import hashlib
import math
import time
import timeit
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann import CodeCosts, Effort, code_costs, count_lists, row_bytes, unbuilt
from mmsearch.exact import VectorBlock, Vectors, exact_search, scores_of_record
from mmsearch.gallery import Gallery
from mmsearch.indexing.planning import Plan, assigning, learning
from mmsearch.indexing.tuning import BEYOND, TIMED, size_of

__all__ = ["Speeds", "measure_speeds", "with_seconds"]

_SAMPLE_ROWS = 4096
_PAIRS = 1 << 14
_TRIES = 3
_HASHED_BYTES = 1 << 24
_LINKS = 32  # that a search of a graph follows from each candidate that it keeps


@dataclass(frozen=True, slots=True)
class Speeds:
    """Seconds a piece of work.

    Attributes:
        operation: A floating point operation of a matrix product.
        read: A row, in a pass over the shards.
        byte: A byte of a file, written and hashed.
        pair: A candidate of a query, fetched and scored.
        exact: A row, scored for all trial queries at once.
        codes: The costs of the codes of the kind of index.
    """

    operation: float
    read: float
    byte: float
    pair: float
    exact: float
    codes: CodeCosts


def measure_speeds(gallery: Gallery, table: str, factory: str, *, training_rows: int, queries: int, k: int) -> Speeds:
    """Try each step on some rows of a table that has any. Raises AnnIndexError for a factory string that is none."""
    rows, dim = gallery.live_rows(table), gallery.manifest.encoder.dim
    began = time.perf_counter()
    sample = _sample_vectors(gallery, table)
    read = (time.perf_counter() - began) / len(sample)
    wide = sample.astype(np.float32)
    half = max(1, len(sample) // 2)
    trial_queries = np.resize(wide, (max(1, queries), dim))
    return Speeds(
        operation=_time_operation(),
        read=read,
        byte=_time_byte(),
        pair=_time_pair(sample),
        exact=_time_exact(sample, half, trial_queries, k),
        codes=code_costs(factory, dim, wide, rows=rows, training_rows=training_rows),
    )


def _sample_vectors(gallery: Gallery, table: str) -> Vectors:
    sample = np.empty((_SAMPLE_ROWS, gallery.manifest.encoder.dim), gallery.manifest.dtype)
    filled = 0
    for block in gallery.vector_blocks(table):
        part = block.vectors[: _SAMPLE_ROWS - filled]
        sample[filled : filled + len(part)] = part
        filled += len(part)
        if filled == _SAMPLE_ROWS:
            break
    return sample[:filled]


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of a few times: at first memory is made ready, and another program may be at work."""
    return min(timeit.repeat(work, number=1, repeat=_TRIES))


def _time_operation() -> float:
    left, right = np.ones((2048, 512), np.float32), np.ones((512, 2048), np.float32)
    return _fastest(lambda: left @ right) / (2 * 2048 * 512 * 2048)


def _time_byte() -> float:
    data = bytes(_HASHED_BYTES)
    hashing = _fastest(lambda: hashlib.blake2b(data, digest_size=16))
    return 2 * hashing / _HASHED_BYTES  # writing is taken to be as fast as hashing


def _time_pair(vectors: Vectors) -> float:
    rng = np.random.default_rng(0)
    rows, of_query = rng.integers(0, len(vectors), _PAIRS), np.sort(rng.integers(0, len(vectors), _PAIRS))
    queries = vectors.astype(np.float32)
    return _fastest(lambda: scores_of_record(queries, of_query, vectors[rows], np.arange(_PAIRS))) / _PAIRS


def _time_exact(vectors: Vectors, half: int, queries: NDArray[np.float32], k: int) -> float:
    """Of the second half: while the first passes, nearly every row is among the best so far."""
    times: list[float] = []

    def blocks() -> Iterator[VectorBlock]:
        for start in (0, half):
            part = vectors[start : start + half]
            yield VectorBlock(np.arange(start, start + len(part)), part)
            times.append(time.perf_counter())

    for _ in range(_TRIES):
        exact_search(blocks(), queries, k + 1)
    return min(second - first for first, second in zip(times[::2], times[1::2], strict=True)) / half


def with_seconds(plan: Plan, queries: int, k: int, speeds: Speeds) -> Plan:
    """The plan with a prediction of how long each step takes, at measured speeds, and all of them together.

    queries: that judge the index, of all kinds. k: the hits that it is tuned for.
    """
    bytes_written = plan.disk + plan.rows * row_bytes(plan.factory, plan.dim)
    steps = {
        "training": speeds.operation * learning(plan) + speeds.codes.training + speeds.read * plan.rows,
        "adding rows": speeds.operation * assigning(plan)
        + (speeds.read + speeds.codes.row) * plan.rows
        + speeds.byte * bytes_written,
        "exact neighbours": (2 * speeds.read + speeds.exact) * plan.rows if queries else 0.0,
        "trial of efforts": _predict_trial(plan, queries, k, speeds) if queries else 0.0,
    }
    if not plan.training_rows:
        del steps["training"]
    return replace(plan, steps=tuple(steps.items()), seconds=sum(steps.values()))


def _predict_trial(plan: Plan, queries: int, k: int, speeds: Speeds) -> float:
    """The time of trying efforts on half of the queries, to some way beyond the one that will do, and judging that."""
    ann = unbuilt(plan.factory, plan.dim)
    widths = [(width, _looked_at(plan, width)) for width in ann.widths()]
    enough = next((looked for width, looked in widths if size_of(width) >= _expected(plan)), plan.rows)
    tried = [looked for _, looked in widths if looked <= BEYOND * enough] or [plan.rows]
    factors = ann.factors(k)
    candidates = [min(plan.rows, ann.candidates(k, Effort(k_factor=factor))) for factor in factors]
    # One search for the most candidates serves for fewer, where they are the first of those.
    searched = candidates[-1:] if ann.candidates_are_nested() else candidates

    def seconds(looked: float, counts: Sequence[int]) -> float:
        return sum(speeds.codes.look * looked + speeds.pair * count for count in counts)

    batches = sum(queries / 2 * seconds(looked, searched) for looked in [*tried, enough])
    return batches + sum(TIMED * seconds(looked, candidates) for looked in tried)


def _expected(plan: Plan) -> int:
    """The width of search at which .95 is usually found: measured from 100,000 to 10,000,000 rows."""
    lists = count_lists(plan.factory, plan.dim)
    return round(math.sqrt(lists)) if lists else 64


def _looked_at(plan: Plan, width: Effort) -> float:
    """How many rows a query is compared with."""
    if width.nprobe is not None:
        return plan.rows * width.nprobe / max(1, count_lists(plan.factory, plan.dim))
    return min(plan.rows, width.ef_search * _LINKS) if width.ef_search is not None else plan.rows
