"""The command line: one file a command. A command parses, makes one library call of the same name, and prints.

stdout carries results; progress, warnings and errors go to stderr. Exit codes: 0 done, 1 an `MmsearchError`, 2 wrong
usage, 3 `finetune` whose model is not surely better, 130 interrupted. Anything else is a bug and keeps its traceback.
"""

import copy
import errno
import importlib
import io
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.models import CommandInfo

from mmsearch.cli.plain_values import PlainCommand
from mmsearch.cli.usage import Program
from mmsearch.errors import MmsearchError, MmsearchNote, MmsearchWarning
from mmsearch.names import printable
from mmsearch.version import __version__

__all__ = ["COMMANDS", "main", "make_app"]

COMMANDS = {
    "embed": ("embed", "embed"),
    "index": ("index", "index"),
    "calibrate": ("calibrate", "calibrate"),
    "finetune": ("finetune", "finetune"),
    "query": ("query", "query"),
    "kept": ("kept", "kept"),
    "show": ("show", "show"),
    "explain": ("explain", "explain"),
    "describe": ("describe", "describe"),
    "ask": ("ask", "ask"),
    "eval": ("evaluate", "app"),
    "serve": ("serve", "serve"),
    "mcp": ("mcp", "mcp"),
    "info": ("info", "info"),
    "use": ("use", "use"),
    "duplicates": ("duplicates", "duplicates"),
    "clusters": ("clusters", "clusters"),
    "export": ("export", "export"),
    "import": ("imports", "import_"),
    "forget": ("forget", "forget"),
    "relocate": ("relocate", "relocate"),
    "compact": ("compact", "compact"),
    "cache": ("cache", "cache"),
    "guide": ("guide", "guide"),
}
"""Name -> the module of this package that holds the command, and what it is called there."""


def make_app(names: Iterable[str] = COMMANDS, words: Sequence[str] | None = None) -> typer.Typer:
    """The program, with these of its commands: the modules of others are not loaded.

    words: what is typed after the command; in a group of commands (eval) only the one that they name has its parameters
    then, which take a millisecond a command to build. None: all have.
    """
    app = typer.Typer(
        name="mmsearch",
        cls=Program,
        help="Search pictures with words and words with pictures, and know how good the answers are.",
        epilog="Start with: mmsearch embed ~/Pictures, then: mmsearch query 'sunset over mountains'. More: mmsearch "
        "guide",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in names:
        place, called = COMMANDS[name]
        module = importlib.import_module(f"mmsearch.cli.{place}")
        command = getattr(module, called)
        if isinstance(command, typer.Typer):
            app.add_typer(command if words is None else _with_parameters_of(words, command), name=name)
        else:
            app.command(name, cls=getattr(module, "Command", PlainCommand))(command)
    return app


def _with_parameters_of(words: Sequence[str], group: typer.Typer) -> typer.Typer:
    """A group whose commands have no parameters, but for the one that is named: all that its help shows."""
    named = next((word for word in words if not word.startswith("-")), None)
    shown = copy.copy(group)
    shown.registered_commands = [
        command if command.name == named else _without_parameters(command) for command in group.registered_commands
    ]
    shown.registered_groups = [copy.copy(inner) for inner in group.registered_groups]
    for inner in shown.registered_groups:
        if inner.typer_instance is not None:
            rest = words[words.index(named) + 1 :] if named is not None and inner.name == named else ()
            inner.typer_instance = _with_parameters_of(rest, inner.typer_instance)
    return shown


def _without_parameters(command: CommandInfo) -> CommandInfo:
    def unnamed() -> None:
        pass

    bare = copy.copy(command)
    unnamed.__doc__ = command.callback.__doc__ if command.callback is not None else None
    bare.callback = unnamed
    return bare


def _named(arguments: Sequence[str]) -> Sequence[str]:
    """The one command that is asked for; all where none is, so that help and errors know them all."""
    return arguments[:1] if arguments and arguments[0] in COMMANDS else [*COMMANDS]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mmsearch {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the program."""
    _require_utf8_names()
    _prepare_streams()
    # Warnings of our own are for whoever runs the command; those of libraries are for developers.
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", MmsearchWarning)
    try:
        _require_current_folder()
        try:
            # A shell that completes words passes them another way.
            words = None if "_MMSEARCH_COMPLETE" in os.environ else sys.argv[2:]
            make_app(_named(sys.argv[1:]), words)(prog_name="mmsearch")
        finally:
            sys.stdout.flush()
    except MmsearchError as error:
        _fail(str(error))
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except OSError as error:
        if error.filename is not None and error.errno in _OF_A_PLACE:
            _fail(_place_error(error))
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the interpreter's own last flush succeeds
        _fail(f"cannot write the output: {(error.strerror or str(error)).lower()}")


# What a file system answers about a place that was named, and what no command can know before it looks. A file that is
# not there, or is there already, is not among it: where that is not said better, it is a bug and keeps its traceback.
_OF_A_PLACE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENXIO,
    errno.ENODEV,
)


def _place_error(error: OSError) -> str:
    """One line about a place that the system does not let us use; of a lack of permission also who may give it."""
    path = os.fsdecode(error.filename)
    reason = f"cannot use {path}: {(error.strerror or str(error)).lower()}"
    if error.errno not in (errno.EACCES, errno.EPERM):
        return reason
    owned = next((above for above in (Path(path), *Path(path).parents) if _owner(above) is not None), None)
    owner = f"{owned} belongs to {_owner(owned)}; " if owned is not None else ""
    return f"{reason}. {owner}ask for the right to read it (and to write it, for what writes), or name another place"


def _owner(path: Path) -> str | None:
    try:
        return path.owner()
    except KeyError:
        return f"user {path.stat().st_uid}"
    except (OSError, NotImplementedError):  # out of sight too; Windows
        return None


def _fail(message: str) -> NoReturn:
    print(f"mmsearch: error: {printable(message)}", file=sys.stderr)
    sys.exit(1)


def _require_utf8_names() -> None:
    """Start again in UTF-8 mode under a locale that is not UTF-8: paths would be stored as other text than elsewhere.

    How names are decoded cannot be changed later. The bytes of the arguments arrive unchanged.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"  # for workers
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _prepare_streams() -> None:
    """Output that cannot fail over a name: what its encoding lacks is escaped.

    A stream that is closed is opened on nothing: else the next file that is opened, which may be a shard, would have
    its number, and take what libraries write to it. Nothing to be read is there, errors go nowhere, and an answer for
    which there is no place is an error.
    """
    for number, how in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, how)  # takes the lowest number that is free: this one
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115 - lives as long as the program
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _require_current_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError:
        raise MmsearchError("the current folder does not exist any more; cd to one that does") from None


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, MmsearchNote):
        if sys.stderr.isatty():
            print(f"mmsearch: {printable(str(message))}", file=sys.stderr)
    elif issubclass(category, MmsearchWarning):
        print(f"mmsearch: warning: {printable(str(message))}", file=sys.stderr)
