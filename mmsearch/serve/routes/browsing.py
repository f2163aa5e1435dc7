"""What there is to look at beside the hits: some of the gallery, and the pictures that are asked with."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from mmsearch.budget import REQUEST
from mmsearch.errors import ImageError
from mmsearch.gallery import Gallery, read_consistently
from mmsearch.items import CAPTIONS, IMAGES, ImageRow
from mmsearch.search.gallery_files import FileGone, image_row, read_content
from mmsearch.search.hits import record
from mmsearch.search.samples import sample, sample_captions
from mmsearch.serve.failures import BAD_REQUEST, GONE, NOT_FOUND
from mmsearch.serve.messages import SampleBody, to_json
from mmsearch.serve.sent_images import UnknownImage
from mmsearch.serve.service import Service
from mmsearch.serve.thumbnails import Edge

__all__ = ["browsing_routes"]

_CAPTIONS = 6

_Hash = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="The content hash of a picture.")]
_Where = Annotated[
    str | None,
    Query(max_length=REQUEST.filter_characters, description="An SQL expression over the columns of the pictures."),
]


_Near = Annotated[
    str | None, Query(max_length=200, description='Only pictures that were taken near a place, as "Lisbon 20km".')
]


def browsing_routes(service: Service) -> APIRouter:
    """GET /api/sample, /api/pictures/{picture}/thumbnail."""
    router = APIRouter(prefix="/api", tags=["looking"])

    @router.get(
        "/sample", response_model=SampleBody, responses=BAD_REQUEST, summary="Pictures from all over the gallery"
    )
    async def some(n: Annotated[int, Query(ge=1, le=200)] = 60, where: _Where = None, near: _Near = None) -> Response:
        pool = service.reading if where is None and near is None else service.filtering  # reading waits for no filter
        return Response(to_json(await pool.run(_sample, service, n, where, near)), media_type="application/json")

    @router.get(
        "/pictures/{picture}/thumbnail",
        response_class=Response,
        responses=BAD_REQUEST | NOT_FOUND | GONE | {200: {"content": {"image/jpeg": {}}}},
        summary="A picture that was sent to ask with, as a small JPEG",
    )
    async def thumbnail(picture: _Hash) -> Response:
        data = service.sent_images.thumbnail(picture)
        if data is None:
            gallery, row = await service.reading.run(_held, service, picture)
            try:
                data = await service.thumbnails.get(
                    bytes.fromhex(picture), Edge.SMALL, lambda: read_content(gallery, row).data
                )
            except ImageError as error:
                raise FileGone(f"the file cannot be shown: {error.reason}") from error
        return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    return router


def _sample(service: Service, n: int, where: str | None, near: str | None) -> dict[str, Any]:
    """The `SampleBody` of a gallery. Raises FilterError, QueryError."""
    opened = service.followed.newest()
    return {
        "hits": [record(hit) | {"score": None} for hit in sample(opened, n, where=where, near=near)],
        CAPTIONS.name: sample_captions(opened, _CAPTIONS) if where is None and near is None else [],
        "version": opened.gallery.manifest.version,
    }


def _held(service: Service, picture: str) -> tuple[Gallery, ImageRow]:
    """The row of the gallery with this content. Raises UnknownImage."""
    gallery = service.followed.newest().gallery
    row_id = read_consistently(gallery, lambda now: now.row_with_content(IMAGES.name, bytes.fromhex(picture)))
    if row_id is None:
        raise UnknownImage(picture)
    return gallery, image_row(gallery, row_id)
