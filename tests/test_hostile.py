"""Places, files and streams that are not what a command hopes for: one clear line, in bounded time, nothing lost."""

import errno
import json
import math
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from safetensors.numpy import load_file, save_file

from mmsearch import cli, encoders
from mmsearch.cache import writable_cache
from mmsearch.cli import make_app
from mmsearch.cli.options import location, path
from mmsearch.errors import EncoderError
from mmsearch.evaluation.probes import PROBES
from mmsearch.gallery.tables import _damage_error
from mmsearch.items import askable, kinds
from mmsearch.upkeep.duplicates import DUPLICATE_KINDS
from scripts.s3_server import CREDENTIALS, s3_server
from tests.conftest import Command
from tests.galleries import contents
from tests.models import write_tiny_model
from tests.servers import Running, running, talk
from tests.worlds import make_world, png_of, run_in

_WITHOUT_RIGHTS = "setpriv --bounding-set=-dac_override,-dac_read_search"
"""Runs a program as one who may not pass by permissions, even if that is root."""


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
        ("mmsearch query -g g --image /dev/zero", "is a device, not a file"),
        ("ln -s /dev/zero z.jpg; mmsearch query -g g --image z.jpg", "is a device, not a file"),
        ("mkfifo p.jpg; mmsearch query -g g --image p.jpg", "is a named pipe, not a file"),
        ("truncate -s 30G s.jpg; mmsearch query -g g --image s.jpg", "is larger than the 1,073,741,824 bytes"),
        ("mmsearch query -g g --image - < /dev/zero", "is larger than the 1,073,741,824 bytes"),
        ("mmsearch query -g g --image photos", "is a folder"),
        ("mmsearch query -g g --from-file /dev/zero", "is a device, not a file"),
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
    assert "permission denied" in str(_damage_error("shard", PermissionError(13, "Permission denied")))
    assert "disk may be failing" in str(_damage_error("shard", OSError(5, "Input/output error")))


as_root = pytest.mark.skipif(
    os.name == "nt" or os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can become another user"
)
_NOBODY = 65534


