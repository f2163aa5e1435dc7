"""Pictures that show the same: what is found, what is proposed, and that nothing is touched."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from mmsearch.embedding import embed
from mmsearch.errors import FilterError, GalleryError
from mmsearch.images.likeness import Likeness, alike_pairs, same_picture, sharpness
from mmsearch.upkeep.duplicates import DuplicatesReport, duplicates
from tests.conftest import Command
from tests.fakes import FakeEncoder

EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "coded anew": lambda image: Image.open(io.BytesIO(coded(image, 30))).convert("RGB"),
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "turned": lambda image: image.rotate(90, expand=True),
    "upside down": lambda image: image.rotate(180),
    "mirrored": ImageOps.mirror,
    "marked": lambda image: marked(image),
    "grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "paler": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
}


def scene(seed: int, width: int = 240, height: int = 180) -> Image.Image:
    """A picture with detail of many sizes, as photos have."""
    rng = np.random.default_rng(seed)
    noise = [Image.fromarray(rng.integers(0, 256, (n * 3, n * 4, 3), dtype=np.uint8)) for n in (2, 5, 12)]
    layers = [each.resize((width, height), Image.Resampling.BICUBIC) for each in noise]
    return Image.blend(Image.blend(layers[0], layers[1], 0.5), layers[2], 0.4)


def coded(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def marked(image: Image.Image) -> Image.Image:
    image = image.copy()
    width, height = image.size
    ImageDraw.Draw(image).rectangle((width * 0.6, height * 0.85, width * 0.98, height * 0.97), fill="white")
    return image


def found(report: DuplicatesReport) -> dict[str, set[str]]:
    """Name of the best -> names of the others."""
    return {Path(group.best.path).name: {Path(file.path).name for file in group.others} for group in report.groups}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_picture_is_the_same(edit: str) -> None:
    pictures = [scene(seed) for seed in range(6)]
    for picture in pictures:
        assert same_picture(Likeness.of(picture), Likeness.of(EDITS[edit](picture)), parts=False)
    both = [Likeness.of(each) for each in [*pictures, *map(EDITS[edit], pictures)]]
    assert {*alike_pairs(both)} >= {(number, number + 6) for number in range(6)}


@pytest.mark.parametrize("share", [0.6, 0.8])
def test_a_part_is_the_same_where_parts_are_looked_for(share: float) -> None:
    for seed in range(6):
        picture = scene(seed)
        left, upper, right, lower = (side * at for at in (0.1, 0.1 + share) for side in picture.size)
        part = picture.crop((int(left), int(upper), int(right), int(lower)))
        one, other = Likeness.of(picture), Likeness.of(part)
        assert same_picture(one, other, parts=True)
        assert same_picture(other, one, parts=True)
        assert not same_picture(one, other, parts=False)


def test_other_pictures_are_not() -> None:
    likenesses = [Likeness.of(scene(seed)) for seed in range(12)]
    assert [*alike_pairs(likenesses)] == []
    for number, one in enumerate(likenesses):
        assert not any(same_picture(one, other, parts=True) for other in likenesses[number + 1 :])


def test_what_shows_nothing_is_like_nothing() -> None:
    blank = [Likeness.of(Image.new("RGB", size, "red")) for size in ((9, 9), (300, 1), (64, 64))]
    assert [*alike_pairs(blank)] == []
    assert not same_picture(blank[0], blank[1], parts=True)
    assert [*alike_pairs([])] == []


def test_the_sharper_of_two_is_known() -> None:
    assert sharpness(scene(1)) > 2 * sharpness(scene(1).filter(ImageFilter.GaussianBlur(2)))
    assert sharpness(Image.new("L", (2, 2))) == 0


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Four photos; one in three more forms, one copied twice, and a burst of three."""
    folder = tmp_path / "library"
    (folder / "burst").mkdir(parents=True)
    for name, seed in (("a", 1), ("b", 2), ("c", 3), ("d", 4)):
        scene(seed, 320, 240).save(folder / f"{name}.jpg", quality=95)
    original = Image.open(folder / "a.jpg")
    original.resize((160, 120)).save(folder / "a small.png")
    original.save(folder / "a poor.jpg", quality=40)
    original.rotate(90, expand=True).resize((120, 160)).save(folder / "a turned.jpg")
    for number in (1, 2):
        (folder / f"b copy {number}.jpg").write_bytes((folder / "b.jpg").read_bytes())
    for number, blur in enumerate((3, 0, 2)):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"2024:05:01 12:00:0{number}"
        picture = scene(50 + number, 320, 240).filter(ImageFilter.GaussianBlur(blur))
        picture.save(folder / "burst" / f"{number}.jpg", exif=exif)
    for file in folder.rglob("*.*"):
        os.utime(file, (1_700_000_000, 1_700_000_000))
    os.utime(folder / "b copy 2.jpg", (1_600_000_000, 1_600_000_000))
    embed([folder], gallery=tmp_path / "g", encoder=FakeEncoder())
    return folder


