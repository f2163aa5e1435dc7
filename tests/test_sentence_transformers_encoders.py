"""Models of sentence-transformers that take pictures: as good as by hand, refused where not harmless, and usable."""

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmsearch import encoders
from mmsearch.encoders import Encoder
from mmsearch.encoders.contract import check_encoder
from mmsearch.errors import EncoderError
from tests.conftest import Command
from tests.hub_models import pictures, write_card, write_seeing_model, written_once

KINDS = ["CLIP", "Qwen3-VL"]
TEXTS = ["a red bicycle leans against a wall", "two dogs", "rain", "a long walk through the rain " * 40]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No network, and one thread: models as tiny as these only wait for more."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Where a tiny model of a kind lies; written once."""
    return written_once(write_seeing_model, tmp_path_factory.mktemp("models"))


@pytest.fixture
def clip(folder_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a tiny CLIP that a test may change."""
    return shutil.copytree(folder_of("CLIP"), tmp_path / "clip")


def load(folder: Path, **options: Any) -> Encoder:
    return encoders.open(f"st:{folder}", device="cpu", announce=lambda _: None, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_each_keeps_to_the_contract(folder_of: Callable[[str], Path], kind: str) -> None:
    check_encoder(load(folder_of(kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_those_of_sentence_transformers(
    folder_of: Callable[[str], Path], kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of pictures of every shape, in one batch and alone, and of texts that are too long."""
    from sentence_transformers import SentenceTransformer

    encoder, by_hand = load(folder_of(kind)), SentenceTransformer(str(folder_of(kind)), device="cpu")
    side = encoder.image
    expected = by_hand.encode(pictures(), normalize_embeddings=True)
    prepared = [side.prepare(picture) for picture in pictures()]
    assert np.abs(side.encode(side.stack(prepared)) - expected).max() < 1e-5
    assert np.abs(np.concatenate([side.encode(side.stack([one])) for one in prepared]) - expected).max() < 1e-5
    assert np.abs(side.encode_reference(np.asarray(side.stack(prepared), np.float32)) - expected).max() < 1e-5
    capfd.readouterr()
    encoded = encoder.text.encode(TEXTS)
    assert capfd.readouterr().err == ""  # hints for who trains are none for who searches
    assert np.abs(encoded.vectors - by_hand.encode(TEXTS, normalize_embeddings=True)).max() < 1e-5
    assert encoded.truncated.tolist() == [False, False, False, True]


def test_a_prompt_that_a_model_has_by_default_counts(clip: Path) -> None:
    from sentence_transformers import SentenceTransformer

    plain = load(clip)
    settings = json.loads((clip / "config_sentence_transformers.json").read_text())
    settings |= {"prompts": {"photo": "a photo of "}, "default_prompt_name": "photo"}
    (clip / "config_sentence_transformers.json").write_text(json.dumps(settings))
    prompted = load(clip)
    assert prompted.identity.fingerprint != plain.identity.fingerprint
    vectors = prompted.text.encode(["two dogs"]).vectors
    assert np.abs(vectors - plain.text.encode(["a photo of two dogs"]).vectors).max() < 1e-6
    by_hand = SentenceTransformer(str(clip), device="cpu").encode(["two dogs"], normalize_embeddings=True)
    assert np.abs(vectors - by_hand).max() < 1e-5


def test_dual_encoders_are_hurried(folder_of: Callable[[str], Path]) -> None:
    side = load(folder_of("CLIP")).image
    assert side.fast is not None
    assert side.size == (32, 32)
    assert load(folder_of("Qwen3-VL")).image.fast is None


@pytest.mark.parametrize("kind", KINDS)
def test_lanes_work_at_the_same_time(folder_of: Callable[[str], Path], kind: str) -> None:
    encoder = load(folder_of(kind))
    side = encoder.image
    with ThreadPoolExecutor(4) as pool:
        pixels = [side.stack([one]) for one in pool.map(side.prepare, pictures())]
        expected = np.concatenate([side.encode(one) for one in pixels])
        with side.lanes(4) as lanes:
            for _ in range(3):
                encoded = list(pool.map(lambda both: both[0](both[1]).vectors, zip(lanes, pixels, strict=True)))
                assert np.abs(np.concatenate(encoded) - expected).max() < 1e-5
        texts = list(pool.map(lambda text: encoder.text.encode([text]).vectors, TEXTS * 2))
        assert np.abs(np.concatenate(texts[:4]) - np.concatenate(texts[4:])).max() < 1e-6


def test_memory_that_runs_out_halves_the_batch(folder_of: Callable[[str], Path]) -> None:
    encoder: Any = load(folder_of("Qwen3-VL"))
    pixels = encoder.image.stack([encoder.image.prepare(picture) for picture in pictures()])
    expected = encoder.image.encode(pixels)
    encode, sizes = encoder.image._lane.encode_image, []

    def with_little_memory(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.cuda.OutOfMemoryError("out of memory")
        result: torch.Tensor = encode(batch)
        return result

    encoder.image._lane.encode_image = with_little_memory
    assert np.abs(encoder.image.encode(pixels) - expected).max() < 1e-5
    assert sizes == [4, 2, 1, 1, 1, 1]


def test_bf16_is_near(folder_of: Callable[[str], Path]) -> None:
    exact, near = (load(folder_of("Qwen3-VL"), precision=precision) for precision in ("fp32", "bf16"))
    pixels = exact.image.stack([exact.image.prepare(picture) for picture in pictures()])
    assert (exact.image.encode(pixels) * near.image.encode(pixels)).sum(axis=1).min() > 0.99
    with pytest.raises(EncoderError, match="has no image tower of its own that could be quantised to int8"):
        load(folder_of("CLIP"), precision="int8")


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_module_that_is_not_the_packages_own_is_refused(clip: Path) -> None:
    (clip / "own.py").write_text("raise SystemExit('ran')")
    modules = json.loads((clip / "modules.json").read_text())
    for kind in ("own.Model", "os.path.join", "sentence_transformers.sentence_transformer.modules.WordEmbeddings"):
        modules[0]["type"] = kind
        (clip / "modules.json").write_text(json.dumps(modules))
        with pytest.raises(EncoderError, match=r"made of a module that is not used here \(" + kind):
            load(clip)
    for wrong in ("{}", "[]", "[1]"):
        (clip / "modules.json").write_text(wrong)
        with pytest.raises(EncoderError, match="holds no list of modules"):
            load(clip)


def test_code_and_pickles_are_refused(clip: Path) -> None:
    (clip / "1_Dense/model.safetensors").rename(clip / "1_Dense/pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"only as a pickle \(1_Dense/pytorch_model.bin\)"):
        load(clip)
    (clip / "1_Dense/pytorch_model.bin").unlink()
    with pytest.raises(EncoderError, match=r"has no 1_Dense/model\.safetensors"):
        load(clip)
    settings = json.loads((clip / "config.json").read_text())
    (clip / "config.json").write_text(json.dumps(settings | {"auto_map": {"AutoModel": "own.Model"}}))
    with pytest.raises(EncoderError, match="asks for code of its own"):
        load(clip)


def test_a_model_that_takes_no_pictures_is_refused(folder_of: Callable[[str], Path]) -> None:
    with pytest.raises(EncoderError, match="takes text, and no pictures"):
        load(folder_of("BERT"))


def test_a_model_that_lacks_weights_is_no_model(clip: Path) -> None:
    from safetensors import numpy as tensors

    weights = tensors.load_file(clip / "model.safetensors")
    del weights["text_projection.weight"]
    tensors.save_file(weights, clip / "model.safetensors", {"format": "pt"})
    with pytest.raises(EncoderError, match=r"are not all that .* has: text_projection.weight"):
        load(clip)


def test_a_missing_package_names_the_extra(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sentence_transformers" else find(name)
    )
    with pytest.raises(EncoderError, match=r'sentence-transformers: pip install "mmsearch\[sentence-transformers\]"'):
        load(clip)


def test_a_folder_of_transformers_alone_is_refused(tmp_path: Path) -> None:
    """It does not say how tokens become one vector."""
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EncoderError, match=r"has no modules.json"):
        load(tmp_path)


# --- usable -----------------------------------------------------------------------------------------------------------


def test_every_command_works_with_it(
    folder_of: Callable[[str], Path], photos: Path, tmp_path: Path, command_line: Command
) -> None:
    """Pictures that become patches of different numbers, too."""
    model = shutil.copytree(folder_of("Qwen3-VL"), tmp_path / "qwen")
    write_card(model, "apache-2.0")
    Image.new("RGB", (200, 40), "red").save(photos / "wide.png")
    gallery, captions = tmp_path / "g", tmp_path / "captions.txt"
    captions.write_text("a red bicycle\ntwo dogs in the rain\n")
    done = command_line("embed", photos, "--captions", captions, "--model", f"st:{model}", "-g", gallery)
    assert done.code == 0, done.err
    assert f"licence of the weights of st:{model}: apache-2.0" in done.err
    for question, best in (
        (("--image", photos / "wide.png"), "wide.png"),
        (("two dogs in the rain", "--in", "captions"), "two dogs in the rain"),
    ):
        done = command_line("query", *question, "-k", "1", "-g", gallery, "--format", "jsonl")
        assert done.code == 0, done.err
        hit = json.loads(done.out)
        assert best in (hit.get("caption"), hit.get("path"))
        assert hit["score"] > 0.9999
    assert command_line("index", "-g", gallery).code == 0
    assert "licence   of its weights: apache-2.0" in command_line("info", "-g", gallery).out
    done = command_line("embed", photos, "--model", f"st:{model}", "-g", tmp_path / "other", "--dry-run")
    assert (done.code, "Traceback" in done.err) == (0, False), done.err
