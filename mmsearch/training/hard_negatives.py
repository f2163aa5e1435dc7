"""Negatives that are worth telling apart: for each picture's text, other pictures that score nearly as high.

They are put into one batch with the pair (Yuksekgonul et al., NegCLIP, 2023), where the loss compares them. The worst
mistake is to call a picture wrong that the text describes too: what is near is often right. So what scores more than
95 % of what the text's own picture scores is left out (Moreira et al., NV-Retriever, 2024), and so is what is nearly
the same picture.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.exact import VectorBlock, exact_search
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.training.batches import RightGroups
from mmsearch.training.splitting import NEARLY_THE_SAME, away_from

__all__ = ["Look", "mine_hard_negatives", "order_with_hard_negatives"]

SHARE_OF_POSITIVE = 0.95
Look: TypeAlias = Callable[[NDArray[np.float32], int], NDArray[np.int64]]
"""(n, dim) texts and a count -> int64 (n, columns), the rows of the nearest pictures, nearest first, about so many of
each text; -1 for none."""

_LOOKED_AT = 64  # hits of each text: enough that some are left when those that may be right are gone
_BLOCK = 256  # texts at a time: a bound on the memory


def mine_hard_negatives(
    images: NDArray[np.float32],
    texts: NDArray[np.float32],
    contents: NDArray[np.int64],
    *,
    count: int,
    own: NDArray[np.int64] | None = None,
    share: float = SHARE_OF_POSITIVE,
    nearly_the_same: float = NEARLY_THE_SAME,
    right: RightGroups | None = None,
    look: Look | None = None,
    progress: ProgressCallback = quiet,
) -> NDArray[np.int64]:
    """The rows of the hardest pictures for each text, hardest first, (n, count); -1 where there are fewer.

    images: (m, dim), texts: (n, dim), L2-normalised. contents: (m,), equal for pictures of one content. own: (n,), the
    row of each text's own picture; None: text i belongs to image i. share: a picture is left out that scores more than
    so much of what the text's own does; where that is not above 0, no picture is hard. nearly_the_same: one whose
    cosine with the text's own is so high, the mean of all subtracted, is left out too. right: of the texts and images,
    which say the same; pictures of which the same is said are left out. look: what finds the nearest pictures; by
    default exact search.

    >>> images = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
    >>> mine_hard_negatives(images, images, np.arange(4), count=2).tolist()
    [[1, 2], [0, 3], [3, 0], [2, 1]]
    """
    own = np.arange(len(texts)) if own is None else own
    look = look or _look_exactly(images)
    mean = images.mean(axis=0, dtype=np.float64).astype(np.float32)
    mined = np.full((len(texts), count), -1, dtype=np.int64)
    for first in range(0, len(texts), _BLOCK):
        progress(Progress("looking for hard negatives", first, len(texts)))
        rows = np.arange(first, min(first + _BLOCK, len(texts)))
        pictures = own[rows]
        found = look(texts[rows], _LOOKED_AT)
        vectors = images[found]
        scores = np.einsum("ij,ikj->ik", texts[rows], vectors)
        of_own = np.einsum("ij,ij->i", images[pictures], texts[rows])
        near = np.einsum("ij,ikj->ik", away_from(mean, images[pictures]), away_from(mean, vectors)) >= nearly_the_same
        hard = (
            (found >= 0)
            & (scores <= (share * of_own)[:, None])
            & (of_own > 0)[:, None]
            & (contents[found] != contents[pictures, None])
            & (found != pictures[:, None])
            & ~near
        )
        if right is not None:
            hard &= ~right.each(rows, found)
        for row, candidates, is_hard in zip(rows, found, hard, strict=True):
            kept = candidates[is_hard][:count]
            mined[row, : len(kept)] = kept
    return mined


def _look_exactly(images: NDArray[np.float32]) -> Look:
    block = VectorBlock(np.arange(len(images), dtype=np.int64), images)
    return lambda texts, count: exact_search([block], texts, min(count, len(images)), threads=1).row_ids


def order_with_hard_negatives(order: Sequence[int], mined: NDArray[np.int64], *, each: int) -> list[int]:
    """The same rows in an order that has each row's hard negatives next to it: at most `each`, those that did not come
    before. Each row comes once.

    >>> order_with_hard_negatives([0, 1, 2, 3], np.array([[2], [3], [0], [1]]), each=1)
    [0, 2, 1, 3]
    """
    return list(_ordered(order, mined, each, set()))


def _ordered(order: Sequence[int], mined: NDArray[np.int64], each: int, done: Set[int]) -> Iterator[int]:
    done = set(done)
    for row in order:
        if row in done:
            continue
        done.add(row)
        yield row
        left = [other for other in mined[row].tolist() if other >= 0 and other not in done][:each]
        done.update(left)
        yield from left
