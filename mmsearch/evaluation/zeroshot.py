"""Zero-shot classification, which is retrieval: a picture is the query, the name of its class the relevant item."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.benchmarks.class_sets import ClassFinder, ClassSet, load_class_set
from mmsearch.benchmarks.labelled_images import assign_classes, read_labelled_images
from mmsearch.benchmarks.model import LabelledImage, LabelledImages
from mmsearch.encoders import Encoder
from mmsearch.encoders.prompts import templates_named
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.benchmark_encoding import encode_images, encode_texts, open_encoder
from mmsearch.evaluation.measuring import describe_hardware, find_versions
from mmsearch.evaluation.zeroshot_records import (
    CALIBRATION,
    INTERVALS,
    ONE_CLASS_EACH,
    SEVERAL_CLASSES,
    ClassResult,
    Confusion,
    ZeroShotCalibration,
    ZeroShotClass,
    ZeroShotComparison,
    ZeroShotEvidence,
    ZeroShotItems,
    ZeroShotOptions,
    ZeroShotReport,
    ZeroShotSystem,
)
from mmsearch.exact import scores_of_record
from mmsearch.locations import Location
from mmsearch.metrics import (
    Difference,
    Estimate,
    Ids,
    Relevance,
    Vectors,
    auroc,
    calibration_error,
    differences,
    intervals,
    mean_average_precision,
    mean_average_precision_difference,
    mean_per_class,
    mean_per_class_difference,
    rank_both,
    reliability,
    wilson_interval,
)
from mmsearch.progress import ProgressCallback, quiet
from mmsearch.stores import read_lines

__all__ = ["evaluate_zeroshot", "templates_in"]

DEFAULT_TEMPLATES = ("a photo of a {}.",)
_DEPTH = 5
"""Of the best classes that are kept for each picture; what top5 asks."""
_CLIP_SCALE = 100.0
_ECE_BINS = 15
_SCORES_AT_ONCE = 1 << 22
_Floats: TypeAlias = NDArray[np.float64]


def evaluate_zeroshot(
    images: str | os.PathLike[str],
    *,
    benchmark: str = "custom",
    encoder: str | Encoder | Sequence[str | Encoder] | None = None,
    options: ZeroShotOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> ZeroShotReport:
    """Classify pictures by the names of their classes.

    images: a folder in one of the layouts of `read_labelled_images`. benchmark: a data set whose classes and templates
    are known (`class_set_names`); custom: the folders are the classes. encoder: several are compared with the first.
    Pictures go through the checkpoint's own transform, as in the published runs. Raises BenchmarkError, EncoderError,
    GalleryBusy, StoreError.
    """
    options = options or ZeroShotOptions()
    task = _read_task(images, benchmark, options)
    models = encoder if isinstance(encoder, Sequence) and not isinstance(encoder, str) else [encoder]
    classified: list[_Classified] = []
    for model in models:
        opened = open_encoder(model, options.device, options.precision, announce)
        if any(opened.identity.fingerprint == other.system.encoder.fingerprint for other in classified):
            raise BenchmarkError(f"{opened.identity.spec} is the same encoder as one named before")
        classified.append(_classify(task, opened, options, progress))
        require_same_pictures(classified[0].images, classified[-1].images)
    first = classified[0]
    systems = tuple(each.system for each in classified)
    return ZeroShotReport(
        benchmark=benchmark if task.known is None else task.known.name,
        title=task.title,
        layout=task.layout,
        figure=task.figure,
        names_source=task.names_source,
        images=len(first.images),
        classes=task.classes,
        templates=task.templates,
        systems=systems,
        comparisons=tuple(_compare(first, other, task) for other in classified[1:]),
        unreadable=first.unreadable,
        problems=(*task.problems, *_find_collapsed(systems), *_find_problems(task, systems[0])),
        protocol=" ".join(
            [
                SEVERAL_CLASSES if task.multilabel else ONE_CLASS_EACH,
                INTERVALS,
                *([] if task.multilabel else [CALIBRATION]),
            ]
        ),
        items=ZeroShotItems(
            images=first.images,
            files=tuple(str(task.folder / name) for name in first.images),
            classes=tuple(task.images[name].classes for name in first.images),
        ),
        versions=find_versions(),
        hardware=describe_hardware(),
    )


def require_same_pictures(first: Sequence[str], second: Sequence[str]) -> None:
    """Raises BenchmarkError where pictures could be read for one model only."""
    if tuple(first) != tuple(second):
        unshared = sorted(set(first) ^ set(second))
        raise BenchmarkError(f"only some of the models can read {', '.join(unshared[:5])}: leave out these images")


@dataclass(frozen=True, slots=True)
class _Picture:
    """The indices of the classes that a picture shows, and of those of which it is not known."""

    classes: tuple[int, ...]
    unjudged: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be classified.

    Attributes:
        known: The data set; None for pictures of one's own.
        images: name -> what it shows, in the order of the layout.
    """

    folder: Location
    known: ClassSet | None
    title: str
    layout: str
    figure: str
    names_source: str
    classes: tuple[ZeroShotClass, ...]
    templates: tuple[str, ...]
    images: dict[str, _Picture]
    multilabel: bool
    problems: tuple[str, ...]


