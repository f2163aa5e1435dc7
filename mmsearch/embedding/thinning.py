"""Leaves out frames of films that show nothing new: a sink that holds a film until all of it is encoded.

Whether a frame shows something new is told by its vector, so that all frames of a film have to be encoded first. What
is kept of a film is written at once: a run that is killed within one begins it anew, and takes no notice of it before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.cutting import alike_from, choose_new
from mmsearch.embedding.parity import ParityCheck
from mmsearch.embedding.sink import LoadedTask, Sink
from mmsearch.encoders import EncodedImages, Encoder
from mmsearch.sources import Container, Member

__all__ = ["ThinningSink"]


@dataclass(slots=True)
class _HeldFilm:
    """What came of one film by now. entries, vectors: a frame each, in any order; None where only `inner` has it."""

    container: Container
    alike: float
    entries: list[LoadedTask] = field(default_factory=list)
    vectors: list[NDArray[np.float32] | None] = field(default_factory=list)
    skipped: list[LoadedTask] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        return len(self.entries) + len(self.skipped) == self.container.members


class ThinningSink:
    """Implements `Sink`: hands on what is of no film at once, and films when they are complete.

    `finish` hands on those that are not, with all of their frames.
    """

    def __init__(self, inner: Sink) -> None:
        self._inner = inner
        self.parity: ParityCheck = inner.parity
        self._films: dict[str, _HeldFilm] = {}
        self._vectors: dict[bytes, NDArray[np.float32]] = {}  # of frames of this run that `inner` does not have

    @property
    def encoder(self) -> Encoder | None:
        return self._inner.encoder

    @encoder.setter
    def encoder(self, encoder: Encoder | None) -> None:
        self._inner.encoder = encoder

    @property
    def hash_name(self) -> str:
        return self._inner.hash_name

    def knows(self, content_hash: bytes) -> bool:
        return content_hash in self._vectors or self._inner.knows(content_hash)

    def vectors_of(self, entries: Sequence[LoadedTask]) -> list[NDArray[np.float32] | None]:
        return self._inner.vectors_of(entries)

    def add_encoded(self, entries: Sequence[LoadedTask], images: EncodedImages) -> None:
        films = [self._film_of(entry) for entry in entries]
        at_once = [number for number, film in enumerate(films) if film is None]
        rest = replace(images, vectors=images.vectors[at_once])
        self._inner.add_encoded([entries[number] for number in at_once], rest)
        for entry, film, vector in zip(entries, films, images.vectors, strict=True):
            if film is not None:
                self._vectors[entry.loaded.content_hash] = vector
                self._hold(film, entry, vector)

    def add_reused(self, entries: Sequence[LoadedTask]) -> None:
        films = [self._film_of(entry) for entry in entries]
        if at_once := [entry for entry, film in zip(entries, films, strict=True) if film is None]:
            self._inner.add_reused(at_once)
        for entry, film in zip(entries, films, strict=True):
            if film is not None:
                self._hold(film, entry, self._vectors.get(entry.loaded.content_hash))

    def add_skipped(self, entries: Sequence[LoadedTask]) -> None:
        films = [self._film_of(entry) for entry in entries]
        if at_once := [entry for entry, film in zip(entries, films, strict=True) if film is None]:
            self._inner.add_skipped(at_once)
        for entry, film in zip(entries, films, strict=True):
            if film is not None:
                film.skipped.append(entry)
                self._release_if_complete(film)

    def add_alike(self, entries: Sequence[LoadedTask]) -> None:
        self._inner.add_alike(entries)

    def abandon(self) -> None:
        self._films.clear()
        self._inner.abandon()

    def finish(self) -> None:
        """Hand on the films of which this run took a part: nothing is left out of them."""
        for film in self._films.values():
            self._hand_on(film.entries, film.vectors)
            self._inner.add_skipped(film.skipped)
        self._films.clear()

    def _film_of(self, entry: LoadedTask) -> _HeldFilm | None:
        file = entry.task.file
        if not isinstance(file, Member) or file.container is None or not file.span:
            return None
        container = file.container
        if (held := self._films.get(container.location)) is not None:
            return held
        alike = alike_from(container.location, container.cutting)
        if alike is None:
            return None
        return self._films.setdefault(container.location, _HeldFilm(container, alike))

    def _hold(self, film: _HeldFilm, entry: LoadedTask, vector: NDArray[np.float32] | None) -> None:
        film.entries.append(entry)
        film.vectors.append(vector)
        self._release_if_complete(film)

    def _release_if_complete(self, film: _HeldFilm) -> None:
        if not film.is_complete:
            return
        del self._films[film.container.location]
        unknown = [entry for entry, vector in zip(film.entries, film.vectors, strict=True) if vector is None]
        stored = dict(zip(map(id, unknown), self._inner.vectors_of(unknown), strict=True))
        order = sorted(range(len(film.entries)), key=lambda number: _times_of(film.entries[number])[0])
        entries = [film.entries[number] for number in order]
        vectors = [film.vectors[number] for number in order]
        compared = [
            vector if vector is not None else stored[id(entry)] for entry, vector in zip(entries, vectors, strict=True)
        ]
        is_new = choose_new(compared, film.alike)
        rows = [number for number, new in enumerate(is_new) if new]
        container = replace(film.container, members=len(rows) + len(film.skipped))
        ends = [_times_of(entries[number])[0] for number in rows[1:]]
        end = max((_times_of(entry)[1] for entry in entries), default=0.0)
        kept = [
            _moved(entries[number], container, until)
            for number, until in zip(rows, [*ends, end][: len(rows)], strict=True)
        ]
        self._hand_on(kept, [vectors[number] for number in rows])
        self._inner.add_skipped([_in_container(entry, container) for entry in film.skipped])
        self._inner.add_alike([entry for entry, new in zip(entries, is_new, strict=True) if not new])

    def _hand_on(self, entries: Sequence[LoadedTask], vectors: Sequence[NDArray[np.float32] | None]) -> None:
        """Add frames, those whose vector is known as such."""
        new: dict[bytes, int] = {}
        for number, (entry, vector) in enumerate(zip(entries, vectors, strict=True)):
            content_hash = entry.loaded.content_hash
            if vector is not None and not self._inner.knows(content_hash):
                new.setdefault(content_hash, number)
        numbers = sorted(new.values())
        encoded = [vector for number in numbers if (vector := vectors[number]) is not None]
        if encoded:
            images = EncodedImages(np.stack(encoded), 0.0, 0.0)
            self._inner.add_encoded([entries[number] for number in numbers], images)
        taken = set(numbers)
        if reused := [entry for number, entry in enumerate(entries) if number not in taken]:
            self._inner.add_reused(reused)
        for content_hash in new:
            del self._vectors[content_hash]


def _times_of(entry: LoadedTask) -> tuple[float, float]:
    """When a frame is shown, and until when."""
    file = entry.task.file
    assert isinstance(file, Member)
    return float(file.numbers.get("start_s") or 0.0), float(file.numbers.get("end_s") or 0.0)


def _moved(entry: LoadedTask, container: Container, until: float) -> LoadedTask:
    """A frame that stands for those after it, too."""
    file = entry.task.file
    assert isinstance(file, Member)
    return _with_file(entry, replace(file, container=container, numbers={**file.numbers, "end_s": until}))


def _in_container(entry: LoadedTask, container: Container) -> LoadedTask:
    file = entry.task.file
    assert isinstance(file, Member)
    return _with_file(entry, replace(file, container=container))


def _with_file(entry: LoadedTask, file: Member) -> LoadedTask:
    return LoadedTask(entry.task, replace(entry.loaded, file=file))
