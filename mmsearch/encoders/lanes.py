"""A lane: one copy of a model on one device, run by one thread at a time."""

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from mmsearch.encoders.devices import Precision, autocast, describe
from mmsearch.encoders.preprocessing import Preprocessing
from mmsearch.encoders.protocols import EncodedImages, Pixels
from mmsearch.errors import EncoderError

__all__ = ["Lane"]

_Encode: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


class Lane:
    """Turns batches into unit vectors on one device, in halves where its memory does not do.

    On CUDA each lane works in a stream of its own, from pinned memory: of two lanes on a GPU one computes while the
    other's pixels are on their way.
    """

    def __init__(
        self, encode_image: _Encode, device: torch.device, precision: Precision, preprocessing: Preprocessing, spec: str
    ) -> None:
        self.encode_image = encode_image
        self._device = device
        self._precision = precision
        self._preprocessing = preprocessing
        self._spec = spec
        cuda: Any = torch.cuda  # whose annotations are incomplete
        self._stream: Any = cuda.Stream(device) if device.type == "cuda" else None
        self._pinned: torch.Tensor | None = None
        self._most: int | None = None
        self._one_at_a_time = threading.Lock()

    def images(self, pixels: Pixels) -> EncodedImages:
        """Preprocessed images -> their vectors, and the seconds that it took. Raises EncoderError."""
        with self._one_at_a_time:
            clock = _Clock(self._device)
            with self._on_stream():
                batch = self._transferred(pixels)
                clock.mark()
                vectors = self.run(batch, self.encode_image)
                clock.mark()
            transfer, encode = clock.seconds()
            return EncodedImages(vectors, transfer, encode)

    def run(self, batch: torch.Tensor, encode: _Encode, precision: Precision | None = None) -> NDArray[np.float32]:
        """Either side of the model on a batch (n, …) -> (n, dim), L2-normalised. Raises EncoderError."""
        most = self._most or len(batch)
        if len(batch) > most:
            parts = [batch[first : first + most] for first in range(0, len(batch), most)]
            return np.concatenate([self.run(part, encode, precision) for part in parts])
        try:
            return self._run(batch, encode, precision or self._precision)
        except torch.cuda.OutOfMemoryError as error:
            if len(batch) == 1:
                raise EncoderError(
                    f"{describe(self._device)} has not enough free memory for one item of {self._spec}"
                ) from error
        # Outside of the handler, whose exception holds on to the tensors that filled the memory.
        self._most = -(-len(batch) // 2)
        torch.cuda.empty_cache()
        return self.run(batch, encode, precision)

    def _run(self, batch: torch.Tensor, encode: _Encode, precision: Precision) -> NDArray[np.float32]:
        with torch.inference_mode(), autocast(self._device, precision):
            moved = batch.to(self._device)
            output = encode(self._preprocessing.normalise(moved) if moved.dtype == torch.uint8 else moved)
            vectors: NDArray[np.float32] = output.float().cpu().numpy()
        if not np.isfinite(vectors).all():
            hint = " Try --precision fp32." if precision != "fp32" else " Its weights may be damaged."
            raise EncoderError(f"{self._spec} gave vectors with NaN or infinity in {precision}.{hint}")
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return vectors

    def _on_stream(self) -> Any:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _transferred(self, pixels: Pixels) -> torch.Tensor:
        """The batch on the device; on CUDA through pinned memory, without waiting for it."""
        if self._stream is None:
            return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
        held = torch.from_numpy(np.ascontiguousarray(pixels)).reshape(-1).view(torch.uint8)
        if self._pinned is None or len(self._pinned) < len(held):
            self._pinned = torch.empty(len(held), dtype=torch.uint8, pin_memory=True)
        # Free again: whoever used it last has waited for its results.
        staged = self._pinned[: len(held)]
        staged.copy_(held)
        dtype = torch.uint8 if pixels.dtype == np.uint8 else torch.float32
        return staged.to(self._device, non_blocking=True).view(dtype).view(pixels.shape)


class _Clock:
    """Seconds between marks: of the device's own time where it works on its own."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: list[Any] = []
        self.mark()

    def mark(self) -> None:
        if self._cuda:
            event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(time.perf_counter())

    def seconds(self) -> list[float]:
        if self._cuda:
            self._marks[-1].synchronize()
        pairs = zip(self._marks, self._marks[1:], strict=False)
        return [before.elapsed_time(after) / 1e3 if self._cuda else after - before for before, after in pairs]
