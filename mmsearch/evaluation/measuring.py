"""Computes all figures of a system from vectors and relevance, and the differences between systems."""

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version as version_of

import numpy as np
from numpy.typing import NDArray

from mmsearch.evaluation.calibrating import calibrate_presence
from mmsearch.evaluation.correcting import Banks, Side, correct_direction, own_banks, split_images
from mmsearch.evaluation.records import (
    Comparison,
    Corrected,
    CorrectedRanking,
    EvaluationReport,
    Evidence,
    Items,
    PresenceCalibration,
    SystemResult,
)
from mmsearch.identity import EncoderIdentity
from mmsearch.locations import Location
from mmsearch.metrics import (
    Direction,
    DirectionResult,
    Hubness,
    Ids,
    Interval,
    Ranking,
    SpaceHealth,
    Vectors,
    differences,
    hubness,
    per_query,
    rank_both,
    recall_at_k,
    resampled_means,
    space_health,
    summarize,
    wilson_interval,
)
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.version import __version__

__all__ = [
    "MEAN_RECALL_KS",
    "Measurements",
    "build_report",
    "build_system_result",
    "describe_hardware",
    "measure",
    "find_versions",
]

MEAN_RECALL_KS = (1, 5, 10)
"""The k whose R@k, in both directions, mean recall is the mean of, as papers have it."""
_LARGE = 1_000_000_000
"""Scores from which on the time is estimated before the work goes on: some ten seconds on two cores."""


_UNCORRECTED: dict[Direction, CorrectedRanking | None] = {"text_to_image": None, "image_to_text": None}


@dataclass(frozen=True, slots=True)
class Measurements:
    """The part of a `SystemResult` that follows from vectors alone."""

    text_to_image: DirectionResult
    image_to_text: DirectionResult
    mean_recall: float
    mean_recall_interval: Interval
    health: SpaceHealth
    hubness: dict[Direction, Hubness]
    evidence: Evidence
    corrected: Corrected
    calibration: PresenceCalibration | None
    seconds: float


