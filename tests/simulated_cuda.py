"""A GPU for tests: one that is there, or the parts of torch.cuda that mmsearch uses, played by the processor.

What is played is what goes wrong unseen otherwise: events of two streams or devices cannot be compared, memory has an
end, and torchvision has one JPEG decoder for all devices.
"""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

import pytest
import torch

__all__ = ["Gpu", "RealGpu", "SimulatedGpu"]

_LARGE = 1 << 40
_WORKSPACE = 8 << 20  # what cuBLAS takes for each stream that it works in, and keeps


class Gpu(Protocol):
    """What tests ask of either."""

    simulated: bool
    count: int
    described: str
    """As `Encoder.device` says it."""

    def memory(self) -> int:
        """Bytes of the device that this process holds."""
        ...

    def capped(self, count: int) -> Any:
        """A context in which not more than so many further bytes of it can be had at a time."""
        ...

    def busy(self) -> Any:
        """A context in which its default stream has work to do."""
        ...


class RealGpu:
    """The GPUs of this machine."""

    simulated = False

    def __init__(self) -> None:
        from mmsearch.encoders.devices import describe

        self.count = torch.cuda.device_count()
        self.described = describe(torch.device("cuda"))

    def memory(self) -> int:
        gc.collect()
        return sum(int(torch.cuda.memory_reserved(each)) for each in range(self.count))

    @contextmanager
    def capped(self, count: int) -> Iterator[None]:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(0) + count) / total)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)

    @contextmanager
    def busy(self) -> Iterator[None]:
        numbers = torch.randn(8192, 8192, device="cuda")
        for _ in range(20):
            numbers = (numbers @ numbers).clamp(-1, 1)
        yield
        torch.cuda.synchronize()


class SimulatedGpu:
    """Some GPUs that are none."""

    simulated = True

    def __init__(self, patch: pytest.MonkeyPatch, count: int = 2) -> None:
        from mmsearch.encoders import devices

        self.count = count
        self.described = f"cuda: {count} x Simulated" if count > 1 else "cuda: Simulated"
        self.streams: set[_Stream] = set()
        self.copies: list[tuple[_Stream, torch.device]] = []
        """The stream and the device of each copy from main memory that nobody waited for."""
        self.jpeg_devices: list[torch.device] = []
        """On which torchvision decoded, call by call."""
        self.released = 0
        """How often memory was given back."""
        self._most = _LARGE
        self._here = threading.local()
        patch.setattr(devices, "_stream", cache(devices._stream.__wrapped__))
        cuda: dict[str, Any] = {
            "is_available": lambda: True,
            "device_count": lambda: count,
            "get_device_name": lambda _=0: "Simulated",
            "synchronize": lambda _=None: None,
            "get_rng_state": lambda _: torch.get_rng_state(),
            "set_rng_state": lambda _state, _device: None,
            "is_current_stream_capturing": lambda: False,
            "empty_cache": self._release,
            "Stream": self._stream,
            "stream": self._inside,
            "Event": lambda enable_timing=False: _Event(self._current()),
        }
        for name, played in cuda.items():
            patch.setattr(torch.cuda, name, played)
        if hasattr(torch, "accelerator"):  # torch >= 2.6, whose optimisers ask it for a stream
            patch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)
        patch.setattr(torch.Tensor, "to", self._moving(torch.Tensor.to))
        patch.setattr(torch, "empty", _unpinned(torch.empty))
        patch.setattr(torch, "autocast", _on_processor(torch.autocast))
        self._play_torchvision(patch)

    def memory(self) -> int:
        """All tensors of this process, since any may be on the device, and what streams cost."""
        gc.collect()
        tensors = [each for each in gc.get_objects() if type(each) in (torch.Tensor, torch.nn.Parameter)]
        storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
        return sum(map(int, storages.values())) + _WORKSPACE * len(self.streams)

    @contextmanager
    def capped(self, count: int) -> Iterator[None]:
        self._most = count
        try:
            yield
        finally:
            self._most = _LARGE

    @contextmanager
    def busy(self) -> Iterator[None]:
        """It is always: see `_Event`."""
        yield

    def _release(self) -> None:
        self.released += 1

    def _stream(self, device: torch.device) -> "_Stream":
        made = _Stream(device.index or 0)
        self.streams.add(made)
        return made

    def _current(self) -> "_Stream":
        return getattr(self._here, "stream", _DEFAULT)

    @contextmanager
    def _inside(self, stream: "_Stream") -> Iterator[None]:
        before, self._here.stream = self._current(), stream
        try:
            yield
        finally:
            self._here.stream = before

    def _moving(self, to: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def moved(tensor: torch.Tensor, *given: Any, **named: Any) -> torch.Tensor:
            device = next((each for each in (*given, *named.values()) if _is_cuda(each)), None)
            here = {name: torch.device("cpu") if _is_cuda(value) else value for name, value in named.items()}
            made = to(tensor, *(torch.device("cpu") if _is_cuda(each) else each for each in given), **here)
            if made.nbytes > self._most:
                raise torch.cuda.OutOfMemoryError("simulated: out of memory")
            if device is None:
                return made
            if named.get("non_blocking"):
                self.copies.append((self._current(), torch.device(device)))
            return made.clone() if made.data_ptr() == tensor.data_ptr() else made

        return moved

    def _play_torchvision(self, patch: pytest.MonkeyPatch) -> None:
        from torchvision import io

        decode, deciding = io.decode_jpeg, threading.Lock()

        def decoded(files: Any, mode: Any = io.ImageReadMode.UNCHANGED, device: Any = "cpu") -> Any:
            if not _is_cuda(device):
                return decode(files, mode=mode)
            with deciding:
                self.jpeg_devices.append(torch.device(device))
                return [decode(file, mode=mode) for file in files]

        patch.setattr(io, "decode_jpeg", decoded)


class _Stream:
    def __init__(self, device: int) -> None:
        self.device = device
        self.passed = 0.0  # what was recorded until then has


_DEFAULT = _Stream(0)


class _Event:
    """Whoever waits for one knows of all before it in its stream that they have passed, and of no others."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self._seconds = 0.0

    def record(self) -> None:
        self._seconds = time.perf_counter()

    def synchronize(self) -> None:
        self._stream.passed = max(self._stream.passed, self._seconds)

    def elapsed_time(self, later: "_Event") -> float:
        if self._stream.device != later._stream.device:
            raise RuntimeError("simulated: invalid resource handle: events of two devices")
        if any(event._seconds > event._stream.passed for event in (self, later)):
            raise RuntimeError("simulated: device not ready: nobody waited for the event")
        return (later._seconds - self._seconds) * 1e3


def _is_cuda(value: object) -> bool:
    return isinstance(value, torch.device | str) and torch.device(value).type == "cuda"


def _unpinned(empty: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda *given, pin_memory=False, **named: empty(*given, **named)


def _on_processor(autocast: Callable[..., Any]) -> Callable[..., Any]:
    return lambda device, **named: autocast("cpu" if device == "cuda" else device, **named)
