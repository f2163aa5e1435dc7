"""`mmsearch clusters`"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mmsearch.cli.hits import csv_line, from_here
from mmsearch.cli.options import GalleryOption, NearOption, path, say
from mmsearch.cli.progress import display
from mmsearch.names import is_unicode, printable, shown

if TYPE_CHECKING:
    from mmsearch.albums.records import Album, ClustersReport
    from mmsearch.progress import ProgressCallback
    from mmsearch.search.hits import Hit


def clusters(
    gallery: GalleryOption = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help="Only pictures that a filter admits: an expression over the columns."),
    ] = None,
    near: NearOption = None,
    k: Annotated[
        int | None, typer.Option("-k", min=1, metavar="N", help="How many albums. Default: as many as suit best.")
    ] = None,
    words: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", parser=path, help="Names to choose from, one a line, instead of some 1,100 everyday words."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the sample and the starts.")] = 0,
    output: Annotated[
        Literal["table", "jsonl", "csv"] | None,
        typer.Option(
            "--format",
            help="How to print: albums for people (default), an album a line as JSON with all of its pictures, or a "
            "picture a row as CSV.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=path,
            help="Write pages: into a folder, with all pictures of each album, or as one file that ends in .html, with "
            "the most typical ones.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=path, help="Draw the most typical pictures of each album as one picture."),
    ] = None,
    map_file: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="FILE",
            parser=path,
            help="Write a page with a map of the pictures, on which those that are like each other stand together.",
        ),
    ] = None,
) -> None:
    """Group the pictures of a gallery into albums, and name each by the words that fit it best. Nothing is changed.

    How many albums suit best is measured and said. Pictures that fit nowhere are left in an album called other.
    """
    from mmsearch.albums.clustering import clusters as run

    if html is not None or sheet is not None or map_file is not None:
        from mmsearch.render import require_albums_page, require_outputs

        if html is not None:
            require_albums_page(html)
        require_outputs(page=map_file, sheet=sheet)
    with display(interrupted="no picture was touched") as progress:
        report = run(gallery, where=where, near=near, k=k, words=words, seed=seed, progress=progress.progress)
        for line in _write(report, html, sheet, map_file, seed, progress.progress):
            progress.announce(line)
    if report.nameless is not None:
        say(report.nameless)
    _FORMATS[output or "table"](report)
    say(report.why)


def _write(
    report: "ClustersReport",
    html: Path | None,
    sheet: Path | None,
    map_file: Path | None,
    seed: int,
    progress: "ProgressCallback",
) -> Iterator[str]:
    """Write what was asked for; yields a line about each."""
    if html is not None:
        from mmsearch.render import albums_page

        yield f"wrote {albums_page(report, html, progress=progress)}"
    if sheet is not None:
        from mmsearch.render import albums_sheet

        yield f"wrote {albums_sheet(report, sheet)}"
    if map_file is not None:
        from mmsearch.albums.mapping import NEIGHBOURS, album_map
        from mmsearch.render import map_page

        laid_out = album_map(report, seed=seed, progress=progress)
        file = map_page(report, laid_out, map_file, progress=progress)
        kept = f"of {NEIGHBOURS} neighbours on it, trustworthiness {laid_out.trustworthiness:.3f} (1 is best)"
        yield f"wrote {file}: {len(laid_out.hits):,} pictures; {kept}"


def _table(report: "ClustersReport") -> None:
    albums = report.all_albums
    width = max(len(album.name) for album in albums)
    years = max(len(album.years) for album in albums)
    digits = len(f"{max(album.pictures for album in albums):,}")
    for album in albums:
        fit = "" if album.fit is None else f"fit {album.fit:.2f}"
        more = ", ".join(word.word for word in album.words[1:])
        count = f"{album.pictures:{digits},} picture{'s' if album.pictures > 1 else ' '}"
        cells = [f"{album.number:3}", printable(album.name).ljust(width), count, album.years.ljust(years), f"{fit:8}"]
        print("  ".join([*cells, f"also: {more}" if more else ""]).rstrip())
        print(f"     {'  '.join(printable(from_here(_path(hit))) for hit in album.typical[:_SHOWN])}")


_SHOWN = 3  # typical pictures


def _jsonl(report: "ClustersReport") -> None:
    for album, pieces in _with_pictures(report):
        document = {
            "number": album.number,
            "name": album.name,
            "fit": album.fit,
            "words": [{"word": word.word, "fit": word.fit} for word in album.words],
            "other": album is report.other,
            "pictures": album.pictures,
            "first_taken": album.first_taken and album.first_taken.isoformat(),
            "last_taken": album.last_taken and album.last_taken.isoformat(),
        }
        paths = [_path(hit) for hits in pieces for hit in hits]
        print(json.dumps(document | {"paths": paths}, ensure_ascii=not all(map(is_unicode, paths))))


def _csv(report: "ClustersReport") -> None:
    print(csv_line(["album", "name", "rank", "score", "row_id", "file"]))
    for album, pieces in _with_pictures(report):
        for hits in pieces:
            for hit in hits:
                print(csv_line([album.number, album.name, hit.rank, hit.score, hit.row_id, shown(_path(hit))]))


def _path(hit: "Hit") -> str:
    return hit.file or hit.path or ""


def _with_pictures(report: "ClustersReport") -> "Iterator[tuple[Album, Iterator[list[Hit]]]]":
    """Each album with all of its pictures, the most typical first, in pieces."""
    from mmsearch.albums.clustering import album_hits
    from mmsearch.search.open_gallery import open_gallery

    opened = open_gallery(report.gallery)
    for album in report.all_albums:
        starts = range(0, album.pictures, _AT_A_TIME)
        yield album, (album_hits(opened, album, start, start + _AT_A_TIME) for start in starts)


_AT_A_TIME = 10_000  # pictures of which all is known together


_FORMATS: "dict[str, Callable[[ClustersReport], None]]" = {"table": _table, "jsonl": _jsonl, "csv": _csv}
