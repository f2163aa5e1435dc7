"""What runs on CUDA, each test twice: on the GPUs of this machine (marked gpu), and on two that the processor plays.

Of itself it needs nothing but what `scripts/gpu_trial.py` names: it is run there.
"""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mmsearch import encoders, images
from mmsearch.embedding import EmbedOptions, EmbedReport, embed
from mmsearch.embedding.parity import COSINE_GATES, centred_cosines
from mmsearch.encoders.devices import exact_fp32
from mmsearch.encoders.jpeg_decoding import BatchJpegDecoder, why_not_on
from mmsearch.encoders.preprocessing import Preprocessing
from mmsearch.errors import EncoderError
from mmsearch.gallery import Gallery
from mmsearch.progress import Progress
from mmsearch.training.batches import PairTexts
from mmsearch.training.checkpoints import read_checkpoint, write_checkpoint
from mmsearch.training.tower_settings import TowerMethod, TowerSettings
from mmsearch.training.tower_training import TrainingRun
from mmsearch.training.trainable_model import open_trainable_model
from tests.conftest import Command
from tests.fakes import jpeg
from tests.galleries import contents, skipped
from tests.models import write_tiny_model
from tests.simulated_cuda import Gpu, RealGpu, SimulatedGpu

SIZES = [(640, 480), (480, 640), (301, 227), (100, 90)]
ALL, ORDINARY, SKIPPED = 37, 32, 2
TEXTS = ["a dog", "two", "word " * 100, "Käse & Wein — 日本語", "a photo of a mountain at sunset", ""] * 20


