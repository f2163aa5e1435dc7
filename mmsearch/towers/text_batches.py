"""Texts of similar length together, so that little is computed for padding: what text towers have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmsearch.blas import each_on_one_thread
from mmsearch.towers.transformer import Floats

__all__ = ["BatchedTexts"]

# Rows of a batch: matrix products are at full speed from some hundreds on, and temporary arrays stay small.
_TOKENS_AT_ONCE = 1024


class BatchedTexts(ABC):
    """A text tower."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Of its vectors."""

    @abstractmethod
    def lengths(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """How many tokens of each text can reach its vector."""

    @abstractmethod
    def forward(self, ids: NDArray[np.int64], length: int) -> Floats:
        """Texts of which the first `length` tokens are enough -> (n, dim)."""

    def encode(self, ids: NDArray[np.int64]) -> Floats:
        """(n, context length) token ids -> (n, dim) vectors, not normalised. Raises IndexError for ids beyond the
        vocabulary."""
        vectors = np.empty((len(ids), self.dim), np.float32)
        batches = list(_batches(self.lengths(ids)))

        def encode(batch: tuple[NDArray[np.intp], int]) -> None:
            rows, length = batch
            with np.errstate(all="ignore"):  # in each thread; whoever asked finds what is no number
                vectors[rows] = self.forward(ids[rows], length)

        each_on_one_thread(encode, batches)
        return vectors


def _batches(lengths: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], int]]:
    """(rows, their greatest length) of batches of similar length."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        # The longest of the next `n` is the last of them: take as many as fit.
        fitting = np.flatnonzero(np.arange(1, len(order) - start + 1) * lengths[order[start:]] > _TOKENS_AT_ONCE)
        past = start + max(1, int(fitting[0])) if len(fitting) else len(order)
        rows = order[start:past]
        yield rows, int(lengths[rows[-1]])
        start = past
