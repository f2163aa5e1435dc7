"""From files to pixels: reads, hashes and decodes in parallel, in order, a bounded number ahead of whoever consumes."""

import io
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsearch import images
from mmsearch.boxes import Box
from mmsearch.content_hashes import DEFAULT_HASH, content_hasher
from mmsearch.cutting import cutter_of, make_pictures
from mmsearch.encoders import FastPreprocessing, ImageSide, JpegDecoder, Pixels
from mmsearch.errors import ImageError
from mmsearch.items import Content
from mmsearch.places import has_names, name_place
from mmsearch.sources import (
    MAX_FILE_BYTES,
    MEMBER,
    Member,
    SourceFile,
    hash_span,
    merge_beside,
    open_source_file,
    path_of_container,
    read_ahead,
)
from mmsearch.workers import Overdue, Workers

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "DECODE_SECONDS",
    "MARGIN",
    "FastAndExact",
    "DecodeGroup",
    "LoadOptions",
    "LoadSeconds",
    "LoadedFile",
    "NVJPEG",
    "GpuDecoding",
    "load_fast_and_exact",
    "load_pixels",
    "load",
    "load_texts",
    "apply_transform",
    "decode_to_ask",
    "least_raw_side",
    "read_header_columns",
]

# Pictures under the pixel limit take seconds, on a busy machine some more; a decoder that needs minutes hangs.
DECODE_SECONDS = 120.0
# What is decoded at a fraction of its size stays this many times larger than what it is resized to. At twice, stripes
# and halftones come out at 30 dB; at three times at 40, and photographs at 52 to 57.
MARGIN = 3
NVJPEG = "nvjpeg"
"""The route of what a GPU decodes and resizes."""
_RAW_MARGIN = 2  # of the picture beside raw data, which is the camera's own and stands for the photograph
_SMALL_BYTES = 1 << 20
"""Files of so many bytes are read at once, and their headers only where they are decoded: reading one alone takes a
tenth of a millisecond in which no other thread works, and thousands of small files come a second where GPUs encode."""
_CHANGED = "changed while it was read"
_PLACE_NAMES = ("city", "country")
_PLACE = ("lat", "lon", *_PLACE_NAMES)
_FILES_PER_THREAD = 4  # in flight: enough that no thread waits, few enough that pixels stay a few megabytes

_Array = TypeVar("_Array", NDArray[np.float32], NDArray[np.uint8])


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How files become pixels.

    max_pixels: larger images are skipped before they are decoded. exact: by Pillow and open_clip's own transform alone.
    benchmark: likewise, and opened as the published benchmarks do, without EXIF orientation.
    seconds: how long one file may take. hash_name: see `content_hasher`. places: read where pictures were taken.
    """

    max_pixels: int = images.MAX_PIXELS
    exact: bool = False
    benchmark: bool = False
    seconds: float = DECODE_SECONDS
    hash_name: str = DEFAULT_HASH
    places: bool = False


@dataclass(frozen=True, slots=True, order=True)
class DecodeGroup:
    """Images that are decoded alike: how well the fast way to pixels agrees with the exact one is measured by group.

    Attributes:
        format: Pillow's name.
        orientation: EXIF, 1 to 8.
        route: "turbo", "turbo/2", "turbo/4", "turbo/8" (libjpeg-turbo, at that fraction of the size), "nvjpeg" (a GPU),
            or "pillow".
    """

    format: str
    orientation: int
    route: str


@dataclass(frozen=True, slots=True)
class LoadSeconds:
    """Where a file's time went. exact: loading it by the exact route, where that was asked for beside the fast one."""

    read: float = 0.0
    decode: float = 0.0
    resize: float = 0.0
    exact: float = 0.0


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """One file that was read.

    Attributes:
        file: its state when it was read (size and mtime may be newer than the walk's).
        content_hash: 16 bytes, see `mmsearch.content_hashes`.
        columns: those columns of its row that its content gives; of a picture width, height, damaged and what
            `PhotoFacts` says.
        pixels: preprocessed: (H, W, 3) uint8, or by the exact route (3, H, W) float32; None where the content is known
            already, and with an error.
        group: None where `pixels` is None, and by the exact route.
        reference: the pixels by the exact route, where they were asked for; (3, H, W) float32.
        pixel_error: how far `pixels` are from `reference`, see `FastPreprocessing.error`.
        error: why the file holds no picture, or could not be read.
        seconds: where its time went.
        text: what is encoded of an item of the text side; None for pictures.
    """

    file: SourceFile
    content_hash: bytes = b""
    columns: Mapping[str, Any] = field(default_factory=dict)
    pixels: Pixels | None = field(default=None, repr=False)
    group: DecodeGroup | None = None
    reference: NDArray[np.float32] | None = field(default=None, repr=False)
    pixel_error: float = 0.0
    error: ImageError | None = None
    seconds: LoadSeconds = LoadSeconds()
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class GpuDecoding:
    """A GPU that decodes beside the cores.

    Attributes:
        decoder: the GPU's.
        is_trusted: whether the GPU may decode the pictures of a group; where not, the cores do.
        takes_all: the GPU is given every picture that it takes, not only those that come while all cores are decoding.
        threads: how many threads wait for it.
    """

    decoder: JpegDecoder
    is_trusted: Callable[[DecodeGroup], bool]
    takes_all: bool
    threads: int


