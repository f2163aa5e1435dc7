"""Decoding: upright, RGB, over white, whole or not at all."""

import contextlib
import dataclasses
import io
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from datetime import datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from mmsearch.errors import ImageError
from mmsearch.images import (
    FORMATS,
    Header,
    StoredImage,
    decode,
    decode_fast,
    decode_for_benchmark,
    decoding,
    image_files,
    make_thumbnail,
    probe,
)
from mmsearch.images.colours import to_rgb
from mmsearch.images.reasons import header_reason, words_for_people
from mmsearch.images.silence import quietly
from mmsearch.loading import LoadOptions, load
from mmsearch.sources import SourceFile
from mmsearch.workers import Workers
from tests.fakes import FakeEncoder, FakeImages


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(image: Image.Image) -> "np.ndarray[Any, Any]":
    return np.asarray(image).astype(int)


def photo(width: int = 60, height: int = 40, seed: int = 0) -> Image.Image:
    """A picture without symmetry, smooth enough to survive a lossy codec."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """An error as it is when it was raised, and for which reason."""
    try:
        raise error from cause
    except Exception as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SyntaxError("unknown pixel mode"), ": unknown pixel mode"),
        (raised(SyntaxError("Missing dimensions"), TypeError("Missing dimensions")), ": Missing dimensions"),
        # What plugins pass on of their own mistakes.
        (raised(SyntaxError(IndexError("string index out of range")), IndexError("string index out of range")), ""),
        (raised(SyntaxError(KeyError(257)), KeyError(257)), ""),
        (AttributeError("'NoneType' object has no attribute 'read'"), ""),
        (ValueError("invalid literal for int() with base 10: b'x'"), ""),
        (TypeError("unsupported operand type(s) for +: 'int' and 'bytes'"), ""),
        (OSError("decoder error -2"), ""),
        (OSError(""), ""),
    ],
)
def test_what_a_library_stumbled_over_is_no_reason_for_people(error: Exception, words: str) -> None:
    assert header_reason(error, "TIFF") == f"damaged TIFF header{words}"
    assert words_for_people(error) == words.removeprefix(": ")


def test_every_awkward_file_gives_a_picture_or_a_reason(shared_data: Path) -> None:
    """Nothing that people really have may crash, hang or warn (warnings are errors in this suite)."""
    files = sorted(file for file in (shared_data / "awkward_images").rglob("*") if file.is_file())
    assert len(files) > 50
    reasons, stages = {}, set()
    for file in files:
        began = time.process_time()
        try:
            picture = decode(file.read_bytes())
            assert picture.image.mode == "RGB"
            assert picture.image.size == (picture.width, picture.height)
            with file.open("rb") as opened:
                header = probe(opened)
            assert {header.width, header.height} == {picture.width, picture.height}
        except ImageError as error:
            reasons[file.name] = error.reason
            stages.add(error.stage)
        assert time.process_time() - began < 5, file.name
    assert reasons["not-an-image.txt"] == "not an image"
    assert reasons["bmp__b__shortfile.bmp"] == "truncated BMP"
    assert "megapixels" in reasons["bmp__b__badwidth.bmp"]
    assert stages == {"identify", "decode"}
    assert not [reason for reason in reasons.values() if "\n" in reason or len(reason) > 200]
    assert 8 <= len(reasons) <= 14, reasons  # the broken ones; everything else has a picture


def test_real_files_with_an_orientation_agree(shared_data: Path) -> None:
    """Orientation 5 to 8 in JPEG and WebP: the same picture once upright. A wrong turn would differ by far more."""
    folder = shared_data / "awkward_images"
    names = ["hopper_orientation_5.jpg", "hopper_orientation_7.jpg", "hopper_orientation_8.jpg"]
    names += ["hopper_orientation_6.webp", "hopper_orientation_8.webp"]
    upright = pixels(Image.open(folder / "hopper.jpg"))
    for name in names:
        turned = pixels(decode((folder / name).read_bytes()).image)
        assert np.abs(turned - upright).mean() < 12, name
        assert np.abs(turned[::-1] - upright).mean() > 40, name


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP", "AVIF", "HEIF"])
def test_all_orientations_give_the_same_pixels(kind: str) -> None:
    """Each of the eight EXIF orientations, in each format that carries them, exactly once: TIFF and HEIF are turned by
    their decoders already."""
    if kind == "HEIF":
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.register_heif_opener()
    upright = photo()
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that a camera held so would have stored
    lossless = {"quality": 95} if kind in ("JPEG", "AVIF", "HEIF") else {"lossless": True} if kind == "WEBP" else {}
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        turn = undo.get(orientation)
        stored = upright if turn is None else upright.transpose(Image.Transpose(turn))
        picture = decode(encoded(stored, kind, exif=exif.tobytes(), **lossless))
        assert (picture.width, picture.height) == upright.size, orientation
        difference = np.abs(pixels(picture.image) - pixels(upright))
        assert difference.mean() < (6 if lossless.get("quality") else 0.01), orientation


def test_benchmark_decoding_keeps_what_is_stored() -> None:
    """Published numbers were computed without EXIF rotation and without white under transparency."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image = photo()
    assert np.array_equal(pixels(decode_for_benchmark(encoded(image, exif=exif))), pixels(image))
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert decode_for_benchmark(encoded(clear)).getpixel((0, 0)) == (10, 20, 30)
    with pytest.raises(ImageError, match="not an image"):
        decode_for_benchmark(b"not an image at all")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_is_composited_over_white(mode: str) -> None:
    """Transparent parts are white, as viewers show them, whatever colour is stored under them; half is a half."""
    alpha = Image.fromarray(np.array([[0, 128, 255]], dtype=np.uint8))
    if mode == "PA":
        image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
        image.putalpha(alpha)
        image = image.convert("PA")
    else:
        image = Image.new(mode[:-1], (3, 1), 0)
        image.putalpha(alpha)
    rgb = to_rgb(image)
    assert pixels(rgb)[0].tolist() == [[255] * 3, [127] * 3, [0] * 3]


def test_premultiplied_alpha_is_understood() -> None:
    """RGBa and La hold colours already multiplied by alpha; taking them as they are would darken them twice."""
    white_at_half = Image.new("RGBA", (1, 1), (255, 0, 0, 128)).convert("RGBa")
    assert np.abs(pixels(to_rgb(white_at_half))[0, 0] - [255, 127, 127]).max() <= 1
    grey = Image.new("LA", (1, 1), (0, 128)).convert("La")
    assert np.abs(pixels(to_rgb(grey))[0, 0] - 127).max() <= 1


