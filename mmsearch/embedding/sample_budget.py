"""Limits what the sample that is embedded both ways may cost: a share of the work that a run has done so far."""

__all__ = ["SHARE", "SampleBudget"]

SHARE = 0.025
"""Of the seconds of the work by the fast way so far: so a run stays below 3 % though estimates err."""


class SampleBudget:
    """Keeps account of a run's seconds, and says whether it can afford another sample.

    Seconds are summed over the threads that work at the same time. One thread at a time may use it.
    """

    def __init__(self, anchors: int) -> None:
        """anchors: how many generated pictures are encoded beside the sample."""
        self._anchors = anchors
        self._work = 0.0
        self._encoded, self._encode_seconds = 0, 0.0
        self._chosen = 0
        self._loaded, self._load_seconds = 0, 0.0
        self._compared, self._compare_seconds = 0, 0.0

    def add_loading(self, seconds: float) -> None:
        """Count what reading, decoding and resizing a picture by the fast way took."""
        self._work += seconds

    def add_encoding(self, count: int, seconds: float) -> None:
        """Count what encoding `count` pictures by the fast way took."""
        self._work += seconds
        self._encoded += count
        self._encode_seconds += seconds

    def choose(self) -> None:
        """Count a picture that will be loaded and encoded by the exact way too."""
        self._chosen += 1

    def add_sample_loading(self, seconds: float) -> None:
        """Count what loading a chosen picture by the exact way took."""
        self._loaded += 1
        self._load_seconds += seconds

    def add_sample_encoding(self, count: int, seconds: float) -> None:
        """Count what encoding `count` pictures by the exact way took, anchors among them."""
        self._compared += count
        self._compare_seconds += seconds

    def admits_another(self) -> bool:
        """Whether one more sample, those that were chosen and the anchors stay within the share of the work so far.

        What is not known yet is expected to cost the mean of what is: samples wait to be loaded and encoded. False as
        long as no sample was loaded or no picture encoded, since nothing says what one costs.
        """
        if not self._loaded or not self._encoded:
            return False
        count = max(self._chosen, self._loaded) + 1
        encode = self._compare_seconds / self._compared if self._compared else self._encode_seconds / self._encoded
        expected = count * self._load_seconds / self._loaded + (count + self._anchors) * encode
        return expected <= SHARE * self._work
