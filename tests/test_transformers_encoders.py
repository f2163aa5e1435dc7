"""Dual encoders of transformers: as good as by hand, refused where they are not whole or not harmless, and usable."""

import importlib.util
import io
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mmsearch import encoders, images
from mmsearch.encoders import Encoder
from mmsearch.encoders.contract import check_encoder
from mmsearch.encoders.declared import declared_encoder
from mmsearch.encoders.model_folders import no_downloads
from mmsearch.errors import EncoderError
from mmsearch.gallery import Gallery
from tests.conftest import Command
from tests.fakes import write_picture
from tests.hub_models import DUAL_ENCODERS, pictures, write_card, write_dual_encoder, written_once
from tests.servers import running

KINDS = list(DUAL_ENCODERS)
TEXTS = ["a red bicycle leans against a wall", "two dogs", "rain", "a long walk through the rain " * 40, ""]
# What the documentation of transformers asks of who calls their processor.
PLAIN_PADDING: dict[str, dict[str, Any]] = {
    "SigLIP": {"padding": "max_length", "max_length": 64},
    "SigLIP2": {"padding": "max_length", "max_length": 64},
    "ALIGN": {},
}


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # models as tiny as these only wait for more
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Where a tiny model of a kind lies; written once."""
    return written_once(write_dual_encoder, tmp_path_factory.mktemp("models"))


@pytest.fixture
def clip(folder_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a tiny CLIP that a test may change."""
    return shutil.copytree(folder_of("CLIP"), tmp_path / "clip")


def load(folder: Path, **options: Any) -> Encoder:
    return encoders.open(f"hf:{folder}", device="cpu", announce=lambda _: None, **options)


class ByHand:
    """The way of the documentation: AutoProcessor and AutoModel."""

    def __init__(self, folder: Path) -> None:
        import transformers

        hf: Any = transformers
        self.processor = hf.AutoProcessor.from_pretrained(folder)
        self.model = hf.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()

    def images(self, pictures: list[Image.Image]) -> NDArray[np.float32]:
        with torch.no_grad():
            output = self.model.get_image_features(**self.processor(images=pictures, return_tensors="pt"))
        return unit(output)

    def texts(self, texts: list[str], **padding: Any) -> NDArray[np.float32]:
        with torch.no_grad():
            tokens = self.processor(text=texts, truncation=True, return_tensors="pt", **padding)
            output = self.model.get_text_features(**tokens)
        return unit(output)


def unit(output: Any) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = torch.nn.functional.normalize(output.pooler_output).numpy()
    return vectors


