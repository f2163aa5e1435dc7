"""How sure a figure is: resampling of images, since the captions of one image are not independent of each other."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.metrics.relevance import Ids

__all__ = [
    "Difference",
    "Estimate",
    "Interval",
    "differences",
    "image_draws",
    "intervals",
    "mean_difference",
    "resampled_means",
    "wilson_interval",
]

Figures = Mapping[str, NDArray[np.float64]]
"""Name -> a value a query, float64 (n_queries,)."""

RESAMPLES = 2_000
PERMUTATIONS = 10_000
SEED = 0
_CHUNK_BYTES = 32 << 20
_NORMAL_975 = 1.959963984540054  # the 97.5 % quantile of the normal distribution


@dataclass(frozen=True, slots=True)
class Interval:
    """The middle 95 % of the bootstrap."""

    low: float
    high: float

    @classmethod
    def of(cls, resampled: NDArray[np.float64]) -> "Interval":
        """From the values of the bootstrap samples; where a sample has none (NaN), without it."""
        low, high = np.nanpercentile(resampled, [2.5, 97.5])
        return cls(float(low), float(high))

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval."""

    value: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of two systems on the same queries.

    Attributes:
        value: Second minus first.
        interval: The interval of that difference.
        p: The two-sided p value of the paired randomisation test: how often chance alone makes a difference this large.
    """

    first: float
    second: float
    value: float
    interval: Interval
    p: float


def wilson_interval(share: float, draws: int) -> Interval:
    """Wilson's 95 % score interval of a share that was seen in so many independent draws (Wilson 1927; Agresti and
    Coull 1998). It has a width where the share is 0 or 1, and a bootstrap interval has none.

    >>> all_of_them = wilson_interval(1.0, 10)
    >>> round(all_of_them.low, 4), all_of_them.high
    (0.7225, 1.0)
    """
    if draws < 1 or not 0 <= share <= 1:
        raise ValueError(f"a share of {share} in {draws} draws")
    z2 = _NORMAL_975**2
    middle = (share + z2 / (2 * draws)) / (1 + z2 / draws)
    half = _NORMAL_975 / (1 + z2 / draws) * math.sqrt(share * (1 - share) / draws + z2 / (4 * draws**2))
    return Interval(0.0 if share == 0 else middle - half, 1.0 if share == 1 else middle + half)


def intervals(
    figures: Figures, image_of_query: Ids, n_images: int, *, resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, Interval]:
    """The 95 % percentile bootstrap interval of the mean of each figure (Efron and Tibshirani 1993, 13.3).

    image_of_query: (n_queries,) which image a query belongs to. Images are drawn with replacement, each with all its
    queries. The same seed draws the same images, whatever the figures.

    >>> two = intervals({"R@1": np.array([1.0, 1.0, 0.0, 0.0])}, np.array([0, 0, 1, 1]), 2)["R@1"]
    >>> (two.low, two.high)  # with two images nothing is known
    (0.0, 1.0)
    """
    means = resampled_means(figures, image_of_query, n_images, resamples=resamples, seed=seed)
    return {name: Interval.of(values) for name, values in means.items()}


def resampled_means(
    figures: Figures, image_of_query: Ids, n_images: int, *, resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, NDArray[np.float64]]:
    """The mean of each figure in each bootstrap sample, (resamples,); see `intervals`."""
    sums, counts = _by_image(figures, image_of_query, n_images)
    draws = image_draws(image_of_query, n_images, resamples=resamples, seed=seed)
    means = np.concatenate([(w @ sums) / (w @ counts)[:, None] for w in draws])
    return {name: means[:, column] for column, name in enumerate(figures)}


def image_draws(
    image_of_query: Ids, n_images: int, *, resamples: int = RESAMPLES, seed: int = SEED
) -> Iterator[NDArray[np.float64]]:
    """How often each image is drawn in each bootstrap sample, (some, n_images) at a time; see `intervals`."""
    rng = np.random.default_rng(seed)
    has_queries = np.flatnonzero(np.bincount(image_of_query, minlength=n_images))
    for size in _chunks(resamples, n_images):
        drawn = has_queries[rng.integers(len(has_queries), size=(size, len(has_queries)))]
        drawn += n_images * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n_images).reshape(size, n_images).astype(np.float64)


def differences(
    first: Figures,
    second: Figures,
    image_of_query: Ids,
    n_images: int,
    *,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = SEED,
) -> dict[str, Difference]:
    """Second minus first, for figures of two systems on the same queries.

    The interval is the bootstrap's over images. The test swaps the two systems' answers for all queries of an image at
    once, for images drawn by coin (Fisher's randomisation test; Smucker, Allan and Carterette 2007), and counts how
    often the mean differs at least as much as it did; p is (1 + that) / (1 + permutations).

    >>> same = {"MRR": np.array([1.0, 0.5, 0.25])}
    >>> differences(same, same, np.arange(3), 3)["MRR"].p
    1.0
    """
    names = list(first)
    by_query = {name: second[name] - first[name] for name in names}
    sums, _ = _by_image(by_query, image_of_query, n_images)
    resampled = resampled_means(by_query, image_of_query, n_images, resamples=resamples, seed=seed)
    p_values = _p_values(sums, permutations, seed)
    return {
        name: Difference(
            first=float(np.mean(first[name])),
            second=float(np.mean(second[name])),
            value=float(np.mean(by_query[name])),
            interval=Interval.of(resampled[name]),
            p=p_values[i],
        )
        for i, name in enumerate(names)
    }


def mean_difference(
    parts: Sequence[tuple[Figures, Figures, Ids]],
    n_images: int,
    *,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = SEED,
) -> Difference:
    """Second minus first of the mean over several groups of queries about the same images, each of which counts alike:
    of mean recall, say, whose groups are the two directions.

    parts: (first, second, image_of_query) of each group; of each the mean of all its figures. Interval and test are
    those of `differences`; one sample of images serves all groups, each of which has a query about every image.

    >>> better = ({"R@1": np.array([0.0, 1.0])}, {"R@1": np.array([1.0, 1.0])}, np.arange(2))
    >>> equal = ({"R@1": np.array([1.0, 1.0])}, {"R@1": np.array([1.0, 1.0])}, np.arange(2))
    >>> mean_difference([better, equal], 2).value
    0.25
    """
    firsts = [_mean_figure(first) for first, _, _ in parts]
    seconds = [_mean_figure(second) for _, second, _ in parts]
    changes = [{"mean": second - first} for first, second in zip(firsts, seconds, strict=True)]
    groups = [(change, of_query) for change, (_, _, of_query) in zip(changes, parts, strict=True)]
    resampled = [
        resampled_means(change, of_query, n_images, resamples=resamples, seed=seed)["mean"]
        for change, of_query in groups
    ]
    shares = [_by_image(change, of_query, n_images)[0] / len(of_query) for change, of_query in groups]
    return Difference(
        first=float(np.mean([first.mean() for first in firsts])),
        second=float(np.mean([second.mean() for second in seconds])),
        value=float(np.mean([change["mean"].mean() for change in changes])),
        interval=Interval.of(np.mean(resampled, axis=0)),
        p=_p_values(np.sum(shares, axis=0), permutations, seed)[0],
    )


def _mean_figure(figures: Figures) -> NDArray[np.float64]:
    """The mean of all figures of each query, (n_queries,)."""
    mean: NDArray[np.float64] = np.mean(list(figures.values()), axis=0, dtype=np.float64)
    return mean


def _p_values(sums: NDArray[np.float64], permutations: int, seed: int) -> list[float]:
    """The p value of each figure, whose differences were summed for each image: (n_images, n_figures)."""
    if not sums.any():  # all answers are the same, whichever are swapped
        return [1.0] * sums.shape[1]
    observed = np.abs(sums.sum(axis=0))
    as_large = np.zeros(sums.shape[1], np.int64)
    rng = np.random.default_rng(seed)
    for size in _chunks(permutations, len(sums)):
        signs = rng.integers(0, 2, (size, len(sums)), dtype=np.int8).astype(np.float64) * 2 - 1
        # Rounding must not make what is equal smaller: sums of the same numbers in another order differ by 1e-12.
        as_large += np.count_nonzero(np.abs(signs @ sums) >= observed - 1e-9, axis=0)
    return [float((1 + count) / (1 + permutations)) for count in as_large.tolist()]


def _by_image(figures: Figures, image_of_query: Ids, n_images: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n_images, n_figures) sums over the queries of each image, and (n_images,) how many it has."""
    sums: NDArray[np.float64] = np.stack(
        [np.bincount(image_of_query, values, n_images).astype(np.float64) for values in figures.values()], axis=1
    )
    return sums, np.bincount(image_of_query, minlength=n_images).astype(np.float64)


def _chunks(total: int, n_images: int) -> Iterator[int]:
    step = max(1, _CHUNK_BYTES // (8 * n_images))
    for start in range(0, total, step):
        yield min(step, total - start)
