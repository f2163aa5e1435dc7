"""Pictures in pages: a thumbnail within the page, with words below it."""

import base64
import io

from PIL import Image, ImageOps

from mmsearch import images
from mmsearch.errors import ImageError, StoreError
from mmsearch.evaluation import EvaluationReport
from mmsearch.reports.page_parts import escape
from mmsearch.sources import read_picture

__all__ = ["figure_html", "framed_html", "image_uri", "picture_html", "thumbnail_uri"]

_SIDE = 168  # pixels of a thumbnail as it is shown


def figure_html(
    report: EvaluationReport, image: int, words: str, *, right: bool = False, pixels: int = 2 * _SIDE
) -> str:
    """An image of a report by its position, or its name where there is nothing to show, above some words and its name.

    right: it is what was asked for. pixels: the longer side of what the page holds; half as many take a third of the
    room.
    """
    return picture_html(report.items.images[image], report.items.files[image], words, right=right, pixels=pixels)


def picture_html(name: str, file: str | None, words: str, *, right: bool = False, pixels: int = 2 * _SIDE) -> str:
    """The same of any picture by its name and its file."""
    return framed_html(name, thumbnail_uri(file, pixels), words, right=right)


def framed_html(name: str, uri: str | None, words: str, *, right: bool = False) -> str:
    """The same of a picture that is made already: its data URI, or None where there is nothing to show."""
    content = f'<img alt="{escape(name)}" src="{uri}">' if uri else f"<div class=none>{escape(name)}</div>"
    kind = ' class="right"' if right else ""
    caption = f"{escape(words)}<br><span class=faint>{escape(name)}</span>"
    return f"<figure{kind}>{content}<figcaption>{caption}</figcaption></figure>"


def thumbnail_uri(file: str | None, pixels: int = 2 * _SIDE) -> str | None:
    """The picture as a data URI; None where there is none to show."""
    if file is None:
        return None
    try:
        image = images.make_thumbnail(read_picture(file), pixels)
    except (OSError, ImageError, StoreError):
        return None
    return image_uri(image, pixels)


def image_uri(image: Image.Image, pixels: int = 2 * _SIDE) -> str:
    """An image as a data URI, its longer side so many pixels."""
    buffer = io.BytesIO()
    ImageOps.contain(image, (pixels, pixels)).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
