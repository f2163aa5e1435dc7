"""`mmsearch guide`"""

import re
import sys
from typing import Annotated

import typer


def guide(
    topic: Annotated[
        str | None, typer.Argument(metavar="[TOPIC]", help="Which guide. None: list them, with a line each.")
    ] = None,
) -> None:
    """Show how a part of mmsearch is used, and what it costs: a guide a subject.

    On a terminal it is laid out; elsewhere it is the Markdown as it is: mmsearch guide index | less
    """
    from mmsearch.guides import list_guides, read_guide

    if topic is None:
        for each in list_guides():
            print(f"{each.topic:15}{each.summary}")
    elif sys.stdout.isatty():
        _lay_out(read_guide(topic).text)
    else:
        print(read_guide(topic).text, end="")


_WIDEST = 120  # columns; longer lines are hard to read


def _lay_out(markdown: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    # Links to files lead nowhere from a terminal: the name of the guide stays.
    named = re.sub(r"!?\[([^\]]*)\]\((?!\w+:)[^)]*\)", r"**\1**", markdown)
    # Rich puts code on black, which few terminals are.
    console = Console(theme=Theme({"markdown.code": "bold cyan", "markdown.code_block": "cyan"}))
    console.print(Markdown(named, code_theme="ansi_light"), width=min(console.width, _WIDEST))