def load(
    files: Iterable[SourceFile],
    image_side: Callable[[], ImageSide],
    workers: Workers,
    threads: int,
    *,
    is_known: Callable[[bytes], bool] = lambda _: False,
    is_sampled: Callable[[DecodeGroup, bytes], bool] = lambda *_: False,
    options: LoadOptions | None = None,
    gpu: GpuDecoding | None = None,
) -> Iterator[LoadedFile]:
    """Read files in their order. Whatever goes wrong with one becomes its `error` and does not stop the others.

    image_side: returns the side of an encoder; called when a picture has to be prepared. Its errors are raised here.
    workers: with `threads` threads; with `gpu`, with the threads of that in addition.
    is_known: whether a content hash is known; such a file is not decoded.
    is_sampled: called with the group and the content hash of each picture that is decoded; where true, the exact route
    is taken too.
    """
    options = options or LoadOptions()
    reader = _ImageLoader(image_side, is_known, is_sampled, options, threads, gpu)
    threads += gpu.threads if gpu else 0
    yield from _load_in_order(reader.load, files, workers, threads, options.seconds, reader.load_pictures)


def load_texts(
    files: Iterable[SourceFile],
    read: Callable[[bytes], Content],
    workers: Workers,
    threads: int,
    *,
    is_known: Callable[[bytes], bool] = lambda _: False,
    hash_name: str = DEFAULT_HASH,
    seconds: float = DECODE_SECONDS,
) -> Iterator[LoadedFile]:
    """Read items of a kind that is encoded as text, in their order. Whatever goes wrong with one becomes its `error`.

    read: see `mmsearch.items.Files`. workers, threads, is_known: see `load`. hash_name: see
    `content_hasher`. seconds: how long one may take.
    """
    hashed = content_hasher(hash_name)

    def load_one(file: SourceFile) -> LoadedFile:
        started = time.perf_counter()
        content_hash = b""
        try:
            file, data = _read_file(file, lambda _: None)
            content_hash = hashed(data)
            seconds_read = LoadSeconds(time.perf_counter() - started)
            if is_known(content_hash):
                return LoadedFile(file, content_hash, seconds=seconds_read)
            content = read(data)
        except ImageError as error:
            return LoadedFile(file.without_bytes(), content_hash, error=error)
        except ValueError as error:
            reason = ImageError("decode", " ".join(str(error).split())[:120])
            return LoadedFile(file.without_bytes(), content_hash, error=reason)
        return LoadedFile(file, content_hash, content.columns, seconds=seconds_read, text=content.text)

    yield from _load_in_order(load_one, files, workers, threads, seconds)


