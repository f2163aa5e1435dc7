"""JPEG XL through libjxl (pillow-jxl-plugin, the extra `jxl`)."""

import io
from typing import BinaryIO

from PIL import ExifTags, Image

from mmsearch.errors import ImageError
from mmsearch.images.lazy import LazyImage

__all__ = ["SIGNATURES", "open_jxl"]

SIGNATURES = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_HEADER_BYTES = 1 << 20
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def open_jxl(file: BinaryIO) -> LazyImage:
    """The image in a file that begins like JPEG XL. Its plugin decodes as it opens, so the size is read here: what is
    over the limit must not be decoded. Raises ImageError."""
    file.seek(0)
    try:
        width, height = _read_size(_find_codestream(file.read(_HEADER_BYTES)))
    except (ValueError, IndexError) as error:
        raise ImageError("identify", "damaged JPEG XL header") from error
    try:
        from pillow_jxl.JpegXLImagePlugin import JXLImageFile
    except ImportError as error:
        raise ImageError(
            "identify", "JPEG XL, which needs a library of its own: pip install 'mmsearch[jxl]'"
        ) from error

    def read() -> Image.Image:
        file.seek(0)
        image = JXLImageFile(io.BytesIO(file.read()), "")
        image.load()  # type: ignore[no-untyped-call]
        if not image.jpeg:  # libjxl has turned it, and says the same once more in the tags
            tags = image.getexif()
            tags.pop(ExifTags.Base.Orientation, None)
            image.info["exif"] = tags.tobytes()
        return image

    return LazyImage("JXL", width, height, read)


def _find_codestream(head: bytes) -> bytes:
    """What follows the signature of the stream, bare or in boxes."""
    if head.startswith(SIGNATURES[0]):
        return head[2:]
    offset = 0
    while offset + 8 <= len(head):
        size, name, body = int.from_bytes(head[offset : offset + 4], "big"), head[offset + 4 : offset + 8], offset + 8
        if size == 1:
            size, body = int.from_bytes(head[body : body + 8], "big"), body + 8
        if name in (b"jxlc", b"jxlp"):
            stream = head[body + (4 if name == b"jxlp" else 0) :]
            if not stream.startswith(SIGNATURES[0]):
                raise ValueError("no stream")
            return stream[2:]
        if size < 8:
            break
        offset += size
    raise ValueError("no stream")


def _read_size(stream: bytes) -> tuple[int, int]:
    """Width and height (ISO/IEC 18181-1, SizeHeader: bits from the lowest of the first byte)."""
    bits = int.from_bytes(stream[:16], "little")
    if len(stream) < 12:
        raise ValueError("too short")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    small = take(1)

    def side() -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = take(3)
    if ratio:
        across, down = _RATIOS[ratio - 1]
        return height * across // down, height
    return side(), height
