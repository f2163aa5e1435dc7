"""Training, validation and held-out pairs: divided by picture, before anything is learned or chosen."""

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import TrainingError
from mmsearch.training.records import PairSplit, TrainingPairs

__all__ = ["FEWEST_IMAGES", "NEARLY_THE_SAME", "away_from", "centred", "group_images", "split_pairs"]

FEWEST_IMAGES = 30
"""With fewer pictures nothing can be said of a model: each part needs some."""

VALIDATION_SHARE, HELD_OUT_SHARE = 0.15, 0.25
_FEWEST_IN_PART = 5
NEARLY_THE_SAME = 0.93
"""The cosine of two vectors, the mean of all subtracted, from which on two pictures may be one. On postcards it takes
no two pictures for one, on 500 photos by CLIP neither (`scripts.negatives_protocol`)."""

_LARGEST_SHARE = 0.1  # of all pictures, that a group may have
_ROWS_AT_A_TIME = 1_024


def centred(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, dim), the mean of all subtracted, each of length 1 again: vectors of models like CLIP lie in a narrow cone,
    and what they share says nothing of two pictures."""
    return away_from(vectors.mean(axis=0), vectors)


def away_from(mean: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(…, dim), likewise of vectors whose mean, (dim,), is known."""
    moved: NDArray[np.float32] = vectors - mean
    moved /= np.maximum(np.linalg.norm(moved, axis=-1, keepdims=True), np.finfo(np.float32).tiny)
    return moved


def group_images(vectors: NDArray[np.float32], contents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which pictures show the same: int64 (n,), the number of a group for each.

    vectors: (n, dim). contents: (n,), equal where the bytes of the files are equal. Near-duplicates are known by their
    vectors; where these call too much the same (a tenth of all pictures in one group), by their contents alone.

    >>> alike = np.array([[1, 0, 0], [0.999, 0.04, 0], [0, 1, 0], [0, 0, 1], [0, 0.5, 0.8], [0.5, 0.5, 0]], np.float32)
    >>> same = group_images(np.repeat(alike, 5, axis=0), np.arange(30))
    >>> len(set(same.tolist()))
    30
    """
    directions = centred(vectors)
    _, by_content = np.unique(contents, return_inverse=True)
    pairs = [np.empty((0, 2), np.int64)]
    for start in range(0, len(directions), _ROWS_AT_A_TIME):
        rows, columns = np.nonzero(directions[start : start + _ROWS_AT_A_TIME] @ directions.T >= NEARLY_THE_SAME)
        near = np.stack([rows + start, columns], axis=1)
        pairs.append(near[near[:, 0] < near[:, 1]])
    groups = _joined(by_content.astype(np.int64), np.concatenate(pairs))
    if np.bincount(groups).max() > max(2, _LARGEST_SHARE * len(vectors)):
        return by_content.astype(np.int64)
    return groups


def split_pairs(pairs: TrainingPairs, *, seed: int = 0) -> PairSplit:
    """The pairs in three parts, of which none holds a group of another. The same seed, the same parts. Of classes each
    is divided alike: of four pictures one is held out and one is chosen by; a single one is learned from.

    Raises TrainingError where there are too few pictures that differ.
    """
    groups, sizes = np.unique(pairs.groups, return_counts=True)
    if len(groups) < FEWEST_IMAGES:
        raise TrainingError(
            f"pictures with captions: {pairs.images:,}, of which {len(groups):,} differ. That is too little to learn "
            f"from and to see whether it helped: at least {FEWEST_IMAGES} that differ are needed"
        )
    order = np.random.default_rng(seed).permutation(len(groups))
    if pairs.classes is not None:
        _, first = np.unique(pairs.groups, return_index=True)
        order = order[np.argsort(pairs.classes[first[order]], kind="stable")]
    upto = _share_before(sizes[order], None if pairs.classes is None else pairs.classes[first[order]])
    is_held_out = upto <= HELD_OUT_SHARE
    is_validation = ~is_held_out & (upto <= HELD_OUT_SHARE + VALIDATION_SHARE)
    parts = [is_held_out, is_validation, ~(is_held_out | is_validation)]
    if min(part.sum() for part in parts) < _FEWEST_IN_PART:
        raise TrainingError(
            f"too many of the {pairs.images:,} pictures show the same: they are kept on one side, and too few are left "
            "for the other. Pictures that differ more are needed"
        )
    held_out, validation, training = (
        pairs.of_images(np.flatnonzero(np.isin(pairs.groups, groups[order[part]]))) for part in parts
    )
    return PairSplit(training, validation, held_out)


def _share_before(sizes: NDArray[np.int64], classes: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """How far groups in an order reach into all pictures, 0 to 1, (n,). classes: of each group, ascending: how far the
    middle of each reaches into its class."""
    upto = np.cumsum(sizes)
    if classes is None:
        shares: NDArray[np.float64] = upto / upto[-1]
        return shares
    _, first, own = np.unique(classes, return_index=True, return_inverse=True)
    totals = np.add.reduceat(sizes, first)
    middles: NDArray[np.float64] = (upto - sizes / 2 - (upto[first] - sizes[first])[own]) / totals[own]
    return middles


def _joined(groups: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups that a pair connects become one; numbers from 0."""
    while len(pairs):
        ones, others = groups[pairs[:, 0]], groups[pairs[:, 1]]
        if np.array_equal(ones, others):
            break
        lowest = np.arange(groups.max() + 1)
        np.minimum.at(lowest, ones, others)
        np.minimum.at(lowest, others, ones)
        groups = lowest[groups]
    _, numbered = np.unique(groups, return_inverse=True)
    return numbered.astype(np.int64)
