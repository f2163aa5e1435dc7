"""Encoders: the right model, exactly open_clip's numbers, and errors that say what to do."""

import json
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import tokenizers
import torch
from PIL import Image

from mmsearch import encoders
from mmsearch.encoders import DEFAULT_MODEL, Encoder
from mmsearch.encoders import fingerprint as fingerprints
from mmsearch.encoders import hub as hub_module
from mmsearch.encoders import open_clip_encoder as implementation
from mmsearch.encoders.devices import autocast, choose_device, choose_precision, exact_fp32
from mmsearch.encoders.lanes import Lane
from mmsearch.encoders.sources import resolve, resolve_tagged
from mmsearch.encoders.specs import CheckpointFile, HubModel, LocalModel, Tagged, architectures, parse_spec
from mmsearch.errors import EncoderError
from tests.models import PREPROCESS, TINY_MODEL, write_tiny_model

CAPTIONS = [
    "a dog",
    "A black dog is running along the beach , and a child in a red coat throws it a stick .",
    "",
    "Käse & Wein — 日本語 😀 &amp; Ã©",
    "two",
    "word " * 100,
    "a photo of a mountain at sunset",
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the cache of the person who runs it."""
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, for tests that change it."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def load(folder: Path, **options: Any) -> Encoder:
    return encoders.open(f"local-dir:{folder}", device="cpu", **options)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "open_clip_config.json").read_text())
    change(config)
    (folder / "open_clip_config.json").write_text(json.dumps(config))


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (50, 70, 3), dtype=np.uint8))


def reference(folder: Path) -> tuple[Any, Any, Any]:
    """open_clip's own model, validation transform and tokenizer."""
    name = f"local-dir:{folder}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    return model.eval(), transform, open_clip.get_tokenizer(name)


# --- the numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"quick_gelu": True},
        {"custom_text": True},
        # As SigLIP's: every token sees every other and the last one speaks, so that padding counts.
        {"custom_text": True, "text_cfg": {"no_causal_mask": True, "pool_type": "last", "context_length": 16}},
        {"custom_text": True, "text_cfg": {"no_causal_mask": True, "context_length": 32}},  # as CLIPA's
        {"custom_text": True, "text_cfg": {"proj_bias": True, "context_length": 32}},
        {"text_cfg": {"pool_type": "eos", "eos_id": 49407}},  # as MetaCLIP 2's
    ],
    ids=["CLIP", "QuickGELU", "CustomTextCLIP", "bidirectional", "CLIPA", "biased projection", "eos"],
)
def test_vectors_equal_open_clips(overrides: dict[str, Any], tmp_path: Path) -> None:
    """Loading without random initialisation, sorting by length and cutting to the longest must change nothing."""
    folder = write_tiny_model(tmp_path / "model", model=overrides)
    encoder = load(folder)
    model, transform, tokenizer = reference(folder)
    pixels = np.stack([encoder.image.prepare(picture(seed)) for seed in range(3)])
    with torch.no_grad():
        images = model.encode_image(torch.stack([transform(picture(seed)) for seed in range(3)]), normalize=True)
        texts = model.encode_text(tokenizer(CAPTIONS), normalize=True)
    assert np.abs(encoder.image.encode(pixels) - images.numpy()).max() <= 1e-6
    assert np.abs(encoder.text.encode(CAPTIONS).vectors - texts.numpy()).max() <= 1e-6


def test_preprocessing_is_the_checkpoints_own(model: Path) -> None:
    """Mean, std, interpolation and resize mode come from the config, bit for bit through open_clip's transform."""
    other = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear", "resize_mode": "squash"}
    edit(model, lambda config: config.update(preprocess_cfg=other))
    encoder, (_, transform, _) = load(model), reference(model)
    pixels = encoder.image.prepare(picture())
    assert pixels.dtype == np.float32
    assert pixels.shape == (3, 32, 32)
    assert np.array_equal(pixels, transform(picture()).numpy())