def measure(
    images: Vectors,
    captions: Vectors,
    items: Items,
    ks: Sequence[int],
    *,
    banks: Banks | None = None,
    correct: bool = True,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> Measurements:
    """All figures of vectors: images (n_images, dim) and captions (n_captions, dim), both L2-normalised, in the order
    of `items`.

    banks: what scores are corrected by; None: by other captions and images of what is measured, each of whose captions
    then belongs to one image. correct: whether it is measured what corrections do, and whether best scores tell what is
    there.
    """
    started = time.monotonic()
    forward, backward = _rank_both_directions(
        images, captions, items, max(10, *ks), _RankingProgress(progress, announce)
    )
    image_of_caption = items.image_of_caption
    every_k = sorted({*ks, *MEAN_RECALL_KS})
    means = {
        "text_to_image": resampled_means(per_query(forward, every_k), image_of_caption, len(images)),
        "image_to_text": resampled_means(per_query(backward, every_k), items.query_images, len(images)),
    }
    names = per_query(forward, ks).keys()
    intervals = {direction: {name: Interval.of(values[name]) for name in names} for direction, values in means.items()}
    recalls = np.mean([values[f"R@{k}"] for values in means.values() for k in MEAN_RECALL_KS], axis=0)
    text_to_image = summarize(
        "text_to_image", forward, len(images), ks, intervals["text_to_image"], len(np.unique(image_of_caption))
    )
    image_to_text = summarize(
        "image_to_text", backward, len(captions), ks, intervals["image_to_text"], len(items.query_images)
    )
    asking = min(len(np.unique(image_of_caption)), len(items.query_images))
    mean_recall = _mean_recall(forward, backward)
    corrected, calibration, rankings = (
        Corrected.unmeasured(text_to_image, image_to_text, mean_recall),
        None,
        _UNCORRECTED,
    )
    if correct:
        corrected, calibration, rankings = _correct_and_calibrate(
            images, captions, items, ks, banks, forward, backward, progress
        )
    return Measurements(
        text_to_image=text_to_image,
        image_to_text=image_to_text,
        mean_recall=mean_recall,
        mean_recall_interval=_interval_of_mean(mean_recall, recalls, asking),
        health=space_health(images, captions, items.query_captions, image_of_caption),
        hubness={
            "text_to_image": hubness(forward.top, len(images)),
            "image_to_text": hubness(backward.top, len(captions)),
        },
        evidence=Evidence(images, captions, forward, backward, rankings),
        corrected=corrected,
        calibration=calibration,
        seconds=time.monotonic() - started,
    )


def _interval_of_mean(value: float, resampled: NDArray[np.float64], asking: int) -> Interval:
    """The bootstrap's interval; Wilson's of as many draws as images ask where all shares are 0 or all are 1."""
    return wilson_interval(value, asking) if value in (0, 1) else Interval.of(resampled)


def _correct_and_calibrate(
    images: Vectors,
    captions: Vectors,
    items: Items,
    ks: Sequence[int],
    banks: Banks | None,
    forward: Ranking,
    backward: Ranking,
    progress: ProgressCallback,
) -> tuple[Corrected, PresenceCalibration | None, dict[Direction, CorrectedRanking | None]]:
    folds = split_images(items)
    banks = banks or own_banks(images, captions, items, folds)

    def side(direction: Direction, queries: Vectors, gallery: Vectors, asking: Ids, plain: Ranking) -> Side:
        return Side(direction, queries, gallery, plain.relevant, asking, len(images), folds[asking], plain)

    text_side = side("text_to_image", captions[items.query_captions], images, items.image_of_caption, forward)
    image_side = side("image_to_text", images[items.query_images], captions, items.query_images, backward)
    progress(Progress("correcting", 0, 3))
    text_to_image, vectors, text_ranking = correct_direction(text_side, banks.text_to_image, ks)
    progress(Progress("correcting", 1, 3))
    image_to_text, _, image_ranking = correct_direction(image_side, banks.image_to_text, ks)
    progress(Progress("correcting", 2, 3))
    calibration = calibrate_presence(text_side, vectors)
    progress(Progress("correcting", 3, 3))
    rankings: dict[Direction, CorrectedRanking | None] = {
        "text_to_image": text_ranking,
        "image_to_text": image_ranking,
    }
    mean_recall = _mean_recall(
        text_ranking.ranking if text_ranking else forward, image_ranking.ranking if image_ranking else backward
    )
    return Corrected(text_to_image, image_to_text, mean_recall), calibration, rankings


def _mean_recall(forward: Ranking, backward: Ranking) -> float:
    return float(np.mean([recall_at_k(side.bounds.ranks, k) for side in (forward, backward) for k in MEAN_RECALL_KS]))


def build_report(
    benchmark: str,
    title: str,
    source: str,
    systems: Sequence[SystemResult],
    items: Items,
    ks: Sequence[int],
    *,
    split: str | None = None,
    departures: Sequence[str] = (),
    unreadable: Sequence[str] = (),
    problems: Sequence[str] = (),
) -> EvaluationReport:
    """Builds the report of systems that were measured on the same items: their figures and differences."""
    return EvaluationReport(
        benchmark=benchmark,
        title=title,
        split=split,
        source=source,
        images=len(items.images),
        captions=len(items.captions),
        systems=tuple(systems),
        comparisons=compare_systems(systems, items, ks),
        departures=tuple(departures),
        unreadable=tuple(unreadable),
        problems=tuple(problems),
        benchmark_hash=hash_items(items),
        items=items,
        versions=find_versions(),
        hardware=describe_hardware(),
    )


def build_system_result(
    measurements: Measurements,
    name: str,
    *,
    encoder: EncoderIdentity | None = None,
    device: str | None = None,
    precision: str | None = None,
    preprocessing: str | None = None,
    templates: tuple[str, ...] = (),
    truncated: int = 0,
    gallery: Location | None = None,
    encode_seconds: float = 0.0,
) -> SystemResult:
    """Joins measurements with what is known of where the vectors come from."""
    return SystemResult(
        name=name,
        encoder=encoder,
        device=device,
        precision=precision,
        preprocessing=preprocessing,
        templates=templates,
        text_to_image=measurements.text_to_image,
        image_to_text=measurements.image_to_text,
        mean_recall=measurements.mean_recall,
        mean_recall_interval=measurements.mean_recall_interval,
        health=measurements.health,
        hubness=measurements.hubness,
        truncated=truncated,
        gallery=gallery,
        via_index=(),
        published=(),
        corrected=measurements.corrected,
        calibration=measurements.calibration,
        encode_seconds=encode_seconds,
        rank_seconds=measurements.seconds,
        evidence=measurements.evidence,
    )


def compare_systems(systems: Sequence[SystemResult], items: Items, ks: Sequence[int]) -> tuple[Comparison, ...]:
    """Compares every system with the first, in both directions; one with product preprocessing with the same encoder
    without it, since that is the difference which was asked for."""
    clusters = {"text_to_image": items.image_of_caption, "image_to_text": items.query_images}
    comparisons = []
    for system in systems[1:]:
        base = _find_base(system, systems)
        for direction, image_of_query in clusters.items():
            first, second = (per_query(getattr(each.evidence, direction), ks) for each in (base, system))
            system_differences = differences(first, second, image_of_query, len(items.images))
            name: Direction = "text_to_image" if direction == "text_to_image" else "image_to_text"
            comparisons.append(Comparison(base.name, system.name, name, system_differences))
    return tuple(comparisons)


def _find_base(system: SystemResult, systems: Sequence[SystemResult]) -> SystemResult:
    if system.preprocessing == "product":
        for other in systems:
            if other.encoder == system.encoder and other.preprocessing == "benchmark":
                return other
    return systems[0]


def _rank_both_directions(
    images: Vectors, captions: Vectors, items: Items, depth: int, progress: "_RankingProgress"
) -> tuple[Ranking, Ranking]:
    """Ranks both directions; in one pass where every item is a query."""
    queries = items.query_captions, items.query_images
    if len(queries[0]) == len(captions) and len(queries[1]) == len(images):
        forward, backward = rank_both(
            captions, images, items.images_of_caption, items.captions_of_image, depth=depth, progress=progress
        )
    else:
        forward, _ = rank_both(
            captions[queries[0]], images, items.images_of_caption, None, depth=depth, progress=progress
        )
        _, backward = rank_both(
            captions, images[queries[1]], None, items.captions_of_image, depth=depth, progress=progress
        )
    assert forward is not None
    assert backward is not None
    return forward, backward


class _RankingProgress:
    """Passes progress on, and says how long large work will take as soon as its first block tells."""

    def __init__(self, progress: ProgressCallback, announce: Callable[[str], None]) -> None:
        self._progress, self._announce = progress, announce
        self._started = time.monotonic()
        self._estimated = False

    def __call__(self, done: int, total: int) -> None:
        if total > _LARGE and not self._estimated:
            seconds = (time.monotonic() - self._started) * total / done
            self._announce(f"ranking {total:,} scores takes about {_duration(seconds)}")
            self._estimated = True
        self._progress(Progress("ranking", done, total))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def hash_items(items: Items) -> str:
    """Hashes what decides the figures besides the vectors: names, texts, relevance, and their order."""
    relevant = items.images_of_caption
    parts = [items.images, items.captions, relevant.offsets.tolist(), relevant.positions.tolist()]
    text = json.dumps(parts).encode("utf-8", "surrogateescape")
    return "blake2b:" + hashlib.blake2b(text, digest_size=16).hexdigest()


def find_versions() -> dict[str, str]:
    libraries = ("torch", "open_clip_torch", "numpy", "pillow", "faiss-cpu")
    return {"mmsearch": __version__, "python": platform.python_version()} | {
        name: version_of(name) for name in libraries
    }


def describe_hardware() -> dict[str, str]:
    return {"machine": platform.machine(), "system": platform.platform(), "cpus": str(os.cpu_count())}
