"""`python -m mmsearch` is the same program as `mmsearch`."""

from mmsearch.cli import main

main()
