"""A camera's raw data, seen by the picture that the camera has put beside them, or developed where that is too small
(rawpy and LibRaw, the extra `raw`)."""

import io
import struct
from typing import TYPE_CHECKING, BinaryIO

from PIL import ExifTags, Image, JpegImagePlugin

from mmsearch.errors import ImageError
from mmsearch.images.directories import read_directory, values_of
from mmsearch.images.lazy import LazyImage

if TYPE_CHECKING:
    from rawpy import RawPy

__all__ = ["LEAST_RAW_SIDE", "RawImage", "open_raw", "raw_tiff", "require_side"]

LEAST_RAW_SIDE = 448
"""Pixels that the shorter side of the picture beside the data has at least, or the data are developed: twice what the
usual models take; whoever knows the model knows better. The small ones that cameras put there for their own screens
(160 x 120) are not what was photographed, to a model."""

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
    """Raw data, seen by the picture beside them.

    Attributes:
        sensor_size: Width and height of the photograph that the data hold.
    """

    def __init__(
        self, data: bytes, preview: Image.Image | None, sensor_size: tuple[int, int], exif: Image.Exif
    ) -> None:
        """preview: the picture beside them; None where there is none, so that the data have to be developed."""
        size = sensor_size if preview is None else preview.size
        super().__init__("RAW", *size, self._develop if preview is None else lambda: preview, exif)
        self.sensor_size = sensor_size
        self._data, self._preview, self._least_side = data, preview, 1

    def require_side(self, least: int) -> None:
        """Have `load` develop the data where the picture beside them has fewer pixels a side. It then raises EOFError
        where they are cut short, and OSError where LibRaw cannot develop them."""
        self._least_side = least
        if self._preview is not None and min(self._preview.size) < least:
            self._read, self._size = self._develop, self.sensor_size

    def _develop(self) -> Image.Image:
        """As large as the sensor, or half as large where that is enough, and four times as fast."""
        import rawpy

        try:
            with rawpy.imread(io.BytesIO(self._data)) as raw:
                if _is_cut(raw):
                    raise EOFError
                half = min(raw.sizes.width, raw.sizes.height) >= 2 * self._least_side
                pixels = raw.postprocess(use_camera_wb=True, user_flip=0, half_size=half, output_bps=8)
        except rawpy.LibRawIOError as error:
            raise EOFError from error
        except rawpy.LibRawError as error:
            raise OSError("LibRaw cannot develop it") from error
        return Image.fromarray(pixels)


def _is_cut(raw: "RawPy") -> bool:
    """Whether the end of the data is missing, which LibRaw takes for zeros: the rows of a sensor have noise."""
    if raw.raw_type.name != "Flat":
        return False
    rows = raw.raw_image_visible
    last = rows[-max(8, len(rows) // 100) :]
    are_empty = (last == last[:, :1]).all(axis=1) & (last[:, 0] <= min(raw.black_level_per_channel))
    return bool(are_empty.mean() >= 0.5)  # what is packed leaves some values in others


def require_side(image: Image.Image, least: int) -> None:
    """Have raw data developed where the picture beside them has a side below `least` pixels."""
    if isinstance(image, RawImage):
        image.require_side(least)


def open_raw(file: BinaryIO, kind: str) -> RawImage:
    """Raw data, not yet looked at. Raises ImageError."""
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
        raise ImageError("identify", f"RAW ({kind}) that LibRaw cannot read") from error
    across, down = sizes.width or sizes.raw_width, sizes.height or sizes.raw_height
    preview = None if thumb is None else _open_preview(thumb.data, thumb.format == rawpy.ThumbFormat.JPEG)
    return RawImage(data, preview, (across, down), _choose_tags(data, preview, sizes.flip))


def _open_preview(thumb: object, is_jpeg: bool) -> Image.Image | None:
    try:
        if is_jpeg and isinstance(thumb, bytes):
            return JpegImagePlugin.JpegImageFile(io.BytesIO(thumb), "")
        return Image.fromarray(thumb)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  as any decoder
        return None


def _choose_tags(data: bytes, preview: Image.Image | None, flip: int) -> Image.Exif:
    """The tags of the container where it is a TIFF of sorts, else of the picture beside; turned as the data are."""
    tags = beside = Image.Exif() if preview is None else preview.getexif()
    if data[:2] in (b"II", b"MM") and not data.startswith(b"II\x1a\0"):
        container_tags = Image.Exif()
        mark = b"II*\0" if data[:2] == b"II" else b"MM\0*"  # Panasonic and Olympus write marks of their own
        try:
            container_tags.load(mark + data[4:])
            tags = container_tags if len(container_tags) else tags
        except Exception:  # noqa: BLE001  tags are not the picture
            tags = beside
    tags[ExifTags.Base.Orientation] = _ORIENTATIONS.get(flip, 1)
    return tags
