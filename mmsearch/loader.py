"""From files to pixels: reads, hashes and decodes in parallel, in order, a bounded number ahead of whoever consumes."""

import hashlib
import io
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsearch import images
from mmsearch.encoders import FastPreprocessing, ImageSide, JpegDecoder, Pixels
from mmsearch.errors import ImageError
from mmsearch.items import Content
from mmsearch.sources import MAX_FILE_BYTES, SourceFile, open_source_file, reading_ahead
from mmsearch.workers import Overdue, Workers

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "DECODE_SECONDS",
    "MARGIN",
    "BothWays",
    "Kind",
    "LoadOptions",
    "LoadSeconds",
    "Loaded",
    "NVJPEG",
    "OnDevice",
    "both_ways",
    "load",
    "load_texts",
    "raw_side",
]

# Pictures under the pixel limit take seconds, on a busy machine some more; a decoder that needs minutes hangs.
DECODE_SECONDS = 120.0
# What is decoded at a fraction of its size stays this many times larger than what it is resized to. At twice, stripes
# and halftones come out at 30 dB; at three times at 40, and photographs at 52 to 57.
MARGIN = 3
NVJPEG = "nvjpeg"
"""The route of what a GPU decodes and resizes."""
_RAW_MARGIN = 2  # of the picture beside raw data, which is the camera's own and stands for the photograph
_SMALL = 1 << 20
"""Files of so many bytes are read at once, and their headers only where they are decoded: reading one alone takes a
tenth of a millisecond in which no other thread works, and thousands of small files come a second where GPUs encode."""
_AHEAD = 4  # files in flight per thread: enough that no thread waits, few enough that pixels stay a few megabytes

_Array = TypeVar("_Array", NDArray[np.float32], NDArray[np.uint8])


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How files become pixels.

    max_pixels: larger images are skipped before they are decoded. exact: by Pillow and open_clip's own transform alone.
    benchmark: likewise, and opened as the published benchmarks do, without EXIF orientation.
    seconds: how long one file may take.
    """

    max_pixels: int = images.MAX_PIXELS
    exact: bool = False
    benchmark: bool = False
    seconds: float = DECODE_SECONDS


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """What may decide how well the quick way to pixels agrees with the exact one.

    format: Pillow's name. orientation: EXIF, 1 to 8. route: "turbo", "turbo/2", "turbo/4", "turbo/8" (libjpeg-turbo, at
    that fraction of the size), "nvjpeg" (a GPU), or "pillow".
    """

    format: str
    orientation: int
    route: str


@dataclass(frozen=True, slots=True)
class LoadSeconds:
    """Where a file's time went."""

    read: float = 0.0
    decode: float = 0.0
    resize: float = 0.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """One file, read.

    file: as it was when it was read (size and mtime may be newer than the walk's).
    columns: of its row, those that its content tells; of a picture width, height, taken_at and damaged.
    text: what is encoded of an item of the text side; None where pixels are, and where these would be.
    pixels: preprocessed: (H, W, 3) uint8, or by the exact route (3, H, W) float32; None where the content is known
    already, or with an error. kind: None likewise, and by the exact route.
    reference: what the exact route makes of it, where that was asked for; (3, H, W) float32.
    pixel_error: how far pixels are from it, see `FastPreprocessing.error`.
    error: why there is no picture.
    """

    file: SourceFile
    content_hash: bytes = b""
    columns: Mapping[str, Any] = field(default_factory=dict)
    pixels: Pixels | None = field(default=None, repr=False)
    kind: Kind | None = None
    reference: NDArray[np.float32] | None = field(default=None, repr=False)
    pixel_error: float = 0.0
    error: ImageError | None = None
    seconds: LoadSeconds = LoadSeconds()
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class OnDevice:
    """A GPU that decodes beside the cores.

    trusted: told the kind of a picture; where it answers False, the cores decode it. always: the GPU is given all that
    it takes, and not only what comes while every core is decoding. threads: that wait for it.
    """

    decoder: JpegDecoder
    trusted: Callable[[Kind], bool]
    always: bool
    threads: int


