"""JPEG decoded in batches for many threads, as on a GPU: here with the decoder that torchvision has for CPUs."""

import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mmsearch import images
from mmsearch.embedding import EmbedOptions, embed
from mmsearch.encoders import Pixels
from mmsearch.encoders.jpeg_decoding import BatchJpegDecoder, why_not_on
from mmsearch.encoders.preprocessing import Preprocessing
from mmsearch.errors import EncoderError
from mmsearch.gallery import Gallery
from tests.conftest import Command
from tests.fakes import FakeEncoder, FakeImages, jpeg
from tests.vectors import unit_vectors

CPU = torch.device("cpu")
SIZES = [(640, 480), (640, 480), (480, 640), (1024, 768), (301, 227), (224, 224), (100, 700)]


@pytest.fixture
def preprocessing() -> Preprocessing:
    return Preprocessing({"size": [224, 224], "mean": [0.5] * 3, "std": [0.25] * 3})


@pytest.fixture
def decoder(preprocessing: Preprocessing) -> Iterator[BatchJpegDecoder]:
    with BatchJpegDecoder(CPU, preprocessing) as opened:
        yield opened


def fitted(decoder: BatchJpegDecoder, data: bytes) -> NDArray[np.uint8] | None:
    header = images.jpeg_header(data)
    assert header is not None
    return decoder.fit(data, (header.width, header.height), header.orientation)


def decibels(preprocessing: Preprocessing, pixels: NDArray[np.uint8], data: bytes) -> float:
    error = preprocessing.error(pixels, preprocessing.reference(images.decode(data).image))
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_of_all_sizes_and_turns_agree_with_the_exact_route(
    orientation: int, decoder: BatchJpegDecoder, preprocessing: Preprocessing
) -> None:
    """Asked for by as many threads as there are pictures, so that some come in one batch."""
    files = [jpeg(size, seed, orientation) for seed, size in enumerate(SIZES)]
    with ThreadPoolExecutor(len(files)) as pool:
        found = list(pool.map(lambda data: fitted(decoder, data), files))
    for data, pixels in zip(files, found, strict=True):
        assert pixels is not None
        assert (pixels.shape, pixels.dtype) == ((224, 224, 3), np.dtype(np.uint8))
        assert decibels(preprocessing, pixels, data) > 50
    assert decoder.seconds > 0


def test_what_waits_is_decoded_together(preprocessing: Preprocessing) -> None:
    """While one batch is at work others come, and go together; never more than its memory allows."""
    from torchvision.io import ImageReadMode, decode_jpeg

    batches: list[int] = []
    first = threading.Event()

    def decode(files: list[torch.Tensor]) -> list[torch.Tensor]:
        batches.append(len(files))
        first.wait(120)
        return [decode_jpeg(file, mode=ImageReadMode.RGB) for file in files]

    data = jpeg((64, 64))
    with BatchJpegDecoder(CPU, preprocessing, decode) as decoder, ThreadPoolExecutor(100) as pool:
        work = [pool.submit(decoder.fit, data, (64, 64), 1) for _ in range(100)]
        while decoder._requests.qsize() < 90:
            time.sleep(0.001)
        first.set()
        assert all(each.result() is not None for each in work)
    assert sum(batches) == 100
    assert max(batches) == 64


@pytest.mark.parametrize("spoilt", ["cut", "nothing", "lies"])
def test_one_that_is_not_taken_costs_the_others_nothing(
    spoilt: str, decoder: BatchJpegDecoder, preprocessing: Preprocessing
) -> None:
    """It is given back, and whoever asked decodes it otherwise."""
    good = [jpeg((320, 240), seed) for seed in range(6)]
    bad = {"cut": good[0][:200], "nothing": b"no picture", "lies": jpeg((100, 100))}[spoilt]
    with ThreadPoolExecutor(7) as pool:
        work = [pool.submit(decoder.fit, data, (320, 240), 1) for data in (*good[:3], bad, *good[3:])]
        found = [each.result() for each in work]
    assert found[3] is None
    for data, pixels in zip(good, [*found[:3], *found[4:]], strict=True):
        assert pixels is not None
        assert decibels(preprocessing, pixels, data) > 50


def test_a_device_without_memory_is_left_to_the_encoder(preprocessing: Preprocessing) -> None:
    tries = []

    def decode(files: list[torch.Tensor]) -> list[torch.Tensor]:
        tries.append(len(files))
        raise torch.cuda.OutOfMemoryError("full")

    with BatchJpegDecoder(CPU, preprocessing, decode) as decoder:
        assert [decoder.fit(jpeg((64, 64)), (64, 64), 1) for _ in range(10)] == [None] * 10
    assert len(tries) == 3


def test_only_what_every_decoder_takes_has_a_header() -> None:
    whole = jpeg((320, 240), orientation=6)
    header = images.jpeg_header(whole)
    assert header is not None
    assert (header.width, header.height, header.format, header.orientation) == (240, 320, "JPEG", 6)
    assert images.jpeg_header(whole[:-2]) is None
    assert images.jpeg_header(jpeg((320, 240), progressive=True)) is None
    for picture, kind in (
        (Image.new("L", (32, 32)), "JPEG"),
        (Image.new("CMYK", (32, 32)), "JPEG"),
        (Image.new("RGB", (32, 32)), "PNG"),
    ):
        out = io.BytesIO()
        picture.save(out, kind)
        assert images.jpeg_header(out.getvalue()) is None


