"""What becomes of files once they are read and encoded: the side of the flow that differs between executors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.embedding.parity import ParityCheck, Sample
from mmsearch.encoders import EncodedImages, Encoder
from mmsearch.items import NUMBERS
from mmsearch.loader import Kind, Loaded
from mmsearch.sources import Member
from mmsearch.sync import Task

__all__ = ["LoadedTask", "Sink", "copy_of", "kind_of", "parted", "references_of", "row_of", "samples_of"]


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """One item and what was read of it."""

    task: Task
    picture: Loaded

    def without_pixels(self) -> "LoadedTask":
        """Pixels are only for the encoder; until a row is written they would fill the memory."""
        return LoadedTask(self.task, replace(self.picture, pixels=None, text=None))

    def exactly(self) -> "LoadedTask":
        """The same as by the exact way."""
        return LoadedTask(self.task, replace(self.picture, kind=None, reference=None))


class Sink(Protocol):
    """Takes the files of a run, in their order, from one thread at a time.

    encoder: None until a picture has to be encoded. parity: what decides which pictures are sampled.
    """

    encoder: Encoder | None
    parity: ParityCheck

    def knows(self, content_hash: bytes) -> bool:
        """Whether a file with this content needs no decoding, since its vector can be had."""
        ...

    def encoded(self, entries: Sequence[LoadedTask], images: EncodedImages) -> None:
        """Pictures with their vectors (n, dim)."""
        ...

    def reused(self, entries: Sequence[LoadedTask]) -> None:
        """Pictures whose content is known, or was among those encoded before."""
        ...

    def skipped(self, entries: Sequence[LoadedTask]) -> None:
        """Files that could not be read."""
        ...

    def abandon(self) -> None:
        """What was taken is not to be trusted: it was cut off while it was being written."""
        ...


def samples_of(entries: Sequence[LoadedTask], vectors: NDArray[np.float32]) -> Iterator[Sample]:
    """Those of the pictures, with their vectors (n, dim), that went the exact way too."""
    for entry, vector in zip(entries, vectors, strict=True):
        picture = entry.picture
        if picture.reference is not None and picture.kind is not None:
            yield Sample(picture.kind, picture.pixel_error, vector, picture.reference)


def parted(entries: Sequence[LoadedTask], parity: ParityCheck) -> tuple[list[int], list[int]]:
    """Places of the pictures whose fast vectors stand, and of those that went the exact way since their kind does not
    agree. Some that were read before that was known are among the first."""
    exact = [
        place
        for place, entry in enumerate(entries)
        if (kind := entry.picture.kind) is not None and entry.picture.reference is not None and not parity.agrees(kind)
    ]
    others = set(exact)
    return [place for place in range(len(entries)) if place not in others], exact


def references_of(entries: Sequence[LoadedTask]) -> NDArray[np.float32]:
    """What the exact way made of pictures that all went it: (n, 3, H, W)."""
    return np.stack([entry.picture.reference for entry in entries if entry.picture.reference is not None])


def kind_of(entry: LoadedTask) -> Kind:
    """The kind of a picture that was decoded by the fast way. Raises ValueError for another."""
    if entry.picture.kind is None:
        raise ValueError(f"{entry.task.file.location} was not decoded by the fast way")
    return entry.picture.kind


def row_of(entry: LoadedTask) -> Any:
    """The row that an item becomes: a record of its kind's."""
    return entry.task.kind.row(**_of_file(entry), **entry.picture.columns)


def copy_of(entry: LoadedTask, row: Any) -> Any:
    """The row that an item becomes whose content `row` holds: what the content tells is taken from there."""
    nowhere = dict.fromkeys(name for name in NUMBERS if name in entry.task.kind.columns)
    return replace(row, **(nowhere | _of_file(entry)))


def _of_file(entry: LoadedTask) -> dict[str, Any]:
    """Those columns of a row that say where the item is, and of which state its file was."""
    file = entry.picture.file
    return {
        "root_id": entry.task.root_id,
        "path": file.path,
        "path_bytes": file.path_bytes,
        "bytes": file.size,
        "mtime_ns": file.mtime_ns,
        "etag": file.etag,
        "content_hash": entry.picture.content_hash,
        **(file.numbers if isinstance(file, Member) else {}),
    }
