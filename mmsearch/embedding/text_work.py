"""Items that are encoded as texts: read in parallel, encoded in batches, given to the sink in their order."""

import time
from collections.abc import Callable, Sequence

from mmsearch.embedding.records import EmbedOptions
from mmsearch.embedding.sink import LoadedTask, Sink
from mmsearch.embedding.stage_times import StageClock
from mmsearch.encoders import EncodedImages, Encoder
from mmsearch.items import Content
from mmsearch.loader import load_texts
from mmsearch.sync import Task
from mmsearch.workers import Workers

__all__ = ["embed_texts"]

_TOGETHER = 256
"""Texts that are encoded in one call."""


def embed_texts(
    tasks: Sequence[Task],
    sink: Sink,
    encoder: Callable[[], Encoder],
    options: EmbedOptions,
    clock: StageClock,
    *,
    tell: Callable[[int, int], None] = lambda done, skipped: None,
) -> int:
    """See `mmsearch.embedding.file_work.process_files`, of whose tasks these are those of one kind of the text side."""
    read = _reader_of(tasks[0])
    done = skipped = 0
    fresh: list[LoadedTask] = []
    known: list[LoadedTask] = []
    claimed: set[bytes] = set()

    def hand_over() -> None:
        if fresh:
            if sink.encoder is None:
                sink.encoder = encoder()
            started = time.perf_counter()
            encoded = sink.encoder.text.encode([entry.picture.text or "" for entry in fresh])
            seconds = time.perf_counter() - started
            sink.encoded([entry.without_pixels() for entry in fresh], EncodedImages(encoded.vectors, 0.0, seconds))
            fresh.clear()
        if known:  # what they are copies of may have been among those
            sink.reused(known)
            known.clear()

    def is_known(content_hash: bytes) -> bool:
        return content_hash in claimed or sink.knows(content_hash)

    with Workers(clock.threads, "mmsearch-load") as workers:
        files = (task.file for task in tasks)
        texts = load_texts(files, read, workers, clock.threads, known=is_known, seconds=options.seconds)
        for task, text in zip(tasks, texts, strict=True):
            entry = LoadedTask(task, text)
            clock.add(text.seconds)
            if text.error is not None:
                sink.skipped([entry])
                skipped += 1
            elif text.text is None or is_known(text.content_hash):
                known.append(entry)
            else:
                claimed.add(text.content_hash)
                fresh.append(entry)
            if len(fresh) + len(known) >= _TOGETHER:
                hand_over()
            done += 1
            tell(done, skipped)
        hand_over()
    return skipped


def _reader_of(task: Task) -> Callable[[bytes], Content]:
    read = None if task.kind.files is None else task.kind.files.read
    if read is None:
        raise TypeError(f"the kind {task.kind.name} is of the text side, and says not how its files are read")
    return read