def _load_in_order(
    load_one: Callable[[SourceFile], LoadedFile],
    files: Iterable[SourceFile],
    workers: Workers,
    threads: int,
    seconds: float,
    load_pictures: "Callable[[Sequence[Member]], Generator[LoadedFile, None, None]] | None" = None,
) -> Iterator[LoadedFile]:
    pending: deque[_Pending] = deque()
    in_flight = 0

    def submit(batch: Sequence[SourceFile]) -> list[_Pending]:
        if load_pictures is None or not _is_made(batch[0]):
            task = workers.submit(load_one, batch[0])
            return [_Pending(batch[0].without_bytes(), task, task, 1)]
        members = [file for file in batch if isinstance(file, Member)]
        results = [Future[LoadedFile]() for _ in members]
        task_of_all = workers.submit(_load_together, load_pictures, members, results, workers)
        counted = len(members) - _FILES_PER_THREAD  # together they count as much as one thread may have
        return [
            _Pending(member, result, task_of_all, int(position >= counted))
            for position, (member, result) in enumerate(zip(members, results, strict=True))
        ]

    def take_first() -> LoadedFile:
        nonlocal in_flight
        first = pending.popleft()
        in_flight -= first.weight
        try:
            return _wait(workers, first, seconds)
        except Overdue:
            if rest := [other for other in pending if other.task is first.task]:  # another thread does the others
                others = [other for other in pending if other.task is not first.task]
                pending.clear()
                pending.extend((*submit([other.file for other in rest]), *others))
                in_flight = sum(each.weight for each in pending)
            return LoadedFile(first.file, error=ImageError("decode", f"not decoded within {seconds:g} seconds"))

    try:
        for batch in _batches(read_ahead(files)):
            submitted = submit(batch)
            pending.extend(submitted)
            in_flight += sum(each.weight for each in submitted)
            while in_flight > threads * _FILES_PER_THREAD:
                yield take_first()
        while pending:
            yield take_first()
    finally:
        for each in pending:
            each.result.cancel()
            each.task.cancel()


@dataclass(frozen=True, slots=True)
class _Pending:
    """A file that is being loaded. task: that of a worker, which may have more than this one to load. weight: how much
    it counts among what is in flight."""

    file: SourceFile
    result: Future[LoadedFile]
    task: Future[Any]
    weight: int


def _wait(workers: Workers, pending: _Pending, seconds: float) -> LoadedFile:
    """See `Workers.result`."""
    while True:
        try:
            return pending.result.result(timeout=workers.left(pending.task, seconds))
        except TimeoutError:
            if pending.result.done():
                return pending.result.result()


def _is_made(file: SourceFile) -> bool:
    """Whether a picture is made of its file, as a page or a frame is."""
    return (
        isinstance(file, Member)
        and file.container is not None
        and file.container.form == "pictures"
        and bool(file.span)
    )


def _batches(files: Iterable[SourceFile]) -> Iterator[list[SourceFile]]:
    """Files one by one, and together those pictures of one file that are made by one call."""
    batch: list[SourceFile] = []
    for file in files:
        if batch and not _are_made_together(batch, file):
            yield batch
            batch = []
        batch.append(file)
        if not _is_made(file):
            yield batch
            batch = []
    if batch:
        yield batch


def _are_made_together(batch: Sequence[SourceFile], file: SourceFile) -> bool:
    first = batch[0]
    if not (isinstance(first, Member) and isinstance(file, Member) and first.container and file.container):
        return False
    if not _is_made(file) or first.container.location != file.container.location:
        return False
    cutter = cutter_of(file.container.location, file.span)
    return cutter is cutter_of(first.container.location, first.span) and (
        cutter is None or len(batch) < cutter.together
    )


def _is_as_listed(member: Member) -> bool:
    """Whether the file that a picture was made of is still the one that was listed: reading a film takes minutes."""
    try:
        path_of_container(member)
    except (OSError, ImageError):
        return False
    return True


def _load_together(
    load_pictures: Callable[[Sequence[Member]], Generator[LoadedFile, None, None]],
    members: Sequence[Member],
    results: Sequence[Future[LoadedFile]],
    workers: Workers,
) -> None:
    """Load pictures of one file; each has its own time, and its result is there as soon as it is loaded."""
    done = 0
    try:
        loading = load_pictures(members)
        for _ in members:
            loaded = next(loading)
            if done == len(members) - 1:
                loading.close()  # the program may end with the last result: nothing is held any more, as the encoder
                del loading
            if not results[done].set_running_or_notify_cancel():
                return
            results[done].set_result(loaded)
            done += 1
            workers.begin_anew()
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
        for result in results[done:]:
            if result.set_running_or_notify_cancel():
                result.set_exception(error)


