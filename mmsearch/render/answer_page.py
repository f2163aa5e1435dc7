"""Pages: the hits of some queries as one HTML file that needs nothing else, to look at and to send.

Thumbnails stand in the page itself; it has no script, and its policy forbids loading anything from anywhere. Every
name and caption is escaped by the template engine. Thumbnails are drawn anew, so that no EXIF (a place, a camera)
goes along.
"""

import base64
import io
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mmsearch import images
from mmsearch.errors import ImageError, QueryError
from mmsearch.locations import url_of
from mmsearch.names import shown
from mmsearch.render.output_files import PAGE_SUFFIXES, resolve_output, save_output
from mmsearch.search.answers import Answer
from mmsearch.search.hits import Hit
from mmsearch.sources import read_location
from mmsearch.version import __version__

__all__ = ["html_page"]

_THUMBNAIL = 512  # pixels of the longer side: sharp at 240 on a screen with two pixels to the point
_DRAWN_AT_ONCE = 4
_UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class _Card:
    """A hit as the page shows it.

    Attributes:
        thumbnail: A data URI, or None.
        absent: Why there is no thumbnail, or "".
        link: A file URI, or None.
        more: Size and date of a picture.
    """

    hit: Hit
    name: str
    folder: str
    thumbnail: str | None
    absent: str
    link: str | None
    more: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Section:
    """An answer as the page shows it."""

    answer: Answer
    noun: str
    asked_with: Sequence[str]
    cards: Sequence[_Card]


def html_page(answers: Sequence[Answer], file: str | os.PathLike[str]) -> Path:
    """Write the answers, one below the other, as a self-contained page.

    A hit whose picture is gone or cannot be read keeps its card, which says so. Raises QueryError, StoreError.
    """
    target = resolve_output(file, PAGE_SUFFIXES, answers)
    if not answers:
        raise QueryError("no answers to show")
    # Here, since a query that needs no page should not wait for it.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mmsearch.render", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = _make_printable
    with ThreadPoolExecutor(_DRAWN_AT_ONCE) as drawers:
        sections = [_make_section(answer, drawers) for answer in answers]
    page = environment.get_template("page.html.jinja").render(
        sections=sections,
        title=_make_printable(answers[0].query.title),
        now=datetime.now().astimezone(),
        version=__version__,
    )
    return save_output(target, lambda temporary: temporary.write_text(page, "utf-8"))


def _make_section(answer: Answer, drawers: ThreadPoolExecutor) -> _Section:
    asked_with = [uri for uri, _ in drawers.map(_thumbnail_uri, answer.pictures) if uri]
    thumbnails = drawers.map(_thumbnail_uri, [hit.file if hit.kind.has_picture else None for hit in answer.hits])
    cards = [_make_card(hit, uri, absent) for hit, (uri, absent) in zip(answer.hits, thumbnails, strict=True)]
    return _Section(answer, answer.query.noun, asked_with, cards)


def _make_card(hit: Hit, thumbnail: str | None, absent: str) -> _Card:
    folder, _, name = _make_printable(hit.path or "").rpartition("/")
    link = Path(hit.file).as_uri() if hit.file and not hit.gone and url_of(hit.file) is None else None
    return _Card(hit, name, folder, thumbnail, absent, link, _image_facts(hit.row))


def _image_facts(row: Any) -> list[str]:
    """How large a picture is, and when it was taken; empty where its row does not say so."""
    size = [f"{row.width} × {row.height}"] if getattr(row, "width", None) else []
    taken_at = getattr(row, "taken_at", None)
    return [*size, *([taken_at.strftime("%Y-%m-%d")] if size and taken_at else [])]


def _thumbnail_uri(file: str | None) -> tuple[str | None, str]:
    """A picture as a data URI; or None and the reason."""
    if file is None:
        return None, "no picture"
    try:
        image = images.make_thumbnail(read_location(file), _THUMBNAIL)
    except FileNotFoundError:
        return None, "gone since it was embedded"
    except OSError as error:
        return None, f"cannot be read: {(error.strerror or str(error)).lower()}"
    except ImageError as error:
        return None, f"cannot be read: {error.reason}"
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", ""


def _make_printable(text: str) -> str:
    """Valid text: what HTML may not hold, and what would turn a line around, as escapes."""
    return _UNSHOWABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), shown(text))
