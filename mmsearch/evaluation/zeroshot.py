"""Zero-shot classification, which is retrieval: a picture asks for the name of its class."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.benchmarks.names import is_image_name
from mmsearch.encoders import Encoder
from mmsearch.encoders.prompts import templates_named
from mmsearch.errors import BenchmarkError, StoreError
from mmsearch.evaluation.encoding import encode_images, encode_texts, open_encoder
from mmsearch.evaluation.measuring import hardware, versions
from mmsearch.identity import EncoderIdentity
from mmsearch.locations import expanded
from mmsearch.metrics import Difference, Ids, Interval, Relevance, differences, intervals, rank_both, recall_at_k
from mmsearch.progress import ProgressCallback, quiet
from mmsearch.stores import read_lines
from mmsearch.strict_json import json_text

__all__ = [
    "ClassResult",
    "Confusion",
    "ZeroShotComparison",
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
    on without pictures that cannot be read, and say so. product: prepare pictures as `embed` does. fresh: encode all
    anew."""

    classes: Path | None = None
    templates: tuple[str, ...] = ("a photo of a {}.",)
    allow_missing: bool = False
    product: bool = False
    device: str = "auto"
    precision: str = "fp32"
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One class: its folder, its name, its pictures, and the shares of them that are right at rank 1 and within 5; None
    where it has no picture."""

    folder: str
    name: str
    images: int
    top1: float | None
    top5: float | None


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many pictures of one class were taken for another. Both by name, with the folder where several have it."""

    actual: str
    predicted: str
    images: int


@dataclass(frozen=True, slots=True)
class ZeroShotComparison:
    """Two encoders on the same pictures. differences: top1 and top5, second minus first, with interval and p."""

    first: str
    second: str
    differences: dict[str, Difference]


@dataclass(frozen=True, slots=True)
class ZeroShotReport:
    """What an encoder scores without having been trained on these classes.

    confusions: of wrong answers, most frequent first. unreadable: pictures left out. truncated: filled templates longer
    than the model reads. problems: what is to be known of the classes. others: what further encoders score.
    comparisons: each of those with this one.
    """

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
    problems: tuple[str, ...] = ()
    others: tuple["ZeroShotReport", ...] = ()
    comparisons: tuple[ZeroShotComparison, ...] = ()


