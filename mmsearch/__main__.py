"""`python -m mmsearch` is the same program as `mmsearch`."""

import atexit
import contextlib
import gc
import os
import sys

__all__ = ["run"]


def run() -> None:
    """Run the command line.

    Python looks for cyclic garbage again and again while modules are loaded, and at the end once more through all of
    them: a seventh of the processor time of a query. Modules are none, and cycles are rare here.

    At the end nothing is torn down. A library's own thread that still lets go of a Python object by then (Arrow's do:
    https://github.com/apache/arrow/issues/34314) would abort a process whose work is done.
    """
    ended: list[int] = []
    atexit.register(_leave, ended)  # the first to be registered is the last to be called
    gc.disable()
    from mmsearch.cli import main

    gc.freeze()
    gc.set_threshold(300_000, 50, 100)
    gc.enable()
    try:
        main()
        ended.append(0)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            ended.append(end.code or 0)
        raise


def _leave(ended: list[int]) -> None:
    """End the process here, unless by an exception: Python then says what it was, and dies of a signal where it was
    one."""
    if ended:
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads: Python says that
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(ended[0])


if __name__ == "__main__":
    run()
