"""The table of an answer on a terminal: columns where there is room, and pictures where they are shown."""

import base64
import io
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mmsearch.cli.table import protocol_of, shortened
from mmsearch.embedding import embed
from mmsearch.images import make_thumbnail
from mmsearch.render.terminal import Box, drawn, half_blocks, thumbnails
from tests.conftest import Command
from tests.fakes import FakeEncoder, write_picture
from tests.terminals import in_a_terminal, without_styles

ASKED = ("query", "--like", "red.png", "-k", 2, "-g", "g")


@pytest.fixture
def folder(photos: Path, fake: FakeEncoder) -> Path:
    """Where a gallery `g` is; one of its pictures knows when it was taken."""
    exif = Image.Exif()
    exif[0x8769] = {0x9003: "2024:05:01 12:00:00"}
    with Image.open(photos / "more" / "red.png") as image:
        image.convert("RGB").save(photos / "more" / "dated.jpg", exif=exif, quality=95)
    embed([photos], gallery=photos.parent / "g", encoder=fake)
    return photos.parent


@pytest.mark.parametrize(
    ("columns", "header"),
    [
        (200, ["rank", "score", "taken", "size", "picture"]),
        (72, ["rank", "score", "taken", "picture"]),
        (50, ["rank", "score", "picture"]),
    ],
)
def test_dates_and_sizes_stand_where_there_is_room(columns: int, header: list[str], folder: Path) -> None:
    lines = without_styles(in_a_terminal(folder, *ASKED, columns=columns)).splitlines()
    assert lines[0].split() == header
    assert all(len(line) <= columns for line in lines)
    (dated,) = [line for line in lines if "dated.jpg" in line]
    assert ("2024-05-01" in dated, "16 × 12" in dated) == ("taken" in header, "size" in header)


def test_what_was_found_comes_before_its_score_where_there_is_little_room(folder: Path) -> None:
    lines = without_styles(in_a_terminal(folder, *ASKED, columns=20)).splitlines()
    assert lines[0].split() == ["rank", "picture"]
    assert [line.split()[0] for line in lines[1:] if line.strip()] == ["1", "2"]  # a line each


@pytest.mark.parametrize(
    ("path", "columns", "shown"),
    [
        ("a/b/c.jpg", 40, "a/b/c.jpg"),
        ("/home/anna/Pictures/2024/Lisbon/IMG_0042.jpg", 30, "…/2024/Lisbon/IMG_0042.jpg"),
        ("/home/anna/Pictures/2024/Lisbon/IMG_0042.jpg", 15, "…/IMG_0042.jpg"),
        ("one very long name without a folder.jpg", 20, "one very…folder.jpg"),
        ("写真/二千二十四年/リスボンの海岸と夕日.jpg", 24, None),
        ("abc/def", 5, "abc/def"),
    ],
)
def test_of_a_long_path_what_is_next_to_the_file_stays(path: str, columns: int, shown: str | None) -> None:
    from rich.cells import cell_len

    short = shortened(path, columns)
    assert shown is None or short == shown
    assert cell_len(short) <= max(columns, cell_len(path) if columns < 12 else 0)
    assert path.endswith(short.rpartition("…")[2])


def test_a_long_path_takes_one_line_and_stays_a_link(photos: Path, fake: FakeEncoder) -> None:
    deep = photos / ("a folder with a long name " * 3).strip() / "another one"
    write_picture(deep / "red.png", "red", seed=77)
    embed([photos], gallery=photos.parent / "g", encoder=fake)
    shown = in_a_terminal(photos.parent, "query", "--like", "red.png", "-k", 2, "-g", "g", columns=60)
    lines = without_styles(shown).splitlines()
    assert len(lines) == 3
    (long,) = [line for line in lines if "…" in line]
    assert re.search(r" …/another one/red\.png$", long)
    assert (deep / "red.png").as_uri() in shown


