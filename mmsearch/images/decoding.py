"""From a file's bytes to a picture."""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from mmsearch.errors import ImageError
from mmsearch.images import exif, turbo
from mmsearch.images.colours import to_rgb
from mmsearch.images.file_facts import read_facts, says_more_behind_pixels
from mmsearch.images.image_files import MAX_PIXELS, HeaderFile, open_image, reopen_mended, stated_size, visible_box
from mmsearch.images.photo_facts import PhotoFacts
from mmsearch.images.raw import LEAST_RAW_SIDE, require_side
from mmsearch.images.reasons import reason
from mmsearch.images.silence import quietly
from mmsearch.images.truncated import read_truncated

__all__ = [
    *("Header", "JpegHeader", "DecodedImage", "StoredImage"),
    *("decode", "decode_stream", "decode_fast", "decode_for_benchmark", "jpeg_header", "probe", "read_header_facts"),
    "upright_size",
]


_LARGE_PIXELS = 50_000_000
_SECONDS_IN_TURN = 60.0
_large = threading.Lock()


@contextmanager
def _take_turn(image: ImageFile.ImageFile) -> Iterator[None]:
    """Large pictures are decoded one at a time, whatever the number of threads.

    One of 200 megapixels takes up to 2.3 GB while it is decoded (HEIC: planes, RGB, and RGB as Pillow keeps it). A
    decoder that hangs must not keep the others for ever: after a while they go on beside it."""
    has_lock = image.width * image.height > _LARGE_PIXELS and _large.acquire(timeout=_SECONDS_IN_TURN)
    try:
        yield
    finally:
        if has_lock:
            _large.release()


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about itself.

    Attributes:
        format: Pillow's name, e.g. "JPEG".
        width: As stored, before orientation (Pillow itself turns TIFF and HEIF, whose sizes are upright here).
        height: Likewise.
    """

    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """The header of a JPEG. Attributes are those of a `DecodedImage`: width and height are upright."""

    width: int
    height: int
    facts: PhotoFacts
    format: str
    orientation: int


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image as a person sees it: upright, mode RGB, transparent parts white.

    Attributes:
        image: The pixels; they may be fewer than width x height (see `damaged`; raw data of a camera are seen by the
            smaller picture beside them).
        width: Of the whole picture.
        height: Of the whole picture.
        facts: What the file says beside the pixels: when it was taken, by what; where, if that was asked for.
        format: Pillow's name.
        orientation: The EXIF orientation, 1 to 8, that made it upright.
        damaged: Whether the file ends too early, and `image` is what is there.
        icc_profile: What the numbers of `image` mean, as the file has it; a model is given them as they are.
    """

    image: Image.Image
    width: int
    height: int
    facts: PhotoFacts
    format: str
    orientation: int
    damaged: bool = False
    icc_profile: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A JPEG as it is stored, to be made upright by `orientation` (EXIF, 1 to 8).

    Attributes:
        pixels: uint8 (h, w, 3), RGB: the stored image at 1 / `scale` of its size.
        scale: 1, 2, 4 or 8.
        width: Upright and at full size, as of a `DecodedImage`; so are the attributes that follow.
    """

    pixels: NDArray[np.uint8]
    scale: int
    width: int
    height: int
    facts: PhotoFacts
    format: str
    orientation: int
    damaged: bool = False  # what libjpeg finds anything wrong with is a `DecodedImage`
    icc_profile: bytes | None = None

    def upright(self) -> Image.Image:
        """The picture as a person sees it, at 1 / `scale` of its size."""
        image = Image.fromarray(self.pixels)
        return image.transpose(exif.TURNS[self.orientation]) if self.orientation in exif.TURNS else image


def probe(file: BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Identify an image from its header; pixels are not decoded.

    file: seekable, read from its start. Raises ImageError("identify") for empty files, files that are no
    image, images without pixels and images of more than max_pixels."""
    with quietly():
        image = open_image(HeaderFile(file), max_pixels)
        return Header(str(image.format), *stated_size(image))