# --- as good as by hand -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_each_keeps_to_the_contract(folder_of: Callable[[str], Path], kind: str) -> None:
    check_encoder(load(folder_of(kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_transformers(folder_of: Callable[[str], Path], kind: str) -> None:
    """Of pictures of every shape, and of texts that are too long."""
    encoder, by_hand = load(folder_of(kind)), ByHand(folder_of(kind))
    expected = by_hand.images(pictures())
    pixels = np.stack([encoder.image.prepare(picture) for picture in pictures()])
    assert np.abs(encoder.image.encode(pixels) - expected).max() < 1e-5
    assert np.abs(encoder.image.encode_reference(pixels) - expected).max() < 1e-5
    encoded = encoder.text.encode(TEXTS)
    expected = by_hand.texts(TEXTS, **PLAIN_PADDING.get(kind, {"padding": True}))
    assert np.abs(encoded.vectors - expected).max() < 1e-5
    alone = encoder.text.encode(TEXTS[1:3]).vectors
    assert np.abs(alone - expected[1:3]).max() < 1e-5
    assert encoded.truncated.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_hurried_where_that_is_the_same(folder_of: Callable[[str], Path], kind: str) -> None:
    """In 8 bits, normalised on the device: for all processors that resize and crop to one size."""
    side = load(folder_of(kind)).image
    if kind == "SigLIP2":
        assert (side.fast, side.size) == (None, None)
        return
    assert side.fast is not None
    assert side.size == (32, 32)
    fitted = np.stack([side.fast.fit(picture) for picture in pictures()])
    exact = np.stack([side.prepare(picture) for picture in pictures()])
    assert max(side.fast.error(*both) for both in zip(fitted, exact, strict=True)) < 0.5
    assert (side.encode(fitted) * side.encode(exact)).sum(axis=1).min() > 0.9999


def test_real_photos_are_upright_and_as_by_hand(
    folder_of: Callable[[str], Path], shared_data: Path, tmp_path: Path
) -> None:
    """Stored as a camera holds it, with an orientation, too."""
    photos = sorted((shared_data / "coco_val2017").rglob("*.jpg"))[:6]
    assert len(photos) == 6
    turned = Image.Exif()
    turned[0x0112] = 6
    with Image.open(photos[0]) as picture:
        picture.save(tmp_path / "turned.jpg", exif=turned, quality=95)
    files = [file.read_bytes() for file in (*photos, tmp_path / "turned.jpg")]
    upright = [ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB") for data in files]
    assert upright[-1].size == upright[0].size[::-1]
    for kind in ("CLIP", "SigLIP"):
        side = load(folder_of(kind)).image
        pixels = np.stack([side.prepare(images.decode(data).image) for data in files])
        expected = ByHand(folder_of(kind)).images(upright)
        assert np.abs(side.encode(pixels) - expected).max() < 1e-5


def test_a_text_that_just_fits_is_not_cut(clip: Path) -> None:
    """77 tokens, of which two are the beginning and the end; each letter is one here."""
    encoded = load(clip).text.encode(["x" * 75, "x" * 76, "x" * 75 + "y"])
    assert encoded.truncated.tolist() == [False, True, True]
    assert np.abs(encoded.vectors[1] - encoded.vectors[2]).max() < 1e-6


def test_half_a_character_is_a_text_too(clip: Path) -> None:
    (vector,) = load(clip).text.encode(["caf\udce9"]).vectors
    assert np.isfinite(vector).all()


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_precisions_keep_to_the_contract(folder_of: Callable[[str], Path], precision: str) -> None:
    encoder = load(folder_of("CLIP"), precision=precision)
    assert encoder.precision == precision
    check_encoder(encoder)


def test_int8_is_refused_where_nothing_would_be_gained(folder_of: Callable[[str], Path]) -> None:
    with pytest.raises(EncoderError, match="int8 is for transformers; this model's image tower has nothing to gain"):
        load(folder_of("ALIGN"), precision="int8")


@pytest.mark.parametrize("kind", ["CLIP", "SigLIP2"])
def test_memory_that_runs_out_halves_the_batch(folder_of: Callable[[str], Path], kind: str) -> None:
    encoder: Any = load(folder_of(kind))
    pixels = np.stack([encoder.image.prepare(picture) for picture in pictures()])
    expected = encoder.image.encode(pixels)
    encode, sizes = encoder.image._lane.encode_image, []

    def with_little_memory(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.cuda.OutOfMemoryError("out of memory")
        result: torch.Tensor = encode(batch)
        return result

    encoder.image._lane.encode_image = with_little_memory
    assert np.abs(encoder.image.encode(pixels) - expected).max() < 1e-6
    assert sizes == [4, 2, 1, 1, 1, 1]


@pytest.mark.parametrize("kind", ["CLIP", "SigLIP2"])
def test_lanes_work_at_the_same_time(folder_of: Callable[[str], Path], kind: str) -> None:
    side = load(folder_of(kind)).image
    pixels = [side.prepare(picture)[None] for picture in pictures()]
    expected = np.concatenate([side.encode(one) for one in pixels])
    with side.lanes(4) as lanes, ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            encoded = list(pool.map(lambda both: both[0](both[1]).vectors, zip(lanes, pixels, strict=True)))
            assert np.abs(np.concatenate(encoded) - expected).max() < 1e-5


# --- which encoder ----------------------------------------------------------------------------------------------------


def test_the_fingerprint_covers_weights_processor_and_tokenizer(clip: Path, tmp_path: Path) -> None:
    """And not where they lie, nor who wrote them."""
    known = load(clip).identity
    assert load(shutil.copytree(clip, tmp_path / "moved")).identity.fingerprint == known.fingerprint
    change_settings(clip, "config.json", transformers_version="9.9")
    assert load(clip).identity.fingerprint == known.fingerprint
    seen = {known.fingerprint}
    changes: list[Callable[[], None]] = [
        lambda: change_settings(clip, processor_file(clip), mean=0.4),
        lambda: change_settings(clip, "tokenizer_config.json", padding_side="left"),
        lambda: change_settings(clip, "tokenizer.json", normalizer={"type": "Lowercase"}),
        lambda: change_settings(clip, "config.json", initializer_factor=2.0),
        lambda: write_weights_anew(clip),
    ]
    for change in changes:
        change()
        seen.add(load(clip).identity.fingerprint)
    assert len(seen) == 6


def change_settings(folder: Path, name: str, *, mean: float | None = None, **changed: object) -> None:
    settings = json.loads((folder / name).read_text())
    if mean is not None:
        settings.get("image_processor", settings)["image_mean"] = [mean] * 3
    (folder / name).write_text(json.dumps(settings | changed))


def processor_file(folder: Path) -> str:
    return next(name for name in ("processor_config.json", "preprocessor_config.json") if (folder / name).is_file())


def write_weights_anew(folder: Path) -> None:
    other = write_dual_encoder(folder.parent / "other", "CLIP", seed=1)
    shutil.copy(other / "model.safetensors", folder)


def test_vectors_can_be_declared_as_those_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    identity = declared_encoder("hf:./model", 24)
    assert (identity.spec, identity.fingerprint) == (f"hf:{tmp_path}/model", f"declared:hf:{tmp_path}/model")
    assert encoders.canonical_spec("hf:org/name") == "hf:org/name"


# --- what is refused --------------------------------------------------------------------------------------------------


def test_code_of_a_model_is_never_run(clip: Path) -> None:
    (clip / "own.py").write_text("raise SystemExit('ran')")
    change_settings(clip, "config.json", auto_map={"AutoModel": "own.Model"})
    with pytest.raises(EncoderError, match="asks for code of its own"):
        load(clip)


def test_a_model_that_lacks_weights_is_no_model(clip: Path) -> None:
    from safetensors import numpy as tensors

    weights = tensors.load_file(clip / "model.safetensors")
    del weights["text_projection.weight"]
    tensors.save_file(weights, clip / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match=r"are not all that .* has: text_projection.weight are missing"):
        load(clip)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda folder: change_settings(folder, "config.json", model_type="no-such"),
            "transformers cannot load .*no-such",
        ),
        (lambda folder: change_settings(folder, "config.json", model_type="bert"), "is a BertModel, which gives no"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"not tensors"), "the weights in .* do not fit"),
        (lambda folder: change_settings(folder, "config.json", projection_dim=7), "the weights in .* do not fit"),
    ],
)
def test_what_is_wrong_with_a_model_is_one_line(clip: Path, change: Callable[[Path], None], says: str) -> None:
    change(clip)
    with pytest.raises(EncoderError, match=says) as caught:
        load(clip)
    assert "\n" not in str(caught.value)


def test_a_missing_package_names_the_extra(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name))
    with pytest.raises(EncoderError, match=r'needs the package transformers: pip install "mmsearch\[transformers\]"'):
        load(clip)


