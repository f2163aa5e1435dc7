"""Turns cells into tables: figures with intervals, and all pairs of systems compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.evaluation.measuring import MEAN_RECALL_KS
from mmsearch.evaluation.studies.records import (
    MEAN_RECALL,
    BenchmarkTable,
    CellResult,
    StudyFailure,
    StudyPair,
    StudyReport,
    StudySystem,
)
from mmsearch.metrics import (
    Direction,
    Estimate,
    Ids,
    Interval,
    Pair,
    holm,
    pairwise_differences,
    recall_at_k,
    resampled_means,
    wilson_interval,
)
from mmsearch.metrics.uncertainty import PERMUTATIONS

__all__ = ["PERMUTATIONS_PER_TEST", "tabulate"]

PERMUTATIONS_PER_TEST = 200
"""The least p value of a randomisation test is 1 / (1 + permutations): times the number of tests it has to stay well
below 0.05, or nothing could be told apart where there are many pairs."""

_DIRECTIONS: tuple[Direction, Direction] = ("text_to_image", "image_to_text")


def tabulate(name: str, cells: Sequence[CellResult], ks: Sequence[int], limit: int | None) -> StudyReport:
    """The tables of some cells, in their order. Of a benchmark those count that asked the same as its first cell;
    others are among the failures."""
    by_benchmark: dict[str, list[CellResult]] = {}
    failures = []
    for cell in cells:
        same = by_benchmark.setdefault(cell.benchmark, [])
        if same and same[0].benchmark_hash != cell.benchmark_hash:
            reason = f"its queries are not those of {same[0].model}: other images, captions or relevance"
            failures.append(StudyFailure(cell.model, cell.benchmark, cell.variant, reason))
        else:
            same.append(cell)
    variants = {cell.variant for cell in cells}
    tests = sum(len(same) * (len(same) - 1) // 2 for same in by_benchmark.values())
    permutations = max(PERMUTATIONS, PERMUTATIONS_PER_TEST * tests)
    tables, pairs = [], list[tuple[str, Pair]]()
    for benchmark, same in by_benchmark.items():
        named = {_system_name(cell, variants): cell for cell in same}
        figures = _figures(named, ks)
        systems = (
            StudySystem(system, cell.model, cell.variant, cell, figures[system]) for system, cell in named.items()
        )
        tables.append(BenchmarkTable(benchmark, same[0].title, tuple(systems)))
        pairs += [(benchmark, pair) for pair in _compare(named, permutations)]
    corrected = holm([pair.difference.p for _, pair in pairs])
    return StudyReport(
        name=name,
        ks=tuple(ks),
        limit=limit,
        tables=tuple(tables),
        pairs=tuple(StudyPair(*named, p) for named, p in zip(pairs, corrected, strict=True)),
        failures=tuple(failures),
    )


def _system_name(cell: CellResult, variants: set[str]) -> str:
    return cell.model if len(variants) == 1 else f"{cell.model}, {cell.variant}"


@dataclass(frozen=True, slots=True)
class _Queries:
    """Which image the queries of each direction belong to."""

    of_query: dict[Direction, Ids]
    n_images: int

    @classmethod
    def of(cls, cell: CellResult) -> "_Queries":
        return cls({"text_to_image": cell.image_of_caption, "image_to_text": np.arange(cell.n_images)}, cell.n_images)


def _is_within(ranks: Ids, k: int) -> NDArray[np.float64]:
    return (ranks <= k).astype(np.float64)


def _figures(systems: Mapping[str, CellResult], ks: Sequence[int]) -> dict[str, dict[str, Estimate]]:
    """System -> figure -> it, with the middle 95 % of bootstrap samples of images; where these collapse, at 0 and
    100 %, with Wilson's interval."""
    queries = _Queries.of(next(iter(systems.values())))
    every_k = sorted({*ks, *MEAN_RECALL_KS})
    means = {
        direction: resampled_means(
            {
                f"{system}\0{k}": _is_within(cell.ranks[direction], k)
                for system, cell in systems.items()
                for k in every_k
            },
            queries.of_query[direction],
            queries.n_images,
        )
        for direction in _DIRECTIONS
    }
    figures: dict[str, dict[str, Estimate]] = {}
    for system, cell in systems.items():
        figures[system] = {}
        for direction in _DIRECTIONS:
            for k in ks:
                share = recall_at_k(cell.ranks[direction], k)
                interval = Interval.of(means[direction][f"{system}\0{k}"])
                if interval.low == interval.high:
                    interval = wilson_interval(share, queries.n_images)
                figures[system][f"{direction} R@{k}"] = Estimate(share, interval)
        drawn = [means[direction][f"{system}\0{k}"] for direction in _DIRECTIONS for k in MEAN_RECALL_KS]
        shares = [recall_at_k(cell.ranks[direction], k) for direction in _DIRECTIONS for k in MEAN_RECALL_KS]
        figures[system][MEAN_RECALL] = Estimate(float(np.mean(shares)), Interval.of(np.mean(drawn, axis=0)))
    return figures


def _compare(systems: Mapping[str, CellResult], permutations: int) -> list[Pair]:
    """All pairs, by mean recall."""
    if len(systems) < 2:
        return []
    queries = _Queries.of(next(iter(systems.values())))
    values = {
        system: [np.mean([_is_within(cell.ranks[d], k) for k in MEAN_RECALL_KS], axis=0) for d in _DIRECTIONS]
        for system, cell in systems.items()
    }
    of_query = [queries.of_query[direction] for direction in _DIRECTIONS]
    return pairwise_differences(values, of_query, queries.n_images, permutations=permutations)
