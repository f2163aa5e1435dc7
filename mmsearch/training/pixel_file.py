"""Pictures of a training set, decoded once: each epoch reads them again, and decoding costs more than a small model."""

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders import FastPreprocessing
from mmsearch.errors import ImageError, StoreError
from mmsearch.loading import DECODE_SECONDS, load_pixels
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.sources import read_picture
from mmsearch.training.records import TrainingPairs
from mmsearch.workers import Overdue, Workers

__all__ = ["PixelFile", "decode_pictures"]

_AHEAD = 4  # pictures a thread: enough that none waits, few enough that they stay a few megabytes


@dataclass(frozen=True, slots=True, eq=False)
class PixelFile:
    """Attributes:
    pixels: uint8 (n, H, W, 3), as the model takes them, mapped from the disk: what is not read takes no memory.
    rows: which row is which picture's, by where it is.
    skipped: (where it is, why) of those that hold no picture.
    """

    pixels: NDArray[np.uint8]
    rows: dict[str, int]
    skipped: tuple[tuple[str, str], ...]

    def of(self, files: Sequence[str | None]) -> NDArray[np.int64]:
        """The rows of some pictures, int64 (n,). All of them have to be there."""
        return np.array([self.rows[file] for file in files if file is not None], dtype=np.int64)

    def decoded(self, pairs: TrainingPairs) -> TrainingPairs:
        """Those pairs whose pictures are there."""
        kept = [number for number, file in enumerate(pairs.files) if file in self.rows]
        return pairs.of_images(np.array(kept, dtype=np.int64))


def decode_pictures(
    files: Sequence[str],
    fast: FastPreprocessing,
    target: Path,
    *,
    threads: int | None = None,
    progress: ProgressCallback = quiet,
) -> PixelFile:
    """Decode pictures into the file `target` (H x W x 3 bytes a picture and nothing else), a bounded number ahead.

    files: paths, URLs or members of archives. threads: None for all cores. Raises OSError where the disk is full.
    """
    count = threads or os.cpu_count() or 1
    rows: dict[str, int] = {}
    skipped: list[tuple[str, str]] = []
    pending: deque[tuple[str, Future[NDArray[np.uint8]]]] = deque()
    waiting = deque(dict.fromkeys(files))
    total = len(waiting)
    # Written and only then mapped: where the disk is full, a write is refused, and a mapped page ends the process.
    with target.open("wb") as written, Workers(count, "mmsearch-training") as workers:
        while waiting or pending:
            while waiting and len(pending) < count * _AHEAD:
                file = waiting.popleft()
                pending.append((file, workers.submit(lambda file: load_pixels(read_picture(file), fast), file)))
            file, future = pending.popleft()
            try:
                decoded = workers.result(future, DECODE_SECONDS)
            except (ImageError, StoreError, MemoryError) as error:
                skipped.append((file, str(error) or "out of memory"))
            except Overdue:
                skipped.append((file, f"not decoded within {DECODE_SECONDS:g} seconds"))
            except OSError as error:
                skipped.append((file, error.strerror or str(error)))
            else:
                written.write(np.ascontiguousarray(decoded, np.uint8).data)
                rows[file] = len(rows)
            progress(Progress("decoding", len(rows) + len(skipped), total, len(skipped)))
    shape = (len(rows), *fast.size, 3)
    pixels = np.memmap(target, np.uint8, "r", shape=shape) if rows else np.empty(shape, np.uint8)
    return PixelFile(pixels, rows, tuple(skipped))
