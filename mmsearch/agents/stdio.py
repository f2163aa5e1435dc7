"""Tools over stdin and stdout: one agent, which started this process and ends it by closing stdin."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable

from mmsearch.agents.extra import require_sdk
from mmsearch.errors import MmsearchError
from mmsearch.search.followed_gallery import FollowedGallery
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.query import Query

__all__ = ["serve_stdio"]

_HOLD_BYTES = 1 << 30
_AT_ONCE = 2  # calls, of an agent that makes several


def serve_stdio(
    gallery: str | os.PathLike[str] | None = None,
    *,
    paths: bool = False,
    encoder: str | None = None,
    device: str = "cpu",
    announce: Callable[[str], None] = lambda _: None,
) -> None:
    """Answer calls of the tools until stdin is closed, or SIGTERM or Ctrl-C come. Only the protocol goes to stdout.

    paths: whether the agent is told paths. encoder, device: of queries, as for `open_gallery`. The model is loaded
    beside the first messages, so that they do not wait for it.
    Raises MmsearchError where the SDK is missing, GalleryNotFound, GalleryError.
    """
    require_sdk()
    opened = open_gallery(gallery, encoder=encoder, device=device, hold=_HOLD_BYTES, announce=announce)
    followed = FollowedGallery(opened)
    try:
        asyncio.run(_serve(followed, paths, announce))
    finally:
        _close(followed)


async def _serve(followed: FollowedGallery, paths: bool, announce: Callable[[str], None]) -> None:
    import anyio.to_thread
    from mcp.server.stdio import stdio_server

    from mmsearch.agents.gallery_tools import GalleryTools, ToolAnswer
    from mmsearch.agents.protocol import make_server

    limit = anyio.CapacityLimiter(_AT_ONCE)

    async def run(work: Callable[[], ToolAnswer]) -> ToolAnswer:
        return await anyio.to_thread.run_sync(work, limiter=limit)

    def end() -> None:  # the thread that waits for stdin cannot be ended in any other way
        _close(followed)
        sys.stderr.flush()
        os._exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows' loops take no handlers
            asyncio.get_running_loop().add_signal_handler(number, end)
    server = make_server(GalleryTools(followed.newest, paths=paths), run)
    async with stdio_server() as (received, sent):
        threading.Thread(target=_warm_up, args=(followed.last, announce), name="warming up", daemon=True).start()
        await server.run(received, sent, server.create_initialization_options())


def _warm_up(opened: OpenGallery, announce: Callable[[str], None]) -> None:
    """Load what the first search needs. Without a model there is still what can be asked."""
    try:
        opened.ask(Query.of("warm up", k=1))
    except MmsearchError as error:
        announce(f"warning: words cannot be asked with yet: {error}")


def _close(followed: FollowedGallery) -> None:
    followed.close()
    followed.last.close()