def test_transparent_palette_and_colour_keys_are_white() -> None:
    """The three ways in which PNG and GIF say "transparent" without an alpha channel."""
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([200, 0, 0, 0, 0, 200])
    palette.putpixel((1, 0), 1)
    plain = encoded(palette)
    by_index = encoded(palette, transparency=0)
    by_alphas = encoded(palette, transparency=bytes([0, 255]))
    gif = encoded(palette, "GIF", transparency=0)
    assert pixels(decode(plain).image).tolist() == [[[200, 0, 0], [0, 0, 200]]]
    for data in (by_index, by_alphas, gif):
        assert pixels(decode(data).image).tolist() == [[[255, 255, 255], [0, 0, 200]]]
    for mode, key in (("RGB", (0, 0, 0)), ("L", 0)):
        assert pixels(decode(encoded(Image.new(mode, (1, 1)), transparency=key)).image).tolist() == [[[255] * 3]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_a_16_bit_gradient_stays_a_gradient(kind: str) -> None:
    """Pillow's own convert clips 16 bits at 255, which turns scans and astronomy white."""
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None, :].repeat(2, axis=0)
    image = Image.fromarray(ramp)
    rgb = pixels(decode(encoded(image, kind)).image)
    assert np.abs(rgb[0, :, 0] - np.arange(256)).max() <= 1
    assert (rgb[..., 0] == rgb[..., 1]).all()


def test_other_deep_modes_are_scaled() -> None:
    """Floats of 0 to 1 (HDR, depth) and 32-bit integers outside of any known range keep their shades; NaN is black."""
    ramp = np.linspace(0, 1, 5, dtype=np.float32)[None, :]
    assert pixels(decode(encoded(Image.fromarray(ramp), "TIFF")).image)[0, :, 0].tolist() == [0, 64, 128, 191, 255]
    spread = np.array([[-1000, 0, 1000]], dtype=np.int32)
    assert pixels(decode(encoded(Image.fromarray(spread), "TIFF")).image)[0, :, 0].tolist() == [0, 128, 255]
    broken = np.array([[np.nan, 0, 255]], dtype=np.float32)
    assert pixels(decode(encoded(Image.fromarray(broken), "TIFF")).image)[0, :, 0].tolist() == [0, 0, 255]
    flat = np.full((1, 2), 7_000_000, dtype=np.int32)
    assert pixels(decode(encoded(Image.fromarray(flat), "TIFF")).image)[0, 0, 0] in (0, 255)


def test_a_16_bit_transparent_grey_is_white() -> None:
    """tRNS in a 16-bit PNG names a 16-bit value; it has to be compared before scaling."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 0, 0, 0, 0)
    row = zlib.compress(b"\0" + struct.pack(">HH", 300, 20000))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"tRNS", struct.pack(">H", 300)), chunk(b"IDAT", row), chunk(b"IEND", b""))
    )
    assert pixels(decode(data).image)[0, :, 0].tolist() == [255, 78]


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr", "HSV", "L", "1"])
def test_other_colour_spaces_become_rgb(mode: str) -> None:
    """The picture must keep its colours, not only its size: an inverted CMYK would fail by hundreds."""
    image = photo()
    if mode == "LAB":
        from PIL import ImageCms

        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        stored = ImageCms.applyTransform(image, to_lab)
        assert stored is not None
    else:
        stored = image.convert(mode)
    expected = image.convert(mode).convert("RGB") if mode in ("L", "1") else image
    rgb = to_rgb(stored)
    assert rgb.mode == "RGB"
    assert np.abs(pixels(rgb) - pixels(expected)).mean() < 6


def test_cmyk_files(shared_data: Path) -> None:
    """Adobe writes CMYK JPEGs inverted. The samples are red in one corner and black in the opposite one."""
    image = photo()
    for kind in ("JPEG", "TIFF"):
        rgb = decode(encoded(image.convert("CMYK"), kind)).image
        assert np.abs(pixels(rgb) - pixels(image)).mean() < 8
    folder = shared_data / "awkward_images"
    for name in ("pil_sample_cmyk.jpg", "tiff_strip_cmyk_jpeg.tif"):
        corners = pixels(decode((folder / name).read_bytes()).image)[[0, -1], [0, -1]]
        assert np.abs(corners - [[255, 0, 0], [0, 0, 0]]).max() < 60, name


def test_of_an_animation_the_first_frame() -> None:
    """A gallery shows and embeds one picture a file, the one that a viewer starts with."""
    red, blue = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    for kind in ("GIF", "PNG", "WEBP", "TIFF", "MPO"):
        data = encoded(red, kind, save_all=True, append_images=[blue])
        assert np.abs(pixels(decode(data).image)[4, 4] - [255, 0, 0]).max() <= 5, kind


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "HEIF", "JPEG2000", "PPM"])
@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
def test_a_truncated_file_is_an_error(kind: str, share: float) -> None:
    """An interrupted copy must be reported, never embedded as a picture with a grey rest."""
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(ImageError, match=r"truncated|damaged"):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"optimize": True}], ids=["4:2:0", "4:4:4", "optimized"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_of_a_truncated_jpeg_there_is_what_is_there(mode: str, options: dict[str, Any], orientation: int) -> None:
    """Upright, without a grey rest, marked, and of the size that the file says it has."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    whole = photo(160, 120, seed=1).convert(mode)
    data = encoded(whole, "JPEG", quality=90, exif=exif, **options)
    begin = data.rindex(b"\xff\xda")
    heights = []
    for share in (0.3, 0.5, 0.8):
        cut = data[: begin + int((len(data) - begin) * share)]
        picture = decode(cut)
        assert picture.damaged
        assert decode_fast(cut, 64) == dataclasses.replace(picture, image=picture.image)
        upright = whole.transpose(Image.Transpose.ROTATE_270) if orientation == 6 else whole
        assert (picture.width, picture.height) == upright.size
        stored = picture.image.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else picture.image
        assert stored.width == 160
        assert 16 <= stored.height < 120
        assert stored.height % 8 == 0
        expected = pixels(whole.convert("RGB"))[: stored.height]
        assert np.abs(pixels(stored) - expected).mean(axis=(1, 2)).max() < 12  # not one row of it is grey
        heights.append(stored.height)
    assert heights == sorted(heights)
    assert not decode(data).damaged


def test_a_truncated_progressive_jpeg_is_less_sharp() -> None:
    """Its first scans hold all of the picture at little detail."""
    whole = photo(160, 120, seed=1)
    data = encoded(whole, "JPEG", quality=90, progressive=True)
    picture = decode(data[: int(len(data) * 0.7)])
    assert picture.damaged
    assert picture.image.size == (160, 120)
    assert np.abs(pixels(picture.image) - pixels(whole)).mean() < 20


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_only_its_end_marker_is_whole(mode: str, progressive: bool) -> None:
    """Careless tools cut two bytes off; no pixel is in them. A grey picture too is whole."""
    for image in (photo().convert(mode), Image.new("RGB", (60, 40), (128, 128, 128)).convert(mode)):
        data = encoded(image, "JPEG", progressive=progressive)
        assert data.endswith(b"\xff\xd9")
        for cut in (data[:-1], data[:-2]):
            picture = decode(cut)
            assert not picture.damaged
            assert np.array_equal(pixels(picture.image), pixels(decode(data).image))


def test_truncated_files_say_so() -> None:
    """ "truncated" sends a person to the copy, "damaged" to the disk."""
    data = encoded(photo(), "JPEG")
    with pytest.raises(ImageError, match=r"^truncated JPEG$") as caught:
        decode(data[: len(data) * 2 // 3])
    assert caught.value.stage == "decode"
    with pytest.raises(ImageError, match=r"^truncated JPEG$") as caught:
        decode(data[:30])
    assert caught.value.stage == "identify"


def test_probe_reads_a_header() -> None:
    """Sizes and formats without decoding; an empty file and a text are told apart."""
    assert probe(io.BytesIO(encoded(photo(), "JPEG"))) == Header("JPEG", 60, 40)
    assert probe(io.BytesIO(encoded(photo(), "WEBP"))) == Header("WEBP", 60, 40)
    for data, reason in ((b"", "empty file"), (b"plain text", "not an image"), (bytes(100), "not an image")):
        with pytest.raises(ImageError, match=reason) as caught:
            probe(io.BytesIO(data))
        assert caught.value.stage == "identify"


def test_programs_and_style_sheets_are_no_damaged_pictures() -> None:
    """Pillow tries whatever begins with a comment or a definition of C as an XBM picture."""
    for text in (
        b"/* reset */\nbody { margin: 0 }",
        b"#define PY_SSIZE_T_CLEAN\n#include <Python.h>",
        b"\n#define X 1\n",
    ):
        with pytest.raises(ImageError, match=r"^not an image$"):
            probe(io.BytesIO(text))
    assert probe(io.BytesIO(encoded(Image.new("1", (9, 4)), "XBM"))) == Header("XBM", 9, 4)


def test_the_pixel_limit_names_the_option() -> None:
    """The message must say the size, the limit and what raises it; at the limit itself a picture passes."""
    data = encoded(Image.new("1", (18000, 20000)))
    with pytest.raises(ImageError) as caught:
        probe(io.BytesIO(data))
    assert str(caught.value) == ("18000 x 20000 = 360 megapixels, over the limit of 200 (--max-pixels raises it)")
    with pytest.raises(ImageError, match="megapixels"):
        decode(data)
    # Pillow's own limits are 89 (warning) and 179 megapixels (error); ours alone counts here.
    assert probe(io.BytesIO(data), max_pixels=360_000_000) == Header("PNG", 18000, 20000)
    small = encoded(Image.new("1", (10, 10)))
    assert decode(small, max_pixels=100).width == 10
    with pytest.raises(ImageError, match=r"over the limit of 9\.9e-05"):
        decode(small, max_pixels=99)


def test_probe_does_not_read_a_film_into_memory() -> None:
    """Film files stand among photos. One that begins like no image costs its first bytes; one that a decoder would
    read whole is stopped at a bound."""

    class Film(io.BytesIO):
        """Ten endless gigabytes behind a chosen beginning."""

        def __init__(self, start: bytes) -> None:
            super().__init__()
            self.start, self.at, self.given = start, 0, 0

        def seekable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = 0, /) -> int:
            self.at = offset if whence == 0 else self.at + offset if whence == 1 else 10_000_000_000 + offset
            return self.at

        def tell(self) -> int:
            return self.at

        def read(self, size: int | None = -1, /) -> bytes:
            size = 10_000_000_000 - self.at if size is None or size < 0 else size
            data = self.start[self.at : self.at + size]
            data += bytes(size - len(data))
            self.at += size
            self.given += size
            return data

    for start in (b"\0\0\0\x20ftypisom\0\0\2\0", b"\x1aE\xdf\xa3", b"\0\0\1\xba", b"RIFF\xff\xff\xff\x7fAVI LIST"):
        film = Film(start)
        with pytest.raises(ImageError, match="not an image"):
            probe(film)
        assert film.given < 1_000_000
    limit = image_files._MAX_HEADER_BYTES
    try:
        image_files._MAX_HEADER_BYTES = 50_000_000
        film = Film(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
        with pytest.raises(ImageError, match="does not end within"):
            probe(film)
        assert film.given < 60_000_000
    finally:
        image_files._MAX_HEADER_BYTES = limit


def exif_with(**dates: str) -> Image.Exif:
    exif = Image.Exif()
    photo_ifd = exif.get_ifd(ExifTags.IFD.Exif)
    for name, text in dates.items():
        tag = getattr(ExifTags.Base, name)
        (exif if name == "DateTime" else photo_ifd)[tag] = text
    return exif


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ({}, None),
        ({"DateTime": "2001:02:03 04:05:06"}, datetime(2001, 2, 3, 4, 5, 6)),
        ({"DateTime": "2009:01:01 00:00:00", "DateTimeOriginal": "2001:02:03 04:05:06"}, datetime(2001, 2, 3, 4, 5, 6)),
        (
            {"DateTimeOriginal": "0000:00:00 00:00:00", "DateTimeDigitized": "1999:12:31 23:59:59"},
            datetime(1999, 12, 31, 23, 59, 59),
        ),
        ({"DateTimeOriginal": "2001-02-03T04:05:06.123+02:00"}, datetime(2001, 2, 3, 4, 5, 6)),
        ({"DateTimeOriginal": "2001:02:03 04:05"}, datetime(2001, 2, 3, 4, 5)),
        ({"DateTimeOriginal": "    :  :     :  :  "}, None),
        ({"DateTimeOriginal": "2001:13:03 04:05:06"}, None),
        ({"DateTimeOriginal": "0001:01:01 00:00:00"}, None),
        ({"DateTimeOriginal": "yesterday"}, None),
    ],
)
def test_when_it_was_taken(dates: dict[str, str], expected: datetime | None) -> None:
    """The first plausible of three dates; cameras with a dead battery and careless software write nonsense."""
    assert decode(encoded(photo(), "JPEG", exif=exif_with(**dates))).facts.taken_at == expected


