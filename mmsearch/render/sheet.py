"""Contact sheets: the hits of some queries as one picture."""

import math
import os
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, count
from pathlib import Path, PurePosixPath

from PIL import Image, ImageDraw, ImageFont, ImageOps

from mmsearch import images
from mmsearch.errors import ImageError, QueryError
from mmsearch.names import printable
from mmsearch.render.explained import draw_box
from mmsearch.render.output_files import SHEET_SUFFIXES, resolve_output, save_output
from mmsearch.search.answers import Answer
from mmsearch.search.hits import Hit, where_in_file
from mmsearch.sources import read_location

__all__ = ["contact_sheet", "draw_sheet"]

_TILE = 176
_COLUMNS = 10
_MOST_PIXELS = 16_383  # what WebP can hold in height; JPEG ends at 65,535
_GAP = 10
_LINE = 18
_BACKGROUND, _INK, _FAINT = (250, 249, 246), (32, 33, 36), (110, 112, 116)


def contact_sheet(answers: Sequence[Answer], file: str | os.PathLike[str]) -> Path:
    """Draw the answers as `draw_sheet` does, and save them in the format that the name of `file` says.

    Raises QueryError (no answers, or too many hits for a picture), StoreError.
    """
    target = resolve_output(file, SHEET_SUFFIXES, answers)
    sheet = draw_sheet(answers, read=_read, label=_label, box_of=lambda hit: hit.box)
    # The quality is of use to JPEG and WebP, ignored by the rest.
    return save_output(target, lambda temporary: sheet.save(temporary, quality=90))


def _read(hit: Hit) -> bytes:
    """The picture of a hit; of a tile the whole one."""
    return read_location((hit.file if hit.box is None else hit.whole_file) or "")


def draw_sheet(
    answers: Sequence[Answer],
    *,
    read: Callable[[Hit], bytes],
    label: Callable[[Hit], str],
    columns: int = _COLUMNS,
    box_of: Callable[[Hit], Sequence[float] | None] = lambda _: None,
) -> Image.Image:
    """The answers one below the other, best hit first, as one picture.

    A hit whose picture is gone or cannot be read is shown as an empty tile that says so; a caption as its words.
    read: gives the bytes of a hit's picture, or raises OSError or ImageError. label: what stands below a hit.
    columns: how many tiles stand in a row. box_of: the part of its picture that a hit is,
    which is drawn on it. Raises QueryError (no answers, or too many hits for a picture).
    """
    if not answers:
        raise QueryError("no answers to draw")
    widest = max(min(columns, len(answer.hits) + len(answer.pictures)) for answer in answers)
    tops = [_GAP, *accumulate((_height(answer, columns) for answer in answers), initial=_GAP)][1:]
    if tops[-1] > _MOST_PIXELS:
        raise QueryError("too many hits for a contact sheet; ask for fewer (-k), or for a page (--html)")
    sheet = Image.new("RGB", (_GAP + max(2, widest) * (_TILE + _GAP), tops[-1]), _BACKGROUND)
    for top, answer in zip(tops[:-1], answers, strict=True):
        _draw_answer(sheet, top, answer, read, label, columns, box_of)
    return sheet


def _label(hit: Hit) -> str:
    where = f" {words}" if (words := where_in_file(hit)) else ""
    return f"{hit.rank}.  {hit.score:.3f}  {PurePosixPath(hit.whole_path or '').name}{where}"


def _height(answer: Answer, columns: int) -> int:
    rows = math.ceil((len(answer.hits) + len(answer.pictures)) / columns)
    return _LINE + _GAP + rows * (_TILE + _LINE + _GAP) + _GAP


def _draw_answer(
    sheet: Image.Image,
    top: int,
    answer: Answer,
    read: Callable[[Hit], bytes],
    label: Callable[[Hit], str],
    columns: int,
    box_of: Callable[[Hit], Sequence[float] | None],
) -> None:
    draw = ImageDraw.Draw(sheet)
    title = printable(answer.query.title if answer.hits else f"{answer.query.title}: no hits")
    draw.text((_GAP, top), title, fill=_INK, font=_font(15))
    corners = (
        (_GAP + column * (_TILE + _GAP), top + _LINE + _GAP + row * (_TILE + _LINE + _GAP))
        for row in count()
        for column in range(columns)
    )
    for file, corner in zip(answer.pictures, corners, strict=False):
        _draw_image(sheet, corner, partial(read_location, file))
        _draw_label(draw, corner, "asked with")
    for hit in answer.hits:
        corner = next(corners)
        if hit.text is not None:
            _draw_words(sheet, corner, hit.text)
        else:
            _draw_image(sheet, corner, partial(read, hit), box_of(hit))
        _draw_label(draw, corner, label(hit))


def _draw_label(draw: ImageDraw.ImageDraw, corner: tuple[int, int], label: str) -> None:
    draw.text((corner[0], corner[1] + _TILE + 3), _shorten_label(label), fill=_FAINT, font=_font(12))


def _draw_image(
    sheet: Image.Image, corner: tuple[int, int], read: Callable[[], bytes], box: Sequence[float] | None = None
) -> None:
    try:
        thumbnail = draw_box(images.make_thumbnail(read(), _TILE), box)
    except (OSError, ImageError):
        _draw_words(sheet, corner, "the picture is gone or cannot be read")
        return
    tile = ImageOps.pad(thumbnail, (_TILE, _TILE), color=(238, 237, 233))
    sheet.paste(tile, corner)


def _draw_words(sheet: Image.Image, corner: tuple[int, int], words: str) -> None:
    draw = ImageDraw.Draw(sheet)
    left, top = corner
    draw.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), fill=(255, 255, 255), outline=(225, 224, 220))
    lines = textwrap.wrap(printable(" ".join(words.split())), 24)[:9]
    draw.multiline_text((left + _GAP, top + _GAP), "\n".join(lines), fill=_INK, font=_font(13), spacing=4)


def _shorten_label(label: str) -> str:
    label = printable(label)
    return label if len(label) <= 28 else f"{label[:27]}…"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
