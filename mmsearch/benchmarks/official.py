"""What the project knows of the official benchmarks: their sizes and their splits."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.benchmarks.image_names import last_part

__all__ = ["OFFICIAL_CAPTIONS", "OFFICIAL_TEST", "data_folder", "official_order", "official_split"]

OFFICIAL_TEST = {"flickr8k": 1_000, "flickr30k": 1_000, "coco": 5_000}
"""Images in the official test split. A file without splits that holds no more cannot be a larger one by mistake."""
OFFICIAL_CAPTIONS = {"flickr8k": 5_000, "flickr30k": 5_000, "coco": 25_010}
"""Captions of these images, all of them."""

_KEPT = ("flickr30k", "coco")


def official_split(name: str, split: str) -> Path | None:
    """The list of the images of a Karpathy split, for coco and flickr30k, test and val; None for any other."""
    file = data_folder() / "splits" / f"{name}_karpathy_{split}.txt"
    return file if name in _KEPT and file.is_file() else None


def official_order(name: str, split: str | None, images: Sequence[str]) -> NDArray[np.int64]:
    """Positions of images in the order of their Karpathy split; as they are where one is not in it, or none is known.

    images: paths, of which the last part counts.
    """
    file = official_split(name, split or "test")
    place = {line: number for number, line in enumerate(file.read_text().split())} if file else {}
    places = [place.get(last_part(image), -1) for image in images]
    return np.arange(len(images)) if -1 in places else np.argsort(places, kind="stable")


def data_folder() -> Path:
    """The project's data: inside the package where it is installed, beside it in a checkout."""
    packaged = Path(__file__).parent / "data"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "data"