def load(
    files: Iterable[SourceFile],
    image_side: Callable[[], ImageSide],
    workers: Workers,
    threads: int,
    *,
    known: Callable[[bytes], bool] = lambda _: False,
    sampled: Callable[[Kind, bytes], bool] = lambda *_: False,
    options: LoadOptions | None = None,
    on_device: OnDevice | None = None,
) -> Iterator[Loaded]:
    """Read files in their order. Whatever goes wrong with one is its `error`, and nothing else.

    image_side: of an encoder, asked for when a picture has to be prepared; what it raises is raised here.
    workers: with `threads` threads. known: told the content hash (blake2b-128) of a file; where it answers True, the
    file is not decoded. sampled: told the kind and the content hash of each picture that is decoded; where it answers
    True, the exact route is taken too. on_device: then `workers` has its threads too, and as many pictures are decoded
    by cores at a time as `threads` says.
    """
    options = options or LoadOptions()
    reader = _Reader(image_side, known, sampled, options, threads, on_device)
    threads += on_device.threads if on_device else 0
    yield from _in_order(reader.load, files, workers, threads, options.seconds)


def load_texts(
    files: Iterable[SourceFile],
    read: Callable[[bytes], Content],
    workers: Workers,
    threads: int,
    *,
    known: Callable[[bytes], bool] = lambda _: False,
    seconds: float = DECODE_SECONDS,
) -> Iterator[Loaded]:
    """Read items of a kind that is encoded as text, in their order. Whatever goes wrong with one is its `error`.

    read: see `mmsearch.items.Files`. workers, threads, known: as of `load`. seconds: how long one may take.
    """

    def load_one(file: SourceFile) -> Loaded:
        started = time.perf_counter()
        content_hash = b""
        try:
            file, data = _read(file, lambda _: None)
            content_hash = hashlib.blake2b(data, digest_size=16).digest()
            seconds_read = LoadSeconds(time.perf_counter() - started)
            if known(content_hash):
                return Loaded(file, content_hash, seconds=seconds_read)
            content = read(data)
        except ImageError as error:
            return Loaded(file.without_bytes(), content_hash, error=error)
        except ValueError as error:
            reason = ImageError("decode", " ".join(str(error).split())[:120])
            return Loaded(file.without_bytes(), content_hash, error=reason)
        return Loaded(file, content_hash, content.columns, seconds=seconds_read, text=content.text)

    yield from _in_order(load_one, files, workers, threads, seconds)


def _in_order(
    load_one: Callable[[SourceFile], Loaded],
    files: Iterable[SourceFile],
    workers: Workers,
    threads: int,
    seconds: float,
) -> Iterator[Loaded]:
    pending: deque[tuple[SourceFile, Future[Loaded]]] = deque()

    def first() -> Loaded:
        file, future = pending.popleft()
        try:
            return workers.result(future, seconds)
        except Overdue:
            return Loaded(file, error=ImageError("decode", f"not decoded within {seconds:g} seconds"))

    try:
        for file in reading_ahead(files):
            pending.append((file.without_bytes(), workers.submit(load_one, file)))
            if len(pending) > threads * _AHEAD:
                yield first()
        while pending:
            yield first()
    finally:
        for _, future in pending:
            future.cancel()


