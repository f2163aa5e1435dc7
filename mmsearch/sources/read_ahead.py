"""Reads files in object stores ahead of time.

A request takes tens of milliseconds in which a core has nothing to do, so many more requests than cores run at a time.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import replace

from mmsearch.locations import Url, url_of
from mmsearch.sources.source_files import READ_WHOLE, BytesAhead, Member, SourceFile
from mmsearch.stores import read_bytes
from mmsearch.workers import Workers

__all__ = ["read_ahead"]

_AT_ONCE = 48
_MOST_FILES = 2 * _AT_ONCE
_FIRST_FILES = 4  # few at the start, since the caller may begin again once the model is loaded
_MOST_BYTES = 1 << 28  # of files that are being fetched or wait to be yielded


def read_ahead(files: Iterable[SourceFile]) -> Iterator[SourceFile]:
    """Yield the files in their order; small ones in object stores with their bytes, see `SourceFile.ahead`."""
    pending: deque[tuple[SourceFile, Future[bytes] | None]] = deque()
    pending_bytes, most_files = 0, _FIRST_FILES
    with ExitStack() as stack:
        readers: Workers | None = None
        for file in files:
            url = _url_to_read(file)
            if url is None and not pending:
                yield file
                continue
            if url is None:
                pending.append((file, None))
            else:
                # Not an executor, whose threads the program waits for at its end, Ctrl-C or not.
                readers = readers or stack.enter_context(Workers(_AT_ONCE, "mmsearch-read"))
                pending.append((file, readers.submit(read_bytes, url)))
                pending_bytes += file.size or 0
            while len(pending) >= most_files or pending_bytes > _MOST_BYTES:
                first, data = pending.popleft()
                pending_bytes, most_files = (
                    pending_bytes - ((first.size or 0) if data else 0),
                    min(_MOST_FILES, most_files + 2),
                )
                yield _attach_bytes(first, data)
        while pending:
            yield _attach_bytes(*pending.popleft())


def _url_to_read(file: SourceFile) -> Url | None:
    if file.refused is not None or isinstance(file, Member) or file.size is None or file.size > READ_WHOLE:
        return None
    return url_of(file.location)


def _attach_bytes(file: SourceFile, data: Future[bytes] | None) -> SourceFile:
    if data is None:
        return file
    # Waited for here and not in the decoder's thread, whose time is limited.
    began = time.perf_counter()
    wait([data])
    return replace(file, ahead=BytesAhead(data, time.perf_counter() - began))
