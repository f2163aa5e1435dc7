"""Pictures as they are sent to agents: JPEGs of bounded size, drawn anew, so that no EXIF goes along."""

import io
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from mmsearch import images
from mmsearch.errors import ImageError, StoreError
from mmsearch.gallery import Gallery
from mmsearch.render import draw_sheet
from mmsearch.search.answers import Answer
from mmsearch.search.gallery_files import FileGone, NoSuchImage, image_row, read_content
from mmsearch.search.hits import Hit, clock

__all__ = ["EDGE", "PICTURE_BYTES", "draw_answer", "draw_strip", "draw_within"]

EDGE = 1_024
"""Pixels of the longer side, at most."""

PICTURE_BYTES = 480 << 10
"""Of all pictures of one answer together: in base64 it has 640 KiB, and some clients take no answer of 1 MB."""

_LINE, _PAPER, _INK = 18, (250, 249, 246), (32, 33, 36)

# Shares of the longer side and qualities of JPEG, until it is small enough. Letters stay readable longest by pixels.
_STEPS = ((1.0, 85), (1.0, 70), (1.0, 50), (0.7, 60), (0.5, 60), (0.35, 50), (0.2, 40))


def draw_within(data: bytes, most_bytes: int) -> bytes:
    """A file's picture as a JPEG of at most so many bytes: upright, in sRGB, without EXIF. Raises ImageError."""
    return _jpeg_within(images.make_thumbnail(data, EDGE), most_bytes)


def draw_strip(frames: Sequence[tuple[float, bytes]], most_bytes: int) -> bytes:
    """Frames of a film, each with its second, side by side in one JPEG of at most so many bytes. Raises ImageError.

    Seconds have a tenth where else two frames would have the same.
    """
    times = [clock(int(seconds)) for seconds, _ in frames]
    if len(set(times)) < len(times):
        times = [f"{clock(int(seconds))}.{int(10 * seconds) % 10}" for seconds, _ in frames]
    edge = EDGE // len(frames)
    small = [images.make_thumbnail(data, edge) for _, data in frames]
    strip = Image.new("RGB", (edge * len(frames), max(image.height for image in small) + _LINE), _PAPER)
    pen, font = ImageDraw.Draw(strip), ImageFont.load_default(_LINE - 4)
    for place, (time, image) in enumerate(zip(times, small, strict=True)):
        strip.paste(image, (place * edge, 0))
        pen.text((place * edge + 2, strip.height - _LINE), time, _INK, font)
    return _jpeg_within(strip, most_bytes)


def draw_answer(answer: Answer, gallery: Gallery) -> bytes:
    """The hits of an answer as one JPEG, near to a square, each with its rank and its row id. A file that is no longer
    what was embedded is an empty tile."""

    def read(hit: Hit) -> bytes:
        try:
            return read_content(gallery, image_row(gallery, hit.row_id)).data
        except (FileGone, NoSuchImage, StoreError) as error:
            raise ImageError("read", str(error)) from error

    columns = math.ceil(math.sqrt(len(answer.hits)))
    sheet = draw_sheet([answer], read=read, label=lambda hit: f"{hit.rank}.  row {hit.row_id}", columns=columns)
    return _jpeg_within(sheet, PICTURE_BYTES)


def _jpeg_within(image: Image.Image, most_bytes: int) -> bytes:
    for share, quality in _STEPS:
        size = (max(1, round(share * image.width)), max(1, round(share * image.height)))
        file = io.BytesIO()
        try:
            (image if share == 1 else image.resize(size, Image.Resampling.LANCZOS)).save(file, "JPEG", quality=quality)
        except (OSError, ValueError) as error:
            raise ImageError("resize", f"it cannot be drawn: {error}") from error
        if file.tell() <= most_bytes:
            return file.getvalue()
    raise ImageError("resize", "it cannot be drawn in so few bytes")