class _ImageLoader:
    """Loads one file at a time, in any thread."""

    def __init__(
        self,
        image_side: Callable[[], ImageSide],
        is_known: Callable[[bytes], bool],
        is_sampled: Callable[[DecodeGroup, bytes], bool],
        options: LoadOptions,
        threads: int,
        gpu: GpuDecoding | None,
    ) -> None:
        self._image_side = image_side
        self._is_known = is_known
        self._is_sampled = is_sampled
        self._options = options
        self._hashed = content_hasher(options.hash_name)
        self._gpu = gpu
        self._cores = threading.Semaphore(threads)

    def _check_header(self, stream: BinaryIO) -> None:
        """Raise ImageError where the header is of no picture: a folder of videos must not be read to its end."""
        images.probe(stream, max_pixels=self._options.max_pixels)

    def load(self, file: SourceFile) -> LoadedFile:
        started = time.perf_counter() - (file.ahead.waited if file.ahead else 0)
        try:
            file, data = _read_file(file, self._check_header)
        except ImageError as error:
            return LoadedFile(file.without_bytes(), error=error)
        content_hash = self._hashed(data)
        read_seconds = time.perf_counter() - started
        if self._is_known(content_hash):
            columns = self._columns_of_known(file, data)
            return LoadedFile(file, content_hash, columns, seconds=LoadSeconds(read_seconds))
        try:
            return self._decode(file, data, content_hash, read_seconds)
        except ImageError as error:
            return LoadedFile(file, content_hash, error=error)
        except MemoryError:
            return LoadedFile(file, content_hash, error=ImageError("decode", "out of memory"))

    def load_pictures(self, members: Sequence[Member]) -> Generator[LoadedFile, None, None]:
        """Load pictures that are made of one file, in their order."""
        try:
            path = path_of_container(members[0])
            hashes = [hash_span(path, member.span, self._options.hash_name) for member in members]
        except (OSError, ImageError) as error:
            reason = error if isinstance(error, ImageError) else ImageError("read", _describe_error(error))
            yield from (LoadedFile(member, error=reason) for member in members)
            return
        asked = {
            member.span
            for member, content_hash in zip(members, hashes, strict=True)
            if member.refused is None and not self._is_known(content_hash)
        }
        image_side = self._image_side() if asked else None
        spans = [member.span for member in members if member.span in asked]
        pictures = make_pictures(path, _file_of(members[0]), spans, self._options.max_pixels)
        for member, content_hash in zip(members, hashes, strict=True):
            if member.refused is not None:
                yield LoadedFile(member, error=ImageError("identify", member.refused))
            elif member.span not in asked or image_side is None:
                yield LoadedFile(member, content_hash)
            else:
                with self._cores if self._gpu is not None else nullcontext():
                    loaded = self._prepare_picture(member, content_hash, pictures, image_side)
                yield loaded if _is_as_listed(member) else LoadedFile(member, error=ImageError("read", _CHANGED))

    def _prepare_picture(
        self,
        member: Member,
        content_hash: bytes,
        pictures: "Iterator[images.MadePicture | ImageError]",
        image_side: ImageSide,
    ) -> LoadedFile:
        started = time.perf_counter()
        picture = next(pictures)
        made_at = time.perf_counter()
        if isinstance(picture, ImageError):
            return LoadedFile(member, content_hash, error=picture)
        width, height = picture.width or picture.image.width, picture.height or picture.image.height
        columns = self._columns(member, width, height, picture.facts, damaged=picture.damaged)
        fast = None if self._options.exact or self._options.benchmark else image_side.fast
        try:
            if fast is None:
                exact_pixels = apply_transform(lambda: image_side.prepare(picture.image))
                seconds = LoadSeconds(0, made_at - started, time.perf_counter() - made_at)
                return LoadedFile(member, content_hash, columns, exact_pixels, seconds=seconds)
            pixels = apply_transform(lambda: fast.fit(picture.image))
            seconds = LoadSeconds(0, made_at - started, time.perf_counter() - made_at)
            group = DecodeGroup(_format_of(member), 1, "pillow")
            if not self._is_sampled(group, content_hash):
                return LoadedFile(member, content_hash, columns, pixels, group, seconds=seconds)
            started = time.perf_counter()
            reference = apply_transform(lambda: image_side.prepare(picture.image))
            error = fast.error(pixels, reference)
        except ImageError as failure:
            return LoadedFile(member, content_hash, error=failure)
        seconds = replace(seconds, exact=time.perf_counter() - started)
        return LoadedFile(member, content_hash, columns, pixels, group, reference, error, seconds=seconds)

    def _columns_of_known(self, file: SourceFile, data: bytes) -> Mapping[str, Any]:
        """Those columns of the row of a picture with a known vector that another file of its content may not share."""
        if self._options.benchmark:
            return {}
        max_pixels, places = self._options.max_pixels, self._options.places
        try:
            return read_header_columns(file, io.BytesIO(data), max_pixels=max_pixels, places=places)
        except (ImageError, MemoryError):
            return {}

    def _decode(self, file: SourceFile, data: bytes, content_hash: bytes, read_seconds: float) -> LoadedFile:
        gpu = self._gpu
        if gpu is None:
            return self._decode_on_cpu(file, data, content_hash, read_seconds)
        # The GPU gets what the cores cannot keep up with: a thread that finds no core free decodes on the GPU.
        if gpu.takes_all or not self._cores.acquire(blocking=False):
            loaded_file = self._decode_on_gpu(gpu, file, data, content_hash, read_seconds)
            if loaded_file is not None:
                return loaded_file
            self._cores.acquire()
        try:
            return self._decode_on_cpu(file, data, content_hash, read_seconds)
        finally:
            self._cores.release()

    def _decode_on_gpu(
        self, gpu: GpuDecoding, file: SourceFile, data: bytes, content_hash: bytes, read_seconds: float
    ) -> LoadedFile | None:
        """Decode on the GPU; None where it does not take this picture."""
        header = images.jpeg_header(data, max_pixels=self._options.max_pixels, places=self._options.places)
        if header is None:
            return None
        group = DecodeGroup(header.format, header.orientation, NVJPEG)
        if not gpu.is_trusted(group):
            return None
        pixels = gpu.decoder.fit(data, (header.width, header.height), header.orientation)
        if pixels is None:
            return None
        columns = self._columns(file, header.width, header.height, header.facts, damaged=False)
        seconds = LoadSeconds(read_seconds)  # what the GPU needs it counts itself
        image_side = self._image_side()
        if not self._is_sampled(group, content_hash) or image_side.fast is None:
            return LoadedFile(file, content_hash, columns, pixels, group, seconds=seconds)
        started = time.perf_counter()
        decoded_image = images.decode(data, max_pixels=self._options.max_pixels)
        reference = apply_transform(lambda: image_side.prepare(decoded_image.image))
        error = image_side.fast.error(pixels, reference)
        seconds = replace(seconds, exact=time.perf_counter() - started)
        return LoadedFile(file, content_hash, columns, pixels, group, reference, error, seconds=seconds)

    def _decode_on_cpu(self, file: SourceFile, data: bytes, content_hash: bytes, read_seconds: float) -> LoadedFile:
        image_side, limit = self._side_for_image(data), self._options.max_pixels
        fast = None if self._options.exact or self._options.benchmark else image_side.fast
        started = time.perf_counter()
        if fast is None:
            image, columns = self._decode_exactly(file, data, image_side)
            decoded_at = time.perf_counter()
            pixels = apply_transform(lambda: image_side.prepare(image))
            seconds = LoadSeconds(read_seconds, decoded_at - started, time.perf_counter() - decoded_at)
            return LoadedFile(file, content_hash, columns, pixels, seconds=seconds)
        decoded_image = images.decode_fast(
            *(data, MARGIN * max(fast.size)),
            max_pixels=limit,
            raw_side=least_raw_side(image_side),
            places=self._options.places,
        )
        decoded_at = time.perf_counter()
        small = apply_transform(lambda: _resize(fast, decoded_image))
        seconds = LoadSeconds(read_seconds, decoded_at - started, time.perf_counter() - decoded_at)
        group = _group_of(decoded_image)
        width, height, damaged = decoded_image.width, decoded_image.height, decoded_image.damaged
        columns = self._columns(file, width, height, decoded_image.facts, damaged=damaged)
        if not self._is_sampled(group, content_hash):
            return LoadedFile(file, content_hash, columns, small, group, seconds=seconds)
        started = time.perf_counter()
        reference = _make_reference(image_side, decoded_image, data, limit)
        error = fast.error(small, reference)
        seconds = replace(seconds, exact=time.perf_counter() - started)
        return LoadedFile(file, content_hash, columns, small, group, reference, error, seconds=seconds)

    def _side_for_image(self, data: bytes) -> ImageSide:
        """The side that prepares a picture. Raises ImageError where the file holds none, for which no encoder has to be
        loaded."""
        try:
            return self._image_side()
        except Exception:
            images.probe(io.BytesIO(data), max_pixels=self._options.max_pixels)
            raise

    def _decode_exactly(
        self, file: SourceFile, data: bytes, image_side: ImageSide
    ) -> tuple["Image", Mapping[str, Any]]:
        """The picture, and those columns of its row that it gives."""
        limit, side = self._options.max_pixels, least_raw_side(image_side)
        if self._options.benchmark:
            image = images.decode_for_benchmark(data, max_pixels=limit, raw_side=side)
            return image, self._columns(file, *image.size, images.NOTHING_SAID, damaged=None)
        picture = images.decode(data, max_pixels=limit, raw_side=side, places=self._options.places)
        columns = self._columns(file, picture.width, picture.height, picture.facts, damaged=picture.damaged)
        return picture.image, columns

    def _columns(
        self, file: SourceFile, width: int, height: int, facts: images.PhotoFacts, *, damaged: bool | None
    ) -> Mapping[str, Any]:
        """Those columns of a row that the picture gives, and what stands beside it."""
        return {
            "width": width,
            "height": height,
            "damaged": damaged,
            **_columns_of_facts(file, facts, places=self._options.places),
        }


