"""`finetune --lora` and `--full`: on pictures of a gallery, to a model that is taken wherever a model is."""

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from mmsearch import encoders
from mmsearch.cli import make_app
from mmsearch.embedding import EmbedOptions, embed
from mmsearch.errors import StoreError, TrainingError
from mmsearch.training.checkpoints import Checkpoint, write_checkpoint
from mmsearch.training.finetune_run import finetune
from mmsearch.training.guards import ALPHAS
from mmsearch.training.pixel_file import decode_pictures
from mmsearch.training.records import FinetuneOptions
from mmsearch.training.trainable_model import open_trainable_model
from tests.models import write_tiny_model
from tests.test_tower_training import SMALL

COLOURS = {"red": (220, 20, 20), "green": (20, 200, 30), "blue": (30, 30, 230), "white": (240, 240, 240)}
SHAPES = ("box", "line")


def write_pictures(folder: Path, count: int) -> Path:
    """Pictures of one colour above and one below; returns a file of captions that say which."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    names, lines = list(COLOURS), ["image,caption"]
    for number in range(count):
        top, bottom = rng.choice(names), rng.choice(names)
        pixels = np.concatenate([np.full((16, 32, 3), COLOURS[top]), np.full((16, 32, 3), COLOURS[bottom])])
        noisy = np.clip(pixels + rng.integers(-15, 16, pixels.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:03d}.png")
        lines += [f"{number:03d}.png,{top} over {bottom}", f"{number:03d}.png,the {top} {SHAPES[number % 2]}"]
    captions = folder.parent / "captions.csv"
    captions.write_text("\n".join(lines) + "\n")
    return captions


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, a gallery of them by a tiny model, and that model."""
    folder = tmp_path_factory.mktemp("taught")
    model = write_tiny_model(folder / "model", model=SMALL)
    captions = write_pictures(folder / "pictures", 60)
    options = EmbedOptions(device="cpu")
    embed([folder / "pictures"], captions=[captions], gallery=folder / "gallery", encoder=f"local-dir:{model}",
          options=options)  # fmt: skip
    return folder


@pytest.mark.parametrize("method", ["lora", pytest.param("full", marks=pytest.mark.soak)])
def test_both_towers_are_taught_and_the_model_is_one(taught: Path, tmp_path: Path, method: str) -> None:
    options = FinetuneOptions(method, epochs=4, batch=16, chunk=6, rate=5e-3, hard_negatives=1, device="cpu")  # type: ignore[arg-type]
    report = finetune(tmp_path / "out", gallery=taught / "gallery", options=options)
    assert report.log.losses[-1] < report.log.losses[0]
    assert report.counts["training"][0] > report.counts["held_out"][0] > report.counts["validation"][0] > 0
    assert [point.alpha for point in report.curve] == [*ALPHAS]
    assert not (tmp_path / ".out.training").exists()
    assert (report.out is None) == (report.alpha == 0)
    if report.out is not None:
        before = encoders.open(f"local-dir:{taught / 'model'}", device="cpu")
        after = encoders.open(f"local-dir:{report.out}", device="cpu")
        assert after.identity.fingerprint != before.identity.fingerprint
        picture = before.image.prepare(Image.open(taught / "pictures" / "000.png"))[None]
        assert not np.allclose(before.image.encode(picture), after.image.encode(picture), atol=1e-3)


def test_pictures_that_cannot_be_decoded_are_left_out_and_named(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 3)
    (tmp_path / "pictures" / "001.png").write_bytes(b"no picture")
    files = [str(tmp_path / "pictures" / f"{number:03d}.png") for number in (*range(3), 7)]
    fast = open_trainable_model("demo", device="cpu").preprocessing
    decoded = decode_pictures(files, fast, tmp_path / "pixels.npy", threads=2)
    assert decoded.rows == {files[0]: 0, files[2]: 1}
    assert [file for file, _ in decoded.skipped] == [files[1], files[3]]
    assert decoded.skipped[1][1] == "No such file or directory"
    expected = fast.fit(Image.open(files[2]).convert("RGB"))
    np.testing.assert_array_equal(decoded.pixels[decoded.of([files[2]])[0]], expected)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file can grow beyond 4 KiB: a disk that is full, as a process sees it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_an_error_and_no_dead_process(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    fast = open_trainable_model("demo", device="cpu").preprocessing
    with pytest.raises(OSError, match="File too large"):
        decode_pictures([str(tmp_path / "red.png")], fast, tmp_path / "pixels", threads=1)
    checkpoint = Checkpoint("run", 1, "{}", {"weight": torch.zeros(100_000)})
    with pytest.raises(StoreError, match=r"cannot write the checkpoint .*the same command goes on from the one before"):
        write_checkpoint(tmp_path / "checkpoint.safetensors", checkpoint)
    assert {each.name for each in tmp_path.iterdir()} == {"red.png", "pixels"}


def test_a_gallery_whose_pictures_are_gone_teaches_no_towers(taught: Path, tmp_path: Path) -> None:
    (taught / "pictures").rename(taught / "elsewhere")
    try:
        with pytest.raises(TrainingError, match=r"60 of 60 pictures cannot be decoded, among them .*No such file"):
            finetune(tmp_path / "out", gallery=taught / "gallery", options=FinetuneOptions("lora", device="cpu"))
    finally:
        (taught / "elsewhere").rename(taught / "pictures")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--lora", "--full"], "give one of them"),
        (["--chunk", "8"], "is for --lora and --full"),
        (["--lora", "--epochs", "0"], "is for --text-only"),
    ],
)
def test_options_that_do_not_go_together_are_refused_at_once(given: list[str], said: str) -> None:
    done = CliRunner().invoke(make_app(["finetune"]), ["finetune", "--out", "new", *given])
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())
