"""A year in the life of a folder of photos, and what becomes of each file that a person or a camera can make."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from mmsearch.embedding import EmbedReport, embed
from mmsearch.gallery import Gallery
from tests.fakes import FakeEncoder, write_picture
from tests.galleries import contents


class Keeper:
    """Somebody who keeps photos in one folder and syncs the gallery after each change."""

    def __init__(self, folder: Path) -> None:
        self.photos = folder / "photos"
        self.gallery = folder / "gallery"
        self.fake = FakeEncoder()

    def sync(self) -> EmbedReport:
        self.fake.images_encoded = 0
        return embed([self.photos], gallery=self.gallery, encoder=self.fake)

    def vectors(self) -> dict[str, np.ndarray]:
        return {path: vector for (_, path), (_, vector) in contents(self.gallery).items()}

    def row_ids(self) -> dict[str, int]:
        return {name: row_id for row_id, _, name in Gallery.open(self.gallery).image_names()}

    def outcome(self, report: EmbedReport) -> dict[str, int]:
        """What the report counts, but for zeros and what did not change; and how many pictures were encoded."""
        names = ("added", "updated", "moved", "reused", "deleted", "skipped")
        counts = {name: getattr(report.images, name) for name in names}
        return {name: count for name, count in {**counts, "encoded": self.fake.images_encoded}.items() if count}


def save_half_and_half(file: Path, **options: Any) -> None:
    """A picture that looks different from every side: red, green, blue and white quarters, wider than high."""
    image = Image.new("RGB", (32, 24), "white")
    for box, colour in (((0, 0, 16, 12), "red"), ((16, 0, 32, 12), "green"), ((0, 12, 16, 24), "blue")):
        image.paste(colour, box)
    image.save(file, quality=95, **options)


def test_the_story_of_seven_photos(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    photos = keeper.photos
    photos.mkdir()
    for place, name in enumerate(("renamed", "touched", "moved", "copied", "edited", "deleted")):
        write_picture(photos / f"{name}.png", "green", seed=place)
    save_half_and_half(photos / "rotated.jpg")

    # In January all seven are new: each is read, decoded and encoded.
    assert keeper.outcome(keeper.sync()) == {"added": 7, "encoded": 7}
    january, ids = keeper.vectors(), keeper.row_ids()

    # Nothing happens in February, and nothing is done: no row, no version.
    assert (keeper.outcome(keeper.sync()), Gallery.open(keeper.gallery).manifest.version) == ({}, 1)

    # One is renamed and one is moved: the content is known, so the vectors stay, bit for bit, under new rows.
    (photos / "renamed.png").rename(photos / "so named.png")
    (photos / "2026").mkdir()
    (photos / "moved.png").rename(photos / "2026" / "moved.png")
    assert keeper.outcome(keeper.sync()) == {"moved": 2}
    march = keeper.vectors()
    assert np.array_equal(march["so named.png"], january["renamed.png"])
    assert np.array_equal(march["2026/moved.png"], january["moved.png"])
    assert {"renamed.png", "moved.png"}.isdisjoint(march)

    # One is touched by a backup program: a read, and a new row with the same vector.
    os.utime(photos / "touched.png", ns=(1, 1))
    assert keeper.outcome(keeper.sync()) == {"updated": 1, "reused": 1}
    assert np.array_equal(keeper.vectors()["touched.png"], january["touched.png"])

    # One is copied: both are in the gallery, with one vector.
    shutil.copy2(photos / "copied.png", photos / "2026" / "copy.png")
    assert keeper.outcome(keeper.sync()) == {"added": 1, "reused": 1}
    assert np.array_equal(keeper.vectors()["2026/copy.png"], january["copied.png"])

    # One is edited: it is encoded again, and the old row is gone in the same version.
    write_picture(photos / "edited.png", "blue", seed=50)
    assert keeper.outcome(keeper.sync()) == {"updated": 1, "encoded": 1}
    assert not np.array_equal(keeper.vectors()["edited.png"], january["edited.png"])

    # One is rotated in a viewer, which only writes a tag into the file: it is seen as the person sees it now.
    with Image.open(photos / "rotated.jpg") as image:
        exif = image.getexif()
        exif[ExifTags.Base.Orientation] = 6
        image.save(photos / "rotated.jpg", exif=exif, quality=95)
    assert keeper.outcome(keeper.sync()) == {"updated": 1, "encoded": 1}
    (row,) = (row for (_, path), (row, _) in contents(keeper.gallery).items() if path == "rotated.jpg")
    assert (row["width"], row["height"]) == (24, 32)
    upright = keeper.fake.preprocess(Image.open(photos / "rotated.jpg").transpose(Image.Transpose.ROTATE_270))
    expected = keeper.fake.encode_images(upright[None])[0]
    np.testing.assert_allclose(keeper.vectors()["rotated.jpg"], expected, atol=2e-3)

    # One is deleted, and leaves.
    (photos / "deleted.png").unlink()
    assert keeper.outcome(keeper.sync()) == {"deleted": 1}

    # In December seven are there, each once. Of the rows of January those live on whose files nobody changed.
    december = keeper.row_ids()
    assert sorted(december) == sorted(
        ["2026/copy.png", "2026/moved.png", "copied.png", "edited.png", "rotated.jpg", "so named.png", "touched.png"]
    )
    assert {name for name in december if december[name] == ids.get(name)} == {"copied.png"}
    assert keeper.outcome(keeper.sync()) == {}


def test_eight_orientations_of_one_picture_are_one_picture(tmp_path: Path) -> None:
    """However the camera was held: the same upright pixels, the same size, the same vector."""
    keeper = Keeper(tmp_path)
    keeper.photos.mkdir()
    save_half_and_half(keeper.photos / "1.png")
    with Image.open(keeper.photos / "1.png") as upright:
        stored = {  # what a camera stores so that the tag makes it upright
            2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            3: upright.transpose(Image.Transpose.ROTATE_180),
            4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
            5: upright.transpose(Image.Transpose.TRANSPOSE),
            6: upright.transpose(Image.Transpose.ROTATE_90),
            7: upright.transpose(Image.Transpose.TRANSVERSE),
            8: upright.transpose(Image.Transpose.ROTATE_270),
        }
    for orientation, image in stored.items():
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        image.save(keeper.photos / f"{orientation}.png", exif=exif)
    assert keeper.outcome(keeper.sync()) == {"added": 8, "encoded": 8}
    rows = contents(keeper.gallery)
    assert {(row["width"], row["height"]) for row, _ in rows.values()} == {(32, 24)}
    assert len({vector.tobytes() for _, vector in rows.values()}) == 1


AWKWARD_REASONS = {
    "bmp__b__badwidth.bmp": "megapixels, over the limit",
    "bmp__b__shortfile.bmp": "truncated BMP",
    "broken.png": "damaged PNG",
    "broken_data_stream.png": "damaged PNG",
    "decompression_bomb.gif": "more pixels",
    "oom-225817ca0f8c663be7ab4b9e717b02c661e66834.tif": "damaged TIFF",
    "rclip/not-an-image.txt": "not an image",
    "seek_too_large.tif": "damaged TIFF",
    "timeout-c60a3d7314213624607bfb3e38d551a8b24a7435.dds": "DDS",
    "zero_width.gif": "GIF",
}


@pytest.mark.parametrize("kind", ["folder", "tar", "zip"])
def test_every_awkward_file_is_a_row_or_a_skipped_row(kind: str, shared_data: Path, tmp_path: Path) -> None:
    """In a folder as in archives: nothing is lost, and each reason is one that a person understands."""
    from tests.archives import make_tar, make_zip

    source = shared_data / "awkward_images"
    files = {file.relative_to(source).as_posix(): file for file in sorted(source.rglob("*")) if file.is_file()}
    keeper = Keeper(tmp_path)
    if kind == "folder":
        shutil.copytree(source, keeper.photos, copy_function=shutil.copyfile)
        prefix = ""
    else:
        keeper.photos.mkdir()
        make = {"tar": make_tar, "zip": make_zip}[kind]
        make(keeper.photos / f"a.{kind}", ((name, file.read_bytes()) for name, file in files.items()))
        prefix = f"a.{kind}!/"
    keeper.sync()
    embedded = {path.removeprefix(prefix) for _, path in contents(keeper.gallery)}
    skipped = {row.path.removeprefix(prefix): row for row in Gallery.open(keeper.gallery).skipped_rows()}
    assert embedded | set(skipped) == set(files)
    assert embedded.isdisjoint(skipped)
    for name, row in skipped.items():
        assert AWKWARD_REASONS[name] in row.reason
        assert row.stage in ("identify", "decode")
    assert set(skipped) == set(AWKWARD_REASONS)
