"""Pictures of answers: a contact sheet of the hits of some queries."""

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from mmsearch import images
from mmsearch.errors import ImageError, QueryError, StoreError
from mmsearch.pipeline.query import Hit
from mmsearch.sources import read_location

__all__ = ["Answer", "contact_sheet"]

_TILE = 176
_GAP = 10
_LINE = 18
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_BACKGROUND, _INK, _FAINT = (250, 249, 246), (32, 33, 36), (110, 112, 116)


@dataclass(frozen=True, slots=True)
class Answer:
    """A query and its hits. picture: the file that was asked with, if it was one."""

    question: str
    hits: Sequence[Hit]
    picture: str | None = None


def contact_sheet(answers: Sequence[Answer], file: str | os.PathLike[str]) -> Path:
    """Draw the answers, a row a query, best hit first, and save them in the format that the name of `file` says.

    A hit whose picture is gone or cannot be read is shown as an empty tile that says so; a caption as its words.
    Raises QueryError (no hits, a format that Pillow does not write), StoreError.
    """
    target = require_place(file)
    widest = max((len(answer.hits) + (answer.picture is not None) for answer in answers), default=0)
    if widest == 0:
        raise QueryError("no hits to draw")
    row_height = _LINE + _GAP + _TILE + _LINE + 2 * _GAP
    sheet = Image.new("RGB", (_GAP + widest * (_TILE + _GAP), _GAP + row_height * len(answers)), _BACKGROUND)
    for number, answer in enumerate(answers):
        _draw_row(sheet, _GAP + number * row_height, answer)
    if any(target == Path(shown) for answer in answers for shown in _files(answer)):
        raise QueryError(f"{target} is one of the pictures themselves; name another file for the contact sheet")
    temporary = target.with_name(f".{target.stem}.tmp{target.suffix}")
    try:
        sheet.save(temporary, quality=90)  # of use to JPEG and WebP, ignored by the rest
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def require_place(file: str | os.PathLike[str]) -> Path:
    """Where a contact sheet will be written. Raises QueryError, StoreError where it cannot, before any work is done."""
    target = Path(file).expanduser().absolute()
    if target.suffix.lower() not in _SUFFIXES:
        raise QueryError(f"{target.name}: name a .jpg, .png or .webp file for the contact sheet")
    if not target.parent.is_dir():
        raise StoreError(f"cannot write {target}: there is no folder {target.parent}")
    return target


def _draw_row(sheet: Image.Image, top: int, answer: Answer) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, top), answer.question, fill=_INK, font=_font(15))
    left, tiles_top = _GAP, top + _LINE + _GAP
    if answer.picture is not None:
        _draw_picture(sheet, (left, tiles_top), answer.picture)
        draw.text((left, tiles_top + _TILE + 3), "asked with", fill=_FAINT, font=_font(12))
        left += _TILE + _GAP
    for hit in answer.hits:
        if hit.caption is not None:
            _draw_words(sheet, (left, tiles_top), hit.caption)
        else:
            _draw_picture(sheet, (left, tiles_top), hit.file)
        label = f"{hit.rank}.  {hit.score:.3f}  {Path(hit.path or '').name}"
        draw.text((left, tiles_top + _TILE + 3), _fitted(label), fill=_FAINT, font=_font(12))
        left += _TILE + _GAP


def _files(answer: Answer) -> list[str]:
    asked = [os.path.abspath(answer.picture)] if answer.picture else []  # noqa: PTH100 - compared, not opened
    return [*asked, *(hit.file for hit in answer.hits if hit.file)]


def _draw_picture(sheet: Image.Image, corner: tuple[int, int], file: str | None) -> None:
    try:
        picture = images.decode(read_location(file or "")).image
    except (OSError, ImageError):
        _draw_words(sheet, corner, "the picture is gone or cannot be read")
        return
    tile = ImageOps.pad(picture, (_TILE, _TILE), color=(238, 237, 233))
    sheet.paste(tile, corner)


def _draw_words(sheet: Image.Image, corner: tuple[int, int], words: str) -> None:
    draw = ImageDraw.Draw(sheet)
    left, top = corner
    draw.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), fill=(255, 255, 255), outline=(225, 224, 220))
    lines = textwrap.wrap(words, 24)[:9]
    draw.multiline_text((left + _GAP, top + _GAP), "\n".join(lines), fill=_INK, font=_font(13), spacing=4)


def _fitted(label: str) -> str:
    return label if len(label) <= 28 else f"{label[:27]}…"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
