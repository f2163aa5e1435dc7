"""Thumbnails: made once, kept in a bounded cache on the disk."""

import asyncio
import io
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from mmsearch import images

__all__ = ["EDGES", "Thumbnails"]

EDGES = (320, 640, 1280)
"""Pixels of the longer side, at most."""


class Thumbnails:
    """JPEGs by content hash and edge, in a folder of at most so many bytes; what was used longest ago goes first."""

    def __init__(self, folder: Path, most_bytes: int, threads: int = 2) -> None:
        self._folder, self._most = folder, most_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._bytes = 0
        self._keeping = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, "thumbnails")
        self._making: dict[str, asyncio.Task[bytes]] = {}
        self._open()

    async def get(self, content_hash: bytes, edge: int, read: Callable[[], bytes]) -> bytes:
        """The thumbnail of what `read` gives. Raises what `read` raises, ImageError."""
        name = f"{content_hash.hex()}-{edge}.jpg"
        if name not in self._making:
            task = asyncio.get_running_loop().create_task(self._get(name, edge, read))
            self._making[name] = task
            task.add_done_callback(lambda _: self._making.pop(name, None))
        return await asyncio.shield(self._making[name])

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _get(self, name: str, edge: int, read: Callable[[], bytes]) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._kept_or_made, name, edge, read)

    def _kept_or_made(self, name: str, edge: int, read: Callable[[], bytes]) -> bytes:
        with self._keeping:
            known = name in self._sizes
            if known:
                self._sizes.move_to_end(name)
        if known:
            try:
                return (self._folder / name).read_bytes()
            except FileNotFoundError:  # somebody emptied the cache
                pass
        data = drawn(read(), edge)
        self._keep(name, data)
        return data

    def _keep(self, name: str, data: bytes) -> None:
        if len(data) > self._most:
            return
        temporary = self._folder / f".{secrets.token_hex(8)}.tmp"
        try:
            temporary.write_bytes(data)
            temporary.replace(self._folder / name)
        except OSError:  # a full disk: nothing is kept
            temporary.unlink(missing_ok=True)
            return
        with self._keeping:
            self._bytes += len(data) - self._sizes.pop(name, 0)
            self._sizes[name] = len(data)
            while self._bytes > self._most:
                oldest, size = self._sizes.popitem(last=False)
                (self._folder / oldest).unlink(missing_ok=True)
                self._bytes -= size

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(".tmp"):
                    Path(entry.path).unlink(missing_ok=True)
                elif entry.name.endswith(".jpg"):
                    state = entry.stat()
                    found.append((state.st_mtime_ns, entry.name, state.st_size))
        for _, name, size in sorted(found):
            self._sizes[name] = size
            self._bytes += size


def drawn(data: bytes, edge: int) -> bytes:
    """A picture as a JPEG that fits into a square, upright, without EXIF. Raises ImageError."""
    picture = images.decode(data).image
    picture.thumbnail((edge, edge), Image.Resampling.LANCZOS, reducing_gap=3)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=82)
    return file.getvalue()
