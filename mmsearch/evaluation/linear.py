"""Zero-shot classification beside what learns from a few pictures, or from all: baselines that keep one honest."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders import Encoder
from mmsearch.encoders.prompts import templates_named
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.benchmark_encoding import encode_images, encode_texts, open_encoder
from mmsearch.evaluation.classification_task import ClassificationTask, read_task, shorten
from mmsearch.evaluation.classifiers import cache_scores, choose_penalty, fit_linear_probe, nearest_mean_scores
from mmsearch.evaluation.linear_records import PROTOCOL, Baseline, LinearOptions, LinearReport, LinearSystem
from mmsearch.evaluation.measuring import describe_hardware, find_versions
from mmsearch.evaluation.zeroshot import CLIP_SCALE, require_same_pictures
from mmsearch.metrics import Difference, Estimate, Ids, Interval, differences, image_draws
from mmsearch.progress import Progress, ProgressCallback, quiet

__all__ = ["evaluate_linear"]

_Floats: TypeAlias = NDArray[np.float64]
_SEED = 0


def evaluate_linear(
    images: str | os.PathLike[str],
    *,
    benchmark: str = "custom",
    encoder: str | Encoder | Sequence[str | Encoder] | None = None,
    options: LinearOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> LinearReport:
    """Compare zero-shot classification with nearest means, a cache and linear probes on the same held-out pictures.

    images, benchmark: as of `evaluate_zeroshot`; pictures to learn from, of which some are held out unless
    `options.test` names others. Raises BenchmarkError, EncoderError, GalleryBusy, StoreError.
    """
    options = options or LinearOptions()
    _check(options)
    task = _read_single(images, benchmark, options)
    test = None
    if options.test is not None:
        with _errors_of_test():
            test = _read_single(options.test, benchmark, options)
        of_task = {each.label for each in task.classes}
        if unknown := [each.label for each in test.classes if each.label not in of_task]:
            raise BenchmarkError(f"test: {shorten(unknown)}: no class of {task.folder}")
    task = _with_templates(task, options)  # takes seconds, where they come from open_clip: places are looked at before
    models = encoder if isinstance(encoder, Sequence) and not isinstance(encoder, str) else [encoder]
    systems: list[LinearSystem] = []
    first: _Split | None = None
    for model in models:
        opened = open_encoder(model, options.read.device, options.read.precision, announce)
        if any(opened.identity.fingerprint == system.encoder.fingerprint for system in systems):
            raise BenchmarkError(f"{opened.identity.spec} is the same encoder as one named before")
        split = _split(task, test, opened, options, first, progress)
        first = first or split
        systems.append(_Comparison(task, split, opened, options, progress).system())
    assert first is not None
    return LinearReport(
        benchmark=benchmark if task.known is None else task.known.name,
        title=task.title,
        layout=task.layout,
        classes=len(task.classes),
        learned=len(first.learned),
        asked=len(first.asked),
        templates=task.templates,
        seeds=options.seeds,
        systems=tuple(systems),
        problems=(*task.problems, *first.problems),
        protocol=PROTOCOL,
        versions=find_versions(),
        hardware=describe_hardware(),
    )


def _with_templates(task: ClassificationTask, options: LinearOptions) -> ClassificationTask:
    """With an ensemble beside the one template where neither data set nor options have several."""
    if options.read.templates or task.known is not None or len(task.templates) > 1:
        return task
    return replace(task, templates=templates_named((*task.templates, "simple")))


def _check(options: LinearOptions) -> None:
    if not options.shots or min(options.shots) < 1 or options.seeds < 1:
        raise BenchmarkError("shots and seeds are at least 1")
    if not 0 < options.test_share < 1:
        raise BenchmarkError(f"a share of {options.test_share} cannot be held out: name one between 0 and 1")


def _read_single(images: str | os.PathLike[str], benchmark: str, options: LinearOptions) -> ClassificationTask:
    task = read_task(images, benchmark, options.read)
    if task.multilabel:
        raise BenchmarkError(f"images: {task.folder}: pictures have several classes; baselines take one class each")
    return task


@contextmanager
def _errors_of_test() -> Iterator[None]:
    """Errors begin with what was given: of pictures that `options.test` names not with "images", which are others."""
    try:
        yield
    except BenchmarkError as error:
        words = str(error)
        if not words.startswith("images: "):
            raise
        raise type(error)(f"test: {words.removeprefix('images: ')}") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Split:
    """What is learned from and what is asked.

    Attributes:
        learned, asked: (n, dim) each.
        learned_classes, asked_classes: (n,) each.
        names: Of all pictures, in order.
        is_asked: (n_names,), which of them are asked; nothing where they come from another place.
    """

    learned: _Floats
    learned_classes: Ids
    asked: _Floats
    asked_classes: Ids
    names: tuple[str, ...]
    is_asked: NDArray[np.bool_]
    problems: tuple[str, ...]


def _split(
    task: ClassificationTask,
    test: ClassificationTask | None,
    encoder: Encoder,
    options: LinearOptions,
    first: "_Split | None",
    progress: ProgressCallback,
) -> _Split:
    vectors, classes, names = _encode(task, encoder, options, progress)
    if test is not None:
        with _errors_of_test():
            asked, asked_classes, asked_names = _encode(test, encoder, options, progress)
        of_label = {each.label: index for index, each in enumerate(task.classes)}
        mapped = np.array([of_label[each.label] for each in test.classes])[asked_classes]
        nobody = np.zeros(len(names), np.bool_)
        split = _Split(vectors, classes, asked, mapped, (*names, *asked_names), nobody, ())
    else:
        is_asked = first.is_asked if first is not None else _hold_out(vectors, classes, options.test_share)
        kept = ~is_asked
        split = _Split(vectors[kept], classes[kept], vectors[is_asked], classes[is_asked], names, is_asked, ())
    if first is not None:
        require_same_pictures(first.names, split.names)
    return replace(split, problems=tuple(_find_problems(split, task, options)))


def _encode(
    task: ClassificationTask, encoder: Encoder, options: LinearOptions, progress: ProgressCallback
) -> tuple[_Floats, Ids, tuple[str, ...]]:
    vectors, readable, _ = encode_images(
        *(task.folder, list(task.images), encoder),
        product=options.read.product,
        allow_missing=options.read.allow_missing,
        fresh=options.read.fresh,
        progress=progress,
    )
    classes = np.array([task.images[name].classes[0] for name in readable], np.int64)
    return vectors.astype(np.float64), classes, readable


def _hold_out(vectors: _Floats, classes: Ids, share: float) -> NDArray[np.bool_]:
    """Which pictures are asked: of each class that share, at least one and never all; of a class with one picture none.
    Pictures of equal vectors stand on one side, else what is asked would be known."""
    rng = np.random.default_rng(_SEED)
    _, content = np.unique(vectors, axis=0, return_inverse=True)
    chosen = np.zeros(int(content.max()) + 1, np.bool_)
    for number in range(int(classes.max()) + 1):
        contents = np.unique(content[classes == number])
        if len(contents) > 1:
            count = min(len(contents) - 1, max(1, round(share * len(contents))))
            chosen[rng.permutation(contents)[:count]] = True
    is_asked: NDArray[np.bool_] = chosen[content.reshape(-1)]
    return is_asked


def _find_problems(split: _Split, task: ClassificationTask, options: LinearOptions) -> Iterator[str]:
    counts = np.bincount(split.learned_classes, minlength=len(task.classes))
    if not len(split.asked):
        raise BenchmarkError("no picture can be held out: each class has one only")
    most = max(options.shots)
    scarce = [each.shown for each, count in zip(task.classes, counts, strict=True) if 0 < count < most]
    if scarce:
        yield f"{len(scarce):,} classes have fewer than {most} pictures to learn from, and give all: {shorten(scarce)}"
    without = [each.shown for each, count in zip(task.classes, counts, strict=True) if not count]
    if without:
        yield (
            f"{len(without):,} classes have no picture to learn from: {shorten(without)}. Zero-shot may answer them, "
            "what learns cannot"
        )
    known = {row.tobytes() for row in split.learned}
    if repeated := sum(row.tobytes() in known for row in split.asked):
        yield f"{repeated:,} pictures that are asked are among those that are learned from: learning is flattered"


class _Comparison:
    """All methods with one encoder."""

    def __init__(
        self,
        task: ClassificationTask,
        split: _Split,
        encoder: Encoder,
        options: LinearOptions,
        progress: ProgressCallback,
    ) -> None:
        self._task, self._split, self._encoder, self._options = task, split, encoder, options
        self._progress = progress
        self._n_classes = len(task.classes)
        self._scale = encoder.logit_scale or CLIP_SCALE
        names = [each.name for each in task.classes]
        templates = task.templates
        sets = [templates[:1], *([templates] if len(templates) > 1 else [])]
        self._texts = {
            len(each): encode_texts(encoder, names, each, progress, fresh=options.read.fresh)[0].astype(np.float64)
            for each in sets
        }

    def system(self) -> LinearSystem:
        """Everything, measured."""
        asked = self._split.asked
        zero = {count: self._right(asked @ texts.T)[None] for count, texts in self._texts.items()}
        reference = next(reversed(zero.values()))
        baselines = [
            self._baseline(f"zero-shot, {count} template{'s' if count > 1 else ''}", 0, right, "", reference)
            for count, right in zero.items()
        ]
        total = len(self._options.shots) * self._options.seeds + 1
        done = 0
        for shots in sorted(set(self._options.shots)):
            rounds = []
            for seed in range(self._options.seeds):
                self._report(done, total)
                rounds.append(self._learn(self._draw(shots, seed)))
                done += 1
            baselines += self._baselines(rounds, shots, reference)
        self._report(done, total)
        baselines += self._baselines([self._learn(np.arange(len(self._split.learned)))], None, reference)
        self._report(total, total)
        return LinearSystem(
            name=self._encoder.identity.spec,
            encoder=self._encoder.identity,
            device=self._encoder.device,
            precision=self._encoder.precision,
            baselines=tuple(baselines),
            verdict=_judge(baselines, sorted(set(self._options.shots))),
        )

    def _report(self, done: int, total: int) -> None:
        self._progress(Progress("learning", done, total))

    def _draw(self, shots: int, seed: int) -> Ids:
        """The rows of so many pictures of each class."""
        order = np.random.default_rng([_SEED, seed]).permutation(len(self._split.learned))
        classes = self._split.learned_classes[order]
        # A larger draw of the same seed holds the smaller one: curves rise by what was added.
        rows = [order[classes == number][:shots] for number in np.unique(classes)]
        return np.sort(np.concatenate(rows))

    def _learn(self, rows: Ids) -> dict[str, tuple[_Floats, str]]:
        """Method -> (n_asked,) right or wrong, and what was chosen."""
        learned, classes = self._split.learned[rows], self._split.learned_classes[rows]
        asked = self._split.asked
        texts = next(reversed(self._texts.values()))
        penalty = choose_penalty(learned, classes, self._n_classes)
        probe = fit_linear_probe(learned, classes, self._n_classes, penalty)
        scores = probe.scores(asked)
        scores[:, np.bincount(classes, minlength=self._n_classes) == 0] = -np.inf
        return {
            "nearest mean": (self._right(nearest_mean_scores(learned, classes, self._n_classes, asked)), ""),
            "cache": (self._right(cache_scores(texts, learned, classes, asked, self._scale)), ""),
            "linear probe": (self._right(scores), f"penalty {penalty:g}"),
        }

    def _right(self, scores: NDArray[np.floating[Any]]) -> _Floats:
        right: NDArray[np.bool_] = scores.argmax(axis=1) == self._split.asked_classes
        return right.astype(np.float64)

    def _baselines(
        self, rounds: list[dict[str, tuple[_Floats, str]]], shots: int | None, reference: _Floats
    ) -> Iterator[Baseline]:
        for method in rounds[0]:
            right = np.stack([each[method][0] for each in rounds])
            chosen = sorted({each[method][1] for each in rounds} - {""})
            yield self._baseline(method, shots, right, ", ".join(chosen), reference)

    def _baseline(self, method: str, shots: int | None, right: _Floats, setting: str, reference: _Floats) -> Baseline:
        """right: (n_seeds, n_asked)."""
        by_seed = right.mean(axis=1)
        classes = self._split.asked_classes
        counts = np.bincount(classes)
        by_class = np.bincount(classes, right.mean(axis=0))[counts > 0] / counts[counts > 0]
        return Baseline(
            method=method,
            shots=shots,
            top1=Estimate(float(right.mean()), Interval.of(_resample(right))),
            mean_per_class=float(by_class.mean()),
            lowest=float(by_seed.min()),
            highest=float(by_seed.max()),
            setting=setting,
            against=None if right is reference else _difference(reference, right),
        )


def _resample(right: _Floats) -> _Floats:
    """The mean in bootstrap samples of pictures, each with as many seeds, drawn from those there are. right: (n_seeds,
    n_asked)."""
    seeds, n = right.shape
    rng = np.random.default_rng(_SEED)
    means = []
    for drawn in image_draws(np.arange(n), n):
        by_seed: _Floats = drawn @ right.T / n
        chosen = rng.integers(seeds, size=by_seed.shape)
        means.append(np.take_along_axis(by_seed, chosen, axis=1).mean(axis=1))
    resampled: _Floats = np.concatenate(means)
    return resampled


def _difference(reference: _Floats, right: _Floats) -> Difference:
    """Against zero-shot: p over pictures, of the mean over seeds; the interval over pictures and seeds."""
    n = right.shape[1]
    paired = differences({"top1": reference[0]}, {"top1": right.mean(axis=0)}, np.arange(n), n)["top1"]
    return replace(paired, interval=Interval.of(_resample(right - reference)))


def _judge(baselines: Sequence[Baseline], shots: Sequence[int]) -> str:
    zero = next(each for each in reversed(baselines) if each.shots == 0)
    probes = {each.shots: each for each in baselines if each.method == "linear probe"}
    reached = next((count for count in shots if probes[count].top1.value >= zero.top1.value), None)
    whole = probes[None]
    gained = 100 * (whole.top1.value - zero.top1.value)
    side = "above" if gained >= 0 else "below"
    chance = "" if whole.against is not None and 0 not in whole.against.interval else ", which chance can make"
    of_all = f"From all pictures a linear probe gets {abs(gained):.1f} points {side} it{chance}."
    named = f"Zero-shot ({100 * zero.top1.value:.1f} %)"
    if reached is None:
        return f"{named} is not reached by a linear probe with {max(shots)} shots. {of_all}"
    probed = f"{reached} shot{'s' if reached > 1 else ''} of each class ({100 * probes[reached].top1.value:.1f} %)"
    return f"{named} is reached by a linear probe with {probed}. {of_all}"