def evaluate_zeroshot(
    images: str | os.PathLike[str],
    *,
    encoder: str | Encoder | Sequence[str | Encoder] | None = None,
    options: ZeroShotOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> ZeroShotReport:
    """Classify pictures by the names of their classes.

    images: a folder with a folder of pictures for each class. encoder: several are compared with the first. Pictures go
    through the checkpoint's own transform, as in the published runs. Raises BenchmarkError, EncoderError, GalleryBusy,
    StoreError.
    """
    options = options or ZeroShotOptions()
    folder = Path(os.path.abspath(expanded(images)))  # noqa: PTH100 - resolve() would follow links
    found_folders = _members(folder)
    names_by_folder = _class_names(found_folders, options.classes)
    members = {name: found_folders[name] for name in names_by_folder}
    names = list(names_by_folder.values())
    no_class = [name for name in found_folders if name not in names_by_folder]
    templates = templates_named(options.templates)
    if not templates:
        raise BenchmarkError("no template: '{}' stands for the bare name")
    models = encoder if isinstance(encoder, Sequence) and not isinstance(encoder, str) else [encoder]
    found: list[_Classified] = []
    for model in models:
        opened = open_encoder(model, options.device, options.precision, announce)
        if any(opened.identity.fingerprint == other.report.encoder.fingerprint for other in found):
            raise BenchmarkError(f"{opened.identity.spec} is the same encoder as one named before")
        found.append(_classified(folder, members, names, templates, opened, options, progress))
    first = found[0]
    for other in found[1:]:
        if other.read != first.read:
            odd = sorted(set(other.read) ^ set(first.read))
            raise BenchmarkError(f"only some of the models can read {', '.join(odd[:5])}: leave out these images")
    return replace(
        first.report,
        problems=_problems(names, first.report.classes, no_class),
        others=tuple(other.report for other in found[1:]),
        comparisons=tuple(
            ZeroShotComparison(
                first.report.encoder.spec,
                other.report.encoder.spec,
                differences(first.right, other.right, np.arange(len(first.read)), len(first.read)),
            )
            for other in found[1:]
        ),
    )


@dataclass(frozen=True, slots=True)
class _Classified:
    """What one encoder made of the pictures. read: their names. right: figure -> 1 or 0 for each."""

    report: ZeroShotReport
    read: tuple[str, ...]
    right: dict[str, NDArray[np.float64]]


def _classified(
    folder: Path,
    members: dict[str, list[str]],
    names: list[str],
    templates: tuple[str, ...],
    encoder: Encoder,
    options: ZeroShotOptions,
    progress: ProgressCallback,
) -> _Classified:
    texts, truncated = encode_texts(encoder, names, templates, progress, fresh=options.fresh)
    every = [file for files in members.values() for file in files]
    vectors, read, unreadable = encode_images(
        *(folder, every, encoder),
        product=options.product,
        allow_missing=options.allow_missing,
        fresh=options.fresh,
        progress=progress,
    )
    class_of = {name: number for number, name in enumerate(members)}
    actual = np.array([class_of[file.split("/")[0]] for file in read])
    ranking, _ = rank_both(vectors, texts, Relevance.one_each(actual), None, depth=1)
    assert ranking is not None
    ranks = ranking.bounds.ranks
    right = {"top1": (ranks <= 1).astype(np.float64), "top5": (ranks <= 5).astype(np.float64)}
    counts = np.bincount(actual, minlength=len(members)).tolist()
    classes = tuple(
        ClassResult(
            folder=name,
            name=names[number],
            images=counts[number],
            top1=float(right["top1"][actual == number].mean()) if counts[number] else None,
            top5=float(right["top5"][actual == number].mean()) if counts[number] else None,
        )
        for number, name in enumerate(members)
    )
    report = ZeroShotReport(
        images=len(read),
        encoder=encoder.identity,
        device=encoder.device,
        precision=encoder.precision,
        templates=templates,
        top1=recall_at_k(ranks, 1),
        top5=recall_at_k(ranks, 5),
        mean_per_class=float(np.mean([each.top1 for each in classes if each.top1 is not None])),
        intervals=intervals(right, np.arange(len(read)), len(read)),
        classes=classes,
        confusions=_confusions(actual, ranking.top[:, 0], _told_apart(names, tuple(members))),
        unreadable=unreadable,
        truncated=truncated,
        versions=versions(),
        hardware=hardware(),
    )
    return _Classified(report, read, right)


def _confusions(actual: Ids, predicted: Ids, names: list[str]) -> tuple[Confusion, ...]:
    wrong = np.flatnonzero(predicted != actual)
    pairs, counts = np.unique(np.stack([actual[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True)
    confusions = [Confusion(names[a], names[b], int(n)) for (a, b), n in zip(pairs.tolist(), counts, strict=True)]
    return tuple(sorted(confusions, key=lambda confusion: -confusion.images))


def _told_apart(names: list[str], folders: tuple[str, ...]) -> list[str]:
    """The names, and of those that several classes have the folder too."""
    times = Counter(names)
    return [name if times[name] == 1 else f"{name} ({folder})" for name, folder in zip(names, folders, strict=True)]


def _problems(names: list[str], classes: tuple[ClassResult, ...], no_class: list[str]) -> tuple[str, ...]:
    found = []
    if no_class:
        found.append(
            f"{len(no_class):,} folders without pictures are taken for no class: {_some(no_class)}. --classes with "
            "FOLDER<TAB>NAME makes them candidates"
        )
    if empty := [each.folder for each in classes if not each.images]:
        found.append(
            f"{len(empty):,} classes have no picture that was read: {_some(empty)}. Their names are candidates; "
            "mean_per_class leaves them out"
        )
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        found.append(
            f"{len(twice):,} names stand for several classes: {_some(twice)}. Their texts are equal, and of equal "
            "scores the class that comes first is taken"
        )
    return tuple(found)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


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
        members[inner] = sorted(files)
    if (filled := sum(map(bool, members.values()))) < 2:
        raise BenchmarkError(
            f"images: {folder} has {filled} folders with pictures; zero-shot classification takes a folder for "
            "each class, at least two"
        )
    return members


def _class_names(members: dict[str, list[str]], file: Path | None) -> dict[str, str]:
    """Folder -> name of each class. Names may repeat: ImageNet's hold "missile" and "sunglasses" twice. A folder
    without pictures is a class where the file names it."""
    filled = [folder for folder, pictures in members.items() if pictures]
    if file is None:
        return {folder: folder.replace("_", " ").replace("-", " ") for folder in filled}
    lines = _lines_of(file, "classes")
    if lines and all("\t" in line for line in lines):
        pairs = [(folder.strip(), name.strip()) for folder, _, name in (line.partition("\t") for line in lines)]
        if twice := [folder for folder, times in Counter(folder for folder, _ in pairs).items() if times > 1]:
            raise BenchmarkError(f"classes: {file} names the folder {twice[0]} twice")
        named = dict(pairs)
        if absent := [folder for folder in filled if folder not in named]:
            raise BenchmarkError(f"classes: {file} has no name for the folder {absent[0]}")
        return {folder: named[folder] for folder in members if folder in named}
    for folders in (filled, list(members)):
        if len(lines) == len(folders):
            return dict(zip(folders, lines, strict=True))
    raise BenchmarkError(
        f"classes: {file} has {len(lines):,} names for {len(filled):,} folders; give a name a line in the order "
        "of the sorted folders, or FOLDER<TAB>NAME"
    )


def _lines_of(file: Path, what: str) -> list[str]:
    try:
        return [line.strip() for line in read_lines(file) if line.strip()]
    except OSError as error:
        raise BenchmarkError(f"{what}: {file} cannot be read: {error.strerror or error}") from None


def templates_in(file: Path) -> tuple[str, ...]:
    """The templates in a file, one a line. Raises BenchmarkError."""
    lines = tuple(_lines_of(file, "templates"))
    if not lines:
        raise BenchmarkError(f"templates: {file} is empty; write one a line, with {{}} for the name")
    return lines


def write_zeroshot(report: ZeroShotReport, file: Path) -> None:
    """The report as JSON. Raises StoreError."""
    text = json_text(asdict(report), indent=1)
    try:
        file.write_text(f"{text}\n", "utf-8", errors="backslashreplace")
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error.strerror or error}") from error
