"""Some rows of an index, and how they are searched at the least cost.

Two ways lead to the best of a few rows: all of them are scored with their stored vectors, which is exact, or lists are
visited and the codes of other rows passed over. What both cost is known before: the first so much for each row, the
second so much for each byte of the codes that are visited, and for the rows among them that are scored again.

The best k of the share s of all rows are, where what is selected has nothing to do with the vectors, among the best k/s
of all rows, and these lie in more lists than the best k that the index was tuned for: of 1,000,000 synthetic rows, in
1.2 times as many for s = .1 and 3 times for s = .001, which is s to the power of -.16. Visited are 1/s**(1/3) times as
many lists as for all rows, where s is the share that is selected of the rows in the lists visited so far, for each
query: it goes on until it has come to where the selected rows are. Where that share is less than the share of all rows
that is selected, the selected ones lie away from the query, and so many times as many lists are visited again; all that
hold any where it is less than half. What is left there scores much alike, and is told apart by more candidates.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RowSelection", "choose_lists", "exact_is_cheaper"]

_SPREAD = 1 / 3
"""What the number of lists grows by: the inverse share of the selected rows to this power."""

_AWAY = 2.0
"""Selected rows that are so many times rarer where a query leads than elsewhere may be anywhere."""

# Nanoseconds, medians of one core over 1,000,000 x 512 in float16 (`scripts/bench_filters.py`); only ratios matter.
_READ_ROW = 900.0
_SCORE_ROW = 50.0
_VISIT_BYTE = 0.2
_RANK_LIST = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class RowSelection:
    """Rows of an index that are to be found.

    Attributes:
        positions: int64 (n,), ascending.
        per_list: int64 (lists,), how many of them each list holds; None where the index has no lists, or cannot pass
            over rows.
        selector: FAISS's own form of them; None where `per_list` is.
    """

    positions: NDArray[np.int64]
    per_list: NDArray[np.int64] | None = None
    selector: Any = None

    def __len__(self) -> int:
        return len(self.positions)


def exact_is_cheaper(
    selected: int, *, queries: int, rows: int, lists: int, nprobe: int, code_bytes: int, candidates: int
) -> bool:
    """Whether scoring all selected rows costs less than visiting lists of them.

    rows, lists, code_bytes: of the index. nprobe: so many lists are visited for all rows. candidates: scored again.
    """
    share = selected / rows
    visited = min(1.0, nprobe / lists * share**-_SPREAD) if selected else 0.0
    again = min(candidates, selected)
    exact = selected * (_READ_ROW + queries * _SCORE_ROW)
    of_query = visited * rows * code_bytes * _VISIT_BYTE + lists * _RANK_LIST + again * (_READ_ROW + _SCORE_ROW)
    return exact <= queries * of_query


def choose_lists(
    lists: NDArray[np.int64], selected: NDArray[np.int64], sizes: NDArray[np.int64], *, nprobe: int
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """(columns, whether there is a list) of the lists to visit for each query, both (n, most of them), best first.

    lists: (n, m), numbers of lists, best first; -1 for none. selected, sizes: how many selected rows and how many rows
    each holds; lists that hold no selected one are left out. nprobe: so many are visited where all rows are selected.

    >>> lists, selected, sizes = np.array([[0, 1, 2, 3]]), np.array([0, 10, 10, 10]), np.full(4, 10)
    >>> columns, there = choose_lists(lists, selected, sizes, nprobe=1)
    >>> np.take_along_axis(lists, columns, axis=1).tolist(), there.tolist()
    ([[1]], [[True]])
    """
    held = np.where(lists < 0, 0, selected[lists])
    passed = np.cumsum(np.where(lists < 0, 0, sizes[lists]), axis=1)
    share = np.clip(np.cumsum(held, axis=1) / np.maximum(1, passed), 1e-9, 1.0)
    fewer = np.maximum(1.0, selected.sum() / sizes.sum() / share)
    visited = np.arange(1, lists.shape[1] + 1)
    enough = visited >= nprobe * share**-_SPREAD * fewer
    enough &= fewer[:, min(nprobe, lists.shape[1]) - 1, None] <= _AWAY
    last = np.where(enough.any(axis=1), enough.argmax(axis=1), lists.shape[1] - 1)
    kept = (held > 0) & (visited <= 1 + last[:, None])
    width = max(1, int(np.count_nonzero(kept, axis=1).max(initial=0)))
    columns = np.argsort(~kept, axis=1, kind="stable")[:, :width]
    return columns, np.take_along_axis(kept, columns, axis=1)
