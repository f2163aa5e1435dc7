"""Pictures of probes: read, cut out, written over, encoded; their vectors are kept in the cache, block by block."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mmsearch.cache import file_identity, writable_cache
from mmsearch.encoders import Encoder, ImageLane
from mmsearch.errors import ImageError, StoreError
from mmsearch.evaluation.probes.parquet_pictures import picture_bytes
from mmsearch.evaluation.probes.records import ProbePicture, WrittenWord
from mmsearch.images import decode, decode_for_benchmark
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.sources import MEMBER, read_picture
from mmsearch.workers import Workers

__all__ = ["encode_pictures", "open_picture", "write_word"]

_BLOCK = 256  # pictures whose vectors are kept together: what an interrupted run loses at most
_BATCH = 32  # pictures of a thread at a time; fewer where a block would not keep all cores busy
_FONT_SIDE = 0.95  # of the picture's width that a word takes at most


def open_picture(picture: ProbePicture) -> Image.Image:
    """The picture as it is measured, RGB. Raises ImageError, OSError, StoreError."""
    if picture.row is None and picture.file.endswith(".npy"):
        image = _image_of_array(picture.file)
    else:
        data = read_picture(picture.file) if picture.row is None else picture_bytes(picture.file, picture.row)
        image = decode(data).image if picture.upright else decode_for_benchmark(data)
    if picture.box is not None:
        left, top, right, bottom = picture.box
        if left >= image.width or top >= image.height or right <= left or bottom <= top:
            raise ImageError("decode", f"the box {picture.box} lies outside of {image.width} x {image.height} pixels")
        image = image.crop(picture.box)
    return image if picture.written is None else write_word(image, picture.written)


def write_word(image: Image.Image, written: WrittenWord) -> Image.Image:
    """A copy with a word across its middle: white letters with a black edge, which are seen on any ground."""
    image = image.copy()
    pixels = max(4.0, written.height * image.height)
    font, box = _fit(written.word, pixels)
    if (width := box[2] - box[0]) > _FONT_SIDE * image.width:
        font, box = _fit(written.word, max(4.0, pixels * _FONT_SIDE * image.width / width))
    place = ((image.width - box[0] - box[2]) / 2, (image.height - box[1] - box[3]) / 2)
    edge = max(1, round((box[3] - box[1]) / 16))
    ImageDraw.Draw(image).text(place, written.word, "white", font, stroke_width=edge, stroke_fill="black")
    return image


def _fit(word: str, pixels: float) -> tuple[Any, tuple[float, float, float, float]]:
    """Pillow's own font at a size, and the box of a word in it. The size is that of capitals with what is below."""
    font = ImageFont.load_default(pixels)
    left, top, right, bottom = font.getbbox(word)
    return font, (left, top, right, bottom)


def _image_of_array(file: str) -> Image.Image:
    """A frame of EqBen's films: uint8 (height, width, 3) in the order blue, green, red."""
    try:
        pixels = np.load(file, allow_pickle=False)
        return Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]), "RGB")
    except (ValueError, TypeError, IndexError, EOFError) as error:
        raise ImageError("decode", f"no array of a picture: {error}") from error


def encode_pictures(
    pictures: Sequence[ProbePicture], encoder: Encoder, progress: ProgressCallback, *, fresh: bool = False
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Vectors (n, dim), L2-normalised, by the checkpoint's own transform; and place -> reason of those that cannot be
    read, whose vectors are 0."""
    vectors = np.zeros((len(pictures), encoder.identity.dim), np.float32)
    reasons: dict[int, str] = {}
    order = _by_file(pictures)
    threads = os.cpu_count() or 1
    size = max(1, min(_BATCH, _BLOCK // (2 * threads)))
    done = 0
    with encoder.image.lanes(threads) as opened, Workers(threads, "mmsearch-probe") as workers:
        lanes: SimpleQueue[ImageLane] = SimpleQueue()
        for lane in opened:
            lanes.put(lane)
        for start in range(0, len(order), _BLOCK):
            places = order[start : start + _BLOCK]
            block = [pictures[place] for place in places]
            file = writable_cache("probes") / f"{_block_name(block, encoder)}.npy"
            known = None if fresh else _kept(file, len(block), encoder.identity.dim)
            if known is not None:
                vectors[places] = known
                done += len(places)
                progress(Progress("encoding pictures", done, len(pictures), len(reasons)))
                continue
            unreadable = len(reasons)
            tasks = [
                (places[first : first + size], workers.submit(_encode, block[first : first + size], encoder, lanes))
                for first in range(0, len(block), size)
            ]
            for batch, task in tasks:
                vectors[batch], reasons_of_batch = task.result()
                reasons |= {batch[row]: reason for row, reason in reasons_of_batch.items()}
                done += len(batch)
                progress(Progress("encoding pictures", done, len(pictures), len(reasons)))
            if len(reasons) == unreadable:
                _keep(file, vectors[places])
    return vectors, dict(sorted(reasons.items()))


def _by_file(pictures: Sequence[ProbePicture]) -> list[int]:
    """The places of the pictures, those that are made of one file together: it is decoded once for all of them."""
    first: dict[ProbePicture, int] = {}
    for place, picture in enumerate(pictures):
        first.setdefault(_undrawn(picture), place)
    return sorted(range(len(pictures)), key=lambda place: (first[_undrawn(pictures[place])], place))


def _undrawn(picture: ProbePicture) -> ProbePicture:
    return replace(picture, written=None)


def _block_name(block: Sequence[ProbePicture], encoder: Encoder) -> str:
    """By the encoder, and what decides about each picture: its file's content, its box, its word."""
    digest = hashlib.blake2b(f"{encoder.identity.fingerprint}\0{encoder.precision}".encode(), digest_size=16)
    for picture in block:
        try:
            state = file_identity(Path(picture.file.partition(MEMBER)[0]).stat())
        except OSError:
            state = "missing"
        said = (picture.file, state, picture.row, picture.box, picture.written, picture.upright)
        digest.update(f"\0{said!r}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _kept(file: Path, count: int, dim: int) -> NDArray[np.float32] | None:
    try:
        vectors: NDArray[np.float32] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return vectors if vectors.shape == (count, dim) and vectors.dtype == np.float32 else None


def _keep(file: Path, vectors: NDArray[np.float32]) -> None:
    """Under its name only when it is whole. A cache that is full does not end the work."""
    part = file.with_suffix(f".{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            np.save(stream, vectors)
        part.replace(file)
    except OSError:
        with suppress(OSError):
            part.unlink()


def _encode(
    pictures: Sequence[ProbePicture], encoder: Encoder, lanes: "SimpleQueue[ImageLane]"
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Their vectors, by whichever lane is free; and row -> reason of those that cannot be read."""
    vectors = np.zeros((len(pictures), encoder.identity.dim), np.float32)
    reasons: dict[int, str] = {}
    rows, prepared = [], []
    last: tuple[ProbePicture, Image.Image] | None = None
    for row, picture in enumerate(pictures):
        plain = _undrawn(picture)
        try:
            if last is None or last[0] != plain:
                last = plain, open_picture(plain)
            image = last[1] if picture.written is None else write_word(last[1], picture.written)
            prepared.append(encoder.image.prepare(image))
            rows.append(row)
        except (ImageError, OSError, StoreError) as error:
            reasons[row] = str(error)
    if prepared:
        pixels = encoder.image.stack(prepared)
        lane = lanes.get()
        try:
            vectors[rows] = lane(pixels).vectors
        finally:
            lanes.put(lane)
    return vectors, reasons