def test_copies_among_the_hits_are_said_with_what_leaves_them_out(photos: Path, fake: FakeEncoder) -> None:
    for name in ("red copy.png", "red again.png"):
        (photos / name).write_bytes((photos / "red.png").read_bytes())
    embed([photos], gallery=photos.parent / "g", encoder=fake)
    asked = ("query", "--image", str(photos / "red.png"), "-k", "4", "-g", "g")
    assert "2 of these are copies of another: --distinct leaves copies out" in in_a_terminal(photos.parent, *asked)
    assert "leaves copies out" not in in_a_terminal(photos.parent, *asked, "--distinct")


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2", "SSH_TTY": "/dev/pts/1"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "mlterm-256color"}, "sixel"),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1", "TERM_PROGRAM": "vscode"}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode", "LC_TERMINAL": "iTerm2"}, None),
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "tmux", "LC_TERMINAL": "iTerm2"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux,1,0"}, None),
        ({"TERM": "screen.xterm-256color", "TERM_PROGRAM": "iTerm.app"}, None),
        ({}, None),
    ],
)
def test_which_terminals_show_pictures(environment: dict[str, str], protocol: str | None) -> None:
    """What leaks out of another terminal does not count, nor does what cannot get through a multiplexer."""
    assert protocol_of(environment) == protocol


def test_kitty_is_given_each_picture_where_its_row_begins(folder: Path) -> None:
    shown = in_a_terminal(folder, *ASKED, columns=100, TERM="xterm-kitty")
    pictures = re.findall(r"\x1b7((?:\x1b_G[^\x1b]*\x1b\\)+)\x1b8", shown)
    assert len(pictures) == 2
    for picture in pictures:
        pieces = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", picture)
        assert pieces[0][0].startswith("a=T,f=100,q=2,C=1,")
        assert [keys[-3:] for keys, _ in pieces] == [*["m=1"] * (len(pieces) - 1), "m=0"]
        assert all(len(piece) <= 4096 for _, piece in pieces)
        with Image.open(io.BytesIO(base64.b64decode("".join(piece for _, piece in pieces)))) as image:
            red, green, blue = image.convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
            assert red > 150 > green + blue
    rows = [line for line in shown.splitlines() if "\x1b_G" in line]
    for row, rank in zip(rows, "12", strict=True):
        text = without_styles(row.rpartition("\x1b8")[2])
        assert re.match(rf"\x1b\[14C +{rank} ", text)  # over the picture, not through it
    assert "\ue000" not in shown


def test_iterm2_is_given_them_in_its_own_way(folder: Path) -> None:
    shown = in_a_terminal(folder, *ASKED, columns=100, TERM_PROGRAM="iTerm.app")
    pictures = re.findall(r"\x1b\]1337;File=inline=1;width=14;height=5;[^:]*:([A-Za-z0-9+/=]+)\x07", shown)
    assert len(pictures) == 2
    for picture in pictures:
        with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
            assert image.format == "JPEG"


def pixels_of_sixel(sequence: str) -> NDArray[np.int64]:
    """The pixels (height, width, 3) of a picture as a terminal reads it, by the manual of the VT340."""
    found = re.fullmatch(r'\x1bP[0-9;]*q"1;1;(\d+);(\d+)((?:#\d+;2;\d+;\d+;\d+)+)([^\x1b]*)\x1b\\', sequence)
    assert found
    image = np.full((int(found[2]) + 6, int(found[1]), 3), -1)
    colours = {number: rgb for number, *rgb in re.findall(r"#(\d+);2;(\d+);(\d+);(\d+)", found[3])}
    x, top, colour = 0, 0, np.zeros(3)
    for number, repeat, character, move in re.findall(r"#(\d+)|!(\d+)([?-~])|([?-~$-])", found[4]):
        if number:
            colour = np.array(colours[number], float) * 255 / 100
        elif move in ("$", "-"):
            x, top = 0, top + (6 if move == "-" else 0)
        else:
            count = int(repeat or 1)
            for row in range(6):
                if (ord(character or move) - 0x3F) >> row & 1:
                    image[top + row, x : x + count] = np.round(colour)
            x += count
    assert (image[int(found[2]) :] == -1).all()
    return image[: int(found[2])]


def test_a_sixel_is_the_picture() -> None:
    picture = Image.new("RGB", (30, 20), (255, 0, 0))
    picture.paste((0, 0, 255), (10, 3, 25, 17))
    picture.putpixel((29, 19), (0, 255, 0))
    gradient = Image.linear_gradient("L").resize((140, 100)).convert("RGB")
    for image, most in ((picture, 0), (gradient, 8)):  # of 64 colours
        sequence = drawn(image, "sixel", Box(14, 5)).partition("\x1b7")[2].removesuffix("\x1b8")
        assert np.abs(pixels_of_sixel(sequence) - np.asarray(image, int)).max() <= most


