"""Galleries that hold frames of films, pages, tiles and photos, without any file: vectors that are known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.gallery import open_writer
from mmsearch.identity import EncoderIdentity
from mmsearch.items import ImageRow
from tests.vectors import unit_vectors

__all__ = ["DIM", "frame", "film_vectors", "page", "photo", "tile", "write_items"]

DIM = 16


def photo(path: str) -> ImageRow:
    """A picture that is a file of its own."""
    return _row(path)


def frame(path: str, start_s: float, end_s: float | None = None) -> ImageRow:
    """A frame of a film."""
    return _row(f"{path}!/t={start_s:g}", start_s=start_s, end_s=end_s)


def page(path: str, number: int) -> ImageRow:
    """A page of a document."""
    return _row(f"{path}!/page={number}", page=number)


def tile(path: str, box: Sequence[float]) -> ImageRow:
    """A tile of a picture."""
    return _row(f"{path}!/box={','.join(f'{edge:g}' for edge in box)}", box=[*box])


def _row(path: str, **numbers: Any) -> ImageRow:
    return ImageRow(1, path, None, 1, 1, None, path.encode()[-16:], 640, 480, None, **numbers)


def film_vectors(rng: np.random.Generator, frames: int) -> NDArray[np.float32]:
    """(frames, DIM): scenes of some frames, each near the one before."""
    scenes = np.cumsum(rng.random(frames) < 0.2)
    centres = rng.normal(size=(scenes[-1] + 1, DIM))
    return unit_vectors(centres[scenes] + 0.4 * rng.normal(size=(frames, DIM))).astype(np.float32)


def write_items(folder: Path, items: Sequence[tuple[ImageRow, NDArray[np.float32]]]) -> Path:
    """A gallery of rows and their vectors, in this order."""

    with open_writer(folder, command="tests") as writer:
        writer.set_encoder(EncoderIdentity("tests", "sha256:0123", DIM), "float32")
        writer.append("images", [row for row, _ in items], np.stack([vector for _, vector in items]))
        writer.commit()
    return folder
