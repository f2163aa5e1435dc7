"""What goes wrong, as answers: a status, and a message that says what, where and what to do."""

import re
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from mmsearch.errors import EncoderError, FilterError, GalleryError, MmsearchError
from mmsearch.search.gallery_files import FileGone, NoSuchImage
from mmsearch.search.kept_queries import NameTaken
from mmsearch.serve.messages import ErrorBody, to_json
from mmsearch.serve.pools import TooBusy, TooSlow
from mmsearch.serve.sent_images import UnknownImage
from mmsearch.wording import problem

__all__ = ["BAD_REQUEST", "GONE", "NOT_FOUND", "UNWELL", "answer_failures", "error_json"]

_Responses = dict[int | str, dict[str, Any]]


def _documented(status: int, description: str) -> _Responses:
    return {status: {"model": ErrorBody, "description": description}}


NOT_FOUND = _documented(404, "There is no such thing.")
GONE = _documented(410, "The file is gone, or no longer what the gallery holds.")
UNWELL = _documented(503, "The gallery is gone or damaged, or its threads are lost or stuck.")
BAD_REQUEST: _Responses = {
    **_documented(400, "The body is no JSON."),
    **_documented(404, "A picture that is asked with is not known."),
    **_documented(409, "The gallery's model cannot be loaded here; items of the gallery can still be asked with."),
    **_documented(408, "The body did not come in time."),
    **_documented(413, "The body is too large."),
    **_documented(422, "What is asked has no answer as asked."),
    **_documented(503, "The gallery is gone or damaged, or too much is waiting."),
}


def error_json(error: MmsearchError) -> bytes:
    """An `ErrorBody` as it goes out."""
    more = {}
    if isinstance(error, UnknownImage):
        more = {"code": "unknown_picture", "picture": error.picture}
    elif isinstance(error, FilterError):
        more = {"code": "bad_filter"}
    elif isinstance(error, NameTaken):
        more = {"code": "name_taken"}
    return to_json({"error": str(error)} | more)


def answer_failures(app: FastAPI) -> None:
    """Have an application answer what its routes raise."""
    app.exception_handlers |= {
        RequestValidationError: _invalid,
        HTTPException: _refused,
        MmsearchError: _failed,
        NoSuchImage: _no_such_image,
        FileGone: _gone,
        TooBusy: _too_busy,
        TooSlow: _too_slow,
        Exception: _bug,
    }


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json({"error": message}), status, headers, media_type="application/json")


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = dict.fromkeys(problem(each, listed="/api/openapi.json") for each in error.errors())
    return _error(422, "; ".join([*problems][:5]))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: f"there is nothing at {request.url.path}; /api/openapi.json lists what there is"}
    said[405] = f"{request.url.path} does not take {request.method}; /api/openapi.json says what it takes"
    own = error.detail not in ("Not Found", "Method Not Allowed")
    headers = dict(error.headers or {})
    if error.status_code == 405 and (methods := _methods_at(request)):
        headers["Allow"] = ", ".join(methods)
    return _error(error.status_code, error.detail if own else said[error.status_code], headers)


def _methods_at(request: Request) -> list[str]:
    """What a path of the API takes, by all of its operations: the first of its routes names its own alone."""
    for path, operations in request.app.openapi()["paths"].items():
        pattern = "[^/]+".join(map(re.escape, re.split(r"\{\w+\}", path)))
        if re.fullmatch(pattern, request.url.path):
            return sorted(map(str.upper, operations))
    return []


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, MmsearchError)
    statuses = {UnknownImage: 404, GalleryError: 503, EncoderError: 409}
    status = next((status for kind, status in statuses.items() if isinstance(error, kind)), 422)
    return Response(error_json(error), status, media_type="application/json")


async def _no_such_image(_: Request, error: Exception) -> Response:
    return _error(404, f"the gallery holds no picture with the row id {error}")


async def _gone(_: Request, error: Exception) -> Response:
    return _error(410, str(error))


async def _bug(_: Request, __: Exception) -> Response:
    # Its traceback goes to stderr (see `safety.Guard`), not to whoever asks.
    return _error(500, "something went wrong in the server; its standard error says more")


async def _too_busy(_: Request, __: Exception) -> Response:
    return _error(503, "too much is waiting here; ask again in a moment", {"retry-after": "1"})


async def _too_slow(_: Request, error: Exception) -> Response:
    return _error(422, f"this was given up: {error}")
