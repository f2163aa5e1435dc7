"""The routes."""

import asyncio
import json
import mimetypes
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.resources import files
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from mmsearch import images
from mmsearch.errors import EncoderError, GalleryError, ImageError, MmsearchError, QueryError
from mmsearch.pipeline import questions
from mmsearch.pipeline.answers import Answer
from mmsearch.pipeline.hits import record
from mmsearch.pipeline.questions import NEAR_DUPLICATE, Known, Like, Part, Text
from mmsearch.records import ITEM_TABLES
from mmsearch.serve.asking import Answered, Asking, TooBusy
from mmsearch.serve.contents import Gone, NoSuchImage, file_of, image_row, read_content
from mmsearch.serve.following import Following
from mmsearch.serve.messages import AnswerBody, AnswersBody, ErrorBody, QueriesBody, QueryBody
from mmsearch.serve.pictures import Pictures, UnknownPicture
from mmsearch.serve.thumbnails import EDGES, Thumbnails
from mmsearch.version import __version__

__all__ = ["make_app"]

_T = TypeVar("_T")
_RowId = Annotated[int, Path(ge=0, le=2**63 - 1)]


def make_app(following: Following, thumbnails: Thumbnails, *, threads: int = 2) -> FastAPI:
    """The application over a gallery."""
    asking, pictures = Asking(following, threads), Pictures()
    reading, encoding = ThreadPoolExecutor(4, "reading"), ThreadPoolExecutor(1, "pictures")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        asking.close()
        thumbnails.close()
        reading.shutdown(wait=False)
        encoding.shutdown(wait=False)

    app = FastAPI(
        title="mmsearch",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses={422: {"model": ErrorBody}},
    )
    app.exception_handlers |= {
        RequestValidationError: _invalid,
        HTTPException: _refused,
        MmsearchError: _failed,
        NoSuchImage: _no_such_image,
        Gone: _gone,
        TooBusy: _too_busy,
    }

    async def work(pool: ThreadPoolExecutor, function: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)

    @app.get("/", include_in_schema=False)
    @app.get("/static/{name}", include_in_schema=False)
    async def page(name: str = "index.html") -> Response:
        return _page_file(name)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        manifest = following.last.gallery.manifest
        return {"status": "ok", "version": manifest.version}

    @app.get("/api/gallery")
    async def gallery() -> Response:
        return _json(await work(reading, _about, following))

    async def asked(body: QueryBody) -> questions.Query:
        opened = following.last
        parts: list[Part] = []
        for part in body.parts:
            if part.text is not None:
                parts.append(Text(part.text, part.weight))
            elif part.like is not None:
                parts.append(Like(part.like, part.weight))
            else:
                vector = await work(reading, pictures.vector, opened, part.picture or "")
                parts.append(Known(vector, "a picture", part.weight))
        distinct = NEAR_DUPLICATE if body.distinct is True else body.distinct or None
        return questions.Query(
            parts,
            k=body.k,
            offset=body.offset,
            table=body.table,
            templates=body.templates,
            where=body.where,
            min_score=body.min_score,
            distinct=distinct,
        )

    @app.post("/api/query", response_model=AnswerBody)
    async def query(body: QueryBody) -> Response:
        (answered,) = await asking.ask([await asked(body)])
        if isinstance(answered.result, MmsearchError):
            raise answered.result
        return _json(_answer(answered.result, answered.version))

    @app.post("/api/queries", response_model=AnswersBody)
    async def queries(body: QueriesBody) -> Response:
        made: list[questions.Query | MmsearchError] = []
        for each in body.queries:
            try:
                made.append(await asked(each))
            except QueryError as error:
                made.append(error)
        answers = iter(await asking.ask([each for each in made if isinstance(each, questions.Query)]))
        results = [next(answers) if isinstance(each, questions.Query) else Answered(each, -1) for each in made]
        return _json({"answers": [_answer_or_error(each) for each in results]})

    @app.post("/api/pictures")
    async def send_picture(request: Request) -> Response:
        data = await request.body()
        return _json(asdict(await work(encoding, pictures.take, following.last, data)))

    @app.get("/api/images/{row_id}")
    async def image(row_id: _RowId) -> Response:
        return _json(await work(reading, _image, following, row_id))

    @app.get("/api/images/{row_id}/thumbnail")
    async def thumbnail(request: Request, row_id: _RowId, edge: Annotated[int, Query()] = EDGES[0]) -> Response:
        if edge not in EDGES:
            return _json({"error": f"edge is one of {', '.join(map(str, EDGES))}, not {edge}"}, 422)
        opened = following.last.gallery
        row = await work(reading, image_row, opened, row_id)
        if row.content_hash is None:
            raise Gone("the gallery was imported without the content hashes of its files, so that none can be checked")
        tag = f'"{row.content_hash.hex()}-{edge}"'
        headers = {"etag": tag, "cache-control": "private, max-age=31536000, immutable"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        try:
            data = await thumbnails.get(row.content_hash, edge, lambda: read_content(opened, row))
        except ImageError as error:
            raise Gone(f"the file cannot be shown: {error.reason}") from error
        return Response(data, media_type="image/jpeg", headers=headers)

    @app.get("/api/images/{row_id}/original")
    async def original(row_id: _RowId) -> Response:
        opened = following.last.gallery
        row = await work(reading, image_row, opened, row_id)
        data = await work(reading, read_content, opened, row)
        return Response(data, media_type=_media_type(data), headers={"cache-control": "private, no-cache"})

    return app


def _about(following: Following) -> dict[str, Any]:
    gallery = following.newest().gallery
    manifest = gallery.manifest
    return {
        "name": gallery.path.parent.name if gallery.path.name == ".mmsearch" else gallery.path.name,
        "version": manifest.version,
        "images": gallery.live_rows("images"),
        "captions": gallery.live_rows("captions"),
        "encoder": {
            "spec": manifest.encoder.spec,
            "dim": manifest.encoder.dim,
            "declared": manifest.encoder.declared,
        },
        "indexes": [
            {"table": entry.table, "factory": entry.factory, "rows": entry.rows}
            for table in ITEM_TABLES
            if (entry := gallery.index_for(table)) is not None
        ],
        "roots": [{"id": root.id, "path": _text(str(gallery.root_path(root.id)))} for root in manifest.roots],
        "columns": [
            {"name": field.name, "type": str(field.type)}
            for field in gallery.schema("images")
            if field.name != "embedding"
        ],
        "answers_text": True,
        "mmsearch": __version__,
    }


def _image(following: Following, row_id: int) -> dict[str, Any]:
    gallery = following.newest().gallery
    row = image_row(gallery, row_id)
    file = file_of(gallery, row)
    values = asdict(row) | {"row_id": row_id, "file": None if file is None else _text(file)}
    values["content_hash"] = None if row.content_hash is None else row.content_hash.hex()
    values["path_bytes"] = None if row.path_bytes is None else row.path_bytes.hex()
    values["taken_at"] = row.taken_at.isoformat() if row.taken_at else None
    return values


def _text(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _answer(answer: Answer, version: int) -> dict[str, Any]:
    return {
        "title": answer.query.title,
        "hits": [record(hit) for hit in answer.hits],
        "more": answer.more,
        "warnings": list(answer.remarks),
        "version": version,
    }


def _answer_or_error(answered: Answered) -> dict[str, Any]:
    if isinstance(answered.result, MmsearchError):
        return _error(answered.result)
    return _answer(answered.result, answered.version)


def _error(error: MmsearchError) -> dict[str, Any]:
    code = "unknown_picture" if isinstance(error, UnknownPicture) else None
    return {"error": str(error)} | ({"code": code} if code else {})


def _json(value: object, status: int = 200) -> Response:
    data = json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
    return Response(data, status, media_type="application/json")


def _page_file(name: str) -> Response:
    folder = files("mmsearch.serve") / "page"
    if not folder.is_dir() or name not in {entry.name for entry in folder.iterdir() if entry.is_file()}:
        return _json({"error": f"there is no {name}"}, 404)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response((folder / name).read_bytes(), media_type=kind, headers={"cache-control": "no-cache"})


def _media_type(data: bytes) -> str:
    import io

    try:
        kind = images.probe(io.BytesIO(data)).format
    except ImageError:
        return "application/octet-stream"
    from PIL import Image

    return Image.MIME.get(kind, "application/octet-stream")


def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return _json({"error": "; ".join(problems[:5])}, 422)


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": str(error.detail)}, error.status_code)


def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, MmsearchError)
    status = 404 if isinstance(error, UnknownPicture) else 422
    if isinstance(error, GalleryError):
        status = 503
    elif isinstance(error, EncoderError):
        status = 409
    return _json(_error(error), status)


def _no_such_image(_: Request, error: Exception) -> Response:
    return _json({"error": f"the gallery holds no picture with the row id {error}"}, 404)


def _gone(_: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 410)


def _too_busy(_: Request, error: Exception) -> Response:
    return _json({"error": "too many queries are waiting; ask again in a moment"}, 503)