def read_header_columns(file: SourceFile, stream: BinaryIO, *, max_pixels: int, places: bool) -> dict[str, Any]:
    """Those columns of the row of a picture that its header and what stands beside it give; nothing is encoded.

    file: with what stands beside it. stream: its bytes, seekable. places: where it was taken, too; else there are no
    such columns, and none of names where these are not installed. Raises ImageError.
    """
    facts = images.read_header_facts(stream, max_pixels=max_pixels, places=places)
    columns = _columns_of_facts(file, facts, places=places)
    left_out = () if places and has_names() else _PLACE_NAMES if places else _PLACE
    return {name: value for name, value in columns.items() if name not in left_out}


def _columns_of_facts(file: SourceFile, own: images.PhotoFacts, *, places: bool) -> dict[str, Any]:
    own = own if places else replace(own, position=None)  # which films say without being asked
    facts = merge_beside(file, own, places=places)
    position = facts.position
    city, country = (None, None) if position is None else name_place(position.lat, position.lon)
    return {**facts.columns(), "city": city, "country": country}


def _format_of(member: Member) -> str:
    cutter = cutter_of(_file_of(member), member.span)
    return "" if cutter is None else cutter.format


def _file_of(member: Member) -> str:
    return member.location.partition(MEMBER)[0]


