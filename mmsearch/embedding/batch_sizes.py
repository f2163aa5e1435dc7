"""How many pictures to encode at a time."""

import threading

__all__ = ["BatchSize"]

# For ViT-B-32 on one core 8 are as good as 32, with a shorter wait at the end; small models want more.
_CPU = (8, 16, 32)
_GPU = (64, 128, 256, 512, 1024)
_BATCHES_TRIED = 4  # of each size that is tried
_LEAST_SPEEDUP = 1.05  # how much faster a larger batch has to be, since it takes more memory


class BatchSize:
    """Finds the best batch size during the run: larger ones are tried as long as they are faster. Thread-safe.

    sizes: ascending; where there is only one, it is the size.
    """

    def __init__(self, *sizes: int) -> None:
        self.current = self._best = sizes[0]
        self._untried = list(sizes[1:])
        self._settled = len(sizes) == 1
        self._measuring = threading.Lock()
        self._best_rate = 0.0
        self._start_trial(sizes[0])

    @classmethod
    def for_device(cls, device: str) -> "BatchSize":
        """The sizes to try on a device, "cpu" or "gpu"."""
        return cls(*_CPU) if device == "cpu" else cls(*_GPU)

    def learn_rate(self, images: int, seconds: float) -> None:
        """Take in how long a batch took. The first batch of a size does not count: memory is allocated in it."""
        with self._measuring:
            if self._settled or images != self.current:
                return
            self._batches += 1
            if self._batches > 1:
                self._images += images
                self._seconds += seconds
            if self._batches > _BATCHES_TRIED:
                self._finish_trial(self._images / max(self._seconds, 1e-9))

    def _start_trial(self, size: int) -> None:
        self.current = size
        self._batches = self._images = 0
        self._seconds = 0.0

    def _finish_trial(self, rate: float) -> None:
        if rate >= self._best_rate * _LEAST_SPEEDUP:
            self._best, self._best_rate = self.current, rate
            if self._untried:
                self._start_trial(self._untried.pop(0))
                return
        self.current, self._settled = self._best, True
