"""The films of the gallery: the file that a frame is of, as it is, in the ranges that a browser asks for."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Header, Path, Response
from fastapi.responses import FileResponse, StreamingResponse

from mmsearch.errors import ImageError
from mmsearch.gallery import Gallery
from mmsearch.items import IMAGES, without_span
from mmsearch.locations import url_of
from mmsearch.search.gallery_files import FileGone, NoSuchImage, file_of, image_row
from mmsearch.serve.failures import BAD_REQUEST, GONE, NOT_FOUND
from mmsearch.serve.service import Service
from mmsearch.sources import container_of, local_bytes

__all__ = ["film_routes"]

_HEAD_BYTES = 12
_PIECE = 1 << 18
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_MATROSKA, _OGG = b"\x1aE\xdf\xa3", b"OggS"
_NOT_PLAYED = "browsers do not play films of its kind: open it from its folder"


def film_routes(service: Service) -> APIRouter:
    """GET /api/images/{row_id}/film."""
    router = APIRouter(prefix=f"/api/{IMAGES.name}", tags=[IMAGES.name], responses=BAD_REQUEST | NOT_FOUND)

    @router.get(
        "/{row_id}/film",
        response_class=Response,
        responses=GONE
        | {
            200: {"content": {"video/*": {}}},
            206: {"content": {"video/*": {}}, "description": "The range of bytes that was asked for."},
            416: {"description": "There are no such bytes."},
        },
        summary="The film that a picture is a frame of, as it is; ranges of bytes too",
    )
    async def film(
        row_id: Annotated[int, Path(ge=0, le=2**63 - 1)],
        asked: Annotated[str | None, Header(alias="range", include_in_schema=False)] = None,
    ) -> Response:
        found = await service.reading.run(lambda: _film(service.followed.newest().gallery, row_id))
        headers = {"cache-control": "private, no-cache", "content-disposition": "inline"}
        if not found.in_archive:
            return FileResponse(found.file, media_type=found.media_type, headers=headers)
        return _answer_range(found, asked, headers)

    return router


@dataclass(frozen=True, slots=True)
class _Film:
    """A film. file: where it really is, perhaps in an archive. length: in bytes."""

    file: str
    media_type: str
    length: int
    in_archive: bool


def _answer_range(film: _Film, asked: str | None, headers: dict[str, str]) -> Response:
    """What `FileResponse` answers, of a member of an archive."""
    start, end = 0, film.length
    headers = {**headers, "accept-ranges": "bytes"}
    if (match := _RANGE.fullmatch(asked or "")) is not None and (match[1] or match[2]):
        start = int(match[1]) if match[1] else max(0, film.length - int(match[2]))
        end = min(film.length, int(match[2]) + 1) if match[1] and match[2] else film.length
        if start >= end:
            return Response(status_code=416, headers={**headers, "content-range": f"bytes */{film.length}"})
        headers["content-range"] = f"bytes {start}-{end - 1}/{film.length}"
    headers["content-length"] = str(end - start)
    status = 206 if "content-range" in headers else 200
    return StreamingResponse(_pieces(film.file, start, end), status, headers=headers, media_type=film.media_type)


def _pieces(file: str, start: int, end: int) -> Iterator[bytes]:
    """Some bytes of a member of an archive, which stays as it is meanwhile."""
    with local_bytes(file) as found, found.open() as stream:
        stream.seek(start)
        while start < end and (piece := stream.read(min(_PIECE, end - start))):
            start += len(piece)
            yield piece


def _film(gallery: Gallery, row_id: int) -> _Film:
    """The film of a frame. Raises NoSuchImage where a row is no frame, FileGone.

    A film is too large to be told by its hash whenever somebody looks at it: what is given lies in the folder that the
    gallery names, links followed.
    """
    row = image_row(gallery, row_id)
    named = file_of(gallery, row)
    if row.start_s is None:
        raise NoSuchImage(row_id)
    film = None if named is None else without_span(named)
    if film is None or film == named or url_of(film) is not None:
        raise FileGone("only films in folders of this machine are played")
    try:
        archive = container_of(film)
        real = os.path.realpath(archive or film)
        if not stat.S_ISREG(FilePath(real).stat().st_mode):  # before it is opened: opening a device may do things
            raise FileGone("it is no file any more")
        if not FilePath(real).is_relative_to(os.path.realpath(gallery.root_path(row.root_id) or "")):
            raise FileGone("the film lies outside of the folder that the gallery names")
        where = real + film[len(archive or film) :]
        with local_bytes(where) as found, found.open() as file:
            head, length = file.read(_HEAD_BYTES), found.length()
    except ImageError as error:
        raise FileGone(f"the film cannot be read: {error.reason}") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileGone("the film is gone since it was embedded") from error
    except (OSError, ValueError) as error:
        raise FileGone("the film cannot be read") from error
    return _Film(where, _media_type(head), length, archive is not None)


def _media_type(head: bytes) -> str:
    """By what it is, not by what it is called. Raises FileGone where browsers play no such film."""
    if head[4:8] == b"ftyp":
        return "video/mp4"  # QuickTime's too: by its own name browsers do not try to play it
    if head.startswith(_MATROSKA):
        return "video/webm"
    if head.startswith(_OGG):
        return "video/ogg"
    raise FileGone(_NOT_PLAYED)
