"""What a run would do and how long it would take, from its plan and a sample of its pictures."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np

from mmsearch.embedding.records import EmbedOptions
from mmsearch.encoders import Encoder
from mmsearch.errors import EncoderError
from mmsearch.items import DEFAULT_KIND
from mmsearch.loading import LoadOptions, load
from mmsearch.locations import Location
from mmsearch.sources import Member
from mmsearch.sync import Plan, Task
from mmsearch.workers import Workers

__all__ = ["Estimate", "Timing", "estimate"]

_SAMPLE = 64  # pictures: some seconds of work on a small machine
_BATCH = 16
_ROW_BYTES = 150  # of a row beside its vector, compressed: names, sizes, dates


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a sample took, and how long the run would take.

    Attributes:
        sample: how many pictures were encoded.
        unreadable: how many more files were drawn that hold no picture.
        load_seconds: for reading and decoding a file, with all decoders at work.
        encode_seconds: for encoding a picture.
        seconds: for the whole run.
        bottleneck: the slower of the two.
    """

    device: str
    precision: str
    sample: int
    unreadable: int
    load_seconds: float
    encode_seconds: float
    seconds: float
    bottleneck: Literal["reading and decoding", "encoding"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run would do.

    Attributes:
        new, changed, retried: files that it would embed, where their content is not known yet.
        gone: pictures that it would delete, since their files are no longer there.
        pieces: how many of those that it would embed are made of a part of a file: tiles, pages, frames.
        bytes: on the disk, of the rows of all that it would embed; None where the model cannot be loaded.
        timing: None where nothing has to be embedded, or where the model cannot be loaded.
        untimed: why the model cannot be loaded.
    """

    gallery: Location
    new: int
    changed: int
    retried: int
    unchanged: int
    still_skipped: int
    gone: int
    timing: Timing | None
    untimed: str | None = None
    pieces: int = 0
    bytes: int | None = None


def estimate(plan: Plan, gallery: Location, encoder: Callable[[], Encoder], options: EmbedOptions) -> Estimate:
    """Estimate a run of `plan`: read and encode a sample of it, and write nothing."""
    timing, untimed, size = None, None, None
    image_tasks = [task for task in plan.tasks if task.kind.side == DEFAULT_KIND.side]
    if image_tasks:
        try:
            loaded = encoder()
            timing = _time_sample(image_tasks, loaded, options)
            size = len(image_tasks) * (loaded.identity.dim * np.dtype(options.dtype).itemsize + _ROW_BYTES)
        except EncoderError as error:
            untimed = str(error)
    changed = sum(task.replaces is not None for task in plan.tasks)
    retried = sum(task.replaces is None and task.replaces_skipped is not None for task in plan.tasks)
    return Estimate(
        gallery=gallery,
        new=len(plan.tasks) - changed - retried,
        changed=changed,
        retried=retried,
        unchanged=plan.unchanged.total(),
        still_skipped=plan.still_skipped,
        gone=sum(root.vanished_count for root in plan.roots),
        timing=timing,
        untimed=untimed,
        pieces=sum(_container(task) is not None for task in image_tasks),
        bytes=size,
    )


def _time_sample(tasks: Sequence[Task], encoder: Encoder, options: EmbedOptions) -> Timing:
    sample = _sample(tasks)
    load_options = LoadOptions(options.max_pixels, options.exact, options.benchmark, options.seconds)
    threads = options.threads or os.cpu_count() or 1
    started = time.perf_counter()
    with Workers(threads, "mmsearch-load") as workers:
        files = (task.file for task in sample)
        loaded_files = list(load(files, lambda: encoder.image, workers, threads, options=load_options))
    load_seconds = (time.perf_counter() - started) / len(loaded_files)
    pixels = [loaded_files.pixels for loaded_files in loaded_files if loaded_files.pixels is not None]
    encode_seconds = _time_encoding(encoder, pixels, options.batch_size or _BATCH) if pixels else 0.0
    share = len(pixels) / len(loaded_files)
    loading, encoding = load_seconds * len(tasks), encode_seconds * share * len(tasks)
    # A GPU encodes while the processor decodes; on the processor the two share its cores.
    together = loading + encoding if encoder.device == "cpu" else max(loading, encoding)
    return Timing(
        device=encoder.device,
        precision=encoder.precision,
        sample=len(pixels),
        unreadable=len(loaded_files) - len(pixels),
        load_seconds=load_seconds,
        encode_seconds=encode_seconds,
        seconds=together,
        bottleneck="reading and decoding" if loading > encoding else "encoding",
    )


def _container(task: Task) -> str | None:
    """The file of which a picture is made; None of one that is a file itself, or one of an archive."""
    file = task.file
    return file.container.location if isinstance(file, Member) and file.span and file.container else None


def _sample(tasks: Sequence[Task]) -> list[Task]:
    """From all over, since folders differ; of several that are made of one file all, as they are made together."""
    together = [list(some) for _, some in groupby(enumerate(tasks), lambda each: _container(each[1]) or each[0])]
    number = max(1, min(len(together), round(_SAMPLE * len(together) / len(tasks))))
    chosen = np.linspace(0, len(together) - 1, number).astype(int)
    return [task for group in chosen for _, task in together[group]]


def _time_encoding(encoder: Encoder, pixels: Sequence[np.ndarray], batch_size: int) -> float:
    encoder.image.encode(encoder.image.stack(pixels[:batch_size]))  # the first batch warms up
    started = time.perf_counter()
    for start in range(0, len(pixels), batch_size):
        encoder.image.encode(encoder.image.stack(pixels[start : start + batch_size]))
    return (time.perf_counter() - started) / len(pixels)
