"""Places, files and streams that are not what a command hopes for: one clear line, in bounded time, nothing lost."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from safetensors.numpy import load_file, save_file

from mmsearch.cache import writable_cache
from mmsearch.cli import app
from mmsearch.encoders import load_encoder
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


@pytest.mark.parametrize("part", [0, pytest.param(None, marks=pytest.mark.soak)])
def test_no_option_that_takes_a_place_ends_in_a_traceback(gallery: Path, part: int | None) -> None:
    cases = _cases(["~nosuch/x"])
    assert len(cases) > 40
    assert _failures(gallery.parent, cases if part is None else cases[part::12]) == []


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
def test_a_text_without_end_is_refused_wherever_one_is_read(gallery: Path, target: str) -> None:
    """A device, a pipe into which nobody writes, a file of 30 GB; also where a link of another name leads there."""
    folder = gallery.parent
    np.save(folder / "v.npy", np.eye(3, dtype=np.float32))
    (folder / "captions.csv").write_text("image,caption\nred.png,red\n")
    for name in ("a", "b"):
        (folder / "classes" / name).mkdir(parents=True)
        shutil.copy(folder / "photos" / "red.png", folder / "classes" / name)
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
        assert named.code or suffix in ("tar", "zip", "parquet")
        assert "not a file" in named.err


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
        load_encoder(f"local-dir:{folder}", device="cpu")
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)


@pytest.mark.soak
def test_a_model_that_does_not_fit_is_one_line_of_every_command(whole_model: Path, gallery: Path) -> None:
    (gallery.parent / "captions.csv").write_text("image,caption\nred.png,red\n")
    cases = []
    for number, wrong in enumerate(("text_cfg is null", "weights that break off", "embed_dim is another")):
        folder = _unfit_model(whole_model, gallery.parent / f"m{number}", wrong)
        for command in (
            "embed photos -g new",
            "query red -g g",
            "query --image photos/red.png -g g",
            "eval custom --images=photos --annotations=captions.csv",
            "eval zeroshot --images=classes",
        ):
            cases.append([*command.split(), f"--model=local-dir:{folder}"])
    for name in ("a", "b"):
        (gallery.parent / "classes" / name).mkdir(parents=True)
        shutil.copy(gallery.parent / "photos" / "red.png", gallery.parent / "classes" / name)
    assert _failures(gallery.parent, cases, code=1, imported="open_clip") == []
