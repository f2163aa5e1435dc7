"""Zero-shot classification, which is retrieval: a picture is the query, the name of its class the relevant item."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.benchmarks.image_names import is_image_name
from mmsearch.encoders import Encoder
from mmsearch.encoders.prompts import templates_named
from mmsearch.errors import BenchmarkError, StoreError
from mmsearch.evaluation.benchmark_encoding import encode_images, encode_texts, open_encoder
from mmsearch.evaluation.measuring import describe_hardware, find_versions
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
    """How to classify.

    Attributes:
        classes: A file of class names, a line each in the order of the sorted folders, or FOLDER<TAB>NAME; by default
            the folders' names with spaces for _ and -.
        templates: Texts with a {} for the name, or names of sets.
        allow_missing: Go on without pictures that cannot be read, and say so.
        product: Prepare pictures as `embed` does.
        fresh: Encode all anew.
    """

    classes: Path | None = None
    templates: tuple[str, ...] = ("a photo of a {}.",)
    allow_missing: bool = False
    product: bool = False
    device: str = "auto"
    precision: str = "fp32"
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class ClassResult:
    """How well one class is recognised.

    Attributes:
        images: The number of its pictures.
        top1: The share of them that is right at rank 1; None where the class has no picture.
        top5: The share of them that is right within rank 5; None likewise.
    """

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
    """Two encoders on the same pictures.

    Attributes:
        differences: top1 and top5, second minus first, with interval and p.
    """

    first: str
    second: str
    differences: dict[str, Difference]


@dataclass(frozen=True, slots=True)
class ZeroShotReport:
    """What an encoder scores without having been trained on these classes.

    Attributes:
        confusions: Wrong answers, the most frequent first.
        unreadable: Pictures left out.
        truncated: The number of filled templates longer than the model reads.
        problems: What a reader has to know of the classes.
        others: The reports of further encoders.
        comparisons: The comparison of each of those with this one.
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
    files_of_folder = _find_members(folder)
    names_by_folder = _read_class_names(files_of_folder, options.classes)
    members = {name: files_of_folder[name] for name in names_by_folder}
    names = list(names_by_folder.values())
    folders_without_class = [name for name in files_of_folder if name not in names_by_folder]
    templates = templates_named(options.templates)
    if not templates:
        raise BenchmarkError("no template: '{}' stands for the bare name")
    models = encoder if isinstance(encoder, Sequence) and not isinstance(encoder, str) else [encoder]
    classifications: list[_Classification] = []
    for model in models:
        opened = open_encoder(model, options.device, options.precision, announce)
        if any(opened.identity.fingerprint == other.report.encoder.fingerprint for other in classifications):
            raise BenchmarkError(f"{opened.identity.spec} is the same encoder as one named before")
        classifications.append(_classify(folder, members, names, templates, opened, options, progress))
    first = classifications[0]
    for other in classifications[1:]:
        if other.readable_names != first.readable_names:
            unshared = sorted(set(other.readable_names) ^ set(first.readable_names))
            raise BenchmarkError(f"only some of the models can read {', '.join(unshared[:5])}: leave out these images")
    return replace(
        first.report,
        problems=_find_problems(names, first.report.classes, folders_without_class),
        others=tuple(other.report for other in classifications[1:]),
        comparisons=tuple(
            ZeroShotComparison(
                first.report.encoder.spec,
                other.report.encoder.spec,
                differences(
                    first.is_right, other.is_right, np.arange(len(first.readable_names)), len(first.readable_names)
                ),
            )
            for other in classifications[1:]
        ),
    )


@dataclass(frozen=True, slots=True)
class _Classification:
    """How one encoder classified the pictures.

    Attributes:
        readable_names: The names of the pictures that were read.
        is_right: Figure -> 1 or 0 for each of them.
    """

    report: ZeroShotReport
    readable_names: tuple[str, ...]
    is_right: dict[str, NDArray[np.float64]]


def _classify(
    folder: Path,
    members: dict[str, list[str]],
    names: list[str],
    templates: tuple[str, ...],
    encoder: Encoder,
    options: ZeroShotOptions,
    progress: ProgressCallback,
) -> _Classification:
    texts, truncated = encode_texts(encoder, names, templates, progress, fresh=options.fresh)
    files = [file for files in members.values() for file in files]
    vectors, readable_names, unreadable = encode_images(
        *(folder, files, encoder),
        product=options.product,
        allow_missing=options.allow_missing,
        fresh=options.fresh,
        progress=progress,
    )
    class_index = {name: number for number, name in enumerate(members)}
    actual = np.array([class_index[file.split("/")[0]] for file in readable_names])
    ranking, _ = rank_both(vectors, texts, Relevance.one_each(actual), None, depth=1)
    assert ranking is not None
    ranks = ranking.bounds.ranks
    is_right = {"top1": (ranks <= 1).astype(np.float64), "top5": (ranks <= 5).astype(np.float64)}
    counts = np.bincount(actual, minlength=len(members)).tolist()
    classes = tuple(
        ClassResult(
            folder=name,
            name=names[number],
            images=counts[number],
            top1=float(is_right["top1"][actual == number].mean()) if counts[number] else None,
            top5=float(is_right["top5"][actual == number].mean()) if counts[number] else None,
        )
        for number, name in enumerate(members)
    )
    report = ZeroShotReport(
        images=len(readable_names),
        encoder=encoder.identity,
        device=encoder.device,
        precision=encoder.precision,
        templates=templates,
        top1=recall_at_k(ranks, 1),
        top5=recall_at_k(ranks, 5),
        mean_per_class=float(np.mean([result.top1 for result in classes if result.top1 is not None])),
        intervals=intervals(is_right, np.arange(len(readable_names)), len(readable_names)),
        classes=classes,
        confusions=_find_confusions(actual, ranking.top[:, 0], _distinguish_names(names, tuple(members))),
        unreadable=unreadable,
        truncated=truncated,
        versions=find_versions(),
        hardware=describe_hardware(),
    )
    return _Classification(report, readable_names, is_right)


