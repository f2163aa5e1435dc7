"""Frames of animations: the first one as ever, others where `--frames` asks for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmsearch import cutting
from mmsearch.cutting.animations import frame_times
from mmsearch.embedding import EmbedReport, Selection, embed
from mmsearch.file_ranges import FileRange
from mmsearch.gallery import Gallery
from mmsearch.images import CutOptions, MadePicture
from mmsearch.items import IMAGES, ImageRow
from tests.fakes import COLOURS, FakeEncoder

SHOWN = (400, 1100, 250, 50)  # milliseconds
NAMES = ("a.gif", "a.webp", "a.png")


def write_animation(file: Path, colours: Sequence[str] = ("red", "green", "blue", "yellow"), **how: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    first, *others = (Image.new("RGB", (24, 16), COLOURS[colour]) for colour in colours)
    first.save(file, save_all=True, append_images=others, duration=list(SHOWN[: len(colours)]), loop=0, **how)
    return file


def sync(folder: Path, frames: str | None = None, encoder: FakeEncoder | None = None) -> EmbedReport:
    cuts = CutOptions(frames=frames, animations=frames)
    how: Any = {"gallery": folder.parent / "g", "encoder": encoder or FakeEncoder()}
    return embed([folder], selection=Selection(cuts=cuts), **how)


def rows(folder: Path) -> dict[str, ImageRow]:
    return {row.path: row for _, row in Gallery.open(folder.parent / "g").all_records(IMAGES)}


@pytest.mark.parametrize("name", NAMES)
def test_frames_begin_when_the_file_says(tmp_path: Path, name: str) -> None:
    file = write_animation(tmp_path / name)
    assert frame_times(FileRange(str(file))) == pytest.approx([0, 0.4, 1.5, 1.75, 1.8])
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    assert frame_times(FileRange(str(file)))[0] == 0


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_those_that_pillow_shows(tmp_path: Path, name: str) -> None:
    file = write_animation(tmp_path / name)
    spans = ["t=0.4", "t=1.75", "t=1.5", "t=0", "t=1", "t=99"]
    pictures = [*cutting.make_pictures(str(file), name, spans, 10**6)]
    for picture, row in zip(pictures, (1, 3, 2, 0, 1, 3), strict=True):
        assert isinstance(picture, MadePicture)
        with Image.open(file) as reference:
            reference.seek(row)
            assert np.array_equal(np.asarray(picture.image), np.asarray(reference.convert("RGB")))
    (refused,) = cutting.make_pictures(str(file), name, ["t=soon"], 10**6)
    assert not isinstance(refused, MadePicture)


def test_the_first_frame_is_the_file_and_the_others_are_taken_where_they_are_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    for name in NAMES:
        write_animation(folder / name)
    Image.new("RGB", (24, 16), COLOURS["white"]).save(folder / "still.png")
    assert sync(folder).images.added == 4
    assert rows(folder)["a.gif"].start_s is None
    encoder = FakeEncoder()
    report = sync(folder, "every=1s", encoder)
    assert (report.images.added, report.images.updated, report.images.reused) == (3, 4, 4)
    assert encoder.images_encoded == 3
    held = rows(folder)
    assert {path: (row.start_s, row.end_s) for path, row in held.items()} == {
        "a.gif": (0.0, 0.4), "a.gif!/t=0.4": (0.4, 1.8),
        "a.png": (0.0, 0.4), "a.png!/t=0.4": (0.4, 1.8),
        "a.webp": (0.0, 0.4), "a.webp!/t=0.4": (0.4, 1.8),
        "still.png": (None, None),
    }  # fmt: skip
    assert sync(folder, "every=1s").images.unchanged == 7
    assert sync(folder).images.unchanged == 7  # what a run does not say stays
    assert sync(folder, "keys").images.deleted == 3


def test_an_animated_png_whose_still_picture_stands_before_it(tmp_path: Path) -> None:
    file = write_animation(tmp_path / "a.png", default_image=True)
    with Image.open(file) as reference:
        for at, row in enumerate(range(reference.n_frames)):  # type: ignore[attr-defined]
            reference.seek(row)
            start = frame_times(FileRange(str(file)))[at]
            (picture,) = cutting.make_pictures(str(file), "a.png", [f"t={start:.3f}"], 10**6)
            assert isinstance(picture, MadePicture)
            assert np.array_equal(np.asarray(picture.image), np.asarray(reference.convert("RGB")))
