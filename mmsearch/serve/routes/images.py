"""The pictures of the gallery by their row ids: what is known of them, thumbnails, the files themselves."""

import io
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from PIL import Image

from mmsearch import images
from mmsearch.boxes import Box, PixelBox
from mmsearch.errors import ImageError
from mmsearch.gallery import Gallery, read_consistently
from mmsearch.items import CAPTIONS, IMAGES, MEMBER, ImageRow
from mmsearch.names import shown
from mmsearch.search.describing import is_gone
from mmsearch.search.gallery_files import FileGone, file_of, image_row, read_content
from mmsearch.search.hits import base64_text
from mmsearch.serve.crops import LARGEST_SIDE
from mmsearch.serve.failures import BAD_REQUEST, GONE, NOT_FOUND
from mmsearch.serve.messages import ImageBody, to_json
from mmsearch.serve.service import Service
from mmsearch.serve.thumbnails import DRAWING, Edge

__all__ = ["image_routes"]

_RowId = Annotated[int, Path(ge=0, le=2**63 - 1)]
_Pixels = Annotated[int, Query(ge=0, le=2**24, description="Of the upright picture.")]
_Side = Annotated[int, Query(ge=1, le=LARGEST_SIDE)]
# A row id is never reused and its content never changes; but a row may go.
_KEPT_BY_BROWSERS = "private, max-age=86400, immutable"
_SHOWN = {"image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "image/bmp"}


def image_routes(service: Service) -> APIRouter:
    """GET /api/images/{row_id}, …/thumbnail, …/crop, …/part, …/original."""
    router = APIRouter(prefix=f"/api/{IMAGES.name}", tags=[IMAGES.name], responses=BAD_REQUEST | NOT_FOUND)

    def newest() -> Gallery:
        return service.followed.newest().gallery

    @router.get("/{row_id}", response_model=ImageBody, summary="What the gallery knows of a picture")
    async def image(row_id: _RowId) -> Response:
        return Response(
            to_json(await service.reading.run(lambda: _image(newest(), row_id))), media_type="application/json"
        )

    @router.get(
        "/{row_id}/thumbnail",
        response_class=Response,
        responses=GONE | {200: {"content": {"image/jpeg": {}}}, 304: {"description": "It is as it was."}},
        summary="A picture as a JPEG of at most so many pixels a side",
    )
    async def thumbnail(request: Request, row_id: _RowId, edge: Annotated[Edge, Query()] = Edge.SMALL) -> Response:
        gallery, row = await service.reading.run(lambda: _row(newest(), row_id))
        content_hash = row.content_hash
        if content_hash is None:  # an imported gallery: its files are what they are
            content_hash = (await service.reading.run(read_content, gallery, row)).content_hash
        headers = {"etag": f'"{content_hash.hex()}-{edge.value}-{DRAWING}"', "cache-control": _KEPT_BY_BROWSERS}
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        try:
            data = await service.thumbnails.get(content_hash, edge, lambda: read_content(gallery, row).data)
        except ImageError as error:
            raise FileGone(f"the file cannot be shown: {error.reason}") from error
        return Response(data, media_type="image/jpeg", headers=headers)

    @router.get(
        "/{row_id}/crop",
        response_class=Response,
        responses=GONE | {200: {"content": {"image/jpeg": {}}}},
        summary="A part of a picture at its own pixels, as a JPEG",
    )
    async def crop(
        row_id: _RowId,
        left: _Pixels = 0,
        top: _Pixels = 0,
        width: _Side = LARGEST_SIDE,
        height: _Side = LARGEST_SIDE,
    ) -> Response:
        gallery, row = await service.reading.run(lambda: _row(newest(), row_id))
        content_hash = row.content_hash or f"row {row_id} of {gallery.manifest.version}".encode()
        box = PixelBox(left, top, width, height)
        try:
            data = await service.cropping.run(
                lambda: service.crops.draw(content_hash, box, lambda: read_content(gallery, row).data)
            )
        except ImageError as error:
            raise FileGone(f"the file cannot be shown: {error.reason}") from error
        return Response(data, media_type="image/jpeg", headers={"cache-control": _KEPT_BY_BROWSERS})

    @router.get(
        "/{row_id}/part",
        response_class=Response,
        responses=GONE | {200: {"content": {"image/jpeg": {}}}},
        summary="The part of a picture in a box, as a JPEG of at most so many pixels a side",
    )
    async def part(
        row_id: _RowId,
        box: Annotated[str, Query(max_length=100, description="left,top,right,bottom in shares of it upright.")],
        edge: Annotated[Edge, Query(le=Edge.LARGE)] = Edge.SMALL,
    ) -> Response:
        cut = Box.read(box)
        gallery, row = await service.reading.run(lambda: _row(newest(), row_id))
        content_hash = row.content_hash or f"row {row_id} of {gallery.manifest.version}".encode()
        try:
            data = await service.cropping.run(
                lambda: service.crops.draw_part(content_hash, cut, edge, lambda: read_content(gallery, row).data)
            )
        except ImageError as error:
            raise FileGone(f"the file cannot be shown: {error.reason}") from error
        return Response(data, media_type="image/jpeg", headers={"cache-control": _KEPT_BY_BROWSERS})

    @router.get(
        "/{row_id}/original",
        response_class=Response,
        responses=GONE | {200: {"content": {"image/*": {}}}},
        summary="A picture's file as it is",
    )
    async def original(row_id: _RowId) -> Response:
        gallery, row = await service.reading.run(lambda: _row(newest(), row_id))
        content = await service.reading.run(read_content, gallery, row)
        kind = await service.reading.run(_media_type, content.data)
        headers = {
            "etag": f'"{content.content_hash.hex()}"',
            "cache-control": "private, no-cache",
            # No name from the gallery: it may hold anything. What a browser would not show as a picture is saved.
            "content-disposition": "inline" if kind in _SHOWN else f'attachment; filename="picture-{row_id}"',
        }
        return Response(content.data, media_type=kind, headers=headers)

    return router


def _row(gallery: Gallery, row_id: int) -> Any:
    return gallery, image_row(gallery, row_id)


def _image(gallery: Gallery, row_id: int) -> dict[str, Any]:
    """The `ImageBody` of a row. Raises NoSuchImage."""
    row = image_row(gallery, row_id)
    file = file_of(gallery, row)
    values = asdict(row)
    captions = read_consistently(gallery, lambda now: now.captions_of(row.root_id, row.path))
    return values | {
        "row_id": row_id,
        "path_bytes": base64_text(row.path_bytes),
        "file": None if file is None else shown(file),
        "content_hash": None if row.content_hash is None else row.content_hash.hex(),
        "taken_at": row.taken_at.isoformat() if row.taken_at else None,
        "gone": file is None or is_gone(file),
        CAPTIONS.name: [each.caption for each in captions if each.guessed_by is None],
        "guesses": [
            {"guess": each.caption, "guessed_by": each.guessed_by} for each in captions if each.guessed_by is not None
        ],
        "whole": _whole(gallery, row),
    }


def _whole(gallery: Gallery, row: ImageRow) -> int | None:
    """The row id of the picture that a tile is of; None of what is no tile, and where the gallery does not hold it."""
    if row.box is None:
        return None
    path = row.path.rpartition(MEMBER)[0]
    rows = read_consistently(gallery, lambda now: now.rows_at(IMAGES.name, path))
    return next((row_id for row_id, root_id in rows if root_id == row.root_id), None)


def _media_type(data: bytes) -> str:
    """By what it is, not by what it is called."""
    try:
        return Image.MIME.get(images.probe(io.BytesIO(data)).format, "application/octet-stream")
    except ImageError:
        return "application/octet-stream"