def test_a_cpu_says_that_it_is_none() -> None:
    assert why_not_on(CPU) == "cpu is no CUDA device"


class Decoding(FakeEncoder):
    """The fake encoder, as if the processor were a device that decodes JPEG."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.sides["image"] = DecodingImages(self, preprocessing)
        self.asked = 0

    def encode_images(self, pixels: Pixels) -> NDArray[np.float32]:
        fast = self.image.fast
        assert isinstance(fast, Preprocessing)
        wide = fast.normalise(torch.from_numpy(pixels)).numpy() if pixels.dtype == np.uint8 else pixels
        vectors = np.stack([part.mean(axis=(2, 3)) for part in np.array_split(wide, 4, axis=3)], axis=2).reshape(
            len(wide), -1
        )
        return unit_vectors(np.pad(vectors, ((0, 0), (0, self.identity.dim - vectors.shape[1])))).astype(np.float32)

    def spoilt(self, picture: torch.Tensor) -> torch.Tensor:
        return picture


class DecodingImages(FakeImages):
    """Its image side, on whose pretended device JPEG is decoded."""

    def __init__(self, encoder: Decoding, preprocessing: Preprocessing) -> None:
        super().__init__(encoder)
        self._decoding, self._preprocessing = encoder, preprocessing

    @property
    def fast(self) -> Preprocessing:
        return self._preprocessing

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        return self._preprocessing.reference(image)

    def why_no_jpeg_decoder(self) -> str | None:
        return None

    def jpeg_decoder(self) -> BatchJpegDecoder:
        from torchvision.io import ImageReadMode, decode_jpeg

        def decode(files: list[torch.Tensor]) -> list[torch.Tensor]:
            self._decoding.asked += len(files)
            return [self._decoding.spoilt(decode_jpeg(file, mode=ImageReadMode.RGB)) for file in files]

        return BatchJpegDecoder(CPU, self._preprocessing, decode)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Twenty JPEGs, a progressive one, and a PNG."""
    folder = tmp_path / "album"
    folder.mkdir()
    for seed in range(20):
        (folder / f"{seed:02}.jpg").write_bytes(jpeg(SIZES[seed % len(SIZES)], seed))
    (folder / "progressive.jpg").write_bytes(jpeg((320, 240), 50, progressive=True))
    Image.new("RGB", (40, 30), "red").save(folder / "a.png")
    return folder


def test_a_run_has_the_device_decode_what_it_takes(album: Path, tmp_path: Path, preprocessing: Preprocessing) -> None:
    """`gpu`: all of it; `cpu`: none; the same rows and nearly the same vectors; and the report says how many."""
    rows = {}
    for way in ("cpu", "gpu", "auto"):
        encoder = Decoding(preprocessing)
        report = embed([album], gallery=tmp_path / way, encoder=encoder, options=EmbedOptions(decode=way, threads=1))
        assert report.images.added == 22
        by = report.stages.decoded_on_gpu, report.stages.decoded_on_cpu
        assert by == {"cpu": (0, 22), "gpu": (20, 2), "auto": (by[0], 22 - by[0])}[way]
        assert encoder.asked == by[0]
        names = [stage.name for stage in report.stages.stages]
        assert ("decode on the GPU" in names) == (way != "cpu")
        assert report.parity is not None
        assert any(each.route == "nvjpeg" for each in report.parity.agreements) == (by[0] > 0)
        gallery = Gallery.open(tmp_path / way)
        named = sorted((path, row_id) for row_id, _, path in gallery.image_names())
        rows[way] = named, gallery.vectors("images", np.array([row for _, row in named])).astype(np.float32)
    for way in ("gpu", "auto"):
        assert [path for path, _ in rows[way][0]] == [path for path, _ in rows["cpu"][0]]
        assert np.abs(rows[way][1] - rows["cpu"][1]).max() < 0.02


def test_a_device_that_decodes_otherwise_is_found_out(
    album: Path, tmp_path: Path, preprocessing: Preprocessing
) -> None:
    """What it did goes the exact way instead, the run goes on, and the report names it."""

    class Wrong(Decoding):
        def spoilt(self, picture: torch.Tensor) -> torch.Tensor:
            return picture.flip(-1)

    report = embed([album], gallery=tmp_path / "g", encoder=Wrong(preprocessing), options=EmbedOptions(decode="gpu"))
    assert report.images.added == 22
    assert report.parity is not None
    assert [each.route for each in report.parity.disagreements] == ["nvjpeg"]
    embed([album], gallery=tmp_path / "exact", encoder=Decoding(preprocessing), options=EmbedOptions(exact=True))
    vectors = []
    for name in ("g", "exact"):
        gallery = Gallery.open(tmp_path / name)
        named = sorted((path, row_id) for row_id, _, path in gallery.image_names())
        vectors.append(gallery.vectors("images", np.array([row for _, row in named])).astype(np.float32))
    assert np.abs(vectors[0] - vectors[1]).max() < 0.02


def test_asking_for_a_gpu_that_is_not_there_is_an_error(album: Path, tmp_path: Path, mmsearch: Command) -> None:
    done = mmsearch("embed", album, "--model", "fake", "-g", tmp_path / "g", "--decode", "gpu")
    assert (done.code, "--decode gpu: this encoder has none" in done.err) == (1, True)
    with pytest.raises(EncoderError, match="exact route"):
        embed([album], gallery=tmp_path / "e", encoder=FakeEncoder(), options=EmbedOptions(decode="gpu", exact=True))
