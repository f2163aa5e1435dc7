"""The exact way for pictures that went the fast one before it was known that their kind does not agree."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.embedding.records import EmbedOptions
from mmsearch.encoders import Encoder
from mmsearch.loader import LoadOptions, load
from mmsearch.sync import Task
from mmsearch.workers import Workers

__all__ = ["vectors_exactly"]

_TOGETHER = 16  # pictures whose pixels are held at a time


def vectors_exactly(
    tasks: Sequence[tuple[Task, bytes]], encoder: Encoder, options: EmbedOptions, threads: int
) -> Iterator[NDArray[np.float32] | None]:
    """Read files again; each one's vector (dim,) by the exact way, in their order.

    tasks: files with the content hash that they had. None where a file is another one by now, or cannot be read.
    """
    load_options = LoadOptions(options.max_pixels, exact=True, seconds=options.seconds)
    with Workers(threads, "mmsearch-exact") as workers:
        for start in range(0, len(tasks), _TOGETHER):
            part = tasks[start : start + _TOGETHER]
            loaded = list(
                load((task.file for task, _ in part), lambda: encoder.image, workers, threads, options=load_options)
            )
            pixels = [
                np.asarray(each.pixels, np.float32)
                if each.content_hash == content_hash and each.pixels is not None
                else None
                for each, (_, content_hash) in zip(loaded, part, strict=True)
            ]
            found = [each for each in pixels if each is not None]
            vectors = iter(encoder.image.encode_reference(np.stack(found)) if found else ())
            yield from (None if each is None else next(vectors) for each in pixels)
