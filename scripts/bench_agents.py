"""What the protocol of agents costs: calls a second in memory against the library's own, and the wait for the start.

    python -m scripts.bench_agents [--calls 200] [--json out.json]

1,000 postcards and the bundled model. Each text is asked by both in turn, so that a busy machine slows both. Then
`mmsearch mcp` is started: how long an agent waits until it is introduced, and how long for its first hits; beside it
stands how long `mmsearch query` takes from its start to its end, and how much of each is work of processors.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcp import Client

from mmsearch.agents.gallery_tools import GalleryTools, ToolAnswer
from mmsearch.agents.protocol import make_server
from mmsearch.embedding import embed
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import Query
from scripts.measuring import circumstances, keep_bytecode, seconds_and_work

POSTCARDS = Path(__file__).resolve().parents[1] / "data" / "postcards" / "images"
THINGS = ("lighthouse", "boat", "house", "balloon", "tent", "car", "sheep", "windmill")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200, help="of each way")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    keep_bytecode()
    with tempfile.TemporaryDirectory() as folder:
        gallery = Path(folder) / "g"
        embed([POSTCARDS], gallery=gallery, encoder="demo")
        figures = {"circumstances": circumstances(), **asyncio.run(calls(gallery, arguments.calls)), **starts(gallery)}
    print(json.dumps(figures, indent=1))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures))


async def calls(gallery: Path, count: int) -> dict[str, Any]:
    """Milliseconds of a search by the library and by the official client in memory, each text by both."""
    opened = open_gallery(gallery, hold=1 << 30)
    texts = [f"a {THINGS[number % len(THINGS)]} number {number}" for number in range(count)]

    async def run(work: Callable[[], ToolAnswer]) -> ToolAnswer:
        return await asyncio.to_thread(work)

    library, agents, sheets = [], [], []
    async with Client(make_server(GalleryTools(opened.newest), run)) as client:
        await client.list_tools()
        opened.ask_all([Query.of("warm up")])
        for text in texts:
            started = time.perf_counter()
            opened.ask_all([Query.of(text)])
            library.append(time.perf_counter() - started)
            started = time.perf_counter()
            await client.call_tool("search", {"text": text})
            agents.append(time.perf_counter() - started)
        for text in texts[:10]:
            started = time.perf_counter()
            await client.call_tool("search", {"text": text, "k": 50, "sheet": True})
            sheets.append(time.perf_counter() - started)
    ours, theirs = statistics.median(library), statistics.median(agents)
    return {
        "library_ms": round(1e3 * ours, 2),
        "agent_ms": round(1e3 * theirs, 2),
        "ratio": round(theirs / ours, 2),
        "sheet_of_50_ms": round(1e3 * statistics.median(sheets), 1),
    }


def starts(gallery: Path) -> dict[str, Any]:
    """Seconds from the start of `mmsearch mcp` to its introduction and to its first hits; the median of five."""
    introduced, answered, work, query = [], [], [], []
    for _ in range(5):
        query.append(seconds_and_work([sys.executable, "-m", "mmsearch", "query", "a boat", "--gallery", gallery]))
        before, started = os.times(), time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "mmsearch", "mcp", "--gallery", gallery],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        tell(process.stdin, {"id": 1, "method": "initialize", "params": client})
        process.stdout.readline()
        introduced.append(time.perf_counter() - started)
        tell(process.stdin, {"method": "notifications/initialized"})
        search = {"name": "search", "arguments": {"text": "a boat"}}
        tell(process.stdin, {"id": 2, "method": "tools/call", "params": search})
        process.stdout.readline()
        answered.append(time.perf_counter() - started)
        process.stdin.close()
        process.wait()
        process.stdout.close()
        after = os.times()
        work.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return {
        "introduced_s": round(statistics.median(introduced), 2),
        "first_hits_s": round(statistics.median(answered), 2),
        "work_s": round(statistics.median(work), 2),
        "query_s": round(statistics.median(seconds for seconds, _ in query), 2),
        "query_work_s": round(statistics.median(worked for _, worked in query), 2),
    }


def tell(stream: Any, message: dict[str, Any]) -> None:
    stream.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    stream.flush()


if __name__ == "__main__":
    main()
