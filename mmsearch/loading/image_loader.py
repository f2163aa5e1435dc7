"""Files to pixels: one picture, or those that are made of one file, is read, hashed, decoded and prepared."""

import io
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

from mmsearch import images
from mmsearch.content_hashes import content_hasher
from mmsearch.cutting import cutter_of, make_pictures
from mmsearch.encoders import ImageSide
from mmsearch.errors import ImageError
from mmsearch.file_ranges import FileRange
from mmsearch.loading.columns import columns_of_facts, read_header_columns
from mmsearch.loading.in_order import load_in_order
from mmsearch.loading.preparing import MARGIN, apply_transform, group_of, least_raw_side, make_reference, resize
from mmsearch.loading.reading import CHANGED, describe_error, read_file
from mmsearch.loading.records import NVJPEG, DecodeGroup, GpuDecoding, LoadedFile, LoadOptions, LoadSeconds
from mmsearch.sources import Container, Member, SourceFile, bytes_of_container, check_as_listed, hash_span
from mmsearch.workers import Workers

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["load"]


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
    yield from load_in_order(reader.load, files, workers, threads, options.seconds, reader.load_pictures)


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
            file, data = read_file(file, self._check_header)
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
        with ExitStack() as held:
            try:
                file = held.enter_context(bytes_of_container(_container_of(members[0])))
                hashes = [hash_span(file, member.span, self._options.hash_name) for member in members]
            except (OSError, ImageError) as error:
                reason = error if isinstance(error, ImageError) else ImageError("read", describe_error(error))
                yield from (LoadedFile(member, error=reason) for member in members)
                return
            yield from self._make_pictures(file, members, hashes)

    def _make_pictures(
        self, file: FileRange, members: Sequence[Member], hashes: Sequence[bytes]
    ) -> Iterator[LoadedFile]:
        asked = {
            member.span
            for member, content_hash in zip(members, hashes, strict=True)
            if member.refused is None and not self._is_known(content_hash)
        }
        image_side = self._image_side() if asked else None
        spans = [member.span for member in members if member.span in asked]
        pictures = make_pictures(file, _container_of(members[0]).location, spans, self._options.max_pixels)
        for member, content_hash in zip(members, hashes, strict=True):
            if member.refused is not None:
                yield LoadedFile(member, error=ImageError("identify", member.refused))
            elif member.span not in asked or image_side is None:
                yield LoadedFile(member, content_hash)
            else:
                with self._cores if self._gpu is not None else nullcontext():
                    loaded = self._prepare_picture(member, content_hash, pictures, image_side)
                yield loaded if _is_as_listed(member) else LoadedFile(member, error=ImageError("read", CHANGED))

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
        small = apply_transform(lambda: resize(fast, decoded_image))
        seconds = LoadSeconds(read_seconds, decoded_at - started, time.perf_counter() - decoded_at)
        group = group_of(decoded_image)
        width, height, damaged = decoded_image.width, decoded_image.height, decoded_image.damaged
        columns = self._columns(file, width, height, decoded_image.facts, damaged=damaged)
        if not self._is_sampled(group, content_hash):
            return LoadedFile(file, content_hash, columns, small, group, seconds=seconds)
        started = time.perf_counter()
        reference = make_reference(image_side, decoded_image, data, limit)
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
            **columns_of_facts(file, facts, places=self._options.places),
        }


def _is_as_listed(member: Member) -> bool:
    """Whether the file that a picture was made of is still the one that was listed: reading a film takes minutes."""
    try:
        check_as_listed(_container_of(member))
    except (OSError, ImageError):
        return False
    return True


def _format_of(member: Member) -> str:
    cutter = cutter_of(_container_of(member).location, member.span)
    return "" if cutter is None else cutter.format


def _container_of(member: Member) -> Container:
    assert member.container is not None
    return member.container
