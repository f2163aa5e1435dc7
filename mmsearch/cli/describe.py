"""`mmsearch describe`"""

import json
import sys
from dataclasses import asdict
from typing import Annotated, Literal

import typer

from mmsearch.cli.options import Device, say
from mmsearch.cli.progress import display
from mmsearch.errors import QueryError
from mmsearch.items import GUESS
from mmsearch.names import printable

NOTHING_SAID = "(nothing)"
"""In the place of a guess, where a model says nothing of a picture."""


def describe(
    pictures: Annotated[list[str], typer.Argument(metavar="PICTURE...", help="Picture files; - is stdin.")],
    model: Annotated[
        str,
        typer.Option(metavar="MODEL", help="The model that looks: hf:org/name, hf:FOLDER, or a plugin's."),
    ],
    output: Annotated[
        Literal["table", "jsonl"], typer.Option("--format", help="For people, or an object of JSON for each picture.")
    ] = "table",
    device: Device = "auto",
) -> None:
    """Say what pictures show: a machine's guess, of which nothing is checked.

    The same model says the same of the same picture each time. To search what it says of a whole folder: mmsearch
    embed FOLDER --describe MODEL.
    """
    from mmsearch.describing import describe as run

    with display(interrupted="what was printed stays true") as shown:
        described = run(pictures, model=model, device=device, progress=shown.progress, announce=say)
        unread = 0
        for each in described:
            if each.unread is not None:
                unread += 1
                shown.announce(f"warning: {each.unread}")
            if output == "jsonl":
                print(json.dumps(asdict(each), ensure_ascii=False))
            elif each.unread is None and sys.stdout.isatty():
                print(f"{printable(each.picture)}\n    {GUESS}{each.guess or NOTHING_SAID}")
            elif each.unread is None:
                print(printable(each.picture), f"{GUESS}{each.guess or NOTHING_SAID}", sep="\t")
            sys.stdout.flush()
    if unread:
        raise QueryError(f"{unread:,} of {len(pictures):,} pictures could not be read; the others are described")
