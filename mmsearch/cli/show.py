"""`mmsearch show`"""

import os
import sys
from typing import Annotated

import typer

from mmsearch.cli.opening import MOST_WINDOWS, open_files, why_no_windows
from mmsearch.cli.options import say


def show(
    ranks: Annotated[
        list[int] | None,
        typer.Argument(
            metavar="[RANK]...", min=1, help="Which hits of the last answer, by their ranks. None: the best."
        ),
    ] = None,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the path instead, for other programs; a line a hit.")
    ] = False,
) -> None:
    """Open a hit of the last answer in the desktop's viewer: mmsearch show 3

    The last answer is that of mmsearch query in this terminal; where there was none, the last in any. Of what is in an
    archive or an object store a copy is opened. Where there is no desktop, as over ssh, the path is printed.
    """
    from mmsearch.render.local_files import local_file
    from mmsearch.search.last_answer import last_answer

    wanted = list(dict.fromkeys(ranks or [1]))
    if len(wanted) > MOST_WINDOWS and not only_print:
        raise typer.BadParameter(f"each hit gets a window of its own, at most {MOST_WINDOWS}", param_hint="RANK")
    answer = last_answer()
    files = [answer.file(rank) for rank in wanted]
    if answer.server is not None and not all(map(os.path.lexists, files)):
        say(f"the answer came from {answer.server}, whose pictures may be on another machine")
    places = [local_file(file) for file in files]
    reason = None if only_print else why_no_windows()
    if reason is not None:
        say(f"{reason}: the path is printed")
    if only_print or reason is not None:
        sys.stdout.flush()
        sys.stdout.buffer.write(b"".join(os.fsencode(place) + b"\n" for place in places))
        sys.stdout.buffer.flush()
        return
    for rank, file in zip(wanted, files, strict=True):
        say(f"hit {rank} of the answer to {answer.asked!r}: {file}")
    open_files(places)
