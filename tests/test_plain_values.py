"""Plain values are taken without Typer's conversion, and give exactly what that gives; so do all others."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

import mmsearch.cli
import mmsearch.cli.evaluate
from mmsearch.cli.options import path
from mmsearch.cli.plain_values import PlainCommand, PlainGroup


def app(command: type[TyperCommand], group: type[TyperGroup]) -> typer.Typer:
    made = typer.Typer(cls=group, pretty_exceptions_enable=False)
    made.callback()(lambda: None)

    def show(
        name: Annotated[str | None, typer.Argument()] = None,
        k: Annotated[int, typer.Option("-k", min=1)] = 10,
        port: Annotated[int, typer.Option(min=0, max=65535)] = 8765,
        score: float | None = None,
        share: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.5,
        sort: Literal["rank", "date"] = "rank",
        word: list[str] | None = None,
        number: list[int] | None = None,
        file: Annotated[Path | None, typer.Option(parser=path)] = None,
        files: Annotated[list[Path] | None, typer.Option(parser=path)] = None,
        hexadecimal: Annotated[int | None, typer.Option(parser=lambda text: int(text, 16))] = None,
        flag: Annotated[bool, typer.Option("--flag")] = False,
        place: Annotated[str | None, typer.Option(envvar="PLACE")] = None,
    ) -> None:
        print({key: repr(value) for key, value in locals().items()})

    made.command("show", cls=command)(show)
    return made


CASES = [
    [],
    ["beach"],
    [""],
    ["a", "b"],
    ["--", "-k"],
    *(["-k", value] for value in ("5", "0", "-1", "007", "1_0", " 5", "5.0", "x", "", "9" * 40, "٣")),
    *(["--port", value] for value in ("0", "65535", "65536", "-1")),
    *(["--score", value] for value in ("0.25", "-0.25", "1", "1e-3", "nan", "inf", "-inf", ".5", "1_0", "x", "", "+1")),
    *(["--share", value] for value in ("0", "1", "1.0000001", "-0.1", "0.1234567890123456789", "nan")),
    *(["--sort", value] for value in ("date", "rank", "Date", "", "name")),
    ["--word", "a", "--word", "b c", "--word", ""],
    ["--number", "1", "--number", "2"],
    ["--number", "1", "--number", "x"],
    *(["--file", value] for value in ("a/b.jpg", "", "s3://bucket/x")),
    ["--files", "a", "--files", "b"],
    ["--files", "a", "--files", ""],
    *(["--hexadecimal", value] for value in ("ff", "0x1F", "g")),
    ["--flag"],
    ["--flag=1"],
    ["--place", "here"],
    ["--unknown"],
    ["--help"],
]


@pytest.mark.parametrize("arguments", CASES, ids=" ".join)
def test_every_value_is_what_typer_makes_of_it(arguments: list[str]) -> None:
    own, typers = (
        CliRunner().invoke(app(*classes), ["show", *arguments], env={"PLACE": "from the environment"})
        for classes in ((PlainCommand, PlainGroup), (TyperCommand, TyperGroup))
    )
    assert (own.exit_code, own.output, own.stderr) == (typers.exit_code, typers.output, typers.stderr)
    assert own.exit_code in (0, 2)


@pytest.mark.parametrize("words", [(), ("zeroshot",), ("probe",), ("probe", "gallery"), ("no-such",)])
def test_of_a_group_only_what_is_named_is_built(words: tuple[str, ...]) -> None:
    """Its help, and that of the group, is what it is beside all others."""
    quick, whole = (mmsearch.cli.make_app(["eval"], named) for named in (words, None))
    for asked in {("eval", *words, "--help"), ("eval", "--help")}:
        shown, expected = (CliRunner().invoke(app, asked, prog_name="mmsearch") for app in (quick, whole))
        assert (shown.exit_code, shown.output) == (expected.exit_code, expected.output)
    group: Any = typer.main.get_command(quick)
    commands = group.commands["eval"].commands
    built = {name for name, each in commands.items() if name != "probe" and len(each.params) > 0}
    assert built == {*words[:1]} & commands.keys() - {"probe"}
    assert all(command.name for command in mmsearch.cli.evaluate.app.registered_commands)  # by which it is known


def test_what_is_plain_needs_no_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    coercion: Any = pytest.importorskip("typer._coercion", reason="this release of Typer has no pydantic")
    monkeypatch.setattr(coercion, "build_runtime_param", lambda _: pytest.fail("pydantic is loaded"))
    given = ["beach", "-k", "5", "--score", "0.25", "--sort", "date", "--word", "a", "--files", "b", "--flag"]
    done = CliRunner().invoke(app(PlainCommand, PlainGroup), ["show", *given])
    assert done.exit_code == 0, done.output
    assert "'k': '5', 'port': '8765', 'score': '0.25', 'share': '0.5', 'sort': \"'date'\"" in done.output


@pytest.mark.parametrize("name", mmsearch.cli.COMMANDS)
def test_a_command_that_is_named_is_the_only_one_that_is_built(name: str) -> None:
    """Its help is what it is beside all others."""
    alone, among_all = (
        CliRunner().invoke(mmsearch.cli.make_app(names), [name, "--help"], prog_name="mmsearch")
        for names in ([name], mmsearch.cli.COMMANDS)
    )
    assert alone.exit_code == 0
    assert alone.output == among_all.output
    assert mmsearch.cli._named([name, "--help"]) == [name]
    assert list(mmsearch.cli._named(["--help", name])) == list(mmsearch.cli.COMMANDS)
