"""Encodes pictures again by the exact way: those encoded by the fast way before their group was found to disagree."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.embedding.records import EmbedOptions
from mmsearch.encoders import Encoder
from mmsearch.loading import LoadOptions, load
from mmsearch.sync import Task
from mmsearch.workers import Workers

__all__ = ["encode_exactly"]

_FILES_HELD = 16  # pictures whose pixels are held at a time


def encode_exactly(
    tasks: Sequence[tuple[Task, bytes]], encoder: Encoder, options: EmbedOptions, threads: int, hash_name: str
) -> Iterator[NDArray[np.float32] | None]:
    """Read files again and yield the vector (dim,) of each by the exact way, in their order.

    tasks: files with the content hash that they had. hash_name: of that hash. Yields None where a file has
    changed or cannot be read.
    """
    load_options = LoadOptions(options.max_pixels, exact=True, seconds=options.seconds, hash_name=hash_name)
    with Workers(threads, "mmsearch-exact") as workers:
        for start in range(0, len(tasks), _FILES_HELD):
            chunk = tasks[start : start + _FILES_HELD]
            loaded = list(
                load((task.file for task, _ in chunk), lambda: encoder.image, workers, threads, options=load_options)
            )
            pixels = [
                np.asarray(loaded_file.pixels, np.float32)
                if loaded_file.content_hash == content_hash and loaded_file.pixels is not None
                else None
                for loaded_file, (_, content_hash) in zip(loaded, chunk, strict=True)
            ]
            readable = [loaded_file for loaded_file in pixels if loaded_file is not None]
            vectors = iter(
                encoder.image.encode_reference(np.asarray(encoder.image.stack(readable))) if readable else ()
            )
            yield from (None if loaded_file is None else next(vectors) for loaded_file in pixels)
