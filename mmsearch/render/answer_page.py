"""Pages: the hits of some queries as one HTML file that needs nothing else, to look at and to send.

Thumbnails stand in the page itself; it has no script, and its policy forbids loading anything from anywhere. Every
name and caption is escaped by the template engine. Thumbnails are drawn anew, so that no EXIF (a place, a camera)
goes along.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.detectors.records import Found
from mmsearch.errors import QueryError
from mmsearch.explaining.records import Region
from mmsearch.locations import url_of
from mmsearch.render.explained import draw_box, draw_found, draw_regions, region_colour
from mmsearch.render.output_files import PAGE_SUFFIXES, resolve_output, save_output
from mmsearch.render.pictures import DRAWN_AT_ONCE, make_printable, render_page, thumbnail_uri
from mmsearch.search.answers import Answer
from mmsearch.search.hits import Hit, where_in_file

__all__ = ["html_page"]


@dataclass(frozen=True, slots=True)
class _Card:
    """A hit as the page shows it.

    Attributes:
        thumbnail: A data URI, or None.
        absent: Why there is no thumbnail, or "".
        link: A file URI, or None.
        more: Where in its file it stands, size and date of a picture.
        explained: Its regions, each with the colour of its box.
        found: What was found in it, likewise.
    """

    hit: Hit
    name: str
    folder: str
    thumbnail: str | None
    absent: str
    link: str | None
    more: Sequence[str]
    explained: Sequence[tuple[str, Region]]
    found: Sequence[tuple[str, Found]]


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
    with ThreadPoolExecutor(DRAWN_AT_ONCE) as drawers:
        sections = [_make_section(answer, drawers) for answer in answers]
    page = render_page("page.html.jinja", sections=sections, title=make_printable(answers[0].query.title))
    return save_output(target, lambda temporary: temporary.write_text(page, "utf-8"))


def _make_section(answer: Answer, drawers: ThreadPoolExecutor) -> _Section:
    asked_with = [uri for uri, _ in drawers.map(thumbnail_uri, answer.pictures) if uri]
    thumbnails = drawers.map(_thumbnail, answer.hits)
    cards = [_make_card(hit, uri, absent) for hit, (uri, absent) in zip(answer.hits, thumbnails, strict=True)]
    return _Section(answer, answer.query.noun, asked_with, cards)


def _thumbnail(hit: Hit) -> tuple[str | None, str]:
    """As `thumbnail_uri`, with the regions of the hit and what was found. Of a tile the whole picture with its box,
    unless something is shown in the tile."""
    if hit.box is not None and not (hit.regions or hit.found):
        return thumbnail_uri(hit.whole_file, draw=lambda small: draw_box(small, hit.box))
    return thumbnail_uri(
        hit.file if hit.kind.has_picture else None,
        draw=lambda small: draw_found(draw_regions(small, hit.regions), hit.found),
    )


def _make_card(hit: Hit, thumbnail: str | None, absent: str) -> _Card:
    folder, _, name = make_printable(hit.whole_path or "").rpartition("/")
    file = hit.whole_file
    link = Path(file).as_uri() if file and not hit.gone and url_of(file) is None else None
    explained = [(region_colour(number), region) for number, region in enumerate(hit.regions)]
    found = [(region_colour(number), each) for number, each in enumerate(hit.found)]
    where = [words] if (words := where_in_file(hit)) else []
    return _Card(hit, name, folder, thumbnail, absent, link, [*where, *_image_facts(hit.row)], explained, found)


def _image_facts(row: Any) -> list[str]:
    """How large a picture is, and when it was taken; empty where its row does not say so."""
    size = [f"{row.width} × {row.height}"] if getattr(row, "width", None) else []
    taken_at = getattr(row, "taken_at", None)
    return [*size, *([taken_at.strftime("%Y-%m-%d")] if size and taken_at else [])]
