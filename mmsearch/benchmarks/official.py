"""What the project knows of the official benchmarks: their sizes and their splits."""

from pathlib import Path

__all__ = ["OFFICIAL_CAPTIONS", "OFFICIAL_TEST", "data_folder", "official_split"]

OFFICIAL_TEST = {"flickr8k": 1_000, "flickr30k": 1_000, "coco": 5_000}
"""Images in the official test split. A file without splits that holds no more cannot be a larger one by mistake."""
OFFICIAL_CAPTIONS = {"flickr8k": 5_000, "flickr30k": 5_000, "coco": 25_010}
"""Captions of these images, all of them."""

_KEPT = ("flickr30k", "coco")


def official_split(name: str, split: str) -> Path | None:
    """The list of the images of a Karpathy split, for coco and flickr30k, test and val; None for any other."""
    file = data_folder() / "splits" / f"{name}_karpathy_{split}.txt"
    return file if name in _KEPT and file.is_file() else None


def data_folder() -> Path:
    """The project's data: inside the package where it is installed, beside it in a checkout."""
    packaged = Path(__file__).parent / "data"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "data"
