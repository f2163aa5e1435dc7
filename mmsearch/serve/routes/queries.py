"""Asking: queries, many of them, and the pictures that they ask with."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Query as QueryParameter

from mmsearch.boxes import Box
from mmsearch.errors import EncoderError, MmsearchError, QueryError
from mmsearch.search.query import Query
from mmsearch.serve.asked import asked_query
from mmsearch.serve.failures import BAD_REQUEST, error_json
from mmsearch.serve.messages import AnswerBody, AnswersBody, PictureBody, QueriesBody, QueryBody, to_json
from mmsearch.serve.service import Service

__all__ = ["query_routes"]


def query_routes(service: Service) -> APIRouter:
    """POST /api/query, /api/queries, /api/pictures."""
    router = APIRouter(prefix="/api", tags=["queries"], responses=BAD_REQUEST)

    @router.post("/query", response_model=AnswerBody, summary="Ask the gallery")
    async def query(body: QueryBody) -> Response:
        (answer,) = await service.query_threads.ask([await asked_query(service, body)])
        if isinstance(answer, MmsearchError):
            raise answer
        return Response(answer, media_type="application/json")

    @router.post("/queries", response_model=AnswersBody, summary="Ask several things; each has its answer or its error")
    async def queries(body: QueriesBody) -> Response:
        made: list[Query | MmsearchError] = []
        for each in body.queries:
            try:
                made.append(await asked_query(service, each))
            except QueryError as error:
                made.append(error)
        answers = iter(await service.query_threads.ask([each for each in made if isinstance(each, Query)]))
        results = [next(answers) if isinstance(each, Query) else each for each in made]
        bodies = [error_json(each) if isinstance(each, MmsearchError) else each for each in results]
        return Response(b'{"answers": [' + b", ".join(bodies) + b"]}", media_type="application/json")

    @router.post(
        "/pictures",
        response_model=PictureBody,
        summary="Send a picture to ask with",
        openapi_extra={
            "requestBody": {
                "required": True,
                "description": "The bytes of a picture file, of any format that `mmsearch embed` reads.",
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def send_picture(
        request: Request,
        box: Annotated[
            str | None,
            QueryParameter(max_length=100, description="Only this part: left,top,right,bottom in shares."),
        ] = None,
    ) -> Response:
        part = None if box is None else Box.read(box)
        async with service.receiving:
            data = await request.body()
            try:
                sent = await service.sent_images.take(service.followed.last, data, part)
            except (QueryError, EncoderError) as error:
                service.metrics.uploads.labels(type(error).__name__).inc()
                raise
        service.metrics.uploads.labels("taken").inc()
        return Response(to_json(asdict(sent)), media_type="application/json")

    return router
