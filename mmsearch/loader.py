"""From files to pixels: reads, hashes and decodes in parallel, in order, a bounded number ahead of whoever consumes."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch import images
from mmsearch.errors import ImageError
from mmsearch.sources import SourceFile, opened

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["LoadOptions", "Loaded", "load"]

# No image under the pixel limit needs more than this; what is larger is not read into memory.
MAX_FILE_BYTES = 1 << 30
_AHEAD = 4  # files in flight per thread: enough that no thread waits, few enough that pixels stay a few megabytes


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How files become pixels.

    threads: decoders at work; None for one a core. max_pixels: larger images are skipped before they are decoded.
    benchmark: open as the published benchmarks do, without EXIF orientation.
    """

    threads: int | None = None
    max_pixels: int = images.MAX_PIXELS
    benchmark: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """One file, read.

    file: as it was when it was read (size and mtime may be newer than the walk's).
    pixels: (3, H, W) float32, preprocessed; None where the content is known already, or with an error.
    error: why there is no picture.
    """

    file: SourceFile
    content_hash: bytes = b""
    width: int = 0
    height: int = 0
    taken_at: datetime | None = None
    pixels: NDArray[np.float32] | None = field(default=None, repr=False)
    error: ImageError | None = None


def load(
    files: Iterable[SourceFile],
    preprocess: Callable[["Image"], NDArray[np.float32]],
    *,
    known: Callable[[bytes], bool] = lambda _: False,
    options: LoadOptions | None = None,
) -> Iterator[Loaded]:
    """Read files in their order. Whatever goes wrong with one is its `error`, and nothing else.

    known: told the content hash (blake2b-128) of a file; where it answers True, the file is not decoded.
    """
    options = options or LoadOptions()
    threads = options.threads or os.cpu_count() or 1
    pending: deque[Future[Loaded]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="mmsearch-load") as pool:
        try:
            for file in files:
                pending.append(pool.submit(_load, file, preprocess, known, options))
                if len(pending) > threads * _AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _load(
    file: SourceFile,
    preprocess: Callable[["Image"], NDArray[np.float32]],
    known: Callable[[bytes], bool],
    options: LoadOptions,
) -> Loaded:
    try:
        file, data = _read(file, options.max_pixels)
    except ImageError as error:
        return Loaded(file, error=error)
    content_hash = hashlib.blake2b(data, digest_size=16).digest()
    if known(content_hash):
        return Loaded(file, content_hash)
    try:
        if options.benchmark:
            image = images.decode_for_benchmark(data, max_pixels=options.max_pixels)
            return Loaded(file, content_hash, image.width, image.height, None, preprocess(image))
        picture = images.decode(data, max_pixels=options.max_pixels)
        return Loaded(file, content_hash, picture.width, picture.height, picture.taken_at, preprocess(picture.image))
    except ImageError as error:
        return Loaded(file, content_hash, error=error)
    except MemoryError:
        return Loaded(file, content_hash, error=ImageError("decode", "out of memory"))


def _read(file: SourceFile, max_pixels: int) -> tuple[SourceFile, bytes]:
    """The file's content and the state it was read in. Raises ImageError."""
    try:
        with opened(file) as source:
            before = source.state()
            # The header decides first: a folder of videos must not be read through.
            images.probe(source.stream, max_pixels=max_pixels)
            if (before.size or 0) > MAX_FILE_BYTES:
                raise ImageError("identify", f"{before.size:,} bytes, over the limit of {MAX_FILE_BYTES:,}")
            source.stream.seek(0)
            data = source.stream.read()
            after = source.state()
    except OSError as error:
        raise ImageError("read", _reason(error)) from error
    if before != after or (after.size is not None and len(data) != after.size):
        raise ImageError("read", "changed while it was read")
    return after, data


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file (a broken link, or it vanished)"
    if isinstance(error, PermissionError):
        return "permission denied"
    return (error.strerror or str(error)).lower()