def without_rights(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command line as one who may not pass by permissions, but reaches this interpreter and our packages."""
    return shell(f"{_WITHOUT_RIGHTS} mmsearch {command}", folder, **environment)


@as_root
@pytest.mark.parametrize(
    "command",
    ["info", "query red", "export x.parquet", "compact", "index", "forget photos", "embed photos", "serve --port 0"],
)
def test_a_gallery_of_another_user_is_one_line(gallery: Path, command: str) -> None:
    gallery.chmod(0o700)
    os.chown(gallery, _NOBODY, _NOBODY)
    done = without_rights(f"{command} -g g", gallery.parent)
    assert done.returncode == 1, done.stderr
    assert "permission denied" in done.stderr
    assert "belongs to" in done.stderr or "put the gallery elsewhere" in done.stderr
    assert "Traceback" not in done.stderr


@as_root
@pytest.mark.parametrize("command", ["info", "query red", "embed ."])
def test_a_gallery_of_another_user_above_is_one_line(gallery: Path, command: str) -> None:
    """It is found as git finds .git, and nobody named it: the line says where it is."""
    (gallery.parent / ".mmsearch").symlink_to(gallery)
    gallery.chmod(0o700)
    os.chown(gallery, _NOBODY, _NOBODY)
    done = without_rights(command, gallery.parent / "photos")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "permission denied" in done.stderr
    assert f"{gallery.parent}/" in done.stderr


@as_root
@pytest.mark.parametrize("command", ["info", "export x.parquet", "embed photos", "compact", "serve --port 0"])
def test_unreadable_shards_are_said_to_be_that(gallery: Path, command: str) -> None:
    (gallery / "images").chmod(0o700)
    for each in (gallery, gallery / "images"):
        os.chown(each, _NOBODY, _NOBODY)
    done = without_rights(f"{command} -g g", gallery.parent)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "permission denied" in done.stderr
    assert "disk may be failing" not in done.stderr


@as_root
@pytest.mark.soak
def test_a_cache_of_another_user_never_decides(photos: Path, whole_model: Path) -> None:
    """Whole commands with a cache, and one of the hub, that can be read and not written: all the same answers."""
    folder = photos.parent
    (folder / "captions.csv").write_text("image,caption\nred.png,red\nblue.png,blue\n")
    for name in ("cache", "hub"):
        (folder / name).mkdir(mode=0o755)
        os.chown(folder / name, _NOBODY, _NOBODY)
    said = {}
    for cache in ("cache", "own"):
        places = {"MMSEARCH_CACHE": str(folder / cache), "HF_HOME": str(folder / "hub")}
        for command in (
            f"embed photos -g {cache}-g --model local-dir:{whole_model}",
            f"query red -k 3 -g {cache}-g",
            f"eval custom --images photos --annotations captions.csv --model local-dir:{whole_model}",
        ):
            done = without_rights(command, folder, **places)
            assert done.returncode == 0, done.stderr
            assert "Traceback" not in done.stderr
            said[cache, command.split()[0]] = done.stdout
    assert said["cache", "query"] == said["own", "query"] != ""
    assert not [*(folder / "cache").iterdir()]


_TAKES_A_PLACE = (
    "DIR",
    "FILE",
    "FOLDER",
    "GALLERY",
    "MODEL",
    "NEW",
    "PATH",
    "PICTURE",
    "PLACE",
    "RERANKER",
    "ROOT",
    "STUDY",
)
_TAKES_NO_PLACE = (
    "|".join(kind.name for kind in kinds()),
    "|".join(askable()),
    "|".join(DUPLICATE_KINDS),
    *(
        "ADDRESS",
        "BENCHMARK",
        "COLUMN",
        "COSINE",
        "DEVICE",
        "FRAMES",
        "KIND",
        "NAME",
        "PATTERN",
        "QUESTION",
        "RANKS|PATH",
        "RANK",
        "SECONDS",
        "SHARE",
        "SIZE",
        "SQL",
        "STRING",
        "TEXT",
        "TILES",
        "TOKEN",
        "TOPIC",
        "URL",
        "--split",
    ),
)
"""What help texts call what an option takes. One that is called neither fails a test: is it a place?"""

_DRIVER = """
import json, os, resource, signal, sys
import numpy, pyarrow, pyarrow.parquet, PIL.Image, mmsearch.cli
resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
for number, case in enumerate(json.load(sys.stdin)):
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
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


def _is_text(parameter: Any) -> bool:
    """Whether any text can be given: it is no number, no flag and not one of some words."""
    described = getattr(parameter, "type_descriptor", None)  # older releases of Typer have a type with a name
    if described is None:
        return parameter.type.name.partition(" ")[0] not in ("boolean", "integer", "float", "choice")
    return described.annotation in (str, list[str], Path, list[Path])


def _reader(parameter: Any) -> object:
    described = getattr(parameter, "type_descriptor", None)
    return getattr(parameter.type, "func", None) if described is None else described.parameter_info.parser


def _kind(parameter: Any) -> str:
    """What help texts call what a parameter takes, or else its own name."""
    return str(parameter.metavar or parameter.opts[-1]).strip("[]{}.").partition(".")[0]


def _is_place(parameter: Any) -> bool:
    """By what reads it, `path` or `location` of the command line, or by what it is called."""
    return _reader(parameter) in (path, location) or (_is_text(parameter) and _kind(parameter) in _TAKES_A_PLACE)


_SAME = ("flickr8k", "flickr30k", "coco", *(name for name in PROBES if name != "sugarcrepe"))
"""Commands that are `eval custom` or `eval probe sugarcrepe` by another name."""

# What else is given, so that a command comes as far as to read what is tried.
_BESIDE = {
    ("query",): ["red"],
    ("explain",): ["red"],
    ("serve",): ["--host=no.such.host.invalid"],  # it ends when all is read
    ("eval", "vectors"): ["--images=v.npy", "--captions=v.npy"],
    ("eval", "custom"): ["--annotations=captions.csv", "--images=photos", "--model=fake"],
    ("eval", "probe", "sugarcrepe"): ["--annotations=captions.csv", "--images=photos", "--model=fake"],
    ("eval", "zeroshot"): ["--images=classes", "--model=fake"],
    ("eval", "linear"): ["--images=classes", "--model=fake"],
    ("eval", "lengths"): ["--annotations=captions.csv", "--images=photos", "--model=fake"],
    ("eval", "positives"): [
        *("--annotations=captions.csv", "--images=photos", "--model=fake", "--positives=photos"),
    ],
    ("eval", "composed"): ["--annotations=photos", "--images=photos", "--model=fake"],
    ("eval", "instances"): ["--annotations=captions.csv", "--images=photos", "--model=fake"],
    ("eval", "folds"): ["--annotations=captions.csv", "--images=photos", "--model=fake"],
}


def _cases(values: Iterable[str]) -> list[list[str]]:
    """Each parameter that takes a place with each value; what else a command requires is there."""
    cases = []
    for names, command in _commands(typer.main.get_command(make_app())):
        if names[-1] in _SAME:
            continue
        options = {opt for each in command.params for opt in each.opts}
        for tried in filter(_is_place, command.params):
            for value in values:
                case = list(names)
                if "--gallery" in options and "--gallery" not in tried.opts:
                    case += ["--gallery", "g"]
                beside = [each for each in _BESIDE.get(names, []) if each.partition("=")[0] not in tried.opts]
                last = []
                for each in command.params:
                    given = value if each is tried else "photos"
                    if each is not tried and (not each.required or any(b.startswith(each.opts[0]) for b in beside)):
                        continue
                    if each.param_type_name == "argument":
                        last.append(given)
                    else:
                        case += [f"{each.opts[0]}={given}"]
                if names == ("query",) and tried.name in ("image", "like", "from_file"):
                    beside = []
                case += [each for each in beside if each.startswith("-")]
                last += [each for each in beside if not each.startswith("-")]
                cases.append([*case, "--", *last])
    return cases


def _hostile_values(folder: Path) -> list[str]:
    """Names that are no place, and places that are not what was hoped for."""
    (folder / "loop").symlink_to("loop")
    (folder / "zero").symlink_to("/dev/zero")
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()
    (folder / "file").write_text("text")
    (folder / "bytes").write_bytes(b"\xff\xfe\x00\x01")
    (folder / "empty").touch()
    (folder / "secret").write_text("text")
    (folder / "closed").mkdir()
    (folder / "closed" / "x").touch()
    for place in ("secret", "closed"):
        (folder / place).chmod(0)
    return [
        *("~nosuch/x", "~.jpg", "", " ", "a\nb", "/dev/zero", "/dev/full", "zero", "fifo", "folder", "file"),
        *("bytes", "empty", "file/below", "loop", "x" * 300, "no\udcffutf8", "/proc/self/mem", "s3:", "-"),
        *("local-dir:folder", "local-dir:file", "ViT-B-32/fifo", "ViT-B-32/loop/x.pt"),
        *("secret", "closed", "closed/x", "local-dir:closed", "ViT-B-32/secret"),
    ]


def _failures(
    folder: Path, cases: list[list[str]], *, code: int | None = None, imported: str = "json", seconds: int = 60
) -> list[str]:
    """What did not end as it should: by an exit code of ours (code: this one), having said why, without a traceback.

    imported: what most of them need, to be imported once. seconds: that one may take.
    """
    rights = _WITHOUT_RIGHTS.split() if os.geteuid() == 0 and shutil.which("setpriv") else []
    done = subprocess.run(
        [*rights, sys.executable, "-c", f"import {imported}\nSECONDS = {seconds}\n{_DRIVER}"],
        cwd=folder,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=False,
    )
    codes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(codes) == len(cases), done.stderr
    allowed = (0, 1, 2) if code is None else (code,)
    failures = []
    for number, (case, ended) in enumerate(zip(cases, codes, strict=True)):
        said = (folder / f"out-{number}").read_text(errors="replace")
        if ended not in allowed or "Traceback" in said or (ended and not said.strip()):
            failures.append(f"{case}: exit code {ended}, {said.strip().splitlines()[-1:]}")
    return failures


def test_every_option_is_known_to_take_a_place_or_not() -> None:
    """An option that is new has a name for what it takes that is known here, so that no place goes untried."""
    unknown = [
        f"mmsearch {' '.join(names)} {each.opts[-1]}: {_kind(each)}"
        for names, command in _commands(typer.main.get_command(make_app()))
        for each in command.params
        if _is_text(each) and not _is_place(each) and _kind(each) not in _TAKES_NO_PLACE
    ]
    assert unknown == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root may replace what stands in /dev")
def test_a_device_is_not_replaced_by_a_file(gallery: Path, mmsearch: Command, tmp_path: Path) -> None:
    """Files are written under another name and renamed: onto a device that would end it for the whole machine."""
    device = tmp_path / "null"
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    link = tmp_path / "link.html"
    link.symlink_to(device)
    for arguments in (("export", device), ("query", "red", "--html", link), ("query", "red", "--contact-sheet", link)):
        done = mmsearch(*arguments, "-g", gallery)
        assert done.code != 0, arguments
        assert stat.S_ISCHR(device.stat().st_mode)


_EVERY = 8  # of the hostile cases: all of them take half an hour


@pytest.fixture
def places(gallery: Path) -> Path:
    """A folder in which all that commands require is there."""
    folder = gallery.parent
    np.save(folder / "v.npy", np.eye(3, dtype=np.float32))
    (folder / "captions.csv").write_text("image,caption\nred.png,red\n")
    for name in ("a", "b"):
        (folder / "classes" / name).mkdir(parents=True)
        shutil.copy(folder / "photos" / "red.png", folder / "classes" / name)
    return folder


def test_no_option_that_takes_a_place_ends_in_a_traceback(places: Path) -> None:
    cases = _cases(_hostile_values(places))
    assert len(cases) > 800
    assert _failures(places, cases[:: len(cases) // 12], seconds=20) == []


@pytest.mark.soak
@pytest.mark.parametrize("part", [0, 1])
def test_no_hostile_place_ends_in_a_traceback(places: Path, part: int) -> None:
    """An eighth of all cases, each option and each value among them; in two parts, which two processes may share."""
    values = _hostile_values(places)
    assert math.gcd(len(values), _EVERY) == 1  # so that every value is among what is chosen
    cases = _cases(values)
    chosen = cases[part * _EVERY :: 2 * _EVERY]
    assert {case[0] for case in cases} == {case[0] for case in chosen}
    assert _failures(places, chosen, seconds=20) == []


_ENDLESS = [
    ("eval vectors --images v.npy --captions v.npy --qrels X", "qrels"),
    ("eval vectors --images v.npy --captions v.npy --image-ids X", "ids"),
    ("eval zeroshot --images classes --model fake --classes X", "classes"),
    ("eval zeroshot --images classes --model fake --templates X", "templates"),
    ("eval custom --images photos --annotations X", "annotations"),
    ("eval custom --images photos --annotations captions.csv --split-file X", "split list"),
    ("serve -g g --token-file X", "the token"),
    ("embed X.txt -g new --model fake", "not"),
    ("embed X.csv -g new --model fake", "not"),
    ("embed --captions X -g g", "cannot read"),
    ("query -g g --from-file X", "the queries"),
    ("clusters -g g --words X", "the words"),
]
"""Every file that is read as text, at X, and how its error calls it."""


@pytest.mark.parametrize(
    "target", ["/dev/zero", pytest.param("pipe", marks=pytest.mark.soak), pytest.param("large", marks=pytest.mark.soak)]
)
def test_a_text_without_end_is_refused_wherever_one_is_read(places: Path, target: str) -> None:
    """A device, a pipe into which nobody writes, a file of 30 GB; also where a link of another name leads there."""
    folder = places
    os.mkfifo(folder / "pipe")
    with (folder / "large").open("wb") as file:
        file.write(b"a text\n")
        file.truncate(30 << 30)
    for suffix in ("", ".txt", ".csv"):
        (folder / f"endless{suffix}").symlink_to(folder / target)
    cases = [command.replace("X", "endless").split() for command, _ in _ENDLESS]
    assert _failures(folder, cases, code=1, seconds=20) == []
    for number in range(len(cases)):
        said = (folder / f"out-{number}").read_text()
        assert len(said.splitlines()) == 1, (cases[number], said)
        assert _ENDLESS[number][1].replace("X", "endless") in said, (cases[number], said)


@pytest.mark.parametrize("target", ["pipe", "/dev/zero"])
def test_links_to_what_is_no_file_cost_nothing(photos: Path, mmsearch: Command, target: str) -> None:
    """None is waited for or read, by whatever name; named they say what they are."""
    os.mkfifo(photos.parent / "pipe")
    suffixes = ("jpg", "tar", "zip", "parquet", "txt", "csv", "jsonl")
    for suffix in suffixes:
        (photos / f"x.{suffix}").symlink_to(photos.parent / target)
    done = mmsearch("embed", photos, "--model", "fake", "-g", photos.parent / "g")
    assert done.code == 0, done.err
    for suffix in suffixes:
        named = mmsearch("embed", photos / f"x.{suffix}", "--model", "fake", "-g", photos.parent / f"new-{suffix}")
        assert named.code == 1, suffix
        assert "not a file" in named.err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "cannot use /x/y: permission denied"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), "cannot use /x/y: no space left on device"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/x/y"), "cannot use /x/y: file name too long"),
        (OSError(errno.ENOSPC, "No space left on device"), "cannot write the output: no space left on device"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x/y"), None),
        (OSError(errno.EACCES, "Permission denied"), None),
        (OSError(errno.EINVAL, "Invalid argument", "/x/y"), None),
        (KeyError("x"), None),
    ],
)
def test_what_is_a_bug_keeps_its_traceback(
    error: Exception, message: str | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Only what a file system says of a place, and that the output cannot be written, becomes a line."""

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "make_app", lambda *_: fail)
    monkeypatch.setattr(os, "dup2", lambda *_: 0)
    with pytest.raises(type(error) if message is None else SystemExit):
        cli.main()
    if message is not None:
        assert f"mmsearch: error: {message}" in capfd.readouterr().err


# --- models whose parts do not fit each other -------------------------------------------------------------------------

_CONFIG = "open_clip_config.json"
_WEIGHTS = "open_clip_model.safetensors"


def _set(*keys: str, to: Any) -> Callable[[Path], object]:
    """Set one value in a model's config; without one the key goes."""

    def change(folder: Path) -> None:
        config = json.loads((folder / _CONFIG).read_text())
        place = config
        for key in keys[:-1]:
            place = place[key]
        if to is ...:
            del place[keys[-1]]
        else:
            place[keys[-1]] = to
        (folder / _CONFIG).write_text(json.dumps(config))

    return change


def _of_weights(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def changed(folder: Path) -> None:
        tensors = load_file(folder / _WEIGHTS)
        change(tensors)
        (folder / _WEIGHTS).unlink()  # it may be linked from elsewhere
        save_file(tensors, folder / _WEIGHTS)

    return changed


def _written(name: str, content: bytes) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content)

    return write


_UNFIT: dict[str, Callable[[Path], object]] = {
    "no config": lambda folder: (folder / _CONFIG).unlink(),
    "no weights": lambda folder: (folder / _WEIGHTS).unlink(),
    "an empty config": _written(_CONFIG, b""),
    "a config that breaks off": _written(_CONFIG, b'{"model_cfg": {'),
    "a config of brackets": _written(_CONFIG, b"[" * 100_000),
    "a config that is no text": _written(_CONFIG, b"\xff\xfe\x00"),
    "a config that is a list": _written(_CONFIG, b"[1]"),
    "an endless config": lambda folder: os.truncate(folder / _CONFIG, 1 << 33),
    "a config without a model": _set("model_cfg", to=...),
    "a config without preprocessing": _set("preprocess_cfg", to=...),
    "a mean of two": _set("preprocess_cfg", "mean", to=[0.5, 0.5]),
    "a std of zero": _set("preprocess_cfg", "std", to=0),
    "a mean that is no number": _set("preprocess_cfg", "mean", to=float("nan")),
    "no std": _set("preprocess_cfg", "std", to=...),
    "an unknown interpolation": _set("preprocess_cfg", "interpolation", to="x"),
    "an unknown resize_mode": _set("preprocess_cfg", "resize_mode", to=[]),
    "text_cfg is null": _set("model_cfg", "text_cfg", to=None),
    "text_cfg is a text": _set("model_cfg", "text_cfg", to="x"),
    "vision_cfg is a list": _set("model_cfg", "vision_cfg", to=[1]),
    "vision_cfg is a number": _set("model_cfg", "vision_cfg", to=1.5),
    "no vision_cfg": _set("model_cfg", "vision_cfg", to=...),
    "embed_dim is a text": _set("model_cfg", "embed_dim", to="x"),
    "embed_dim is another": _set("model_cfg", "embed_dim", to=33),
    "embed_dim below zero": _set("model_cfg", "embed_dim", to=-1),
    "context_length is null": _set("model_cfg", "text_cfg", "context_length", to=None),
    "vocab_size is a text": _set("model_cfg", "text_cfg", "vocab_size", to="x"),
    "vocab_size too small": _set("model_cfg", "text_cfg", "vocab_size", to=100),
    "heads is true": _set("model_cfg", "text_cfg", "heads", to=True),
    "heads does not divide": _set("model_cfg", "text_cfg", "heads", to=3),
    "a million layers": _set("model_cfg", "vision_cfg", "layers", to=1_000_000),
    "other layers": _set("model_cfg", "vision_cfg", "layers", to=3),
    "no width": _set("model_cfg", "text_cfg", "width", to=...),
    "image_size is null": _set("model_cfg", "vision_cfg", "image_size", to=None),
    "patch_size is zero": _set("model_cfg", "vision_cfg", "patch_size", to=0),
    "settings that nobody knows": _set("model_cfg", "nonsense", to=1),
    "a tokenizer with options of another": _set("model_cfg", "text_cfg", "tokenizer_kwargs", to={"x": 1}),
    "a tokenizer that is not there": _set("model_cfg", "text_cfg", "tokenizer_kwargs", to={"bpe_path": "none.gz"}),
    "options of a tokenizer that are a text": _set("model_cfg", "text_cfg", "tokenizer_kwargs", to="x"),
    "the end of a text is a text": _set("model_cfg", "text_cfg", "eos_id", to="x"),
    "empty weights": _written(_WEIGHTS, b""),
    "weights that are text": _written(_WEIGHTS, b"version https://git-lfs.github.com/spec/v1"),
    "weights that break off": lambda folder: _written(_WEIGHTS, (folder / _WEIGHTS).read_bytes()[:100_000])(folder),
    "weights with a head without end": _written(_WEIGHTS, b"\xff" * 8 + b"{}"),
    "weights without a key": _of_weights(lambda tensors: tensors.pop("token_embedding.weight")),
    "weights with one more": _of_weights(lambda tensors: tensors.update(more=np.zeros(3, np.float32))),
    "weights of another shape": _of_weights(
        lambda tensors: tensors.update(text_projection=np.zeros((3, 3), np.float32))
    ),
    "no tensor at all": _of_weights(lambda tensors: tensors.clear()),
}
"""What may be wrong with the folder of a model, and how to do that to one that is whole."""


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "whole")


def _unfit_model(whole: Path, folder: Path, wrong: str) -> Path:
    folder.mkdir()
    shutil.copy(whole / _CONFIG, folder)
    (folder / _WEIGHTS).hardlink_to(whole / _WEIGHTS)
    _UNFIT[wrong](folder)
    return folder


@pytest.mark.parametrize("wrong", _UNFIT)
def test_a_model_whose_parts_do_not_fit_is_one_line(wrong: str, whole_model: Path, tmp_path: Path) -> None:
    folder = _unfit_model(whole_model, tmp_path / "m", wrong)
    with pytest.raises(EncoderError) as raised:
        encoders.open(f"local-dir:{folder}", device="cpu")
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)


