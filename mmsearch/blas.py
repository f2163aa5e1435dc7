"""How many threads a matrix product uses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["one_thread"]


_lock = threading.Lock()
_inside = 0
_limits: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrix products on one thread each, in the whole process, until the last of those who asked for it is done.

    For products of few rows, which are bound by memory, and for several beside each other. BLAS's own threads wait for
    each other: where other programs kept both cores busy, a query took 2.4 to 3 s with two threads and 0.6 to 1.1 s
    with one.
    """
    global _inside, _limits
    # Imported late: only what multiplies needs it.
    import threadpoolctl

    with _lock:
        if not _inside:
            _limits = threadpoolctl.threadpool_limits(1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _limits.restore_original_limits()