@pytest.fixture(params=[pytest.param("real", marks=pytest.mark.gpu), "simulated"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """A GPU, or several."""
    if request.param == "simulated":
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # several lanes that each use all cores are slow
        yield SimulatedGpu(monkeypatch)
        torch.set_num_threads(threads)
        return
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    yield RealGpu()


@pytest.fixture
def gpus(gpu: Gpu) -> Gpu:
    """At least two."""
    if gpu.count < 2:
        pytest.skip("only one CUDA device")
    return gpu


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{write_tiny_model(tmp_path_factory.mktemp('tiny'))}"


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of all turns; and what a GPU's decoder does not take: other formats, and JPEG that is not ordinary or
    none any more."""
    folder = tmp_path_factory.mktemp("album")
    for seed in range(ORDINARY):
        (folder / f"{seed:02}.jpg").write_bytes(jpeg(SIZES[seed % len(SIZES)], seed, 1 + seed % 8))
    whole = jpeg((320, 240), 99)
    (folder / "progressive.jpg").write_bytes(jpeg((320, 240), 50, progressive=True))
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "no picture.jpg").write_bytes(whole[:20])
    (folder / "twelve bits.jpg").write_bytes(whole.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"))
    Image.new("CMYK", (64, 48), (10, 200, 30, 40)).save(folder / "cmyk.jpg")
    Image.new("L", (64, 48), 90).save(folder / "grey.jpg")
    deep = np.random.default_rng(0).integers(0, 65536, (48, 64), np.uint16)
    Image.fromarray(deep).save(folder / "sixteen bits.png")
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photographs."""
    folder = tmp_path_factory.mktemp("few")
    for seed in range(8):
        (folder / f"{seed}.jpg").write_bytes(jpeg((64, 48), seed))
    return folder


def on_gpu(model: str, precision: str = "fp32", device: str = "cuda") -> Any:
    return encoders.open(model, device=device, precision=precision)


def on_cpu(model: str) -> Any:
    return encoders.open(model, device="cpu", precision="fp32")


def small_pixels(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """As `fast` gives them to the tiny model, smooth as photographs are."""
    random = np.random.default_rng(seed)
    rows = [Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8)).resize((32, 32)) for _ in range(count)]
    return np.stack([np.asarray(row) for row in rows])


def run(folder: Path, gallery: Path, model: Any, **options: Any) -> EmbedReport:
    return embed([folder], gallery=gallery, encoder=model, options=EmbedOptions(**options))


def apart(one: Path, other: Path) -> float:
    """How far the vectors of two galleries are from each other at most; their rows are equal in all else."""
    left, right = contents(one), contents(other)
    assert left.keys() == right.keys()
    assert all(row == right[key][0] for key, (row, _) in left.items())
    assert skipped(one) == skipped(other)
    return max(float(np.abs(vector - right[key][1]).max()) for key, (_, vector) in left.items())


# --- lanes ------------------------------------------------------------------------------------------------------------


def test_lanes_at_work_beside_each_other_give_what_one_call_gives(gpu: Gpu, tiny: str) -> None:
    """Pinned memory that is filled anew while a copy is under way would show in the vectors."""
    encoder = on_gpu(tiny)
    pixels = small_pixels(192)
    parts = np.array_split(pixels, 12)
    with encoder.image.lanes(4) as lanes, ThreadPoolExecutor(len(lanes)) as pool:
        assert len(lanes) == 2 * gpu.count
        for _ in range(3):
            work = [pool.submit(lanes[number % len(lanes)], part) for number, part in enumerate(parts)]
            encoded = [each.result() for each in work]
            vectors = np.concatenate([each.vectors for each in encoded])
            assert np.abs(vectors - on_cpu_vectors(tiny, pixels)).max() < 1e-5
            assert all(each.transfer_seconds >= 0 and each.encode_seconds > 0 for each in encoded)


def on_cpu_vectors(model: str, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = on_cpu(model).image.encode(pixels)
    return vectors


def test_every_lane_works_in_a_stream_of_its_own_device(gpu: Gpu, tiny: str) -> None:
    """And in the same ones in every run, since torch keeps memory for each."""
    encoder, seen = on_gpu(tiny), []
    for _ in range(2):
        streams = []
        with encoder.image.lanes(4) as lanes:
            for lane in lanes:
                inner = lane.__self__.encode_image

                def encode(batch: torch.Tensor, inner: Any = inner) -> Any:
                    streams.append(stream_now(gpu))  # noqa: B023
                    return inner(batch)

                lane.__self__.encode_image = encode
                lane(small_pixels(4))
                assert gpu.simulated or lane.__self__._pinned.is_pinned()
        assert len(set(streams)) == 2 * gpu.count
        seen.append(streams)
    assert seen[0] == seen[1]
    if isinstance(gpu, SimulatedGpu):
        assert all(stream.device == device.index for stream, device in gpu.copies)


def stream_now(gpu: Gpu) -> Any:
    return gpu._current() if isinstance(gpu, SimulatedGpu) else torch.cuda.current_stream().cuda_stream


def test_the_clock_of_a_lane_does_not_look_at_other_streams(gpu: Gpu, tiny: str) -> None:
    """The exact route works in the default stream while lanes encode: an event in it may not have passed yet."""
    encoder = on_gpu(tiny)
    with gpu.busy():
        encoded = encoder.image._lane.images(small_pixels(4))
    assert 0 < encoded.encode_seconds < 60
    assert 0 <= encoded.transfer_seconds < 60


def test_the_second_gpu_alone(gpus: Gpu, tiny: str, few: Path, tmp_path: Path) -> None:
    """Its events and streams are not the first one's."""
    encoder = on_gpu(tiny, device="cuda:1")
    pixels = small_pixels(16)
    assert np.abs(encoder.image.encode(pixels) - on_cpu_vectors(tiny, pixels)).max() < 1e-5
    assert run(few, tmp_path / "g", encoder).images.added == 8


# --- precision --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_each_precision_agrees_with_fp32_on_the_processor(precision: str, gpu: Gpu, tiny: str) -> None:
    """By the gate that a run of `embed` puts before it. Texts likewise."""
    encoder, exact = on_gpu(tiny, precision), on_cpu(tiny)
    assert (encoder.precision, encoder.device) == (precision, gpu.described)
    assert encoder.identity == exact.identity
    pixels = small_pixels(64)
    for vectors, references in (
        (encoder.image.encode(pixels), exact.image.encode(pixels)),
        (encoder.text.encode(TEXTS[:5]).vectors, exact.text.encode(TEXTS[:5]).vectors),
    ):
        cosines = centred_cosines(vectors, references, references.mean(axis=0, dtype=np.float64))
        assert cosines.mean() >= COSINE_GATES[precision]
        assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
        if precision == "fp32":
            assert np.abs(vectors - references).max() < 1e-5


def test_what_auto_is_on_a_gpu(gpu: Gpu, tiny: str) -> None:
    assert on_gpu(tiny, "auto").precision == "fp16"


def test_int8_is_refused(gpu: Gpu, tiny: str, album: Path, tmp_path: Path, command_line: Command) -> None:
    with pytest.raises(EncoderError, match="int8 is for CPUs; cuda is faster in fp16"):
        on_gpu(tiny, "int8")
    done = command_line("embed", album, "-g", tmp_path / "g", "--model", tiny, *OPTIONS, "--precision", "int8")
    assert (done.code, done.err.strip().splitlines()[-1]) == (
        1,
        "mmsearch: error: int8 is for CPUs; cuda is faster in fp16 (--precision auto, or --device cpu)",
    )


OPTIONS = ("--device", "cuda")


@contextmanager
def tensor_float_32() -> Iterator[None]:
    """As a program may have allowed it."""
    matmul: Any = torch.backends.cuda.matmul
    name, value = ("fp32_precision", "tf32") if hasattr(matmul, "fp32_precision") else ("allow_tf32", True)
    before = getattr(matmul, name)
    setattr(matmul, name, value)
    try:
        yield
    finally:
        setattr(matmul, name, before)


def test_fp32_is_not_tensor_float_32(gpu: Gpu) -> None:
    """On a convolution like the one that cuts pictures into patches, and on a product: against float64."""
    torch.manual_seed(0)
    batch, weights = torch.randn(8, 3, 224, 224), torch.randn(64, 3, 32, 32)
    square = torch.randn(1024, 1024)

    def errors() -> list[float]:
        convolved = torch.nn.functional.conv2d(batch.to("cuda"), weights.to("cuda"), stride=32)
        multiplied = square.to("cuda") @ square.to("cuda")
        exact = (
            torch.nn.functional.conv2d(batch.double(), weights.double(), stride=32),
            square.double() @ square.double(),
        )
        return [float((a.cpu() - b).norm() / b.norm()) for a, b in zip((convolved, multiplied), exact, strict=True)]

    with tensor_float_32():
        with exact_fp32(torch.device("cuda")):
            assert max(errors()) < 2e-6
        if not gpu.simulated and torch.cuda.get_device_capability() >= (8, 0):
            assert errors()[1] > 5e-5  # what it would be: the test sees it


def test_fp32_stays_exact_for_a_thread_while_another_leaves() -> None:
    """The switch is the process's, and lanes enter and leave as batches come."""
    from torch.backends import cuda, cudnn

    def switches() -> tuple[object, object]:
        if hasattr(cuda.matmul, "fp32_precision"):
            return cuda.matmul.fp32_precision, getattr(cudnn, "conv").fp32_precision  # noqa: B009  untyped
        return cuda.matmul.allow_tf32, cudnn.allow_tf32

    before = switches()
    entered, left = threading.Event(), threading.Event()
    inside: list[object] = []

    def second() -> None:
        with exact_fp32(torch.device("cuda")):
            entered.set()
            left.wait(10)
            inside.append(switches())

    thread = threading.Thread(target=second)
    with exact_fp32(torch.device("cuda")):
        exact = switches()
        thread.start()
        entered.wait(10)
    left.set()
    thread.join()
    assert exact != before
    assert inside == [exact]
    assert switches() == before


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("short_of", ["activations", "pixels"])
def test_memory_that_runs_out_halves_the_batch(short_of: str, gpu: Gpu, tiny: str) -> None:
    """Wherever it runs out: a batch may not even fit on the device as it comes."""
    count = 256 if gpu.simulated else 16_384
    pixels = np.tile(small_pixels(64), (count // 64, 1, 1, 1))
    expected = np.tile(on_cpu_vectors(tiny, pixels[:64]), (count // 64, 1))
    encoder = on_gpu(tiny)
    encoder.image.encode(pixels[:64])  # what it needs for itself
    with gpu.capped(pixels.nbytes * 4 // 3 if short_of == "activations" else pixels.nbytes * 2 // 3):
        vectors = encoder.image.encode(pixels)
    assert np.abs(vectors - expected).max() < 1e-5
    assert 1 <= encoder.image._lane._most < count
    if isinstance(gpu, SimulatedGpu):
        assert gpu.released  # before it tries again


def test_one_item_that_does_not_fit_is_an_error(gpu: Gpu, tiny: str) -> None:
    encoder = on_gpu(tiny)

    def never(batch: torch.Tensor) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("out of memory")

    encoder.image._lane.encode_image = never
    with pytest.raises(EncoderError, match=r"^cuda: .* has not enough free memory for one item of local-dir:"):
        encoder.image.encode(small_pixels(9))


def test_memory_is_given_back_when_a_run_ends(gpu: Gpu, tiny: str, few: Path, tmp_path: Path) -> None:
    """And no run leaves more than the first."""
    encoder, left = on_gpu(tiny), []
    for number in range(3):
        run(few, tmp_path / f"g{number}", encoder, decode="cpu", batch_size=2)
        left.append(gpu.memory())
    slack = 0 if gpu.simulated else 64 << 20
    assert max(left) <= left[0] + slack
    if isinstance(gpu, SimulatedGpu):
        assert gpu.released == 3
    else:
        assert left[0] < 1 << 30


# --- texts and queries ------------------------------------------------------------------------------------------------


def test_texts_of_all_lengths(gpu: Gpu, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches of similar length, each cut to its longest."""
    from mmsearch.encoders import open_clip_encoder

    monkeypatch.setitem(open_clip_encoder._TEXT_BATCH, "cuda", 32)
    encoded, expected = on_gpu(tiny).text.encode(TEXTS), on_cpu(tiny).text.encode(TEXTS)
    assert np.abs(encoded.vectors - expected.vectors).max() < 1e-5
    assert (encoded.truncated == expected.truncated).all()


def test_a_query_on_a_gpu_finds_what_it_finds_on_a_processor(
    gpu: Gpu, tiny: str, album: Path, tmp_path: Path, command_line: Command
) -> None:
    run(album, tmp_path / "g", tiny, device="cpu")
    for asked in (["a dog"], ["--image", str(album / "03.jpg")]):
        command = ("query", *asked, "-g", tmp_path / "g", "-k", 5, "--format", "csv")
        here, there = command_line(*command), command_line(*command, *OPTIONS)
        assert (here.code, there.code) == (0, 0), here.err + there.err
        assert here.out.count("\n") == 6
        assert paths(there.out) == paths(here.out)


def paths(answer: str) -> list[str]:
    return [line.split(",")[-1].rsplit("/", 1)[-1] for line in answer.splitlines()]


# --- embed ------------------------------------------------------------------------------------------------------------


def test_embed_on_a_gpu(gpu: Gpu, tiny: str, album: Path, tmp_path: Path, command_line: Command) -> None:
    """The rows of a processor, nearly its vectors, and all that is recorded says the device."""
    run(album, tmp_path / "cpu", tiny, device="cpu")
    done = command_line("embed", album, "-g", tmp_path / "gpu", "--model", tiny, *OPTIONS)
    assert done.code == 0, done.err
    assert f"on {gpu.described}, fp16" in done.out
    assert apart(tmp_path / "gpu", tmp_path / "cpu") < 0.02
    manifest = Gallery.open(tmp_path / "gpu").manifest
    assert {shard.provenance and shard.provenance.device for shard in manifest.shards["images"]} == {gpu.described}
    assert [(parity.device, parity.precision) for parity in manifest.parity] == [(gpu.described, "fp16")]
    again = run(album, tmp_path / "gpu", None, device="cuda")
    assert (again.images.added, again.images.unchanged, again.device) == (0, ALL, None)


def test_what_is_interrupted_goes_on(gpu: Gpu, tiny: str, album: Path, tmp_path: Path) -> None:
    """Ctrl-C in the middle: what the lanes have encoded is kept."""

    def interrupt(progress: Progress) -> None:
        if progress.task == "embedding" and progress.done >= 24:
            raise KeyboardInterrupt

    options = EmbedOptions(device="cuda", batch_size=4)
    with pytest.raises(KeyboardInterrupt):
        embed([album], gallery=tmp_path / "once", encoder=tiny, options=options, progress=interrupt)
    kept = Gallery.open(tmp_path / "once").live_rows("images")
    assert 0 < kept <= 24
    report = run(album, tmp_path / "once", tiny, device="cuda", batch_size=4)
    assert report.images.added == ALL - kept
    run(album, tmp_path / "never", tiny, device="cuda", batch_size=4)
    assert apart(tmp_path / "once", tmp_path / "never") < 0.02


_EMBED = """
import sys
from mmsearch.embedding import EmbedOptions, embed
from mmsearch.gallery import gallery_writer
if sys.argv[4] == "simulated":
    import pytest
    from tests.simulated_cuda import SimulatedGpu
    SimulatedGpu(pytest.MonkeyPatch())
gallery_writer.COMMIT_SECONDS = 0.0
embed([sys.argv[1]], gallery=sys.argv[2], encoder=sys.argv[3], options=EmbedOptions(device="cuda", batch_size=2))
"""


@pytest.mark.parametrize("way", [pytest.param("real", marks=pytest.mark.gpu), "simulated"])
@pytest.mark.soak
def test_a_killed_run_goes_on(
    way: str, tiny: str, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "real" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _EMBED, str(album), str(tmp_path / "once"), tiny, way]
    process = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 120
    while process.poll() is None and len(list((tmp_path / "once" / "manifests").glob("*"))) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if way == "simulated":
        SimulatedGpu(monkeypatch)
    assert run(album, tmp_path / "once", tiny, device="cuda").total_images == ALL
    run(album, tmp_path / "never", tiny, device="cuda")
    assert apart(tmp_path / "once", tmp_path / "never") < 0.02


# --- JPEG -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def decoding_gpu(gpu: Gpu) -> Gpu:
    """One on which torchvision decodes JPEG."""
    if (reason := why_not_on(torch.device("cuda", 0))) is not None:
        pytest.skip(reason)
    return gpu


@pytest.fixture
def decoder(decoding_gpu: Gpu) -> Iterator[tuple[BatchJpegDecoder, Preprocessing]]:
    preprocessing = Preprocessing({"size": [224, 224], "mean": [0.5] * 3, "std": [0.25] * 3})
    with BatchJpegDecoder(torch.device("cuda", 0), preprocessing) as opened:
        yield opened, preprocessing


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_gpu_decodes_as_the_exact_route_does(
    subsampling: str, decoder: tuple[BatchJpegDecoder, Preprocessing]
) -> None:
    """All sizes and turns together, asked for by as many threads as wait in a run."""
    opened, preprocessing = decoder
    files = [
        jpeg(size, seed, orientation, subsampling=subsampling)
        for orientation in range(1, 9)
        for seed, size in enumerate(SIZES)
    ]
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda data: fitted(opened, data), files))
    for data, pixels in zip(files, found, strict=True):
        assert pixels is not None
        assert (pixels.shape, pixels.dtype) == ((224, 224, 3), np.dtype(np.uint8))
        error = preprocessing.error(pixels, preprocessing.reference(images.decode(data).image))
        assert 10 * np.log10(255**2 / max(error, 1e-9)) > 40


def fitted(decoder: BatchJpegDecoder, data: bytes) -> NDArray[np.uint8] | None:
    header = images.jpeg_header(data)
    assert header is not None
    return decoder.fit(data, (header.width, header.height), header.orientation)


def test_what_a_gpu_does_not_decode_is_given_back(decoder: tuple[BatchJpegDecoder, Preprocessing]) -> None:
    """It costs the others of its batch nothing, and the decoder goes on."""
    opened, _ = decoder
    whole = [jpeg((320, 240), seed) for seed in range(8)]
    cmyk = io.BytesIO()
    Image.new("CMYK", (320, 240)).save(cmyk, "JPEG")
    spoilt = [whole[0][:100], b"\xff\xd8\xff\xd9", b"nothing", jpeg((64, 64))]
    with ThreadPoolExecutor(12) as pool:
        asked = [*whole, *spoilt, cmyk.getvalue()]
        found = list(pool.map(lambda data: opened.fit(data, (320, 240), 1), asked))
    assert all(pixels is not None for pixels in found[:8])
    assert all(pixels is None for pixels in found[8:12])
    assert opened.fit(whole[0], (320, 240), 1) is not None


def test_decoding_on_a_gpu_changes_no_row(
    decoding_gpu: Gpu, tiny: str, album: Path, tmp_path: Path, command_line: Command
) -> None:
    """What it takes it decodes; the rest goes as it always does, to the same rows, skipped files and damage."""
    for way, most in (("cpu", 0), ("gpu", ORDINARY), ("auto", ORDINARY)):
        report = run(album, tmp_path / way, tiny, device="cuda", decode=way)
        assert report.images.added == ALL
        assert sum(number for _, number in report.images.skipped_reasons) == report.images.skipped == SKIPPED
        by_gpu = report.stages.decoded_on_gpu
        assert by_gpu == most if way != "auto" else by_gpu <= most
        assert by_gpu + report.stages.decoded_on_cpu == ALL
        if way == "gpu":
            assert report.parity is not None
            assert [each.route for each in report.parity.disagreements] == []
            assert {each.route for each in report.parity.agreements} >= {"nvjpeg", "pillow"}
        assert apart(tmp_path / way, tmp_path / "cpu") < 0.03
    assert sum(row["damaged"] or False for row, _ in contents(tmp_path / "gpu").values()) == 1


# --- several GPUs -----------------------------------------------------------------------------------------------------


def test_several_gpus_share_a_run(gpus: Gpu, tiny: str, album: Path, tmp_path: Path) -> None:
    """Each has the model and lanes of its own."""
    encoder = on_gpu(tiny, "auto")
    used: set[int] = set()
    with encoder.image.lanes(4) as lanes:
        devices = {lane.__self__._device for lane in lanes}
        assert devices == {torch.device("cuda", number) for number in range(gpus.count)}
        vectors = [lane(small_pixels(8)).vectors for lane in lanes]
    assert max(float(np.abs(each - vectors[0]).max()) for each in vectors) < 1e-3
    report = run(album, tmp_path / "g", encoder, batch_size=2)
    run(album, tmp_path / "cpu", tiny, device="cpu")
    assert report.device == gpus.described
    assert f"{gpus.count} x " in gpus.described
    assert apart(tmp_path / "g", tmp_path / "cpu") < 0.02
    if isinstance(gpus, SimulatedGpu):
        used = {device.index for _, device in gpus.copies if device.index is not None}
        assert used == {0, 1}


def test_of_several_gpus_one_decodes(gpus: Gpu, tiny: str, album: Path, tmp_path: Path) -> None:
    """torchvision has one decoder in a process, and makes it anew, without freeing the old one, whenever the device is
    another: asked of two GPUs in turn it would eat up their memory."""
    report = run(album, tmp_path / "g", tiny, device="cuda", decode="gpu")
    assert report.stages.decoded_on_gpu == ORDINARY
    if isinstance(gpus, SimulatedGpu):
        assert set(gpus.jpeg_devices) == {torch.device("cuda", 0)}


# --- training ---------------------------------------------------------------------------------------------------------


def training_run(model: str, device: str, method: TowerMethod = "full", chunk: int = 2) -> TrainingRun:
    """Of 14 pictures in one batch, each told apart from a hard negative."""
    trainable = open_trainable_model(model, device=device)
    texts = PairTexts.of([[f"number {number}"] for number in range(14)], np.arange(14))
    settings = TowerSettings(method, epochs=4, chunk=chunk, peak_rate=1e-3, hard_negatives=1, precision="fp32")
    return TrainingRun(trainable, small_pixels(14), texts, settings)


def test_model_is_trained_on_all_devices_that_its_own_names(gpus: Gpu, tiny: str) -> None:
    assert len(training_run(tiny, "cuda").replicas) == gpus.count
    assert len(training_run(tiny, "cuda:1").replicas) == 1


@pytest.mark.parametrize(("method", "chunk"), [("lora", 2), ("full", 2), ("full", 64)])
def test_several_devices_give_the_gradient_of_one(gpus: Gpu, tiny: str, method: TowerMethod, chunk: int) -> None:
    """In several chunks a device, and in one. Of the second step: what LoRA adds begins with nothing."""
    alone, shared = training_run(tiny, "cuda:0", method, chunk), training_run(tiny, "cuda", method, chunk)
    for _ in range(2):
        assert shared.train_step() == pytest.approx(alone.train_step(), rel=1e-5)
    for name, parameter in shared.replicas.first.parameters.items():
        expected = alone.replicas.first.parameters[name].grad
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, expected, atol=1e-5, rtol=1e-3)
        for other in shared.replicas.all[1:]:
            assert other.parameters[name].grad is None, "left over, it would count twice"
            assert torch.equal(other.parameters[name].cpu(), parameter.cpu()), "the weights of all are equal"


def test_each_device_encodes_its_share(gpus: Gpu, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: dict[int, list[int]] = {}
    run = training_run(tiny, "cuda", chunk=64)
    for number, replica in enumerate(run.replicas.all):
        encode, counts = replica.trainable.model.encode_image, encoded.setdefault(number, [])

        def counted(pixels: Any, encode: Any = encode, counts: list[int] = counts) -> Any:
            if torch.is_grad_enabled():
                counts.append(len(pixels))
            return encode(pixels)

        monkeypatch.setattr(replica.trainable.model, "encode_image", counted)
    run.train_step()
    share = -(-14 // gpus.count)
    assert [sum(counts) for counts in encoded.values()] == [share] * (gpus.count - 1) + [14 - share * (gpus.count - 1)]


def test_run_that_goes_on_has_its_weights_on_all_devices(gpus: Gpu, tiny: str, tmp_path: Path) -> None:
    first = training_run(tiny, "cuda")
    first.train_step()
    write_checkpoint(tmp_path / "checkpoint", first.checkpoint())
    again = training_run(tiny, "cuda")
    found = read_checkpoint(tmp_path / "checkpoint", again.digest)
    assert found is not None
    again.restore(found)
    assert again.train_step() == pytest.approx(first.train_step(), rel=1e-5)
    for name, parameter in again.replicas.first.parameters.items():
        for other in again.replicas.all[1:]:
            assert torch.equal(other.parameters[name].cpu(), parameter.cpu())