def test_vectors_are_normalised_float32_in_the_order_given(tiny: Path) -> None:
    """Sorting by length is undone, no texts and no images are no error, and read-only pixels are taken."""
    encoder = load(tiny)
    together = encoder.text.encode(CAPTIONS).vectors
    for row, caption in enumerate(CAPTIONS):
        assert np.abs(encoder.text.encode([caption]).vectors[0] - together[row]).max() < 1e-6
    pixels = np.stack([encoder.image.prepare(picture(seed)) for seed in range(5)])
    pixels.flags.writeable = False
    images = encoder.image.encode(pixels)
    for vectors in (together, images):
        assert vectors.dtype == np.float32
        assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    assert encoder.text.encode([]).vectors.shape == encoder.image.encode(pixels[:0]).shape == (0, 32)
    assert encoder.text.encode([]).truncated.shape == (0,)


def test_many_texts_pass_in_bounded_blocks(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and batches smaller than the input must join without a seam."""
    encoder = load(tiny)
    texts = [f"{'very ' * (number % 9)}old photo {number}" for number in range(50)]
    whole = encoder.text.encode(texts)
    monkeypatch.setattr(implementation, "_TEXT_BLOCK", 16)
    monkeypatch.setattr(implementation, "_TEXT_BATCH", {"cpu": 5})
    pieces = encoder.text.encode(texts)
    assert np.abs(whole.vectors - pieces.vectors).max() < 1e-6


def test_batches_of_texts_share_the_cores_of_a_cpu_and_no_operation() -> None:
    lane = Lane(lambda batch: batch, torch.device("cpu"), "fp32", None, "spec")
    batches = [torch.full((2, 3), float(number)) for number in range(1, 7)]
    at_the_same_time = threading.Barrier(2)
    seen: list[int] = []

    def encode(batch: torch.Tensor) -> torch.Tensor:
        at_the_same_time.wait(timeout=60)
        seen.append(torch.get_num_threads())
        return batch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = lane.run_each(batches, encode)
        after = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    assert (seen, after) == ([1] * 6, 2)
    unit = np.full((2, 3), 3**-0.5, np.float32)
    assert len(found) == 6
    assert all(np.allclose(vectors, unit) for vectors in found)
    assert lane.run_each([], encode) == []


def test_a_batch_that_fails_ends_the_work_and_gives_the_threads_back() -> None:
    lane = Lane(lambda batch: batch, torch.device("cpu"), "fp32", None, "spec")
    before = torch.get_num_threads()
    with pytest.raises(EncoderError, match="NaN"):
        lane.run_each([torch.full((1, 2), float("nan"))] * 4, lambda batch: batch)
    assert torch.get_num_threads() == before


def test_truncated_texts_are_reported(tiny: Path) -> None:
    """open_clip cuts silently. The context of 77 holds 75 tokens between start and end."""
    encoder = load(tiny)
    texts = ["dog " * 75, "dog " * 76, "dog", "dog " * 500]
    encoded = encoder.text.encode(texts)
    assert encoded.truncated.dtype == np.bool_
    assert encoded.truncated.tolist() == [False, True, False, True]
    assert np.abs(encoded.vectors[1] - encoded.vectors[0]).max() < 1e-6  # what was cut does not count


def test_short_texts_are_not_padded_where_that_is_exact(tiny: Path, tmp_path: Path) -> None:
    """The point of sorting: a causal tower sees matrices as long as their longest text, SigLIP's kind full ones."""
    widths: list[int] = []

    def record(module: object, arguments: tuple[torch.Tensor, ...]) -> None:
        widths.append(arguments[0].shape[1])

    bidirectional = {"custom_text": True, "text_cfg": {"no_causal_mask": True, "pool_type": "last"}}
    for folder, expected in ((tiny, 4), (write_tiny_model(tmp_path / "siglip", model=bidirectional), 77)):
        encoder = load(folder)
        inner: Any = encoder
        tower = getattr(inner.text._model, "text", inner.text._model)
        handle = tower.token_embedding.register_forward_pre_hook(record)
        encoder.text.encode(["a dog", "dog"])
        handle.remove()
        assert widths.pop() == expected


def test_autocast_precisions_stay_close(tiny: Path) -> None:
    """bf16 is selectable, computes something near, and still gives normalised float32."""
    exact, rough = load(tiny), load(tiny, precision="bf16")
    assert (exact.precision, rough.precision) == ("fp32", "bf16")
    assert exact.identity == rough.identity
    a, b = exact.text.encode(CAPTIONS).vectors, rough.text.encode(CAPTIONS).vectors
    assert b.dtype == np.float32
    assert 1e-6 < np.abs(a - b).max() < 0.05
    assert np.abs(np.linalg.norm(b, axis=1) - 1).max() < 1e-6


def test_vectors_that_are_no_numbers_are_an_error(model: Path) -> None:
    """NaN in a gallery would silently break every search after it."""
    from safetensors.numpy import load_file, save_file

    weights = model / "open_clip_model.safetensors"
    save_file({**load_file(weights), "visual.proj": np.full((64, 32), np.nan, dtype=np.float32)}, weights)
    encoder = load(model)
    with pytest.raises(EncoderError, match=r"NaN or infinity in fp32"):
        encoder.image.encode(np.zeros((1, 3, 32, 32), dtype=np.float32))


def test_memory_that_runs_out_halves_the_batch(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch too large for the GPU is no reason to stop; an item too large is."""
    encoder: Any = load(tiny)
    pixels = np.stack([encoder.image.prepare(picture(seed)) for seed in range(7)])
    expected = encoder.image.encode(pixels)
    encode, sizes, limit = encoder.image._lane.encode_image, [], 2

    def with_little_memory(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > limit:
            raise torch.cuda.OutOfMemoryError("out of memory")
        result: torch.Tensor = encode(batch)
        return result

    monkeypatch.setattr(encoder.image._lane, "encode_image", with_little_memory)
    assert np.abs(encoder.image.encode(pixels) - expected).max() < 1e-6
    assert sizes == [7, 4, 2, 2, 2, 1]
    sizes.clear()
    encoder.image.encode(pixels)
    assert sizes == [2, 2, 2, 1]  # it does not try again what did not fit
    limit = 0
    with pytest.raises(EncoderError, match="not enough free memory"):
        encoder.image.encode(pixels)


# --- activation, preprocessing and tokenizer by tag -------------------------------------------------------------------


def test_every_pair_has_its_tags_activation_and_preprocessing() -> None:
    """All pairs of the registry, by config alone. open_clip only warns where a tag and its architecture disagree on
    QuickGELU (several points of accuracy); here nothing warns and the tag wins."""
    from open_clip.pretrained import _PRETRAINED

    pairs = open_clip.list_pretrained()
    assert len(pairs) > 190
    disagreeing = []
    for arch, tag in pairs:
        entry = _PRETRAINED[arch][tag]
        resolved = resolve_tagged(arch, tag)
        assert resolved.spec == f"{arch}/{tag}"
        assert resolved.repo.count("/") == 1
        assert resolved.weight_names
        for key in ("mean", "std"):
            assert resolved.preprocess[key] == [float(value) for value in entry[key]], (arch, tag)
        for key in ("interpolation", "resize_mode"):
            assert resolved.preprocess[key] == entry[key], (arch, tag)
        if resolved.model_cfg["quick_gelu"] != entry.get("quick_gelu", False):
            disagreeing.append(f"{arch}/{tag}")
        if "siglip" in arch.lower():  # whose tokenizer open_clip would else choose by the name of the model
            assert resolved.model_cfg["text_cfg"]["hf_tokenizer_name"]
    # Trained from a config that says QuickGELU, by a tag that says nothing.
    assert disagreeing == ["roberta-ViT-B-32/laion2b_s12b_b32k"]


@pytest.mark.parametrize(("spec", "quick"), [("ViT-B-32/openai", True), ("ViT-B-32/laion2b_s34b_b79k", False)])
def test_the_resolved_activation_is_the_one_built(spec: str, quick: bool) -> None:
    """The config is what the model class reads, in both towers: one architecture, two tags, two activations."""
    from open_clip.transformer import QuickGELU

    with torch.device("meta"):
        model = open_clip.CLIP(**resolve_tagged(*spec.split("/")).model_cfg)
    activations = [m for m in model.modules() if isinstance(m, QuickGELU if quick else torch.nn.GELU)]
    assert len(activations) == 24  # 12 blocks a tower


def test_a_tagged_model_loads_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way of `ARCH/TAG`, with a small architecture in the place of a large one."""
    folder = write_tiny_model(tmp_path / "model", model={"quick_gelu": True})
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32", TINY_MODEL)
    asked: list[tuple[str, Sequence[str]]] = []

    def find(repo: str, names: Sequence[str], *, announce: object) -> Path:
        asked.append((repo, names))
        return folder / "open_clip_model.safetensors"

    monkeypatch.setattr("mmsearch.encoders.sources.hub_file", find)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder = encoders.open("ViT-B-32/OpenAI", device="cpu")
    assert asked == [
        ("timm/vit_base_patch32_clip_224.openai", ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"))
    ]
    assert encoder.identity.spec == "ViT-B-32/openai"
    # The same weights, activation, preprocessing and tokenizer, under another name.
    assert encoder.identity.fingerprint == load(folder).identity.fingerprint


# --- specs ------------------------------------------------------------------------------------------------------------


def test_specs_are_taken_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Paths become absolute, since a manifest outlives the folder it was made in."""
    monkeypatch.chdir(tmp_path)
    assert parse_spec(DEFAULT_MODEL) == Tagged("ViT-B-32", "laion2b_s34b_b79k")
    assert parse_spec("ViT-B-32-quickgelu/openai") == Tagged("ViT-B-32-quickgelu", "openai")
    assert parse_spec("hf-hub:org/name") == HubModel("org/name")
    assert parse_spec("local-dir:models/a") == LocalModel(tmp_path / "models/a", f"local-dir:{tmp_path}/models/a")
    for spec in ("RN50/run/epoch_3.pt", f"RN50/{tmp_path}/run/epoch_3.pt"):
        parsed = parse_spec(spec)
        assert parsed == CheckpointFile("RN50", tmp_path / "run/epoch_3.pt")
        assert parse_spec(parsed.spec) == parsed
    assert parse_spec("RN50/weights.safetensors") == CheckpointFile("RN50", tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("ViT-B-33/openai", "Close to it: ViT-B-32"),
        ("ViT-B/32", "Close to it: ViT-B-32"),
        ("vit-b-32/openai", "Close to it: ViT-B-32"),
        ("ViT-B-32:openai", "Close to it: ViT-B-32"),
        ("", "A model is ARCH/TAG"),
        ("ViT-B-32", "its weights have a tag. There is ViT-B-32/laion2b_s34b_b79k"),
        ("ViT-B-32/", "its weights have a tag"),
        ("ViT-B-32/laion2b_s34b", "There is ViT-B-32/laion2b_s34b_b79k"),
        ("ViT-S-16/openai", "no pretrained weights for ViT-S-16"),
        ("hf-hub:name", "hf-hub:org/name"),
        ("local-dir:", "local-dir:PATH"),
        ("local-dir:/no/such/folder", "there is no such folder"),
        ("RN50/no/such.pt", "there is no file"),
    ],
)
def test_a_wrong_spec_names_what_is_close(spec: str, says: str) -> None:
    """Each slip that people make, answered by what they meant."""
    with pytest.raises(EncoderError) as caught:
        encoders.open(spec)
    assert says in str(caught.value)


def test_architectures_are_open_clips() -> None:
    """They are read from file names to save an import; the names must be those that open_clip takes."""
    assert set(open_clip.list_models()) == set(architectures())


def test_the_demo_is_a_folder_with_its_own_name(tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`demo` is what a manifest says, wherever it is installed; without its files the error says that."""
    monkeypatch.setattr("mmsearch.encoders.specs.demo_folder", lambda: tiny)
    encoder = encoders.open("demo", device="cpu")
    assert encoder.identity.spec == "demo"
    assert encoder.identity.fingerprint == load(tiny).identity.fingerprint
    monkeypatch.setattr("mmsearch.encoders.specs.demo_folder", lambda: tmp_path / "absent")
    with pytest.raises(EncoderError, match="not part of this installation"):
        encoders.open("demo")


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_folder_without_weights_is_an_error(model: Path) -> None:
    """open_clip would go on with random weights, whose answers look like answers."""
    (model / "open_clip_model.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"open_clip_model\.safetensors is missing"):
        load(model)
    for name in ("a.safetensors", "b.safetensors"):
        (model / name).touch()
    with pytest.raises(EncoderError, match=r"a\.safetensors, b\.safetensors"):
        load(model)


def test_incomplete_weights_are_an_error(model: Path) -> None:
    """A tensor that is missing must not stay uninitialised, nor one of another shape be taken."""
    from safetensors.numpy import load_file, save_file

    weights = model / "open_clip_model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensor for name, tensor in tensors.items() if name != "ln_final.weight"}, weights)
    with pytest.raises(EncoderError, match=r"do not fit.*ln_final\.weight"):
        load(model)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(EncoderError, match="do not fit"):
        load(model)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda config: config.pop("model_cfg"), "lacks model_cfg"),
        (lambda config: config.pop("preprocess_cfg"), "needs mean and std"),
        (lambda config: config["preprocess_cfg"].update(resize_mode="tile"), "resize_mode = 'tile'"),
        (lambda config: config["preprocess_cfg"].update(mean=[1, 2]), "not three numbers"),
        (lambda config: config["model_cfg"]["vision_cfg"].update(colour="red"), "cannot build"),
        (lambda config: config["model_cfg"]["text_cfg"].update(vocab_size=1000), "1000"),
    ],
)
def test_a_config_that_does_not_make_a_model(
    change: Callable[[dict[str, Any]], object], says: str, model: Path
) -> None:
    """What is wrong in a config is named; nothing is filled in by guessing."""
    edit(model, change)
    with pytest.raises(EncoderError) as caught:
        load(model)
    assert says in str(caught.value)


def test_a_checkpoint_needs_a_config_beside_it(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of weights does not say how pictures were preprocessed; open_clip assumes OpenAI's way. Ours asks."""
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32", TINY_MODEL)
    weights = tmp_path / "run" / "epoch.safetensors"
    weights.parent.mkdir()
    shutil.copy(tiny / "open_clip_model.safetensors", weights)
    with pytest.raises(EncoderError, match=r'open_clip_config\.json with, for instance, \{"preprocess_cfg"'):
        encoders.open(f"ViT-B-32/{weights}", device="cpu")
    beside = {"preprocess_cfg": {**PREPROCESS, "mean": [0.5, 0.5, 0.5]}, "model_cfg": {"quick_gelu": True}}
    (weights.parent / "open_clip_config.json").write_text(json.dumps(beside))
    encoder = encoders.open(f"ViT-B-32/{weights}", device="cpu")
    assert encoder.identity.spec == f"ViT-B-32/{weights}"
    grey = encoder.image.prepare(Image.new("RGB", (32, 32), (128, 128, 128)))
    assert np.abs(grey[0] - (128 / 255 - 0.5) / PREPROCESS["std"][0]).max() < 1e-6
    same = write_tiny_model(tmp_path / "same", model={"quick_gelu": True}, preprocess={"mean": [0.5, 0.5, 0.5]})
    assert encoder.identity.fingerprint == load(same).identity.fingerprint


class Evil:
    """Unpickling this would write a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_a_pickle_with_code_is_refused(model: Path, tmp_path: Path) -> None:
    """Weights come from strangers. Nothing in them may run."""
    weights = model / "open_clip_model.safetensors"
    for save in (torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))):
        weights.unlink(missing_ok=True)
        save({"state_dict": {"x": Evil(tmp_path / "owned")}}, model / "model.pth")
        with pytest.raises(EncoderError, match="Convert it to safetensors"):
            load(model)
        assert not (tmp_path / "owned").exists()


# --- fingerprints -----------------------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_the_weights_not_of_their_file(model: Path, tmp_path: Path) -> None:
    """The same tensors as safetensors and as a pickle, in another folder, at another precision: one encoder."""
    from safetensors.torch import load_file

    encoder = load(model)
    assert encoder.identity.spec == f"local-dir:{model}"
    assert encoder.identity.dim == 32
    assert encoder.identity.fingerprint.startswith("sha256:")
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    shutil.copy(model / "open_clip_config.json", pickled)
    tensors = load_file(model / "open_clip_model.safetensors")
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}}, pickled / "model.pth")
    assert load(pickled, precision="bf16").identity.fingerprint == encoder.identity.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["preprocess_cfg"]["mean"].__setitem__(0, 0.48),
        lambda config: config["preprocess_cfg"].update(interpolation="bilinear"),
        lambda config: config["model_cfg"].update(quick_gelu=True),
        lambda config: config["model_cfg"]["vision_cfg"].update(head_width=16),
        lambda config: config["model_cfg"]["text_cfg"].update(tokenizer_kwargs={"clean": "canonicalize"}),
    ],
    ids=["mean", "interpolation", "activation", "heads", "tokenizer"],
)
def test_what_changes_vectors_changes_the_fingerprint(change: Callable[[dict[str, Any]], object], model: Path) -> None:
    """Vectors of two settings must never be mixed, even where every weight is the same."""
    before = load(model).identity.fingerprint
    edit(model, change)
    assert load(model).identity.fingerprint != before


def test_one_weight_changes_the_fingerprint(model: Path) -> None:
    """One number among a million, the file's size unchanged."""
    from safetensors.numpy import load_file, save_file

    before = load(model).identity.fingerprint
    weights = model / "open_clip_model.safetensors"
    tensors = load_file(weights)
    tensors["visual.proj"] = tensors["visual.proj"].copy()
    tensors["visual.proj"][3, 4] += 1e-3
    save_file(tensors, weights)
    assert load(model).identity.fingerprint != before


def test_a_config_written_otherwise_is_the_same() -> None:
    """Lists and tuples, 4 and 4.0, absent and null, the order of keys and of tensors: no difference in vectors."""
    weights = [("a", torch.zeros(2, 3)), ("b", torch.ones(1, dtype=torch.bfloat16))]
    one = fingerprints.fingerprint({"x": (1, 2), "y": 4, "z": None}, {"size": 4}, {}, weights)
    other = fingerprints.fingerprint({"y": 4.0, "x": [1, 2]}, {"size": 4}, {}, weights[::-1])
    assert one == other
    for shape in ((3, 2), (6,)):
        moved = [("a", torch.zeros(shape)), weights[1]]
        assert fingerprints.fingerprint({"x": (1, 2), "y": 4}, {"size": 4}, {}, moved) != one


def test_fingerprints_are_cached(model: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second load hashes nothing; a damaged entry is computed again; a cache that cannot be written is no error."""
    first = load(model).identity.fingerprint
    (entry,) = (own_cache / "fingerprints").iterdir()
    assert entry.read_text().strip() == first
    with monkeypatch.context() as patched:
        patched.setattr(fingerprints, "fingerprint", lambda *_: pytest.fail("hashed again"))
        assert load(model).identity.fingerprint == first
    for damage in (b"", b"sha256:12", b"\xff\xfe"):
        entry.write_bytes(damage)
        assert load(model).identity.fingerprint == first
        assert entry.read_text().strip() == first
    (model / "open_clip_model.safetensors").touch()  # another time: perhaps another file
    load(model)
    assert len(list((own_cache / "fingerprints").iterdir())) == 2
    (model / "not a folder").touch()
    monkeypatch.setenv("MMSEARCH_CACHE", str(model / "not a folder"))
    assert load(model).identity.fingerprint == first


# --- downloads --------------------------------------------------------------------------------------------------------


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the Hugging Face hub."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def put_in_cache(hub_cache: Path, repo: str, files: Sequence[Path]) -> None:
    folder = hub_cache / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / "0" / ""
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0")
    for file in files:
        shutil.copy(file, snapshot / file.name)


@pytest.mark.usefixtures("no_network")
def test_a_cached_hub_model_needs_no_network(tiny: Path, hub_cache: Path) -> None:
    """A laptop in a train: what was downloaded once is used without asking whether there is something newer."""
    put_in_cache(hub_cache, "org/name", sorted(tiny.iterdir()))
    lines: list[str] = []
    encoder = encoders.open("hf-hub:org/name", device="cpu", announce=lines.append)
    assert encoder.identity.spec == "hf-hub:org/name"
    assert encoder.identity.fingerprint == load(tiny).identity.fingerprint
    assert lines == []


def test_a_download_is_announced(tiny: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What, from where, how large, where to: before it begins. Of equivalent files the first that exists is taken."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    happened: list[str] = []

    class Metadata:
        size = 605_157_884

    def metadata(url: str, **_: object) -> Metadata:
        if url.endswith("open_clip_model.safetensors"):
            raise EntryNotFoundError("404")
        return Metadata()

    def download(repo: str, name: str) -> str:
        happened.append(f"got {name}")
        return str(tiny / name)

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    names = ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"]
    found = hub_module.hub_file("org/name", names, announce=happened.append)
    assert found == tiny / "open_clip_pytorch_model.bin"
    assert happened == [
        f"downloading open_clip_pytorch_model.bin (605 MB) from https://huggingface.co/org/name to {hub_cache}",
        "got open_clip_pytorch_model.bin",
    ]


@pytest.mark.usefixtures("no_network")
def test_without_a_network_the_error_comes_soon_and_helps(hub_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The hub's client alone would retry for 23 s, warning each time. The way out must be in the message."""
    began = time.perf_counter()
    with pytest.raises(EncoderError) as caught:
        encoders.open(DEFAULT_MODEL, device="cpu")
    assert time.perf_counter() - began < 15
    message = str(caught.value)
    for part in (
        "open_clip_model.safetensors",
        "https://huggingface.co/laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        str(hub_cache),
        "HF_HUB_OFFLINE",
        "--model local-dir:",
        "hf download laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    ):
        assert part in message
    demo = Path(encoders.__file__).parent / "demo" / "open_clip_config.json"
    assert ("--model demo" in message) == demo.is_file()  # offered only where it is there
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.usefixtures("hub_cache", "no_network")
def test_offline_mode_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has forgotten the variable is told that it is set; no connection is tried."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match="HF_HUB_OFFLINE is set"):
        encoders.open("hf-hub:org/name", device="cpu")


@pytest.mark.usefixtures("hub_cache")
def test_refusals_of_the_hub_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gated repository, one that does not exist, and one without such a file are three different things to do."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError

    class Response:
        headers: dict[str, str] = {}  # noqa: RUF012  a stand-in
        request = None
        status_code = 403

    response: Any = Response()
    for error, says in (
        (GatedRepoError("no", response=response), "logged in"),
        (RepositoryNotFoundError("no", response=response), "no public repository"),
        (EntryNotFoundError("no"), "has no such file"),
    ):

        def refuse(url: str, error: Exception = error, **_: object) -> None:
            raise error

        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", refuse)
        with pytest.raises(EncoderError, match=says):
            hub_module.hub_file("org/name", ["a"], announce=lambda _: None)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("spec", "package", "extra"),
    [
        ("ViT-B-16-SigLIP/webli", "tokenizers", "siglip"),
        ("xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k", "transformers", "transformers"),
    ],
)
def test_a_missing_package_names_the_extra(
    spec: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is downloaded: the weights would be of no use."""
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(EncoderError, match=rf'package {package} .*pip install "mmsearch\[{extra}\]"'):
        encoders.open(spec)


def test_a_siglip_kind_of_model(tmp_path: Path) -> None:
    """As open_clip with transformers: tokenizer files of the folder, canonical texts, truncation noticed."""
    text_cfg = {
        "no_causal_mask": True,
        "pool_type": "last",
        "context_length": 8,
        "vocab_size": 9,
        "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    }
    folder = write_tiny_model(tmp_path / "model", model={"custom_text": True, "text_cfg": text_cfg})
    words = {word: number for number, word in enumerate(("<pad>", "</s>", "<unk>", "red", "car"))}
    table = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    table.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    table.post_processor = tokenizers.processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    table.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
    encoder, (model, _, tokenizer) = load(folder), reference(folder)
    texts = ["red car", "car " * 7, "car " * 8, "Red, CAR!"]
    encoded = encoder.text.encode(texts)
    assert np.abs(encoded.vectors[0] - encoded.vectors[3]).max() <= 1e-6
    assert encoded.truncated.tolist() == [False, False, True, False]
    try:
        tokens = tokenizer(texts)
    except AttributeError as error:
        if "batch_encode_plus" not in str(error):
            raise
        pytest.skip("this release of open_clip asks transformers for what later ones no longer have")
    with torch.no_grad():
        expected = model.encode_text(tokens, normalize=True).numpy()
    assert np.abs(encoded.vectors - expected).max() <= 1e-6


# --- devices ----------------------------------------------------------------------------------------------------------


def test_devices_that_are_not_there(tiny: Path) -> None:
    """What there is stands in the message; a misspelt device is told from an absent one."""
    with pytest.raises(EncoderError, match=r"no device cuda:99 here; there is cpu"):
        encoders.open(f"local-dir:{tiny}", device="cuda:99")
    for name in ("tpu", "cuda:x", "cpu:1", ""):
        with pytest.raises(EncoderError, match="auto, cpu, cuda, cuda:N or mps"):
            choose_device(name)
    with pytest.raises(EncoderError, match="auto, fp32, fp16, bf16 or int8"):
        load(tiny, precision="int4")


def test_what_auto_chooses(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fp32 on a CPU, where bf16 is seven times slower; fp16 on a GPU."""
    assert load(tiny).device == "cpu"
    assert choose_precision("auto", torch.device("cpu")) == "fp32"
    assert choose_precision("auto", torch.device("cuda")) == "fp16"
    assert choose_precision("fp32", torch.device("cuda")) == "fp32"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")


def test_fp32_on_cuda_is_fp32() -> None:
    """cuDNN's convolutions default to 10-bit mantissas under the name of fp32. Inside, both switches are off; outside,
    they are as the program had them, after an error too."""
    from torch.backends import cuda, cudnn

    def switches() -> tuple[object, object]:
        if hasattr(cuda.matmul, "fp32_precision"):
            return cuda.matmul.fp32_precision, getattr(cudnn, "conv").fp32_precision  # noqa: B009  untyped
        return cuda.matmul.allow_tf32, cudnn.allow_tf32

    before = switches()
    assert before[1] in (True, "tf32")  # the default that this is about
    with pytest.raises(ZeroDivisionError), exact_fp32(torch.device("cuda")):  # noqa: PT012
        assert switches() in (("ieee", "ieee"), (False, False))
        _ = 1 / 0
    assert switches() == before
    with autocast(torch.device("cpu"), "fp32"):
        assert switches() == before


# --- behaviour as a library -------------------------------------------------------------------------------------------


def in_a_process(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)


def test_importing_the_package_loads_no_torch() -> None:
    """`mmsearch --help` and every misspelt model would else cost 6 s. Nothing is set in the environment either."""
    done = in_a_process(
        "import os, sys; before = dict(os.environ)\n"
        "import mmsearch.encoders\n"
        "assert not {'torch', 'open_clip', 'huggingface_hub'} & set(sys.modules)\n"
        "try: mmsearch.encoders.open('ViT-B-33/openai')\n"
        "except Exception as error: assert 'ViT-B-32' in str(error)\n"
        "assert 'torch' not in sys.modules and dict(os.environ) == before"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_normal_run_is_silent(tiny: Path) -> None:
    """open_clip logs, torch warns. A person's terminal shows progress and warnings of this program, nothing else."""
    done = in_a_process(
        "import numpy as np\n"
        "from mmsearch import encoders\n"
        f"e = encoders.open('local-dir:{tiny}', device='cpu', precision='bf16')\n"
        "e.text.encode(['a', 'dog ' * 99]); e.image.encode(np.zeros((2, 3, 32, 32), np.float32))"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_preprocessing_in_many_threads(tiny: Path) -> None:
    """The loader calls it from a pool."""
    from concurrent.futures import ThreadPoolExecutor

    encoder = load(tiny)
    images = [picture(seed) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(encoder.image.prepare, images))
    assert all(np.array_equal(a, encoder.image.prepare(image)) for a, image in zip(parallel, images, strict=True))


def test_only_loading_skips_random_weights() -> None:
    """The shortcut must not outlive the construction, nor reach other threads."""
    with implementation._NoRandomInit():
        assert torch.zeros(4).normal_().eq(0).all()
    assert torch.zeros(4).normal_().ne(0).any()


def test_the_tiny_model_is_deterministic(tiny: Path, tmp_path: Path) -> None:
    """Tests elsewhere pin what it gives."""
    same = write_tiny_model(tmp_path / "same")
    other = write_tiny_model(tmp_path / "other", seed=1)
    weights = [(folder / "open_clip_model.safetensors").read_bytes() for folder in (tiny, same, other)]
    assert weights[0] == weights[1] != weights[2]
    source = resolve(parse_spec(f"local-dir:{same}"), announce=lambda _: None)
    assert not implementation.build_model(source).training
