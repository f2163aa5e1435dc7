"""Files that hold several pictures, each an item with an address of its own: `scan.tif!/page=2`.

registry     the cutters that there are, and what they make of a file
tiff_pages   pages of a TIFF
animations   frames of animated GIF, WebP and PNG
pdf_pages    pages of a PDF, in processes of their own: pdf_process
tiles        tiles of large pictures
film_frames  frames of a film        film_facts  what it says beside them
new_frames   which of them show something new
"""

from mmsearch.cutting.new_frames import choose_new
from mmsearch.cutting.pdf_pages import read_page_texts
from mmsearch.cutting.registry import (
    CUTTERS,
    alike_from,
    as_before,
    cutter_of,
    cutting_word,
    example_span,
    list_spans,
    make_pictures,
    why_missing,
)

__all__ = [
    "CUTTERS",
    "alike_from",
    "as_before",
    "choose_new",
    "cutter_of",
    "cutting_word",
    "example_span",
    "list_spans",
    "make_pictures",
    "read_page_texts",
    "why_missing",
]
