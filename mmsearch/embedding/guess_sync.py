"""The part of `embed` that has a model describe the pictures: what it says becomes captions that follow their pictures.

A caption that a model has written stands for one picture of one content. Where the picture was moved, it goes along;
where it was changed or is gone, it goes.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mmsearch import images
from mmsearch.describing import Describer
from mmsearch.embedding.records import GuessCounts
from mmsearch.encoders import Encoder
from mmsearch.errors import ImageError
from mmsearch.gallery import Gallery, GalleryWriter
from mmsearch.items import CAPTIONS, IMAGES, MACHINE, CaptionRow
from mmsearch.loading import DECODE_SECONDS
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.search.gallery_files import FileGone, image_row, read_content
from mmsearch.versions import Provenance
from mmsearch.workers import Overdue, Workers

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["embed_guesses", "follow_pictures"]

_THREADS = 2  # that read and decode: a describer is slower by far
_EXAMPLES = 10
_Key: TypeAlias = tuple[int, str]
"""Root id and path of an image."""


def follow_pictures(writer: GalleryWriter) -> int:
    """Bring captions that models have written in line with the committed pictures: those of moved ones name the new
    place, those of pictures that are gone or have changed are deleted. Returns how many were deleted."""
    gallery = writer.gallery
    if not gallery.guessed_captions():  # the usual case costs a look at one column
        return 0
    guesses = [(row_id, row) for row_id, row in gallery.all_captions() if row.guessed_by is not None]
    keys = {(row.root_id, row.path) for _, row in guesses}
    hashes = {row.content_hash for _, row in guesses}
    at: dict[_Key, bytes | None] = {}
    holding: dict[bytes, list[_Image]] = {}
    for image in _live_images(gallery):
        if image.key in keys:
            at[image.key] = image.content_hash
        if image.content_hash is not None and image.content_hash in hashes:
            holding.setdefault(image.content_hash, []).append(image)
    stays = [(row_id, row) for row_id, row in guesses if _is_of(row, at)]
    described = {(row.source, row.root_id, row.path) for _, row in stays}
    kept = {row_id for row_id, _ in stays}
    deleted: list[int] = []
    moved: list[tuple[int, CaptionRow]] = []
    for row_id, row in guesses:
        if row_id in kept:
            continue
        same = holding.get(row.content_hash or b"", ())
        place = next((image for image in same if (row.source, *image.key) not in described), None)
        if place is None:
            deleted.append(row_id)
        else:
            described.add((row.source, *place.key))
            moved.append((row_id, place.caption(row.caption, row)))
    if moved:
        old = np.array([row_id for row_id, _ in moved], np.int64)
        vectors = gallery.vectors(CAPTIONS.name, old)
        writer.append(
            CAPTIONS.name, [row for _, row in moved], vectors, _COPIED, replaces={CAPTIONS.name: old.tolist()}
        )
    writer.delete(CAPTIONS.name, deleted)
    return len(deleted)


_COPIED = Provenance("copied", "copied", CAPTIONS.side)


def embed_guesses(
    writer: GalleryWriter,
    encoder: Callable[[], Encoder],
    describer: Describer,
    progress: ProgressCallback,
) -> GuessCounts:
    """Have a model describe those committed pictures of which the gallery holds no caption that it has written, and
    embed what it says. Pictures of equal content are described once.

    What is described is committed at least once a minute. Raises EncoderError, StoreError.
    """
    gallery, source = writer.gallery, f"{MACHINE}{describer.identity}"
    described: set[_Key] = set()
    known: dict[bytes, str] = {}
    for _, row in gallery.all_captions():
        if row.source == source and row.root_id is not None and row.path is not None:
            described.add((row.root_id, row.path))
            if row.content_hash is not None:
                known[row.content_hash] = row.caption
    lacking = [image for image in _live_images(gallery) if image.key not in described]
    recorder = _GuessRecorder(writer, encoder, source, describer)
    copies: list[_Image] = []
    fresh: list[_Image] = []
    claimed = set(known)
    for image in lacking:
        if image.content_hash is not None and image.content_hash in claimed:
            copies.append(image)
        else:
            fresh.append(image)
            claimed |= {image.content_hash} if image.content_hash is not None else set()
    done = 0
    progress(Progress("describing", 0, len(fresh)))
    for images_of_batch, pixels in _read_ahead(gallery, fresh, describer.pictures_at_once, recorder):
        guesses = describer.describe(pixels) if pixels else []
        recorder.add([(image, guess.text) for image, guess in zip(images_of_batch, guesses, strict=True)])
        known |= {
            image.content_hash: guess.text
            for image, guess in zip(images_of_batch, guesses, strict=True)
            if image.content_hash is not None
        }
        done = len(recorder.unread) + recorder.described
        progress(Progress("describing", done, len(fresh), len(recorder.unread)))
    fresh_count = recorder.described
    for start in range(0, len(copies), _COPIES):
        some = copies[start : start + _COPIES]
        recorder.add([(image, known[image.content_hash or b""]) for image in some if image.content_hash in known])
    return GuessCounts(
        model=describer.name,
        described=fresh_count,
        copied=recorder.described - fresh_count,
        unchanged=len(described),
        unread=len(recorder.unread),
        unread_files=tuple(recorder.unread[:_EXAMPLES]),
        truncated=recorder.truncated,
    )


_COPIES = 1024


class _Image:
    """A live image, as far as its description is concerned."""

    __slots__ = ("content_hash", "path", "path_bytes", "root_id", "row_id")

    def __init__(
        self, row_id: int, root_id: int, path: str, path_bytes: bytes | None, content_hash: bytes | None
    ) -> None:
        self.row_id, self.root_id, self.path = row_id, root_id, path
        self.path_bytes, self.content_hash = path_bytes, content_hash

    @property
    def key(self) -> _Key:
        return self.root_id, self.path

    def caption(self, text: str, like: CaptionRow) -> CaptionRow:
        """The row of a caption of this image, by the model of another one."""
        return replace(
            like,
            caption=text,
            root_id=self.root_id,
            path=self.path,
            path_bytes=self.path_bytes,
            ordinal=self.row_id,
            content_hash=self.content_hash,
        )


def _live_images(gallery: Gallery) -> Iterator[_Image]:
    """All but tiles, whose picture stands beside them."""
    columns = ["root_id", "path", "path_bytes", "content_hash"]
    for part in gallery.scan(IMAGES.name, [*columns, "box"]):
        rows = part.filter(part.column("box").is_null())
        values = (rows.column(name).to_pylist() for name in ("row_id", *columns))
        yield from (_Image(*each) for each in zip(*values, strict=True))


def _is_of(row: CaptionRow, at: dict[_Key, bytes | None]) -> bool:
    """Whether the picture that a caption names is there, and is the one that was described. at: what is there."""
    if row.root_id is None or row.path is None or (row.root_id, row.path) not in at:
        return False
    now = at[row.root_id, row.path]
    return now is None or row.content_hash is None or now == row.content_hash


class _GuessRecorder:
    """Encodes what a model says, and writes it. Counts."""

    def __init__(
        self, writer: GalleryWriter, encoder: Callable[[], Encoder], source: str, describer: Describer
    ) -> None:
        self._writer, self._encoder = writer, encoder
        self._like = CaptionRow("", None, None, None, source, 0, guessed_by=describer.name)
        self.described = self.truncated = 0
        self.unread: list[tuple[str, str]] = []

    def add(self, guesses: Sequence[tuple[_Image, str]]) -> None:
        """Embed what is said of some images; of one of which nothing is said, that is noted."""
        for image, text in guesses:
            if not text:
                self.pass_by(image, "the model says nothing of it")
        spoken = [(image, text) for image, text in guesses if text]
        if not spoken:
            return
        model = self._encoder()
        encoded = model.text.encode([text for _, text in spoken])
        rows = [
            replace(image.caption(text, self._like), truncated=bool(cut))
            for (image, text), cut in zip(spoken, encoded.truncated, strict=True)
        ]
        provenance = Provenance(model.device, model.precision, CAPTIONS.side)
        self._writer.append(CAPTIONS.name, rows, encoded.vectors, provenance)
        self.described += len(rows)
        self.truncated += int(np.count_nonzero(encoded.truncated))
        if self._writer.is_commit_due:
            self._writer.commit()

    def pass_by(self, image: _Image, reason: str) -> None:
        self.unread.append((image.path, reason))


def _read_ahead(
    gallery: Gallery, wanted: Sequence[_Image], at_once: int, recorder: _GuessRecorder
) -> "Iterator[tuple[list[_Image], list[PIL.Image.Image]]]":
    """Batches of images with their pixels; the next is read while the last is described. What cannot be read is noted
    and left out."""
    pending: deque[tuple[_Image, Future[Any]]] = deque()
    with Workers(_THREADS, "mmsearch-describe") as workers:
        coming = iter(wanted)

        def fill() -> None:
            while len(pending) < 2 * at_once and (image := next(coming, None)) is not None:
                pending.append((image, workers.submit(_read, gallery, image.row_id)))

        fill()
        while pending:
            images_of_batch, pixels = [], []
            for _ in range(min(at_once, len(pending))):
                image, future = pending.popleft()
                try:
                    pixels.append(workers.result(future, DECODE_SECONDS))
                    images_of_batch.append(image)
                except (FileGone, ImageError, MemoryError) as error:
                    recorder.pass_by(image, error.reason if isinstance(error, ImageError) else str(error))
                except Overdue:
                    recorder.pass_by(image, f"not decoded within {DECODE_SECONDS:g} seconds")
            fill()
            yield images_of_batch, pixels


def _read(gallery: Gallery, row_id: int) -> "PIL.Image.Image":
    """The pixels of an image of the gallery. Raises FileGone, ImageError."""
    return images.decode(read_content(gallery, image_row(gallery, row_id)).data).image
