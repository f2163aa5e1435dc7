"""Where a model runs and in which precision."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, Literal, TypeAlias, cast

import torch

from mmsearch.errors import EncoderError

__all__ = [
    *("Precision", "autocast", "choose_device", "choose_precision", "describe", "every_device", "exact_fp32"),
    *("on_stream", "threads_of_operations"),
]

Precision: TypeAlias = Literal["fp32", "fp16", "bf16", "int8"]

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(wanted: str) -> torch.device:
    """auto, cpu, cuda, cuda:N or mps -> a device that is there; auto is the fastest. Raises EncoderError."""
    kind, _, number = wanted.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdecimal())):
        raise EncoderError(f"no device is called {wanted!r}: auto, cpu, cuda, cuda:N or mps")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if kind == "auto":
        return torch.device("cuda" if gpus else "mps" if mps else "cpu")
    if (kind == "cuda" and int(number or 0) >= gpus) or (kind == "mps" and not mps):
        there = ["cpu", *(f"cuda:{each} ({torch.cuda.get_device_name(each)})" for each in range(gpus))]
        there += ["mps"] if mps else []
        raise EncoderError(f"there is no device {wanted} here; there is {', '.join(there)}{_why_no_cuda(kind)}")
    return torch.device(wanted)


def _why_no_cuda(kind: str) -> str:
    if kind == "cuda" and torch.version.cuda is None:
        return ". The installed torch is built without CUDA: https://pytorch.org/get-started/locally"
    return ""


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """auto, fp32, fp16, bf16 or int8 -> the precision to compute in. Raises EncoderError for other names.

    auto: fp16 on CUDA, several times as fast as fp32, and with three more bits than bf16. Vectors are compared by
    small differences, so bits count and range does not; published results used it too. fp32 elsewhere: CPUs without
    bf16 units take seven times as long in bf16, and what MPS loses is not measured. int8, on CPUs, is for who asks.
    """
    if wanted == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if wanted not in ("fp32", "int8", *_DTYPES):
        raise EncoderError(f"no precision is called {wanted!r}: auto, fp32, fp16, bf16 or int8")
    if wanted == "int8" and device.type != "cpu":
        raise EncoderError(f"int8 is for CPUs; {device.type} is faster in fp16 (--precision auto, or --device cpu)")
    return cast(Precision, wanted)


def every_device(device: torch.device) -> list[torch.device]:
    """The devices that work under one name: "cuda" is every GPU of the machine, "cuda:1" that one."""
    index: int | None = device.index
    if device.type == "cuda" and index is None:
        return [torch.device("cuda", each) for each in range(torch.cuda.device_count())]
    return [device]


def describe(device: torch.device) -> str:
    """A device for people: "cuda: NVIDIA H100 80GB HBM3", of several equal ones "cuda: 2 x NVIDIA H100 80GB HBM3"."""
    if device.type != "cuda":
        return device.type
    names = Counter(torch.cuda.get_device_name(each) for each in every_device(device))
    return "cuda: " + ", ".join(f"{count} x {name}" if count > 1 else name for name, count in names.items())


@contextmanager
def autocast(device: torch.device, precision: Precision) -> Iterator[None]:
    """Compute in a precision, the weights staying fp32. fp32 is exact: see `exact_fp32`. What is int8 in a model
    is so by itself; the rest of it is fp32."""
    if precision in ("fp32", "int8"):
        with exact_fp32(device):
            yield
    else:
        with torch.autocast(device.type, dtype=_DTYPES[precision]):
            yield


@contextmanager
def exact_fp32(device: torch.device) -> Iterator[None]:
    """No TensorFloat-32 inside, on CUDA: by default cuDNN computes "fp32" convolutions, the patch embedding of every
    vision transformer, with 10 bits of mantissa, and a program may have allowed the same for matrix products.

    The switches are the process's: of several threads that are inside the last one to leave puts them back."""
    if device.type != "cuda":
        yield
        return
    _EXACT.enter()
    try:
        yield
    finally:
        _EXACT.leave()


class _ExactSwitches:
    """TensorFloat-32 off, as long as any thread needs it so."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._inside = 0
        self._before: list[Any] = []

    def enter(self) -> None:
        holders, name, exact = self._switches()
        with self._counting:
            self._inside += 1
            if self._inside == 1:
                self._before = [getattr(holder, name) for holder in holders]
                for holder in holders:
                    setattr(holder, name, exact)

    def leave(self) -> None:
        holders, name, _ = self._switches()
        with self._counting:
            self._inside -= 1
            if self._inside == 0:
                for holder, value in zip(holders, self._before, strict=True):
                    setattr(holder, name, value)

    @staticmethod
    def _switches() -> tuple[tuple[Any, ...], str, Any]:
        """Who holds them, what they are called, and the value that means exact."""
        cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
        if hasattr(cuda.matmul, "fp32_precision"):  # torch >= 2.9, which refuses a mixture of old and new switches
            return (cuda.matmul, getattr(cudnn, "conv")), "fp32_precision", "ieee"  # noqa: B009  untyped
        return (cuda.matmul, cudnn), "allow_tf32", False


_EXACT = _ExactSwitches()


@contextmanager
def threads_of_operations(count: int) -> Iterator[None]:
    """As many threads for one operation of torch on a CPU, where several operations run at the same time.

    The number is the process's: of several threads that are inside the last one to leave puts it back."""
    _OPERATIONS.enter(count)
    try:
        yield
    finally:
        _OPERATIONS.leave()


class _OperationThreads:
    """Another number of threads for each operation, as long as anybody needs it so."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._inside = 0
        self._before = 1

    def enter(self, count: int) -> None:
        with self._counting:
            self._inside += 1
            if self._inside == 1:
                self._before = torch.get_num_threads()
                torch.set_num_threads(count)

    def leave(self) -> None:
        with self._counting:
            self._inside -= 1
            if self._inside == 0:
                torch.set_num_threads(self._before)


_OPERATIONS = _OperationThreads()


def on_stream(device: torch.device, user: str) -> AbstractContextManager[Any]:
    """Work in the stream that a user has on a CUDA device; elsewhere there are none.

    It is made once: torch keeps memory for every stream that was ever worked in, and hands out 32 in turn."""
    cuda: Any = torch.cuda  # whose annotations are incomplete
    return cuda.stream(_stream(device, user)) if device.type == "cuda" else nullcontext()


@cache
def _stream(device: torch.device, user: str) -> Any:
    cuda: Any = torch.cuda
    return cuda.Stream(device)
