"""Places, files and streams that are not what a command hopes for: one clear line, in bounded time, nothing lost."""

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from safetensors.numpy import load_file, save_file

from mmsearch import cli, encoders
from mmsearch.cache import writable_cache
from mmsearch.cli import app
from mmsearch.cli.options import location, path
from mmsearch.errors import EncoderError
from mmsearch.gallery.tables import _damaged
from tests.conftest import Command
from tests.models import write_tiny_model

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
    assert "permission denied" in str(_damaged("shard", PermissionError(13, "Permission denied")))
    assert "disk may be failing" in str(_damaged("shard", OSError(5, "Input/output error")))


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


_TAKES_A_PLACE = ("DIR", "FILE", "FOLDER", "GALLERY", "MODEL", "NEW", "PATH", "PLACE", "ROOT")
_TAKES_NO_PLACE = (
    *(
        "ADDRESS",
        "COLUMN",
        "COSINE",
        "DEVICE",
        "KIND",
        "NAME",
        "PATTERN",
        "SIZE",
        "SQL",
        "STRING",
        "TEXT",
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


_SAME = ("flickr8k", "flickr30k", "coco")
"""Commands that are `eval custom` by another name."""

# What else is given, so that a command comes as far as to read what is tried.
_BESIDE = {
    ("query",): ["red"],
    ("serve",): ["--host=no.such.host.invalid"],  # it ends when all is read
    ("eval", "vectors"): ["--images=v.npy", "--captions=v.npy"],
    ("eval", "custom"): ["--annotations=captions.csv", "--images=photos", "--model=fake"],
    ("eval", "zeroshot"): ["--images=classes", "--model=fake"],
}


def _cases(values: Iterable[str]) -> list[list[str]]:
    """Each parameter that takes a place with each value; what else a command requires is there."""
    cases = []
    for names, command in _commands(typer.main.get_command(app)):
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
    return [
        *("~nosuch/x", "~.jpg", "", " ", "a\nb", "/dev/zero", "/dev/full", "zero", "fifo", "folder", "file"),
        *("bytes", "empty", "file/below", "loop", "x" * 300, "no\udcffutf8", "/proc/self/mem", "s3:", "-"),
        *("local-dir:folder", "local-dir:file", "ViT-B-32/fifo", "ViT-B-32/loop/x.pt"),
    ]


def _failures(
    folder: Path, cases: list[list[str]], *, code: int | None = None, imported: str = "json", seconds: int = 60
) -> list[str]:
    """What did not end as it should: by an exit code of ours (code: this one), having said why, without a traceback.

    imported: what most of them need, to be imported once. seconds: that one may take.
    """
    done = subprocess.run(
        [sys.executable, "-c", f"import {imported}\nSECONDS = {seconds}\n{_DRIVER}"],
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
        for names, command in _commands(typer.main.get_command(app))
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


_EVERY = 4  # of the hostile cases: all of them take a quarter of an hour


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
    """A fourth of all cases, each option and each value among them; in two parts, which two processes may share."""
    cases = _cases(_hostile_values(places))
    chosen = cases[part * 4 :: 2 * _EVERY]
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

    monkeypatch.setattr(cli, "app", fail)
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