@pytest.mark.soak
def test_a_model_that_does_not_fit_is_one_line_of_every_command(whole_model: Path, places: Path) -> None:
    cases = []
    for number, wrong in enumerate(("text_cfg is null", "weights that break off", "embed_dim is another")):
        folder = _unfit_model(whole_model, places / f"m{number}", wrong)
        for command in (
            "embed photos -g new",
            "query red -g g",
            "query --image photos/red.png -g g",
            "eval custom --images=photos --annotations=captions.csv",
            "eval zeroshot --images=classes",
        ):
            cases.append([*command.split(), f"--model=local-dir:{folder}"])
    assert _failures(places, cases, code=1, imported="open_clip") == []


# --- a hundred situations ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Situation:
    """What is done in a world of its own (`tests.worlds`), and what must come of it.

    Attributes:
        name: what is hostile about it.
        command: a shell's line.
        says: what must stand in its output, on stderr where it fails.
        code: its exit code.
        lines: how many lines stderr may have.
    """

    name: str
    command: str
    says: str
    code: int = 1
    lines: int = 12


# What succeeds in all that is odd about it has the exit code 0.
def _fine(name: str, command: str, says: str, lines: int = 12) -> Situation:
    return Situation(name, command, says, 0, lines)


_ON_A_SMALL_DISK = "unshare -m bash -c 'mkdir small && mount -t tmpfs -o size=4k tmpfs small && {}'"