def _read_task(images: str | os.PathLike[str], benchmark: str, options: ZeroShotOptions) -> _Task:
    known = None if benchmark == "custom" else load_class_set(benchmark)
    read = read_labelled_images(
        images,
        labels=options.labels,
        split=options.split,
        label_column=options.label_column,
        nested=known is not None,
    )
    templates = templates_named(
        options.templates or (known.templates if known else read.templates or DEFAULT_TEMPLATES)
    )
    if not templates:
        raise BenchmarkError("no template: '{}' stands for the bare name")
    problems: list[str] = []
    if known is not None:
        index_of, found = _find_classes(read, known, problems)
        labels = [folder or name for folder, name in zip(known.folders, known.names, strict=True)]
        names = list(known.names)
        if options.classes is not None:
            names = _read_names_in_order(options.classes, len(labels))
    else:
        index_of, labels, names = _own_classes(read, options.classes, problems)
        found = read.images
    pictures = {
        image.name: _Picture(
            tuple(sorted({index_of[label] for label in image.classes})),
            tuple(sorted({index_of[label] for label in image.unjudged})),
        )
        for image in found
    }
    multilabel = read.multilabel or (known is not None and known.multilabel)
    if known is not None and known.note:
        problems.append(known.note)
    return _Task(
        folder=read.folder,
        known=known,
        title=known.title if known else f"pictures of {read.folder.name}",
        layout=read.layout,
        figure=known.figure if known else "mAP" if multilabel else "top1",
        names_source=known.source
        if known
        else f"those of the {'labels' if options.labels else 'folders'}"
        if options.classes is None
        else options.classes.name,
        classes=tuple(
            ZeroShotClass(label, name, shown)
            for label, name, shown in zip(labels, names, _distinguish_names(names, labels), strict=True)
        ),
        templates=templates,
        images=pictures,
        multilabel=multilabel,
        problems=tuple(problems),
    )


def _find_classes(
    read: LabelledImages, known: ClassSet, problems: list[str]
) -> tuple[dict[str, int], Sequence[LabelledImage]]:
    """label -> index of the class in the data set, and the pictures of its classes."""
    used = {label for image in read.images for label in (*image.classes, *image.unjudged)}
    if read.numbered:
        return _find_numbers(read, known, problems), read.images
    finder = ClassFinder(known, read.labels)
    index_of, others = assign_classes(finder, sorted(used), known)
    if finder.guessed:
        problems.append(
            f"the numbers of the classes are taken to begin with {known.first_number}, as {known.title} counts"
        )
    if not others:
        return index_of, read.images
    problems.append(f"{len(others):,} folders are of other classes, and left out: {_shorten(others)}")
    left_out = set(others)
    return index_of, [image for image in read.images if not left_out & {*image.classes, *image.unjudged}]


def _find_numbers(read: LabelledImages, known: ClassSet, problems: list[str]) -> dict[str, int]:
    """The index of the class that each number of a layout is, which counts from 0: by its name where the layout names
    all of them as the data set does, else by the number itself."""
    try:
        finder = ClassFinder(known, read.names)
        named = {label: finder.find(name) for label, name in zip(read.labels, read.names, strict=False)}
    except BenchmarkError:  # a name that several classes have
        named = {}
    by_name = {label: index for label, index in named.items() if index is not None}
    if len(by_name) == len(read.labels) == len(set(by_name.values())):
        return by_name
    if len(read.labels) > len(known) or (read.names and len(read.names) != len(known)):
        raise BenchmarkError(
            f"images: {len(read.labels):,} classes, and {known.title} has {len(known):,}: another data set? Without "
            "its name the classes are those of the layout"
        )
    problems.append(f"classes are numbers, taken in the order of {known.title}; its names and templates are used")
    return {label: int(label) for label in read.labels}


