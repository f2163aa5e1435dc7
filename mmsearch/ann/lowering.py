"""Searches an IVF index for what is best when something is taken from the score of each row.

Rows of one list lie near to each other, and what is taken from them is much alike. So the mean of it over a list is
taken from the score of the list itself, before lists are chosen, and what remains of each row from the scores of those
rows that the codes find. Without, lists and codes would draw what has to be given up again.

FastScan codes take what remains into themselves: a vector gets one more dimension, a query -1 there, and what FAISS
ranks by is what is left of the scores. Of other codes many more rows are drawn, and the best of those chosen.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann.parts import load_faiss, structure_of
from mmsearch.ann.selections import choose_lists

__all__ = ["ListShares", "lists_of", "move_into_lowered_codes", "search_lists", "share_by_lists"]

# Of so many times the lists that are visited the best are chosen.
_LISTS_COMPARED = 8
_STARTING_FROM_LISTS = {"IndexIVFPQFastScan", "IndexIVFScalarQuantizer"}
"""Classes that, by residual, add to the score of a list, as it is given, what a row differs from its centre. IndexIVFPQ
takes the score of the centre anew."""
# FastScan keeps the codes of 32 rows together, for each pair of codes 32 bytes: in the lower and upper halves of bytes
# stand rows 0 to 15 and 16 to 31, in this order, of the first code and then of the second.
_BLOCK = 32
_ORDER = np.array([0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15])
_LEVELS = 16
# Few rows lose so much more than others that telling them apart would make the steps coarse for all.
_MOST_LEFT = 0.999


@dataclass(frozen=True, slots=True, eq=False)
class ListShares:
    """What is taken from scores, in two parts.

    Attributes:
        whole: (rows,), by position: what is taken from each.
        of_list: float32 (lists,): the mean over the rows of each list.
        left: float32 (rows,): what is still to be taken from the scores that `search_lists` gives.
    """

    whole: NDArray[np.float64]
    of_list: NDArray[np.float32]
    left: NDArray[np.float32]


def share_by_lists(ivf: Any, lowered: NDArray[np.float64]) -> ListShares:
    """Split what is taken from scores. lowered: (rows,), by position. ivf: what holds the lists."""
    of_list = np.zeros(ivf.nlist)
    left = lowered.copy()
    for number, positions in lists_of(ivf):
        of_list[number] = lowered[positions].mean()
        left[positions] -= of_list[number]
    if not _starts_from_lists(ivf):
        left = lowered
    return ListShares(lowered, of_list.astype(np.float32), left.astype(np.float32))


def move_into_lowered_codes(ivf: Any, left: NDArray[np.float32]) -> Any | None:
    """Move the lists of an IVF index into one whose codes hold what is left to be taken from scores; None where codes
    of its kind have no room.

    left: (rows,), by position, as of `ListShares`. Two codes of 4 bits are added, whose values add up to what is left,
    in 31 steps. The lists of `ivf` are empty then: nobody else may be searching it.
    """
    faiss = load_faiss()

    # As `load_faiss` gives it FAISS lays the codes of this class out as it is said above; of others that is not known.
    if type(ivf).__name__ != "IndexIVFPQFastScan" or not ivf.by_residual or ivf.bbs != _BLOCK or ivf.pq.nbits != 4:
        return None
    codes, shared = ivf.pq.M, ivf.pq.dsub
    if codes % 2 or ivf.metric_type != faiss.METRIC_INNER_PRODUCT or not len(left):
        return None
    lists = faiss.IndexFlatIP(ivf.d + 2 * shared)  # never asked: lists are chosen by those of `ivf`
    lowered = faiss.IndexIVFPQFastScan(lists, lists.d, ivf.nlist, codes + 2, 4, faiss.METRIC_INNER_PRODUCT, _BLOCK)
    lists.this.disown()
    lowered.own_fields = True
    lowest = float(left.min())
    step = max(float(np.quantile(left, _MOST_LEFT)) - lowest, 1e-9) / (2 * (_LEVELS - 1))
    centroids = np.zeros((codes + 2, _LEVELS, shared), np.float32)
    centroids[:codes] = faiss.vector_to_array(ivf.pq.centroids).reshape(codes, _LEVELS, shared)
    centroids[codes:, :, 0] = lowest / 2 + step * np.arange(_LEVELS)
    faiss.copy_array_to_vector(centroids.ravel(), lowered.pq.centroids)
    lowered.by_residual = lowered.is_trained = True
    steps = np.clip(np.rint((left - lowest) / step), 0, 2 * (_LEVELS - 1)).astype(np.uint8)
    first = steps // 2
    _move_lists(ivf, lowered, first, steps - first)
    return lowered


def _move_lists(ivf: Any, lowered: Any, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> None:
    """Move lists from one FastScan index into one with two codes more. first, second: (rows,), these, by position."""
    faiss = load_faiss()

    source, target = (faiss.downcast_InvertedLists(index.invlists) for index in (ivf, lowered))
    room = source.block_size
    assert target.block_size == room + _BLOCK
    for number, positions in lists_of(ivf):
        blocks = -(-len(positions) // _BLOCK)
        packed = np.empty((blocks, room + _BLOCK), np.uint8)
        packed[:, :room] = faiss.rev_swig_ptr(source.get_codes(number), blocks * room).reshape(blocks, room)
        for start, code in ((room, first), (room + _BLOCK // 2, second)):
            of_rows = np.zeros(blocks * _BLOCK, np.uint8)
            of_rows[: len(positions)] = code[positions]
            of_blocks = of_rows.reshape(blocks, _BLOCK)
            packed[:, start : start + _BLOCK // 2] = of_blocks[:, _ORDER] | of_blocks[:, _ORDER + _BLOCK // 2] << 4
        target.add_entries(number, len(positions), faiss.swig_ptr(positions), faiss.swig_ptr(packed))
        source.resize(number, 0)
    lowered.ntotal = ivf.ntotal
    empty = faiss.BlockInvertedLists(ivf.nlist, _BLOCK, room)
    empty.this.disown()
    ivf.replace_invlists(empty, True)  # those that were there keep the memory of their row ids


def lists_of(ivf: Any) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each list that is not empty, and the positions of its rows: a view."""
    faiss = load_faiss()

    for number in range(ivf.nlist):
        if size := ivf.invlists.list_size(number):
            yield number, faiss.rev_swig_ptr(ivf.invlists.get_ids(number), size)


