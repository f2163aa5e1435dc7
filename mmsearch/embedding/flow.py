"""Takes pictures through the encoder to the sink, in stages that work at the same time.

main thread          files -> loader -> batches, in order
loader's workers     read, decode, resize; on a CPU also encode, so that there is one thread a core and not two
a thread a lane      encode, on GPUs
one thread           write, in order
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from queue import SimpleQueue

from mmsearch.embedding.batch_sizes import BatchSize
from mmsearch.embedding.sink import LoadedTask, Sink
from mmsearch.encoders import EncodedImages, Encoder, ImageLane, Pixels
from mmsearch.loading import LoadedFile
from mmsearch.sync import Task
from mmsearch.workers import Workers

__all__ = ["Flow"]

# Vectors of known content are fetched, and skipped rows handed over, this many at a time: each call has a fixed cost.
_MOST_WAITING = 1024
# And at least this often, so that a killed slow run loses little.
_FLUSH_SECONDS = 10.0
_BATCHES_PER_LANE = 2  # batches that wait for each lane: enough that none is ever idle


class Flow:
    """Takes pictures in their order, encodes those whose content is new, and writes all of them in that order.

    Used from one thread. `finish` waits until all are written; `stop` drops the batches that no lane has begun.
    """

    def __init__(self, sink: Sink, workers: Workers, threads: int, sizes: BatchSize | None) -> None:
        self._sink = sink
        self._workers = workers
        self._threads = threads
        self._chosen_sizes = sizes
        self._closing = ExitStack()
        self._writer = self._closing.enter_context(Workers(1, "mmsearch-write"))
        self._written: deque[Future[None]] = deque()
        self._encoding: deque[Future[EncodedImages]] = deque()
        self._queued_hashes: set[bytes] = set()
        self._batch: list[tuple[LoadedTask, Pixels]] = []
        self._known: list[LoadedTask] = []
        self._skipped: list[LoadedTask] = []
        self._flushed_at = time.monotonic()

    def set_encoder(self, encoder: Encoder) -> int:
        """Set the encoder. Before that only pictures of known content, and skipped ones, can be added.

        Returns how many threads encode beside the loader's; 0 where the loader's threads encode.
        """
        lanes = self._closing.enter_context(encoder.image.lanes(self._threads))
        self._stack = encoder.image.stack
        self._lanes: SimpleQueue[ImageLane] = SimpleQueue()
        for lane in lanes:
            self._lanes.put(lane)
        cpu = encoder.device == "cpu"
        self._encoders = self._workers if cpu else self._closing.enter_context(Workers(len(lanes), "mmsearch-encode"))
        self._room = threading.Semaphore(_BATCHES_PER_LANE * len(lanes) + len(lanes))
        self._sizes = self._chosen_sizes or BatchSize.for_device("cpu" if cpu else "gpu")
        return 0 if cpu else len(lanes)

    def add(self, task: Task, loaded: LoadedFile) -> None:
        """Add a file that was read. Raises the error of an earlier file's encoding or writing."""
        self._raise_failure()
        entry = LoadedTask(task, loaded)
        if loaded.error is not None:
            self._skipped.append(entry)
        elif loaded.pixels is None or self._is_known(loaded.content_hash):
            self._known.append(entry)
        else:
            self._queued_hashes.add(loaded.content_hash)
            self._batch.append((entry.without_pixels(), loaded.pixels))
            if len(self._batch) >= self._sizes.current:
                self._encode()
        waiting = max(len(self._known), len(self._skipped))
        if waiting >= _MOST_WAITING or (waiting and time.monotonic() - self._flushed_at > _FLUSH_SECONDS):
            self._flush()

    def finish(self) -> None:
        """Write everything that was added, and wait for it."""
        self._encode()
        self._flush()
        while self._written:
            self._written.popleft().result()
        self._closing.close()

    def stop(self) -> None:
        """Drop the batches that no lane has begun; wait until the rest is written. Raises no earlier errors."""
        for encoding in self._encoding:
            encoding.cancel()
        for writing in self._written:
            writing.exception()
        self._closing.close()

    def _is_known(self, content_hash: bytes) -> bool:
        return content_hash in self._queued_hashes or self._sink.knows(content_hash)

    def _encode(self) -> None:
        if not self._batch:
            return
        entries, pixels = [entry for entry, _ in self._batch], [pixels for _, pixels in self._batch]
        self._batch = []
        while not self._room.acquire(timeout=1):
            self._raise_failure()
        future = self._encoders.submit(self._encode_batch, pixels)
        future.add_done_callback(lambda _: self._room.release())
        self._encoding.append(future)
        self._write(lambda: self._sink.add_encoded(entries, future.result()))

    def _encode_batch(self, image_pixels: list[Pixels]) -> EncodedImages:
        pixels = self._stack(image_pixels)  # here, where nobody waits for it: the main thread feeds all lanes
        lane = self._lanes.get()
        try:
            encoded = lane(pixels)
        finally:
            self._lanes.put(lane)
        self._sizes.learn_rate(len(pixels), encoded.encode_seconds)
        return encoded

    def _flush(self) -> None:
        self._flushed_at = time.monotonic()
        known, skips, self._known, self._skipped = self._known, self._skipped, [], []
        if known:
            self._encode()  # the batch may hold the pictures that these are copies of
            self._write(lambda: self._sink.add_reused(known))
        if skips:
            self._write(lambda: self._sink.add_skipped(skips))

    def _write(self, write: Callable[[], None]) -> None:
        self._written.append(self._writer.submit(write))

    def _raise_failure(self) -> None:
        """Raise the error of the first write that failed."""
        while self._encoding and self._encoding[0].done():
            self._encoding.popleft()
        while self._written and self._written[0].done():
            future = self._written.popleft()
            try:
                future.result()
            except BaseException:
                self._written.appendleft(future)  # for `stop`, which knows how to treat it
                raise
