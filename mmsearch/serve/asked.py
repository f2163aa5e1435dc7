"""From a message to what is asked: pictures that were sent have their vectors, kept queries their parts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.budget import REQUEST
from mmsearch.errors import QueryError
from mmsearch.search.kept_queries import KeptQuery, kept_query
from mmsearch.search.query import ImagePart, MarkPart, Part, Query, VectorPart, parts_from_json
from mmsearch.serve.messages import KeepBody, QueryBody
from mmsearch.serve.service import Service

__all__ = ["asked_query", "require_keeps"]


async def asked_query(service: Service, body: QueryBody | KeepBody) -> Query:
    """What is asked. Raises QueryError, EncoderMismatch."""
    given: dict[str, Any] = body.model_dump(exclude_none=True, exclude={"parts", "name", "replace"})
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
        else:
            known.append(part)
    return known


def _vector(service: Service, picture: str) -> NDArray[np.float32]:
    return service.sent_images.vector(service.followed.newest(), picture)
