"""What the project knows of the official benchmarks: their splits, and the figures that were published on them."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["OFFICIAL_CAPTIONS", "OFFICIAL_TEST", "PublishedRow", "official_split", "find_published"]

OFFICIAL_TEST = {"flickr8k": 1_000, "flickr30k": 1_000, "coco": 5_000}
"""Images in the official test split. A file without splits that holds no more cannot be a larger one by mistake."""
OFFICIAL_CAPTIONS = {"flickr8k": 5_000, "flickr30k": 5_000, "coco": 25_010}
"""Captions of these images, all of them."""

_COLUMNS = {"flickr30k": "flickr", "coco": "coco"}
_DIRECTIONS = {"text_to_image": "t2i", "image_to_text": "i2t"}


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A published row.

    Attributes:
        text_to_image: k -> R@k, of those that were published.
        image_to_text: The same for the other direction.
        source: Where it was published.
    """

    model: str
    pretrained: str
    text_to_image: dict[int, float]
    image_to_text: dict[int, float]
    source: str


def official_split(name: str, split: str) -> Path | None:
    """The list of the images of a Karpathy split, for coco and flickr30k, test and val; None for any other."""
    file = _data_folder() / "splits" / f"{name}_karpathy_{split}.txt"
    return file if name in _COLUMNS and file.is_file() else None


def find_published(benchmark: str, spec: str) -> PublishedRow | None:
    """What was published for an encoder spec (ARCH/TAG) on a benchmark; None where the project knows of nothing."""
    return _published_rows(benchmark).get(spec)


@cache
def _published_rows(benchmark: str) -> dict[str, PublishedRow]:
    """spec -> row, from data/published_retrieval.csv."""
    column = _COLUMNS.get(benchmark)
    if column is None:
        return {}
    rows = {}
    with (_data_folder() / "published_retrieval.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            recall = {
                direction: {
                    k: float(row[f"{column}_{short}_r{k}"]) for k in (1, 5, 10) if row[f"{column}_{short}_r{k}"]
                }
                for direction, short in _DIRECTIONS.items()
            }
            if any(recall.values()):
                spec = f"{row['model']}/{row['pretrained']}"
                rows[spec] = PublishedRow(row["model"], row["pretrained"], **recall, source=row["source"])
    return rows


def _data_folder() -> Path:
    """The project's data: inside the package where it is installed, beside it in a checkout."""
    packaged = Path(__file__).parent / "data"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "data"
