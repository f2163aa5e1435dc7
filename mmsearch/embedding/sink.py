"""The interface that takes the results of reading and encoding, and helpers of its implementations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.embedding.parity import ParityCheck, Sample
from mmsearch.encoders import EncodedImages, Encoder
from mmsearch.items import NUMBERS
from mmsearch.loading import DecodeGroup, LoadedFile
from mmsearch.sources import Member, SourceFile
from mmsearch.sync import Task

__all__ = [
    "LoadedTask",
    "Sink",
    "copy_row",
    "decode_group_of",
    "make_row",
    "select_samples",
    "split_by_parity",
    "stack_references",
]


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """A task and what was read of its file."""

    task: Task
    loaded: LoadedFile

    def without_pixels(self) -> "LoadedTask":
        """A copy without pixels and text: only the encoder needs these, and they would fill the memory."""
        return LoadedTask(self.task, replace(self.loaded, pixels=None, text=None))

    def without_group(self) -> "LoadedTask":
        """A copy without group and reference, as of a picture that was loaded by the exact way alone."""
        return LoadedTask(self.task, replace(self.loaded, group=None, reference=None))


class Sink(Protocol):
    """Takes the results of a run, in the order of its files, from one thread at a time.

    encoder: None until a picture has to be encoded. parity: decides which pictures are sampled.
    """

    encoder: Encoder | None
    parity: ParityCheck

    @property
    def hash_name(self) -> str:
        """The hash by which the gallery knows files, see `content_hasher`."""
        ...

    def knows(self, content_hash: bytes) -> bool:
        """Whether a file with this content needs no decoding, since its vector is known."""
        ...

    def add_encoded(self, entries: Sequence[LoadedTask], images: EncodedImages) -> None:
        """Add pictures with their new vectors (n, dim)."""
        ...

    def add_reused(self, entries: Sequence[LoadedTask]) -> None:
        """Add pictures whose content is known, or was among those encoded before."""
        ...

    def add_skipped(self, entries: Sequence[LoadedTask]) -> None:
        """Add files that could not be read."""
        ...

    def add_alike(self, entries: Sequence[LoadedTask]) -> None:
        """Add frames that get no row, since they show nothing new; what they would have replaced goes."""
        ...

    def vectors_of(self, entries: Sequence[LoadedTask]) -> list[NDArray[np.float32] | None]:
        """The vectors (dim,) of pictures whose content is known; None where they stand elsewhere."""
        ...

    def abandon(self) -> None:
        """Write no more: what was added is not to be trusted, since writing it was interrupted."""
        ...


def select_samples(entries: Sequence[LoadedTask], vectors: NDArray[np.float32]) -> Iterator[Sample]:
    """Select the pictures that were loaded by the exact way too, with their vectors (n, dim)."""
    for entry, vector in zip(entries, vectors, strict=True):
        loaded = entry.loaded
        if loaded.reference is not None and loaded.group is not None:
            yield Sample(loaded.group, loaded.pixel_error, vector, loaded.reference)


def split_by_parity(entries: Sequence[LoadedTask], parity: ParityCheck) -> tuple[list[int], list[int]]:
    """Indices of the pictures whose fast vectors are kept, and of those to be encoded by the exact way, since their
    groups do not agree. Pictures read before that was known have no reference; they are among the first."""
    exact = [
        index
        for index, entry in enumerate(entries)
        if (kind := entry.loaded.group) is not None and entry.loaded.reference is not None and not parity.agrees(kind)
    ]
    exact_indices = set(exact)
    return [index for index in range(len(entries)) if index not in exact_indices], exact


def stack_references(entries: Sequence[LoadedTask]) -> NDArray[np.float32]:
    """Stack the references of pictures that all have one: (n, 3, H, W)."""
    return np.stack([entry.loaded.reference for entry in entries if entry.loaded.reference is not None])


def decode_group_of(entry: LoadedTask) -> DecodeGroup:
    """The group of a picture that was decoded by the fast way. Raises ValueError for another."""
    if entry.loaded.group is None:
        raise ValueError(f"{entry.task.file.location} was not decoded by the fast way")
    return entry.loaded.group


_BESIDE = ("files", "files_state")
_PLACE = ("lat", "lon", "city", "country")
"""Columns that say what stands beside a file, of kinds that have them."""


def _describe_beside(file: SourceFile) -> tuple[list[str], bytes | None]:
    return [other.file.path for other in file.beside], file.beside_state


def make_row(entry: LoadedTask) -> Any:
    """Make the row of an item: a record of its kind."""
    return entry.task.kind.row(**{**entry.loaded.columns, **_file_columns(entry)})


def copy_row(entry: LoadedTask, row: Any, *, same: bool) -> Any:
    """Make the row of an item that has the content of `row`: the columns that depend on the content are copied.

    same: whether it is the same picture, whose place is kept where places are not read; that of another one may have
    been said beside it.
    """
    names = (*NUMBERS, *_BESIDE) if same else (*NUMBERS, *_BESIDE, *_PLACE)
    of_file = dict.fromkeys(name for name in names if name in entry.task.kind.columns)
    return replace(row, **{**of_file, **entry.loaded.columns, **_file_columns(entry)})


def _file_columns(entry: LoadedTask) -> dict[str, Any]:
    """Those columns of a row that say where the item is, and what state its file was in."""
    file = entry.loaded.file
    return {
        "root_id": entry.task.root_id,
        "path": file.path,
        "path_bytes": file.path_bytes,
        "bytes": file.size,
        "mtime_ns": file.mtime_ns,
        "etag": file.etag,
        "content_hash": entry.loaded.content_hash,
        **(file.numbers if isinstance(file, Member) else {}),
        **(dict(zip(_BESIDE, _describe_beside(entry.task.file), strict=True)) if entry.task.file.beside else {}),
    }
