"""The application: the routes over a gallery, documented."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol, TypeAlias

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mmsearch.budget import REQUEST
from mmsearch.search.open_gallery import OpenGallery
from mmsearch.serve.failures import answer_failures
from mmsearch.serve.routes.browsing import browsing_routes
from mmsearch.serve.routes.chosen import chosen_routes
from mmsearch.serve.routes.counting import counting_routes
from mmsearch.serve.routes.explaining import explaining_routes
from mmsearch.serve.routes.films import film_routes
from mmsearch.serve.routes.gallery import gallery_routes
from mmsearch.serve.routes.images import image_routes
from mmsearch.serve.routes.kept import kept_routes
from mmsearch.serve.routes.queries import query_routes
from mmsearch.serve.service import Service
from mmsearch.version import __version__

__all__ = ["Door", "MakeDoor", "make_app"]


class Door(Protocol):
    """Another way to the gallery: an ASGI application at a path of its own, entered while it is served."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    async def __aenter__(self) -> Any: ...

    async def __aexit__(self, *_: object) -> None: ...


MakeDoor: TypeAlias = Callable[[Callable[[], OpenGallery], Callable[[Callable[[], Any]], Awaitable[Any]]], Door]
"""Makes a door of two things: what gives the newest version of the gallery, and what has work done by threads of the
server, which raises MmsearchError where it takes too long or too much is waiting."""


def make_app(service: Service, doors: Mapping[str, MakeDoor] | None = None) -> FastAPI:
    """The application; it closes the service when it ends. doors: other ways to the gallery, by their path."""
    made = {path: make(service.followed.newest, service.run_for_a_door) for path, make in (doors or {}).items()}

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for door in made.values():
                await stack.enter_async_context(door)
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
    for routes in (
        gallery_routes,
        query_routes,
        image_routes,
        film_routes,
        browsing_routes,
        counting_routes,
        chosen_routes,
        kept_routes,
        explaining_routes,
    ):
        app.include_router(routes(service))
    for path, door in made.items():
        app.router.routes.append(Route(path, door))
    return app
