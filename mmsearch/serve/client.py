"""Asking a server as if its gallery were here."""

import base64
import ipaddress
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from mmsearch.boxes import Box
from mmsearch.budget import REQUEST
from mmsearch.errors import (
    EncoderError,
    GalleryError,
    ImageError,
    MmsearchError,
    MmsearchNote,
    MmsearchWarning,
    QueryError,
)
from mmsearch.items import kind
from mmsearch.locations import located
from mmsearch.search.answers import Answer, Worth
from mmsearch.search.hits import Hit
from mmsearch.search.query import ImagePart, ItemPart, MarkPart, Part, Query, VectorPart
from mmsearch.search.query_files import batches_of
from mmsearch.sources import read_picture

__all__ = ["Server"]

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 600.0  # a server may have to load its model first


class Server:
    """A gallery behind `mmsearch serve`. A context manager.

    url: as the server prints it, with or without its token. token: as `--token` of the server.
    Raises MmsearchError where it is no address.
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise MmsearchError(f"{url} is no address of a server; write it as in http://127.0.0.1:8765")
        self.address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        token = next(iter(parse_qs(parts.query).get("token", [])), None) or token
        self._client = httpx2.Client(
            base_url=self.address,
            headers={"authorization": f"Bearer {token}"} if token else {},
            timeout=httpx2.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            trust_env=not _is_here(parts.hostname),  # a proxy does not lead to this machine
        )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, query: Query) -> Answer:
        """As `OpenGallery.ask`. Raises QueryError, EncoderError, GalleryError, and MmsearchError where none answers."""
        answered = self._post("/api/query", json.dumps(self._known(query).to_json()).encode(), "application/json")
        shown = [part.image for part in query.parts if isinstance(part, ImagePart) and part.weight > 0]
        files = [os.path.abspath(image) for image in shown if not isinstance(image, bytes)]  # noqa: PTH100
        answer = _answer(answered, query, files)
        for remark in answer.remarks:
            warnings.warn(remark, MmsearchWarning, stacklevel=2)
        for note in answer.notes:
            warnings.warn(note, MmsearchNote, stacklevel=2)
        return answer

    def answer_in_batches(self, queries: Sequence[Query]) -> Iterator[Answer]:
        """As `mmsearch.search.query_files.answer_in_batches`."""
        most = min(REQUEST.queries, REQUEST.hits_together // max(query.wanted for query in queries))
        if looked_at := max(query.depth if query.rerank is not None else 0 for query in queries):
            most = min(most, REQUEST.reranked // looked_at)
        most = max(1, most)
        for some in batches_of(queries, most):
            body = json.dumps({"queries": [self._known(query).to_json() for query in some]}).encode()
            answers = self._post("/api/queries", body, "application/json")["answers"]
            for query, each in zip(some, answers, strict=True):
                if "error" in each:
                    raise QueryError(f"query {query.id}: {each['error']}")
                yield _answer(each, query)

    def _known(self, query: Query) -> Query:
        """The same query, in parts that the server knows: pictures are sent to it."""
        return replace(query, parts=[self._known_part(part) for part in query.parts])

    def _known_part(self, part: Part) -> Part:
        if isinstance(part, ImagePart) and not isinstance(part.image, bytes):
            return ImagePart(bytes.fromhex(self._send(part.image, part.box)), part.weight)
        if isinstance(part, ItemPart | MarkPart) and not isinstance(part.item, int):
            part = replace(part, item=_named(part.item))
        if isinstance(part, VectorPart) or (isinstance(part, MarkPart) and part.vector is not None):
            raise QueryError("a server cannot be asked with a vector")
        return part

    def _send(self, file: str | os.PathLike[str], box: Box | None) -> str:
        """What the server now knows a picture by, or a part of it."""
        try:
            data = read_picture(file)
        except OSError as error:
            raise QueryError(f"cannot read the picture {file}: {(error.strerror or str(error)).lower()}") from error
        except ImageError as error:
            raise QueryError(f"cannot read the picture {file}: {error.reason}") from error
        path = "/api/pictures" if box is None else f"/api/pictures?box={box}"
        try:
            return str(self._post(path, data, "application/octet-stream")["picture"])
        except QueryError as error:
            raise QueryError(f"{file}: {error}") from error

    def _post(self, path: str, body: bytes, kind: str) -> dict[str, Any]:
        try:
            response = self._client.post(path, content=body, headers={"content-type": kind})
        except httpx2.TimeoutException as error:
            raise MmsearchError(f"the server {self.address} does not answer in time") from error
        except httpx2.HTTPError as error:
            raise MmsearchError(
                f"no server answers at {self.address} ({error or type(error).__name__}). Start one: mmsearch serve"
            ) from error
        try:
            message = response.json()
            if not isinstance(message, dict) or not (response.is_success or "error" in message):
                raise ValueError
        except ValueError:
            raise MmsearchError(f"what answers at {self.address} is no server of mmsearch") from None
        if not response.is_success:
            raise _failure(response.status_code, str(message["error"]))
        return message


def _failure(status: int, message: str) -> MmsearchError:
    if status in (401, 403, 421):
        more = " Give it by MMSEARCH_TOKEN, or as the server prints it: http://…/?token=…" if status == 401 else ""
        return MmsearchError(f"the server refuses: {message}.{more}")
    kinds: dict[int, type[MmsearchError]] = {409: EncoderError, 503: GalleryError, 500: MmsearchError}
    return kinds.get(status, QueryError)(message)


def _answer(message: dict[str, Any], query: Query, pictures: Sequence[str] = ()) -> Answer:
    hits = [_hit(each, each.get("table") or query.table) for each in message["hits"]]
    worth = Worth(message.get("probability"), message.get("above_general"))
    return Answer(
        query,
        hits,
        pictures,
        message["more"],
        tuple(message["warnings"]),
        worth=worth,
        notes=tuple(message.get("notes", ())),
        reranked=message.get("reranked"),
    )


def _hit(message: dict[str, Any], table: str) -> Hit:
    of = kind(table)
    columns: dict[str, Any] = {name: message.get(name) for name in of.columns}
    if columns.get("taken_at"):
        columns["taken_at"] = datetime.fromisoformat(columns["taken_at"])
    if columns.get("path_bytes"):
        columns["path_bytes"] = base64.b64decode(columns["path_bytes"])
    file = message["file"]
    if message.get("file_bytes"):  # so that a picture on this machine too can be opened, copied and shown
        file = os.fsdecode(base64.b64decode(message["file_bytes"]))
    return Hit(
        rank=message["rank"],
        score=message["score"],
        row_id=message["row_id"],
        kind=of,
        row=of.row(**columns),
        file=file,
        gone=message["gone"],
        corrected=message.get("corrected"),
        probability=message.get("probability"),
        z=message.get("z"),
        rerank=message.get("rerank"),
        from_s=message.get("from_s"),
        to_s=message.get("to_s"),
        mean=message.get("mean"),
    )


def _named(path: str | os.PathLike[str]) -> str:
    """A picture of the gallery as the server knows it: a file that is here by its whole path, else as it was typed."""
    try:
        file = located(path)
    except (RuntimeError, MmsearchError):  # the home of nobody, a URL of the web: the server says what is wrong
        return os.fspath(path)
    return str(file) if isinstance(file, Path) and file.exists() else os.fspath(path)


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
