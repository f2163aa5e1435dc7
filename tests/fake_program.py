"""`python -m tests.fake_program …`: the command line as a process of its own, with the fake encoder for every model."""

import pytest

from mmsearch.__main__ import run
from tests.fakes import provide

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        provide(patch)
        run()
