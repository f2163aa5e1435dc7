"""Items that are encoded as texts: read in parallel, encoded in batches, given to the sink in their order."""

import time
from collections.abc import Callable, Sequence

from mmsearch.embedding.records import EmbedOptions
from mmsearch.embedding.sink import LoadedTask, Sink
from mmsearch.embedding.stage_times import StageClock
from mmsearch.encoders import EncodedImages, Encoder
from mmsearch.items import Content
from mmsearch.loading import load_texts
from mmsearch.sync import Task
from mmsearch.workers import Workers

__all__ = ["embed_texts"]

_BATCH = 256
"""How many texts are encoded in one call."""


def embed_texts(
    tasks: Sequence[Task],
    sink: Sink,
    encoder: Callable[[], Encoder],
    options: EmbedOptions,
    clock: StageClock,
    *,
    report: Callable[[int, int], None] = lambda done, skipped: None,
) -> int:
    """Does what `mmsearch.embedding.file_work.process_files` does, for a kind of the text side."""
    read = _require_reader(tasks[0])
    done = skipped = 0
    fresh: list[LoadedTask] = []
    known: list[LoadedTask] = []
    claimed: set[bytes] = set()

    def flush() -> None:
        if fresh:
            if sink.encoder is None:
                sink.encoder = encoder()
            started = time.perf_counter()
            encoded = sink.encoder.text.encode([entry.loaded.text or "" for entry in fresh])
            seconds = time.perf_counter() - started
            sink.add_encoded([entry.without_pixels() for entry in fresh], EncodedImages(encoded.vectors, 0.0, seconds))
            fresh.clear()
        if known:  # after the fresh ones, of which they may be copies
            sink.add_reused(known)
            known.clear()

    def is_known(content_hash: bytes) -> bool:
        return content_hash in claimed or sink.knows(content_hash)

    with Workers(clock.threads, "mmsearch-load") as workers:
        files = (task.file for task in tasks)
        texts = load_texts(
            *(files, read, workers, clock.threads),
            is_known=is_known,
            hash_name=sink.hash_name,
            seconds=options.seconds,
        )
        for task, loaded in zip(tasks, texts, strict=True):
            entry = LoadedTask(task, loaded)
            clock.add(loaded.seconds)
            if loaded.error is not None:
                sink.add_skipped([entry])
                skipped += 1
            elif loaded.text is None or is_known(loaded.content_hash):
                known.append(entry)
            else:
                claimed.add(loaded.content_hash)
                fresh.append(entry)
            if len(fresh) + len(known) >= _BATCH:
                flush()
            done += 1
            report(done, skipped)
        flush()
    return skipped


def _require_reader(task: Task) -> Callable[[bytes], Content]:
    read = None if task.kind.files is None else task.kind.files.read
    if read is None:
        raise TypeError(f"the kind {task.kind.name} is of the text side, and says not how its files are read")
    return read
