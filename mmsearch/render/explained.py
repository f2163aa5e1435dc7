"""Explanations as pictures: what speaks for each phrase, tinted and in a box; and what a detector found."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mmsearch import images
from mmsearch.detectors.records import Found
from mmsearch.errors import ImageError, QueryError
from mmsearch.explaining.records import Box, Explanation, Region
from mmsearch.locations import expanded
from mmsearch.names import printable
from mmsearch.render.output_files import SHEET_SUFFIXES, resolve_output, save_output
from mmsearch.sources import read_picture

__all__ = ["draw_explanation", "draw_found", "draw_found_in", "draw_regions", "region_colour"]

_COLOURS = ((232, 89, 12), (28, 126, 214), (43, 138, 62), (174, 62, 201), (201, 42, 42), (12, 133, 153))
_STRONGEST = 0.55  # share of the tint where the heat is greatest
_EDGE = 512
_GAP, _LINE = 12, 20
_BACKGROUND, _INK, _FAINT = (250, 249, 246), (32, 33, 36), (110, 112, 116)


def region_colour(number: int) -> str:
    """The colour of a region by its place among the regions of a picture, as HTML names it: "#e8590c"."""
    return "#{:02x}{:02x}{:02x}".format(*_COLOURS[number % len(_COLOURS)])


def draw_regions(image: Image.Image, regions: Sequence[Region], numbers: Sequence[int] | None = None) -> Image.Image:
    """A picture with the heat and the box of each region that points somewhere, in the colours of their numbers."""
    if not any(region.points for region in regions):
        return image
    tinted = np.asarray(image.convert("RGB"), np.float32)
    numbers = range(len(regions)) if numbers is None else numbers
    pointing = [(region, _COLOURS[number % len(_COLOURS)]) for region, number in zip(regions, numbers, strict=True)]
    pointing = [(region, colour) for region, colour in pointing if region.points]
    for region, colour in pointing:
        share = _shares(region.heat, image.size)[..., None] * np.float32(_STRONGEST)
        tinted = tinted * (1 - share) + np.array(colour, np.float32) * share
    drawn = Image.fromarray(np.rint(tinted).astype(np.uint8))
    _draw_boxes(drawn, [(region.box, colour) for region, colour in pointing])
    return drawn


def draw_found(image: Image.Image, found: Sequence[Found]) -> Image.Image:
    """A picture with the boxes of what was found in it, in a colour for each phrase."""
    boxes = [
        (box.box, _COLOURS[number % len(_COLOURS)]) for number, each in enumerate(found) for box in reversed(each.boxes)
    ]
    if not boxes:
        return image
    drawn = image.convert("RGB")
    _draw_boxes(drawn, boxes)
    return drawn


def draw_box(image: Image.Image, box: Sequence[float] | None) -> Image.Image:
    """A picture with the box of a part of it: left, top, right and bottom in shares; as it is without one."""
    if box is None:
        return image
    left, top, right, bottom = box
    drawn = image.convert("RGB")
    _draw_boxes(drawn, [((left, top, right, bottom), _COLOURS[0])])
    return drawn


def draw_found_in(picture: str | os.PathLike[str], found: Sequence[Found], file: str | os.PathLike[str]) -> Path:
    """Draw what was found into a .jpg, .png or .webp file. Raises QueryError, StoreError."""
    target = _target_beside(picture, file)
    drawn = draw_found(_thumbnail(picture), found)
    return save_output(target, lambda temporary: drawn.save(temporary, quality=90))


def _draw_boxes(image: Image.Image, boxes: Sequence[tuple[Box, tuple[int, int, int]]]) -> None:
    pen, width = ImageDraw.Draw(image), max(2, max(image.size) // 200)
    across, down = image.width - 1, image.height - 1
    for (left, top, right, bottom), colour in boxes:
        outline = (left * across, top * down, right * across, bottom * down)
        pen.rectangle(outline, outline=(255, 255, 255), width=width + 2)
        pen.rectangle(outline, outline=colour, width=width)


def _target_beside(picture: str | os.PathLike[str], file: str | os.PathLike[str]) -> Path:
    """The file to draw into. Raises QueryError where that is the picture itself."""
    target = resolve_output(file, SHEET_SUFFIXES)
    if target == expanded(picture).absolute():
        raise QueryError(f"{target} is the picture itself; name another file")
    return target


def _thumbnail(picture: str | os.PathLike[str]) -> Image.Image:
    try:
        return images.make_thumbnail(read_picture(picture), _EDGE)
    except (OSError, ImageError) as error:
        raise QueryError(f"cannot read the picture {os.fspath(picture)}: {error}") from error


def draw_explanation(picture: str | os.PathLike[str], explanation: Explanation, file: str | os.PathLike[str]) -> Path:
    """Draw an explanation into a .jpg, .png or .webp file: a panel for each phrase, with the falls of the score.

    Raises QueryError (the picture is not there or cannot be read), StoreError.
    """
    target, small = _target_beside(picture, file), _thumbnail(picture)
    columns = min(3, len(explanation.regions))
    rows = -(-len(explanation.regions) // columns)
    panel_width, panel_height = max(small.width, 320) + _GAP, small.height + 2 * _LINE + 2 * _GAP
    sheet = Image.new("RGB", (columns * panel_width + _GAP, rows * panel_height + _LINE + 2 * _GAP), _BACKGROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    pen.text((_GAP, _GAP), _shortened(f"{explanation.text}   {explanation.score:.4f}", sheet.width), _INK, font)
    for number, region in enumerate(explanation.regions):
        left, top = _GAP + number % columns * panel_width, 2 * _GAP + _LINE + number // columns * panel_height
        sheet.paste(draw_regions(small, [region], [number]), (left, top))
        below = top + small.height + _GAP // 2
        pen.text((left, below), _shortened(region.phrase, panel_width), _INK, font)
        pen.text((left, below + _LINE), _in_words(region), _FAINT, font)
    return save_output(target, lambda temporary: sheet.save(temporary, quality=90))


def _in_words(region: Region) -> str:
    if not region.points:
        return f"score {region.score:.3f}; no place stands out"
    return f"score {region.score:.3f}; without the box the text loses {region.fall:.3f}"


def _shortened(text: str, width: int) -> str:
    """Printable, and no longer than fits: letters of this font are some eight pixels wide."""
    text, most = printable(text), max(8, width // 8)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _shares(heat: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """A map -> (height, width), 0 at its median and below, 1 at its greatest."""
    middle, most = float(np.median(heat)), float(heat.max())
    shares = np.clip((heat - middle) / max(most - middle, 1e-9), 0, 1)
    return np.asarray(Image.fromarray(shares).resize(size, Image.Resampling.BILINEAR), np.float32)
