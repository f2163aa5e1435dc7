"""Collected files: ranked in their names, nothing overwritten, what is gone reported."""

import os
import shutil
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import pytest

from mmsearch.errors import StoreError
from mmsearch.items import IMAGES
from mmsearch.render.collecting import collect
from mmsearch.search.hits import Hit
from tests.conftest import Command
from tests.films import frame
from tests.rendered_films import number_in, render


def hits(*files: Path | str | None) -> list[Hit]:
    return [
        Hit(rank, 1 / rank, rank, IMAGES, None, file=None if file is None else str(file))
        for rank, file in enumerate(files, 1)
    ]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = []
    for number in range(12):
        file = tmp_path / "from" / f"{number % 2}" / f"name {number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d" % number)
        os.utime(file, ns=(10**18, 10**18))
        found.append(file)
    return found


def test_names_begin_with_the_rank(files: list[Path], tmp_path: Path) -> None:
    done = collect(hits(*files), tmp_path / "to")
    assert [copy.name for copy in done.copied] == [f"{rank:02}-name {rank - 1}.jpg" for rank in range(1, 13)]
    assert sorted(tmp_path.joinpath("to").iterdir()) == list(done.copied)
    assert [copy.read_bytes() for copy in done.copied] == [file.read_bytes() for file in files]
    assert {copy.stat().st_mtime_ns for copy in done.copied} == {10**18}
    assert (done.present, done.failed) == ([], [])


def test_nothing_is_overwritten_and_nothing_copied_twice(files: list[Path], tmp_path: Path) -> None:
    """A name that is taken gets a number; the same file again is left as it is."""
    folder = tmp_path / "to"
    folder.mkdir()
    (folder / "1-name 0.jpg").write_text("mine")
    (folder / "1-name 0-2.jpg").mkdir()
    (folder / "2-name 1.jpg").symlink_to(tmp_path / "nowhere")
    first = collect(hits(*files[:2]), folder)
    assert [copy.name for copy in first.copied] == ["1-name 0-3.jpg", "2-name 1-2.jpg"]
    assert (folder / "1-name 0.jpg").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    again = collect(hits(*files[:2]), folder)
    assert (again.copied, again.present) == ([], first.copied)


def test_what_is_gone_is_reported_and_the_rest_copied(files: list[Path], tmp_path: Path) -> None:
    files[0].unlink()
    shutil.rmtree(files[1].parent)
    done = collect(hits(files[0], files[1], None, files[2], files[2]), tmp_path / "to")
    assert [copy.name for copy in done.copied] == ["4-name 2.jpg"]  # once, and under its best rank
    assert done.failed == [(str(file), "gone since it was embedded") for file in files[:2]]


def test_awkward_names(tmp_path: Path) -> None:
    names = [b"caf\xe9.jpg", ("é" * 125 + ".jpg").encode(), b"-rf", b".hidden.jpg", b"new\nline.png"]
    files = [os.fsdecode(os.fsencode(tmp_path) + b"/" + name) for name in names]
    for file in files:
        Path(file).write_text(file, errors="surrogateescape")
    done = collect(hits(*files), tmp_path / "to")
    assert [os.fsencode(copy.name) for copy in done.copied] == [
        b"1-caf\xe9.jpg",
        b"2-" + "é".encode() * 100 + b".jpg",
        b"3--rf",
        b"4-.hidden.jpg",
        b"5-new\nline.png",
    ]


def test_a_disk_that_is_full_leaves_no_half_copy(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object, copy: BinaryIO) -> None:
        copy.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(StoreError, match=r"cannot write .*1-name 0\.jpg: no space left"):
        collect(hits(files[0]), tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def test_the_option_of_query(photos: Path, mmsearch: Command, tmp_path: Path) -> None:
    gallery, folder = photos.parent / "g", tmp_path / "best"
    mmsearch("embed", photos, "--model", "fake", "-g", gallery)
    ask = ("query", "red", "-k", 2, "-g", gallery, "--format", "paths", "--copy-to", folder)
    done = mmsearch(*ask)
    assert done.err == f"mmsearch: copied 2 files to {folder}\n"
    assert sorted(file.name for file in folder.iterdir()) == ["1-red.png", "2-red.png"]
    (photos / "red.png").unlink()
    done = mmsearch(*ask)
    assert done.err.splitlines()[1:] == [
        f"mmsearch: warning: not copied, gone since it was embedded: {photos / 'red.png'}",
        f"mmsearch: copied 0 files to {folder}; 1 stood there already",
    ]


def moment(rank: int, file: Path, from_s: float, to_s: float) -> Hit:
    row = frame(file.name, from_s)
    return Hit(rank, 0.5, rank, IMAGES, row, str(file.parent), f"{file}!/t={from_s:g}", from_s=from_s, to_s=to_s)


def test_of_films_the_moments_alone_are_cut_out(tmp_path: Path) -> None:
    """From the key frame before (every two seconds), as they were encoded, turned as before; twice is once."""
    film = render(tmp_path / "trip.mp4", [number / 10 for number in range(80)], group=20, rotation=90)
    found = [moment(1, film, 4.3, 5.0), moment(2, film, 65.0, 67.0)]
    folder = tmp_path / "to"
    first = collect(found[:1], folder, cut=True)
    assert [copy.name for copy in first.copied] == ["1-trip-0m04s-0m05s.mp4"]
    with av.open(str(first.copied[0])) as cut:
        frames = [
            (one.time, number_in(np.asarray(one.to_ndarray(format="rgb24"), np.uint8))) for one in cut.decode(video=0)
        ]
        assert [number for _, number in frames] == [*range(40, 50)]
        assert frames[0][0] == 0
    with av.open(str(first.copied[0])) as cut:
        assert {one.rotation for one in cut.decode(video=0)} == {90}
    again = collect(found[:1], folder, cut=True)
    assert (again.copied, again.present) == ([], first.copied)
    film.write_bytes(b"no film at all")
    broken = collect(found, folder, cut=True)
    assert [copy.name for copy in broken.copied] == ["1-trip.mp4"]  # whole, once
    assert [file for file, _ in broken.whole] == [str(film)] * 2
    assert all(reason.startswith("not a film") for _, reason in broken.whole)
    assert sorted(copy.name for copy in folder.iterdir()) == ["1-trip-0m04s-0m05s.mp4", "1-trip.mp4"]
