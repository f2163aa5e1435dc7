"""The command line: one file a command. A command parses, makes one library call of the same name, and prints.

stdout carries results; progress, warnings and errors go to stderr. Exit codes: 0 done, 1 an `MmsearchError`, 2 wrong
usage, 130 interrupted. Anything else is a bug and keeps its traceback.
"""

import sys
import warnings
from typing import Annotated, Any

import typer

from mmsearch.cli import compact, embed, evaluate, export, forget, index, info, query, relocate
from mmsearch.errors import MmsearchError, MmsearchWarning
from mmsearch.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    name="mmsearch",
    help="Search pictures with words and words with pictures, and know how good the answers are.",
    epilog="Start with: mmsearch embed ~/Pictures, then: mmsearch query 'sunset over mountains'",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("embed")(embed.embed)
app.command("index")(index.index)
app.command("query")(query.query)
app.command("eval")(evaluate.evaluate)
app.command("info")(info.info)
app.command("export")(export.export)
app.command("forget")(forget.forget)
app.command("relocate")(relocate.relocate)
app.command("compact")(compact.compact)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mmsearch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the program."""
    # Warnings of our own are for whoever runs the command; those of libraries are for developers.
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", MmsearchWarning)
    try:
        app(prog_name="mmsearch")
    except MmsearchError as error:
        print(f"mmsearch: error: {error}", file=sys.stderr)
        sys.exit(1)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, MmsearchWarning):
        print(f"mmsearch: warning: {message}", file=sys.stderr)