def test_groups_with_their_best(library: Path) -> None:
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in library.rglob("*.*")}
    report = duplicates(library.parent / "g")
    assert [(group.kind, Path(group.best.path).name, group.why) for group in report.groups] == [
        ("identical", "b copy 2.jpg", "the oldest file"),
        ("same_picture", "a.jpg", "the most pixels (320 x 240)"),
        ("burst", "1.jpg", "the sharpest"),
    ]
    assert found(report) == {
        "b copy 2.jpg": {"b.jpg", "b copy 1.jpg"},
        "a.jpg": {"a small.png", "a poor.jpg", "a turned.jpg"},
        "1.jpg": {"0.jpg", "2.jpg"},
    }
    assert report.pictures == 12
    spare = ("b.jpg", "b copy 1.jpg", "a small.png", "a poor.jpg", "a turned.jpg")
    assert report.spare_bytes == sum((library / name).stat().st_size for name in spare)
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in library.rglob("*.*")} == before


def test_some_kinds_a_filter_and_no_bursts(library: Path) -> None:
    gallery = library.parent / "g"
    assert {group.kind for group in duplicates(gallery, burst_seconds=0.5).groups} == {"identical", "same_picture"}
    assert found(duplicates(gallery, where="path like 'a%' and width > 200")) == {"a.jpg": {"a poor.jpg"}}
    assert [group.kind for group in duplicates(gallery, kinds=["burst"]).groups] == ["burst"]
    with pytest.raises(FilterError):
        duplicates(gallery, where="nonsense")
    with pytest.raises(GalleryError):
        duplicates(library)


def test_identical_files_alone_are_known_without_reading_any(library: Path) -> None:
    (library / "a turned too.jpg").write_bytes((library / "a turned.jpg").read_bytes())
    embed([library], gallery=library.parent / "g", encoder=FakeEncoder())
    report = duplicates(library.parent / "g", kinds=["identical"])
    assert report.looked_at == 0
    assert found(report) == {"b copy 2.jpg": {"b.jpg", "b copy 1.jpg"}, "a turned.jpg": {"a turned too.jpg"}}


def test_a_link_is_no_copy_of_what_it_leads_to(tmp_path: Path) -> None:
    """All but the best of a group may be deleted: then no picture must be gone."""
    folder, elsewhere = tmp_path / "p", tmp_path / "elsewhere"
    for each in (folder, elsewhere):
        each.mkdir()
    scene(1).save(folder / "the picture itself.png")
    (folder / "a.png").symlink_to("the picture itself.png")  # shorter, and as old
    scene(2).save(folder / "hard.png")
    os.link(folder / "hard.png", folder / "linked.png")
    scene(3).save(folder / "small.png")
    scene(3, 480, 360).save(folder / "large.png")
    (folder / "l.png").symlink_to("large.png")
    scene(4).save(elsewhere / "outside.png")
    for name in ("one.png", "two.png"):
        (folder / name).symlink_to(elsewhere / "outside.png")
    embed([folder], gallery=tmp_path / "g", encoder=FakeEncoder())
    report = duplicates(tmp_path / "g")
    assert found(report) == {"large.png": {"small.png"}}
    assert report.pictures == 5
    for group in report.groups:
        for file in group.others:
            Path(file.path).unlink()
    assert all(file.exists() for file in folder.iterdir())


def test_small_files_are_told_in_bytes(tmp_path: Path) -> None:
    for name in ("one.gif", "two.gif"):
        Image.new("RGB", (4, 3), "red").save(tmp_path / name)
    embed([tmp_path], gallery=tmp_path / "g", encoder=FakeEncoder())
    (group,) = duplicates(tmp_path / "g", kinds=["identical"]).groups
    assert group.best.facts[1] == f"{(tmp_path / 'one.gif').stat().st_size} bytes"


