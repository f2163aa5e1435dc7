"""The command line as a program sees it: whole outputs, exit codes, and what goes to which stream."""

import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.fakes import write_picture


@pytest.fixture
def gallery(photos: Path, mmsearch: Command) -> Path:
    assert mmsearch("embed", photos, "--model", "fake", "-g", photos.parent / "g").code == 0
    return photos.parent / "g"


def test_help_is_light_and_quick() -> None:
    """`--help` loads nothing heavy, and takes about the time that Python and Typer need."""
    code = (
        "import sys\nfrom mmsearch.cli import main\nsys.argv = ['mmsearch', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'open_clip', 'faiss', 'pyarrow', 'numpy', 'PIL', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    plain = (
        "import typer\napp = typer.Typer()\napp.command('a')(lambda: None)\napp.command('b')(lambda: None)\n"
        "app(['--help'])"
    )

    def seconds(source: str) -> float:
        started = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return time.perf_counter() - started

    ratios = [seconds(code) / seconds(plain) for _ in range(5)]
    assert min(ratios) < 2, ratios


@pytest.mark.parametrize("arguments", [["-m", "mmsearch"], ["-c", "from mmsearch.__main__ import run; run()"]])
def test_both_ways_to_start_are_one_program(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, *arguments, "--version"], capture_output=True, text=True, check=True)
    from mmsearch import __version__

    assert done.stdout == f"mmsearch {__version__}\n"


