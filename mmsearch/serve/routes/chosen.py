"""Several pictures at once, as they were chosen: their files as a zip, and where these are."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Path, Response
from fastapi.responses import StreamingResponse
from numpy.typing import NDArray

from mmsearch.gallery import Gallery
from mmsearch.names import shown
from mmsearch.search.gallery_files import file_of
from mmsearch.serve.failures import BAD_REQUEST, NOT_FOUND
from mmsearch.serve.messages import ChosenBody, FilesBody, ZipBody, to_json
from mmsearch.serve.pools import TooBusy
from mmsearch.serve.service import Service
from mmsearch.serve.zips import live_rows, zip_pieces

__all__ = ["chosen_routes"]

_SENT_AT_ONCE = 4  # zips: each holds a file

_ZipName = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="As POST /api/zips answered it.")]


def chosen_routes(service: Service) -> APIRouter:
    """POST /api/files, /api/zips; GET /api/zips/{zip}."""
    router = APIRouter(prefix="/api", tags=["chosen"], responses=BAD_REQUEST)
    sending: set[object] = set()

    def newest() -> Gallery:
        return service.followed.newest().gallery

    @router.post("/files", response_model=FilesBody, summary="Where the files of pictures are")
    async def files(body: ChosenBody) -> Response:
        row_ids = np.array(body.row_ids, np.int64)
        found = await service.reading.run(lambda: _files(newest(), row_ids))
        return Response(to_json(found), media_type="application/json")

    @router.post("/zips", response_model=ZipBody, summary="Choose the pictures of a zip")
    async def choose(body: ChosenBody) -> Response:
        row_ids = np.array(list(dict.fromkeys(body.row_ids)), np.int64)
        known = await service.reading.run(lambda: _size(newest(), row_ids))
        return Response(to_json(known | {"zip": service.chosen.keep(row_ids)}), media_type="application/json")

    @router.get(
        "/zips/{zip_name}",
        response_class=Response,
        responses=NOT_FOUND | {200: {"content": {"application/zip": {}}}},
        summary="The files of the pictures that were chosen, as a zip that is made while it is sent",
    )
    async def send(zip_name: _ZipName) -> Response:
        row_ids = service.chosen.get(zip_name)
        if row_ids is None:
            raise HTTPException(404, "this zip was chosen too long ago; choose the pictures again")
        if len(sending) >= _SENT_AT_ONCE:
            raise TooBusy
        pieces = zip_pieces(newest(), row_ids)
        mark = object()

        async def stream() -> AsyncIterator[bytes]:
            sending.add(mark)
            try:
                while (piece := await service.zipping.run(lambda: next(pieces, None))) is not None:
                    yield piece
            finally:
                sending.discard(mark)

        headers = {"content-disposition": 'attachment; filename="pictures.zip"'}
        return StreamingResponse(stream(), media_type="application/zip", headers=headers)

    return router


def _files(gallery: Gallery, row_ids: NDArray[np.int64]) -> dict[str, Any]:
    """A `FilesBody`."""
    rows = [row for some in live_rows(gallery, row_ids) for _, row in some]
    places = [None if row is None else file_of(gallery, row) for row in rows]
    return {"files": [None if place is None else shown(place) for place in places]}


def _size(gallery: Gallery, row_ids: NDArray[np.int64]) -> dict[str, Any]:
    """How many of these rows the gallery holds, and the bytes of their files as far as they are known."""
    rows = [row for some in live_rows(gallery, row_ids) for _, row in some if row is not None]
    return {"pictures": len(rows), "bytes": sum(row.bytes or 0 for row in rows)}
