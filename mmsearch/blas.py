"""How many threads matrix products use."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["few_threads"]

_LITTLE_WORK_ROWS = 256


@contextmanager
def few_threads(rows: int) -> Iterator[None]:
    """One thread for products with so few rows that they are bound by memory; as many as ever for more.

    Several threads gain little on these, and where another program keeps a processor busy they wait for each other: a
    single query took 2.4 to 3 s on two busy cores with two threads, and 0.6 to 1.1 s with one.
    """
    if rows > _LITTLE_WORK_ROWS:
        yield
        return
    import threadpoolctl

    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield
