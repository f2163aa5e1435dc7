"""Real files that were once read wrongly, held to what is right."""

import io
import json
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch import images
from mmsearch.embedding import embed
from mmsearch.errors import ImageError, SourceError
from mmsearch.sources import ColumnNames, read_captions
from tests.conftest import Command
from tests.fakes import FakeEncoder


@pytest.fixture
def found(shared_data: Path) -> Path:
    return shared_data / "found"


def reason(file: Path) -> str:
    """Why a file is no picture."""
    with pytest.raises(ImageError) as caught:
        images.decode(file.read_bytes())
    with file.open("rb") as opened:
        if caught.value.stage == "decode":  # the header may be whole
            assert images.probe(opened).format == "RAW"
            return caught.value.reason
        with pytest.raises(ImageError) as probed:
            images.probe(opened)
    assert str(probed.value) == str(caught.value)
    return caught.value.reason


def test_pngs_are_read_without_their_bad_metadata(found: Path) -> None:
    """A text that inflates without end, a wrong checksum beside the pixels."""
    pictures = [images.decode((found / name).read_bytes()) for name in ("m_bigztxt.png", "m_crc_anc.png")]
    assert [(picture.format, picture.width, picture.height) for picture in pictures] == [("PNG", 384, 288)] * 2
    assert all(np.asarray(picture.image).std() > 20 for picture in pictures)


def test_a_bitmap_with_unusual_masks_is_read(found: Path) -> None:
    """The picture of the suite it comes from: red, green and blue fade from left to right over each other."""
    picture = images.decode((found / "rgb32bf.bmp").read_bytes())
    assert (picture.format, picture.width, picture.height) == ("BMP", 127, 64)
    shades = np.asarray(picture.image).reshape(-1, 3)
    assert shades.max(axis=0).tolist() == [255, 255, 255]
    assert len(np.unique(shades, axis=0)) > 100


def test_what_is_not_supported_is_not_called_damaged(found: Path) -> None:
    """Twelve bits per sample, HEIF without compression: nothing is wrong with such a file."""
    assert "12 bits per sample" in reason(found / "m_12.jpg")
    assert "not supported" in reason(found / "m_12.jpg")
    unci = reason(found / "uncompressed_comp_RGB.heif")
    avif = io.BytesIO()
    Image.new("RGB", (8, 8)).save(avif, "AVIF")
    images.decode(avif.getvalue())
    assert reason(found / "uncompressed_comp_RGB.heif") == unci
    assert "without compression" in unci


def test_of_a_truncated_jpeg_there_is_what_is_there(found: Path) -> None:
    """Of 2,225 rows the file holds 32 that are whole; the rest would be grey."""
    picture = images.decode((found / "sharp_truncated.jpg").read_bytes())
    assert picture.damaged
    assert (picture.width, picture.height, picture.image.size) == (2725, 2225, (2725, 32))
    assert not (np.asarray(picture.image) == 128).all(axis=(1, 2)).any()


def test_a_jpeg_without_its_end_marker_is_whole(found: Path) -> None:
    """Nothing that can be seen is missing, so it is not called damaged."""
    picture = images.decode((found / "m_noeoi.jpg").read_bytes())
    assert (picture.damaged, picture.image.size) == (False, (384, 288))


def test_a_damaged_picture_is_found_and_said_to_be_damaged(found: Path, tmp_path: Path, mmsearch: Command) -> None:
    """In the row, in a hit, in `info`, and a filter leaves it out or lists it; so is a second copy of it."""
    for name in ("sharp_truncated.jpg", "m_noeoi.jpg"):
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_bytes((found / name).read_bytes())
    gallery = tmp_path / "gallery"
    for folder in ("one", "two"):
        assert mmsearch("embed", tmp_path / folder, "-g", gallery, "--model", "fake").code == 0
    lines = mmsearch("query", "red", "-g", gallery, "--format", "jsonl").out.splitlines()
    hits = {json.loads(line)["file"]: json.loads(line) for line in lines}
    assert {Path(file).name: hit["damaged"] for file, hit in hits.items()} == {
        "sharp_truncated.jpg": True,
        "m_noeoi.jpg": False,
    }
    assert {(hit["width"], hit["height"]) for hit in hits.values()} == {(2725, 2225), (384, 288)}
    assert len(hits) == 4
    wanted = mmsearch("query", "red", "-g", gallery, "--where", "damaged", "--format", "paths").out.split()
    assert [Path(file).name for file in wanted] == ["sharp_truncated.jpg"] * 2
    assert "damaged   2 of the images" in mmsearch("info", "-g", gallery).out


