"""What is served: the gallery, the page, and how the server is doing."""

from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response

from mmsearch.budget import REQUEST
from mmsearch.errors import GalleryError
from mmsearch.items import kinds
from mmsearch.names import shown
from mmsearch.serve.failures import NOT_FOUND, UNWELL
from mmsearch.serve.messages import GalleryBody, HealthBody, to_json
from mmsearch.serve.metrics import CONTENT_TYPE
from mmsearch.serve.service import Service
from mmsearch.version import __version__

__all__ = ["gallery_routes"]

# By suffix, the media type of what a browser loads.
_PAGE_FILES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def gallery_routes(service: Service) -> APIRouter:
    """GET /, /static/{name}, /health, /metrics, /api/gallery."""
    router = APIRouter(tags=["gallery"])
    page = _page()

    @router.get("/", include_in_schema=False)
    @router.get("/static/{name}", include_in_schema=False, responses=NOT_FOUND)
    async def static(name: str = "index.html") -> Response:
        if name not in page:
            return Response(to_json({"error": f"the page has no {name}"}), 404, media_type="application/json")
        headers = {"cache-control": "no-cache"}
        return Response(page[name], media_type=_PAGE_FILES[Path(name).suffix], headers=headers)

    @router.get("/health", response_model=HealthBody, responses=UNWELL, summary="Whether queries are answered")
    async def health() -> Response:
        if (problem := service.problem) is not None:
            raise GalleryError(problem)
        version = service.followed.last.gallery.manifest.version
        return Response(to_json({"status": "ok", "version": version}), media_type="application/json")

    @router.get("/metrics", response_class=Response, summary="Counters, as Prometheus reads them")
    async def metrics() -> Response:
        return Response(await service.reading.run(service.metrics.text), media_type=CONTENT_TYPE)

    @router.get("/api/gallery", response_model=GalleryBody, summary="What is served")
    async def gallery() -> Response:
        return Response(to_json(await service.reading.run(_gallery, service)), media_type="application/json")

    return router


def _page() -> dict[str, bytes]:
    """The files that a browser needs of the page, by name; the types of its scripts are not among them."""
    folder = files("mmsearch.serve") / "page"
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if Path(entry.name).suffix in _PAGE_FILES}


def _gallery(service: Service) -> dict[str, Any]:
    gallery = service.followed.newest().gallery
    encoder = gallery.manifest.encoder
    problem = service.text_problem
    return {
        "name": gallery.path.parent.name if gallery.path.name == ".mmsearch" else gallery.path.name,
        "version": gallery.manifest.version,
        **{kind.name: gallery.live_rows(kind.name) for kind in kinds()},
        "encoder": {"spec": encoder.spec, "dim": encoder.dim, "declared": encoder.declared},
        "reranker": service.followed.last.rerankers.only or None,
        "indexes": [
            {"table": entry.table, "factory": entry.factory, "rows": entry.rows}
            for kind in kinds()
            if (entry := gallery.index_for(kind.name)) is not None
        ],
        "roots": [{"id": root.id, "path": shown(str(gallery.root_path(root.id)))} for root in gallery.manifest.roots],
        "columns": {
            kind.name: [
                {"name": each.name, "type": str(each.type)}
                for each in gallery.schema(kind.name)
                if each.name != "embedding"
            ]
            for kind in kinds()
        },
        "limits": {"upload_bytes": service.upload_bytes, **asdict(REQUEST)},
        "keeps": service.keeps,
        "answers_text": problem is None,
        "text_problem": problem,
        "mmsearch": __version__,
    }
