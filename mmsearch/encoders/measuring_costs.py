"""Counts an encoder's parameters and operations while it encodes, and times how many images a second it does.

Nothing is read from a model's description: what encodes is watched, so that every provider that computes with torch is
counted alike.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mmsearch.encoders.costs import EncoderCosts
from mmsearch.encoders.encoder import Encoder
from mmsearch.encoders.protocols import ImageLane, ImageSide

__all__ = ["measure_costs"]

_LONG_TEXT = "word " * 600  # longer than the context of every dual encoder: it is cut there
_BATCH = {"cpu": 8, "cuda": 128, "mps": 32}
_LEAST_SECONDS = 1.5
_MOST_LANES = 16


def measure_costs(encoder: Encoder, *, least_seconds: float = _LEAST_SECONDS) -> EncoderCosts:
    """Count and time an encoder with both sides. least_seconds: for so long images are encoded, after a first batch.

    Raises EncoderError.
    """
    import PIL.Image

    height, width = encoder.image.size or (224, 224)
    pixels = encoder.image.prepare(PIL.Image.new("RGB", (width, height), (120, 90, 60)))[np.newaxis]
    with _counting() as image_counts:
        encoder.image.encode_reference(pixels)  # fp32: what is packed in int8 could not be counted
    with _counting() as text_counts:
        encoder.text.encode([_LONG_TEXT])
    return EncoderCosts(
        image_parameters=image_counts.parameters,
        text_parameters=text_counts.parameters,
        image_flops=image_counts.flops,
        text_flops=text_counts.flops,
        images_per_second=_images_per_second(encoder.image, pixels, encoder.device, least_seconds),
        device=encoder.device,
        precision=encoder.precision,
    )


class _Counts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The weights that operations use, and the operations themselves."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._weights: dict[int, int] = {}
        self.counter: Any = FlopCounterMode(display=False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_leaves((args, kwargs or {})):
            if isinstance(value, torch.nn.Parameter):
                self._weights[value.data_ptr()] = value.numel()
        return func(*args, **(kwargs or {}))

    @property
    def parameters(self) -> int | None:
        return sum(self._weights.values()) or None

    @property
    def flops(self) -> int | None:
        return int(self.counter.get_total_flops()) or None


@contextmanager
def _counting() -> Iterator[_Counts]:
    counts = _Counts()
    fast_path: Any = torch.backends.mha
    before = fast_path.get_fastpath_enabled()
    # Fused attention is one operation that the counter of older releases does not know: it is done in its parts.
    fast_path.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), counts, counts.counter:
            yield counts
    finally:
        fast_path.set_fastpath_enabled(before)


def _images_per_second(side: ImageSide, pixels: NDArray[np.float32], device: str, least_seconds: float) -> float:
    """As a run encodes: on every lane that the device has, at the same time."""
    batch = np.repeat(pixels, _BATCH.get(device.partition(":")[0], 8), axis=0)
    with side.lanes(min(os.cpu_count() or 1, _MOST_LANES)) as lanes:
        _encode_on(lanes, batch, 0.0)  # first batches choose algorithms and take memory
        started = time.perf_counter()
        count = _encode_on(lanes, batch, least_seconds)
        return count / (time.perf_counter() - started)


def _encode_on(lanes: tuple[ImageLane, ...], batch: NDArray[np.float32], seconds: float) -> int:
    """Encode the batch on every lane until the seconds are over, at least once; how many images that were."""
    counts, errors = [0] * len(lanes), list[BaseException]()
    until = time.perf_counter() + seconds

    def work(number: int, lane: ImageLane) -> None:
        try:
            while not counts[number] or time.perf_counter() < until:
                lane(batch)
                counts[number] += len(batch)
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            errors.append(error)

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in enumerate(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sum(counts)
