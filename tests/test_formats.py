"""The guide's table of formats, row by row, on files that are made for it or that people have."""

import io
import re
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mmsearch.cutting import why_missing
from mmsearch.errors import ImageError
from mmsearch.guides.reading import list_guides
from mmsearch.images import DecodedImage, decode
from tests.conftest import SHARED_DATA
from tests.test_images import dng

_EXTRAS = {"tiff": "tifffile", "jxl": "pillow_jxl.JpegXLImagePlugin", "raw": "rawpy", "svg": "resvg_py"}
_EXTRAS |= {"psd": "psd_tools.compression"}
_FOUND, _AWKWARD = SHARED_DATA / "found", SHARED_DATA / "awkward_images"


def photo(mode: str = "RGB", size: tuple[int, int] = (96, 64)) -> Image.Image:
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).convert(mode)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def deep(dtype: str, *, colour: bool = False) -> NDArray[Any]:
    values = np.linspace(0, 1, 96 * 64).reshape(64, 96)
    stored = (values * (1 if "float" in dtype else np.iinfo(dtype).max)).astype(dtype)
    return np.repeat(stored[..., np.newaxis], 3, axis=2) if colour else stored


def tiff(array: NDArray[Any], **options: Any) -> bytes:
    tifffile = pytest.importorskip("tifffile")
    out = io.BytesIO()
    tifffile.imwrite(out, array, **options)
    return out.getvalue()