def _find_confusions(actual: Ids, predicted: Ids, names: list[str]) -> tuple[Confusion, ...]:
    wrong_rows = np.flatnonzero(predicted != actual)
    pairs, counts = np.unique(np.stack([actual[wrong_rows], predicted[wrong_rows]], axis=1), axis=0, return_counts=True)
    confusions = [Confusion(names[a], names[b], int(n)) for (a, b), n in zip(pairs.tolist(), counts, strict=True)]
    return tuple(sorted(confusions, key=lambda confusion: -confusion.images))


def _distinguish_names(names: list[str], folders: tuple[str, ...]) -> list[str]:
    """The names, and of those that several classes have the folder too."""
    times = Counter(names)
    return [name if times[name] == 1 else f"{name} ({folder})" for name, folder in zip(names, folders, strict=True)]


def _find_problems(
    names: list[str], classes: tuple[ClassResult, ...], folders_without_class: list[str]
) -> tuple[str, ...]:
    problems = []
    if folders_without_class:
        problems.append(
            f"{len(folders_without_class):,} folders without pictures are taken for no class: "
            f"{_shorten(folders_without_class)}. --classes with FOLDER<TAB>NAME makes them candidates"
        )
    if empty := [result.folder for result in classes if not result.images]:
        problems.append(
            f"{len(empty):,} classes have no picture that was read: {_shorten(empty)}. Their names are candidates; "
            "mean_per_class leaves them out"
        )
    if repeated := [name for name, times in Counter(names).items() if times > 1]:
        problems.append(
            f"{len(repeated):,} names stand for several classes: {_shorten(repeated)}. Their texts are equal, and of "
            "equal scores the class that comes first is taken"
        )
    return tuple(problems)


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _find_members(folder: Path) -> dict[str, list[str]]:
    """Class folder -> its pictures, POSIX paths relative to `folder`, sorted."""
    if not folder.is_dir():
        raise BenchmarkError(f"images: {folder} {'is not a folder' if folder.exists() else 'does not exist'}")
    members: dict[str, list[str]] = {}
    for class_folder in sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    ):
        files = [
            (Path(base) / name).relative_to(folder).as_posix()
            for base, _, names in os.walk(folder / class_folder)
            for name in names
            if is_image_name(name) and not name.startswith(".")
        ]
        members[class_folder] = sorted(files)
    if (filled := sum(map(bool, members.values()))) < 2:
        raise BenchmarkError(
            f"images: {folder} has {filled} folders with pictures; zero-shot classification takes a folder for "
            "each class, at least two"
        )
    return members


def _read_class_names(members: dict[str, list[str]], file: Path | None) -> dict[str, str]:
    """Folder -> name of each class. Names may repeat: ImageNet's hold "missile" and "sunglasses" twice. A folder
    without pictures is a class where the file names it."""
    filled = [folder for folder, pictures in members.items() if pictures]
    if file is None:
        return {folder: folder.replace("_", " ").replace("-", " ") for folder in filled}
    lines = _read_lines(file, "classes")
    if lines and all("\t" in line for line in lines):
        pairs = [(folder.strip(), name.strip()) for folder, _, name in (line.partition("\t") for line in lines)]
        if repeated := [folder for folder, times in Counter(folder for folder, _ in pairs).items() if times > 1]:
            raise BenchmarkError(f"classes: {file} names the folder {repeated[0]} twice")
        names_given = dict(pairs)
        if absent := [folder for folder in filled if folder not in names_given]:
            raise BenchmarkError(f"classes: {file} has no name for the folder {absent[0]}")
        return {folder: names_given[folder] for folder in members if folder in names_given}
    for folders in (filled, list(members)):
        if len(lines) == len(folders):
            return dict(zip(folders, lines, strict=True))
    raise BenchmarkError(
        f"classes: {file} has {len(lines):,} names for {len(filled):,} folders; give a name a line in the order "
        "of the sorted folders, or FOLDER<TAB>NAME"
    )


def _read_lines(file: Path, noun: str) -> list[str]:
    try:
        return [line.strip() for line in read_lines(file) if line.strip()]
    except OSError as error:
        raise BenchmarkError(f"{noun}: {file} cannot be read: {error.strerror or error}") from None


def templates_in(file: Path) -> tuple[str, ...]:
    """The templates in a file, one a line. Raises BenchmarkError."""
    lines = tuple(_read_lines(file, "templates"))
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
