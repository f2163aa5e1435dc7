"""Measures the same queries with scores that are corrected for hubs.

alpha and k are chosen by two-fold cross-fitting over images: the queries of one half of the images are corrected by
what the other half's queries chose, so that every query counts and none judges its own choice. Where that is not seen
to help nothing is corrected, and the figures are the plain ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.evaluation.records import CorrectedDirection, CorrectedRanking, Items
from mmsearch.exact import VectorBlock, exact_search
from mmsearch.items import CAPTIONS, IMAGES
from mmsearch.metrics import (
    Direction,
    DirectionResult,
    Ids,
    Ranking,
    Relevance,
    Vectors,
    differences,
    intervals,
    per_query,
    rank_both,
    summarize,
)
from mmsearch.scoring import NO_CORRECTION, Bank, CorrectionTrial, Setting, bank_means, try_settings

__all__ = [
    "LEAST_IMAGES",
    "Banks",
    "CorrectedVectors",
    "DirectionBanks",
    "Side",
    "correct_direction",
    "given_bank",
    "own_banks",
    "split_images",
    "try_banks",
]

LEAST_IMAGES = 60
"""So many images have to ask or be asked for: of fewer an interval is wider than any gain."""
_BANK = 5_000  # a larger bank moves the means little and costs in proportion
_SAME = 1 - 1e-6  # float32 knows no better whether two vectors are one
_SCORES = 1 << 27  # the choice looks at so many scores at once; where there are more, at a sample of the queries


@dataclass(frozen=True, slots=True, eq=False)
class DirectionBanks:
    """What the items of one direction are corrected by.

    Attributes:
        of_fold: The bank that corrects for the queries of each fold.
        owners: int64 (n_items,), the owner of each item: what in a bank has the same owner does not count for it.
        source: Where the bank comes from, in words.
        size: How many vectors it has.
    """

    of_fold: tuple[Bank, Bank]
    owners: Ids
    source: str
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Banks:
    """The banks of both directions; None for a direction that is not corrected."""

    text_to_image: DirectionBanks | None
    image_to_text: DirectionBanks | None


@dataclass(frozen=True, slots=True, eq=False)
class CorrectedVectors:
    """Queries and items whose products are corrected scores: what is taken from an item stands in two further columns,
    one for the queries of each fold."""

    queries: Vectors
    items: Vectors


def split_images(items: Items) -> Ids:
    """The fold of each image, 0 or 1: (n_images,); half of those that ask or are asked for in each, by lot."""
    asked = np.unique(np.concatenate([items.image_of_caption, items.query_images]))
    folds = np.zeros(len(items.images), np.int64)
    folds[asked] = np.random.default_rng(0).permutation(len(asked)) % 2
    return folds


def given_bank(vectors: Vectors, items: Vectors, source: str) -> DirectionBanks:
    """A bank that came without names: vectors (m, dim), for items (n, dim), all L2-normalised.

    Nobody knows to which item its texts belong, so that they count for each. But what is an item itself, as where a
    gallery's images are given for a bank, does not count for that item: none would be lowered more.
    """
    bank = np.ascontiguousarray(vectors, np.float32)
    nearest = exact_search([VectorBlock(np.arange(len(items)), items)], bank, 1)
    owners = np.where(nearest.scores[:, 0] > _SAME, nearest.row_ids[:, 0], -1)
    with_owners = Bank(bank, owners)
    return DirectionBanks((with_owners, with_owners), np.arange(len(items)), source, len(bank))


def own_banks(images: Vectors, captions: Vectors, items: Items, folds: Ids) -> Banks:
    """Of what is measured itself: captions of one fold correct what the other fold's captions ask for, and never count
    for their own image; likewise with images. Each caption belongs to one image."""
    image_of_caption = np.full(len(captions), -1, np.int64)
    image_of_caption[items.query_captions] = items.image_of_caption

    def take(vectors: Vectors, owners: Ids, rows: Ids, noun: str, item_owners: Ids) -> DirectionBanks:
        rng = np.random.default_rng(0)
        banks = []
        for fold in (0, 1):
            others = rows[folds[owners[rows]] != fold]
            chosen = np.sort(rng.permutation(others)[:_BANK])
            banks.append(Bank(np.ascontiguousarray(vectors[chosen], np.float32), owners[chosen]))
        size = max(len(bank.vectors) for bank in banks)
        return DirectionBanks((banks[0], banks[1]), item_owners, f"{noun} of the other half of the images", size)

    numbers = np.arange(len(images))
    return Banks(
        take(captions, image_of_caption, items.query_captions, CAPTIONS.name, numbers),
        take(images, numbers, items.query_images, IMAGES.name, image_of_caption),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One direction of a measurement.

    Attributes:
        queries, items: Their vectors, L2-normalised.
        relevant: Of each query.
        image_of_query: What is resampled.
        folds: The fold of each query.
        plain: The ranking by score.
    """

    direction: Direction
    queries: Vectors
    items: Vectors
    relevant: Relevance
    image_of_query: Ids
    n_images: int
    folds: Ids
    plain: Ranking


