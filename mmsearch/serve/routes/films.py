"""The films of the gallery: the file that a frame is of, as it is, in the ranges that a browser asks for."""

import os
import stat
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.responses import FileResponse

from mmsearch.gallery import Gallery
from mmsearch.items import IMAGES, MEMBER
from mmsearch.locations import url_of
from mmsearch.search.gallery_files import FileGone, NoSuchImage, file_of, image_row
from mmsearch.serve.failures import BAD_REQUEST, GONE, NOT_FOUND
from mmsearch.serve.service import Service

__all__ = ["film_routes"]

_HEAD_BYTES = 12
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
    async def film(row_id: Annotated[int, Path(ge=0, le=2**63 - 1)]) -> Response:
        file, media_type = await service.reading.run(lambda: _film(service.followed.newest().gallery, row_id))
        headers = {"cache-control": "private, no-cache", "content-disposition": "inline"}
        return FileResponse(file, media_type=media_type, headers=headers)

    return router


def _film(gallery: Gallery, row_id: int) -> tuple[str, str]:
    """Where the film of a frame really is, and what it is. Raises NoSuchImage where a row is no frame, FileGone.

    A film is too large to be told by its hash whenever somebody looks at it: what is given lies in the folder that the
    gallery names, links followed.
    """
    row = image_row(gallery, row_id)
    named = file_of(gallery, row)
    if row.start_s is None:
        raise NoSuchImage(row_id)
    film = None if named is None else named.rpartition(MEMBER)[0]
    if not film or url_of(film) is not None:
        raise FileGone("only films in folders of this machine are played")
    real = os.path.realpath(film)
    try:
        state = FilePath(real).stat()
        if not stat.S_ISREG(state.st_mode):  # before it is opened: opening a device may do things
            raise FileGone("it is no file any more")
        with open(real, "rb") as file:  # noqa: PTH123 - the path may hold surrogates; Path adds nothing
            head = file.read(_HEAD_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileGone("the film is gone since it was embedded") from error
    except (OSError, ValueError) as error:
        raise FileGone("the film cannot be read") from error
    if not FilePath(real).is_relative_to(os.path.realpath(gallery.root_path(row.root_id) or "")):
        raise FileGone("the film lies outside of the folder that the gallery names")
    return real, _media_type(head)


def _media_type(head: bytes) -> str:
    """By what it is, not by what it is called. Raises FileGone where browsers play no such film."""
    if head[4:8] == b"ftyp":
        return "video/mp4"  # QuickTime's too: by its own name browsers do not try to play it
    if head.startswith(_MATROSKA):
        return "video/webm"
    if head.startswith(_OGG):
        return "video/ogg"
    raise FileGone(_NOT_PLAYED)
