"""What becomes of files once they are read and encoded: the side of the flow that differs between executors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from mmsearch.encoders import EncodedImages, Encoder
from mmsearch.loader import Loaded
from mmsearch.pipeline.embed.parity import ParityCheck
from mmsearch.sync import Task

__all__ = ["Entry", "Sink"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file and what was read of it."""

    task: Task
    picture: Loaded

    def without_pixels(self) -> "Entry":
        """Pixels are only for the encoder; until a row is written they would fill the memory."""
        return Entry(self.task, replace(self.picture, pixels=None))


class Sink(Protocol):
    """Takes the files of a run, in their order, from one thread at a time.

    encoder: None until a picture has to be encoded. parity: what decides which pictures are sampled.
    """

    encoder: Encoder | None
    parity: ParityCheck

    def knows(self, content_hash: bytes) -> bool:
        """Whether a file with this content needs no decoding, since its vector can be had."""
        ...

    def encoded(self, entries: Sequence[Entry], images: EncodedImages) -> None:
        """Pictures with their vectors (n, dim)."""
        ...

    def reused(self, entries: Sequence[Entry]) -> None:
        """Pictures whose content is known, or was among those encoded before."""
        ...

    def skipped(self, entries: Sequence[Entry]) -> None:
        """Files that could not be read."""
        ...

    def abandon(self) -> None:
        """What was taken is not to be trusted: it was cut off while it was being written."""
        ...
