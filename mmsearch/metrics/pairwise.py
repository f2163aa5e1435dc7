"""All pairs of many systems on the same queries, with p values corrected for their number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mmsearch.metrics.relevance import Ids
from mmsearch.metrics.uncertainty import (
    PERMUTATIONS,
    RESAMPLES,
    SEED,
    Difference,
    Interval,
    resampled_means,
)

__all__ = ["Pair", "holm", "pairwise_differences"]

_DRAWN_AT_ONCE = 4 << 20  # signs: 32 MiB as float64


@dataclass(frozen=True, slots=True)
class Pair:
    """Two systems, and the second minus the first."""

    first: str
    second: str
    difference: Difference


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979), in the same order: the chance of one or more false findings
    among all that lie below a level is at most that level, whatever depends on what.

    The smallest is multiplied by their number, the next by one less, and so on; none falls below one before it.

    >>> [round(p, 3) for p in holm([0.04, 0.01, 0.03])]
    [0.06, 0.03, 0.06]
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in corrected.tolist()]


def pairwise_differences(
    systems: Mapping[str, Sequence[NDArray[np.float64]]],
    image_of_query: Sequence[Ids],
    n_images: int,
    *,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = SEED,
) -> list[Pair]:
    """The differences of all pairs, each system with each that comes after it, in one figure: the mean over groups of
    queries (directions), each of which counts alike, of the mean over its queries.

    systems: name -> for each group the values of its queries, (n_queries,). image_of_query: for each group which image
    a query belongs to, (n_queries,). The same images are drawn for all pairs; interval and test are those of
    `mean_difference`.

    >>> pairs = pairwise_differences({"a": [np.array([0.0, 1.0])], "b": [np.array([1.0, 1.0])]}, [np.arange(2)], 2)
    >>> pairs[0].first, pairs[0].second, pairs[0].difference.value
    ('a', 'b', 0.5)
    """
    names = list(systems)
    by_group = [{name: systems[name][group] for name in names} for group in range(len(image_of_query))]
    resampled = {name: np.zeros(resamples) for name in names}
    sums = np.zeros((n_images, len(names)))
    means = dict.fromkeys(names, 0.0)
    for figures, of_query in zip(by_group, image_of_query, strict=True):
        drawn = resampled_means(figures, of_query, n_images, resamples=resamples, seed=seed)
        by_image = [np.bincount(of_query, figures[name], n_images) for name in names]
        sums += np.stack(by_image, axis=1) / len(of_query) / len(by_group)
        for name in names:
            resampled[name] += drawn[name] / len(by_group)
            means[name] += float(figures[name].mean()) / len(by_group)
    index_pairs = list(combinations(range(len(names)), 2))
    p_values = _pair_p_values(sums, index_pairs, permutations, seed)
    return [
        Pair(
            names[a],
            names[b],
            Difference(
                first=means[names[a]],
                second=means[names[b]],
                value=means[names[b]] - means[names[a]],
                interval=Interval.of(resampled[names[b]] - resampled[names[a]]),
                p=p,
            ),
        )
        for (a, b), p in zip(index_pairs, p_values, strict=True)
    ]


def _pair_p_values(
    sums: NDArray[np.float64], pairs: Sequence[tuple[int, int]], permutations: int, seed: int
) -> list[float]:
    """sums: (n_images, n_systems). One drawing of signs serves all pairs: a pair's sum is the difference of two."""
    first, second = (np.array([pair[side] for pair in pairs], np.intp) for side in (0, 1))
    differ = np.array([bool((sums[:, a] != sums[:, b]).any()) for a, b in pairs], bool)
    observed = np.abs(sums[:, second].sum(axis=0) - sums[:, first].sum(axis=0))
    as_large = np.zeros(len(pairs), np.int64)
    rng = np.random.default_rng(seed)
    step = max(1, _DRAWN_AT_ONCE // len(sums))
    for start in range(0, permutations, step):
        size = min(step, permutations - start)
        signs = rng.integers(0, 2, (size, len(sums)), dtype=np.int8).astype(np.float64) * 2 - 1
        signed = signs @ sums
        # Rounding must not make what is equal smaller: sums of the same shares in another order differ by 1e-16.
        as_large += np.count_nonzero(np.abs(signed[:, second] - signed[:, first]) >= observed - 1e-12, axis=0)
    p = (1 + as_large) / (1 + permutations)
    return [float(value) for value in np.where(differ, p, 1.0).tolist()]