@dataclass(frozen=True, slots=True)
class FastAndExact:
    """A picture by the fast way and by the exact one. Attributes: as of `LoadedFile`."""

    pixels: NDArray[np.uint8]
    group: DecodeGroup
    reference: NDArray[np.float32]
    pixel_error: float


def load_fast_and_exact(data: bytes, image_side: ImageSide, fast: FastPreprocessing) -> FastAndExact:
    """Load a picture both ways, as `load` does for one that is sampled. Raises ImageError."""
    picture = images.decode_fast(data, MARGIN * max(fast.size), raw_side=least_raw_side(image_side))
    pixels, reference = _resize(fast, picture), _make_reference(image_side, picture, data, images.MAX_PIXELS)
    return FastAndExact(pixels, _group_of(picture), reference, fast.error(pixels, reference))


def load_pixels(data: bytes, fast: FastPreprocessing) -> NDArray[np.uint8]:
    """A file's bytes -> (H, W, 3), by the quick way of `load`. Raises ImageError."""
    side = MARGIN * max(fast.size)
    picture = images.decode_fast(data, side, raw_side=max(images.LEAST_RAW_SIDE, _RAW_MARGIN * max(fast.size)))
    return apply_transform(lambda: _resize(fast, picture))


def _make_reference(
    image_side: ImageSide, picture: images.DecodedImage | images.StoredImage, data: bytes, max_pixels: int
) -> NDArray[np.float32]:
    whole = picture if isinstance(picture, images.DecodedImage) else images.decode(data, max_pixels=max_pixels)
    return apply_transform(lambda: image_side.prepare(whole.image))