def test_a_file_that_cannot_be_read_is_said_and_costs_nothing_else(library: Path, mmsearch: Command) -> None:
    (library / "a poor.jpg").unlink()
    (library / "c.jpg").write_text("no picture")
    gallery = library.parent / "g"
    report = duplicates(gallery)
    assert {Path(file).name for file, _ in report.unread} == {"a poor.jpg", "c.jpg"}
    assert found(report)["a.jpg"] == {"a small.png", "a turned.jpg"}
    done = mmsearch("duplicates", "-g", gallery, "--format", "jsonl")
    assert done.code == 0
    assert "a poor.jpg was not looked at: no such file or directory" in done.err


def test_a_damaged_one_is_not_the_best(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    scene(1, 480, 360).save(folder / "large.jpg", quality=95)
    data = (folder / "large.jpg").read_bytes()
    (folder / "large.jpg").write_bytes(data[: int(len(data) * 0.9)])
    scene(1, 240, 180).save(folder / "small.jpg")
    embed([folder], gallery=tmp_path / "g", encoder=FakeEncoder())
    (group,) = duplicates(tmp_path / "g").groups
    assert (Path(group.best.path).name, group.why) == ("small.jpg", "the others are damaged")


def test_many_pictures_are_compared_where_they_are_near(tmp_path: Path) -> None:
    """More than are all compared with each other: quickly only those whose vectors are near."""
    folder = tmp_path / "p"
    folder.mkdir()
    for seed in range(60):
        picture = scene(seed)
        picture.save(folder / f"{seed}.png")
        if seed < 10:
            picture.save(folder / f"{seed} again.jpg", quality=60)
    embed([folder], gallery=tmp_path / "g", encoder=FakeEncoder())
    right = {f"{seed}.png": {f"{seed} again.jpg"} for seed in range(10)}
    for quick in (False, True):
        report = duplicates(tmp_path / "g", quick=quick)
        assert found(report) == right
        assert (report.looked_at == 70) != quick


def test_formats(library: Path, mmsearch: Command) -> None:
    gallery = library.parent / "g"
    lines = mmsearch("duplicates", "-g", gallery, "--format", "jsonl").out.splitlines()
    groups = [json.loads(line) for line in lines]
    assert [group["kind"] for group in groups] == ["identical", "same_picture", "burst"]
    assert groups[0] == {
        "kind": "identical",
        "best": str(library / "b copy 2.jpg"),
        "paths": [str(library / name) for name in ("b copy 2.jpg", "b copy 1.jpg", "b.jpg")],
        "why": "the oldest file",
    }
    paths = mmsearch("duplicates", "-g", gallery, "--format", "paths0", "--kind", "identical").out
    assert paths.split("\0") == [str(library / "b copy 1.jpg"), str(library / "b.jpg"), ""]
    shown = mmsearch("duplicates", "-g", gallery)
    assert "the same picture, 4 times:" in shown.out
    assert "best: the most pixels (320 x 240)" in shown.out
    assert "3 groups among 12 pictures" in shown.err
    assert "Nothing was deleted" in shown.err
    assert mmsearch("duplicates", "-g", gallery, "--kind", "near").code == 2


def test_names_that_are_no_text_are_listed_as_they_are(tmp_path: Path, mmsearch: Command) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    odd = os.fsencode(folder) + b"/caf\xe9\n.jpg"
    Path(os.fsdecode(odd)).write_bytes(coded(scene(1), 80))
    (folder / "z.jpg").write_bytes(coded(scene(1, 480, 360), 80))
    embed([folder], gallery=tmp_path / "g", encoder=FakeEncoder())
    (line,) = mmsearch("duplicates", "-g", tmp_path / "g", "--format", "jsonl").out.splitlines()
    group = json.loads(line)
    assert [os.fsencode(path) for path in group["paths"]] == [os.fsencode(folder / "z.jpg"), odd]


def test_the_page_shows_the_groups(library: Path, mmsearch: Command, tmp_path: Path) -> None:
    page = tmp_path / "groups.html"
    assert mmsearch("duplicates", "-g", library.parent / "g", "--html", page).code == 0
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 10
    assert text.count("Best: ") == 3
    assert "Best: the sharpest" in text
    assert "<script" not in text
    refused = mmsearch("duplicates", "-g", library.parent / "g", "--html", tmp_path / "groups.txt")
    assert refused.code == 1
