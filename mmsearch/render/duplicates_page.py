"""A page that shows groups of duplicates side by side. As safe and as self-contained as that of answers."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmsearch.render.output_files import PAGE_SUFFIXES, resolve_output, save_output
from mmsearch.render.pictures import DRAWN_AT_ONCE, file_link, render_page, thumbnail_uri
from mmsearch.upkeep.duplicates import DuplicatesReport

__all__ = ["duplicates_page"]

_HEADINGS = {"identical": "The same file", "same_picture": "The same picture", "burst": "A burst"}


def duplicates_page(report: DuplicatesReport, file: str | os.PathLike[str]) -> Path:
    """Write the groups, one below the other, the best of each first. Raises QueryError, StoreError."""
    target = resolve_output(file, PAGE_SUFFIXES)
    with ThreadPoolExecutor(DRAWN_AT_ONCE) as drawers:
        groups = [
            (group, [*zip(group.files, map(file_link, [each.path for each in group.files]), drawn, strict=True)])
            for group in report.groups
            for drawn in [drawers.map(thumbnail_uri, [each.path for each in group.files])]
        ]
    page = render_page("duplicates.html.jinja", report=report, groups=groups, headings=_HEADINGS)
    return save_output(target, lambda temporary: temporary.write_text(page, "utf-8"))
