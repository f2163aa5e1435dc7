"""Published figures of retrieval and of zero-shot classification, each with where it stands and how it was measured.

They are kept in data/published_*.csv; `scripts/published_rows.py` writes larger ones from clones of their sources.
"""

import csv
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from mmsearch.benchmarks.official import data_folder
from mmsearch.errors import BenchmarkError

__all__ = [
    "PublishedAccuracy",
    "PublishedRow",
    "PublishedSource",
    "find_published",
    "find_published_accuracy",
    "require_published",
]

_KS = (1, 5, 10)
_ACCURACIES = ("top1", "top5", "mean_per_class", "map")


@dataclass(frozen=True, slots=True)
class PublishedSource:
    """Where figures were published.

    Attributes:
        repository: On GitHub, owner/name.
        file: Its path there.
        commit: The commit or release that was read.
        precision: "fp32" or "autocast"; empty where the source does not say.
        images: How pictures were prepared, where that was not by the checkpoint's own transform.
        captions: What was done to captions before they were encoded.
        places: To so many places of a share the figures are given.
        note: What else a reader has to know.
    """

    repository: str
    file: str
    commit: str
    precision: str
    images: str
    captions: str
    places: int
    note: str

    def __str__(self) -> str:
        return f"{self.repository} {self.file} @{self.commit[:7]}" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """What one source says of a model on a benchmark of retrieval.

    Attributes:
        benchmark: As `mmsearch eval` calls it, or as its authors do.
        language: Of the captions; "mean" for the source's own average over languages.
        spec: ARCH/TAG, as `--model` takes it.
        text_to_image: k -> R@k, of those that were published.
        image_to_text: The same for the other direction.
    """

    benchmark: str
    language: str
    spec: str
    text_to_image: dict[int, float]
    image_to_text: dict[int, float]
    source: PublishedSource


@dataclass(frozen=True, slots=True)
class PublishedAccuracy:
    """What one source says of a model on a benchmark of zero-shot classification.

    Attributes:
        benchmark: As `mmsearch eval zeroshot` calls it, or as CLIP_benchmark does, without "vtab/".
        spec: ARCH/TAG, as `--model` takes it.
        pictures: On how many pictures it was measured; None where that is not known.
        figures: "top1", "top5", "mean_per_class" and "map" -> a share, of those that were published.
    """

    benchmark: str
    spec: str
    pictures: int | None
    figures: dict[str, float]
    source: PublishedSource


def find_published(benchmark: str, spec: str, language: str = "en") -> tuple[PublishedRow, ...]:
    """What was published for an encoder spec (ARCH/TAG) on a benchmark, a row a source; empty where the project knows
    of nothing."""
    return _rows().get((benchmark, language, spec), ())


def find_published_accuracy(benchmark: str, spec: str) -> tuple[PublishedAccuracy, ...]:
    """The same for zero-shot classification."""
    return _accuracies().get((benchmark, spec), ())


def require_published(spec: str) -> str:
    """A spec for which something was published. Raises BenchmarkError, with the nearest ones."""
    known = sorted({name for _, _, name in _rows()})
    if spec in known:
        return spec
    folded = {name.casefold(): name for name in known}
    near = [folded[name] for name in difflib.get_close_matches(spec.casefold(), list(folded), n=5, cutoff=0.5)]
    hint = f"; near it: {', '.join(near)}" if near else ""
    raise BenchmarkError(f"nothing published is known of {spec}{hint}. All {len(known)} models: data/published_*.csv")


@cache
def _rows() -> dict[tuple[str, str, str], tuple[PublishedRow, ...]]:
    """(benchmark, language, spec) -> rows, those with the most figures first."""
    rows: dict[tuple[str, str, str], list[PublishedRow]] = {}
    for row in _read("published_retrieval.csv"):
        forward, backward = (
            {k: float(row[f"{side}_r{k}"]) for k in _KS if row[f"{side}_r{k}"]} for side in ("t2i", "i2t")
        )
        key = (row["benchmark"], row["language"], _spec(row))
        rows.setdefault(key, []).append(PublishedRow(*key, forward, backward, _sources()[row["source"]]))
    return {
        key: tuple(sorted(found, key=lambda row: -len(row.text_to_image) - len(row.image_to_text)))
        for key, found in rows.items()
    }


@cache
def _accuracies() -> dict[tuple[str, str], tuple[PublishedAccuracy, ...]]:
    rows: dict[tuple[str, str], list[PublishedAccuracy]] = {}
    for row in _read("published_zeroshot.csv"):
        figures = {name: float(row[name]) for name in _ACCURACIES if row[name]}
        key = (row["benchmark"], _spec(row))
        pictures = int(row["pictures"]) if row["pictures"] else None
        rows.setdefault(key, []).append(PublishedAccuracy(*key, pictures, figures, _sources()[row["source"]]))
    return {key: tuple(found) for key, found in rows.items()}


@cache
def _sources() -> dict[str, PublishedSource]:
    return {
        row["source"]: PublishedSource(
            row["repository"],
            row["file"],
            row["commit"],
            row["precision"],
            row["images"],
            row["captions"],
            int(row["places"]),
            row["note"],
        )
        for row in _read("published_sources.csv")
    }


def _spec(row: dict[str, str]) -> str:
    return f"{row['model']}/{row['pretrained']}" if row["pretrained"] else row["model"]


def _read(name: str) -> Iterator[dict[str, str]]:
    with (data_folder() / name).open(encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)