def _own_classes(
    read: LabelledImages, file: Path | None, problems: list[str]
) -> tuple[dict[str, int], list[str], list[str]]:
    """label -> index, and the label and the name of each class. A folder without pictures is a class where the file
    names it."""
    counts = Counter(label for image in read.images for label in (*image.classes, *image.unjudged))
    if read.names and file is None:
        return {label: index for index, label in enumerate(read.labels)}, list(read.labels), list(read.names)
    if read.numbered and file is None:
        raise BenchmarkError(
            f"images: {read.layout}, whose {len(read.labels):,} classes are numbers without names: name the data set, "
            "or give --classes with a name a line"
        )
    name_of = _read_class_names({label: counts[label] for label in read.labels}, file)
    without_class = [label for label in read.labels if label not in name_of]
    if without_class:
        problems.append(
            f"{len(without_class):,} folders without pictures are taken for no class: {_shorten(without_class)}. "
            "--classes with FOLDER<TAB>NAME makes them candidates"
        )
    return {label: index for index, label in enumerate(name_of)}, list(name_of), list(name_of.values())


@dataclass(frozen=True, slots=True, eq=False)
class _Classified:
    """How one encoder classified the pictures.

    Attributes:
        images: The names of the pictures that were read.
        right: Figure -> 1 or 0 for each of them; nothing where pictures have several classes.
        scores: (n, n_classes) where pictures have several classes.
    """

    system: ZeroShotSystem
    images: tuple[str, ...]
    unreadable: tuple[str, ...]
    right: dict[str, _Floats]
    scores: _Floats | None


def _classify(task: _Task, encoder: Encoder, options: ZeroShotOptions, progress: ProgressCallback) -> _Classified:
    names = [each.name for each in task.classes]
    texts, truncated = encode_texts(encoder, names, task.templates, progress, fresh=options.fresh)
    vectors, readable, unreadable = encode_images(
        *(task.folder, list(task.images), encoder),
        product=options.product,
        allow_missing=options.allow_missing,
        fresh=options.fresh,
        progress=progress,
    )
    scale = encoder.logit_scale or _CLIP_SCALE
    pictures = [task.images[name] for name in readable]
    evidence = _gather_evidence(vectors, texts, pictures, scale)
    right: dict[str, _Floats] = {}
    scores = None
    if task.multilabel:
        scores = _all_scores(vectors, texts)
        figures, classes = _measure_rankings(scores, task, pictures)
        confusions: tuple[Confusion, ...] = ()
        calibration = None
    else:
        actual = np.array([picture.classes[0] for picture in pictures])
        right = {f"top{k}": (evidence.ranks <= k).astype(np.float64) for k in (1, 5)}
        figures, classes = _measure_answers(right, actual, task)
        confusions = _find_confusions(actual, evidence.top[:, 0], [each.shown for each in task.classes])
        calibration = _calibrate(evidence, scale, stated=encoder.logit_scale is not None)
    system = ZeroShotSystem(
        name=encoder.identity.spec,
        encoder=encoder.identity,
        device=encoder.device,
        precision=encoder.precision,
        figures=figures,
        classes=classes,
        confusions=confusions,
        calibration=calibration,
        truncated=truncated,
        evidence=evidence,
    )
    return _Classified(system, readable, unreadable, right, scores)


def _gather_evidence(vectors: Vectors, texts: Vectors, pictures: list[_Picture], scale: float) -> ZeroShotEvidence:
    # A picture without a class has no rank: it is ranked by any, and that is thrown away.
    relevant = Relevance.lists([list(picture.classes) or [0] for picture in pictures])
    depth = min(_DEPTH, len(texts))
    ranking, _ = rank_both(vectors, texts, relevant, None, depth=depth)
    assert ranking is not None
    top = ranking.top[:, :depth]
    rows = np.repeat(np.arange(len(top)), depth)
    scores = scores_of_record(vectors, rows, texts, top.ravel()).reshape(top.shape)
    totals = np.concatenate(list(_log_totals(vectors, texts, scale)))
    has_class = np.array([bool(picture.classes) for picture in pictures])
    return ZeroShotEvidence(
        top=top,
        scores=scores,
        chances=np.minimum(np.exp(scale * scores - totals[:, None]), 1.0),
        ranks=np.where(has_class, ranking.bounds.ranks, 0),
    )


