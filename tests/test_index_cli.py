"""`mmsearch index` as a person meets it: what it prints, draws and refuses."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from mmsearch.indexing import IndexOptions, index
from mmsearch.reports import draw_curve
from tests.conftest import Command
from tests.fakes import FakeEncoder


@pytest.fixture
def gallery(photos: Path, mmsearch: Command) -> Path:
    assert mmsearch("embed", photos, "--model", "fake", "-g", photos.parent / "g").code == 0
    return photos.parent / "g"


def test_what_it_says(gallery: Path, mmsearch: Command) -> None:
    """Kind, reason, recall by kind of query, time, memory and disk; general captions ask, as there are none here."""
    done = mmsearch("index", "-g", gallery, "--factory", "IVF4,Flat", "-k", 3)
    assert done.code == 0, done.err
    assert done.err == ""
    # The most in a run counts this whole process, which may have grown past a thousand mebibytes before.
    masked = re.sub(r"[\d,]+(\.\d+)? (ms|s|MiB)", r"… \2", done.out.replace("GiB", "MiB"))
    lines = masked.splitlines()
    assert [line.split(";")[0] for line in lines[:2]] == [lines[0].split(";")[0], "built     asked for"]
    assert re.fullmatch(r"index     images: IVF4,Flat, nprobe \d; 12 rows", lines[0])
    measured = r"recall    \d\.\d{4} \(surely \d\.\d{4}\) at 3 on \d+ text queries \(general captions\); \d\.\d{4} at 1"
    assert re.fullmatch(measured, lines[2])
    assert lines[3] == "recall    image recall unmeasured: the gallery holds 12 images, and 30 are needed"
    assert lines[4:7] == [
        "latency   … ms for a single query",
        "memory    … MiB to search, … MiB at most in this run; … MiB mapped from the disk",
        "disk      … MiB; … s",
    ]
    assert lines[7].startswith("scores    images: corrected by 0.25 times the mean of the 16 best scores with ")
    assert lines[7].endswith(" general captions; unmeasured, applied with --correct general")
    assert lines[9] == "scores    captions: left out; captions name 0 of the pictures, and 60 are needed to judge by"
    again = mmsearch("index", "-g", gallery, "--factory", "IVF4,Flat", "-k", 3)
    assert again.out.splitlines()[1] == "kept      it holds every live row, and was tuned for the same"
    plain = mmsearch("index", "-g", gallery, "--factory", "IVF4,Flat", "-k", 3, "--no-calibrate")
    assert "scores" not in plain.out


def test_info_says_the_recall_at_k_and_of_the_best_hit(gallery: Path, mmsearch: Command) -> None:
    """As the index said it when it was built; of a record of before, which lacks the best hit's, the rest."""
    built = mmsearch("index", "-g", gallery, "--factory", "IVF4,Flat", "-k", 3)
    (at_k, best) = re.search(r"recall    (\S+) .* text queries .*; (\S+) at 1", built.out).groups()  # type: ignore[union-attr]
    line = f"          recall {at_k} at 3, {best} at 1 on text queries"
    lines = mmsearch("info", "-g", gallery).out.splitlines()
    assert line in lines
    assert not any("on image queries" in each for each in lines)  # 12 images are too few to ask
    (record,) = (gallery / "index").glob("*/record.json")
    document = json.loads(record.read_text())
    for recall in document["recall"]:
        del recall["best"]
    record.write_text(json.dumps(document))
    assert line.replace(f", {best} at 1", "") in mmsearch("info", "-g", gallery).out.splitlines()


def test_dry_run_predicts_and_writes_nothing(gallery: Path, mmsearch: Command) -> None:
    done = mmsearch("index", "-g", gallery, "--dry-run")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == ["index", "why", "build", "of", "search", "disk"]
    assert "Flat; 12 rows" in done.out
    steps = r"^ {10}of that adding rows \d+ s, exact neighbours \d+ s, trial of efforts \d+ s$"
    assert re.search(steps, done.out, re.MULTILINE)
    assert not (gallery / "index").exists()


def test_the_report_is_a_table_and_a_drawing(gallery: Path, mmsearch: Command, tmp_path: Path) -> None:
    """The chosen effort is marked in the one and named in the other."""
    drawing = tmp_path / "curve.svg"
    done = mmsearch("index", "-g", gallery, "--factory", "IVF4,Flat", "--report", "--plot", drawing)
    assert done.code == 0, done.err
    table = done.out.split("\n\n")[1].splitlines()
    assert table[0].split() == ["effort", "ms", "text", "surely", "image", "surely"]
    (marked,) = [line for line in table if line.startswith("*")]
    assert re.search(r"nprobe \d +\d+\.\d\d +\d\.\d{4} +\d\.\d{4} +- +-$", marked)
    root = ET.parse(drawing).getroot()
    words = " ".join(element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text"))
    assert "IVF4,Flat, 12 images: recall at 10 against time" in words
    assert "text queries" in words
    assert "image queries" not in words  # none could ask
    assert "chosen" in words
    assert done.err == f"mmsearch: curve: {drawing}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--memory", "lots"], 1, "Write it as 4GiB"),
        (["--memory", "1MiB"], 1, "the least is"),
        (["--latency", "soon"], 2, "is no time"),
        (["--latency", "0ms"], 1, "out of reach"),
        (["--recall-target", "0"], 1, "out of reach"),
        (["--factory", "NoSuch"], 1, "factory string"),
        (["--plot", "curve.png"], 1, "curve.svg"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(
    gallery: Path, mmsearch: Command, arguments: list[str], code: int, message: str
) -> None:
    done = mmsearch("index", "-g", gallery, *arguments)
    assert done.code == code
    assert message in done.err
    assert "Traceback" not in done.err


def test_a_latency_is_kept(gallery: Path, mmsearch: Command) -> None:
    """Generous here; a query may say otherwise."""
    done = mmsearch("index", "-g", gallery, "--factory", "IVF4,Flat", "--latency", "0.5s")
    assert (done.code, done.err) == (0, "")
    for options in ([], ["--nprobe", 4], ["--exact"]):
        assert mmsearch("query", "red", "-k", 2, "-g", gallery, *options, "--format", "paths").out.count("red") == 2


def test_a_curve_of_one_effort_is_drawn(gallery: Path, mmsearch: Command, tmp_path: Path) -> None:
    """On a small gallery all that was tried may take the same time."""
    report = index(gallery, options=IndexOptions(factory="IVF4,Flat", encoder=FakeEncoder()))
    for milliseconds in (report.milliseconds, 0.2067223412109132, 1.0):  # the second one rounds badly
        alone = replace(report.tried[-1], effort=report.effort, milliseconds=milliseconds)
        drawing = draw_curve(replace(report, tried=(alone,)), tmp_path / "curve.svg")
        assert ET.parse(drawing).getroot().tag.endswith("svg")
