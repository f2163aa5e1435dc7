"""From a message to what is asked: pictures that were sent have their vectors, kept queries their parts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.boxes import Box
from mmsearch.budget import REQUEST
from mmsearch.errors import QueryError
from mmsearch.search.gallery_files import image_row, read_content
from mmsearch.search.kept_queries import KeptQuery, kept_query
from mmsearch.search.own_items import row_named
from mmsearch.search.query import ImagePart, ItemPart, MarkPart, Part, Query, VectorPart, parts_from_json
from mmsearch.serve.messages import ExplainBody, KeepBody, QueryBody
from mmsearch.serve.service import Service

__all__ = ["asked_query", "require_keeps"]


async def asked_query(service: Service, body: QueryBody | KeepBody | ExplainBody) -> Query:
    """What is asked. Raises QueryError, EncoderMismatch."""
    given: dict[str, Any] = body.model_dump(exclude_none=True, exclude={"parts", "name", "replace", "quick"})
    if isinstance(given.get("rerank"), bool):
        given["rerank"] = _own_reranker(service) if given["rerank"] else None
    names = [part.kept for part in body.parts if part.kept is not None]
    own = parts_from_json([part.model_dump(exclude_none=True) for part in body.parts if part.kept is None])
    if not names:
        return Query.from_json(given, parts=await _with_vectors(service, own))
    if len(names) > 1:
        raise QueryError("a query takes one name of a kept query, and other parts beside it")
    require_keeps(service)
    kept, parts = await service.reading.run(_kept_and, service, names[0], own)
    if (marks := sum(isinstance(part, MarkPart) for part in parts)) > REQUEST.marks:
        raise QueryError(f"@{names[0]} has {marks:,} marks; one request has at most {REQUEST.marks:,}")
    if kept.templates and not given.get("templates"):
        given["templates"] = [*kept.templates]
    return Query.from_json(given, parts=await _with_vectors(service, parts))


def require_keeps(service: Service) -> None:
    """Raise QueryError where queries are not kept for whoever asks."""
    if not service.keeps:
        raise QueryError(
            "this server keeps no queries: others reach it, and what is kept belongs to whoever started it. "
            "mmsearch query @NAME asks a kept query there"
        )


def _own_reranker(service: Service) -> str:
    only = service.followed.last.rerankers.only
    if not only:
        raise QueryError("this server has no re-ranker; start it with one: mmsearch serve --rerank MODEL")
    return only


def _kept_and(service: Service, name: str, others: Sequence[Part]) -> tuple[KeptQuery, list[Part]]:
    gallery = service.followed.newest().gallery
    kept = kept_query(name)
    kept.require_encoder_of(gallery)
    return kept, kept.parts_and(others, gallery)


async def _with_vectors(service: Service, parts: Sequence[Part]) -> list[Part]:
    known: list[Part] = []
    for part in parts:
        if isinstance(part, ImagePart) and isinstance(part.image, bytes):
            vector = await service.reading.run(_vector, service, part.image.hex())
            known.append(VectorPart(vector, "a picture", part.weight))
        elif isinstance(part, ItemPart) and part.box is not None:
            known.append(replace(part, vector=await _part_vector(service, part.item, part.box)))
        else:
            known.append(part)
    return known


def _vector(service: Service, picture: str) -> NDArray[np.float32]:
    return service.sent_images.vector(service.followed.newest(), picture)


async def _part_vector(service: Service, item: Any, box: Box) -> NDArray[np.float32]:
    """The vector of a part of a picture of the gallery. Raises QueryError, EncoderError, FileGone."""
    opened = service.followed.newest()
    row_id = await service.reading.run(row_named, opened.gallery, item)
    row = await service.reading.run(image_row, opened.gallery, row_id)
    known_by = row.content_hash or f"row {row_id} of {opened.gallery.manifest.version}".encode()
    return await service.sent_images.part_vector(opened, known_by, box, lambda: read_content(opened.gallery, row).data)
