"""From vectors to figures: which examples are right, on which a tie decides, and how sure that is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.evaluation.probes.comparing import Comparison, Figure, Item, chance
from mmsearch.evaluation.probes.records import FigureResult, ProbeCase, ProbeData
from mmsearch.exact import scores_of_record
from mmsearch.metrics import Estimate, Ids, Interval, image_draws, wilson_interval

__all__ = ["Credits", "ProbeVectors", "all_results", "judge", "picture_groups"]

Floats = NDArray[np.float64]
ALL, MACRO = "all", "mean of subsets"


@dataclass(frozen=True, slots=True, eq=False)
class ProbeVectors:
    """The vectors of a probe.

    Attributes:
        images: (n, dim) of different pictures, L2-normalised.
        texts: (m, dim) of different texts.
        images_of_case: The rows of each example's pictures.
        texts_of_case: The rows of each example's texts.
        text_lengths: (m,), of each text in characters.
    """

    images: NDArray[np.float32]
    texts: NDArray[np.float32]
    images_of_case: tuple[tuple[int, ...], ...]
    texts_of_case: tuple[tuple[int, ...], ...]
    text_lengths: Ids


@dataclass(frozen=True, slots=True, eq=False)
class Credits:
    """How examples, or sets of them, are judged by one figure.

    Attributes:
        margins: The least by which a comparison holds; negative where one fails.
        strict: 1 where it is right and no tie decides, else 0.
        lenient: 1 where it is right or a tie decides.
        average_picture: Half credit where every picture is the mean of all; None where no picture is asked.
        shorter_text: Half credit where the shorter text is taken; None likewise.
        chance: Of each, what random scores get.
    """

    margins: Floats
    strict: Floats
    lenient: Floats
    average_picture: Floats | None
    shorter_text: Floats | None
    chance: Floats


_PairScores = Callable[[Sequence[int], Item, Item], Floats]
"""From some examples (of one shape) and two items of each to a score of each example."""


def judge(figure: Figure, vectors: ProbeVectors) -> Credits:
    """What a figure says of each example."""
    count = len(vectors.texts_of_case)
    margins, blind, short, chances = (np.zeros(count) for _ in range(4))
    asks_pictures = True
    mean = vectors.images.astype(np.float64).mean(axis=0, keepdims=True)
    for shape, cases in _by_shape(vectors).items():
        comparisons = figure.comparisons(*shape)
        asks_pictures = any("image" in (kind for kind, _ in _items(each)) for each in comparisons)
        chances[cases] = chance(comparisons)
        margins[cases] = _least_margin(comparisons, cases, _dot_products(vectors, vectors.images))
        if asks_pictures:
            blind[cases] = _half(_least_margin(comparisons, cases, _dot_products(vectors, mean, same_picture=True)))
            short[cases] = _half(_least_margin(comparisons, cases, _shortness(vectors)))
    return Credits(
        margins=margins,
        strict=(margins > 0).astype(np.float64),
        lenient=(margins >= 0).astype(np.float64),
        average_picture=blind if asks_pictures else None,
        shorter_text=short if asks_pictures else None,
        chance=chances,
    )


def _half(margins: Floats) -> Floats:
    half: Floats = ((margins > 0).astype(np.float64) + (margins >= 0)) / 2
    return half


def _items(comparison: Comparison) -> tuple[Item, Item, Item]:
    return comparison.anchor, comparison.right, comparison.wrong


def _by_shape(vectors: ProbeVectors) -> dict[tuple[int, int], list[int]]:
    shapes: dict[tuple[int, int], list[int]] = {}
    for case, (images, texts) in enumerate(zip(vectors.images_of_case, vectors.texts_of_case, strict=True)):
        shapes.setdefault((len(images), len(texts)), []).append(case)
    return shapes


def _least_margin(comparisons: Sequence[Comparison], cases: Sequence[int], score: _PairScores) -> Floats:
    least = np.full(len(cases), np.inf)
    for each in comparisons:
        margin = score(cases, each.anchor, each.right) - score(cases, each.anchor, each.wrong)
        least = np.minimum(least, margin)
    return least


def _dot_products(
    vectors: ProbeVectors, images: NDArray[np.float32] | Floats, *, same_picture: bool = False
) -> _PairScores:
    tables: dict[str, NDArray[np.float32] | Floats] = {"image": images, "text": vectors.texts}

    def rows(cases: Sequence[int], item: Item) -> Ids:
        kind, place = item
        if kind == "image" and same_picture:
            return np.zeros(len(cases), np.int64)
        of_case = vectors.images_of_case if kind == "image" else vectors.texts_of_case
        return np.array([of_case[case][place] for case in cases])

    return lambda cases, one, other: scores_of_record(
        tables[one[0]], rows(cases, one), tables[other[0]], rows(cases, other)
    )


def _shortness(vectors: ProbeVectors) -> _PairScores:
    """The shorter the texts the higher, whatever the picture."""

    def score(cases: Sequence[int], one: Item, other: Item) -> Floats:
        total = np.zeros(len(cases))
        for kind, place in (one, other):
            if kind == "text":
                total -= vectors.text_lengths[[vectors.texts_of_case[case][place] for case in cases]]
        return total

    return score


def picture_groups(cases: Sequence[ProbeCase]) -> Ids:
    """The group of each example: those that share a picture, directly or through others, have the same. A picture is a
    file, whatever is cut out of it."""
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while parents[name] != name:
            parents[name] = parents[parents[name]]
            name = parents[name]
        return name

    firsts = []
    for case in cases:
        names = [picture.file if picture.row is None else f"{picture.file}\0{picture.row}" for picture in case.pictures]
        for name in names:
            parents.setdefault(name, name)
            parents[root(name)] = root(names[0])
        firsts.append(names[0])
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(root(name), len(numbers)) for name in firsts])


def all_results(data: ProbeData, credits_of: Mapping[str, Credits], groups: Ids) -> tuple[FigureResult, ...]:
    """Every figure of all examples, of the mean of subsets, and of each subset; then the figures of sets.

    credits_of: name of a figure -> its credits. groups: see `picture_groups`.
    """
    subsets = np.array([case.subset for case in data.cases], dtype=object)
    results: list[FigureResult] = []
    for figure in data.figures:
        results += _of_figure(figure.name, credits_of[figure.name], subsets, groups, data)
    for sets in data.set_figures:
        of_sets = _of_sets([case.sets.get(sets.name) for case in data.cases], sets.size, credits_of[sets.of], groups)
        if of_sets is not None:
            found, set_groups = of_sets
            names = np.full(len(set_groups), "", dtype=object)
            results += _of_figure(sets.name, found, names, set_groups, data)
    return tuple(results)


def _of_sets(keys: Sequence[str | None], size: int, judged: Credits, groups: Ids) -> tuple[Credits, Ids] | None:
    """What is right of sets: all of their examples. Sets that are not whole do not count."""
    members: dict[str, list[int]] = {}
    for case, key in enumerate(keys):
        if key is not None:
            members.setdefault(key, []).append(case)
    whole = np.array([rows for rows in members.values() if len(rows) == size], dtype=np.int64)
    if not len(whole):
        return None

    def least(values: Floats | None) -> Floats | None:
        return None if values is None else values[whole].min(axis=1)

    together = Credits(
        margins=judged.margins[whole].min(axis=1),
        strict=judged.strict[whole].min(axis=1),
        lenient=judged.lenient[whole].min(axis=1),
        average_picture=least(judged.average_picture),
        shorter_text=least(judged.shorter_text),
        chance=judged.chance[whole].prod(axis=1),
    )
    return together, groups[whole[:, 0]]


def _of_figure(
    name: str, judged: Credits, subsets: NDArray[np.object_], groups: Ids, data: ProbeData
) -> list[FigureResult]:
    names = [subset for subset in dict.fromkeys(subsets.tolist()) if subset]
    rows_of = {subset: np.flatnonzero(subsets == subset) for subset in (sorted(names) if data.whole else names)}
    results = [_of_rows(name, subset, judged, rows, groups) for subset, rows in rows_of.items()]
    if not data.whole:
        return results
    everything = [_of_rows(name, ALL, judged, np.arange(len(subsets)), groups)]
    counted = [rows for rows in rows_of.values() if len(rows) >= data.macro_least]
    if len(counted) > 1:
        everything.append(_mean_of(name, judged, counted, groups))
    return everything + results


def _of_rows(name: str, subset: str, judged: Credits, rows: Ids, groups: Ids) -> FigureResult:
    return _mean_of(name, judged, [rows], groups, subset=subset)


def _mean_of(name: str, judged: Credits, parts: Sequence[Ids], groups: Ids, *, subset: str = MACRO) -> FigureResult:
    """The mean over parts of the mean of each part, with intervals that draw groups of pictures."""
    rows = np.concatenate(parts)
    strict, lenient = judged.strict, judged.lenient
    values = np.stack([strict, (strict + lenient) / 2, lenient], axis=1)
    _, of_row = np.unique(groups[rows], return_inverse=True)
    n_groups = int(of_row.max()) + 1
    estimates = _estimates(values[rows], of_row, n_groups, np.repeat(np.arange(len(parts)), [len(p) for p in parts]))

    def mean(each: Floats | None) -> float | None:
        return None if each is None else float(np.mean([each[part].mean() for part in parts]))

    return FigureResult(
        figure=name,
        subset=subset,
        examples=len(rows),
        groups=n_groups,
        strict=estimates[0],
        half=estimates[1],
        lenient=estimates[2],
        tied=int(np.count_nonzero(strict[rows] != lenient[rows])),
        chance=float(np.mean([judged.chance[part].mean() for part in parts])),
        average_picture=mean(judged.average_picture),
        shorter_text=mean(judged.shorter_text),
    )


def _estimates(values: Floats, group_of_row: Ids, n_groups: int, part_of_row: Ids) -> list[Estimate]:
    """Of each column of values the mean over parts, with the interval of the bootstrap over groups. Where all rows are
    alike it would have no width: then it is Wilson's, for as many draws as there are groups."""
    n_parts = int(part_of_row.max()) + 1
    cells = group_of_row * n_parts + part_of_row
    counts = np.bincount(cells, minlength=n_groups * n_parts).reshape(n_groups, n_parts).astype(np.float64)
    found = []
    sums = [
        np.bincount(cells, column, n_groups * n_parts).reshape(n_groups, n_parts).astype(np.float64)
        for column in values.T
    ]
    resampled = np.concatenate(
        [_part_means(drawn, sums, counts) for drawn in image_draws(group_of_row, n_groups)], axis=0
    )
    for column, each in enumerate(sums):
        value = float(np.mean(each.sum(axis=0) / counts.sum(axis=0)))
        alike = value in (0.0, 1.0)
        found.append(Estimate(value, wilson_interval(value, n_groups) if alike else Interval.of(resampled[:, column])))
    return found


def _part_means(drawn: Floats, sums: Sequence[Floats], counts: Floats) -> Floats:
    """(draws, columns); a part that a draw has nothing of does not count in it."""
    totals = drawn @ counts
    with np.errstate(invalid="ignore"):
        return np.stack([np.nanmean((drawn @ each) / totals, axis=1) for each in sums], axis=1)
