"""Agents of tests: the official client, in memory, over a process's stdin and stdout, and over HTTP."""

import asyncio
import base64
import io
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

pytest.importorskip("mcp", reason="the SDK of agents is not installed: pip install 'mmsearch[mcp]'")

from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from mmsearch.agents.gallery_tools import GalleryTools, ToolAnswer
from mmsearch.agents.protocol import make_server
from mmsearch.search.open_gallery import OpenGallery

PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Answered:
    """What a tool answered. text: of its first block. size: of the answer as it is sent."""

    fields: dict[str, Any]
    text: str
    pictures: Sequence[Image.Image]
    failed: bool
    size: int

    @property
    def row_ids(self) -> list[int]:
        return [hit["row_id"] for hit in self.fields["hits"]]


class Agent:
    """Calls tools, and counts the calls."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.calls = 0

    async def call(self, name: str, **arguments: Any) -> Answered:
        self.calls += 1
        result = await self.client.call_tool(name, arguments)
        blocks = result.content
        pictures = [Image.open(io.BytesIO(base64.b64decode(each.data))) for each in blocks if each.type == "image"]
        text = blocks[0].text if blocks[0].type == "text" else ""
        sent = len(result.model_dump_json(by_alias=True).encode())
        return Answered(result.structured_content or {}, text, pictures, bool(result.is_error), sent)


Work = Callable[[Agent], Awaitable[None]]


def in_memory(opened: OpenGallery, work: Work, *, paths: bool = False) -> None:
    """Have an agent work with a gallery that is open in this process, by both eras of the protocol's handshake."""

    async def run(task: Callable[[], ToolAnswer]) -> ToolAnswer:
        return await asyncio.to_thread(task)

    async def main() -> None:
        for mode in ("legacy", "auto"):
            async with Client(make_server(GalleryTools(opened.newest, paths=paths), run), mode=mode) as client:
                await work(Agent(client))

    asyncio.run(main())


def over_stdio(gallery: Path, work: Work, *options: str) -> None:
    """Have an agent start `mmsearch mcp` and work with it."""

    async def main() -> None:
        command = StdioServerParameters(
            command=sys.executable,
            args=["-m", "mmsearch", "mcp", "--gallery", str(gallery), *options],
            env={"PYTHONPATH": str(PROJECT), "MMSEARCH_CACHE": os.environ["MMSEARCH_CACHE"]},
        )
        async with Client(stdio_client(command)) as client:
            await work(Agent(client))

    asyncio.run(main())


def over_http(address: str, work: Work, *, token: str | None = None) -> None:
    """Have an agent work with what is served at an address, by both eras of the protocol's handshake."""

    async def main() -> None:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        for mode in ("legacy", "auto"):
            async with (
                httpx2.AsyncClient(headers=headers, trust_env=False, timeout=30) as http,
                Client(streamable_http_client(address, http_client=http), mode=mode) as client,
            ):
                await work(Agent(client))

    asyncio.run(main())
