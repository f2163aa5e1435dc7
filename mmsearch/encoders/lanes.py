"""A lane: one copy of a model on one device, run by one thread at a time."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from mmsearch.encoders.devices import Precision, autocast, describe, on_stream, threads_of_operations
from mmsearch.encoders.preprocessing import TorchPixels
from mmsearch.encoders.protocols import EncodedImages, Pixels
from mmsearch.errors import EncoderError

__all__ = ["MOST_CPU_LANES", "Lane"]

# Each holds a batch and its activations, some hundred megabytes; more cores than this share lanes.
MOST_CPU_LANES = 16

_Encode: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


class Lane:
    """Turns batches into unit vectors on one device, in halves where its memory does not do.

    On CUDA each lane works in a stream of its own, from pinned memory: of two lanes on a GPU one computes while the
    other's pixels are on their way.

    fast: normalises 8-bit pixels; None where none come. number: tells the lanes of a device apart.
    """

    def __init__(
        self,
        encode_image: _Encode,
        device: torch.device,
        precision: Precision,
        fast: TorchPixels | None,
        spec: str,
        number: int = 0,
    ) -> None:
        self.encode_image = encode_image
        self._device = device
        self._precision = precision
        self._fast = fast
        self._spec = spec
        self._number = number
        self._pinned: torch.Tensor | None = None
        self._most: int | None = None
        self._one_at_a_time = threading.Lock()

    def images(self, pixels: Pixels) -> EncodedImages:
        """Preprocessed images -> their vectors, and the seconds that it took. Raises EncoderError."""
        with self._one_at_a_time, on_stream(self._device, f"lane {self._number}"):
            clock = _Clock(self._device)
            vectors = self.run(self._staged(pixels), self.encode_image, clock=clock)
            return EncodedImages(vectors, clock.seconds("transfer"), clock.seconds("encode"))

    def run(
        self, batch: torch.Tensor, encode: _Encode, precision: Precision | None = None, clock: "_Clock | None" = None
    ) -> NDArray[np.float32]:
        """Either side of the model on a batch (n, …) in main memory -> (n, dim), L2-normalised. Raises EncoderError."""
        most = self._most or len(batch)
        if len(batch) > most:
            parts = [batch[first : first + most] for first in range(0, len(batch), most)]
            return np.concatenate([self.run(part, encode, precision, clock) for part in parts])
        try:
            return self._run(batch, encode, precision or self._precision, clock)
        except torch.cuda.OutOfMemoryError as error:
            if len(batch) == 1:
                raise EncoderError(
                    f"{describe(self._device)} has not enough free memory for one item of {self._spec}"
                ) from error
        # Outside of the handler, whose exception holds on to the tensors that filled the memory.
        self._most = -(-len(batch) // 2)
        torch.cuda.empty_cache()
        return self.run(batch, encode, precision, clock)

    def run_each(self, batches: Sequence[torch.Tensor], encode: _Encode) -> list[NDArray[np.float32]]:
        """`run` of each batch. On a CPU as many at the same time as torch would take threads for one, and one thread
        for each: threads that share an operation wait for each other, long where other programs work too."""
        threads = min(torch.get_num_threads(), MOST_CPU_LANES, len(batches)) if self._device.type == "cpu" else 1
        if threads < 2:
            return [self.run(batch, encode) for batch in batches]
        with threads_of_operations(1), ThreadPoolExecutor(threads, "mmsearch-lane") as pool:
            return list(pool.map(lambda batch: self.run(batch, encode), batches))

    def _run(
        self, batch: torch.Tensor, encode: _Encode, precision: Precision, clock: "_Clock | None"
    ) -> NDArray[np.float32]:
        with torch.inference_mode(), autocast(self._device, precision):
            moved = batch.to(self._device, non_blocking=self._device.type == "cuda")
            if clock is not None:
                clock.mark("transfer")
            if moved.dtype == torch.uint8:
                assert self._fast is not None, "pixels that need normalising come of the fast way alone"
                moved = self._fast.normalise(moved)
            output = encode(moved)
            vectors: NDArray[np.float32] = output.float().cpu().numpy()
            if clock is not None:
                clock.mark("encode")
        if not np.isfinite(vectors).all():
            hint = " Try --precision fp32." if precision != "fp32" else " Its weights may be damaged."
            raise EncoderError(f"{self._spec} gave vectors with NaN or infinity in {precision}.{hint}")
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return vectors

    def _staged(self, pixels: Pixels) -> torch.Tensor:
        """The batch in main memory, for CUDA in such that a device reads without the processor."""
        if self._device.type != "cuda":
            return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
        held = torch.from_numpy(np.ascontiguousarray(pixels)).reshape(-1).view(torch.uint8)
        if self._pinned is None or len(self._pinned) < len(held):
            self._pinned = torch.empty(len(held), dtype=torch.uint8, pin_memory=True)
        # Free again: whoever used it last has waited for its results.
        staged = self._pinned[: len(held)]
        staged.copy_(held)
        return staged.view(torch.uint8 if pixels.dtype == np.uint8 else torch.float32).view(pixels.shape)


class _Clock:
    """Adds up seconds by what they were spent on: of the device's own time where it works on its own.

    On CUDA its marks stand in the stream in which it is made: those of two streams, or of two devices, cannot be
    compared.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: list[tuple[str, Any]] = []
        self.mark("begin")

    def mark(self, spent_on: str) -> None:
        """What was done since the last mark is done."""
        if self._cuda:
            event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self._marks.append((spent_on, event))
        else:
            self._marks.append((spent_on, time.perf_counter()))

    def seconds(self, spent_on: str) -> float:
        """Waits for the last mark."""
        if self._cuda:
            self._marks[-1][1].synchronize()
        pairs = zip(self._marks, self._marks[1:], strict=False)
        spent = ((before, after) for (_, before), (name, after) in pairs if name == spent_on)
        return sum(float(a.elapsed_time(b)) / 1e3 if self._cuda else b - a for a, b in spent)
