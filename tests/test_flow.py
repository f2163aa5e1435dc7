"""The flow of pictures through loader, lanes and writer: order, overlap, bounds, failures."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mmsearch.embedding import EmbedOptions, EmbedReport, embed
from mmsearch.embedding.batch_sizes import BatchSize
from mmsearch.embedding.stage_times import StageClock
from mmsearch.encoders import EncodedImages, Encoder, ImageLane, Pixels
from mmsearch.errors import EncoderError, StoreError
from mmsearch.gallery import Gallery, GalleryWriter
from mmsearch.loading import LoadSeconds, image_loader, reading
from mmsearch.upkeep.summary import skipped
from tests.fakes import FakeEncoder, write_picture


class Lanes(FakeEncoder):
    """Two devices, each with a lane of its own; what they do is written down."""

    def __init__(self, *, seconds: float = 0.0, awaits_both: bool = False) -> None:
        super().__init__(device="cuda: 2 x Pretended")
        self.seconds, self.awaits_both = seconds, awaits_both
        self.used: list[int] = []
        self.running = self.most_running = 0
        self._counting = threading.Lock()
        self._both_run = threading.Event()

    @contextmanager
    def lanes(self, threads: int) -> Iterator[tuple[ImageLane, ...]]:
        yield tuple(partial(self._on, number) for number in range(2))

    def _on(self, number: int, pixels: Pixels) -> EncodedImages:
        with self._counting:
            self.used.append(number)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            if self.most_running == 2:
                self._both_run.set()
        if self.awaits_both:
            self._both_run.wait(60)
        time.sleep(self.seconds * (1 + number))  # the second lane is slower: results come out of order
        with self._counting:
            self.running -= 1
        return EncodedImages(self.encode_images(pixels), 0.25, 0.5)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for place in range(60):
        write_picture(tmp_path / "photos" / f"{place:02d}.png", "red", seed=place)
    return tmp_path / "photos"


def run(photos: Path, encoder: Encoder, **options: Any) -> EmbedReport:
    return embed([photos], gallery=photos.parent / "g", encoder=encoder, options=EmbedOptions(**options))


def names(photos: Path) -> list[str]:
    return [name for _, _, name in sorted(Gallery.open(photos.parent / "g").image_names())]


def test_all_devices_work_at_once_and_rows_stay_in_order(photos: Path) -> None:
    """Row ids are those of the files' order, whichever lane was quicker."""
    encoder = Lanes(seconds=0.03, awaits_both=True)
    report = run(photos, encoder, batch_size=4)
    assert report.images.added == 60
    assert set(encoder.used) == {0, 1}
    assert encoder.most_running == 2
    assert names(photos) == [f"{place:02d}.png" for place in range(60)]
    stages = {stage.name: stage.seconds for stage in report.stages.stages}
    assert (stages["transfer"], stages["encode"]) == (15 * 0.25, 15 * 0.5)


def test_a_copy_is_encoded_once_even_when_its_original_is_still_on_its_way(photos: Path) -> None:
    for place in range(0, 60, 3):
        (photos / f"{place:02d}_copy.png").write_bytes((photos / f"{place:02d}.png").read_bytes())
    encoder = Lanes(seconds=0.02)
    report = run(photos, encoder, batch_size=4)
    assert (report.images.added, report.images.reused, encoder.images_encoded) == (80, 20, 60)
    assert len(names(photos)) == 80


