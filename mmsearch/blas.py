"""How many threads a matrix product uses: OpenBLAS's own wait for each other without giving up their processors, so
that each product is given one, and what is large is cut into several."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["each_on_one_thread", "one_thread", "product"]

_Item = TypeVar("_Item")


_THREADS = min(4, os.cpu_count() or 1)
# Multiplications from which on handing a part of them to another thread pays: some milliseconds of them. Those of a
# short text are fewer.
_WORTH_SHARING = 1 << 24

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
    product among them. The large ones of a single item are shared, see `product`."""
    with one_thread():
        if len(items) < 2:
            with _shared_products():
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


class _Sharing(threading.local):
    """Whether, in this thread, large products are shared; and the threads that do, once there was one."""

    wanted = False
    pool: "ThreadPoolExecutor | None" = None


_sharing = _Sharing()


@contextmanager
def _shared_products() -> Iterator[None]:
    _sharing.wanted = _THREADS > 1
    try:
        yield
    finally:
        _sharing.wanted = False
        if _sharing.pool is not None:
            _sharing.pool.shutdown()
            _sharing.pool = None


def product(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, k) @ (k, m). For a single item of `each_on_one_thread`, several threads compute a part of a large one each,
    as long as nothing else multiplies in this process. On two cores it takes six tenths of the time, and where others
    keep them busy no longer than on one; by OpenBLAS's own threads it took up to five times as long there."""
    (n, _), (_, m) = left.shape, right.shape
    if not _sharing.wanted or _inside > 1 or n * right.size < _WORTH_SHARING:
        whole: NDArray[np.float32] = left @ right
        return whole
    if _sharing.pool is None:
        from concurrent.futures import ThreadPoolExecutor

        _sharing.pool = ThreadPoolExecutor(_THREADS - 1)
    out = np.empty((n, m), np.float32)
    bounds = [max(n, m) * part // _THREADS for part in range(_THREADS + 1)]
    first, *others = (
        (left, right[:, some], out[:, some]) if m >= n else (left[some], right, out[some])
        for some in map(slice, bounds, bounds[1:])
    )
    multiply: Callable[..., Any] = np.matmul
    waiting = [_sharing.pool.submit(multiply, *part) for part in others]
    multiply(*first)
    for part in waiting:
        part.result()
    return out
