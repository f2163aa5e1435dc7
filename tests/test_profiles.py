"""Colour profiles: honoured wherever a picture is shown, and in no way harmful."""

import base64
import io
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from mmsearch import images
from mmsearch.images import decode, draw_jpeg, make_thumbnail
from mmsearch.images.showing import to_srgb
from mmsearch.reports.pictures import thumbnail_uri
from tests.conftest import Command

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# A profile in which the numbers of red mean green and the other way round: nobody overlooks that.
SWAPPED = SRGB.replace(b"rXYZ", b"????", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"????", b"gXYZ", 1)


def linear_grey() -> bytes:
    """A profile of grey in which the numbers are amounts of light."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    curve = b"curv" + bytes(8)
    tags = [(b"wtpt", 128 + 28, len(white)), (b"kTRC", 128 + 28 + len(white), len(curve))]
    table = struct.pack(">I", len(tags)) + b"".join(struct.pack(">4sII", *tag) for tag in tags)
    header = bytearray(128)
    header[8:24] = b"\x02\x10\0\0mntrGRAYXYZ "
    header[36:40], header[68:80] = b"acsp", struct.pack(">3i", 63190, 65536, 54061)
    whole = bytes(header) + table + white + curve
    return struct.pack(">I", len(whole)) + whole[4:]


def saved(image: Image.Image, profile: bytes, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind, icc_profile=profile, **({"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {}))
    return file.getvalue()


def middle(image: Image.Image) -> NDArray[np.int64]:
    colour: NDArray[np.int64] = np.asarray(image.convert("RGB").resize((3, 3)), np.int64)[1, 1]
    return colour


RED = Image.new("RGB", (400, 300), (250, 10, 10))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_picture_is_shown_in_the_colours_of_its_profile(kind: str) -> None:
    data = saved(RED, SWAPPED, kind)
    assert np.abs(middle(make_thumbnail(data, 100)) - (10, 250, 10)).max() <= 6
    # What a model is given are the numbers themselves, as in its training.
    assert np.abs(middle(decode(data).image) - (250, 10, 10)).max() <= 6


def test_grey_has_profiles_too() -> None:
    data = saved(Image.new("L", (64, 64), 128), linear_grey(), "PNG")
    assert np.abs(middle(make_thumbnail(data, 64)) - 188).max() <= 2


def test_profiles_that_cannot_be_used_change_nothing() -> None:
    """Damaged, of ink, of another space than the pixels: shown as if there were none."""
    of_ink = SRGB[:16] + b"CMYK" + SRGB[20:]
    of_lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile in (b"x", SRGB[:200], bytes(500), SWAPPED[:130] + b"\xff" * 300, of_ink, of_lab, bytes(1 << 23)):
        assert np.array_equal(np.asarray(to_srgb(RED, profile)), np.asarray(RED))
    for mode, colour in (("CMYK", (10, 20, 30, 40)), ("RGB", (9, 99, 199)), ("L", 77)):
        picture = Image.new(mode, (40, 40), colour)
        plain = make_thumbnail(saved(picture, b"", "TIFF"), 40)
        for profile in (of_ink, of_lab, b"x" * 300):
            assert np.array_equal(np.asarray(make_thumbnail(saved(picture, profile, "TIFF"), 40)), np.asarray(plain))


def test_what_is_srgb_already_is_not_touched() -> None:
    assert to_srgb(RED, SRGB) is RED
    assert to_srgb(RED, None) is RED


def test_conversion_costs_what_is_shown_and_not_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    apply = ImageCms.ImageCmsTransform.apply

    def noted(self: ImageCms.ImageCmsTransform, image: Image.Image, *rest: object) -> Image.Image:
        sizes.append(image.size)
        return apply(self, image)

    monkeypatch.setattr(ImageCms.ImageCmsTransform, "apply", noted)
    make_thumbnail(saved(RED.resize((2400, 1800)), SWAPPED), 100)
    assert max(max(size) for size in sizes) <= 100


def test_every_place_that_shows_pictures_shows_them_so(tmp_path: Path, mmsearch: Command) -> None:
    """The server's thumbnails, the page of an answer, its contact sheet, a report."""
    photo = tmp_path / "photos" / "a.jpg"
    photo.parent.mkdir()
    photo.write_bytes(saved(RED, SWAPPED))
    places: dict[str, Image.Image] = {"server": Image.open(io.BytesIO(draw_jpeg(photo.read_bytes(), 320)))}
    assert mmsearch("embed", photo.parent, "-g", tmp_path / "g", "--model", "fake").code == 0
    html, sheet = tmp_path / "a.html", tmp_path / "a.png"
    asked = mmsearch("query", "red", "-g", tmp_path / "g", "--html", html, "--contact-sheet", sheet)
    assert asked.code == 0, asked.err
    uris = [*re.findall(r"data:image/jpeg;base64,([\w+/=]+)", html.read_text()), ""]
    places["page"] = Image.open(io.BytesIO(base64.b64decode(uris[0])))
    places["sheet"] = Image.open(sheet).crop((60, 100, 140, 160))
    uri = thumbnail_uri(str(photo))
    places["report"] = Image.open(io.BytesIO(base64.b64decode((uri or ",").split(",")[1])))
    for place, image in places.items():
        assert np.abs(middle(image) - (10, 250, 10)).max() <= 12, place
    assert images.decode(photo.read_bytes()).icc_profile == SWAPPED
