"""The README says what is so: its commands exist, its options exist, its examples run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.fakes import FakeEncoder

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text("utf-8")


def test_the_section_of_commands_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, PROJECT / "scripts" / "readme_commands.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_command_is_documented_and_every_documented_one_exists(mmsearch: Command) -> None:
    from mmsearch.cli import app

    commands = {entry.name for entry in (*app.registered_commands, *app.registered_groups)}
    named = set(re.findall(r"^(?:    |    \$ |\*\*`|\| `)mmsearch ([a-z]+)", README, flags=re.MULTILINE))
    assert named == commands


def test_every_option_in_the_readme_exists(mmsearch: Command) -> None:
    # Of other programs, and of scripts.
    others = {"--local-dir", "--group", "--embed", "--sync", "--query", "--index", "--json", "--sizes", "--rounds"}
    generated = README[README.index("<!-- commands") :]
    prose = README[: README.index("<!-- commands")]
    known = set(re.findall(r"--[a-z][a-z-]+", generated))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose)) - others <= known


def test_every_target_in_the_readme_exists() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z]+)\b", README)) - {"sure"}:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_python_example_runs(photos: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, with a fake encoder in the place of the model."""
    from mmsearch.search import open_gallery as query

    monkeypatch.chdir(photos.parent)
    (photos.parent / "captions.txt").write_text("image,caption\nred.png,all red\n")
    photos.joinpath("more").rename(photos.parent / "elsewhere")
    photos.parent.joinpath("Images").symlink_to(photos)
    monkeypatch.setattr(query, "load_encoder", lambda spec, **_: FakeEncoder(spec))
    (example,) = re.findall(r"```python\n(import mmsearch.*?)```", README, flags=re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})  # the point of this test is to run what the README shows


def test_the_repository_speaks_of_mmsearch_alone() -> None:
    """Nothing at the top level but what a reader expects there."""
    listed = subprocess.run(["git", "ls-tree", "--name-only", "HEAD"], cwd=PROJECT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    expected = {"pyproject.toml", "README.md", "Makefile", "LICENSE", "mmsearch", "tests", "scripts", "data"}
    assert {name for name in listed.stdout.split() if not name.startswith(".")} <= expected