def least_raw_side(image_side: ImageSide) -> int:
    """The least side, in pixels, of a preview beside a camera's raw data that may be used in place of the data."""
    return images.LEAST_RAW_SIDE if image_side.size is None else _RAW_MARGIN * max(image_side.size)


def decode_to_ask(
    data: bytes, image_side: ImageSide, box: Box | None = None, *, max_pixels: int = images.MAX_PIXELS
) -> images.DecodedImage:
    """A picture that is asked with, or the part of it in a box, with the pixels that it has in its file. Raises
    ImageError."""
    raw_side = least_raw_side(image_side)
    if box is None:
        return images.decode(data, max_pixels=max_pixels, raw_side=raw_side)
    share = min(box.right - box.left, box.bottom - box.top)
    decoded = images.decode(data, max_pixels=max_pixels, raw_side=math.ceil(raw_side / share))
    part = images.crop(decoded, box)
    return replace(decoded, image=part, width=part.width, height=part.height)


def _group_of(picture: images.DecodedImage | images.StoredImage) -> DecodeGroup:
    return DecodeGroup(picture.format, picture.orientation, _route_of(picture))


def _resize(fast: FastPreprocessing, picture: images.DecodedImage | images.StoredImage) -> NDArray[np.uint8]:
    if isinstance(picture, images.DecodedImage):
        return fast.fit(picture.image)
    return fast.fit_array(picture.pixels, picture.scale, (picture.width, picture.height), picture.orientation)


def _route_of(picture: images.DecodedImage | images.StoredImage) -> str:
    if isinstance(picture, images.DecodedImage):
        return "pillow"
    return "turbo" if picture.scale == 1 else f"turbo/{picture.scale}"


def apply_transform(resize: Callable[[], _Array]) -> _Array:
    """Apply a transform to a picture. Raises ImageError where that fails, as for a picture that is one pixel high."""
    try:
        return resize()
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise ImageError("resize", " ".join(str(error).split())[:120]) from error


def _read_file(file: SourceFile, check: Callable[[BinaryIO], None]) -> tuple[SourceFile, bytes]:
    """Read a file. Returns its state and its content.

    check: called first with the stream of a large file. Raises ImageError.
    """
    try:
        with open_source_file(file) as source:
            before = source.state()
            if not 0 < (before.size or 0) <= _SMALL_BYTES:
                check(source.stream)
                if (before.size or 0) > MAX_FILE_BYTES:
                    raise ImageError("identify", f"{before.size:,} bytes, over the limit of {MAX_FILE_BYTES:,}")
                source.stream.seek(0)
            data = source.stream.read()
            after = source.state()
    except OSError as error:
        raise ImageError("read", _describe_error(error)) from error
    if before != after or (after.size is not None and len(data) != after.size):
        raise ImageError("read", _CHANGED)
    return after, data


def _describe_error(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file (a broken link, or it vanished)"
    if isinstance(error, PermissionError):
        return "permission denied"
    return (error.strerror or str(error)).lower()