def psd(bits: int, *, packed: bool = False, value: float = 0.5) -> bytes:
    """A picture of one grey as Photoshop writes it: header, three empty sections, and its channels."""
    width, height = 96, 64
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, height, width, bits, 3)
    sample = struct.pack(">f", value) if bits == 32 else int(value * (2**bits - 1)).to_bytes(bits // 8, "big")
    row = sample * width
    if not packed:
        return header + bytes(12) + struct.pack(">H", 0) + row * height * 3
    runs = [row[place : place + 128] for place in range(0, len(row), 128)]
    stored = b"".join(bytes([len(run) - 1]) + run for run in runs)  # as it stands: PackBits allows that
    counts = struct.pack(">H", len(stored)) * height * 3
    return header + bytes(12) + struct.pack(">H", 1) + counts + stored * height * 3


def heif(kind: str) -> bytes:
    import pillow_heif

    out = io.BytesIO()
    pillow_heif.from_pillow(photo()).save(out, quality=80) if kind == "HEIC" else photo().save(out, kind)
    return out.getvalue()


def found(*files: Path) -> Iterator[bytes]:
    for file in files:
        if not file.is_file():
            pytest.skip(f"{file.name} is no part of the project")
        yield file.read_bytes()


def jpegs() -> Iterator[bytes]:
    yield saved(photo(), "JPEG")
    yield saved(photo(), "JPEG", progressive=True)
    yield saved(photo("L"), "JPEG")
    yield saved(photo("CMYK"), "JPEG")
    yield saved(photo(), "MPO", save_all=True, append_images=[photo()])


def pngs() -> Iterator[bytes]:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield saved(photo(mode), "PNG")
    yield saved(Image.fromarray(deep("uint16")), "PNG")
    yield saved(photo(), "PNG", save_all=True, append_images=[photo("L").convert("RGB")])


def tiffs() -> Iterator[bytes]:
    for mode in ("L", "RGB", "CMYK", "LAB"):
        yield saved(Image.new("LAB", (96, 64), (128, 10, 10)) if mode == "LAB" else photo(mode), "TIFF")
    yield saved(photo(), "TIFF", big_tiff=True)
    yield tiff(deep("uint16"))
    yield tiff(deep("uint16", colour=True), photometric="rgb")
    yield tiff(deep("float32"))
    yield tiff(deep("uint32"))


def odd_tiffs() -> Iterator[bytes]:
    yield tiff(deep("uint8", colour=True), photometric="rgb", bigtiff=True, byteorder=">")
    yield tiff(deep("float32", colour=True), photometric="rgb")


def rarer() -> Iterator[bytes]:
    for kind in ("BLP", "DDS", "ICNS", "ICO", "PCX", "PPM", "QOI", "SGI", "TGA"):
        yield saved(photo("P" if kind == "BLP" else "RGB", (64, 64)), kind)
    for kind in ("MSP", "XBM"):
        yield saved(photo("1", (64, 64)), kind)


FILES: Mapping[str, Callable[[], Iterator[bytes]]] = {
    "JPEG: baseline": jpegs,
    "JPEG that ends": lambda: iter([saved(photo(size=(640, 480)), "JPEG")[:-4_000]]),
    "JPEG of 12 bits": lambda: found(_FOUND / "m_12.jpg"),
    "PNG of 1": pngs,
    "PNG that ends": lambda: iter([saved(photo(), "PNG")[:-2_000]]),
    "WebP, GIF": lambda: iter([saved(photo(), "WEBP"), saved(photo(), "GIF")]),
    "HEIC and HEIF": lambda: iter([heif("HEIC")]),
    "HEIF without": lambda: found(_FOUND / "uncompressed_comp_RGB.heif"),
    "AVIF": lambda: iter([saved(photo(), "AVIF")]),
    "TIFF, page by page": tiffs,
    "BigTIFF of the other": odd_tiffs,
    "BMP": lambda: iter([saved(photo(), "BMP"), saved(photo(), "DIB"), *found(_FOUND / "rgb32bf.bmp")]),
    "JPEG 2000": lambda: iter([saved(photo(), "JPEG2000")]),
    "JPEG XL": lambda: found(_FOUND / "exiv2_Reagan.jxl"),
    "a camera's raw": lambda: iter(
        [dng(photo(size=(side, side * 3 // 4)), 1, "2001:02:03 04:05:06") for side in (600, 160)]
    ),
    "raw data whose": lambda: iter([dng(None, 1, "2001:02:03 04:05:06")[:300_000]]),
    "a drawing": lambda: iter(
        [b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M1 1h5"/></svg>']
    ),
    "PSD of 8": lambda: iter([psd(8)]),
    "PSD of 16": lambda: iter([psd(16), psd(32), psd(16, packed=True)]),
    "BLP, CUR": rarer,
    "a film": lambda: iter([b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(100)]),
    "PDF, page by page": lambda: iter([]),  # whose pages are pictures: tests/test_pdf_pages.py
    "EPS and PostScript": lambda: iter([b"%!PS-Adobe-3.0 EPSF-3.0\n" + bytes(100)]),
}


def rows() -> list[tuple[str, str, str]]:
    """(file, whether it is read, what is seen otherwise) of the guide's table."""
    text = next(guide.text for guide in list_guides() if guide.topic == "sources")
    table = text[text.index("| a file | is read |") :].split("\n\n")[0]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()[2:]]
    return [(file, is_read, reason) for file, is_read, reason in cells]


@pytest.mark.parametrize(("file", "is_read", "reason"), rows(), ids=lambda text: text[:30])
def test_the_table_of_formats_says_what_becomes_of_a_file(
    file: str, is_read: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (make,) = (make for begins, make in FILES.items() if file.startswith(begins))
    extra = re.search(r"mmsearch\[(\w+)\]", is_read)
    if extra is not None and extra[1] == "pdf":
        monkeypatch.setattr("mmsearch.cutting.pdf_pages.find_spec", lambda _: None)
        assert why_missing("a.pdf") == reason
        return
    if extra is not None:
        pytest.importorskip(_EXTRAS[extra[1]])
    files = [*make()]
    if is_read == "no":
        assert reasons(files)[0] == reason
        return
    pictures = [decode(data) for data in files]
    assert all(isinstance(picture, DecodedImage) for picture in pictures)
    assert {picture.damaged for picture in pictures} == {"damaged" in is_read}
    for module in _EXTRAS.values():
        monkeypatch.setitem(sys.modules, module, None)
    if extra is not None:
        assert reasons(files)[0] == reason
        assert all(f"pip install 'mmsearch[{extra[1]}]'" in said for said in reasons(files))
    else:
        assert [decode(data).image.size for data in files] == [picture.image.size for picture in pictures]


def reasons(files: list[bytes]) -> list[str]:
    said = []
    for data in files:
        with pytest.raises(ImageError) as caught:
            decode(data)
        said.append(caught.value.reason)
    return said


def test_every_row_of_the_table_has_files() -> None:
    assert len(rows()) == len(FILES)


@pytest.mark.parametrize(("data", "grey"), [(psd(8), 127), (psd(16), 127), (psd(16, packed=True), 127), (psd(32), 188)])
def test_photoshops_wide_samples_become_eight_bits(data: bytes, grey: int) -> None:
    """Half of the light is 188 of 255 in sRGB."""
    pytest.importorskip("psd_tools")
    low, high = decode(data).image.convert("L").getextrema()
    assert low == high == pytest.approx(grey, abs=1)


@pytest.mark.parametrize("packed", [False, True])
def test_photoshops_wide_samples_that_end_too_early(packed: bool) -> None:
    pytest.importorskip("psd_tools")
    data = psd(16, packed=packed)
    for size in (27, 40, len(data) // 2, len(data) - 1):
        with pytest.raises(ImageError):
            decode(data[:size])
