"""Processes that are kept for their next request: which of them, how many, and that none is left behind."""

from contextlib import ExitStack

import pytest

from mmsearch.kept_processes import KeptProcesses


class Process:
    """Answers nothing; says whether it was ended."""

    def __init__(self) -> None:
        self.is_free = True
        self.ended = False

    def end(self) -> None:
        self.ended = True


def test_a_process_that_is_free_is_asked_again() -> None:
    processes = KeptProcesses(Process)
    with processes.one() as first:
        assert processes.used == 1
        with processes.one() as second:
            assert second is not first
    with processes.one() as third:
        assert third in (first, second)
    assert processes.used == 0
    processes.end()
    assert first.ended
    assert second.ended


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_process_that_did_not_answer_to_the_end_is_ended(error: type[BaseException] | None) -> None:
    processes = KeptProcesses(Process)
    with ExitStack() as stack:
        if error is not None:
            stack.enter_context(pytest.raises(error))
        process = stack.enter_context(processes.one())
        process.is_free = False
        if error is not None:
            raise error
    assert process.ended
    with processes.one() as other:
        assert other is not process


def test_a_process_that_ended_while_it_waited_is_not_asked() -> None:
    processes = KeptProcesses(Process)
    with processes.one() as killed:
        pass
    killed.is_free = False
    with processes.one() as other:
        assert other is not killed


def test_no_more_wait_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    processes = KeptProcesses(Process)
    with ExitStack() as stack:
        started = [stack.enter_context(processes.one()) for _ in range(5)]
    assert sum(process.ended for process in started) == 3


def test_where_none_can_be_started_nothing_is_in_use() -> None:
    def start() -> Process:
        raise OSError("no memory")

    processes = KeptProcesses(start)
    with pytest.raises(OSError, match="no memory"), processes.one():
        pass
    assert processes.used == 0


def test_a_fork_leaves_its_parents_processes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = KeptProcesses(Process)
    with processes.one() as of_parent:
        pass
    monkeypatch.setattr("os.getpid", lambda: -1)
    processes.end()
    assert not of_parent.ended
    with processes.one() as own:
        assert own is not of_parent