class _Reader:
    """Loads one file at a time, in any thread."""

    def __init__(
        self,
        image_side: Callable[[], ImageSide],
        known: Callable[[bytes], bool],
        sampled: Callable[[Kind, bytes], bool],
        options: LoadOptions,
        threads: int,
        on_device: OnDevice | None,
    ) -> None:
        self._image_side = image_side
        self._known = known
        self._sampled = sampled
        self._options = options
        self._on_device = on_device
        self._cores = threading.Semaphore(threads)

    def _probe(self, stream: BinaryIO) -> None:
        """The header decides first: a folder of videos must not be read through. Raises ImageError."""
        images.probe(stream, max_pixels=self._options.max_pixels)

    def load(self, file: SourceFile) -> Loaded:
        started = time.perf_counter() - (file.ahead.waited if file.ahead else 0)
        try:
            file, data = _read(file, self._probe)
        except ImageError as error:
            return Loaded(file.without_bytes(), error=error)
        content_hash = hashlib.blake2b(data, digest_size=16).digest()
        read = time.perf_counter() - started
        if self._known(content_hash):
            return Loaded(file, content_hash, seconds=LoadSeconds(read))
        try:
            return self._decoded(file, data, content_hash, read)
        except ImageError as error:
            return Loaded(file, content_hash, error=error)
        except MemoryError:
            return Loaded(file, content_hash, error=ImageError("decode", "out of memory"))

    def _decoded(self, file: SourceFile, data: bytes, content_hash: bytes, read: float) -> Loaded:
        device = self._on_device
        if device is None:
            return self._by_a_core(file, data, content_hash, read)
        # What the cores cannot keep up with is for the GPU: who finds one free decodes on it.
        if device.always or not self._cores.acquire(blocking=False):
            found = self._by_device(device, file, data, content_hash, read)
            if found is not None:
                return found
            self._cores.acquire()
        try:
            return self._by_a_core(file, data, content_hash, read)
        finally:
            self._cores.release()

    def _by_device(
        self, device: OnDevice, file: SourceFile, data: bytes, content_hash: bytes, read: float
    ) -> Loaded | None:
        """Decode on the GPU; None where it does not take this picture."""
        header = images.jpeg_header(data, max_pixels=self._options.max_pixels)
        if header is None:
            return None
        kind = Kind(header.format, header.orientation, NVJPEG)
        if not device.trusted(kind):
            return None
        small = device.decoder.fit(data, (header.width, header.height), header.orientation)
        if small is None:
            return None
        told = _columns(header.width, header.height, header.taken_at, False)
        seconds = LoadSeconds(read)  # what the GPU needs it counts itself
        image_side = self._image_side()
        if not self._sampled(kind, content_hash) or image_side.fast is None:
            return Loaded(file, content_hash, told, small, kind, seconds=seconds)
        whole = images.decode(data, max_pixels=self._options.max_pixels)
        reference = _resized(lambda: image_side.prepare(whole.image))
        error = image_side.fast.error(small, reference)
        return Loaded(file, content_hash, told, small, kind, reference, error, seconds=seconds)

    def _by_a_core(self, file: SourceFile, data: bytes, content_hash: bytes, read: float) -> Loaded:
        image_side, limit = self._side_for(data), self._options.max_pixels
        fast = None if self._options.exact or self._options.benchmark else image_side.fast
        started = time.perf_counter()
        if fast is None:
            image, told = self._exact(data, image_side)
            decoded = time.perf_counter()
            pixels = _resized(lambda: image_side.prepare(image))
            seconds = LoadSeconds(read, decoded - started, time.perf_counter() - decoded)
            return Loaded(file, content_hash, told, pixels, seconds=seconds)
        picture = images.decode_fast(data, MARGIN * max(fast.size), max_pixels=limit, raw_side=raw_side(image_side))
        decoded = time.perf_counter()
        small = _resized(lambda: _fit(fast, picture))
        seconds = LoadSeconds(read, decoded - started, time.perf_counter() - decoded)
        kind = _kind(picture)
        told = _columns(picture.width, picture.height, picture.taken_at, picture.damaged)
        if not self._sampled(kind, content_hash):
            return Loaded(file, content_hash, told, small, kind, seconds=seconds)
        reference = _reference(image_side, picture, data, limit)
        error = fast.error(small, reference)
        return Loaded(file, content_hash, told, small, kind, reference, error, seconds=seconds)

    def _side_for(self, data: bytes) -> ImageSide:
        """The side that prepares a picture. Raises ImageError where the file holds none, for which no encoder has to be
        loaded."""
        try:
            return self._image_side()
        except Exception:
            images.probe(io.BytesIO(data), max_pixels=self._options.max_pixels)
            raise

    def _exact(self, data: bytes, image_side: ImageSide) -> tuple["Image", Mapping[str, Any]]:
        """The picture, and what it tells for its row."""
        limit, side = self._options.max_pixels, raw_side(image_side)
        if self._options.benchmark:
            image = images.decode_for_benchmark(data, max_pixels=limit, raw_side=side)
            return image, _columns(*image.size, None, None)
        picture = images.decode(data, max_pixels=limit, raw_side=side)
        return picture.image, _columns(picture.width, picture.height, picture.taken_at, picture.damaged)


