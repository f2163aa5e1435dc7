"""Reading ahead: what lies in an object store is on its way before anybody waits for it.

A request takes tens of milliseconds in which a core has nothing to do; so there are many at a time, many more than
cores.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from mmsearch.locations import Url, url_of
from mmsearch.sources.files import Member, SourceFile
from mmsearch.stores import read_bytes

__all__ = ["READ_AT_ONCE", "reading_ahead"]

READ_AT_ONCE = 48
_MOST_FILES = 2 * READ_AT_ONCE
_FIRST_FILES = 4  # few at the start, since whoever begins may begin again, once the model is loaded
_MOST_BYTES = 1 << 28  # of files on their way and not yet asked for


def reading_ahead(files: Iterable[SourceFile]) -> Iterator[SourceFile]:
    """The same files in their order; those in object stores with their bytes on the way."""
    ahead: deque[SourceFile] = deque()
    held, most = 0, _FIRST_FILES
    readers: ThreadPoolExecutor | None = None
    try:
        for file in files:
            url = _worth_it(file)
            if url is None and not ahead:
                yield file
                continue
            if url is not None:
                readers = readers or ThreadPoolExecutor(READ_AT_ONCE, "mmsearch-read")
                file = replace(file, ahead=readers.submit(read_bytes, url))
                held += file.size or 0
            ahead.append(file)
            while len(ahead) >= most or held > _MOST_BYTES:
                held, most = held - _held(ahead[0]), min(_MOST_FILES, most + 2)
                yield ahead.popleft()
        yield from ahead
    finally:
        if readers is not None:
            readers.shutdown(wait=False, cancel_futures=True)


def _worth_it(file: SourceFile) -> Url | None:
    if file.refused is not None or isinstance(file, Member) or file.size is None or file.size > file.READ_WHOLE:
        return None
    return url_of(file.location)


def _held(file: SourceFile) -> int:
    return (file.size or 0) if file.ahead is not None else 0
