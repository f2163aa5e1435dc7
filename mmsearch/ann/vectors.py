"""The second copy of the vectors, in the order of an index's positions: rows to be scored again, a page fault each."""

import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmsearch.ann.records import FileRecord
from mmsearch.errors import StoreError
from mmsearch.exact import VectorBlock, Vectors

__all__ = ["VECTORS_FILE", "VectorFile", "map_vectors", "stored_blocks"]

_BLOCK_ROWS = 1 << 14

VECTORS_FILE = "vectors.npy"


class VectorFile:
    """`vectors.npy` while it is written: (rows, dim), as the gallery stores them, hashed on the way."""

    def __init__(self, folder: Path, rows: int, dim: int, dtype: str) -> None:
        self._path = folder / VECTORS_FILE
        self._shape = (rows, dim)
        self._dtype = np.dtype(dtype)
        self._digest = hashlib.blake2b(digest_size=16)
        self._file: BinaryIO | None = None

    def __enter__(self) -> "VectorFile":
        with _raise_store_errors(self._path):
            self._file = self._path.open("wb")
            np.lib.format.write_array_header_1_0(
                self._file,
                {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": self._shape},
            )
            self._file.flush()
        self._digest.update(self._path.read_bytes())
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        assert self._file is not None
        with self._file as file, _raise_store_errors(self._path):
            if kind is None:
                file.flush()
                os.fsync(file.fileno())

    def write_through(self, blocks: Iterable[VectorBlock]) -> Iterator[VectorBlock]:
        """The same blocks, each written before it is handed on. Raises StoreError."""
        assert self._file is not None
        for block in blocks:
            data = np.ascontiguousarray(block.vectors, self._dtype)
            with _raise_store_errors(self._path):
                self._file.write(data.data)
            self._digest.update(data.data)
            yield block

    @property
    def record(self) -> FileRecord:
        """The finished file."""
        return FileRecord(VECTORS_FILE, self._path.stat().st_size, self._digest.hexdigest())


def map_vectors(folder: Path) -> Vectors:
    """The copy, mapped, for reading single rows. Raises OSError, ValueError."""
    mapped = np.load(folder / VECTORS_FILE, mmap_mode="r", allow_pickle=False)
    if isinstance(mapped.base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
        # A row is a page or less: reading ahead would fetch thirty times what is asked for.
        mapped.base.madvise(mmap.MADV_RANDOM)
    vectors: Vectors = mapped.view(np.ndarray)
    return vectors


def stored_blocks(folder: Path, row_ids: NDArray[np.int64]) -> Iterator[VectorBlock]:
    """The rows of an index in the order of its positions, read in that order."""
    mapped = np.load(folder / VECTORS_FILE, mmap_mode="r", allow_pickle=False)
    for start in range(0, len(row_ids), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        yield VectorBlock(np.array(row_ids[rows]), np.array(mapped[rows]))


@contextmanager
def _raise_store_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if "No space left" in str(error) else error.strerror or str(error)
        raise StoreError(f"cannot write the index {path.parent}: {reason}. The gallery is as it was.") from error