def _log_totals(vectors: Vectors, texts: Vectors, scale: float) -> Iterator[_Floats]:
    """The logarithm of what a softmax divides by, of some pictures at a time."""
    columns = texts.astype(np.float64).T
    step = max(1, _SCORES_AT_ONCE // columns.shape[1])
    for start in range(0, len(vectors), step):
        logits = scale * (vectors[start : start + step].astype(np.float64) @ columns)
        highest = logits.max(axis=1)
        yield highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))


def _all_scores(vectors: Vectors, texts: Vectors) -> _Floats:
    """(n_images, n_classes) scores of record."""
    columns = np.arange(len(texts))
    step = max(1, _SCORES_AT_ONCE // len(texts))
    blocks = []
    for start in range(0, len(vectors), step):
        rows = np.arange(start, min(start + step, len(vectors)))
        pairs = np.repeat(rows, len(texts)), np.tile(columns, len(rows))
        blocks.append(scores_of_record(vectors, pairs[0], texts, pairs[1]).reshape(len(rows), -1))
    return np.concatenate(blocks)


def _measure_answers(
    right: dict[str, _Floats], actual: Ids, task: _Task
) -> tuple[dict[str, Estimate], tuple[ClassResult, ...]]:
    n = len(actual)
    around = intervals(right, np.arange(n), n)
    figures = {name: Estimate(float(values.mean()), around[name]) for name, values in right.items()}
    figures["mean_per_class"] = mean_per_class(right["top1"], actual)
    counts = np.bincount(actual, minlength=len(task.classes)).tolist()
    hits = {name: np.bincount(actual, values, len(task.classes)).tolist() for name, values in right.items()}
    classes = tuple(
        ClassResult(
            folder=each.label,
            name=each.name,
            images=count,
            top1=hits["top1"][number] / count if count else None,
            top5=hits["top5"][number] / count if count else None,
        )
        for number, (each, count) in enumerate(zip(task.classes, counts, strict=True))
    )
    return figures, classes


def _measure_rankings(
    scores: _Floats, task: _Task, pictures: list[_Picture]
) -> tuple[dict[str, Estimate], tuple[ClassResult, ...]]:
    relevant, judged = _judgements(pictures, len(task.classes))
    area, by_class = mean_average_precision(scores, relevant, judged)
    eleven, _ = mean_average_precision(scores, relevant, judged, "11-point")
    classes = tuple(
        ClassResult(
            folder=each.label,
            name=each.name,
            images=int(count),
            average_precision=float(precision) if count else None,
        )
        for each, count, precision in zip(task.classes, (relevant & judged).sum(axis=0), by_class, strict=True)
    )
    return {"mAP": area, "mAP_11_point": eleven}, classes


def _judgements(pictures: list[_Picture], n_classes: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(n_images, n_classes) each: what a picture shows, and what is known of it."""
    relevant = np.zeros((len(pictures), n_classes), np.bool_)
    judged = np.ones((len(pictures), n_classes), np.bool_)
    for row, picture in enumerate(pictures):
        relevant[row, list(picture.classes)] = True
        judged[row, list(picture.unjudged)] = False
    return relevant, judged


def _calibrate(evidence: ZeroShotEvidence, scale: float, *, stated: bool) -> ZeroShotCalibration:
    chances, is_right = evidence.chances[:, 0], evidence.ranks == 1
    positions = np.arange(len(chances))
    return ZeroShotCalibration(
        scale=scale,
        stated=stated,
        confidence=float(chances.mean()),
        error=calibration_error(chances, is_right, positions, len(chances), bins=_ECE_BINS, width=True),
        auroc=auroc(chances, is_right, positions, len(chances)),
        reliability=reliability(chances, is_right, positions, len(chances), bins=_ECE_BINS, width=True),
    )


def _compare(first: _Classified, second: _Classified, task: _Task) -> ZeroShotComparison:
    pictures = [task.images[name] for name in first.images]
    found: dict[str, Difference]
    if first.scores is not None and second.scores is not None:
        relevant, judged = _judgements(pictures, len(task.classes))
        both = (first.scores, second.scores, relevant, judged)
        found = {
            "mAP": mean_average_precision_difference(*both),
            "mAP_11_point": mean_average_precision_difference(*both, "11-point"),
        }
    else:
        actual = np.array([picture.classes[0] for picture in pictures])
        found = differences(first.right, second.right, np.arange(len(actual)), len(actual))
        found["mean_per_class"] = mean_per_class_difference(first.right["top1"], second.right["top1"], actual)
    return ZeroShotComparison(first.system.name, second.system.name, found)


def _find_confusions(actual: Ids, predicted: Ids, names: list[str]) -> tuple[Confusion, ...]:
    wrong_rows = np.flatnonzero(predicted != actual)
    pairs, counts = np.unique(np.stack([actual[wrong_rows], predicted[wrong_rows]], axis=1), axis=0, return_counts=True)
    confusions = [Confusion(names[a], names[b], int(n)) for (a, b), n in zip(pairs.tolist(), counts, strict=True)]
    return tuple(sorted(confusions, key=lambda confusion: -confusion.images))


def _distinguish_names(names: list[str], labels: list[str]) -> list[str]:
    """The names, and of those that several classes have the label too."""
    times = Counter(names)
    return [name if times[name] == 1 else f"{name} ({label})" for name, label in zip(names, labels, strict=True)]


def _find_collapsed(systems: Sequence[ZeroShotSystem]) -> Iterator[str]:
    for system in systems:
        for name in ("top1", "top5"):
            estimate = system.figures.get(name)
            if estimate is not None and estimate.interval.low == estimate.interval.high:
                wilson = wilson_interval(estimate.value, len(system.evidence.ranks))
                yield (
                    f"{name} of {system.name} is the same for every picture, so its interval collapses; Wilson's is "
                    f"{100 * wilson.low:.2f} to {100 * wilson.high:.2f}"
                )


def _find_problems(task: _Task, system: ZeroShotSystem) -> Iterator[str]:
    if empty := [result.folder for result in system.classes if not result.images]:
        figure = "mAP" if task.multilabel else "mean_per_class"
        yield (
            f"{len(empty):,} classes have no picture that was read: {_shorten(empty)}. Their names are candidates; "
            f"{figure} leaves them out"
        )
    names = [each.name for each in task.classes]
    if repeated := [name for name, times in Counter(names).items() if times > 1]:
        yield (
            f"{len(repeated):,} names stand for several classes: {_shorten(repeated)}. Their texts are equal, and of "
            "equal scores the class that comes first is taken"
        )


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _read_class_names(counts: dict[str, int], file: Path | None) -> dict[str, str]:
    """Label -> name of each class. counts: the pictures of each label. Names may repeat. A folder without pictures is a
    class where the file names it."""
    filled = [label for label, count in counts.items() if count]
    if file is None:
        return {label: label.replace("_", " ").replace("-", " ") for label in filled}
    lines = _read_lines(file, "classes")
    if lines and all("\t" in line for line in lines):
        pairs = [(label.strip(), name.strip()) for label, _, name in (line.partition("\t") for line in lines)]
        if repeated := [label for label, times in Counter(label for label, _ in pairs).items() if times > 1]:
            raise BenchmarkError(f"classes: {file} names the folder {repeated[0]} twice")
        names_given = dict(pairs)
        if absent := [label for label in filled if label not in names_given]:
            raise BenchmarkError(f"classes: {file} has no name for the folder {absent[0]}")
        return {label: names_given[label] for label in counts if label in names_given}
    for labels in (filled, list(counts)):
        if len(lines) == len(labels):
            return dict(zip(labels, lines, strict=True))
    raise BenchmarkError(
        f"classes: {file} has {len(lines):,} names for {len(filled):,} folders; give a name a line in the order "
        "of the sorted folders, or FOLDER<TAB>NAME"
    )


def _read_names_in_order(file: Path, count: int) -> list[str]:
    lines = _read_lines(file, "classes")
    if len(lines) != count:
        raise BenchmarkError(f"classes: {file} has {len(lines):,} names for the {count:,} classes of the data set")
    return lines


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
