"""`python -m tests.fake_program …`: the command line as a process of its own, with the fake encoder for every model."""

import pytest

from mmsearch.cli import main
from tests.fakes import provide

if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        provide(patch)
        main()
