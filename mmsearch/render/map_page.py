"""A page with the map of a gallery: to be moved and enlarged by mouse, fingers and keys. It needs nothing else.

Its one script stands in it, and its policy lets no other run. Thumbnails stand in sprites, pictures of many tiles each.
"""

import base64
import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from mmsearch import images
from mmsearch.albums.mapping import NEIGHBOURS, AlbumMap
from mmsearch.albums.records import ClustersReport
from mmsearch.errors import ImageError
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.render.output_files import PAGE_SUFFIXES, resolve_output, save_output
from mmsearch.render.pictures import DRAWN_AT_ONCE, file_link, make_printable, render_page
from mmsearch.search.hits import Hit
from mmsearch.sources import read_location

__all__ = ["map_page"]

_TILE = 80  # pixels of a thumbnail
_COLUMNS = 20
_DRAWN = 4_000  # pictures that have thumbnails; others are points
_DIGITS = 4


def map_page(
    report: ClustersReport, album_map: AlbumMap, file: str | os.PathLike[str], *, progress: ProgressCallback = quiet
) -> Path:
    """Write the map of albums as a page. Raises QueryError, StoreError."""
    target = resolve_output(file, PAGE_SUFFIXES)
    script = files("mmsearch.render").joinpath("map.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = render_page(
        "map.html.jinja",
        report=report,
        map=album_map,
        neighbours=NEIGHBOURS,
        script=script,
        policy=f"sha256-{digest}",
        document=_document(report, album_map, progress),
    )
    return save_output(target, lambda temporary: temporary.write_text(page, "utf-8"))


def _document(report: ClustersReport, album_map: AlbumMap, progress: ProgressCallback) -> dict[str, Any]:
    """What the script is told."""
    drawn = album_map.hits[:_DRAWN]
    positions = album_map.positions
    middle = (positions.max(axis=0) + positions.min(axis=0)) / 2
    extent = max(float(np.ptp(positions, axis=0).max()), 1e-6)
    scaled = np.round((positions - middle) / extent, _DIGITS)
    place = {album.number: number for number, album in enumerate(report.all_albums)}
    links = [file_link(hit.file) for hit in album_map.hits]
    return {
        "albums": [
            {"name": make_printable(album.name), "pictures": album.pictures, "other": album is report.other}
            for album in report.all_albums
        ],
        "x": scaled[:, 0].tolist(),
        "y": scaled[:, 1].tolist(),
        "album": [place[number] for number in album_map.albums.tolist()],
        "name": [make_printable(hit.path or "") for hit in album_map.hits],
        "link": links,
        "tile": _TILE,
        "columns": _COLUMNS,
        "sprites": _sprites(drawn, progress),
        "drawn": len(drawn),
    }


def _sprites(hits: Sequence[Hit], progress: ProgressCallback) -> list[str]:
    """Pictures of 20 x 20 thumbnails, in the order of the hits, as data URIs."""
    sprites = []
    per_sprite = _COLUMNS * _COLUMNS
    with ThreadPoolExecutor(DRAWN_AT_ONCE) as drawers:
        tiles = drawers.map(_tile, [hit.file for hit in hits])
        for start in range(0, len(hits), per_sprite):
            count = min(per_sprite, len(hits) - start)
            sprite = Image.new("RGB", (_COLUMNS * _TILE, -(-count // _COLUMNS) * _TILE), (128, 128, 128))
            for number in range(count):
                tile = next(tiles)
                if tile is not None:
                    sprite.paste(tile, (number % _COLUMNS * _TILE, number // _COLUMNS * _TILE))
                progress(Progress("drawing thumbnails", start + number + 1, len(hits)))
            buffer = io.BytesIO()
            sprite.save(buffer, "JPEG", quality=80, optimize=True)
            sprites.append(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}")
    return sprites


def _tile(file: str | None) -> Image.Image | None:
    """A square piece of a picture; None where it is gone or cannot be read."""
    try:
        thumbnail = images.make_thumbnail(read_location(file or ""), 2 * _TILE)
    except (OSError, ImageError):
        return None
    return ImageOps.fit(thumbnail, (_TILE, _TILE))