def search_lists(
    ivf: Any,
    queries: NDArray[np.float32],
    k: int,
    shares: ListShares | None,
    *,
    selector: Any,
    nprobe: int,
    lowered_codes: Any | None = None,
    is_lowered: bool = False,
    among: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(scores, positions), both (n, k), best first: those that `shares.left` is still to be taken from.

    queries: (n, dim), contiguous, as the IVF index sees them. k: at most the rows. shares: None, nothing is taken.
    selector: an IDSelector or None. among: how many rows of each list it admits, and how many there are; then more
    lists are visited than `nprobe`, see `choose_lists`. lowered_codes: what `move_into_lowered_codes` has moved the
    lists into. is_lowered: what is left is taken by these codes, and not to be taken again.
    """
    faiss = load_faiss()

    nprobe = min(nprobe, ivf.nlist)
    compared = nprobe if shares is None else min(ivf.nlist, _LISTS_COMPARED * nprobe)
    scores, lists = ivf.quantizer.search(queries, compared if among is None else ivf.nlist)
    corrected = start = scores
    if shares is not None:
        corrected = np.where(lists < 0, np.float32(-np.inf), scores - shares.of_list[lists])
        start = corrected if _starts_from_lists(ivf) else scores
    rows = np.arange(len(lists))[:, None]
    if among is not None:
        order = np.argsort(-corrected, axis=1)
        columns, is_list = choose_lists(lists[rows, order], *among, nprobe=nprobe)
        best = order[rows, columns]
        start, lists = start[rows, best], np.where(is_list, lists[rows, best], -1)
        nprobe = lists.shape[1]
    elif lists.shape[1] > nprobe:
        best = np.argpartition(corrected, compared - nprobe, axis=1)[:, compared - nprobe :]
        start, lists = start[rows, best], lists[rows, best]
    start, visited = np.ascontiguousarray(start, np.float32), np.ascontiguousarray(lists, np.int64)
    searched = ivf
    if lowered_codes is not None:
        searched, wide = lowered_codes, np.zeros((len(queries), lowered_codes.d), np.float32)
        wide[:, : ivf.d] = queries
        wide[:, ivf.d :: ivf.pq.dsub] = -float(is_lowered)
        queries = wide
    hit_scores, positions = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    parameters = faiss.IVFSearchParameters(nprobe=nprobe, **({} if selector is None else {"sel": selector}))
    pointer = faiss.swig_ptr
    # FAISS's Python layer takes no parameters here, and what it takes instead is shared by all threads.
    searched.search_preassigned_c(
        *(len(queries), pointer(queries), k, pointer(visited), pointer(start)),
        *(pointer(hit_scores), pointer(positions), False, parameters),
    )
    return hit_scores, positions


def _starts_from_lists(ivf: Any) -> bool:
    assert structure_of(ivf) == "ivf"
    return type(ivf).__name__ in _STARTING_FROM_LISTS and bool(ivf.by_residual)
