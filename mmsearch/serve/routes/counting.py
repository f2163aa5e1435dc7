"""What there is where nothing is asked, and how much of it: by month, by facet, by folder."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Path, Query, Response

from mmsearch.budget import REQUEST
from mmsearch.exact import Neighbours
from mmsearch.items import IMAGES
from mmsearch.search.counting import FACETS, Timeline, WorldBox, count_facet, count_folders, count_places
from mmsearch.search.hits import record
from mmsearch.serve.failures import BAD_REQUEST
from mmsearch.serve.messages import (
    FacetBody,
    FoldersBody,
    PlacesBody,
    RowIdsBody,
    TimelineBody,
    TimelinePicturesBody,
    to_json,
)
from mmsearch.serve.service import Service

__all__ = ["counting_routes"]

_MOST_PICTURES, _MOST_ROW_IDS = 500, 100_000
_MOST_VALUES = 200  # of a facet, or folders of a folder
_LONGEST_PATH = 4_096

_Where = Annotated[
    str | None,
    Query(max_length=REQUEST.filter_characters, description="An SQL expression over the columns of the pictures."),
]
_Offset = Annotated[int, Query(ge=0, le=2**53, description="Pass over so many of the newest.")]
_Latitude = Annotated[float, Query(ge=-90, le=90)]
_Longitude = Annotated[float, Query(ge=-180, le=180)]
_Cells = Annotated[int, Query(ge=1, le=64, description="Into which that part of the world is cut; each is a place.")]
_FacetName = Annotated[str, Path(json_schema_extra={"enum": [*FACETS]})]


def counting_routes(service: Service) -> APIRouter:
    """GET /api/timeline, /api/timeline/pictures, /api/timeline/rows, /api/facets/{facet}, /api/folders,
    /api/places."""
    router = APIRouter(prefix="/api", tags=["browsing"], responses=BAD_REQUEST)

    async def run(work: Callable[..., dict[str, Any]], where: str | None, *arguments: Any) -> Response:
        pool = service.reading if where is None else service.filtering  # reading waits for no filter
        return Response(to_json(await pool.run(work, service, where, *arguments)), media_type="application/json")

    @router.get("/timeline", response_model=TimelineBody, summary="How many pictures there are of each month")
    async def timeline(where: _Where = None) -> Response:
        return await run(_months, where)

    @router.get("/timeline/pictures", response_model=TimelinePicturesBody, summary="Pictures, newest first")
    async def pictures(
        offset: _Offset = 0, n: Annotated[int, Query(ge=1, le=_MOST_PICTURES)] = 100, where: _Where = None
    ) -> Response:
        return await run(_pictures, where, offset, n)

    @router.get("/timeline/rows", response_model=RowIdsBody, summary="Row ids of pictures, newest first")
    async def rows(
        offset: _Offset = 0, n: Annotated[int, Query(ge=1, le=_MOST_ROW_IDS)] = _MOST_ROW_IDS, where: _Where = None
    ) -> Response:
        return await run(_row_ids, where, offset, n)

    @router.get("/facets/{facet}", response_model=FacetBody, summary="The values of a facet, with their counts")
    async def facet(facet: _FacetName, where: _Where = None) -> Response:
        if facet not in FACETS:
            raise HTTPException(404, f"there is no facet {facet!r}; there are {', '.join(FACETS)}")
        return await run(_facet, where, facet)

    @router.get("/folders", response_model=FoldersBody, summary="The folders below one, with their counts")
    async def folders(
        root: Annotated[int | None, Query(ge=0, le=2**31, description="Its id; without it, the roots.")] = None,
        path: Annotated[str, Query(max_length=_LONGEST_PATH, description="Relative to the root.")] = "",
        where: _Where = None,
    ) -> Response:
        return await run(_folders, where, root, path)

    @router.get("/places", response_model=PlacesBody, summary="Where pictures were taken, near ones together")
    async def places(
        south: _Latitude = -90,
        west: _Longitude = -180,
        north: _Latitude = 90,
        east: _Longitude = 180,
        across: _Cells = 16,
        down: _Cells = 8,
        where: _Where = None,
    ) -> Response:
        return await run(_places, where, WorldBox(south, west, north, east), across, down)

    return router


def _timeline(service: Service, where: str | None) -> Timeline:
    return service.timelines.get(service.followed.newest(), where)


def _months(service: Service, where: str | None) -> dict[str, Any]:
    """A `TimelineBody`. Raises FilterError."""
    timeline = _timeline(service, where)
    return {"months": [asdict(month) for month in timeline.months], "version": timeline.version}


def _pictures(service: Service, where: str | None, offset: int, n: int) -> dict[str, Any]:
    """A `TimelinePicturesBody`. Raises FilterError."""
    opened = service.followed.newest()
    timeline = service.timelines.get(opened, where)
    row_ids = timeline.row_ids[offset : offset + n]
    found = Neighbours(row_ids[None], np.zeros((1, len(row_ids))))
    hits = opened.hits(found, IMAGES.name)[0] if len(row_ids) else []
    return {
        "hits": [record(hit) | {"rank": offset + hit.rank, "score": None} for hit in hits],
        "version": timeline.version,
    }


def _row_ids(service: Service, where: str | None, offset: int, n: int) -> dict[str, Any]:
    """A `RowIdsBody`. Raises FilterError."""
    timeline = _timeline(service, where)
    return {"row_ids": timeline.row_ids[offset : offset + n].tolist(), "version": timeline.version}


def _facet(service: Service, where: str | None, name: str) -> dict[str, Any]:
    """A `FacetBody`. Raises FilterError."""
    opened = service.followed.newest()
    values = count_facet(opened, name, where)
    return {
        "values": [{"value": value, "count": count} for value, count in values[:_MOST_VALUES]],
        "others": max(0, len(values) - _MOST_VALUES),
        "version": opened.gallery.manifest.version,
    }


def _folders(service: Service, where: str | None, root: int | None, path: str) -> dict[str, Any]:
    """A `FoldersBody`. Raises FilterError."""
    opened = service.followed.newest()
    folders = count_folders(opened, root, path, where)
    return {
        "folders": [asdict(folder) for folder in folders[:_MOST_VALUES]],
        "others": max(0, len(folders) - _MOST_VALUES),
        "version": opened.gallery.manifest.version,
    }


def _places(service: Service, where: str | None, box: WorldBox, across: int, down: int) -> dict[str, Any]:
    """A `PlacesBody`. Raises FilterError."""
    opened = service.followed.newest()
    places = [asdict(place) for place in count_places(opened, box, across, down, where)]
    return {"places": [place | place.pop("box") for place in places], "version": opened.gallery.manifest.version}