def test_wide_colours_are_shown_as_what_they_are(found: Path) -> None:
    """Display P3 as sRGB, within what JPEG does to it."""
    red = np.asarray(images.make_thumbnail((found / "P3-sRGB-red.jpg").read_bytes(), 320)).astype(int)
    assert np.abs(np.median(red, axis=(0, 1)) - (255, 2, 2)).max() <= 3
    assert np.abs(red[5, 5] - (255, 2, 2)).max() <= 3


def test_dates_are_those_of_the_camera_and_not_of_editing(found: Path) -> None:
    """In XMP, in the wrong part of Exif, in a raw profile of PNG; beside a GPS block that cannot be read."""
    dates = {
        "pp_image-2011.jpg": datetime(2011, 7, 19, 11, 36, 38),
        "pillow_exif_gps_typeerror.jpg": datetime(2010, 7, 11, 13, 53),
        "paris_icc_exif_xmp.png": datetime(2022, 8, 22, 20, 30, 46),
    }
    for name, taken in dates.items():
        assert images.decode((found / name).read_bytes()).facts.taken_at == taken


def test_the_clean_aperture_of_an_avif_is_applied(found: Path) -> None:
    """Stored are 320 x 280 pixels. Another decoder of the same standard says what is to be seen of them."""
    import pillow_heif

    data = (found / "blue-and-magenta-crop.avif").read_bytes()
    picture = images.decode(data)
    assert picture.image.size == (picture.width, picture.height) == pillow_heif.open_heif(data).size == (180, 100)
    assert images.probe(io.BytesIO(data)).width == 180


def test_raw_data_are_never_a_stamp(found: Path) -> None:
    """What stands beside the data in these is 8 or 160 pixels wide, and most of the data was taken out of them."""
    pytest.importorskip("rawpy")
    for name in ("exiftool_DNG.dng", "exiftool_FujiFilm.raf", "exiftool_Panasonic.rw2"):
        assert reason(found / name) == "truncated RAW"


def test_jpeg_xl_is_read(found: Path) -> None:
    """A ship at sea: grey-blue, and of the size that its tags name."""
    pytest.importorskip("pillow_jxl")
    data = (found / "exiv2_Reagan.jxl").read_bytes()
    picture = images.decode(data)
    assert (picture.format, picture.width, picture.height) == ("JXL", 200, 130)
    assert images.probe(io.BytesIO(data)) == images.Header("JXL", 200, 130)
    assert np.asarray(picture.image).std() > 20


def test_a_big_tiff_of_the_other_byte_order_is_read(found: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A photograph of 64 x 64 pixels; without the library the reason says BigTIFF."""
    tifffile = pytest.importorskip("tifffile")
    file = found / "BigTIFFMotorola.tif"
    picture = images.decode(file.read_bytes())
    assert (picture.format, picture.width, picture.height) == ("TIFF", 64, 64)
    assert np.array_equal(np.asarray(picture.image), tifffile.imread(file))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    assert "BigTIFF" in reason(file)
    assert "mmsearch[tiff]" in reason(file)


def test_other_columns_are_not_whole_rows_of_captions(found: Path) -> None:
    """A table of captions with German headers: an error that lists the columns and names the options; and readable."""
    with pytest.raises(SourceError, match=r"columns foto, beschreibung, .*--caption-column"):
        read_captions(found / "othercols.csv")
    lines = read_captions(found / "othercols.csv", ColumnNames("foto", ("beschreibung",))).lines
    assert (lines[1].image, lines[1].caption) == ("postcard_0001.jpg", 'a ship, "big" one')


def test_a_dictionary_of_bytes_holds_pictures(found: Path, tmp_path: Path) -> None:
    """pandas writes a categorical column as a dictionary."""
    report = embed([found / "dict.parquet"], gallery=tmp_path / "g", encoder=FakeEncoder())
    assert report.images.added > 0
    assert report.images.skipped == 0


def test_the_edge_of_a_phone_photo_agrees_with_a_full_decode(found: Path) -> None:
    """Its encoder left black what stands beyond the picture; an eighth of its size came out at 43 dB for that."""
    from mmsearch.embedding.parity import psnr
    from mmsearch.encoders.preprocessing import Preprocessing

    sizes = {"size": 64, "mode": "RGB", "interpolation": "bicubic", "resize_mode": "shortest"}
    preprocessing, data = Preprocessing(sizes), (found / "phone_glasses_13mp.jpg").read_bytes()
    picture = images.decode_fast(data, 3 * 64)
    assert isinstance(picture, images.StoredImage)
    assert picture.scale == 8
    size = picture.width, picture.height
    pixels = preprocessing.fit_array(picture.pixels, picture.scale, size, picture.orientation)
    error = preprocessing.error(pixels, preprocessing.reference(images.decode(data).image))
    assert psnr(np.array([error]))[0] > 53
