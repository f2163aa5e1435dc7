"""Places, files and streams that are not what a command hopes for: one clear line, in bounded time, nothing lost."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from mmsearch.cache import writable_cache
from mmsearch.cli import app
from mmsearch.gallery.tables import _damaged
from tests.conftest import Command

_WITHOUT_RIGHTS = "setpriv --bounding-set=-dac_override,-dac_read_search"


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in which `mmsearch` is the program, within limits."""
    program = f"{sys.executable} -m mmsearch"
    return subprocess.run(
        ["bash", "-c", "ulimit -v 12000000; " + command.replace("mmsearch", f"timeout 60 {program}", 1)],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def gallery(photos: Path, mmsearch: Command) -> Path:
    place = photos.parent / "g"
    mmsearch("embed", photos, "--model", "fake", "-g", place)
    return place


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("mmsearch query -g g --image /dev/zero", "is a device or a socket, not a file"),
        ("ln -s /dev/zero z.jpg; mmsearch query -g g --image z.jpg", "is a device or a socket, not a file"),
        ("mkfifo p.jpg; mmsearch query -g g --image p.jpg", "is a named pipe; send it to - (stdin)"),
        ("truncate -s 30G s.jpg; mmsearch query -g g --image s.jpg", "is larger than the 1,073,741,824 bytes"),
        ("mmsearch query -g g --image - < /dev/zero", "is larger than the 1,073,741,824 bytes"),
        ("mmsearch query -g g --image photos", "is a folder"),
        ("mmsearch query -g g --from-file /dev/zero", "is a device or a socket, not a file"),
        ("mmsearch query -g g --from-file - < /dev/zero", "is larger than the 67,108,864 bytes"),
        ("ln -s l.jpg l.jpg; mmsearch query -g g --image l.jpg", "too many levels of symbolic links"),
        ("mmsearch query -g g --image photos/red.png/x", "not a directory"),
    ],
)
def test_what_is_no_picture_is_refused_in_bounded_time(gallery: Path, command: str, message: str) -> None:
    done = shell(command, gallery.parent)
    assert done.returncode == 1, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("picture", ["- < photos/red.png", "<(cat photos/red.png)"])
def test_a_picture_comes_through_a_pipe(gallery: Path, picture: str) -> None:
    done = shell(f"mmsearch query -g g -k 1 --format paths --image {picture}", gallery.parent)
    assert (done.returncode, done.stdout) == (0, f"{gallery.parent}/photos/red.png\n"), done.stderr


def test_a_cache_that_cannot_be_written_is_replaced_for_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    assert writable_cache("objects", "a") == tmp_path / "cache" / "objects" / "a"
    (tmp_path / "cache").write_text("a file")
    place = writable_cache("objects", "a")
    assert not place.is_relative_to(tmp_path)
    assert place.parents[1].is_dir()


def test_lack_of_permission_is_not_called_a_failing_disk() -> None:
    assert "permission denied" in str(_damaged("shard", PermissionError(13, "Permission denied")))
    assert "disk may be failing" in str(_damaged("shard", OSError(5, "Input/output error")))


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can become another user"
)
@pytest.mark.parametrize("command", ["info", "query red", "export x.parquet", "compact", "index", "forget photos"])
def test_a_gallery_of_another_user_is_one_line(gallery: Path, command: str) -> None:
    gallery.chmod(0o700)
    os.chown(gallery, 65534, 65534)
    # Root without the right to read what others have: another user could not reach this interpreter everywhere.
    done = shell(f"{_WITHOUT_RIGHTS} mmsearch {command} -g g", gallery.parent)
    assert done.returncode == 1, done.stderr
    assert "permission denied" in done.stderr
    assert "belongs to" in done.stderr or "put the gallery elsewhere" in done.stderr
    assert "Traceback" not in done.stderr


_TAKES_A_PLACE = ("DIR", "FILE", "FILE.svg", "FOLDER", "GALLERY", "NEW", "PATH", "ROOT", "MODEL")
"""What help texts call a place; a new option that takes one is tried without being named here."""

_DRIVER = """
import json, os, resource, signal, sys
import numpy, pyarrow, pyarrow.parquet, PIL.Image, mmsearch.cli
resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
for number, case in enumerate(json.load(sys.stdin)):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        out = os.open(f"out-{number}", os.O_WRONLY | os.O_CREAT)
        null = os.open(os.devnull, os.O_RDWR)
        for end, at in ((null, 0), (null, 1), (out, 2)):
            os.dup2(end, at)
        sys.argv = sys.orig_argv = ["mmsearch", *case]
        mmsearch.cli.main()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)
"""
"""Runs each list of arguments in a process of its own that has the command line imported already."""


def _commands(command: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _commands(inner, (*names, name))
    else:
        yield names, command


def _kind(parameter: Any) -> str:
    return str(parameter.metavar or "").strip("[]{}.")


def _cases(values: list[str]) -> list[list[str]]:
    """Each parameter that takes a place with each value; what else a command requires names nothing that is there."""
    cases = []
    for names, command in _commands(typer.main.get_command(app)):
        taking = [each for each in command.params if _kind(each) in _TAKES_A_PLACE]
        for tried in taking:
            for value in values:
                case = list(names)
                options = [opt for each in command.params for opt in each.opts]
                if tried.opts[-1] != "-g" and "--gallery" in options and "--gallery" not in tried.opts:
                    case += ["--gallery", "g"]
                if names == ("query",):
                    case += ["red"]
                last = []
                for each in command.params:
                    if each is not tried and not each.required:
                        continue
                    given = value if each is tried else "photos"
                    if each.param_type_name == "argument":
                        last.append(given)
                    else:
                        case += [f"{each.opts[0]}={given}"]
                cases.append([*case, "--", *last])
    return cases


def _failures(folder: Path, cases: list[list[str]]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER],
        cwd=folder,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=False,
    )
    codes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(codes) == len(cases), done.stderr
    failures = []
    for number, (case, code) in enumerate(zip(cases, codes, strict=True)):
        said = (folder / f"out-{number}").read_text(errors="replace")
        if code not in (0, 1, 2) or "Traceback" in said or (code and not said.strip()):
            failures.append(f"{case}: exit code {code}, {said.strip().splitlines()[-1:]}")
    return failures


@pytest.mark.parametrize("part", [0, pytest.param(None, marks=pytest.mark.soak)])
def test_no_option_that_takes_a_place_ends_in_a_traceback(gallery: Path, part: int | None) -> None:
    cases = _cases(["~nosuch/x"])
    assert len(cases) > 40
    assert _failures(gallery.parent, cases if part is None else cases[part::12]) == []
