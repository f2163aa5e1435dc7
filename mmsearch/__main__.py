"""`python -m mmsearch` is the same program as `mmsearch`."""

import gc

__all__ = ["run"]


def run() -> None:
    """Run the command line.

    Python looks for cyclic garbage again and again while modules are loaded, and at the end once more through all of
    them: a seventh of the processor time of a query. Modules are none, and cycles are rare here.
    """
    gc.disable()
    from mmsearch.cli import main

    gc.freeze()
    gc.set_threshold(300_000, 50, 100)
    gc.enable()
    main()


if __name__ == "__main__":
    run()
