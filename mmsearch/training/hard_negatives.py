"""Negatives that are worth telling apart: for each picture's text, other pictures that score nearly as high.

They are put into one batch with the pair (Yuksekgonul et al., NegCLIP, 2023), where the loss compares them. The worst
mistake is to call a picture wrong that the text describes too: what is near is often right. So what scores more than
95 % of what the text's own picture scores is left out (Moreira et al., NV-Retriever, 2024), and so is what is nearly
the same picture.
"""

from collections.abc import Iterator, Sequence, Set

import numpy as np
from numpy.typing import NDArray

from mmsearch.exact import VectorBlock, exact_search

__all__ = ["mine_hard_negatives", "order_with_hard_negatives"]

SHARE_OF_POSITIVE = 0.95
NEARLY_THE_SAME = 0.97
"""The cosine from which two pictures are held for one: edits and bursts in CLIP's space; the vectors of different
pictures of one subject stay below."""
_LOOKED_AT = 64  # hits of each text: enough that some are left when those that may be right are gone
_BLOCK = 8_192  # texts at a time: a bound on the memory


def mine_hard_negatives(
    images: NDArray[np.float32],
    texts: NDArray[np.float32],
    contents: NDArray[np.int64],
    *,
    count: int,
    share: float = SHARE_OF_POSITIVE,
    threads: int = 1,
) -> NDArray[np.int64]:
    """The rows of the hardest pictures for each text, hardest first, (n, count); -1 where there are fewer.

    images, texts: (n, dim), L2-normalised; text i belongs to image i. contents: (n,), equal for pictures of one
    content. share: a picture is left out that scores more than so much of what the text's own does; where that is not
    above 0, no picture is hard.

    >>> images = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
    >>> mine_hard_negatives(images, images, np.arange(4), count=2).tolist()
    [[1, 2], [0, 3], [3, 0], [2, 1]]
    """
    mined = np.full((len(texts), count), -1, dtype=np.int64)
    block = VectorBlock(np.arange(len(images), dtype=np.int64), images)
    for first in range(0, len(texts), _BLOCK):
        rows = np.arange(first, min(first + _BLOCK, len(texts)))
        found = exact_search([block], texts[rows], min(_LOOKED_AT, len(images)), threads=threads)
        own = np.einsum("ij,ij->i", images[rows], texts[rows])
        near = np.einsum("ij,ikj->ik", images[rows], images[found.row_ids]) >= NEARLY_THE_SAME
        hard = (
            (found.scores <= (share * own)[:, None])
            & (own > 0)[:, None]
            & (contents[found.row_ids] != contents[rows, None])
            & ~near
        )
        for row, candidates, is_hard in zip(rows, found.row_ids, hard, strict=True):
            kept = candidates[is_hard][:count]
            mined[row, : len(kept)] = kept
    return mined


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
