"""Filters of strangers, each run by a process that is killed where it takes too long.

DuckDB can neither be interrupted within a piece of rows nor be kept from allocating by its own limit, and a thread that
waits for it cannot be ended. A process can, and the memory that it may have is the system's to limit.
"""

import contextlib
import io
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsearch.errors import FilterError

__all__ = ["BoundedFilter", "FilterProcesses"]

_MEMORY_BYTES = 3 << 30  # of addresses, which an idle process has 1 GiB of
_KEPT_FILTERS = 8  # each has a connection of its own
_START_SECONDS = 60.0
_WAIT_SECONDS = 30.0  # for a process that is free


class FilterProcesses:
    """Processes that run filters, one at a time each. For any number of threads.

    One that takes too long, or more memory than it may, is killed and another takes its place. They are started when
    the first filter comes, and end with this process or when they are closed.
    """

    def __init__(self, count: int, *, seconds: float) -> None:
        """seconds: how long a filter may take for all of its rows."""
        self.seconds = seconds
        self._free: queue.LifoQueue[_FilterProcess | None] = queue.LifoQueue()
        self._running: set[_FilterProcess] = set()
        self._closed = False
        for _ in range(count):
            self._free.put(None)

    def ask(self, expression: str, schema: pa.Schema, rows: pa.Table, seconds: float) -> tuple[dict[str, Any], bytes]:
        """What `_answer` answers in one of the processes. Raises FilterError."""
        try:
            process = self._free.get(timeout=_WAIT_SECONDS)
        except queue.Empty:
            raise FilterError("too many filters are being answered here; ask again in a moment") from None
        try:
            if process is not None and process.has_ended:  # since its last answer
                self._running.discard(process)
                process.end()
                process = None
            process = process or self._started()
            fields, data = process.ask(expression, schema, rows, seconds)
        except EOFError:
            assert process is not None
            self._running.discard(process)
            overdue = process.end()
            process = None if self._closed else self._started()
            why = (
                f"took more than {self.seconds:g} s, which is as long as it may take here"
                if overdue
                else "needs more memory than it may have here"
            )
            raise FilterError(f"the filter {why}") from None
        finally:
            self._free.put(process)
        if "error" in fields:
            raise FilterError(fields["error"])
        return fields, data

    def close(self) -> None:
        """Kill the processes, also those that are at work."""
        self._closed = True
        for process in [*self._running]:
            process.end()

    def _started(self) -> "_FilterProcess":
        process = _FilterProcess()
        self._running.add(process)
        return process


class BoundedFilter:
    """A `RowFilter` of functions whose work is bounded by the row, run by `FilterProcesses`."""

    def __init__(self, expression: str, columns: Iterable[pa.Field], processes: FilterProcesses) -> None:
        """As `RowFilter`. Raises FilterError."""
        self._expression, self._schema, self._processes = expression, pa.schema(columns), processes
        none = pa.Table.from_batches([], self._schema)
        fields, _ = processes.ask(expression, self._schema, none, processes.seconds)
        self.columns: list[str] = fields["columns"]

    def in_time(self) -> Callable[[pa.Table], NDArray[np.int64]]:
        """`RowFilter.row_ids` for one piece of rows after another, all of them within the time that a filter has."""
        left = self._processes.seconds

        def row_ids(rows: pa.Table) -> NDArray[np.int64]:
            nonlocal left
            started = time.monotonic()
            _, data = self._processes.ask(self._expression, self._schema, rows, max(0.0, left))
            left -= time.monotonic() - started
            return np.frombuffer(data, np.int64)

        return row_ids


class _FilterProcess:
    """One process, and the pipes to it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from mmsearch.filter_process import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # an allocator that gives up says so there
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "ARROW_DEFAULT_MEMORY_POOL": "system"},
        )
        self._overdue = self._ready = False

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def ask(self, expression: str, schema: pa.Schema, rows: pa.Table, seconds: float) -> tuple[dict[str, Any], bytes]:
        """What `_answer` answers. Raises EOFError where the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = self._timer(_START_SECONDS if not self._ready else seconds)
        try:
            if not self._ready:  # its start is none of the filter's time
                _read(self._process.stdout)
                self._ready = True
                timer.cancel()
                timer = self._timer(seconds)
            _write(self._process.stdin, expression.encode("utf-8", "surrogatepass"), _packed(schema, None))
            _write(self._process.stdin, json.dumps({"seconds": seconds}).encode(), _packed(rows.schema, rows))
            fields, data = _read(self._process.stdout)
        except OSError:
            raise EOFError from None
        finally:
            timer.cancel()
        return json.loads(fields), data

    def end(self) -> bool:
        """Kill it. Whether it had taken too long."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was still to be written
                    pipe.close()
        return self._overdue

    def _timer(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, self._give_up)
        timer.daemon = True
        timer.start()
        return timer

    def _give_up(self) -> None:
        self._overdue = True
        self._process.kill()


def main() -> None:
    """A process of `FilterProcesses`: answer on stdout what comes on stdin, until that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then ends this
    _limit_memory()
    answers = os.fdopen(os.dup(1), "wb")
    filters: OrderedDict[tuple[bytes, bytes], Any] = OrderedDict()
    import mmsearch.filters  # noqa: F401 - DuckDB, which takes its time, and is loaded only here

    _write(answers, b"", b"")
    while True:
        try:
            expression, schema = _read(sys.stdin.buffer)
            options, rows = _read(sys.stdin.buffer)
        except EOFError:
            return
        if hasattr(signal, "setitimer"):  # should the server be gone by then
            signal.setitimer(signal.ITIMER_REAL, 2 * json.loads(options)["seconds"] + 1)
        _write(answers, *_answer(filters, expression, schema, rows))
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(
    filters: "OrderedDict[tuple[bytes, bytes], Any]", expression: bytes, schema: bytes, rows: bytes
) -> tuple[bytes, bytes]:
    """A filter's columns, and the row ids (int64) that it admits of some rows; or its error."""
    from mmsearch.filters import RowFilter

    try:
        key = expression, schema
        if key not in filters:
            columns = pa.ipc.open_stream(schema).schema
            filters[key] = RowFilter(expression.decode("utf-8", "surrogatepass"), columns, bounded=True)
            while len(filters) > _KEPT_FILTERS:
                filters.popitem(last=False)
        filters.move_to_end(key)
        row_ids = filters[key].row_ids(pa.ipc.open_stream(rows).read_all())
    except FilterError as error:
        return json.dumps({"error": str(error)}).encode(), b""
    return json.dumps({"columns": filters[key].columns}).encode(), row_ids.tobytes()


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    try:
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        least = _MEMORY_BYTES if most == resource.RLIM_INFINITY else min(most, _MEMORY_BYTES)
        resource.setrlimit(resource.RLIMIT_AS, (least, most))
    except (OSError, ValueError):  # macOS takes none
        return


def _packed(schema: pa.Schema, rows: pa.Table | None) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        if rows is not None:
            writer.write_table(rows)
    return sink.getvalue()


def _write(stream: Any, first: bytes, second: bytes) -> None:
    stream.write(struct.pack(">QQ", len(first), len(second)))
    stream.write(first)
    stream.write(second)
    stream.flush()


def _read(stream: BinaryIO | Any) -> tuple[bytes, bytes]:
    """A pair of `_write`. Raises EOFError."""
    first, second = struct.unpack(">QQ", _exactly(stream, 16))
    return _exactly(stream, first), _exactly(stream, second)


def _exactly(stream: BinaryIO | Any, count: int) -> bytes:
    data: bytes = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data
