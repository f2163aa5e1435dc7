"""Answers to look at: a contact sheet (a picture) or a page (HTML)."""

import os

from mmsearch.render.answer_page import PAGE_SUFFIXES, html_page
from mmsearch.render.output_files import resolve_output
from mmsearch.render.sheet import SHEET_SUFFIXES, contact_sheet

__all__ = ["contact_sheet", "html_page", "require_outputs"]


def require_outputs(*, page: str | os.PathLike[str] | None, sheet: str | os.PathLike[str] | None) -> None:
    """Raises QueryError, StoreError where these could not be written, before any work is done."""
    if page is not None:
        resolve_output(page, PAGE_SUFFIXES)
    if sheet is not None:
        resolve_output(sheet, SHEET_SUFFIXES)