_SITUATIONS = [
    # Values of a file system that do not fit a column.
    _fine("a file of 2263", "touch -d 2263-01-01 photos/red.png; mmsearch embed photos -g g", "1 updated"),
    _fine("a file of 1900", "touch -d 1900-01-01 photos/red.png; mmsearch embed photos -g g", "1 updated"),
    _fine("a dry run over a file of 2263", "touch -d 2263-01-01 asked.png; mmsearch embed asked.png -g new --dry-run",
          "1 new"),
    _fine("an archive of 2263", "touch -d 2263-01-01 a.tar; mmsearch embed a.tar -g new", "3 added"),
    # Links, pipes, devices.
    _fine("a folder with links to a pipe, a device, itself and nothing",
          "mkfifo p; ln -s ../p photos/p.jpg; ln -s /dev/zero photos/z.png; ln -s l.jpg photos/l.jpg; "
          "ln -s none photos/n.jpg; mmsearch embed photos -g new", "4 files now"),
    _fine("a link to a folder", "ln -s ../classes photos/classes; mmsearch embed photos -g g", "is not followed"),
    _fine("a folder that holds itself", "ln -s .. photos/up; mmsearch embed photos -g g", "12 unchanged"),
    Situation("an archive that is a pipe", "mkfifo p.tar; mmsearch embed p.tar -g new", "a named pipe, not a file"),
    Situation("a list that is a pipe", "mkfifo p.csv; mmsearch embed p.csv -g new", "not a file"),
    Situation("captions that are a device", "mmsearch embed --captions /dev/zero -g g", "not a file"),
    Situation("a gallery that is a device", "mmsearch info -g /dev/null", "no gallery at /dev/null"),
    Situation("a picture that is a device", "mmsearch query -g g --image /dev/zero", "is a device, not a file"),
    Situation("a picture that is a pipe", "mkfifo p.jpg; mmsearch query -g g --image p.jpg", "a named pipe"),
    Situation("a picture without end on stdin", "mmsearch query -g g --image - < /dev/zero", "is larger than"),
    Situation("a picture of 30 GB", "truncate -s 30G s.jpg; mmsearch query -g g --image s.jpg", "is larger than"),
    _fine("an embedded file of 30 GB", "truncate -s 30G photos/s.jpg; mmsearch embed photos -g g", "1 files now"),
    Situation("queries without end", "mmsearch query -g g --from-file - < /dev/zero", "is larger than"),
    _fine("a picture through a pipe", "mmsearch query -g g -k 1 --image <(cat asked.png)", "red.png"),
    # Names.
    Situation("the home of nobody", "mmsearch embed ~nosuch/x -g new", "no such file or folder"),
    Situation("a gallery in the home of nobody", "mmsearch query red -g ~nosuch/g", "no gallery"),
    _fine("a file called ~.jpg", "cp asked.png '~.jpg'; mmsearch embed '~.jpg' -g new", "1 added"),
    _fine("names that are options", "cp asked.png photos/--help.png; cp asked.png photos/-rf.png; "
          "mmsearch embed photos -g g", "2 added"),
    _fine("a file that is named like an option", "cp asked.png ./--prune; mmsearch embed -g new -- --prune", "1 added"),
    _fine("a name that is no UTF-8", "cp asked.png photos/caf\\xe9.png; mmsearch embed photos -g g && "
          "mmsearch query red -g g --format jsonl -k 20", "path_bytes"),
    _fine("a name of a line break", "cp asked.png $'photos/a\\nb.png'; mmsearch embed photos -g g && "
          "mmsearch query -g g --like $'a\\nb.png' -k 1", "red.png"),
    Situation("a name of a line break that is not there", "mmsearch query -g g --like $'x\\ny.png'",
              r"holds no picture x\ny.png", lines=1),
    Situation("a name of an escape sequence", "mmsearch embed $'\\e[2Jx' -g new", r"\x1b[2Jx", lines=1),
    _fine("a name of a formula", "cp asked.png 'photos/=cmd|calc.png'; mmsearch embed photos -g g && "
          "mmsearch query red -g g --format csv-safe", "'=cmd|calc.png"),
    _fine("a folder called s3:", "cp -r photos s3:; mmsearch embed s3:/more -g new", "6 added"),
    Situation("a URL that lost a slash", "mmsearch embed s3:/bucket/x -g new", "lost a slash"),
    Situation("an address of the web", "mmsearch embed https://example.com/a.jpg -g new", "which is not read"),
    Situation("a URL with a secret", "mmsearch embed s3://KEY:SECRET@bucket/x -g new", "holds credentials"),
    Situation("a name of 300 characters", "mmsearch query -g g --image $(printf x%.0s {1..300})", "file name too long"),
    Situation("an empty name", "mmsearch embed '' -g new", "is a variable not set?", code=2),
    Situation("a current folder that is gone", "mkdir d; cd d; rmdir ../d; mmsearch info -g ../g", "current folder"),
    # Permissions.
    Situation("a gallery of another user", "theirs g; weakly query red -g g", "permission denied"),
    Situation("a gallery of another user to write", "theirs g; weakly embed photos -g g", "permission denied"),
    Situation("a gallery of another user above", "mv g .mmsearch; theirs .mmsearch; cd photos; weakly info",
              "belongs to"),
    Situation("shards of another user", "theirs g/images; weakly export x.parquet -g g", "ask whoever owns"),
    Situation("shards of another user to serve", "theirs g/images; weakly serve --port 0 -g g", "ask whoever owns"),
    Situation("a gallery that cannot be written", "chmod -R a-w g; cp asked.png photos; weakly embed photos -g g",
              "permission denied"),
    Situation("a folder of another user", "theirs photos; weakly embed photos -g new", "cannot be listed"),
    Situation("an archive of another user", "theirs a.tar; weakly embed a.tar -g new", "nothing of what was named"),
    Situation("a picture of another user", "theirs asked.png; weakly query -g g --image asked.png",
              "permission denied"),
    _fine("one picture of another user", "theirs photos/red.png; weakly embed photos -g new", "11 added"),
    Situation("captions of another user", "theirs captions.csv; weakly embed --captions captions.csv -g g",
              "Permission denied"),
    _fine("a cache of another user", "mkdir cache; theirs cache; weakly embed photos -g new && weakly query red -g new",
          "red.png"),
    _fine("a cache that is a file", "touch cache; mmsearch query red -g g", "red.png"),
    _fine("a cache under a device", "MMSEARCH_CACHE=/dev/null/x mmsearch query red -g g", "red.png"),
    Situation("a report under a file", "mmsearch eval vectors --images v.npy --captions v.npy --report v.npy/x.json",
              "cannot be written"),
    # Streams, environments, limits.
    Situation("no stdout for an answer", "mmsearch query red -g g >&-", "cannot write the output"),
    Situation("a full stdout", "mmsearch query red -g g > /dev/full", "no space left"),
    Situation("a reader that has enough", "mmsearch query red -g g | :; exit ${PIPESTATUS[0]}", "", lines=0),
    _fine("no stderr", "mmsearch query red -g g 2>&-", "red.png"),
    Situation("no stdin for queries", "mmsearch query -g g --from-file - <&-", "no queries"),
    Situation("no streams at all", "mmsearch query red -g g <&- >&- 2>&-", "", lines=0),
    _fine("a locale without UTF-8", "cp asked.png photos/é.png; LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 mmsearch "
          "embed photos -g g && mmsearch query red -g g -k 20 --format jsonl", '"path": "é.png"'),
    Situation("a query in Latin-1", "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 mmsearch query $'caf\\xe9' -g g",
              r'"caf\xe9" is not UTF-8 text'),
    _fine("no home", "env -u HOME bash -c 'mmsearch query red -g g'", "red.png"),
    _fine("a home that is not there", "HOME=/nonexistent mmsearch query red -g g", "red.png"),
    _fine("a folder for temporary files that is not there", "TMPDIR=/nonexistent mmsearch query red -g g", "red.png"),
    _fine("a terminal of one column", "COLUMNS=1 mmsearch query red -g g", "red.png"),
    Situation("a gallery of the environment that is not there", "MMSEARCH_GALLERY=/nonexistent mmsearch query red",
              "no gallery at /nonexistent"),
    Situation("files that may have 2 kB", "ulimit -f 2; mmsearch embed photos -g new", "File too large"),
    Situation("an export that may have 2 kB", "ulimit -f 2; mmsearch export x.parquet -g g", "File too large"),
    Situation("a disk of 4 kB", _ON_A_SMALL_DISK.format("mmsearch embed photos -g small/g"), "the disk is full"),
    Situation("a page for a disk of 4 kB", _ON_A_SMALL_DISK.format("mmsearch query red -g g --html small/x.html"),
              "No space left"),
    _fine("a cache on a disk of 4 kB", _ON_A_SMALL_DISK.format("MMSEARCH_CACHE=small/c mmsearch query red -g g"),
          "red.png"),
    _fine("few files may be open", "ulimit -n 16; mmsearch query red -g g", "red.png"),
    _fine("two that embed at once", "mmsearch embed photos -g new & mmsearch embed photos -g new; wait $!; "
          "mmsearch info -g new", "12 images"),
    _fine("one that is killed", "timeout -s KILL 1.5 \"$PYTHON\" -m tests.fake_program embed photos -g new; "
          "mmsearch embed photos -g new", "12 in the gallery"),
    # Models.
    Situation("a model folder without weights", "mkdir m; echo {} > m/open_clip_config.json; "
              "really_mmsearch query red -g g --model local-dir:m", "is not a config of open_clip"),
    Situation("a model that is not there", "really_mmsearch query red -g g --model local-dir:/nonexistent",
              "no such folder"),
    Situation("a model of the network, without one", "really_mmsearch embed photos -g new", "HF_HUB_OFFLINE"),
    Situation("another model than the gallery's", "mmsearch embed photos -g g --model ViT-B-16/openai", "fake"),
    Situation("a gallery whose model is gone", "really_mmsearch query red -g g", "fake"),
    # Pictures.
    _fine("a folder of what is no picture", "mmsearch embed odd/pictures -g new && mmsearch info --skipped -g new",
          "not a film that can be opened"),
    Situation("nothing but what is no picture", "rm odd/pictures/{good,ribbon}.png odd/pictures/torn.tif; "
              "mmsearch embed odd/pictures -g new", "no picture could be embedded"),
    Situation("strictly", "mmsearch embed odd/pictures -g new --strict", "could not be embedded"),
    Situation("a picture of 40 gigapixels", "mmsearch query -g g --image odd/pictures/vast.png", "megapixels"),
    Situation("a picture that breaks off", "mmsearch query -g g --image odd/pictures/cut.png", "truncated"),
    Situation("a page that is called a picture", "mmsearch query -g g --image 'odd/pictures/a page.jpg'", "a web page"),
    Situation("an empty folder", "mkdir d; mmsearch embed d -g new", "no files in"),
    Situation("a folder that emptied", "rm -r photos/*; mmsearch embed photos -g g", "--prune"),
    Situation("files and folders together", "mmsearch embed photos/* -g new", "were named together"),
    Situation("a gallery inside its pictures' gallery", "mmsearch embed g -g g", "is the gallery itself"),
    # Archives.
    _fine("backslashes in a tar", "mmsearch embed odd/backslash.tar -g new", "names with backslashes"),
    _fine("backslashes in a zip", "mmsearch embed odd/backslash.zip -g new", "names with backslashes"),
    _fine("a member without a name", "mmsearch embed odd/nameless.tar -g new", "it has no name in the archive"),
    _fine("members that lead out", "mmsearch embed odd/climbing.tar -g new", "its name leads out of the archive"),
    _fine("hard links in a circle", "mmsearch embed odd/links.tar -g new", "a link to a member that is not there"),
    _fine("an archive in an archive", "mmsearch embed odd/nested.tar -g new", "is not opened"),
    _fine("two tars in one file", "cat a.tar odd/nested.tar > b.tar; mmsearch embed b.tar -g new", "3 added"),
    _fine("a member of 200 MB of zeros", "mmsearch embed odd/bomb.zip -g new", "1 added"),
    _fine("a tar that breaks off", "mmsearch embed odd/cut.tar -g new", "truncated tar"),
    Situation("an empty archive", "mmsearch embed odd/empty.tar -g new", "an empty archive"),
    Situation("an encrypted zip", "mmsearch embed odd/encrypted.zip -g new", "encrypted"),
    Situation("an archive that is text", "seq 1000 > a.tar; mmsearch embed a.tar -g new", "not a tar archive"),
    _fine("rows that hold only a path", "mmsearch embed odd/pictures.parquet -g new", "only a path to one"),
    Situation("a table without pictures", "mmsearch embed odd/numbers.parquet -g new", "mmsearch: error"),
    # Captions and lists.
    _fine("a table with a column a caption", "printf 'image,caption1,caption2\\nred.png,red,hot\\n' > c.csv; "
          "mmsearch embed --captions c.csv -g g", "2 added"),
    _fine("Excel's sep=;", "printf 'sep=;\\r\\nimage;caption\\r\\nred.png;red\\r\\n' > c.csv; "
          "mmsearch embed --captions c.csv -g g", "1 added"),
    Situation("columns that say nothing", "printf 'a,b\\n1,2\\n' > c.csv; mmsearch embed --captions c.csv -g g",
              "--caption-column"),
    Situation("a quote that is not closed", "printf 'image,caption\\nred.png,\"red\\nblue.png,blue\\n' > c.csv; "
              "mmsearch embed --captions c.csv -g g", "damaged CSV near line"),
    _fine("captions of strangers", "printf 'image,caption\\nnone.png,red\\n' > c.csv; "
          "mmsearch embed --captions c.csv -g g", "does not hold"),
    Situation("captions that are a picture", "mmsearch embed --captions asked.png -g g", "asked.png"),
    Situation("a list of nothing that is there", "printf 'path\\nnone.png\\n' > l.csv; mmsearch embed l.csv -g new",
              "no such file"),
    # Evaluation.
    Situation("vectors that are no numbers", "mmsearch eval vectors --images odd/nan.npy --captions v.npy", "NaN"),
    Situation("vectors that are a program", "mmsearch eval vectors --images odd/objects.npy --captions v.npy",
              "no NumPy file of numbers"),
    Situation("vectors of 2 TB that are not there", "mmsearch eval vectors --images odd/boundless.npy --captions v.npy",
              "odd/boundless.npy"),
    Situation("ragged vectors", "mmsearch eval vectors --images odd/ragged.parquet --captions v.npy",
              "different lengths"),
    Situation("judgements that are a picture",
              "mmsearch eval vectors --images v.npy --captions v.npy --qrels asked.png", "asked.png"),
    _fine("an empty class", "mkdir classes/c; mmsearch eval zeroshot --images classes --model fake", "c"),
    _fine("class names that repeat", "printf 'red\\nred\\n' > n.txt; "
          "mmsearch eval zeroshot --images classes --model fake --classes n.txt", "red"),
    Situation("images that are missing", "echo none.png,red >> captions.csv; "
              "mmsearch eval custom --images photos --annotations captions.csv --model fake", "--allow-missing"),
    _fine("pictures that took each other's name, size and time",
          "cd photos; truncate -s 2000 *.png; touch -d 2020-01-01 *.png; ask() { mmsearch eval custom --images . "
          "--annotations ../captions.csv --model fake; }; ask; mv red.png x; mv blue.png red.png; mv x blue.png; ask",
          "33.3"),
    # Queries.
    Situation("no query", "mmsearch query -g g", "mmsearch: error"),
    Situation("an empty query", "mmsearch query '' -g g", "empty"),
    Situation("a text of a million characters in a hundred templates", "head -c 100000 /dev/zero | tr '\\0' x > t; "
              "mmsearch query \"$(cat t)\" -g g --template \"$(printf '{}%.0s' {1..100})\"", "characters"),
    Situation("a line of 2 MB among queries", "head -c 2000000 /dev/zero | tr '\\0' x > q; "
              "mmsearch query -g g --from-file q", "characters"),
    Situation("queries that are a picture", "mmsearch query -g g --from-file asked.png", "is not UTF-8"),
    _fine("a query that steers a terminal", "mmsearch query $'red\\e]0;x\\a\\r' -g g --html x.html", "red.png"),
    Situation("a filter of another table", "mmsearch query red -g g --where 'nothing > 3'", "no column nothing"),
    Situation("a filter that reads files", "mmsearch query red -g g --where \"read_text('/etc/passwd') is null\"",
              "table function"),
    Situation("a filter that drops", "mmsearch query red -g g --where 'true; DROP TABLE rows'", "one expression"),
    Situation("a filter in 3,000 brackets", "mmsearch query red -g g --where \"$(printf '(%.0s' {1..3000})\"",
              "cannot be used"),
    Situation("a filter that grows", "mmsearch query red -g g --where \"repeat(path, 1000000000) = 'x'\"", "string"),
    _fine("more hits than there are numbers", "mmsearch query red -g g -k 99999999999999999999", "12\t"),
    Situation("a score that is none", "mmsearch query red -g g --min-score nan", "mmsearch: error"),
    Situation("a picture nobody holds", "mmsearch query -g g --like none.png", "holds no picture"),
    # Galleries.
    Situation("no gallery", "mmsearch query red -g none", "no gallery"),
    Situation("a gallery of the future", "sed -i 's/\"format_version\": 2/\"format_version\": 99/' g/manifests/*; "
              "mmsearch info -g g", "gallery format 99"),
    Situation("a manifest that breaks off", "truncate -s 100 g/manifests/*; mmsearch info -g g",
              "none of the 1 versions"),
    Situation("a shard that breaks off", "truncate -s 100 g/images/*; mmsearch query red -g g",
              "restore the gallery from a backup"),
    Situation("a shard that is gone", "rm g/images/*; mmsearch query red -g g", "the gallery is damaged"),
    Situation("a gallery without its manifests", "rm g/manifests/*; mmsearch info -g g", "no gallery"),
    _fine("a gallery without its pictures", "mkdir d; mv g d; mmsearch query red -g d/g", "relocate"),
    Situation("a folder that is dropped twice", "mmsearch forget photos -g g && mmsearch forget photos -g g", "photos"),
    # Object stores.
    Situation("a gallery in a bucket that is missing", "mmsearch info -g s3://none/g", "there is no such bucket"),
    Situation("pictures in a bucket that is missing", "mmsearch embed s3://none/x -g new", "there is no such bucket"),
    Situation("an export to a bucket that is missing", "mmsearch export s3://none/x.parquet -g g",
              "bucket does not exist"),
    Situation("captions in a bucket that is missing", "mmsearch embed --captions s3://none/c.csv -g g", "such bucket"),
    Situation("a store that does not answer", "AWS_ENDPOINT_URL=http://127.0.0.1:9 mmsearch info -g s3://none/g",
              "127.0.0.1:9"),
    # The server's command line.
    Situation("a token that can be guessed", "mmsearch serve -g g --port 0 --token x", "fewer than 16"),
    Situation("a token that is a picture", "mmsearch serve -g g --port 0 --token-file asked.png", "it is no text"),
    Situation("a host that is none", "mmsearch serve -g g --host no.such.host.invalid", "cannot listen"),
    Situation("a port that is none", "mmsearch serve -g g --port 70000", "65535", code=2),
    Situation("a server that is none", "mmsearch query red --server http://127.0.0.1:9", "127.0.0.1:9"),
    Situation("a cluster that is none", "really_mmsearch embed photos -g new --model demo --ray 127.0.0.1:9", "Ray",
              lines=40),
]  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What is sent to a server of a gallery, and what it answers.

    Attributes:
        name: what is hostile about it.
        sent: the bytes.
        status: of the answer; 0 where the connection is closed without one.
        says: what must stand in the answer.
    """

    name: str
    sent: bytes
    status: int
    says: str


def _http(line: str, *fields: str, body: bytes = b"", host: str = "Host: localhost") -> bytes:
    head = [f"{line} HTTP/1.1", *([host] if host else []), "Connection: close", *fields]
    if body:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def _json(body: bytes, kind: str = "application/json") -> bytes:
    return _http("POST /api/query", f"Content-Type: {kind}", body=body)


def _asking(**query: object) -> bytes:
    return _json(json.dumps({"parts": [{"text": "red"}], **query}).encode())


def _sending(body: bytes) -> bytes:
    return _http("POST /api/pictures", body=body)


_REQUESTS = [
    Request("HEAD", _http("HEAD /"), 200, "text/html"),
    Request("a method that nobody knows", _http("BREW /"), 400, "Invalid HTTP"),
    Request("PUT", _http("PUT /api/query", body=b"{}"), 405, "error"),
    Request("a place that is not there", _http("GET /api/nothing"), 404, "there is nothing at /api/nothing"),
    Request("a path that leads out", _http("GET /static/../../../../etc/passwd"), 404, "error"),
    Request("a path that leads out, in disguise", _http("GET /static/%2e%2e%2f%2e%2e%2fetc%2fpasswd"), 404, "error"),
    Request("a row that is none", _http("GET /api/images/-1"), 422, "error"),
    Request("a row beyond all numbers", _http("GET /api/images/99999999999999999999999"), 422, "error"),
    Request("a thumbnail of a mile", _http("GET /api/images/0/thumbnail?edge=99999999"), 422, "error"),
    Request("no Host", _http("GET /health", host=""), 400, "no Host header"),
    Request("two Hosts", _http("GET /health", "Host: evil.example"), 400, "more than once"),
    Request("a Host of somebody else", _http("GET /health", host="Host: evil.example"), 421, "--allow-host"),
    Request("a page of somebody else", _http("GET /api/gallery", "Origin: http://evil.example"), 403, "error"),
    Request("100 KB of head in a burst", _http("GET /health", *[f"x-{n}: {'y' * 1000}" for n in range(100)]), 431,
            "more than 65,536 bytes"),
    Request("a length below zero", _http("POST /api/query", "Content-Length: -1"), 400, ""),
    Request("two lengths", _http("POST /api/query", "Content-Length: 2", "Content-Length: 3") + b"{}", 400, ""),
    Request("a length and pieces", _http("POST /api/query", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400, ""),
    Request("TLS", b"\x16\x03\x01" * 99, 400, ""),
    Request("a body without its type", _json(b'{"parts": [{"text": "red"}]}', kind="text/plain"), 422,
            "Content-Type: application/json"),
    Request("a body that breaks off", _json(b"{"), 422, "error"),
    Request("a body of 100,000 brackets", _json(b"[" * 100_000), 400, "error"),
    Request("a body of 3 MB", _json(b" " * 3_000_000), 413, "error"),
    Request("10,000 characters in one template of 4,990 places",
            _asking(parts=[{"text": "x" * 10_000}], templates=["{}" * 4_990]), 422, "a text of 49,900,000 characters"),
    Request("a text of a million characters", _asking(parts=[{"text": "x" * 1_000_000}]), 422, "at most 10,000"),
    Request("half of a character", _asking(parts=[{"text": "\ud800"}]), 422, "valid Unicode"),
    Request("a weight beyond all numbers", _asking(parts=[{"text": "red", "weight": 1e308}] * 16), 422, "error"),
    Request("a weight that is none", _asking(parts=[{"text": "red", "weight": float("nan")}]), 422, "error"),
    Request("a file of the server's", _asking(parts=[{"like": "/etc/passwd"}]), 422, "holds no picture"),
    Request("a filter with a pattern a row",
            _asking(where="regexp_matches(path, path || row_id || '(.{0,500}){9}')"), 422, "error"),
    Request("a filter that doubles", _asking(where="hex(" * 40 + "path" + ")" * 40 + " = 'x'"), 422, "error"),
    Request("a filter that reads the server's files", _asking(where="read_text('/etc/passwd') is null"), 422, "error"),
    Request("a filter of 5,000 characters", _asking(where="true or " * 600 + "true"), 422, "at most 4,000"),
    Request("an empty picture", _sending(b"\0"), 422, "not an image"),
    Request("a picture of 40 gigapixels that is sent", _sending(png_of(200_000, 200_000)), 422, "megapixels"),
    Request("a drawing", _sending(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 422, "SVG"),
]  # fmt: skip


def test_the_situations_are_a_hundred() -> None:
    names = [*(each.name for each in _SITUATIONS), *(each.name for each in _REQUESTS)]
    assert len(names) == len(set(names)) >= 100


def _may_do_all() -> bool:
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def object_store() -> Iterator[dict[str, str]]:
    """What a shell's environment needs to reach an object store without a bucket."""
    with s3_server() as address:
        yield {**CREDENTIALS, "AWS_ENDPOINT_URL": address}


