"""Where in a picture what is asked is seen: some hundred encodings, one picture at a time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from threading import Event

from fastapi import APIRouter, Request, Response

from mmsearch.budget import REQUEST
from mmsearch.explaining.records import Region, region_record
from mmsearch.items import IMAGES
from mmsearch.search.query import Query
from mmsearch.serve.asked import asked_query
from mmsearch.serve.failures import BAD_REQUEST, GONE, NOT_FOUND
from mmsearch.serve.messages import ExplainBody, ExplanationBody, RowId, to_json
from mmsearch.serve.pools import TooSlow
from mmsearch.serve.service import Service

__all__ = ["explaining_routes"]

_LOOK_SECONDS = 0.5  # between two looks at whether the client is still there


def explaining_routes(service: Service) -> APIRouter:
    """POST /api/images/{row_id}/regions."""
    router = APIRouter(prefix=f"/api/{IMAGES.name}", tags=[IMAGES.name], responses=BAD_REQUEST | NOT_FOUND | GONE)

    @router.post(
        "/{row_id}/regions", response_model=ExplanationBody, summary="Where in a picture what is asked is seen"
    )
    async def regions(request: Request, row_id: RowId, body: ExplainBody) -> Response:
        until = time.monotonic() + REQUEST.explain_seconds
        query = await asked_query(service, body)
        async with _client_watched(request) as left:

            def check() -> None:
                if left.is_set():
                    raise TooSlow("whoever asked has left")
                if time.monotonic() > until:
                    raise TooSlow(f"it took longer than {REQUEST.explain_seconds} s")

            answer = await service.explaining.run(_regions, service, query, row_id, check, body.quick)
        return Response(answer, media_type="application/json")

    return router


@contextlib.asynccontextmanager
async def _client_watched(request: Request) -> AsyncIterator[Event]:
    """An event that is set when the client has left: what it asked for is then not wanted any more."""
    left = Event()

    async def watch() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(_LOOK_SECONDS)
        left.set()

    watching = asyncio.create_task(watch())
    try:
        yield left
    finally:
        watching.cancel()


def _regions(service: Service, query: Query, row_id: int, check: Callable[[], None], quick: bool) -> bytes:
    opened = service.followed.newest()
    found = opened.regions(query, row_id, check, quick=quick)
    regions = [region_record(each) | {"heat": _heat(each)} for each in found]
    return to_json({"regions": regions, "version": opened.gallery.manifest.version})


def _heat(region: Region) -> list[list[float]] | None:
    return region.heat.astype(float).round(4).tolist() if region.points else None