def try_banks(
    queries: Vectors, items: Vectors, relevant: Relevance, image_of_query: Ids, folds: Ids, banks: DirectionBanks
) -> tuple[list[dict[int, NDArray[np.float64]]], CorrectionTrial]:
    """The means of items (n_items, dim) for the queries of each fold, and the choice of a setting by queries
    (n_queries, dim) of at least `LEAST_IMAGES`. image_of_query, folds: (n_queries,)."""
    means = [bank_means(items, bank.vectors, owners=banks.owners, bank_owners=bank.owners) for bank in banks.of_fold]
    sample = _sample_queries(len(queries), len(items))
    scores = queries[sample].astype(np.float32) @ items.astype(np.float32).T
    clusters = np.unique(image_of_query[sample], return_inverse=True)[1]
    return means, try_settings(scores, relevant.of(sample), means, folds[sample], clusters)


def correct_direction(
    side: Side, banks: DirectionBanks | None, ks: Sequence[int]
) -> tuple[CorrectedDirection, tuple[CorrectedVectors, CorrectedVectors] | None, CorrectedRanking | None]:
    """The figures with corrected scores; the vectors by which they come: (for each query by the setting that the
    other fold chose, for each query by its own fold's); and the ranking. Neither vectors nor ranking where nothing is
    corrected."""
    asking = len(np.unique(side.image_of_query))
    if banks is None or not banks.size:
        return _uncorrected(side, banks, ks, "not corrected: no bank was given"), None, None
    if asking < LEAST_IMAGES:
        why = f"not tried: queries of {asking:,} images, and {LEAST_IMAGES} are needed to judge by"
        return _uncorrected(side, banks, ks, why), None, None
    means, trial = try_banks(side.queries, side.items, side.relevant, side.image_of_query, side.folds, banks)
    chosen_by = trial.fold_settings

    def vectors(settings: tuple[Setting, Setting]) -> CorrectedVectors:
        """Of the settings that the queries of each fold are corrected by."""
        lowered = [setting.alpha * means[fold].get(setting.k, 0.0) for fold, setting in enumerate(settings)]
        taken = np.stack([-np.broadcast_to(each, len(side.items)) for each in lowered], axis=1)
        is_in_fold = np.equal(side.folds[:, None], [0, 1])
        return CorrectedVectors(
            np.concatenate([side.queries, is_in_fold.astype(side.queries.dtype)], axis=1),
            np.concatenate([side.items, taken.astype(side.items.dtype)], axis=1),
        )

    crossed = vectors((chosen_by[1], chosen_by[0]))
    ranking, _ = rank_both(crossed.queries, crossed.items, side.relevant, None, depth=side.plain.top.shape[1])
    assert ranking is not None
    by_figure = differences(per_query(side.plain, ks), per_query(ranking, ks), side.image_of_query, side.n_images)
    gain = by_figure["MRR"]
    if gain.interval.low <= 0:
        low, high = gain.interval.low, gain.interval.high
        why = (
            f"not corrected: that it helps was not seen (MRR {100 * gain.value:+.2f}, 95 % interval "
            f"{100 * low:+.2f} to {100 * high:+.2f})"
        )
        return _uncorrected(side, banks, ks, why), None, None
    setting = trial.chosen
    corrected = CorrectedDirection(
        result=_summarize(side, ranking, ks),
        alpha=setting.alpha,
        k=setting.k,
        fold_settings=tuple((each.alpha, each.k) for each in chosen_by),
        source=banks.source,
        bank=banks.size,
        why=f"MRR {100 * gain.value:+.2f}, 95 % interval {100 * gain.interval.low:+.2f} to "
        f"{100 * gain.interval.high:+.2f}",
        differences=by_figure,
    )
    own = crossed if chosen_by[0] == chosen_by[1] else vectors(chosen_by)
    taken = -crossed.items[:, -2:].astype(np.float64)
    return corrected, (crossed, own), CorrectedRanking(ranking, side.folds, taken)


def _uncorrected(side: Side, banks: DirectionBanks | None, ks: Sequence[int], why: str) -> CorrectedDirection:
    """The plain figures under the name of corrected ones, and why."""
    figures = per_query(side.plain, ks)
    return CorrectedDirection(
        result=_summarize(side, side.plain, ks),
        alpha=NO_CORRECTION.alpha,
        k=NO_CORRECTION.k,
        fold_settings=(),
        source=banks.source if banks else None,
        bank=banks.size if banks else 0,
        why=why,
        differences=differences(figures, figures, side.image_of_query, side.n_images),
    )


def _summarize(side: Side, ranking: Ranking, ks: Sequence[int]) -> DirectionResult:
    around = intervals(per_query(ranking, ks), side.image_of_query, side.n_images)
    return summarize(side.direction, ranking, len(side.items), ks, around, len(np.unique(side.image_of_query)))


def _sample_queries(n_queries: int, n_items: int) -> Ids:
    """As many queries as the choice can look at, of both folds, ascending."""
    most = max(2 * LEAST_IMAGES, _SCORES // max(1, n_items))
    if n_queries <= most:
        return np.arange(n_queries)
    return np.sort(np.random.default_rng(0).permutation(n_queries)[:most])