def upright_size(file: BinaryIO, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height of a picture as a person sees it, from its header. file: as of `probe`. Raises ImageError."""
    with quietly():
        image = open_image(HeaderFile(file), max_pixels)
        width, height = stated_size(image)
        turned = exif.orientation(exif.read_exif(image, places=False)) >= 5
        return (height, width) if turned else (width, height)


def decode(
    data: bytes, *, max_pixels: int = MAX_PIXELS, raw_side: int = LEAST_RAW_SIDE, places: bool = False
) -> DecodedImage:
    """Decode a file's bytes to an upright RGB picture; of an animation the first frame.

    raw_side: a camera's raw data are seen by the picture beside them, if each side of it has so many pixels, else
    developed.
    places: read where it was taken.
    Raises ImageError: stage "identify" as `probe` does, stage "decode" where pixels are missing or damaged.
    A truncated file is an error, never a picture with a grey rest; of a JPEG what is there is a picture that says that
    it is damaged."""
    with quietly():
        image = open_image(io.BytesIO(data), max_pixels)
        require_side(image, raw_side)
        with _take_turn(image):
            return _decode(image, data, places)


def decode_stream(stream: BinaryIO, *, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """As `decode`, of a stream that need not be read whole, as one page of a large file; nothing is mended."""
    with quietly():
        image = open_image(stream, max_pixels)
        with _take_turn(image):
            return _decode(image, b"", places=False)


def jpeg_header(data: bytes, *, max_pixels: int = MAX_PIXELS, places: bool = False) -> JpegHeader | None:
    """The header of a JPEG that any decoder takes: baseline, RGB as YCbCr, whole. None for all other pictures.

    places: see `decode`. Raises ImageError("identify") as `probe` does."""
    with quietly():
        image = open_image(io.BytesIO(data), max_pixels)
        ordinary = image.format in turbo.FORMATS and image.mode == "RGB" and not image.info.get("progressive")
        # Without its end marker a file may end in the middle of its pixels, which not every decoder says.
        if (
            turbo.is_ribbon(*image.size)
            or not ordinary
            or image.info.get("adobe_transform") == 0
            or not data.rstrip(b"\0").endswith(b"\xff\xd9")
        ):
            return None
        return _read_jpeg_header(image, data, places)


def _read_jpeg_header(image: ImageFile.ImageFile, data: bytes, places: bool) -> JpegHeader:
    tags = exif.read_exif(image, places=places)
    orientation = exif.orientation(tags)
    width, height = (image.height, image.width) if orientation >= 5 else image.size
    facts = read_facts(image, tags, data, places=places)
    return JpegHeader(width, height, facts, str(image.format), orientation)


def decode_fast(
    data: bytes,
    at_least: int,
    *,
    max_pixels: int = MAX_PIXELS,
    raw_side: int = LEAST_RAW_SIDE,
    places: bool = False,
) -> DecodedImage | StoredImage:
    """As `decode`; ordinary JPEG is decoded by libjpeg-turbo, no larger than it has to be, and left as it is stored.

    at_least: pixels that the shorter side keeps, where it has them; the fraction is a half, a quarter or an eighth,
    or none where the picture is too full of detail for it.
    Three times the side that a photograph is resized to keeps it at 50 dB of a full decode."""
    with quietly():
        image = open_image(io.BytesIO(data), max_pixels)
        require_side(image, raw_side)
        if image.format in turbo.FORMATS and image.mode in turbo.MODES:
            pixels_and_scale = turbo.decode(data, image.width, image.height, at_least)
            if pixels_and_scale is not None:  # else Pillow decides whether there is a picture in it
                header = _read_jpeg_header(image, data, places)
                return StoredImage(
                    *pixels_and_scale, header.width, header.height, header.facts, header.format, header.orientation,
                    icc_profile=_read_profile(image),
                )  # fmt: skip
        with _take_turn(image):
            return _decode(image, data, places)


def read_header_facts(file: BinaryIO, *, max_pixels: int = MAX_PIXELS, places: bool = False) -> PhotoFacts:
    """What a file says of its picture beside the pixels, as `decode` does; pixels are decoded only where that is hidden
    behind them. file: seekable, read from its start. Raises ImageError."""
    with quietly():
        image, data = open_image(HeaderFile(file), max_pixels), b""
        if image.format == "PNG":
            file.seek(0)
            data = file.read()
            image = open_image(io.BytesIO(data), max_pixels)
        if image.format == "JXL" or says_more_behind_pixels(data):
            with _take_turn(image):
                image = _load(image, data)
        return read_facts(image, exif.read_exif(image, places=places), data, places=places)


def decode_for_benchmark(data: bytes, *, max_pixels: int = MAX_PIXELS, raw_side: int = LEAST_RAW_SIDE) -> Image.Image:
    """Decode as the published retrieval results did: Pillow's `open(...).convert("RGB")` and nothing else.

    Neither EXIF orientation nor transparency is honoured, 16-bit images are clipped. Raises ImageError as
    `decode` does."""
    with quietly():
        opened = open_image(io.BytesIO(data), max_pixels)
        require_side(opened, raw_side)
        with _take_turn(opened):
            image = _load(opened, data)
            try:
                return image.convert("RGB")
            except Exception as error:  # see _load
                raise ImageError("decode", reason(error, image.format)) from error


def _decode(opened: ImageFile.ImageFile, data: bytes, places: bool) -> DecodedImage:
    image, part = _load_all_or_part(opened, data)
    # Read before any conversion: a converted image has lost its tags. TIFF and HEIF have turned themselves by now, and
    # say so by having no orientation left.
    tags = exif.read_exif(image, places=places)
    orientation = exif.orientation(tags)
    try:
        rgb = to_rgb(
            part
            if part is not None
            else image
            if visible_box(image) == (0, 0, *image.size)
            else image.crop(visible_box(image))
        )
        if orientation in exif.TURNS:
            rgb = rgb.transpose(exif.TURNS[orientation])
    except Exception as error:  # any codec, any exception: see _load
        raise ImageError("decode", reason(error, image.format)) from error
    width, height = stated_size(image)
    size = (height, width) if orientation >= 5 else (width, height)
    facts = read_facts(image, tags, data, places=places)
    return DecodedImage(rgb, *size, facts, str(image.format), orientation, part is not None, _read_profile(image))


def _read_profile(image: Image.Image) -> bytes | None:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) else None


def _load_all_or_part(image: ImageFile.ImageFile, data: bytes) -> tuple[ImageFile.ImageFile, Image.Image | None]:
    """The image with its pixels; where some are missing, without them and beside it what is there of it."""
    try:
        return _load(image, data), None
    except ImageError:
        if image.format not in turbo.FORMATS:
            raise
        try:
            truncated = read_truncated(data)
        except Exception:  # noqa: BLE001  see _load; what was wrong at first is what is told
            truncated = None
        if truncated is None:
            raise
        return truncated


def _load(image: ImageFile.ImageFile, data: bytes) -> ImageFile.ImageFile:
    """The image with its pixels decoded, mended where it cannot be read as it is.

    A codec may raise anything at all on damaged input (struct.error, SyntaxError, MemoryError, RecursionError,
    zlib.error ...); for whoever embeds a folder all of it means that this one file has no picture."""
    try:
        image.load()
        return image
    except Exception as error:
        try:
            mended = reopen_mended(str(image.format), data)
            if mended is not None:
                mended.load()
                return mended
        except ImageError:
            raise
        except Exception:  # noqa: BLE001  what was wrong at first is what is told
            mended = None
        raise ImageError("decode", reason(error, image.format)) from error