@pytest.mark.soak
@pytest.mark.parametrize("situation", _SITUATIONS, ids=lambda situation: situation.name)
def test_what_is_hostile_is_one_clear_line_and_costs_nothing_else(
    situation: Situation, world: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The exit code and what is said are those of the table, never a traceback, and what was in the gallery stays."""
    command, environment = situation.command, {}
    if (
        re.search("weakly|theirs|unshare", command)
        and subprocess.run(["unshare", "-m", "true"], check=False).returncode
    ):
        pytest.skip("only root can become another user, and mount")
    if "s3://none" in command:
        environment = request.getfixturevalue("object_store")
    folder = tmp_path / "w"
    shutil.copytree(world, folder, symlinks=True)
    done = run_in(folder, command, **environment)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == situation.code, done.stderr
    assert situation.says in (done.stderr if situation.code else done.stdout + done.stderr), done.stderr
    assert len(done.stderr.splitlines()) <= situation.lines, done.stderr
    if situation.code == 1 and situation.lines:
        assert done.stderr.splitlines()[-1].startswith("mmsearch: error: "), done.stderr
    if (folder / "g").is_dir() and not re.search(r"g/(manifests|images)/\*|forget", command):
        before, after = contents(world / "g"), contents(folder / "g")
        assert before.keys() <= after.keys()


@pytest.fixture(scope="module")
def served(world: Path) -> Iterator[Running]:
    with running(world / "g") as server:
        yield server


@pytest.mark.soak
@pytest.mark.parametrize("asked", _REQUESTS, ids=lambda asked: asked.name)
def test_what_is_hostile_to_a_server_is_answered_and_costs_nothing_else(asked: Request, served: Running) -> None:
    """In a second or two, by the status of the table, and everybody else is answered as before."""
    started = time.process_time()
    answer = talk(served, asked.sent)
    assert time.process_time() - started < 5
    status, _, rest = answer.partition(b"\r\n")
    assert int((status.split() or [b"", b"0"])[1]) == asked.status, answer[:500]
    assert asked.says in rest.decode(), answer[:500]
    assert "Traceback" not in rest.decode()
    assert served.get("/health").status_code == 200
    assert served.ask("red", k=1)["hits"][0]["path"].endswith("red.png")
