"""Answers to look at: a contact sheet (a picture) or a page (HTML)."""

from mmsearch.render.albums_page import albums_page, albums_sheet, require_albums_page
from mmsearch.render.answer_page import html_page
from mmsearch.render.duplicates_page import duplicates_page
from mmsearch.render.explained import draw_explanation, draw_found_in
from mmsearch.render.map_page import map_page
from mmsearch.render.output_files import require_outputs
from mmsearch.render.sheet import contact_sheet, draw_sheet

__all__ = [
    "albums_page",
    "albums_sheet",
    "contact_sheet",
    "draw_explanation",
    "draw_found_in",
    "draw_sheet",
    "duplicates_page",
    "html_page",
    "map_page",
    "require_albums_page",
    "require_outputs",
]
