"""Zero-shot classification, which is retrieval: a picture is the query, the name of its class the relevant item."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders import Encoder
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.benchmark_encoding import encode_images, encode_texts, open_encoder
from mmsearch.evaluation.classification_task import ClassificationTask, PictureClasses, read_task, shorten
from mmsearch.evaluation.measuring import describe_hardware, find_versions
from mmsearch.evaluation.zeroshot_records import (
    CALIBRATION,
    INTERVALS,
    ONE_CLASS_EACH,
    SEVERAL_CLASSES,
    ClassResult,
    Confusion,
    ZeroShotCalibration,
    ZeroShotComparison,
    ZeroShotEvidence,
    ZeroShotItems,
    ZeroShotOptions,
    ZeroShotReport,
    ZeroShotSystem,
)
from mmsearch.exact import scores_of_record
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

__all__ = ["CLIP_SCALE", "evaluate_zeroshot", "require_same_pictures"]

_DEPTH = 5
"""Of the best classes that are kept for each picture; what top5 asks."""
CLIP_SCALE = 100.0
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
    task = read_task(images, benchmark, options)
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


def _classify(
    task: ClassificationTask, encoder: Encoder, options: ZeroShotOptions, progress: ProgressCallback
) -> _Classified:
    names = [each.name for each in task.classes]
    texts, truncated = encode_texts(encoder, names, task.templates, progress, fresh=options.fresh)
    vectors, readable, unreadable = encode_images(
        *(task.folder, list(task.images), encoder),
        product=options.product,
        allow_missing=options.allow_missing,
        fresh=options.fresh,
        progress=progress,
    )
    scale = encoder.logit_scale or CLIP_SCALE
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


def _gather_evidence(
    vectors: Vectors, texts: Vectors, pictures: list[PictureClasses], scale: float
) -> ZeroShotEvidence:
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
    right: dict[str, _Floats], actual: Ids, task: ClassificationTask
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
    scores: _Floats, task: ClassificationTask, pictures: list[PictureClasses]
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


def _judgements(pictures: list[PictureClasses], n_classes: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
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


def _compare(first: _Classified, second: _Classified, task: ClassificationTask) -> ZeroShotComparison:
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


def _find_problems(task: ClassificationTask, system: ZeroShotSystem) -> Iterator[str]:
    if empty := [result.folder for result in system.classes if not result.images]:
        figure = "mAP" if task.multilabel else "mean_per_class"
        yield (
            f"{len(empty):,} classes have no picture that was read: {shorten(empty)}. Their names are candidates; "
            f"{figure} leaves them out"
        )
    names = [each.name for each in task.classes]
    if repeated := [name for name, times in Counter(names).items() if times > 1]:
        yield (
            f"{len(repeated):,} names stand for several classes: {shorten(repeated)}. Their texts are equal, and of "
            "equal scores the class that comes first is taken"
        )
