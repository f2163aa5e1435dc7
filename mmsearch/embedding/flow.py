"""Pictures on their way through the encoder into the gallery, with nobody waiting for anybody else.

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
from typing import Any

import numpy as np

from mmsearch.embedding.batch_sizes import BatchSize
from mmsearch.embedding.sink import LoadedTask, Sink
from mmsearch.encoders import EncodedImages, Encoder, ImageLane, Pixels
from mmsearch.loader import Loaded
from mmsearch.sync import Task
from mmsearch.workers import Workers

__all__ = ["Flow"]

# Vectors of known content are fetched, and skipped rows handed over, this many at a time: each call has a price.
_TOGETHER = 1024
# And at least this often, so that a kill costs little of a slow run.
_SECONDS = 10.0
_READY = 2  # batches for each lane that wait encoded for nobody: enough that none runs dry


class Flow:
    """Takes pictures in their order, encodes those whose content is new, and has all of them written in that order.

    Used from one thread. `finish` waits until all is written; `stop` leaves out what no lane has begun.
    """

    def __init__(self, sink: Sink, workers: Workers, threads: int, sizes: BatchSize | None) -> None:
        self._sink = sink
        self._workers = workers
        self._threads = threads
        self._given_sizes = sizes
        self._open = ExitStack()
        self._writer = self._open.enter_context(Workers(1, "mmsearch-write"))
        self._written: deque[Future[None]] = deque()
        self._encoding: deque[Future[EncodedImages]] = deque()
        self._claimed: set[bytes] = set()
        self._fresh: list[tuple[LoadedTask, Pixels]] = []
        self._known: list[LoadedTask] = []
        self._skips: list[LoadedTask] = []
        self._handed_over = time.monotonic()

    def begin(self, encoder: Encoder) -> int:
        """Have an encoder ready. Before it only pictures of known content, and skipped ones, can be taken.

        Returns how many threads encode beside the loader's; 0 where those do it too.
        """
        lanes = self._open.enter_context(encoder.image.lanes(self._threads))
        self._lanes: SimpleQueue[ImageLane] = SimpleQueue()
        for lane in lanes:
            self._lanes.put(lane)
        cpu = encoder.device == "cpu"
        self._encoders = self._workers if cpu else self._open.enter_context(Workers(len(lanes), "mmsearch-encode"))
        self._room = threading.Semaphore(_READY * len(lanes) + len(lanes))
        self._sizes = self._given_sizes or BatchSize.on("cpu" if cpu else "gpu")
        return 0 if cpu else len(lanes)

    def take(self, task: Task, picture: Loaded) -> None:
        """One file, read. Raises what went wrong with an earlier one's encoding or writing."""
        self._check()
        entry = LoadedTask(task, picture)
        if picture.error is not None:
            self._skips.append(entry)
        elif picture.pixels is None or self._is_known(picture.content_hash):
            self._known.append(entry)
        else:
            self._claimed.add(picture.content_hash)
            self._fresh.append((entry.without_pixels(), picture.pixels))
            if len(self._fresh) >= self._sizes.current:
                self._encode()
        waiting = max(len(self._known), len(self._skips))
        if waiting >= _TOGETHER or (waiting and time.monotonic() - self._handed_over > _SECONDS):
            self._hand_over()

    def finish(self) -> None:
        """Have all of it written, and wait for that."""
        self._encode()
        self._hand_over()
        while self._written:
            self._written.popleft().result()
        self._open.close()

    def stop(self) -> None:
        """Give up what no lane has begun; wait until the rest is written. Raises nothing of what went wrong before."""
        for encoding in self._encoding:
            encoding.cancel()
        for writing in self._written:
            writing.exception()
        self._open.close()

    def _is_known(self, content_hash: bytes) -> bool:
        return content_hash in self._claimed or self._sink.knows(content_hash)

    def _encode(self) -> None:
        if not self._fresh:
            return
        entries, pixels = [entry for entry, _ in self._fresh], [pixels for _, pixels in self._fresh]
        self._fresh = []
        while not self._room.acquire(timeout=1):
            self._check()
        future = self._encoders.submit(self._on_a_lane, pixels)
        future.add_done_callback(lambda _: self._room.release())
        self._encoding.append(future)
        self._write(lambda: self._sink.encoded(entries, future.result()))

    def _on_a_lane(self, pictures: list[Pixels]) -> EncodedImages:
        pixels: Any = np.stack(pictures)  # here, where nobody waits for it: the main thread feeds all lanes
        lane = self._lanes.get()
        try:
            encoded = lane(pixels)
        finally:
            self._lanes.put(lane)
        self._sizes.learn_rate(len(pixels), encoded.encode_seconds)
        return encoded

    def _hand_over(self) -> None:
        self._handed_over = time.monotonic()
        known, skips, self._known, self._skips = self._known, self._skips, [], []
        if known:
            self._encode()  # what they are copies of may be in it
            self._write(lambda: self._sink.reused(known))
        if skips:
            self._write(lambda: self._sink.skipped(skips))

    def _write(self, write: Callable[[], None]) -> None:
        self._written.append(self._writer.submit(write))

    def _check(self) -> None:
        """Raise what went wrong."""
        while self._encoding and self._encoding[0].done():
            self._encoding.popleft()
        while self._written and self._written[0].done():
            future = self._written.popleft()
            try:
                future.result()
            except BaseException:
                self._written.appendleft(future)  # for `stop`, which knows how to treat it
                raise
