"""Products of matrices: one thread each, and large ones of a single item cut into several."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mmsearch import blas


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(blas, "_THREADS", 3)
    monkeypatch.setattr(blas, "_WORTH_SHARING", 1_000)
    before = threading.active_count()
    yield
    assert threading.active_count() == before, "threads are left"


def operands(n: int, k: int, m: int) -> Any:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, k)).astype(np.float32), rng.normal(size=(k, m)).astype(np.float32)


@pytest.mark.parametrize("shape", [(50, 64, 300), (300, 64, 50), (1, 64, 300), (2, 700, 2), (7, 1, 1)])
def test_a_product_that_is_shared_is_the_product(shape: tuple[int, int, int]) -> None:
    """By columns where there are more of them, by rows else; and where there are fewer of both than threads."""
    left, right = operands(*shape)
    found: list[Any] = []
    blas.each_on_one_thread(lambda _: found.append(blas.product(left, right)), [0])
    np.testing.assert_allclose(found[0], left @ right, rtol=1e-5, atol=1e-4)


def threads_of(items: int) -> set[str]:
    """The threads that multiply, for so many items."""
    left, right = operands(60, 64, 300)
    seen: set[str] = set()
    multiply = np.matmul

    def watched(*arguments: Any) -> Any:
        seen.add(threading.current_thread().name)
        return multiply(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "matmul", watched)
        blas.each_on_one_thread(lambda _: blas.product(left, right), range(items))
    return seen


def test_only_the_large_products_of_a_single_item_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several items keep the processors busy themselves; and so does what else multiplies in the process."""
    assert len(threads_of(1)) > 1
    assert threads_of(4) == set()
    with blas.one_thread():
        assert threads_of(1) == set()
    monkeypatch.setattr(blas, "_WORTH_SHARING", 1 << 30)
    assert threads_of(1) == set()
    left, right = operands(60, 64, 300)
    assert np.array_equal(blas.product(left, right), left @ right)


def test_what_fails_in_another_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = operands(60, 64, 300)
    multiply = np.matmul

    def fail_elsewhere(*arguments: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError
        return multiply(*arguments)

    monkeypatch.setattr(np, "matmul", fail_elsewhere)
    with pytest.raises(MemoryError):
        blas.each_on_one_thread(lambda _: blas.product(left, right), [0])
