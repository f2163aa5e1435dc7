"""Threads that can be given up on."""

import subprocess
import sys
import threading
import time

import pytest

from mmsearch.workers import Overdue, Workers


def test_tasks_are_taken_in_their_order_and_results_come_back() -> None:
    taken: list[int] = []

    def square(number: int) -> int:
        taken.append(number)
        return number * number

    with Workers(1, "test") as workers:
        futures = [workers.submit(square, number) for number in range(20)]
        assert [workers.result(future, 10) for future in futures] == [n * n for n in range(20)]
    assert taken == list(range(20))


def test_an_exception_comes_out_where_the_result_is_asked_for() -> None:
    """Even a TimeoutError of the task's own, which is not the wait's."""
    with Workers(1, "test") as workers:
        for error in (ValueError("mine"), TimeoutError("mine too")):

            def fail(error: Exception = error) -> None:
                raise error

            with pytest.raises(type(error), match="mine"):
                workers.result(workers.submit(fail), 10)
        assert workers.result(workers.submit(lambda: 1), 10) == 1


def test_a_task_that_hangs_is_given_up_and_its_thread_replaced() -> None:
    """Time counts from when it begins, not from when it was submitted."""
    forever = threading.Event()
    with Workers(1, "test") as workers:
        started = time.monotonic()
        slow = workers.submit(time.sleep, 0.4)
        hung = workers.submit(forever.wait)
        behind = workers.submit(lambda: "done")
        with pytest.raises(Overdue):
            workers.result(hung, 0.3)
        assert time.monotonic() - started >= 0.7
        assert workers.result(behind, 10) == "done"
        assert slow.done()
    forever.set()


def test_what_was_not_begun_is_dropped_at_the_end() -> None:
    running, release = threading.Event(), threading.Event()

    def first() -> None:
        running.set()
        release.wait(10)

    with Workers(1, "test") as workers:
        workers.submit(first)
        waiting = [workers.submit(lambda: 1) for _ in range(3)]
        running.wait(10)
    assert all(future.cancelled() for future in waiting)
    release.set()


def test_a_hung_thread_does_not_keep_python_from_ending() -> None:
    code = (
        "import time\nfrom mmsearch.workers import Overdue, Workers\n"
        "with Workers(2, 'test') as workers:\n"
        "    try: workers.result(workers.submit(time.sleep, 600), 0.1)\n"
        "    except Overdue: print('given up')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "given up\n"
