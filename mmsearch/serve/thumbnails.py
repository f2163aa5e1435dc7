"""Thumbnails: made once, kept in a bounded cache on the disk."""

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

from mmsearch import images
from mmsearch.serve.pools import Pool
from mmsearch.whole_files import is_partial, whole_file

__all__ = ["DRAWING", "Edge", "Thumbnails"]


class Edge(IntEnum):
    """Pixels of the longer side, at most."""

    SMALL = 320
    MEDIUM = 640
    LARGE = 1280
    WHOLE = 8192
    """Practically the picture's own: for looking closely at what browsers do not show."""


DRAWING = 2
"""How pictures are drawn; another number where that changes, so that what caches keep of before is not shown."""


class Thumbnails:
    """JPEGs by content hash and edge, in a folder of at most so many bytes; what was used longest ago goes first.

    Several servers may share the folder: what one has thrown away, another makes again.
    """

    def __init__(self, folder: Path, most_bytes: int, pool: Pool, count: Callable[[str], None]) -> None:
        """count: gets "cached" or "made" for each that was asked for."""
        self._folder, self._most, self._pool, self._count = folder, most_bytes, pool, count
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._bytes = 0
        self._keeping = threading.Lock()
        self._making: dict[str, asyncio.Future[bytes]] = {}
        self._open()

    async def get(self, content_hash: bytes, edge: int, read: Callable[[], bytes]) -> bytes:
        """The thumbnail of what `read` gives, called where there is none yet; once, however many ask at a time.

        Raises what `read` raises, ImageError, TooSlow.
        """
        name = f"{content_hash.hex()}-{edge:d}-{DRAWING}.jpg"
        making = self._making.get(name)
        if making is None:
            making = asyncio.ensure_future(self._pool.run(self._kept_or_made, name, edge, read))
            self._making[name] = making
            making.add_done_callback(lambda done: self._made(name, done))
        return await asyncio.shield(making)  # one who leaves does not take it from the others

    @property
    def kept_bytes(self) -> int:
        """How much is kept."""
        return self._bytes

    def _made(self, name: str, done: "asyncio.Future[bytes]") -> None:
        self._making.pop(name, None)
        if not done.cancelled():
            done.exception()  # whoever asked has it; if all have left, nobody has to hear of it

    def _kept_or_made(self, name: str, edge: int, read: Callable[[], bytes]) -> bytes:
        if (kept := self._kept(name)) is not None:
            self._count("cached")
            return kept
        data = images.draw_jpeg(read(), edge)
        self._count("made")
        self._keep(name, data)
        return data

    def _kept(self, name: str) -> bytes | None:
        with self._keeping:
            if name not in self._sizes:
                return None
            self._sizes.move_to_end(name)
        try:
            return (self._folder / name).read_bytes()
        except OSError:  # somebody emptied the cache
            return None

    def _keep(self, name: str, data: bytes) -> None:
        if len(data) > self._most:
            return
        try:
            with whole_file(self._folder / name) as partial:
                partial.write_bytes(data)
        except OSError:  # a full disk, a folder taken away: nothing is kept
            return
        with self._keeping:
            self._bytes += len(data) - self._sizes.pop(name, 0)
            self._sizes[name] = len(data)
            self._shrink()

    def _shrink(self) -> None:
        while self._bytes > self._most:
            oldest, size = self._sizes.popitem(last=False)
            with contextlib.suppress(OSError):  # another user's
                (self._folder / oldest).unlink(missing_ok=True)
            self._bytes -= size

    def _open(self) -> None:
        """Take up what an earlier run has left."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept_files = []
        for file in self._folder.iterdir():
            try:
                if is_partial(file):
                    file.unlink()
                elif file.suffix == ".jpg":
                    state = file.stat()
                    kept_files.append((state.st_mtime_ns, file.name, state.st_size))
            except (FileNotFoundError, PermissionError):  # another server's
                continue
        for _, name, size in sorted(kept_files):
            self._sizes[name] = size
            self._bytes += size
        self._shrink()
