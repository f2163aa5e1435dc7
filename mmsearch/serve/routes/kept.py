"""Queries that are kept under a name, as `mmsearch query --keep` does."""

from fastapi import APIRouter, Response

from mmsearch.search.kept_queries import delete_kept_query, keep_query, kept_queries
from mmsearch.search.query import Query
from mmsearch.serve.asked import asked_query, require_keeps
from mmsearch.serve.failures import BAD_REQUEST
from mmsearch.serve.messages import KeepBody, KeptBody, to_json
from mmsearch.serve.service import Service

__all__ = ["kept_routes"]


def kept_routes(service: Service) -> APIRouter:
    """GET and POST /api/kept, DELETE /api/kept/{name}."""
    router = APIRouter(prefix="/api", tags=["queries"], responses=BAD_REQUEST)

    @router.get("/kept", response_model=KeptBody, summary="The names that queries are kept under")
    async def kept() -> Response:
        require_keeps(service)
        return Response(await service.reading.run(_names), media_type="application/json")

    @router.post("/kept", response_model=KeptBody, summary="Keep a query under a name, to be asked again by it")
    async def keep(body: KeepBody) -> Response:
        require_keeps(service)
        query = await asked_query(service, body)
        await service.reading.run(_keep, service, body.name, query, body.replace)
        return Response(await service.reading.run(_names), media_type="application/json")

    @router.delete("/kept/{name}", response_model=KeptBody, summary="Keep nothing under a name any more")
    async def delete(name: str) -> Response:
        require_keeps(service)
        await service.reading.run(delete_kept_query, name)
        return Response(await service.reading.run(_names), media_type="application/json")

    return router


def _names() -> bytes:
    return to_json({"names": kept_queries()})


def _keep(service: Service, name: str, query: Query, replace_old: bool) -> None:
    keep_query(name, query, service.followed.newest().gallery, replace_old=replace_old)
