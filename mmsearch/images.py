"""Image files of every kind and age, as upright RGB pictures (Pillow, pillow-heif for HEIC).

Three ways in: `probe` reads a header, `decode` gives the picture as a person sees it,
`decode_for_benchmark` what the published retrieval numbers were computed from. Whatever a file contains,
they return or raise `ImageError`."""

import io
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile

from mmsearch.errors import ImageError

__all__ = ["MAX_PIXELS", "FORMATS", "Header", "Picture", "probe", "decode", "decode_for_benchmark"]

MAX_PIXELS = 200_000_000
"""Default limit on width x height. The largest phone sensors give 16320 x 12240 = 199.8 megapixels; a picture of
that size needs 0.6 GB as RGB, and up to three times that while it is converted, for each thread that decodes."""

FORMATS = frozenset(
    {
        *("AVIF", "BLP", "BMP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "GIF", "HEIF", "ICNS", "ICO", "IM"),
        *("JPEG", "JPEG2000", "JXL", "MPO", "MSP", "PCX", "PIXAR", "PNG", "PPM", "PSD", "QOI", "SGI", "SUN"),
        *("TGA", "TIFF", "WEBP", "XBM", "XPM"),
    }
)
"""Formats that are read. Left out: those that start another program (EPS runs Ghostscript), those that Pillow names
but cannot decode (MPEG, WMF, HDF5 ...), and those of which noise passes for a member (IPTC, PCD, SPIDER)."""

# A header lies in the first bytes of a file or is reached by seeking. WebP, AVIF and HEIF files are read
# whole by their decoders even to learn the size; none that a camera writes comes near this, and a film that
# passes for one stops here.
_MAX_HEADER_BYTES = 1 << 30

_SIGNATURE_BYTES = 16  # what Pillow's own `open` gives to the plugins

# A program without logging set up would see the error lines of Pillow's TIFF reader on stderr, through
# logging's last resort; a null handler stops only that. What is wrong with a file is in the ImageError.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about itself. format: Pillow's name, e.g. "JPEG". width, height: as stored, before
    orientation (Pillow itself turns TIFF and HEIF, whose sizes are upright here)."""

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Picture:
    """An image as a person sees it: upright, mode RGB, transparent parts white.

    width, height: of `image`. taken_at: when the camera says, without a time zone; None where it does not,
    or nonsense."""

    image: Image.Image
    width: int
    height: int
    taken_at: datetime | None


def probe(file: BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Identify an image from its header; pixels are not decoded.

    file: seekable, read from its start. Raises ImageError("identify") for empty files, files that are no
    image, images without pixels and images of more than max_pixels."""
    with _quietly():
        image = _open(_HeaderFile(file), max_pixels)
        return Header(str(image.format), image.width, image.height)


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a file's bytes to an upright RGB picture; of an animation the first frame.

    Raises ImageError: stage "identify" as `probe` does, stage "decode" where pixels are missing or damaged.
    A truncated file is an error, never a picture with a grey rest."""
    with _quietly():
        image = _open(io.BytesIO(data), max_pixels)
        _load(image)
        # Read before any conversion: a converted image has lost its tags. TIFF and HEIF have turned
        # themselves by now, and say so by having no orientation left.
        exif = _exif(image)
        turn = _TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
        try:
            rgb = _to_rgb(image)
            if turn is not None:
                rgb = rgb.transpose(turn)
        except Exception as error:  # any codec, any exception: see _load
            raise ImageError("decode", _reason(error, image.format)) from error
        return Picture(rgb, rgb.width, rgb.height, _taken_at(exif))


def decode_for_benchmark(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode as the published retrieval results did: Pillow's `open(...).convert("RGB")` and nothing else.

    Neither EXIF orientation nor transparency is honoured, 16-bit images are clipped. Raises ImageError as
    `decode` does."""
    with _quietly():
        image = _open(io.BytesIO(data), max_pixels)
        _load(image)
        try:
            return image.convert("RGB")
        except Exception as error:  # see _load
            raise ImageError("decode", _reason(error, image.format)) from error


# --- opening ----------------------------------------------------------------------------------------------


def _open(file: BinaryIO, max_pixels: int) -> ImageFile.ImageFile:
    """The opened, not yet loaded image.

    Does what `Image.open` does, over the same registry, but with our limit in place of its bomb check: that
    one refuses 179 megapixels, and its limit can only be moved for the whole process, importing programs
    included."""
    prefix = file.read(_SIGNATURE_BYTES)
    if not prefix:
        raise ImageError("identify", "empty file")
    if prefix[4:8] == b"ftyp":  # the container of HEIC and AVIF, and of MP4
        _register_heif()
    damaged = ""
    for load_plugins in (Image.preinit, Image.init):  # first the five common formats, then all
        load_plugins()
        for name in [name for name in Image.ID if name in FORMATS]:
            factory, accept = Image.OPEN[name]
            if accept is not None and not _accepts(accept, prefix):
                continue
            try:
                file.seek(0)
                image = factory(file, "")
            except Exception as error:  # noqa: BLE001  plugins raise anything on hostile bytes
                if accept is not None and not damaged:
                    damaged = _header_reason(error, name)
                continue
            _check_size(image.width, image.height, max_pixels)
            return image
    raise ImageError("identify", damaged or "not an image")


def _accepts(accept: Callable[[bytes], bool | str], prefix: bytes) -> bool:
    """Whether a plugin takes the file for one of its own."""
    try:
        verdict = accept(prefix)
    except Exception:  # noqa: BLE001  some plugins do not expect a file of three bytes
        return False
    # A plugin may answer with a sentence: the format is known, and its library is not installed.
    return bool(verdict) and not isinstance(verdict, str)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width <= 0 or height <= 0:
        raise ImageError("identify", f"no pixels: {width} x {height}")
    if width * height > max_pixels:
        raise ImageError(
            "identify",
            f"{width} x {height} = {_mega(width * height)} megapixels, over the limit of {_mega(max_pixels)} "
            "(--max-pixels raises it)",
        )


def _mega(pixels: int) -> str:
    return f"{pixels / 1e6:.10g}" if pixels < 10_000_000 else f"{pixels / 1e6:,.0f}"


def _load(image: ImageFile.ImageFile) -> None:
    """Decode the pixels. A codec may raise anything at all on damaged input (struct.error, SyntaxError,
    MemoryError, RecursionError, zlib.error ...); for whoever embeds a folder all of it means that this one
    file has no picture."""
    try:
        image.load()
    except Exception as error:
        raise ImageError("decode", _reason(error, image.format)) from error


_heif_lock = threading.Lock()
_heif_registered = False


def _register_heif() -> None:
    global _heif_registered
    with _heif_lock:
        if not _heif_registered:
            # Imported late: it costs 20 MB and most folders have no HEIC.
            import pillow_heif

            pillow_heif.register_heif_opener()
            _heif_registered = True


class _HeaderFile(io.RawIOBase, BinaryIO):
    """A read-only view of a file, from its start, that gives out at most _MAX_HEADER_BYTES in total."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _MAX_HEADER_BYTES
        file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any, /) -> int:
        data = self._file.read(min(len(buffer), self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise OSError(f"the header does not end within {_MAX_HEADER_BYTES >> 20} MiB")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Leaves the file open: it is the caller's."""


# --- colours ----------------------------------------------------------------------------------------------


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: transparency over white, more than 8 bits scaled."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _scaled(image).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            white = Image.new("RGB", image.size, "white")
            white.paste(image, mask=alpha)
            return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _scaled(image: Image.Image) -> Image.Image:
    """A grey image of more than 8 bits (I;16*, I, F) as 8 bits, its range scaled (Pillow's convert clips at
    255)."""
    values = np.asarray(image, dtype=np.float32)
    finite = np.isfinite(values)
    values = np.where(finite, values, 0)
    low, high = _range(image, float(values.min()), float(values.max()))
    grey = np.rint((np.clip(values, low, high) - low) * (255 / (high - low))).astype(np.uint8)
    key = image.info.get("transparency")
    if isinstance(key, int):  # a PNG may declare one grey value transparent
        grey[np.asarray(image) == key] = 255
    return Image.fromarray(grey)


def _range(image: Image.Image, lowest: float, highest: float) -> tuple[float, float]:
    """The values that stand for black and white.

    The range that the format implies, where the values lie in it; else (satellite, medical and depth
    images) their own."""
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(258, (16,))  # TIFF BitsPerSample: 12-bit scans come unscaled
        return 0.0, float(2 ** min(16, int(bits[0])) - 1)
    usual = (65535.0,) if image.mode == "I" else (1.0, 255.0, 65535.0)
    for top in usual:
        if lowest >= 0 and highest <= top:
            return 0.0, top
    return lowest, highest if highest > lowest else lowest + 1


# --- EXIF -------------------------------------------------------------------------------------------------

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the picture upright. 1 and anything unknown: nothing."""

_DATE = re.compile(r"\s*(\d{4})[:/.-](\d\d?)[:/.-](\d\d?)[ T]+(\d\d?):(\d\d?)(?::(\d\d?))?")
_FIRST_PHOTOGRAPH = 1826


def _exif(image: Image.Image) -> dict[int, Any]:
    """The tags of orientation and dates; whatever of them can be read. Damaged EXIF does not spoil a good
    picture."""
    found: dict[int, Any] = {}
    try:
        exif = image.getexif()
        found.update({tag: exif.get(tag) for tag in (ExifTags.Base.Orientation, ExifTags.Base.DateTime)})
        photo = exif.get_ifd(ExifTags.IFD.Exif)
        found.update({tag: photo.get(tag) for tag in _PHOTO_DATES})
    except Exception:  # noqa: BLE001  Pillow parses EXIF late, and damaged EXIF raises anything
        return found
    return found


_PHOTO_DATES = (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized)


def _taken_at(exif: dict[int, Any]) -> datetime | None:
    """The first plausible of the dates: taken, digitised, changed."""
    for tag in (*_PHOTO_DATES, ExifTags.Base.DateTime):
        text = exif.get(tag)
        if isinstance(text, bytes):
            text = text.decode("ascii", "replace")
        match = _DATE.match(text) if isinstance(text, str) else None
        if match is None:
            continue
        try:
            taken = datetime(*(int(part or 0) for part in match.groups()))  # type: ignore[arg-type]
        except ValueError:  # month 0, hour 25: cameras write them
            continue
        if taken.year >= _FIRST_PHOTOGRAPH:
            return taken
    return None


# --- reasons ----------------------------------------------------------------------------------------------

_TRUNCATED = re.compile(
    r"truncat|not enough|unexpected end|end[- ]of[- ](file|stream)|premature|too short|unpack requires|only got|"
    r"incomplete|buffer is not large|unexpected eof",
    re.IGNORECASE,
)


def _header_reason(error: Exception, format_name: str) -> str:
    """As `_reason`, for a file that begins like an image of this format and goes on otherwise."""
    if isinstance(error, (Image.DecompressionBombError, MemoryError)) or _is_truncated(error):
        return _reason(error, format_name)
    text = _one_line(error)
    if text == "could not create decoder object":  # all that the WebP decoder says
        return f"truncated or damaged {format_name}"
    # "not identified" is what Pillow says where a plugin gives up without a reason, at a width of 0 for instance.
    return f"damaged {format_name} header" + ("" if text.startswith("not identified") else f": {text}")


def _reason(error: Exception, format_name: str | None) -> str:
    """One short line for a person: what is wrong with the file, not where Pillow noticed."""
    if isinstance(error, MemoryError):
        return f"not enough memory to decode this {format_name}"
    if isinstance(error, Image.DecompressionBombError):
        return "declares more pixels than Pillow decodes at once"
    if _is_truncated(error):
        return f"truncated {format_name}"
    return f"damaged {format_name}: {_one_line(error) or type(error).__name__}"


def _is_truncated(error: Exception) -> bool:
    return isinstance(error, (EOFError, IndexError)) or _TRUNCATED.search(str(error)) is not None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


# --- warnings ---------------------------------------------------------------------------------------------

_decoding = threading.local()


class _InDecodingThread(type):
    def __subclasscheck__(cls, category: type) -> bool:
        return getattr(_decoding, "depth", 0) > 0


class _PillowWarning(Warning, metaclass=_InDecodingThread):
    """A warning category that every warning belongs to while, and only in the thread where, this module
    decodes.

    Pillow warns about bombs, damaged EXIF and odd palettes. Here those are either errors of their own or of
    no consequence, and must be silent, even where a program turns warnings into errors, because that would
    lose a good picture. `warnings.catch_warnings` swaps the filters of all threads at once, and decoding
    runs in many; a filter on this category touches no warning that is raised outside of `_quietly`."""


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence warnings in this thread."""
    if not warnings.filters or warnings.filters[0][2] is not _PillowWarning:
        # Again at every need, since programs and test runners put their own filters in front or restore
        # older lists.
        warnings.filterwarnings("ignore", category=_PillowWarning)
    _decoding.depth = getattr(_decoding, "depth", 0) + 1
    try:
        yield
    finally:
        _decoding.depth -= 1
