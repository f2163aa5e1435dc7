"""A camera's raw data, seen by the picture that the camera has put beside them (rawpy and LibRaw, the extra `raw`)."""

import io
import math
import struct
from typing import BinaryIO

from PIL import ExifTags, Image, JpegImagePlugin

from mmsearch.errors import ImageError
from mmsearch.images.directories import read_directory, values_of
from mmsearch.images.lazy import LazyImage

__all__ = ["LEAST_RAW_SIDE", "RawImage", "open_raw", "raw_tiff", "require_side"]

LEAST_RAW_SIDE = 448
"""Pixels that the shorter side of the picture beside the data has at least: twice what the usual models take; whoever
knows the model knows better. The small ones that cameras put there for their own screens (160 x 120) are not what was
photographed, to a model."""

_ORIENTATIONS = {0: 1, 3: 3, 5: 8, 6: 6}  # LibRaw's way to say it
_MOST_DIRECTORIES = 32
_SUB_DIRECTORIES, _PHOTOMETRIC, _DNG_VERSION, _MAKE = 330, 262, 50706, 271
_SENSOR = (32803, 34892)  # a colour filter array; linear raw data


def raw_tiff(file: BinaryIO) -> str | None:
    """What kind of raw data a TIFF holds; None for a picture. Many cameras write them so: DNG, CR2, NEF, ARW, PEF …"""
    file.seek(0)
    header = file.read(16)
    if header[:4] not in (b"II*\0", b"MM\0*"):
        return None
    order = "<" if header[:2] == b"II" else ">"
    if header[8:10] == b"CR":
        return "Canon CR2"
    pending, visited, make, has_sensor = [struct.unpack_from(order + "I", header, 4)[0]], set[int](), "", False
    while pending and len(visited) < _MOST_DIRECTORIES:
        offset = pending.pop(0)
        if offset in visited or offset < 8:
            continue
        visited.add(offset)
        try:
            tags, following = read_directory(file, offset, order)
        except ValueError:
            continue
        if _DNG_VERSION in tags:
            return "DNG"
        has_sensor |= any(value in _SENSOR for value in values_of(file, tags.get(_PHOTOMETRIC), order))
        if _MAKE in tags and not make:
            _, count, value = tags[_MAKE]
            file.seek(struct.unpack(order + "I", value)[0])
            make = file.read(min(count, 32)).split(b"\0")[0].decode("ascii", "replace").split(" ")[0].title()
        pending += [following, *values_of(file, tags.get(_SUB_DIRECTORIES), order)]
    return (make or "TIFF") if has_sensor else None


class RawImage(LazyImage):
    """The picture beside raw data.

    Attributes:
        sensor_size: Width and height of the photograph that the data hold.
        description: "RAW (DNG, 4000 x 3000)".
    """

    sensor_size: tuple[int, int]
    description: str


def require_side(image: Image.Image, least: int) -> None:
    """Raise ImageError for raw data beside which there is a picture of which a side is below `least` pixels."""
    if isinstance(image, RawImage) and min(image.size) < least:
        has = f"{image.width} x {image.height} beside its data"
        raise ImageError("identify", f"{image.description} with {has}; {least} pixels a side are needed")


def open_raw(file: BinaryIO, kind: str) -> RawImage:
    """The picture beside the raw data. Raises ImageError."""
    try:
        import rawpy
    except ImportError as error:
        raise ImageError("identify", f"RAW ({kind}), read through: pip install 'mmsearch[raw]'") from error
    file.seek(0)
    data = file.read()
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            sizes = raw.sizes
            try:
                thumb = raw.extract_thumb()
            except (rawpy.LibRawError, ValueError):
                thumb = None
    except (rawpy.LibRawError, ValueError, MemoryError) as error:
        raise ImageError("identify", f"RAW ({kind}) that LibRaw cannot read: {type(error).__name__}") from error
    across, down = sizes.width or sizes.raw_width, sizes.height or sizes.raw_height
    preview = None if thumb is None else _open_preview(thumb.data, thumb.format == rawpy.ThumbFormat.JPEG)
    sensor = "{} x {}".format(*max((across, down), (sizes.raw_width, sizes.raw_height), key=math.prod))
    description = f"RAW ({kind}, {sensor})"
    if preview is None:
        raise ImageError("identify", f"{description} with no picture beside its data")
    image = RawImage("RAW", *preview.size, lambda: preview, _choose_tags(data, preview, sizes.flip))
    image.sensor_size, image.description = (across, down), description
    return image


def _open_preview(thumb: object, is_jpeg: bool) -> Image.Image | None:
    try:
        if is_jpeg and isinstance(thumb, bytes):
            return JpegImagePlugin.JpegImageFile(io.BytesIO(thumb), "")
        return Image.fromarray(thumb)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  as any decoder
        return None


def _choose_tags(data: bytes, preview: Image.Image, flip: int) -> Image.Exif:
    """The tags of the container where it is a TIFF of sorts, else of the picture beside; turned as the data are."""
    tags = preview.getexif()
    if data[:2] in (b"II", b"MM") and not data.startswith(b"II\x1a\0"):
        container_tags = Image.Exif()
        mark = b"II*\0" if data[:2] == b"II" else b"MM\0*"  # Panasonic and Olympus write marks of their own
        try:
            container_tags.load(mark + data[4:])
            tags = container_tags if len(container_tags) else tags
        except Exception:  # noqa: BLE001  tags are not the picture
            tags = preview.getexif()
    tags[ExifTags.Base.Orientation] = _ORIENTATIONS.get(flip, 1)
    return tags
