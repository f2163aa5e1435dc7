"""Which files are images: identified by their header, within limits."""

import io
import logging
import re
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

from PIL import Image, ImageFile

from mmsearch.errors import ImageError
from mmsearch.images.aperture import Box, clean_aperture
from mmsearch.images.file_signatures import HEAD_BYTES, describe_file, explain_unsupported, raw_kind
from mmsearch.images.jxl import SIGNATURES, open_jxl
from mmsearch.images.mending import MENDERS
from mmsearch.images.raw import RawImage, open_raw, raw_tiff
from mmsearch.images.reasons import header_reason
from mmsearch.images.silence import silence_libtiff
from mmsearch.images.svg import is_svg, open_svg

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "RAISES_LIMIT",
    "HeaderFile",
    "open_image",
    "reopen_mended",
    "visible_box",
    "stated_size",
]

MAX_PIXELS = 200_000_000
"""Default limit on width x height. The largest phone sensors give 16320 x 12240 = 199.8 megapixels; a picture of
that size takes up to 2.3 GB while it is decoded; such pictures are decoded one at a time."""

RAISES_LIMIT = " (--max-pixels raises it)"
"""In the reason of a picture that is larger: what to do. Where there is no such option it is left out."""

FORMATS = frozenset(
    {
        *("AVIF", "BLP", "BMP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "GIF", "HEIF", "ICNS", "ICO", "IM"),
        *(
            "JPEG",
            "JPEG2000",
            "JXL",
            "MPO",
            "MSP",
            "PCX",
            "PIXAR",
            "PNG",
            "PPM",
            "PSD",
            "QOI",
            "RAW",
            "SGI",
            "SUN",
            "SVG",
        ),
        *("TGA", "TIFF", "WEBP", "XBM", "XPM"),
    }
)
"""Formats that are read. Left out: those that start another program (EPS runs Ghostscript), those that Pillow names
but cannot decode (MPEG, WMF, HDF5 ...), and those of which noise passes for a member (IPTC, PCD, SPIDER)."""

_COMMON = ("BMP", "DIB", "GIF", "JPEG", "PPM", "PNG")  # what Pillow loads first
_OTHERS = tuple(sorted(FORMATS.difference(_COMMON)))

# A header lies in the first bytes of a file or is reached by seeking. WebP, AVIF and HEIF files are read
# whole by their decoders even to learn the size; none that a camera writes comes near this, and a film that
# passes for one stops here.
_MAX_HEADER_BYTES = 1 << 30

_APERTURE = "mmsearch:clean_aperture"  # among what Pillow keeps of a file

_SIGNATURE_BYTES = 16  # what Pillow's own `open` gives to the plugins

_XBM = re.compile(rb"#define[ \t]+\S*_width[ \t]+\d")
"""What an XBM picture begins with. Pillow tries whatever begins with a comment or a definition of C: style sheets and
scripts would be called damaged pictures."""

# A program without logging set up would see the error lines of Pillow's TIFF reader on stderr, through
# logging's last resort; a null handler stops only that. What is wrong with a file is in the ImageError.
for _name in ("PIL", "tifffile", "psd_tools"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


def open_image(file: BinaryIO, max_pixels: int) -> ImageFile.ImageFile:
    """The opened, not yet loaded image.

    Does what `Image.open` does, over the same registry, but with our limit in place of its bomb check: that
    one refuses 179 megapixels, and its limit can only be moved for the whole process, importing programs
    included. And in an order of our own: that of the registry depends on what was imported first, in whichever thread,
    and the reason for a file that cannot be read would with it."""
    head = file.read(HEAD_BYTES)
    if not head:
        raise ImageError("identify", "empty file")
    if head[4:8] == b"ftyp":  # the container of HEIC and AVIF, and of MP4
        _register_heif()
    if head.startswith(SIGNATURES):
        image: ImageFile.ImageFile = open_jxl(file)
    elif is_svg(head):
        image = open_svg(file)
    elif kind := raw_kind(head) or raw_tiff(file):
        image = raw = open_raw(file, kind)
        _check_size(*raw.sensor_size, max_pixels)
    else:
        image = _open_with_plugin(file, head)
    _check_size(image.width, image.height, max_pixels)
    if image.format == "AVIF" and (box := clean_aperture(file, image.width, image.height)):
        image.info[_APERTURE] = box
    return image


def stated_size(image: ImageFile.ImageFile) -> tuple[int, int]:
    """Width and height, as stored, of the picture that a file holds; of a camera's raw data those of the photograph,
    whatever the picture is by which it is seen."""
    if isinstance(image, RawImage):
        return image.sensor_size
    left, top, right, bottom = visible_box(image)
    return right - left, bottom - top


def visible_box(image: ImageFile.ImageFile) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is to be seen of the pixels of an opened image, as stored."""
    box: Box = image.info.get(_APERTURE, (0, 0, image.width, image.height))
    return box


def _open_with_plugin(file: BinaryIO, head: bytes) -> ImageFile.ImageFile:
    damaged = ""
    for load_plugins, names in ((Image.preinit, _COMMON), (Image.init, _OTHERS)):
        load_plugins()
        for name in _order_formats(names, head):
            factory, accept = Image.OPEN.get(name, (None, None))
            if factory is None or (accept is not None and not _accepts(accept, head[:_SIGNATURE_BYTES])):
                continue
            if name == "XBM" and not _XBM.search(head):
                continue
            try:
                return _open_or_mend(factory, name, file)
            except ImageError:  # it is read through a library that is not there
                raise
            except Exception as error:  # noqa: BLE001  plugins raise anything on hostile bytes
                if accept is not None and not damaged:
                    damaged = header_reason(error, name)
    raise ImageError("identify", explain_unsupported(head) or damaged or describe_file(head) or "not an image")


def _order_formats(names: tuple[str, ...], head: bytes) -> tuple[str, ...]:
    """AVIF and HEIC share a container and some of its brands: the one that it names comes first."""
    if head[4:8] != b"ftyp" or "AVIF" not in names:
        return names
    brands = head[8 : int.from_bytes(head[:4], "big")]
    return ("AVIF", "HEIF") if b"avif" in brands or b"avis" in brands else ("HEIF", "AVIF")


def _open_or_mend(factory: Callable[..., ImageFile.ImageFile], name: str, file: BinaryIO) -> ImageFile.ImageFile:
    """The image that a plugin makes of a file, mended where it refuses the file as it is."""
    file.seek(0)
    if name == "TIFF":
        silence_libtiff()
    try:
        return factory(file, "")
    except Exception:
        if name not in MENDERS:
            raise
        file.seek(0)
        try:
            mended = reopen_mended(name, file.read())
        except ImageError:
            raise
        except Exception:  # noqa: BLE001  what was wrong at first is what is told
            mended = None
        if mended is None:
            raise
        return mended


def reopen_mended(name: str, data: bytes) -> ImageFile.ImageFile | None:
    """A file of a format, in Pillow's words, opened after it was mended; None where nothing is known that mends it."""
    mended = MENDERS[name](data) if name in MENDERS else None
    return None if mended is None else Image.OPEN[name][0](io.BytesIO(mended), "")


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
            f"{width} x {height} = {_format_megapixels(width * height)} megapixels, over the limit of "
            f"{_format_megapixels(max_pixels)}{RAISES_LIMIT}",
        )


def _format_megapixels(pixels: int) -> str:
    return f"{pixels / 1e6:.10g}" if pixels < 10_000_000 else f"{pixels / 1e6:,.0f}"


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


class HeaderFile(io.RawIOBase, BinaryIO):
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
