"""Files to the texts that are encoded of them."""

import time
from collections.abc import Callable, Iterable, Iterator

from mmsearch.content_hashes import DEFAULT_HASH, content_hasher
from mmsearch.errors import ImageError
from mmsearch.items import Content
from mmsearch.loading.in_order import load_in_order
from mmsearch.loading.reading import read_file
from mmsearch.loading.records import DECODE_SECONDS, LoadedFile, LoadSeconds
from mmsearch.sources import SourceFile
from mmsearch.workers import Workers

__all__ = ["load_texts"]


def load_texts(
    files: Iterable[SourceFile],
    read: Callable[[bytes], Content],
    workers: Workers,
    threads: int,
    *,
    is_known: Callable[[bytes], bool] = lambda _: False,
    hash_name: str = DEFAULT_HASH,
    seconds: float = DECODE_SECONDS,
) -> Iterator[LoadedFile]:
    """Read items of a kind that is encoded as text, in their order. Whatever goes wrong with one becomes its `error`.

    read: see `mmsearch.items.Files`. workers, threads, is_known: see `load`. hash_name: see
    `content_hasher`. seconds: how long one may take.
    """
    hashed = content_hasher(hash_name)

    def load_one(file: SourceFile) -> LoadedFile:
        started = time.perf_counter()
        content_hash = b""
        try:
            file, data = read_file(file, lambda _: None)
            content_hash = hashed(data)
            seconds_read = LoadSeconds(time.perf_counter() - started)
            if is_known(content_hash):
                return LoadedFile(file, content_hash, seconds=seconds_read)
            content = read(data)
        except ImageError as error:
            return LoadedFile(file.without_bytes(), content_hash, error=error)
        except ValueError as error:
            reason = ImageError("decode", " ".join(str(error).split())[:120])
            return LoadedFile(file.without_bytes(), content_hash, error=reason)
        return LoadedFile(file, content_hash, content.columns, seconds=seconds_read, text=content.text)

    yield from load_in_order(load_one, files, workers, threads, seconds)
