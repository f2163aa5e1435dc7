"""Zero-shot classification, which is retrieval: a picture asks for the name of its class."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from mmsearch.benchmarks.names import is_image_name
from mmsearch.encoders import Encoder
from mmsearch.encoders.prompts import templates_named
from mmsearch.errors import BenchmarkError, StoreError
from mmsearch.locations import expanded
from mmsearch.metrics import Interval, Relevance, intervals, rank_both, recall_at_k
from mmsearch.pipeline.evaluate.encoding import encode_images, encode_texts, open_encoder
from mmsearch.pipeline.evaluate.measuring import hardware, versions
from mmsearch.records import EncoderIdentity, ProgressCallback, quiet

__all__ = [
    "ClassResult",
    "Confusion",
    "ZeroShotOptions",
    "ZeroShotReport",
    "evaluate_zeroshot",
    "templates_in",
    "write_zeroshot",
]

_DEFINITION = (
    "A picture is classified as the class whose text has the highest cosine with it; a class's text is the normalised "
    "mean of its name in all templates. top1 and top5 are shares of pictures; mean_per_class is the mean of the "
    "classes' own top1. Intervals are the middle 95 % of 2,000 bootstrap samples of pictures (seed 0)."
)


@dataclass(frozen=True, slots=True)
class ZeroShotOptions:
    """classes: a file of class names, a line each in the order of the sorted folders, or FOLDER<TAB>NAME; by default
    the folders' names with spaces for _ and -. templates: with a {} for the name, or names of sets. allow_missing: go
    on without pictures that cannot be read, and say so. product: prepare pictures as `embed` does."""

    classes: Path | None = None
    templates: tuple[str, ...] = ("a photo of a {}.",)
    allow_missing: bool = False
    product: bool = False
    device: str = "auto"
    precision: str = "fp32"


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One class: its folder, its name, its pictures, and the shares of them that are right at rank 1 and within 5."""

    folder: str
    name: str
    images: int
    top1: float
    top5: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many pictures of one class were taken for another. Both by name."""

    actual: str
    predicted: str
    images: int


@dataclass(frozen=True, slots=True)
class ZeroShotReport:
    """What an encoder scores without having been trained on these classes. confusions: of wrong answers, most frequent
    first. unreadable: pictures left out. truncated: filled templates longer than the model reads."""

    images: int
    encoder: EncoderIdentity
    device: str
    precision: str
    templates: tuple[str, ...]
    top1: float
    top5: float
    mean_per_class: float
    intervals: dict[str, Interval]
    classes: tuple[ClassResult, ...]
    confusions: tuple[Confusion, ...]
    unreadable: tuple[str, ...]
    truncated: int
    protocol: str = _DEFINITION
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)


def evaluate_zeroshot(
    images: str | os.PathLike[str],
    *,
    encoder: str | Encoder | None = None,
    options: ZeroShotOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> ZeroShotReport:
    """Classify pictures by the names of their classes.

    images: a folder with a folder of pictures for each class. Pictures go through the checkpoint's own transform, as in
    the published runs. Raises BenchmarkError, EncoderError, GalleryBusy, StoreError.
    """
    options = options or ZeroShotOptions()
    folder = Path(os.path.abspath(expanded(images)))  # noqa: PTH100 - resolve() would follow links
    members = _members(folder)
    names = _class_names(tuple(members), options.classes)
    templates = templates_named(options.templates)
    if not templates:
        raise BenchmarkError("no template: '{}' stands for the bare name")
    opened = open_encoder(encoder, options.device, options.precision, announce)
    texts, truncated = encode_texts(opened, names, templates, progress)
    every = [file for files in members.values() for file in files]
    vectors, read, unreadable = encode_images(
        folder, every, opened, product=options.product, allow_missing=options.allow_missing, progress=progress
    )
    place = {name: number for number, name in enumerate(members)}
    actual = np.array([place[file.split("/")[0]] for file in read])
    ranking, _ = rank_both(vectors, texts, Relevance.one_each(actual), None, depth=1)
    assert ranking is not None
    ranks = ranking.bounds.ranks
    right = {"top1": (ranks <= 1).astype(np.float64), "top5": (ranks <= 5).astype(np.float64)}
    classes = tuple(
        ClassResult(
            folder=name,
            name=names[number],
            images=int(np.count_nonzero(actual == number)),
            top1=float(right["top1"][actual == number].mean()) if (actual == number).any() else float("nan"),
            top5=float(right["top5"][actual == number].mean()) if (actual == number).any() else float("nan"),
        )
        for number, name in enumerate(members)
    )
    predicted = ranking.top[:, 0]
    wrong = np.flatnonzero(predicted != actual)
    pairs, counts = np.unique(np.stack([actual[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True)
    confusions = [Confusion(names[a], names[b], int(n)) for (a, b), n in zip(pairs.tolist(), counts, strict=True)]
    return ZeroShotReport(
        images=len(read),
        encoder=opened.identity,
        device=opened.device,
        precision=opened.precision,
        templates=templates,
        top1=recall_at_k(ranks, 1),
        top5=recall_at_k(ranks, 5),
        mean_per_class=float(np.nanmean([found.top1 for found in classes])),
        intervals=intervals(right, np.arange(len(read)), len(read)),
        classes=classes,
        confusions=tuple(sorted(confusions, key=lambda found: -found.images)),
        unreadable=unreadable,
        truncated=truncated,
        versions=versions(),
        hardware=hardware(),
    )


def _members(folder: Path) -> dict[str, list[str]]:
    """Class folder -> its pictures, POSIX paths relative to `folder`, sorted."""
    if not folder.is_dir():
        raise BenchmarkError(f"images: {folder} {'is not a folder' if folder.exists() else 'does not exist'}")
    members: dict[str, list[str]] = {}
    for inner in sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        files = [
            (Path(base) / name).relative_to(folder).as_posix()
            for base, _, names in os.walk(folder / inner)
            for name in names
            if is_image_name(name) and not name.startswith(".")
        ]
        if files:
            members[inner] = sorted(files)
    if len(members) < 2:
        raise BenchmarkError(
            f"images: {folder} has {len(members)} folders with pictures; zero-shot classification takes a folder for "
            "each class, at least two"
        )
    return members


def _class_names(folders: tuple[str, ...], file: Path | None) -> list[str]:
    if file is None:
        return _distinct([folder.replace("_", " ").replace("-", " ") for folder in folders])
    try:
        lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"classes: {file} cannot be read: {error}") from None
    if all("\t" in line for line in lines):
        named = {folder.strip(): name.strip() for folder, _, name in (line.partition("\t") for line in lines)}
        if absent := [folder for folder in folders if folder not in named]:
            raise BenchmarkError(f"classes: {file} has no name for the folder {absent[0]}")
        return _distinct([named[folder] for folder in folders])
    if len(lines) != len(folders):
        raise BenchmarkError(
            f"classes: {file} has {len(lines):,} names for {len(folders):,} folders; give a name a line in the order "
            "of the sorted folders, or FOLDER<TAB>NAME"
        )
    return _distinct(lines)


def _distinct(names: list[str]) -> list[str]:
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise BenchmarkError(f"classes: two folders are called {twice[0]!r}; give them names with --classes")
    return names


def templates_in(file: Path) -> tuple[str, ...]:
    """The templates in a file, one a line. Raises BenchmarkError."""
    try:
        lines = tuple(line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"templates: {file} cannot be read: {error}") from None
    if not lines:
        raise BenchmarkError(f"templates: {file} is empty; write one a line, with {{}} for the name")
    return lines


def write_zeroshot(report: ZeroShotReport, file: Path) -> None:
    """The report as JSON. Raises StoreError."""
    text = json.dumps(asdict(report), indent=1, ensure_ascii=False)
    try:
        file.write_text(f"{text}\n", "utf-8", errors="backslashreplace")
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error.strerror or error}") from error
