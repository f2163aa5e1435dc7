"""How many threads a matrix product uses."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

__all__ = ["each_on_one_thread", "one_thread"]

_Item = TypeVar("_Item")


_lock = threading.Lock()
_inside = 0
_limits: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrix products on one thread each, in the whole process, until the last of those who asked for it is done.

    For products of few rows, which are bound by memory, and for several beside each other. BLAS's own threads wait for
    each other: where other programs kept both cores busy, a query took 2.4 to 3 s with two threads and 0.6 to 1.1 s
    with one.

    numpy's OpenBLAS (0.3.31) was seen to ignore this in threads other than the main one: a process that multiplies in
    those is better started with OPENBLAS_NUM_THREADS=1, as `mmsearch serve` does for itself.
    """
    global _inside, _limits
    with _lock:
        if not _inside:
            _limits = _libraries(tuple(name in sys.modules for name in _BRING_BLAS)).limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _limits.restore_original_limits()


def each_on_one_thread(work: Callable[[_Item], object], items: Sequence[_Item]) -> None:
    """Do work that multiplies for each item: beside each other, which keeps the processors busier than to share each
    product among them."""
    with one_thread():
        if len(items) < 2:
            for item in items:
                work(item)
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(work, items))


_BRING_BLAS = ("numpy", "faiss", "torch", "scipy")


@lru_cache(1)
def _libraries(_loaded: tuple[bool, ...]) -> Any:
    """The libraries that multiply, looked for again when more may have been loaded: it takes one to three ms."""
    # Imported late: only what multiplies needs it.
    import threadpoolctl

    return threadpoolctl.ThreadpoolController()