def test_damaged_exif_does_not_spoil_a_good_picture() -> None:
    """EXIF is garnish: orientation and date may be lost with it, pixels not."""
    good = encoded(photo(), "JPEG", exif=exif_with(DateTime="2001:02:03 04:05:06"))
    start = good.index(b"Exif\0\0") + 6
    for damage in (bytes(8), b"\xff" * 20, b"II*\0\xff\xff\xff\x7f"):
        picture = decode(good[:start] + damage + good[start + len(damage) :])
        assert (picture.width, picture.height) == (60, 40)


@pytest.mark.parametrize(
    "raised",
    [
        MemoryError(),
        struct.error("x"),
        SyntaxError("x"),
        OverflowError("x"),
        RecursionError("x"),
        zlib.error("x"),
        EOFError(),
    ],
)
def test_whatever_a_decoder_raises_is_an_image_error(raised: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """One hostile file must not end a run over a million."""
    from PIL import PngImagePlugin

    def fail(self: object) -> None:
        raise raised

    data = encoded(photo())
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(ImageError, match="PNG") as caught:
        decode(data)
    assert caught.value.stage == "decode"


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "ICO", "TGA", "PCX"]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6),
    st.floats(0, 1),
)
def test_mutated_files_raise_nothing_else(kind: str, changes: list[tuple[float, int]], keep: float) -> None:
    """Property: any bytes give a Picture or an ImageError."""
    data = bytearray(encoded(photo(16, 12), kind))
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    if keep < 0.5:
        data = data[: int(len(data) * keep * 2)]
    with contextlib.suppress(ImageError):
        assert decode(bytes(data), max_pixels=1_000_000).image.mode == "RGB"


def test_warnings_are_silenced_in_the_decoding_thread_only() -> None:
    """Pillow warns about odd palettes and damaged EXIF. That must not reach a program, not even one that turns warnings
    into errors, and warnings of the program's own must still reach it, in the same thread and in others."""
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([200, 0, 0, 0, 0, 200])
    warns = encoded(palette, transparency=bytes([0, 128]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning):
            Image.open(io.BytesIO(warns)).convert("RGB")  # the case is real
        decode_for_benchmark(warns)
        with pytest.raises(UserWarning, match="my own"):
            warnings.warn("my own", stacklevel=1)
        caught: list[BaseException] = []
        with quietly():

            def warn_elsewhere() -> None:
                try:
                    warnings.warn("in another thread", stacklevel=1)
                except UserWarning as error:
                    caught.append(error)

            thread = threading.Thread(target=warn_elsewhere)
            thread.start()
            thread.join()
        assert len(caught) == 1


def test_many_threads_decode_at_once() -> None:
    """The loader decodes in a pool; registration of HEIC, filters and plugins must stand that, from a cold start."""
    script = """
import io, sys, warnings
from concurrent.futures import ThreadPoolExecutor
warnings.simplefilter("error")
from PIL import Image
from mmsearch.images import decode
import pillow_heif
file = io.BytesIO()
heif = pillow_heif.from_pillow(Image.new("RGB", (64, 64), "red")); heif.save(file)
tiff = io.BytesIO(); Image.new("CMYK", (64, 64)).save(tiff, "TIFF")
with ThreadPoolExecutor(8) as pool:
    sizes = list(pool.map(lambda data: decode(data).image.size, [file.getvalue(), tiff.getvalue()] * 40))
assert sizes == [(64, 64)] * 80
"""
    pytest.importorskip("pillow_heif")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_formats_that_start_programs_are_not_read() -> None:
    """Pillow would hand an EPS file to Ghostscript: an image folder must not run programs."""
    assert not FORMATS & {"EPS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR"}
    eps = encoded(photo(), "EPS")
    with pytest.raises(ImageError, match="not an image"):
        decode(eps)


def test_pillows_own_limits_are_left_alone() -> None:
    """A program that imports this library keeps its protection against bombs and its strictness about truncation."""
    from PIL import ImageFile

    decode(encoded(photo()))
    assert Image.MAX_IMAGE_PIXELS == 89478485
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def chunk(name: bytes, body: bytes, wrong: int = 0) -> bytes:
    """One of a PNG, with a checksum that may be wrong."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) ^ wrong)


_MUCH = zlib.compress(bytes(70_000_000))
_A_MILLION_ZEROS = zlib.compress(bytes(1_000_000))
_METADATA = {
    "zTXt": chunk(b"zTXt", b"comment\0\0" + _MUCH),
    "iTXt": chunk(b"iTXt", b"comment\0\1\0\0\0" + _MUCH),
    "iTXt, plain": chunk(b"iTXt", b"comment\0\0\0\0\0" + b"x" * 70_000_000),
    "tEXt": chunk(b"tEXt", b"comment\0" + b"x" * 70_000_000),
    "iCCP": chunk(b"iCCP", b"profile\0\0" + _MUCH),
    "iCCP of no kind": chunk(b"iCCP", b"profile\0\7" + zlib.compress(b"x")),
    "pHYs, checksum": chunk(b"pHYs", bytes(9), wrong=1),
    "tIME, checksum": chunk(b"tIME", bytes(7), wrong=1),
    "tEXt, checksum": chunk(b"tEXt", b"comment\0text", wrong=1),
    "cHRM, short": chunk(b"cHRM", b"abc"),
    "gAMA, short": chunk(b"gAMA", b""),
    "many texts": b"".join(chunk(b"zTXt", b"c%d\0\0" % each + _A_MILLION_ZEROS) for each in range(70)),
}


@pytest.mark.parametrize("name", list(_METADATA))
@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind them"])
def test_metadata_of_a_png_costs_no_picture(name: str, behind: bool) -> None:
    """Damaged or without measure, before or behind the pixels, whatever the chunk: pixels and date stay."""
    exif = exif_with(DateTime="2001:02:03 04:05:06")
    good = encoded(photo(), exif=exif)
    place = good.index(b"IEND" if behind else b"IDAT") - 4
    data = good[:place] + _METADATA[name] + good[place:]
    picture = decode(data)
    assert np.array_equal(pixels(picture.image), pixels(photo()))
    assert probe(io.BytesIO(data)) == Header("PNG", 60, 40)
    assert np.array_equal(pixels(decode_for_benchmark(data)), pixels(photo()))
    assert picture.facts.taken_at == datetime(2001, 2, 3, 4, 5, 6)


def test_a_wrong_checksum_of_the_pixels_of_a_png_is_damage() -> None:
    """What is mended is beside the picture, never in it."""
    data = bytearray(encoded(photo()))
    data[data.index(b"IDAT") + 20] ^= 0xFF
    with pytest.raises(ImageError, match=r"damaged PNG|truncated PNG"):
        decode(bytes(data))


@pytest.mark.parametrize(
    ("bits", "masks"),
    [
        (32, (0xFF0, 0xFF00000, 0)),
        (32, (0x3FF00000, 0xFFC00, 0x3FF)),
        (32, (0xFFE00000, 0x1FFC00, 0x3FF)),
        (32, (0xFF, 0xFF00, 0xFF0000)),
        (16, (0xF00, 0xF0, 0xF)),
        (16, (0x1F, 0x7E0, 0xF800)),
    ],
)
def test_bitmaps_say_where_their_colours_lie(bits: int, masks: tuple[int, int, int]) -> None:
    """BITFIELDS may lie anywhere in a pixel and be of any width; a mask of none is black. Rows from below and above."""
    wanted = pixels(photo(7, 5))
    values = np.zeros((5, 7), np.uint32)
    expected = np.zeros_like(wanted)
    for channel, mask in enumerate(masks):
        if mask:
            shift = (mask & -mask).bit_length() - 1
            level = np.rint(wanted[..., channel] * ((mask >> shift) / 255)).astype(np.uint32)
            values |= level << np.uint32(shift)
            expected[..., channel] = np.rint(level * (255 / (mask >> shift)))
    for height in (5, -5):
        stored = values[::-1] if height > 0 else values
        width_bytes = (7 * bits + 31) // 32 * 4
        rows = b"".join(row.astype(f"<u{bits // 8}").tobytes().ljust(width_bytes, b"\0") for row in stored)
        header = struct.pack("<2sIHHI", b"BM", 66 + len(rows), 0, 0, 66)
        header += struct.pack("<IiiHHIIiiII", 40, 7, height, 1, bits, 3, len(rows), 0, 0, 0, 0)
        data = header + struct.pack("<III", *masks) + rows
        assert np.abs(pixels(decode(data).image) - expected).max() <= 1
        with pytest.raises(ImageError, match=r"truncated BMP"):
            decode(data[:-20])


_OTHER_FILES = {
    b"FUJIFILMCCD-RAW 0201FF": "RAW (Fujifilm RAF)",
    b"IIU\0\x18\0\0\0": "RAW (Panasonic RW2)",
    b"IIRO\x08\0\0\0": "RAW (Olympus ORF)",
    b"FOVb\x01\0\x02\0": "RAW (Sigma X3F)",
    b"II\x1a\0\0\0HEAPCCDR": "RAW (Canon CRW)",
    b"\0\0\0\x18ftypcrx \0\0\0\1crx isom": "RAW (Canon CR3)",
    b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom": "film (MP4)",
    b"\0\0\0\x14ftypqt  \0\0\0\0qt  ": "film (QuickTime)",
    b"\0\0\0\x08wide\0\0\0\0mdat": "film (QuickTime)",
    b"\x1aE\xdf\xa3\x9fB\x86": "film (Matroska or WebM)",
    b"RIFF\0\0\1\0AVI LIST": "film (AVI)",
    b"RIFF\0\0\1\0WAVEfmt ": "sound (WAV)",
    b"ID3\4\0": "sound (MP3)",
    b"\xff\xfb\x90\x64": "sound (MP3)",
    b"fLaC\0\0\0": "sound (FLAC)",
    b"OggS\0\2": "sound (Ogg)",
    b"%PDF-1.7\n": "document (PDF)",
    b"PK\3\4\x14\0\6\0\x08\0\0\0!\0[Content_Types].xml word/document.xml": "document (Word)",
    b"PK\3\4\x14\0\0\0\0\0hello.txt": "archive (ZIP)",
    b"7z\xbc\xaf\x27\x1c\0\4": "archive (7-Zip)",
    b"\x1f\x8b\x08\0": "archive (gzip)",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "document (Microsoft Office, before 2007)",
    b"<!DOCTYPE html><html>": "web page",
    b"%!PS-Adobe-3.0 EPSF-3.0": "PostScript",
    b"8BPS\0\1\0\0\0\0\0\0\0\3\0\0\0\x10\0\0\0\x10\0\x18\0\3": "PSD of 24 bits per sample is not supported",
    b"\0\0\0\x18ftypmif1\0\0\0\0mif1heif\0\0\0\x10meta....unci": "without compression (unci) is not supported",
}


@pytest.mark.parametrize("head", list(_OTHER_FILES), ids=list(_OTHER_FILES.values()))
def test_what_is_no_picture_is_called_what_it_is(head: bytes) -> None:
    """ "not an image" sends a person looking for damage where there is a film, a drawing, a camera's raw data."""
    for data in (head, head + bytes(3000)):
        for read in (decode, lambda data: probe(io.BytesIO(data))):
            with pytest.raises(ImageError) as caught:
                read(data)
            assert _OTHER_FILES[head] in caught.value.reason
            assert caught.value.stage == "identify"
            assert "damaged" not in caught.value.reason


def test_a_reason_does_not_depend_on_what_was_read_before() -> None:
    """Plugins register themselves as they are needed, in any order and thread; what a person is told does not."""
    script = """
import io, itertools, json, random, sys
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
from mmsearch.errors import ImageError
from mmsearch.images import decode
order = random.Random(int(sys.argv[1]))
if order.random() < 0.5:
    import PIL.WebPImagePlugin, PIL.AvifImagePlugin, PIL.TiffImagePlugin  # as a program of somebody else may have
if order.random() < 0.5:
    import pillow_heif; pillow_heif.register_heif_opener()
def box(major, *rest): return (8 + 8 + 4 * len(rest)).to_bytes(4, "big") + b"ftyp" + major + bytes(4) + b"".join(rest)
files = [box(b"mif1", b"mif1", each) + bytes(200) for each in (b"heic", b"avif", b"heif", b"miaf")]
files += [box(each, each, b"mif1") + bytes(200) for each in (b"heic", b"avif", b"msf1", b"avis", b"hevc")]
for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM", "ICO", "TGA", "PCX", "DDS", "SGI"):
    file = io.BytesIO(); Image.new("RGB", (32, 32), "teal").save(file, kind); data = file.getvalue()
    files += [data[:len(data) * share // 8] for share in (1, 4, 7)] + [data[:4] + data[9:]]
def reason(place):
    try: return place, decode(files[place]).format
    except ImageError as error: return place, str(error)
places = list(range(len(files))); order.shuffle(places)
with ThreadPoolExecutor(1 + 3 * (int(sys.argv[1]) % 2)) as pool: print(json.dumps(sorted(pool.map(reason, places))))
"""
    found = [
        subprocess.run([sys.executable, "-c", script, str(seed)], capture_output=True, text=True, check=True).stdout
        for seed in range(4)
    ]
    assert found[0].count("HEIF") >= 3
    assert found[0].count("AVIF") >= 3
    assert len(set(found)) == 1


def test_libtiff_writes_nothing_to_stderr() -> None:
    """It writes a nameless line for each damaged strip, below Python, also in a server; our own lines still get
    through."""
    script = """
import io, random, sys
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
from mmsearch.errors import ImageError
from mmsearch.images import decode
def damaged(seed):
    chance, file = random.Random(seed), io.BytesIO()
    kind = ["tiff_lzw", "group4", "tiff_adobe_deflate", "packbits", "jpeg"][seed % 5]
    image = Image.effect_noise((64, 64), 50).convert("1" if kind == "group4" else "L")
    image.save(file, "TIFF", compression=kind)
    data = bytearray(file.getvalue())
    for _ in range(8): data[chance.randrange(8, len(data))] = chance.randrange(256)
    try: decode(bytes(data), max_pixels=1_000_000)
    except ImageError: return 1
    return 0
with ThreadPoolExecutor(4) as pool: print(sum(pool.map(damaged, range(200))))
print("our own", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 20
    assert done.stderr == "our own\n"


def with_aperture(data: bytes, *clap: int) -> bytes:
    """A HEIC or AVIF of one picture, with a property put in that says what is to be seen of it."""

    def grow(data: bytes, name: bytes, more: bytes) -> bytes:
        """More bytes at the end of a box."""
        place = data.index(name) - 4
        size = int.from_bytes(data[place : place + 4], "big")
        return (
            data[:place]
            + (size + len(more)).to_bytes(4, "big")
            + data[place + 4 : place + size]
            + more
            + data[place + size :]
        )

    moved = data.index(b"mdat") + 4
    properties = data[data.index(b"ipco") + 4 : data.index(b"ipma") - 4]
    count, place = 0, 0
    while place < len(properties):
        place += int.from_bytes(properties[place : place + 4], "big")
        count += 1
    data = grow(data, b"ipma", bytes([0x80 | (count + 1)]))
    associations = data.index(b"ipma") + 4 + 8 + 2
    data = data[:associations] + bytes([data[associations] + 1]) + data[associations + 1 :]
    data = grow(data, b"ipco", struct.pack(">I4sIIIIiIiI", 40, b"clap", *clap))
    for outer in (b"iprp", b"meta"):
        place = data.index(outer) - 4
        data = (
            data[:place] + (int.from_bytes(data[place : place + 4], "big") + 41).to_bytes(4, "big") + data[place + 4 :]
        )
    assert data.count(moved.to_bytes(4, "big")) == 1
    return data.replace(moved.to_bytes(4, "big"), (moved + 41).to_bytes(4, "big"))


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_only_the_clean_aperture_is_seen(kind: str) -> None:
    """Cameras store what their coder needs, and say which part of it is the picture; offsets are of its centre."""
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    image = photo(64, 48)
    data = encoded(image, kind, quality=95)
    cut = with_aperture(data, 40, 1, 30, 1, 2, 1, -3, 1)  # 40 x 30 pixels, from 14 and 6
    picture = decode(cut)
    assert (picture.width, picture.height) == (40, 30)
    assert np.abs(pixels(picture.image) - pixels(image.crop((14, 6, 54, 36)))).mean() < 6
    header = probe(io.BytesIO(cut))
    assert (header.width, header.height) == (40, 30)


@pytest.mark.parametrize("clap", [(0, 1, 30, 1, 0, 1, 0, 1), (40, 0, 30, 1, 0, 1, 0, 1), (400, 1, 30, 1, 0, 1, 0, 1)])
def test_an_aperture_that_makes_no_sense_hides_nothing(clap: tuple[int, ...]) -> None:
    """None of no pixels, by nothing, or larger than the picture."""
    assert decode(with_aperture(encoded(photo(64, 48), "AVIF"), *clap)).image.size == (64, 48)


def dng(preview: Image.Image | None, orientation: int, date: str, seen: Image.Image | None = None) -> bytes:
    """A camera's raw data of 640 x 480 and beside them a picture in a directory of its own, as DNG holds them.

    seen: what the sensor saw, through its red, green and blue filters; by default nothing but noise."""
    sensor = np.random.default_rng(0).integers(0, 4096, (480, 640), dtype=np.uint16).tobytes()
    if seen is not None:
        linear = (np.asarray(seen, np.float64) / 255) ** 2.2
        mosaic = linear[:, :, 1].copy()
        mosaic[::2, ::2], mosaic[1::2, 1::2] = linear[::2, ::2, 0], linear[1::2, 1::2, 2]
        sensor = (4000 * mosaic + 20).astype(np.uint16).tobytes()
    beside = b"" if preview is None else encoded(preview, "JPEG", quality=95)
    text = date.encode() + b"\0"
    size = preview.size if preview else (0, 0)
    begin = 8 + 3 * (2 + 30 * 12 + 4)

    def directory(place: int, tags: dict[int, tuple[int, int, int]], following: int = 0) -> bytes:
        body = struct.pack("<H", len(tags))
        for tag, (kind, count, value) in sorted(tags.items()):
            body += struct.pack("<HHII", tag, kind, count, value)
        return body + struct.pack("<I", following)

    first, second = 8, 8 + 400
    shared = {
        254: (4, 1, 0), 256: (4, 1, 640), 257: (4, 1, 480), 258: (3, 1, 16), 259: (3, 1, 1), 262: (3, 1, 32803),
        271: (2, 4, int.from_bytes(b"Ours", "little")), 272: (2, 4, int.from_bytes(b"One\0", "little")),
        273: (4, 1, begin), 274: (3, 1, orientation), 277: (3, 1, 1), 278: (4, 1, 480), 279: (4, 1, len(sensor)),
        306: (2, 20, begin + len(sensor)), 33421: (3, 2, 2 | 2 << 16), 33422: (1, 4, 0x02010100),
        50706: (1, 4, 0x0401), 50717: (4, 1, 4095),
    }  # fmt: skip
    where = begin + len(sensor) + len(text)
    if preview is not None:
        shared[330] = (4, 1, second)
    data = b"II*\0" + struct.pack("<I", first) + directory(first, shared)
    other = {
        254: (4, 1, 1), 256: (4, 1, size[0]), 257: (4, 1, size[1]), 258: (3, 1, 8), 259: (3, 1, 7), 262: (3, 1, 6),
        273: (4, 1, where), 277: (3, 1, 3), 278: (4, 1, size[1]), 279: (4, 1, len(beside)),
    }  # fmt: skip
    data = data.ljust(second, b"\0") + directory(second, other)
    return data.ljust(begin, b"\0") + sensor + text + beside


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_raw_data_are_seen_by_the_picture_beside_them(orientation: int) -> None:
    """Upright as the data are, of the size of the photograph, with the date of the container."""
    pytest.importorskip("rawpy")
    preview = photo(600, 450)
    data = dng(preview, orientation, "2001:02:03 04:05:06")
    picture = decode(data)
    turned = {
        1: preview,
        3: preview.rotate(180),
        6: preview.rotate(-90, expand=True),
        8: preview.rotate(90, expand=True),
    }
    assert picture.format == "RAW"
    assert np.abs(pixels(picture.image) - pixels(turned[orientation])).mean() < 6
    assert (picture.width, picture.height) == ((640, 480) if orientation < 5 else (480, 640))
    assert picture.facts.taken_at == datetime(2001, 2, 3, 4, 5, 6)
    assert probe(io.BytesIO(data)) == Header("RAW", 640, 480)
    assert decode_fast(data, 64) == dataclasses.replace(picture, image=picture.image)


def test_how_large_the_picture_beside_raw_data_must_be_is_for_the_model_to_say() -> None:
    """Twice what it takes; to be shown any will do."""
    pytest.importorskip("rawpy")
    data = dng(photo(600, 450), 1, "2001:02:03 04:05:06")
    for read in (decode, partial(decode_fast, at_least=8), decode_for_benchmark):
        for side, size in ((450, (600, 450)), (451, (640, 480))):
            picture = read(data, raw_side=side)
            assert not isinstance(picture, StoredImage)
            assert (picture if isinstance(picture, Image.Image) else picture.image).size == size
    small = dng(photo(160, 120), 1, "2001:02:03 04:05:06")
    assert make_thumbnail(small, 64).size == (64, 48)
    assert probe(io.BytesIO(small)) == Header("RAW", 640, 480)


@pytest.mark.parametrize(("side", "size"), [(225, (600, 450)), (226, (640, 480))])
def test_raw_data_are_embedded_by_a_picture_of_twice_the_pixels_that_the_model_takes(
    side: int, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rawpy")
    monkeypatch.setattr(FakeImages, "fast", SimpleNamespace(size=(side, side), fit=np.asarray))
    (tmp_path / "a.dng").write_bytes(dng(photo(600, 450), 1, "2001:02:03 04:05:06"))
    file = SourceFile(str(tmp_path), "a.dng", None, None)
    for exact in (False, True):
        with Workers(1, "test") as workers:
            (loaded,) = load([file], lambda: FakeEncoder().image, workers, 1, options=LoadOptions(exact=exact))
        assert loaded.error is None
        if not exact:
            assert loaded.pixels is not None
            assert loaded.pixels.shape == (*size[::-1], 3)


@pytest.mark.parametrize("preview", [photo(160, 120), None], ids=["beside a stamp", "alone"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_raw_data_beside_a_stamp_are_developed(preview: Image.Image | None, orientation: int) -> None:
    """Never a row of 160 x 120: what the sensor saw, in its colours, upright, half as large where that is enough."""
    pytest.importorskip("rawpy")
    seen = photo(640, 480)
    data = dng(preview, orientation, "2001:02:03 04:05:06", seen)
    upright = seen.rotate(-90, expand=True) if orientation == 6 else seen
    for side, factor in ((448, 1), (240, 2)):
        picture = decode(data, raw_side=side)
        assert (picture.width, picture.height) == upright.size
        assert picture.image.size == (upright.width // factor, upright.height // factor)
        assert picture.facts.taken_at == datetime(2001, 2, 3, 4, 5, 6)
        developed = pixels(picture.image.resize((upright.width // 8, upright.height // 8), Image.Resampling.BOX))
        expected = pixels(upright.resize((upright.width // 8, upright.height // 8), Image.Resampling.BOX))
        for channel in range(3):
            assert np.corrcoef(developed[..., channel].ravel(), expected[..., channel].ravel())[0, 1] > 0.9
    fast = decode_fast(data, 64)
    assert not isinstance(fast, StoredImage)
    assert np.array_equal(pixels(fast.image), pixels(decode(data).image))


def test_raw_data_that_are_cut_short_are_no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """LibRaw makes a dark one of them, and says nothing; and without the library the reason says how to get it."""
    pytest.importorskip("rawpy")
    whole = dng(None, 1, "2001:02:03 04:05:06", photo(640, 480))
    noise = dng(None, 1, "2001:02:03 04:05:06")
    begin = noise.index(np.random.default_rng(0).integers(0, 4096, (480, 640), dtype=np.uint16).tobytes()[:64])
    for data in (
        whole[: len(whole) * 2 // 3],
        noise[: begin + 300 * 1280] + bytes(180 * 1280) + noise[begin + 480 * 1280 :],
    ):
        # Older releases of rawpy read all of it to tell its size.
        with pytest.raises(ImageError, match=r"^(truncated RAW|RAW \(DNG\) that LibRaw cannot read)$"):
            decode(data)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(ImageError, match=r"^RAW \(DNG\), read through: pip install 'mmsearch\[raw\]'$"):
        decode(dng(photo(600, 450), 1, "2001:02:03 04:05:06"))


@pytest.mark.parametrize("size", [(8, 8), (64, 40), (37, 101), (600, 400), (1500, 1000), (301, 7)])
@pytest.mark.parametrize("container", [False, True])
def test_jpeg_xl_tells_its_size_before_it_is_decoded(size: tuple[int, int], container: bool) -> None:
    """Its library decodes as it opens; what is over the limit must not get that far."""
    pytest.importorskip("pillow_jxl")
    image = photo(*size)
    data = encoded(image, "JXL", lossless=True, use_container=container)
    assert probe(io.BytesIO(data)) == Header("JXL", *size)
    picture = decode(data)
    assert np.array_equal(pixels(picture.image), pixels(image))
    with pytest.raises(ImageError, match="over the limit"):
        decode(data, max_pixels=size[0] * size[1] - 1)
    with pytest.raises(ImageError, match=r"damaged|truncated"):
        decode(data[: len(data) // 2])


def test_jpeg_xl_without_its_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pillow_jxl")
    data = encoded(photo(), "JXL")
    monkeypatch.setitem(sys.modules, "pillow_jxl.JpegXLImagePlugin", None)
    with pytest.raises(ImageError, match=r"^JPEG XL, .*pip install 'mmsearch\[jxl\]'$"):
        decode(data)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(12, 16), (12, 16, 3)])
def test_tiffs_of_any_width_and_order(dtype: str, shape: tuple[int, ...]) -> None:
    """Classic and big, of both byte orders; cut off, no pixel of them is black instead."""
    tifffile = pytest.importorskip("tifffile")
    shades = np.linspace(0, 1, int(np.prod(shape))).reshape(shape)
    top = 1 if dtype.startswith("float") else np.iinfo(dtype).max
    stored = (np.round(shades * 32767) if dtype == "int16" else shades * top).astype(dtype)
    expected = np.rint(shades * (255 if dtype != "int16" else 255 * 32767 / 65535))
    for big in (False, True):
        for order in "<>":
            file = io.BytesIO()
            kind = "minisblack" if len(shape) == 2 else "rgb"
            tifffile.imwrite(file, stored, bigtiff=big, byteorder=order, photometric=kind)
            picture = decode(file.getvalue())
            found = pixels(picture.image)[..., 0] if len(shape) == 2 else pixels(picture.image)
            assert np.abs(found - expected).max() <= 1, (big, order)
            assert probe(io.BytesIO(file.getvalue())) == Header("TIFF", 16, 12)
            with pytest.raises(ImageError):
                decode(file.getvalue()[:-40])


def test_a_tiff_that_needs_a_library_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is only not supported is not called damaged."""
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((4, 4, 3), np.float32), photometric="rgb")
    with pytest.raises(ImageError, match=r"^(damaged|truncated) TIFF"):  # with the library, what is damaged is damaged
        decode(file.getvalue()[:-1])
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ImageError) as caught:
        decode(file.getvalue())
    assert caught.value.reason == "TIFF of 3 x 32-bit float samples, read through: pip install 'mmsearch[tiff]'"


def test_large_pictures_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 200 megapixels takes gigabytes, and each thread may have one. One that hangs is passed by."""
    from PIL import PngImagePlugin

    at_once, most, lock = 0, 0, threading.Lock()

    def load(self: object) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.02)
        with lock:
            at_once -= 1
        raise OSError("no pixels")

    def read(data: bytes) -> None:
        with pytest.raises(ImageError, match="no pixels"):
            decode(data)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    large, small = encoded_header(9000, 8000), encoded_header(900, 800)
    for data, expected in ((large, 1), (small, 4)):
        most = 0
        threads = [threading.Thread(target=read, args=(data,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (most == 1) == (expected == 1)
    monkeypatch.setattr(decoding, "_SECONDS_IN_TURN", 0.05)
    with decoding._large:
        read(large)


def encoded_header(width: int, height: int) -> bytes:
    """A PNG that says a size, and holds nothing."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def padded_with_black(picture: Image.Image, width: int, height: int) -> bytes:
    """A JPEG of the upper left part of a picture, stored as a phone's own encoder does: black beyond its edges."""
    whole = np.array(picture)
    whole[height:] = 0
    whole[:, width:] = 0
    stream = io.BytesIO()
    Image.fromarray(whole).save(stream, "JPEG", quality=95, subsampling=0)
    data = bytearray(stream.getvalue())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