@pytest.mark.parametrize(
    ("end", "code", "torn_down"),
    [
        ("", 0, False),
        ("sys.exit(3)", 3, False),
        ("sys.exit('why')", 1, True),
        ("raise ValueError", 1, True),
    ],
)
def test_the_end_is_quick_and_loses_nothing(end: str, code: int, torn_down: bool, tmp_path: Path) -> None:
    """What was written arrives and what asked to be called at the end is called; then the process ends without taking
    Python down, in which a library's thread that still runs would abort it."""
    source = f"""
import atexit, os, sys
import mmsearch.cli
from mmsearch.__main__ import run

atexit.register(os.write, 2, b"torn down")  # registered before, therefore called after

def main():
    atexit.register(os.write, 2, b"asked;")
    sys.stdout.write("written")
    sys.stdout.flush() if {torn_down} else None
    {end}

mmsearch.cli.main = main
run()
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "written")
    assert "asked;" in done.stderr
    assert done.stderr.endswith("torn down") == torn_down


def test_embed_says_what_it_did(photos: Path, mmsearch: Command) -> None:
    (photos / "empty.jpg").touch()
    done = mmsearch("embed", photos, "--model", "fake", "-g", photos.parent / "g")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()[-2:]] == ["took", "stages"]
    assert done.out.splitlines()[:-2] == [
        f"gallery   {photos.parent / 'g'} (version 1, fake)",
        "pictures  12 in the gallery: 12 added, 0 updated, 0 deleted, 0 unchanged",
        "skipped   1 files now, 0 unchanged since an earlier run (mmsearch info --skipped lists them)",
        "          1 x empty file",
    ]
    assert done.err == "mmsearch: loading fake\nmmsearch: encoding with fake on cpu, fp32\n"


def test_query_formats(gallery: Path, photos: Path, mmsearch: Command) -> None:
    """Each format whole: they are what programs read. Without a terminal the default is plain tab-separated text."""
    files = [str(photos / "red.png"), str(photos / "more" / "red.png")]
    plain = mmsearch("query", "red", "-k", 2, "-g", gallery)
    assert (plain.code, plain.err) == (0, "")
    lines = [line.split("\t") for line in plain.out.splitlines()]
    assert [line[0] for line in lines] == ["1", "2"]
    assert sorted(line[2] for line in lines) == sorted(files)
    assert mmsearch("query", "red", "-k", 2, "-g", gallery, "--format", "table").out == plain.out

    objects = [
        json.loads(line)
        for line in mmsearch("query", "red", "-k", 2, "-g", gallery, "--format", "jsonl").out.splitlines()
    ]
    assert [list(each) for each in objects] == [
        [
            *("rank", "score", "row_id", "path", "file", "width", "height", "taken_at", "gone", "damaged"),
            *(
                "path_bytes",
                "file_bytes",
                "taken_from",
                "utc_offset",
                "camera",
                "lens",
                "lat",
                "lon",
                "city",
                "country",
            ),
            *("title", "keywords", "rating", "files"),
        ]
    ] * 2
    assert [f"{each['score']:.4f}" for each in objects] == [line[1] for line in lines]
    assert sorted(each["path"] for each in objects) == ["more/red.png", "red.png"]

    rows = list(csv.DictReader(io.StringIO(mmsearch("query", "red", "-k", 2, "-g", gallery, "--format", "csv").out)))
    assert [row["file"] for row in rows] == [each["file"] for each in objects]
    assert mmsearch("query", "red", "-k", 2, "-g", gallery, "--format", "paths").out.split("\n") == [
        *[each["file"] for each in objects],
        "",
    ]


def test_names_that_are_no_text_reach_the_next_program_as_they_are(photos: Path, mmsearch: Command) -> None:
    import os

    name = os.fsdecode(b"caf\xe9\n\x1b[31m.png")
    write_picture(photos / name, "red", seed=300)
    (photos / "red.png").unlink()
    (photos / "more" / "red.png").unlink()
    gallery = photos.parent / "g"
    mmsearch("embed", photos, "--model", "fake", "-g", gallery)
    assert mmsearch("query", "red", "-k", 1, "-g", gallery, "--format", "paths").out == f"{photos / name}\n"
    shown = mmsearch("query", "red", "-k", 1, "-g", gallery).out
    assert shown.endswith("caf\\xe9\\n\\x1b[31m.png\n")  # one line, and nothing that steers a terminal
    (record,) = mmsearch("query", "red", "-k", 1, "-g", gallery, "--format", "jsonl").out.splitlines()
    assert json.loads(record)["path"] == "caf\\xe9\n\x1b[31m.png"


def test_errors_are_one_line_on_stderr_and_exit_1(gallery: Path, tmp_path: Path, mmsearch: Command) -> None:
    for arguments, message in [
        (["query", "red", "-g", tmp_path / "nowhere"], "no gallery"),
        (["query", "", "-g", gallery], "the query is empty"),
        (["query", "--image", tmp_path / "no.png", "-g", gallery], "no such file"),
        (["query", "red", "--model", "other", "-g", gallery], "other"),
        (["embed", tmp_path / "missing", "-g", gallery], "no such file or folder"),
        (["forget", tmp_path, "-g", gallery], "has no root"),
        (["export", tmp_path / "x.parquet", "--in", "captions", "-g", gallery], "holds no captions"),
    ]:
        done = mmsearch(*arguments)
        assert (done.code, done.out) == (1, ""), arguments
        assert done.err.startswith("mmsearch: "), arguments
        assert "error: " in done.err
        assert message in done.err
        assert "Traceback" not in done.err


def test_wrong_usage_exits_2(mmsearch: Command) -> None:
    assert mmsearch("query", "red", "-k", 0).code == 2
    assert mmsearch("query", "red", "--format", "pictures").code == 2
    assert mmsearch("no-such-command").code == 2


def test_info_for_people_and_programs(gallery: Path, photos: Path, mmsearch: Command) -> None:
    (photos / "bad.jpg").write_text("bad")
    mmsearch("embed", photos, "-g", gallery)
    mmsearch("index", "-g", gallery)
    write_picture(photos / "later.png", "white", seed=8)
    mmsearch("embed", photos, "-g", gallery)
    found = json.loads(mmsearch("info", "-g", gallery, "--format", "json").out)
    assert (found["images"], found["captions"], found["skipped"]) == (13, 0, 1)
    assert found["encoder"]["spec"] == "fake"
    assert found["roots"] == [{"path": str(photos), "images": 13, "skipped": 1, "present": True, "whole": True}]
    (state,) = found["indexes"]
    assert (state["covered"], state["beside"], state["dead"]) == (12, 1, 0)
    text = mmsearch("info", "-g", gallery).out
    assert "13 images, 0 captions; 1 files skipped" in text
    assert "1 are scored beside it" in text
    assert mmsearch("info", "-g", gallery, "--skipped").out == f"{photos}/bad.jpg\tidentify\tnot an image\n"


def test_index_says_what_it_measured(gallery: Path, mmsearch: Command) -> None:
    done = mmsearch("index", "-g", gallery)
    assert done.code == 0
    assert "Flat" in done.out
    assert "unmeasured" in done.out  # no captions to ask with
    assert mmsearch("index", "-g", gallery, "--factory", "NoSuch").code == 1


def test_forget_relocate_compact(gallery: Path, photos: Path, mmsearch: Command) -> None:
    moved = photos.parent / "elsewhere"
    photos.rename(moved)
    assert str(moved) in mmsearch("relocate", photos, moved, "-g", gallery).out
    assert mmsearch("embed", "-g", gallery).out.splitlines()[1].endswith("12 unchanged")
    assert "12 pictures" in mmsearch("forget", moved, "-g", gallery).out
    assert mmsearch("compact", "-g", gallery, "--grace", 0).code == 0
    assert json.loads(mmsearch("info", "-g", gallery, "--format", "json").out)["images"] == 0


def test_warnings_go_to_stderr(gallery: Path, mmsearch: Command) -> None:
    done = mmsearch("query", "red " * 50, "-k", 1, "-g", gallery)
    assert done.err == "mmsearch: warning: the query is longer than the model reads; its end was cut\n"
    assert len(done.out.splitlines()) == 1


def test_every_command_has_help_that_says_what_it_does(mmsearch: Command) -> None:
    for command in ("embed", "index", "query", "eval", "info", "export", "forget", "relocate", "compact"):
        done = mmsearch(command, "--help")
        assert done.code == 0
        assert f"Usage: mmsearch {command}" in done.out


def test_the_public_names_are_what_they_say() -> None:
    """Every name of the package resolves, and the verbs are functions whatever was imported before."""
    import mmsearch as package
    import mmsearch.embedding

    for name in package.__all__:
        assert getattr(package, name) is not None
    assert callable(package.embed)
    assert callable(package.index)
    assert callable(package.evaluate)


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    program = f"{sys.executable} -m mmsearch"
    return subprocess.run(
        ["bash", "-c", command.replace("mmsearch", program, 1)],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("mmsearch info -g g > /dev/full", 1, "mmsearch: error: cannot write the output: no space left on device"),
        ("mmsearch info -g g >&-", 1, "mmsearch: error: cannot write the output: bad file descriptor"),
        ("mmsearch info -g g 2>&-", 0, ""),
        ("mmsearch query red -g g --from-file - <&-", 2, ""),
        ("mmsearch query -g g --from-file - <&-", 1, "stdin holds no queries"),
        ("mmsearch query -g g --image '~.jpg'", 1, "cannot read the picture ~.jpg: no such file"),
        ("mmsearch query -g '~nosuch/g' red", 1, "no gallery at"),
        ("mmsearch embed '~nosuch/x' -g g", 1, "~nosuch/x"),
        ("mmsearch info -g g | head -1", 0, ""),
        ("mkdir gone; cd gone; rmdir ../gone; mmsearch info", 1, "the current folder does not exist any more"),
        ('mmsearch embed ""', 2, "an empty path"),
        ('mmsearch info -g ""', 2, "an empty path"),
    ],
)
def test_accidents_of_the_shell(gallery: Path, command: str, code: int, message: str) -> None:
    done = shell(command, gallery.parent)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_names_that_the_output_cannot_encode_are_escaped(photos: Path, mmsearch: Command) -> None:
    write_picture(photos / "日本語.png", "red", seed=1)
    mmsearch("embed", photos, "--model", "fake", "-g", photos.parent / "g")
    done = shell(f"mmsearch query --image '{photos}/日本語.png' -k 1 -g g", photos.parent, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u65e5" in done.stdout


def test_info_notices_a_damaged_index(gallery: Path, mmsearch: Command) -> None:
    mmsearch("index", "-g", gallery)
    (folder,) = (gallery / "index").iterdir()
    (folder / "index.faiss").unlink()
    assert "DAMAGED" in mmsearch("info", "-g", gallery).out


def test_a_contact_sheet_that_cannot_be_written_is_refused_first(
    gallery: Path, photos: Path, mmsearch: Command
) -> None:
    done = mmsearch("query", "red", "-g", gallery, "--contact-sheet", photos / "nowhere" / "a.jpg")
    assert (done.code, done.out) == (1, "")
    picture = (photos / "red.png").read_bytes()
    done = mmsearch("query", "red", "-g", gallery, "--contact-sheet", photos / "red.png")
    assert done.code == 1
    assert "one of the pictures themselves" in done.err
    assert (photos / "red.png").read_bytes() == picture


def test_forget_says_which_captions_lose_their_pictures(gallery: Path, photos: Path, mmsearch: Command) -> None:
    captions = photos.parent / "c.csv"
    captions.write_text("image,caption\nred.png,all red\nnowhere.png,nothing\n")
    mmsearch("embed", photos, "--captions", captions, "-g", gallery)
    done = mmsearch("forget", photos, "-g", gallery)
    assert done.err.startswith("mmsearch: warning: 1 captions that stay name these pictures")
    mmsearch("embed", photos, "--captions", captions, "-g", gallery)
    hits = mmsearch("query", "red", "--in", "captions", "-k", 1, "-g", gallery, "--format", "paths").out
    assert hits == f"{photos / 'red.png'}\n"
    assert mmsearch("forget", captions, "-g", gallery).out.startswith(f"{captions}: 0 pictures and 2 captions")


def test_names_are_the_same_under_every_locale(photos: Path, mmsearch: Command) -> None:
    write_picture(photos / "日本語.png", "red", seed=1)
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = shell("mmsearch embed photos --model demo -g g", photos.parent, **plain)
    assert done.returncode == 0, done.stderr
    done = shell("mmsearch query --image photos/日本語.png -k 1 -g g --format paths", photos.parent, **plain)
    assert (done.returncode, done.stdout) == (0, f"{photos}/日本語.png\n"), done.stderr
    hits = mmsearch("query", "--image", photos / "日本語.png", "-k", 1, "-g", photos.parent / "g", "--format", "paths")
    assert hits.out == f"{photos}/日本語.png\n"