def test_room_is_made_before_a_picture_and_the_cursor_comes_back() -> None:
    """At the end of the screen the text would move up under the picture."""
    sequence = drawn(Image.new("RGB", (30, 20)), "kitty", Box(14, 5))
    assert sequence.startswith("\n\n\n\n\x1b[4A\x1b7\x1b_G")
    assert sequence.endswith("\x1b\\\x1b8")
    wide, high = (drawn(Image.new("RGB", size), "kitty", Box(10, 5)) for size in ((100, 20), (20, 100)))
    assert ("c=10," in wide, "r=5," in high) == (True, True)  # one side alone: the other follows


def test_half_blocks_are_shown_where_they_are_asked_for(folder: Path) -> None:
    shown = in_a_terminal(folder, *ASKED, "--preview", columns=120, COLORTERM="truecolor")
    colours = [tuple(map(int, found)) for found in re.findall(r"\x1b\[38;2;(\d+);(\d+);(\d+)", shown)]
    assert len(colours) > 100
    assert all(red > 150 > green + blue for red, green, blue in colours)
    assert without_styles(shown).count("▀" * 16) >= 2 * 5
    in_tmux = in_a_terminal(folder, *ASKED, "--preview", columns=120, TERM="tmux-256color", TMUX="x")
    assert "▀" in in_tmux
    assert "\x1b_G" not in in_tmux
    assert "▀" not in in_a_terminal(folder, *ASKED, "--preview", columns=50)  # no room


def test_nobody_gets_pictures_who_did_not_ask_or_cannot_see_them(folder: Path, mmsearch: Command) -> None:
    plain = in_a_terminal(folder, *ASKED, columns=100)
    assert "▀" not in plain
    assert "\x1b_G" not in in_a_terminal(folder, *ASKED, "--no-preview", columns=100, TERM="xterm-kitty")
    os.chdir(folder)
    done = mmsearch(*ASKED)
    assert mmsearch(*ASKED, "--preview").out == done.out
    assert "\x1b" not in done.out


def test_what_shows_pictures_is_loaded_only_for_who_sees_them(folder: Path) -> None:
    code = (
        "import sys, os, pty\nfrom mmsearch.cli import main\n"
        "sys.argv = ['mmsearch', 'query', '--like', 'red.png', '-g', 'g']\nmain()\n"
        "sys.exit(str([name for name in sys.modules if name.startswith('mmsearch.render')] or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        env={**os.environ, "TERM": "xterm-kitty"},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_cannot_be_shown_leaves_its_place_empty(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "text.png").write_text("no picture")
    files = [str(photos / "red.png"), None, str(photos / "gone.png"), str(photos / "text.png"), "s3://bucket/x.png"]
    shown = thumbnails(files, (20, 20), seconds=20)
    assert [image is not None for image in shown] == [True, False, False, False, False]


def test_pictures_that_take_too_long_are_not_waited_for(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock begins at 0; it has not moved when a red one is waited for, and is over when a blue one is."""
    real, released = make_thumbnail, threading.Event()

    def slow(data: bytes, edge: int) -> Image.Image:
        assert data != slow_one or released.wait(60)
        return real(data, edge)

    slow_one = (photos / "blue.png").read_bytes()
    monkeypatch.setattr("mmsearch.render.terminal.make_thumbnail", slow)
    clock = SimpleNamespace(monotonic=iter([0, 0, 30, 0, 30]).__next__)
    monkeypatch.setattr("mmsearch.render.terminal.time", clock)
    shown = thumbnails([str(photos / "red.png"), str(photos / "blue.png")] * 2, (20, 20), seconds=30)
    assert not released.is_set()
    released.set()
    assert [image is not None for image in shown] == [True, False, True, False]


def test_a_picture_is_two_rows_a_line() -> None:
    image = Image.new("RGB", (2, 3), (255, 0, 0))
    image.putpixel((0, 1), (0, 0, 255))
    red, blue = [255, 0, 0], [0, 0, 255]
    assert [[*map(list, row)] for row in half_blocks(image, Box(10, 10))] == [
        [[red, blue], [red, red]],
        [[red, None], [red, None]],
    ]
    assert len(half_blocks(Image.new("RGB", (400, 300)), Box(24, 8))) == 8
