"""JPEG decoded and resized on a GPU (nvJPEG through torchvision), for many threads at once.

A GPU decodes a batch about as fast as a single picture, and threads come with one picture each. So what they bring is
gathered: whoever decodes takes all that waits, and meanwhile more comes.
"""

import queue
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from mmsearch.encoders.devices import on_stream
from mmsearch.encoders.preprocessing import TorchPixels

__all__ = ["BatchJpegDecoder", "why_not_on"]

_Decode: TypeAlias = Callable[[list[torch.Tensor]], list[torch.Tensor]]
"""JPEG files, uint8 (bytes,) in main memory -> pictures, uint8 (3, h, w) on the device. Raises where one is damaged."""

# A batch takes a gigabyte on the device: each pixel three bytes, and while it is resized twelve more.
_MOST_IMAGES = 64
_MOST_PIXELS = 64_000_000
_THREADS = 2  # a device: one decodes while the other's pixels are resized and on their way
_OUT_OF_MEMORY = 3  # so often, and the device is left to the encoder

# 16 x 16 pixels, grey: what tells whether a device decodes at all.
_TRIAL_SIDE = 16


@dataclass(frozen=True, slots=True)
class _Request:
    data: bytes
    size: tuple[int, int]
    orientation: int
    done: "Future[NDArray[np.uint8] | None]" = field(default_factory=Future)

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]


class BatchJpegDecoder:
    """Implements `mmsearch.encoders.JpegDecoder`; a context manager, whose threads work while it is open.

    decode: see `_Decode`; by default torchvision's on that device.
    """

    def __init__(self, device: torch.device, preprocessing: TorchPixels, decode: _Decode | None = None) -> None:
        self._device = device
        self._preprocessing = preprocessing
        self._decode = decode or _torchvision_decode(device)
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._counting = threading.Lock()
        self._seconds = 0.0
        self._out_of_memory = 0

    @property
    def seconds(self) -> float:
        """How long its threads have decoded, added up."""
        return self._seconds

    @property
    def threads(self) -> int:
        """How many decode at the same time."""
        return _THREADS

    def fit(self, data: bytes, size: tuple[int, int], orientation: int) -> NDArray[np.uint8] | None:
        """See `mmsearch.encoders.JpegDecoder`. Thread-safe."""
        if self._out_of_memory >= _OUT_OF_MEMORY or size[0] * size[1] > _MOST_PIXELS:
            return None
        request = _Request(data, size, orientation)
        self._requests.put(request)
        return request.done.result()

    def __enter__(self) -> "BatchJpegDecoder":
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name="mmsearch-jpeg", daemon=True)
            for number in range(_THREADS)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in self._threads:
            self._requests.put(None)
        for thread in self._threads:
            thread.join()
        while True:  # who still waits is told to look elsewhere
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                return
            if request is not None:
                request.done.set_result(None)

    def _work(self, number: int) -> None:
        with on_stream(self._device, f"jpeg {number}"):
            while batch := self._next():
                started = time.perf_counter()
                try:
                    self._answer(batch)
                finally:
                    for request in batch:  # whatever went wrong, nobody waits for ever
                        if not request.done.done():
                            request.done.set_result(None)
                with self._counting:
                    self._seconds += time.perf_counter() - started

    def _next(self) -> list[_Request]:
        """All that waits, as far as it fits; none at the end."""
        first = self._requests.get()
        if first is None:
            return []
        batch, pixels = [first], first.pixels
        while len(batch) < _MOST_IMAGES and pixels < _MOST_PIXELS:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                break
            if request is None:
                self._requests.put(None)  # for when this batch is done
                break
            batch.append(request)
            pixels += request.pixels
        return batch

    def _answer(self, batch: Sequence[_Request]) -> None:
        try:
            pictures = self._decode([torch.frombuffer(bytearray(request.data), dtype=torch.uint8) for request in batch])
            for requests, pixels in self._resized(batch, pictures):
                for request, one in zip(requests, pixels, strict=True):
                    request.done.set_result(one)
        except torch.cuda.OutOfMemoryError:
            with self._counting:
                self._out_of_memory += 1
            torch.cuda.empty_cache()
        except RuntimeError:
            # One that it does not take spoils its batch, and does not say which it is.
            if len(batch) > 1:
                for request in batch:
                    if not request.done.done():
                        self._answer([request])

    def _resized(
        self, batch: Sequence[_Request], pictures: Sequence[torch.Tensor]
    ) -> Iterator[tuple[list[_Request], NDArray[np.uint8]]]:
        """(requests, their pixels (n, H, W, 3)): those of one size together, since each call has a price."""
        alike: dict[tuple[tuple[int, int], int], list[int]] = defaultdict(list)
        for place, (request, picture) in enumerate(zip(batch, pictures, strict=True)):
            stored = request.size if request.orientation < 5 else request.size[::-1]
            if tuple(picture.shape) == (3, stored[1], stored[0]):  # else its header says something else than its data
                alike[request.size, request.orientation].append(place)
        for (size, orientation), places in alike.items():
            stacked = torch.stack([pictures[place] for place in places])
            pixels = self._preprocessing.fit_tensors(stacked, size, orientation)
            yield [batch[place] for place in places], pixels.cpu().numpy()


def why_not_on(device: torch.device) -> str | None:
    """Why JPEG cannot be decoded on a device, as the second half of a sentence; None where it can."""
    if device.type != "cuda":
        return f"{device.type} is no CUDA device"
    try:
        _torchvision_decode(device)([_trial()])
    except Exception as error:  # noqa: BLE001  torchvision without nvJPEG, or one that gave it up: any of its errors
        return f"this torchvision does not decode on {device.type} ({' '.join(str(error).split())[:200]})"
    return None


def _torchvision_decode(device: torch.device) -> _Decode:
    from torchvision.io import ImageReadMode, decode_jpeg

    # torchvision 0.29 announces that TorchCodec will do this one day; until then that is nothing for a person to see.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torchvision\.io")

    def decode(files: list[torch.Tensor]) -> list[torch.Tensor]:
        pictures: list[torch.Tensor] = decode_jpeg(files, mode=ImageReadMode.RGB, device=device)
        return pictures

    return decode


def _trial() -> torch.Tensor:
    from torchvision.io import encode_jpeg

    encoded: torch.Tensor = encode_jpeg(torch.full((3, _TRIAL_SIDE, _TRIAL_SIDE), 128, dtype=torch.uint8))
    return encoded
