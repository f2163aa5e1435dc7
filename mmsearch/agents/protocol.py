"""The tools as a server of the Model Context Protocol, by its official SDK."""

import base64
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from mcp.server.lowlevel import Server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ImageContent,
    ListToolsResult,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Tool as ListedTool
from pydantic import ValidationError

from mmsearch.agents.gallery_tools import GalleryTools, Tool, ToolAnswer
from mmsearch.agents.tools import INSTRUCTIONS, TOOLS
from mmsearch.errors import MmsearchError
from mmsearch.version import __version__
from mmsearch.wording import problem

__all__ = ["Run", "make_server"]

Run: TypeAlias = Callable[[Callable[[], ToolAnswer]], Awaitable[ToolAnswer]]
"""Has a piece of work done beside the event loop. What it raises of its own is an MmsearchError."""

_MOST_PROBLEMS = 5
# None of them changes anything, and each answers from this gallery alone.
_HINTS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


def make_server(tools: GalleryTools, run: Run) -> Server[Any]:
    """The server. It keeps nothing between calls, so that it serves any number of clients."""
    by_name = {tool.name: tool for tool in TOOLS}
    listed = ListToolsResult(tools=[_listed(tool) for tool in TOOLS])

    async def list_tools(_: Any, __: Any) -> ListToolsResult:
        return listed

    async def call_tool(_: Any, asked: CallToolRequestParams) -> CallToolResult:
        tool = by_name.get(asked.name)
        if tool is None:
            return _failed(f"there is no tool {asked.name[:60]!r}; there are {', '.join(by_name)}")
        try:
            arguments = tool.arguments.model_validate(asked.arguments or {})
        except ValidationError as error:
            return _failed(_problems(error, tool.name))
        try:
            return _answered(await run(lambda: tools.answer(tool, arguments)))
        except MmsearchError as error:
            return _failed(str(error))
        except Exception:  # noqa: BLE001 - a bug is ours, and no concern of who asks
            traceback.print_exc(file=sys.stderr)
            return _failed("something went wrong; the standard error of mmsearch says more")

    return Server(
        "mmsearch",
        version=__version__,
        title="mmsearch",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _listed(tool: Tool) -> ListedTool:
    return ListedTool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.arguments.model_json_schema(),
        output_schema=tool.body.model_json_schema(mode="serialization"),
        annotations=_HINTS,
    )


def _answered(answer: ToolAnswer) -> CallToolResult:
    """An answer twice: as structured content, and as the same in text, which is what some clients show their model."""
    fields = answer.body.model_dump(mode="json")
    content: list[ContentBlock] = [TextContent(type="text", text=json.dumps(fields, ensure_ascii=False))]
    for name, data in answer.pictures:
        content.append(TextContent(type="text", text=name))
        content.append(ImageContent(type="image", data=base64.b64encode(data).decode("ascii"), mime_type="image/jpeg"))
    return CallToolResult(content=content, structured_content=fields)


def _failed(message: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=message)], is_error=True)


def _problems(error: ValidationError, tool: str) -> str:
    listed = f"the input schema of {tool}"
    sentences = dict.fromkeys(
        problem({**each, "loc": ("arguments", *each["loc"])}, listed=listed) for each in error.errors()
    )
    return "; ".join([*sentences][:_MOST_PROBLEMS])