def test_without_a_network_a_repository_is_an_error_that_says_what_to_do(command_line: Command, photos: Path) -> None:
    done = command_line("embed", photos, "--model", "hf:kakaobrain/align-base")
    assert done.code == 1
    assert "cannot get https://huggingface.co/kakaobrain/align-base: HF_HUB_OFFLINE is set" in done.err
    assert "hf:/path/to/folder" in done.err
    assert "Traceback" not in done.err


def test_loading_asks_no_network(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it reaches for a network"))
    load(clip)
    with no_downloads():
        assert constants.is_offline_mode()


# --- usable -----------------------------------------------------------------------------------------------------------


def test_every_command_works_with_it(clip: Path, photos: Path, tmp_path: Path, command_line: Command) -> None:
    """embed, query with words and with a picture, info, index, eval and serve."""
    write_card(clip, "mit")
    gallery, captions = tmp_path / "g", tmp_path / "captions.txt"
    captions.write_text("a red bicycle\ntwo dogs in the rain\n")
    done = command_line("embed", photos, "--captions", captions, "--model", f"hf:{clip}", "-g", gallery)
    assert done.code == 0, done.err
    assert f"licence of the weights of hf:{clip}: mit" in done.err
    assert f"encoding with hf:{clip} on cpu, fp32" in done.err
    for question, best in (
        (("--image", photos / "red.png"), "red.png"),
        (("two dogs in the rain", "--in", "captions"), "two dogs in the rain"),
    ):
        done = command_line("query", *question, "-k", "1", "-g", gallery, "--format", "jsonl")
        assert done.code == 0, done.err
        hit = json.loads(done.out)
        assert best in (hit.get("caption"), hit.get("path"))
        assert hit["score"] > 0.9999
        assert done.err == ""
    assert command_line("index", "-g", gallery).code == 0
    done = command_line("info", "-g", gallery)
    assert "licence   of its weights: mit" in done.out
    assert json.loads(command_line("info", "-g", gallery, "--format", "json").out)["licence"] == "mit"
    with running(gallery, encoder=None) as server:
        answer = server.post("/api/query", {"parts": [{"text": "two dogs"}], "k": 2}).json()
        assert len(answer["hits"]) == 2


def test_it_is_evaluated(folder_of: Callable[[str], Path], photos: Path, tmp_path: Path, command_line: Command) -> None:
    names = sorted(file.name for file in photos.glob("*.png"))
    said = [[{"raw": f"{name} {number}"} for number in range(2)] for name in names]
    pairs = [{"filename": name, "sentences": each, "split": "test"} for name, each in zip(names, said, strict=True)]
    (tmp_path / "pairs.json").write_text(json.dumps({"images": pairs}))
    arguments = ("--images", photos, "--annotations", tmp_path / "pairs.json", "--model", f"hf:{folder_of('SigLIP2')}")
    done = command_line("eval", "custom", *arguments)
    assert done.code == 0, done.err
    assert "text_to_image" in done.out


def test_a_gallery_knows_its_model_again(clip: Path, photos: Path, tmp_path: Path, command_line: Command) -> None:
    """Without --model it is loaded from where it lay; another in its place is refused."""
    gallery = tmp_path / "g"
    assert command_line("embed", photos, "--model", f"hf:{clip}", "-g", gallery).code == 0
    assert Gallery.open(gallery).manifest.encoder.spec == f"hf:{clip}"
    write_picture(photos / "new.png", "red", seed=12)
    done = command_line("embed", photos, "-g", gallery)
    assert (done.code, "1 added" in done.out) == (0, True), done.err
    write_weights_anew(clip)
    done = command_line("query", "a dog", "-g", gallery)
    assert (done.code, "vectors of two models cannot be compared" in done.err) == (1, True)
