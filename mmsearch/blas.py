"""How many threads a matrix product uses."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrix products on one thread each, in the whole process.

    For products of few rows, which are bound by memory, and for several beside each other. BLAS's own threads wait for
    each other: where other programs kept both cores busy, a query took 2.4 to 3 s with two threads and 0.6 to 1.1 s
    with one.
    """
    # Imported late: only what multiplies needs it.
    import threadpoolctl

    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield
