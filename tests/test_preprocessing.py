"""The quick way to pixels does what open_clip's own transform does, for every geometry, orientation and file."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmsearch.encoders.preprocessing import Preprocessing, turned
from mmsearch.errors import ImageError
from mmsearch.images import DecodedImage, StoredImage, decode, decode_fast
from mmsearch.images.exif import TURNS
from tests.test_parity import jpeg, photo

USUAL = {
    "mean": (0.48, 0.46, 0.41),
    "std": (0.27, 0.26, 0.28),
    "interpolation": "bicubic",
    "mode": "RGB",
    "fill_color": 0,
}
GEOMETRIES: dict[str, dict[str, Any]] = {
    "shortest": {"size": 64, "resize_mode": "shortest"},
    "squash": {"size": (64, 64), "resize_mode": "squash", "interpolation": "bilinear"},
    "longest": {"size": (64, 64), "resize_mode": "longest", "fill_color": 77},
    "not square": {"size": (64, 96), "resize_mode": "shortest"},
    "longest, not square": {"size": (96, 40), "resize_mode": "longest", "interpolation": "bilinear"},
}


def decibels(preprocessing: Preprocessing, data: bytes, at_least: int) -> float:
    exact, fast = decode(data), decode_fast(data, at_least)
    assert (exact.width, exact.height, exact.facts) == (fast.width, fast.height, fast.facts)
    assert (exact.format, exact.orientation) == (fast.format, fast.orientation)
    if isinstance(fast, DecodedImage):
        pixels = preprocessing.fit(fast.image)
    else:
        pixels = preprocessing.fit_array(fast.pixels, fast.scale, (fast.width, fast.height), fast.orientation)
    assert pixels.shape == (*preprocessing.size, 3)
    assert pixels.dtype == np.uint8
    return float(10 * np.log10(255**2 / max(preprocessing.error(pixels, preprocessing.reference(exact.image)), 1e-9)))


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("size", [(200, 150), (101, 300), (64, 64), (37, 41), (650, 801), (30, 900)])
def test_every_geometry_and_orientation(geometry: str, size: tuple[int, int]) -> None:
    """To 50 dB, to which 45 are kept where the JPEG is decoded at a fraction of its size."""
    preprocessing = Preprocessing({**USUAL, **GEOMETRIES[geometry]})
    for orientation in range(1, 9):
        data = jpeg(orientation, size, orientation)
        found = decode_fast(data, 3 * 96)
        scaled = isinstance(found, StoredImage) and found.scale > 1
        assert decibels(preprocessing, data, 3 * 96) > (45 if scaled else 50), (geometry, orientation)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_pillow_images_come_out_to_the_last_bit(geometry: str) -> None:
    """8 bits and a normalisation afterwards are the same numbers as open_clip's transform gives in one go."""
    preprocessing = Preprocessing({**USUAL, **GEOMETRIES[geometry]})
    image = photo(1, (123, 77))
    normalised = preprocessing.normalise(torch.from_numpy(preprocessing.fit(image)[None]))
    assert np.array_equal(normalised[0].numpy(), preprocessing.reference(image))


def test_turns_are_those_of_pillow() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    for orientation in range(1, 9):
        image = Image.fromarray(pixels)
        upright = image.transpose(TURNS[orientation]) if orientation > 1 else image
        found = turned(torch.from_numpy(pixels).permute(2, 0, 1), orientation).permute(1, 2, 0)
        assert np.array_equal(found.numpy(), np.asarray(upright)), orientation


@pytest.mark.parametrize(
    ("size", "at_least", "scale"),
    [((800, 600), 300, 2), ((800, 600), 301, 1), ((801, 603), 150, 4), ((4000, 3000), 375, 8), ((20, 20), 96, 1)],
)
def test_the_fraction_at_which_a_jpeg_is_decoded(size: tuple[int, int], at_least: int, scale: int) -> None:
    """The smallest of those that keep the shorter side long enough; odd sizes are rounded up."""
    picture = decode_fast(jpeg(1, size), at_least)
    assert isinstance(picture, StoredImage)
    assert picture.scale == scale
    assert picture.pixels.shape == (-(-size[1] // scale), -(-size[0] // scale), 3)
    assert (picture.width, picture.height) == size


def test_the_edge_of_a_scaled_picture_stays_where_it_is() -> None:
    """803 columns at a quarter are 201, of which the last stands for three: without that, 37 dB instead of 50."""
    preprocessing = Preprocessing({**USUAL, "size": 64, "resize_mode": "shortest"})
    assert min(decibels(preprocessing, jpeg(seed, (803, 801)), 192) for seed in range(4)) > 48


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_print_jpegs(mode: str) -> None:
    """Grey goes the quick way, CMYK through Pillow, which knows its inverted relatives."""
    stream = io.BytesIO()
    photo(1, (120, 90)).convert(mode).save(stream, "JPEG")
    found = decode_fast(stream.getvalue(), 96)
    assert isinstance(found, StoredImage if mode == "L" else DecodedImage)
    preprocessing = Preprocessing({**USUAL, "size": 32, "resize_mode": "shortest"})
    assert decibels(preprocessing, stream.getvalue(), 96) > 60


@pytest.mark.parametrize("cut", [0.3, 0.9, 0.999])
def test_of_a_truncated_jpeg_there_is_the_same_either_way(cut: float) -> None:
    data = jpeg(1, (300, 200))
    data = data[: int(len(data) * cut)]
    slow, fast = decode(data), decode_fast(data, 96)
    assert slow.damaged
    assert isinstance(fast, DecodedImage)
    assert np.array_equal(np.asarray(slow.image), np.asarray(fast.image))
    assert replace(fast, image=slow.image) == slow


def test_a_ribbon_is_not_blown_up() -> None:
    """1 x 20,000 pixels: only its middle is resized, to the same pixels as if all of it had been."""
    preprocessing: Any = Preprocessing({**USUAL, "size": 32, "resize_mode": "shortest"})
    ribbon = photo(1, (4, 900))
    cropped = preprocessing.reference(ribbon)
    assert preprocessing._middle(ribbon).size == (4, 32)
    whole = preprocessing._transform(ribbon).numpy()
    assert np.abs(cropped - whole).max() < 0.02
    long = photo(2, (1, 20_000))
    assert preprocessing.fit(long).shape == (32, 32, 3)


def refusal(read: Callable[[], object]) -> tuple[str, str] | None:
    try:
        read()
    except ImageError as error:
        return error.stage, error.reason
    return None


def test_real_and_awkward_files(shared_data: Path) -> None:
    """What the exact route refuses the quick one refuses, for the same reason; what it reads comes out the same."""
    preprocessing = Preprocessing({**USUAL, "size": 64, "resize_mode": "shortest"})
    files = [
        file for folder in ("awkward_images", "coco_val2017/images") for file in (shared_data / folder).rglob("*.*")
    ]
    turbo = 0
    for file in files:
        data = file.read_bytes()
        refusals = [refusal(lambda: decode(data)), refusal(lambda: decode_fast(data, 192))]  # noqa: B023 - called at once
        assert refusals[0] == refusals[1], file
        if refusals[0] is not None:
            continue
        turbo += isinstance(decode_fast(data, 192), StoredImage)
        assert decibels(preprocessing, data, 192) > 44, file
    assert len(files) > 60
    assert turbo > 20
