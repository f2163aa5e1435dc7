"""The application: the routes over a gallery, documented."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from mmsearch.budget import REQUEST
from mmsearch.serve.failures import answer_failures
from mmsearch.serve.routes.browsing import browsing_routes
from mmsearch.serve.routes.chosen import chosen_routes
from mmsearch.serve.routes.counting import counting_routes
from mmsearch.serve.routes.gallery import gallery_routes
from mmsearch.serve.routes.images import image_routes
from mmsearch.serve.routes.queries import query_routes
from mmsearch.serve.service import Service
from mmsearch.version import __version__

__all__ = ["make_app"]


def make_app(service: Service) -> FastAPI:
    """The application; it closes the service when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="mmsearch",
        summary="Search pictures with words and words with pictures.",
        description=f"{REQUEST.described()} Beyond that the answer is 413 (bytes) or 422.",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # it would load its parts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    answer_failures(app)
    for routes in (gallery_routes, query_routes, image_routes, browsing_routes, counting_routes, chosen_routes):
        app.include_router(routes(service))
    return app