@pytest.mark.parametrize("scale", [8, 4, 2])
def test_what_stands_beyond_a_jpeg_is_not_mixed_into_its_edges(scale: int) -> None:
    """Its last row and column are like those before them, at every scale."""
    rows, columns = np.mgrid[:1024, :1024]
    picture = Image.fromarray(np.stack([200 - rows // 20, 150 + columns // 20, 180 + 0 * rows], 2).astype(np.uint8))
    picture_of_odd_size = padded_with_black(picture, 1017, 1019)
    found = decode_fast(picture_of_odd_size, 1017 // scale)
    assert isinstance(found, StoredImage)
    assert (found.scale, found.width, found.height) == (scale, 1017, 1019)
    pixels = found.pixels.astype(int)
    assert np.abs(pixels[-1] - pixels[-2]).max() <= 2
    assert np.abs(pixels[:, -1] - pixels[:, -2]).max() <= 2


def test_what_is_full_of_detail_is_not_decoded_at_a_fraction() -> None:
    """Stripes and text would come out as other noise; a smooth picture of that size is decoded at an eighth."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, size=(400, 400, 3), dtype=np.uint8))
    checks = noise.resize((1600, 1600), Image.Resampling.NEAREST)
    smooth = noise.crop((0, 0, 20, 20)).resize((1600, 1600), Image.Resampling.BICUBIC)
    scales = {}
    for name, picture in {"checks": checks, "smooth": smooth}.items():
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=95)
        found = decode_fast(stream.getvalue(), 200)
        assert isinstance(found, StoredImage)
        scales[name] = found.scale
    assert scales == {"checks": 1, "smooth": 8}
