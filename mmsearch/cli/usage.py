"""What was typed wrongly, said so that the next try is right."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from mmsearch.cli.plain_values import PlainGroup
from mmsearch.names import shell_quoted

__all__ = ["Program"]

# typer gives a name to this class alone, and brings a click of its own since 0.26.
_UsageError: Any = typer.BadParameter.__mro__[1]

_MEANT = {
    **dict.fromkeys(("search", "find", "ask", "look", "lookup", "s", "q"), 'mmsearch query "a dog"'),
    **dict.fromkeys(("similar", "like", "related", "neighbours", "neighbors"), "mmsearch query --image FILE"),
    **dict.fromkeys(
        ("add", "sync", "update", "scan", "encode", "init", "new", "create", "reindex", "ingest"),
        "mmsearch embed PICTURES",
    ),
    **dict.fromkeys(("build", "build-index", "train"), "mmsearch index"),
    **dict.fromkeys(("stats", "status", "ls", "list", "version"), "mmsearch info"),
    **dict.fromkeys(("open", "view", "display", "preview", "see"), "mmsearch show 3"),
    **dict.fromkeys(("switch", "select", "default", "gallery", "workon"), "mmsearch use GALLERY"),
    **dict.fromkeys(("web", "ui", "gui", "server", "browse", "api", "start"), "mmsearch serve"),
    **dict.fromkeys(("rm", "remove", "delete", "drop"), "mmsearch forget FOLDER"),
    **dict.fromkeys(("mv", "move"), "mmsearch relocate OLD NEW"),
    **dict.fromkeys(("dedupe", "dedup", "dups", "doubles"), "mmsearch duplicates"),
    **dict.fromkeys(("albums", "album", "cluster", "group", "groups", "topics", "organize"), "mmsearch clusters"),
    **dict.fromkeys(("clean", "gc", "vacuum", "optimize", "optimise"), "mmsearch compact"),
    **dict.fromkeys(("evaluate", "bench", "benchmark", "recall"), "mmsearch eval --help"),
    **dict.fromkeys(("dump", "save"), "mmsearch export FILE"),
    **dict.fromkeys(("help", "docs", "man"), "mmsearch guide"),
}
"""Words that other tools use for what a command does here, and what to type."""


class Program(PlainGroup):
    """All of the commands."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is named first. Raises UsageError, which names the command that another tool calls so."""
        try:
            return super().resolve_command(ctx, args)
        except _UsageError as error:
            if args and args[0] in _MEANT:
                error.message = f"No such command {args[0]!r}; this is: {_MEANT[args[0]]}"
            raise

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep what was typed for `invoke`."""
        ctx.meta[__name__] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that is named first."""
        with _plain_words(ctx.meta[__name__]):
            return super().invoke(ctx)


@contextmanager
def _plain_words(typed: list[str]) -> Iterator[None]:
    """Name in each error of usage what was typed, and what to type."""
    try:
        yield
    except _UsageError as error:
        of_words = typed[:1] == ["query"] and error.ctx is not None and _of_words(error, typed)
        error.message = _of_value(error) or of_words or _of_missing(error) or _of_gallery(error) or error.message
        raise


def _of_value(error: Any) -> str | None:
    """About a value that is no number, or out of its range: typer would repeat what pydantic says to developers."""
    if not hasattr(cause := error.__cause__, "errors"):
        return None
    problem = cause.errors()[0]
    kind, value, bounds = problem["type"], problem["input"], problem.get("ctx", {})
    if kind.startswith("int_"):
        return f"{value!r} is not a whole number."
    if kind.startswith(("float_", "finite_")):
        return f"{value!r} is not a number."
    if kind == "value_error":
        return str(bounds.get("error", "")) or None
    for bound, words in (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than")):
        if bound in bounds:
            return f"it is {value}, and must be {words} {bounds[bound]:g}."
    return None


def _of_missing(error: Any) -> str | None:
    """What belongs into an option or an argument that has to be given and was not: what its help says."""
    return getattr(error.param, "help", None) if hasattr(error, "param_type") else None


def _of_gallery(error: Any) -> str | None:
    """About a gallery that is named by an option where a command takes it, or several, without one."""
    if getattr(error, "option_name", "") not in ("-g", "--gallery") or error.ctx is None:
        return None
    if not any(
        "GALLERY" in (each.metavar or "") for each in error.ctx.command.params if each.param_type_name == "argument"
    ):
        return None
    error.possibilities = []
    return f"No such option: {error.option_name}; galleries are named without it: {error.ctx.command_path} GALLERY"


def _of_words(error: Any, typed: list[str]) -> str | None:
    """About words of a query that were taken for something else than its text."""
    option = getattr(error, "option_name", "")
    if "unexpected extra argument" in error.message:
        words = " ".join(_words(error.ctx.command, typed[1:]))
        return f"A text of several words takes quotes: mmsearch query {shell_quoted(words)}"
    if option.startswith("--") and len(option) == len("--k"):
        error.possibilities = []
        return f"No such option: {option}. One letter takes one dash: {option[1:]}"
    odd = next((arg for arg in typed[1:] if arg.startswith(option) and not arg.startswith("--")), "")
    if option and len(odd) > len("-k"):
        ending = f"a text that begins with a dash comes last, after --: mmsearch query -- {shell_quoted(odd)}"
        return f"No such option: {option}; {ending}"
    return None


def _words(command: Any, args: list[str]) -> list[str]:
    """Those arguments of a command that are neither options nor their values."""
    with_value = {name for each in command.params if not getattr(each, "is_flag", False) for name in each.opts}
    return [
        arg
        for before, arg in zip(["", *args], args, strict=False)
        if not arg.startswith("-") and before not in with_value
    ]
