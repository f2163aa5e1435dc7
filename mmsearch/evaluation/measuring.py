"""From vectors and what belongs together to all figures of a system, and from two systems to their differences."""

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version as version_of

import numpy as np

from mmsearch.evaluation.records import Comparison, EvaluationReport, Evidence, Items, SystemResult
from mmsearch.identity import EncoderIdentity
from mmsearch.locations import Location
from mmsearch.metrics import (
    Direction,
    DirectionResult,
    Hubness,
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
)
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.version import __version__

__all__ = ["MEAN_RECALL_KS", "Measured", "as_report", "as_system", "hardware", "measure", "versions"]

MEAN_RECALL_KS = (1, 5, 10)
"""The k whose R@k, in both directions, mean recall is the mean of, as papers have it."""
_LARGE = 1_000_000_000
"""Scores from which on the time is estimated before the work goes on: some ten seconds on two cores."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The part of a `SystemResult` that follows from vectors alone."""

    text_to_image: DirectionResult
    image_to_text: DirectionResult
    mean_recall: float
    mean_recall_interval: Interval
    health: SpaceHealth
    hubness: dict[Direction, Hubness]
    evidence: Evidence
    seconds: float


def measure(
    images: Vectors,
    captions: Vectors,
    items: Items,
    ks: Sequence[int],
    *,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> Measured:
    """All figures of vectors: images (n_images, dim) and captions (n_captions, dim), both L2-normalised, in the order
    of `items`."""
    started = time.monotonic()
    forward, backward = _ranked(images, captions, items, max(10, *ks), _Told(progress, announce))
    image_of_caption = items.image_of_caption
    every_k = sorted({*ks, *MEAN_RECALL_KS})
    means = {
        "text_to_image": resampled_means(per_query(forward, every_k), image_of_caption, len(images)),
        "image_to_text": resampled_means(per_query(backward, every_k), items.asking_images, len(images)),
    }
    asked = per_query(forward, ks).keys()
    intervals = {direction: {name: Interval.of(found[name]) for name in asked} for direction, found in means.items()}
    recalls = np.mean([found[f"R@{k}"] for found in means.values() for k in MEAN_RECALL_KS], axis=0)
    text_to_image = summarize(
        "text_to_image", forward, len(images), ks, intervals["text_to_image"], len(np.unique(image_of_caption))
    )
    image_to_text = summarize(
        "image_to_text", backward, len(captions), ks, intervals["image_to_text"], len(items.asking_images)
    )
    shares = [recall_at_k(side.bounds.ranks, k) for side in (forward, backward) for k in MEAN_RECALL_KS]
    return Measured(
        text_to_image=text_to_image,
        image_to_text=image_to_text,
        mean_recall=float(np.mean(shares)),
        mean_recall_interval=Interval.of(recalls),
        health=space_health(images, captions, items.asking_captions, image_of_caption),
        hubness={
            "text_to_image": hubness(forward.top, len(images)),
            "image_to_text": hubness(backward.top, len(captions)),
        },
        evidence=Evidence(images, captions, forward, backward),
        seconds=time.monotonic() - started,
    )


def as_report(
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
    """The report of systems that were measured on the same items: what was found of each, and how they differ."""
    return EvaluationReport(
        benchmark=benchmark,
        title=title,
        split=split,
        source=source,
        images=len(items.images),
        captions=len(items.captions),
        systems=tuple(systems),
        comparisons=compared(systems, items, ks),
        departures=tuple(departures),
        unreadable=tuple(unreadable),
        problems=tuple(problems),
        benchmark_hash=benchmark_hash(items),
        items=items,
        versions=versions(),
        hardware=hardware(),
    )


def as_system(
    measured: Measured,
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
    """What was measured, with what is known of where the vectors come from."""
    return SystemResult(
        name=name,
        encoder=encoder,
        device=device,
        precision=precision,
        preprocessing=preprocessing,
        templates=templates,
        text_to_image=measured.text_to_image,
        image_to_text=measured.image_to_text,
        mean_recall=measured.mean_recall,
        mean_recall_interval=measured.mean_recall_interval,
        health=measured.health,
        hubness=measured.hubness,
        truncated=truncated,
        gallery=gallery,
        via_index=(),
        published=(),
        encode_seconds=encode_seconds,
        rank_seconds=measured.seconds,
        evidence=measured.evidence,
    )


def compared(systems: Sequence[SystemResult], items: Items, ks: Sequence[int]) -> tuple[Comparison, ...]:
    """Every system against the first, in both directions; one with product preprocessing against the same encoder
    without it, since that is the difference which was asked for."""
    clusters = {"text_to_image": items.image_of_caption, "image_to_text": items.asking_images}
    found = []
    for system in systems[1:]:
        base = _base(system, systems)
        for direction, image_of_query in clusters.items():
            first, second = (per_query(getattr(one.evidence, direction), ks) for one in (base, system))
            told = differences(first, second, image_of_query, len(items.images))
            name: Direction = "text_to_image" if direction == "text_to_image" else "image_to_text"
            found.append(Comparison(base.name, system.name, name, told))
    return tuple(found)


def _base(system: SystemResult, systems: Sequence[SystemResult]) -> SystemResult:
    if system.preprocessing == "product":
        for other in systems:
            if other.encoder == system.encoder and other.preprocessing == "benchmark":
                return other
    return systems[0]


def _ranked(images: Vectors, captions: Vectors, items: Items, depth: int, told: "_Told") -> tuple[Ranking, Ranking]:
    """Both directions; in one pass where everything asks."""
    asking = items.asking_captions, items.asking_images
    if len(asking[0]) == len(captions) and len(asking[1]) == len(images):
        forward, backward = rank_both(
            captions, images, items.images_of_caption, items.captions_of_image, depth=depth, progress=told
        )
    else:
        forward, _ = rank_both(captions[asking[0]], images, items.images_of_caption, None, depth=depth, progress=told)
        _, backward = rank_both(captions, images[asking[1]], None, items.captions_of_image, depth=depth, progress=told)
    assert forward is not None
    assert backward is not None
    return forward, backward


class _Told:
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


def benchmark_hash(items: Items) -> str:
    """Over what decides the figures besides the vectors: names, texts, what belongs together, and their order."""
    relevant = items.images_of_caption
    parts = [items.images, items.captions, relevant.offsets.tolist(), relevant.positions.tolist()]
    text = json.dumps(parts).encode("utf-8", "surrogateescape")
    return "blake2b:" + hashlib.blake2b(text, digest_size=16).hexdigest()


def versions() -> dict[str, str]:
    libraries = ("torch", "open_clip_torch", "numpy", "pillow", "faiss-cpu")
    return {"mmsearch": __version__, "python": platform.python_version()} | {
        name: version_of(name) for name in libraries
    }


def hardware() -> dict[str, str]:
    return {"machine": platform.machine(), "system": platform.platform(), "cpus": str(os.cpu_count())}
