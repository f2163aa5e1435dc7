"""How many pictures to encode at a time."""

import threading

__all__ = ["BatchSize"]

# For ViT-B-32 on one core 8 are as good as 32, and less to wait for at the end; small models want more.
_CPU = (8, 16, 32)
_GPU = (64, 128, 256, 512, 1024)
_BATCHES = 4  # of each size that is tried
_WORTH = 1.05  # how much faster a larger batch has to be, since it takes more memory


class BatchSize:
    """A batch size found while the work goes on: larger ones are tried as long as they are faster. Thread-safe.

    sizes: ascending; with one, that is the size.
    """

    def __init__(self, *sizes: int) -> None:
        self.current = self._best = sizes[0]
        self._left = list(sizes[1:])
        self._found = len(sizes) == 1
        self._measuring = threading.Lock()
        self._best_rate = 0.0
        self._begin(sizes[0])

    @classmethod
    def on(cls, device: str) -> "BatchSize":
        """What suits a "cpu" or a "gpu"."""
        return cls(*_CPU) if device == "cpu" else cls(*_GPU)

    def learn_rate(self, images: int, seconds: float) -> None:
        """Tell how long a batch took. The first of a size does not count: memory is allocated in it."""
        with self._measuring:
            if self._found or images != self.current:
                return
            self._batches += 1
            if self._batches > 1:
                self._images += images
                self._seconds += seconds
            if self._batches > _BATCHES:
                self._decide(self._images / max(self._seconds, 1e-9))

    def _begin(self, size: int) -> None:
        self.current = size
        self._batches = self._images = 0
        self._seconds = 0.0

    def _decide(self, rate: float) -> None:
        if rate >= self._best_rate * _WORTH:
            self._best, self._best_rate = self.current, rate
            if self._left:
                self._begin(self._left.pop(0))
                return
        self.current, self._found = self._best, True