def test_a_slow_writer_does_not_keep_the_encoder_waiting(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, append = Lanes(), GalleryWriter.append
    encoded_when_written: list[int] = []

    def slowly(self: GalleryWriter, *arguments: Any, **options: Any) -> Any:
        until = time.monotonic() + 60
        while len(encoded_when_written) == 1 and encoder.images_encoded < 60 and time.monotonic() < until:
            time.sleep(0.01)
        encoded_when_written.append(encoder.images_encoded)
        return append(self, *arguments, **options)

    monkeypatch.setattr(GalleryWriter, "append", slowly)
    run(photos, encoder, batch_size=4)
    assert encoded_when_written[1] == 60  # all of it, while the second of 15 batches was being written


def test_a_slow_encoder_bounds_what_is_decoded(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels that nobody can take yet are not piled up."""
    encoder, read, ahead = Lanes(seconds=0.05), reading.read_file, []

    def counted(*arguments: Any) -> Any:
        ahead.append(encoder.images_encoded)
        return read(*arguments)

    monkeypatch.setattr(image_loader, "read_file", counted)
    run(photos, encoder, batch_size=2, threads=2)
    # In flight: 2 threads x 4 files and one more, 2 lanes x (1 running + 2 ready) batches of 2, one that waits and one
    # that is being filled; and the first nine files are read a second time, when the encoder has been loaded.
    assert max(number - encoded for number, encoded in enumerate(ahead)) <= 9 + 12 + 2 + 2 + 9


@pytest.mark.parametrize("stage", ["encode", "write"])
def test_what_fails_on_another_thread_is_raised_and_the_rest_is_kept(
    stage: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, calls, append = Lanes(), [], GalleryWriter.append

    def fails(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            raise EncoderError("the device is gone") if stage == "encode" else StoreError("the disk is full")
        return (FakeEncoder.encode_images if stage == "encode" else append)(self, *arguments, **options)

    owner, method = (Lanes, "encode_images") if stage == "encode" else (GalleryWriter, "append")
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, fails)
        with pytest.raises((EncoderError, StoreError), match=r"is gone|is full"):
            run(photos, encoder, batch_size=4)
    if stage == "encode":
        assert 0 < len(names(photos)) < 60
    assert run(photos, FakeEncoder(), batch_size=4).total_images == 60


def test_a_decoder_that_hangs_costs_one_picture(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is skipped, with its reason, and not tried again until it changes."""
    release, read = threading.Event(), reading.read_file

    def hanging(file: Any, *rest: Any) -> Any:
        if file.name == "07.png":
            release.wait(120)
        return read(file, *rest)

    monkeypatch.setattr(image_loader, "read_file", hanging)
    report = run(photos, FakeEncoder(), seconds=2, threads=2)
    assert (report.images.added, report.images.skipped) == (59, 1)
    ((_, row),) = skipped(photos.parent / "g")
    assert (row.path, row.stage, row.reason) == ("07.png", "decode", "not decoded within 2 seconds")
    again = run(photos, FakeEncoder(), seconds=2)
    assert (again.images.unchanged, again.images.still_skipped) == (59, 1)
    release.set()


def test_batches_grow_as_long_as_it_pays() -> None:
    """64 -> 128 is faster, 256 is not worth its memory: 128 it stays."""
    sizes, rate, seen = BatchSize(64, 128, 256, 512), {64: 1000.0, 128: 1500.0, 256: 1520.0}, []
    for _ in range(60):
        seen.append(sizes.current)
        sizes.learn_rate(sizes.current, sizes.current / rate[sizes.current])
    assert [seen[0], seen[5], seen[10], seen[15], seen[-1]] == [64, 128, 256, 128, 128]
    assert sorted(set(seen)) == [64, 128, 256]


def test_batches_grow_to_the_largest() -> None:
    sizes = BatchSize(64, 128)
    for _ in range(60):
        sizes.learn_rate(sizes.current, 0.1)
    assert sizes.current == 128
    one = BatchSize(8)
    one.learn_rate(8, 1.0)
    assert one.current == 8


def test_the_bottleneck_is_the_longest_stage_of_the_busiest_team() -> None:
    """On a CPU, decoders and encoder share the threads; on a GPU whoever has least time to spare counts."""
    cpu = StageClock(threads=2)
    for _ in range(10):
        cpu.add(LoadSeconds(read=0.1, decode=0.5, resize=0.2))
    cpu.encode, cpu.write = 4.0, 3.0
    assert cpu.times().bottleneck == "decode"
    assert sum(stage.share for stage in cpu.times().stages) == pytest.approx(1)
    gpu = StageClock(threads=8, lanes=2, read=1.0, decode=20.0, resize=4.0, transfer=0.5, encode=9.5, write=3.0)
    assert gpu.times().bottleneck == "encode"
    gpu.threads = 2
    assert gpu.times().bottleneck == "decode"
    gpu.write = 13.0
    assert gpu.times().bottleneck == "write"
    assert StageClock(threads=2, read=5.0).times().bottleneck is None