def _columns(width: int, height: int, taken_at: datetime | None, damaged: bool | None) -> Mapping[str, Any]:
    """What a picture tells for its row."""
    return {"width": width, "height": height, "taken_at": taken_at, "damaged": damaged}


@dataclass(frozen=True, slots=True)
class BothWays:
    """A picture by the fast way and by the exact one. pixels, kind, reference, pixel_error: as of `Loaded`."""

    pixels: NDArray[np.uint8]
    kind: Kind
    reference: NDArray[np.float32]
    pixel_error: float


def both_ways(data: bytes, image_side: ImageSide, fast: FastPreprocessing) -> BothWays:
    """What `load` makes of a file whose picture belongs to the sample. Raises ImageError."""
    picture = images.decode_fast(data, MARGIN * max(fast.size), raw_side=raw_side(image_side))
    pixels, reference = _fit(fast, picture), _reference(image_side, picture, data, images.MAX_PIXELS)
    return BothWays(pixels, _kind(picture), reference, fast.error(pixels, reference))


def _reference(
    image_side: ImageSide, picture: images.DecodedImage | images.StoredImage, data: bytes, max_pixels: int
) -> NDArray[np.float32]:
    whole = picture if isinstance(picture, images.DecodedImage) else images.decode(data, max_pixels=max_pixels)
    return _resized(lambda: image_side.prepare(whole.image))


def raw_side(image_side: ImageSide) -> int:
    """Pixels that each side of the picture beside a camera's raw data must have, to stand for what was photographed."""
    return images.LEAST_RAW_SIDE if image_side.fast is None else _RAW_MARGIN * max(image_side.fast.size)


def _kind(picture: images.DecodedImage | images.StoredImage) -> Kind:
    return Kind(picture.format, picture.orientation, _route(picture))


def _fit(fast: FastPreprocessing, picture: images.DecodedImage | images.StoredImage) -> NDArray[np.uint8]:
    if isinstance(picture, images.DecodedImage):
        return fast.fit(picture.image)
    return fast.fit_array(picture.pixels, picture.scale, (picture.width, picture.height), picture.orientation)


def _route(picture: images.DecodedImage | images.StoredImage) -> str:
    if isinstance(picture, images.DecodedImage):
        return "pillow"
    return "turbo" if picture.scale == 1 else f"turbo/{picture.scale}"


def _resized(resize: Callable[[], _Array]) -> _Array:
    """What a transform makes of a picture. Of one a pixel high and thousands wide it may make nothing."""
    try:
        return resize()
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise ImageError("resize", " ".join(str(error).split())[:120]) from error


def _read(file: SourceFile, check: Callable[[BinaryIO], None]) -> tuple[SourceFile, bytes]:
    """The content of a file, and the state it was read in. check: looks first at a large one. Raises ImageError."""
    try:
        with open_source_file(file) as source:
            before = source.state()
            if not 0 < (before.size or 0) <= _SMALL:
                check(source.stream)
                if (before.size or 0) > MAX_FILE_BYTES:
                    raise ImageError("identify", f"{before.size:,} bytes, over the limit of {MAX_FILE_BYTES:,}")
                source.stream.seek(0)
            data = source.stream.read()
            after = source.state()
    except OSError as error:
        raise ImageError("read", _reason(error)) from error
    if before != after or (after.size is not None and len(data) != after.size):
        raise ImageError("read", "changed while it was read")
    return after, data


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file (a broken link, or it vanished)"
    if isinstance(error, PermissionError):
        return "permission denied"
    return (error.strerror or str(error)).lower()
