"""Pages and a sheet of albums. As safe and as self-contained as the page of answers: without scripts.

A file shows the most typical pictures of each album; a folder has pages of all pictures of each beside that.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mmsearch.albums.clustering import album_hits
from mmsearch.albums.records import Album, ClustersReport
from mmsearch.errors import StoreError
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.render.output_files import PAGE_SUFFIXES, resolve_folder, resolve_output, save_output
from mmsearch.render.pictures import DRAWN_AT_ONCE, file_link, render_page, thumbnail_uri
from mmsearch.render.sheet import contact_sheet
from mmsearch.search.answers import Answer
from mmsearch.search.hits import Hit
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import Query, TextPart

__all__ = ["albums_page", "albums_sheet", "require_albums_page"]

_OWN = "<title>albums · mmsearch</title>"
_EDGE = 320  # pixels of the longer side of a thumbnail
_A_PAGE = 200  # pictures
_MOST = 2_000  # pictures of an album that have a place on its pages
_ON_A_SHEET = 10


@dataclass(frozen=True, slots=True)
class _Tile:
    """A picture as a page shows it. thumbnail: a data URI, or None; absent: why there is none. link: a file URI."""

    hit: Hit
    thumbnail: str | None
    absent: str
    link: str | None

    @property
    def day(self) -> str:
        """When it was taken, or ""."""
        taken_at = self.hit.row.taken_at
        return f"{taken_at:%Y-%m-%d}" if taken_at else ""


def require_albums_page(target: str | os.PathLike[str]) -> None:
    """Raises QueryError, StoreError where the pages could not be written, before any work is done."""
    _resolve(target)


def _resolve(target: str | os.PathLike[str]) -> tuple[Path, bool]:
    """Where pages are written, and whether that is a folder."""
    if Path(target).suffix.lower() in PAGE_SUFFIXES and not Path(target).is_dir():
        return resolve_output(target, PAGE_SUFFIXES), False
    return resolve_folder(target, _OWN), True


def albums_page(report: ClustersReport, target: str | os.PathLike[str], *, progress: ProgressCallback = quiet) -> Path:
    """Write the albums as a file that ends in .html, or into a folder, where each has pages of its own.

    Returns the page to begin with. A folder is made; one that holds anything but such pages is refused.
    Raises QueryError, StoreError.
    """
    place, is_folder = _resolve(target)
    with ThreadPoolExecutor(DRAWN_AT_ONCE) as drawers:
        if not is_folder:
            return _write_index(report, place, drawers, {}, progress)
        try:
            place.mkdir(exist_ok=True)
            for stale in place.glob("album-*.html"):
                stale.unlink()
        except OSError as error:
            raise StoreError(f"cannot write {place}: {(error.strerror or str(error)).lower()}") from error
        pages = {album.number: _page_name(album, 0) for album in report.all_albums}
        index = _write_index(report, place / "index.html", drawers, pages, progress)
        shown = sum(min(album.pictures, _MOST) for album in report.all_albums)
        done = 0
        for album in report.all_albums:
            for count in _write_album(report, album, place, drawers):
                done += count
                progress(Progress("drawing albums", done, shown))
        return index


def albums_sheet(report: ClustersReport, file: str | os.PathLike[str]) -> Path:
    """Draw the most typical pictures of each album, a row each, as one picture. Raises QueryError, StoreError."""
    answers = [
        Answer(Query([TextPart(album.name)], title=_title(album)), album.typical[:_ON_A_SHEET])
        for album in report.all_albums
    ]
    return contact_sheet(answers, file)


def _title(album: Album) -> str:
    return " · ".join([f"{album.number}. {album.name}", *_facts(album)])


def _facts(album: Album) -> list[str]:
    count = f"{album.pictures:,} picture{'' if album.pictures == 1 else 's'}"
    return [count, *([album.years] if album.years else [])]


def _write_index(
    report: ClustersReport,
    file: Path,
    drawers: ThreadPoolExecutor,
    pages: dict[int, str],
    progress: ProgressCallback,
) -> Path:
    sections = []
    for number, album in enumerate(report.all_albums, 1):
        sections.append((album, _facts(album), _tiles(album.typical, drawers), pages.get(album.number)))
        progress(Progress("drawing the page of albums", number, len(report.all_albums)))
    page = render_page("albums.html.jinja", report=report, sections=sections)
    return _save(page, file)


def _write_album(report: ClustersReport, album: Album, folder: Path, drawers: ThreadPoolExecutor) -> Iterator[int]:
    """Write the pages of an album; yields how many pictures each has."""
    opened = open_gallery(report.gallery)
    shown = min(album.pictures, _MOST)
    starts = range(0, shown, _A_PAGE)
    names = [_page_name(album, number) for number in range(len(starts))]
    for number, start in enumerate(starts):
        hits = album_hits(opened, album, start, min(start + _A_PAGE, shown))
        page = render_page(
            "album.html.jinja",
            album=album,
            facts=_facts(album),
            shown=shown,
            tiles=_tiles(hits, drawers),
            names=names,
            number=number,
        )
        _save(page, folder / names[number])
        yield len(hits)


def _page_name(album: Album, number: int) -> str:
    return f"album-{album.number:02}{f'-{number + 1}' if number else ''}.html"


def _save(page: str, file: Path) -> Path:
    return save_output(file, lambda temporary: temporary.write_text(page, "utf-8"))


def _tiles(hits: Sequence[Hit], drawers: ThreadPoolExecutor) -> list[_Tile]:
    drawn = drawers.map(lambda hit: thumbnail_uri(hit.file, _EDGE), hits)
    return [_Tile(hit, uri, absent, file_link(hit.file)) for hit, (uri, absent) in zip(hits, drawn, strict=True)]
