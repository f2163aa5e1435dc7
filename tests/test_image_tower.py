"""The image tower without torch: the same pixels and the same vectors as open_clip's, or it is not used."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.timm_model import TimmModel
from PIL import Image
from safetensors.numpy import load_file

from mmsearch import encoders
from mmsearch.embedding import embed
from mmsearch.encoders import Encoder, EncoderRequest, laying_out
from mmsearch.encoders.contract import check_encoder
from mmsearch.encoders.image_layout import lay_out_images
from mmsearch.encoders.open_clip_provider import without_torch
from mmsearch.encoders.preprocessing import Preprocessing
from mmsearch.encoders.torch_parts import Unsuited
from mmsearch.errors import EncoderError
from mmsearch.identity import EncoderIdentity
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import ImagePart, Query
from mmsearch.towers import tower_files as files
from mmsearch.towers import transformer
from mmsearch.towers.image_pixels import ImagePixels
from mmsearch.towers.image_tower import ImageTower
from mmsearch.towers.sides import IMAGE, TEXT
from mmsearch.towers.tower_files import NoTower, StoredTower
from mmsearch.towers.transformer import ACTIVATIONS
from tests.conftest import Command
from tests.fakes import write_picture
from tests.models import write_random_model, write_tiny_model
from tests.test_preprocessing import GEOMETRIES, USUAL
from tests.test_text_tower import relative_error, with_random_weights

CONFIGS = Path(open_clip.__file__).parent / "model_configs"
TINY_TEXT = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}
DIM = 24
IDENTITY = EncoderIdentity("small", "sha256:" + "0" * 64, DIM)

Stored = StoredTower[Any, Any]


def image_side_of(identity: EncoderIdentity, announce: Callable[[str], Any]) -> Encoder | None:
    """What a query on a CPU opens for the pictures asked of a gallery; None where torch has to be loaded."""
    return without_torch(EncoderRequest(identity.spec, frozenset({"image"}), "cpu", "fp32", identity, announce))


# --- vectors ----------------------------------------------------------------------------------------------------------


def own_vision_configs() -> Iterator[Any]:
    """The distinct image sides among open_clip's configs, those of the package timm left out, but for their sizes."""
    seen = set()
    for file in sorted(CONFIGS.glob("*.json")):
        config = json.loads(file.read_text())
        vision = config["vision_cfg"]
        if "timm_model_name" in vision:
            continue
        sizes = ("image_size", "layers", "width", "head_width", "patch_size")
        kept: dict[str, Any] = {"vision_cfg": {key: value for key, value in vision.items() if key not in sizes}}
        kept["quick_gelu"] = bool(config.get("quick_gelu"))
        kept["kind"] = "CoCa" if "multimodal_cfg" in config else "CustomTextCLIP" if "custom_text" in config else "CLIP"
        kept["resnet"] = isinstance(vision["layers"], list)
        key = json.dumps(kept, sort_keys=True)
        if key not in seen:
            seen.add(key)
            yield pytest.param(kept, id=file.stem)


VIT = {"image_size": 36, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
"""Its patches leave four rows and columns of the picture over."""
RESNET = {"image_size": 64, "layers": [2, 1, 1, 2], "width": 8, "head_width": 64}


def small_model(
    vision: dict[str, Any], kind: str = "CLIP", *, quick_gelu: bool = False, sizes: dict[str, Any] = VIT
) -> Any:
    """A model with random weights whose image side is as the config says, but for its size."""
    parts: dict[str, Any] = {"embed_dim": DIM, "text_cfg": TINY_TEXT, "vision_cfg": {**sizes, **vision}}
    if kind == "CoCa":
        parts["multimodal_cfg"] = {"context_length": 8, "width": 16, "heads": 2, "layers": 1}
    return with_random_weights(getattr(open_clip, kind)(**parts, quick_gelu=quick_gelu))


def preprocessing_of(model: Any) -> Preprocessing:
    return Preprocessing({**USUAL, "size": model.visual.image_size, "resize_mode": "shortest"})


def laid_out(model: Any) -> Stored:
    return lay_out_images(model, preprocessing_of(model), IDENTITY)


def error_of(model: Any) -> float:
    """The relative error of a model's image side without torch."""
    stored = laid_out(model)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(8, 3, stored.input.height, stored.input.width))
    pixels = (noise + rng.normal(size=(8, 3, 1, 1))).astype(np.float32)  # of several colours
    with torch.inference_mode():
        expected = model.encode_image(torch.from_numpy(pixels)).numpy()
    return relative_error(ImageTower(stored.design, stored.weights).encode(pixels), expected)


@pytest.mark.parametrize("config", list(own_vision_configs()))
def test_vectors_equal_torchs(config: dict[str, Any]) -> None:
    sizes = RESNET if config["resnet"] else VIT
    model = small_model(config["vision_cfg"], config["kind"], quick_gelu=config["quick_gelu"], sizes=sizes)
    assert error_of(model) < 2e-5


@pytest.mark.parametrize(
    "vision",
    [
        {"pool_type": "avg"},
        {"pool_type": "avg", "final_ln_after_pool": True},
        {"no_ln_pre": True},
        {"patch_dropout": 0.5},
        {"ls_init_value": 0.1},
        {"pos_embed_type": "sin_cos_2d"},
        {"attentional_pool": True, "pool_type": "avg", "attn_pooler_queries": 5},
        {"attentional_pool": True, "width": DIM, "head_width": 8},  # whose attention keeps its matrices in one
        {"image_size": [40, 24], "patch_size": [8, 12]},
        {"act_kwargs": {"approximate": "tanh"}},
        {"norm_kwargs": {"eps": 1e-3}},
    ],
    ids=str,
)
def test_vectors_of_what_a_config_may_ask_for_equal_torchs(vision: dict[str, Any]) -> None:
    assert error_of(small_model(vision)) < 2e-5


@pytest.mark.parametrize(
    ("vision", "reason"),
    [
        ({"pool_type": "none"}, "its pooling is 'none', which gives no vector of a picture"),
        ({"attentional_pool": True, "pool_type": "none", "attn_pooler_queries": 3}, "its pooling is 'none'"),
        ({"attentional_pool": "parallel"}, "its pooling is 'none'"),
        ({"qk_norm": True}, r"its blocks are of another kind \(CustomResidualAttentionBlock\)"),
    ],
    ids=str,
)
def test_what_numpy_does_not_compute_goes_through_torch(vision: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unsuited, match=reason):
        laid_out(small_model(vision))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda visual: setattr(visual.transformer.resblocks[0].mlp, "gelu", torch.nn.SiLU()), "activation is SiLU"),
        (lambda visual: setattr(visual.transformer.resblocks[1].mlp, "gelu", torch.nn.SiLU()), "other vectors without"),
        (lambda visual: setattr(visual.transformer.resblocks[0].ln_1, "eps", 1e-3), "layer norms"),
        (lambda visual: setattr(visual, "ln_post", torch.nn.GroupNorm(1, 32)), "layer norms"),
        (lambda visual: visual.transformer.resblocks.append(torch.nn.Identity()), "blocks are of another kind"),
    ],
)
def test_an_image_side_of_another_kind_goes_through_torch(change: Callable[[Any], object], reason: str) -> None:
    """Whatever a later open_clip brings is refused by what it is, or by what comes out."""
    model = small_model({})
    laid_out(model)
    change(model.visual)
    with pytest.raises(Unsuited, match=reason):
        laid_out(model)


def timm_configs() -> Iterator[Any]:
    """The distinct image sides of the package timm among open_clip's configs."""
    seen = set()
    for file in sorted(CONFIGS.glob("*.json")):
        vision = json.loads(file.read_text())["vision_cfg"]
        if "timm_model_name" not in vision:
            continue
        asked = {key: vision[key] for key in ("timm_model_name", "timm_pool", "timm_proj")}
        if (key := json.dumps(asked, sort_keys=True)) not in seen:
            seen.add(key)
            yield pytest.param(asked, id=file.stem)


IN_NUMPY = re.compile(r"vit_\w+_(siglip|clip|gap)_\d+")
"""The models of timm that are plain vision transformers. All others among open_clip's configs go through torch."""


def small_timm_model(asked: dict[str, Any], patch: pytest.MonkeyPatch, **more: Any) -> Any:
    """A model of random weights with such an image side, small of width, layers and picture."""
    sizes: dict[str, Any] = {"embed_dim": DIM, "depth": 2, "num_heads": 3, "img_size": 36, "patch_size": 8}
    create: Any = timm.create_model
    patch.setattr("timm.create_model", lambda name, **options: create(name, **options, **sizes, **more))
    vision = {**asked, "timm_model_pretrained": False, "image_size": 36}
    model = open_clip.CustomTextCLIP(embed_dim=DIM, vision_cfg=vision, text_cfg=TINY_TEXT)
    return with_random_weights(model)


def is_in_numpy(asked: dict[str, Any]) -> bool:
    return IN_NUMPY.fullmatch(asked["timm_model_name"]) is not None


@pytest.mark.parametrize("asked", [param for param in timm_configs() if is_in_numpy(param.values[0])])
def test_vectors_equal_those_of_timm(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert error_of(small_timm_model(asked, monkeypatch)) < 2e-5


def other_families() -> Iterator[Any]:
    """One of each family of timm's models that torch runs: the names but for their sizes."""
    seen = set()
    for param in timm_configs():
        name = param.values[0]["timm_model_name"]
        family = re.sub(r"_(tiny|small|base|medium|large2?|x?xlarge|giant|gigantic|enormous)|_?mci\d|\d{3}", "", name)
        if not is_in_numpy(param.values[0]) and family not in seen:
            seen.add(family)
            yield param


@pytest.mark.parametrize("asked", list(other_families()))
def test_what_is_none_of_timms_plain_transformers_goes_through_torch(asked: dict[str, Any]) -> None:
    """By what it is, before a weight is read: here there are none."""
    pool, proj = asked["timm_pool"], asked["timm_proj"] or ""
    with torch.device("meta"):
        visual = TimmModel(asked["timm_model_name"], DIM, pool=pool, proj=proj)
    model = SimpleNamespace(visual=visual)
    kinds = "Eva|FastVit|ConvNeXt|SwinTransformer|VisionTransformerRelPos|HybridEmbed"
    with pytest.raises(Unsuited, match=rf"only torch (runs|does) \(({kinds}) of timm\)"):
        lay_out_images(model, Preprocessing({**USUAL, "size": 32}), IDENTITY)


SIGLIP = {"timm_model_name": "vit_base_patch16_siglip_224", "timm_pool": "map", "timm_proj": "none"}


@pytest.mark.parametrize(
    "more",
    [
        {"class_token": True, "global_pool": "token"},
        {"class_token": True, "reg_tokens": 2, "global_pool": "avg"},
        {"class_token": True, "reg_tokens": 2, "no_embed_class": True, "global_pool": "avg", "fc_norm": False},
        {"pre_norm": True, "init_values": 0.1, "qkv_bias": False},
    ],
    ids=str,
)
def test_vectors_of_other_forms_of_timms_transformers_equal_torchs(
    more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = more.pop("global_pool", "map")
    assert error_of(small_timm_model({**SIGLIP, "timm_pool": pool}, monkeypatch, **more)) < 2e-5


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda trunk: setattr(trunk.blocks[0].attn, "q_norm", torch.nn.LayerNorm(8)),
            r"in its blocks .* \(LayerNorm\)",
        ),
        (lambda trunk: setattr(trunk.blocks[0], "mlp", torch.nn.Linear(2, 2)), r"of another kind \(Linear\)"),
        (lambda trunk: setattr(trunk.attn_pool, "latent_len", 2), "its pooling is of a kind"),
        (lambda trunk: setattr(trunk.attn_pool.mlp, "act", torch.nn.SiLU()), "an activation of its own"),
        (lambda trunk: setattr(trunk, "head", torch.nn.Sequential(torch.nn.ReLU())), "its projection is of a kind"),
        (lambda trunk: setattr(trunk, "attn_pool", None), "its pooling is 'map'"),
        (lambda trunk: setattr(trunk.blocks[0].norm1, "eps", 1e-3), "layer norms"),
        (lambda trunk: setattr(trunk, "pos_embed", None), "no positions"),
        (lambda trunk: delattr(trunk, "attn_pool"), "this release of timm is not known .*attn_pool"),
    ],
)
def test_a_transformer_of_timm_of_another_kind_goes_through_torch(
    change: Callable[[Any], object], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_timm_model(SIGLIP, monkeypatch)
    change(model.visual.trunk)
    with pytest.raises(Unsuited, match=reason):
        laid_out(model)


@pytest.mark.parametrize("image_size", [32, 100])
def test_vectors_of_residual_networks_of_other_sizes_equal_torchs(image_size: int) -> None:
    """Down to one place; of an odd number of rows the last is left out of the means."""
    assert error_of(small_model({"image_size": image_size}, sizes=RESNET)) < 2e-5


def test_the_config_of_a_residual_network_may_say_that_it_has_no_patches(tmp_path: Path) -> None:
    """As open_clip writes it for the hub."""
    folder = write_tiny_model(tmp_path / "model", model={"vision_cfg": {**RESNET, "patch_size": None}})
    encoder = encoders.open(f"local-dir:{folder}", device="cpu")
    assert image_side_of(encoder.identity, announce=pytest.fail) is not None


@pytest.mark.parametrize(
    ("vision", "sizes", "block"),
    [
        ({"layers": 5}, VIT, "transformer.resblocks.3"),
        ({"layers": 4, "pool_type": "avg"}, VIT, "transformer.resblocks.3"),
        ({}, RESNET, "layer3"),
    ],
)
def test_what_is_hidden_from_the_last_blocks_is_hidden_from_torchs_too(
    vision: dict[str, Any], sizes: dict[str, Any], block: str
) -> None:
    model = small_model(vision, sizes=sizes)
    stored = laid_out(model)
    pixels = np.random.default_rng(0).normal(size=(3, stored.input.height, stored.input.width)).astype(np.float32)
    side = 8 if sizes is RESNET else 4
    masks = np.zeros((3, side, side), np.float32)
    masks[1, 1:3, :2] = masks[2, 0, 3] = 1

    def hide(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = torch.from_numpy(mask) == 1
        if sizes is RESNET:
            return (torch.where(hidden, given[0].mean((2, 3), keepdim=True), given[0]),)
        return (given[0][:, torch.cat([torch.tensor([True]), ~hidden.flatten()])], *given[1:])

    model.visual.get_submodule(block).register_forward_pre_hook(hide)
    expected = []
    with torch.inference_mode():
        for mask in masks:  # noqa: B007 (the hook reads it)
            expected.append(model.encode_image(torch.from_numpy(pixels)[None])[0].numpy())
    asked = []

    def masks_of(rows: int, columns: int) -> Any:
        asked.append((rows, columns))
        return masks

    found = ImageTower(stored.design, stored.weights).encode_hidden(pixels, masks_of)
    assert asked == [(side, side)]
    assert np.abs(found - np.stack(expected)).max() < 1e-5
    assert np.abs(found[0] - found[1]).max() > 1e-3


@pytest.mark.parametrize("part", ["attnpool", "layer2"])
def test_a_residual_network_of_another_kind_goes_through_torch(part: str) -> None:
    model = small_model({}, sizes=RESNET)
    setattr(model.visual, part, torch.nn.Sequential(torch.nn.Identity()))
    with pytest.raises(Unsuited, match="blocks or its pooling are of a kind that only torch runs"):
        laid_out(model)


def test_another_class_of_image_side_goes_through_torch() -> None:
    model = small_model({})
    preprocessing, model.visual = preprocessing_of(model), torch.nn.Linear(2, 2)
    with pytest.raises(Unsuited, match=r"its image side is of a kind that only torch runs \(Linear\)"):
        lay_out_images(model, preprocessing, IDENTITY)


@pytest.mark.soak
@pytest.mark.parametrize("arch", ["ViT-B-32", "ViT-L-14", "RN50"])
def test_full_size_vectors_equal_torchs(arch: str, tmp_path: Path) -> None:
    folder = write_random_model(tmp_path / "model", arch)
    encoder = encoders.open(f"local-dir:{folder}", device="cpu")
    tower = image_side_of(encoder.identity, announce=pytest.fail)
    assert tower is not None
    pixels = np.stack([encoder.image.prepare(picture(size, seed)) for seed, size in enumerate([(640, 480)] * 8)])
    assert relative_error(tower.image.encode(pixels), encoder.image.encode(pixels)) < 1e-4


@pytest.mark.soak
def test_full_size_vectors_of_siglip2_equal_torchs() -> None:
    config = json.loads((CONFIGS / "ViT-B-16-SigLIP2.json").read_text())
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}
    model = open_clip.CustomTextCLIP(embed_dim=config["embed_dim"], vision_cfg=vision, text_cfg=TINY_TEXT)
    assert error_of(with_random_weights(model)) < 1e-4


# --- pixels -----------------------------------------------------------------------------------------------------------


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """A smooth picture with noise on it."""
    rng = np.random.default_rng(seed)
    smooth = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    noise = rng.integers(-30, 30, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8))


def require_same_bytes(config: dict[str, Any], image: Image.Image) -> None:
    preprocessing = Preprocessing(config)
    pixels = ImagePixels(preprocessing.record)
    try:
        theirs = preprocessing.reference(image)
    except ValueError:  # nothing is left of a side
        with pytest.raises(ValueError, match="must be > 0"):
            pixels.prepare(image)
        return
    ours = pixels.prepare(image)
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    assert ours.tobytes() == theirs.tobytes(), (config, image.size)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(sorted(GEOMETRIES)),
    st.sampled_from(["bicubic", "bilinear", "random"]),
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
)
def test_pixels_are_open_clips_to_the_last_bit(geometry: str, interpolation: str, size: tuple[int, int]) -> None:
    config = {**USUAL, **GEOMETRIES[geometry], "interpolation": interpolation}
    require_same_bytes(config, picture(size))


@pytest.mark.parametrize("size", [(1, 20_000), (3000, 2), (640, 480), (1201, 1199), (64, 64)])
@pytest.mark.parametrize("moments", [(0.5, 0.5), ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.2613, 0.27577])])
def test_pixels_of_odd_and_of_usual_shapes(size: tuple[int, int], moments: tuple[Any, Any]) -> None:
    mean, std = moments
    for target in (64, 224, (80, 60)):
        require_same_bytes({"mean": mean, "std": std, "size": target, "resize_mode": "shortest"}, picture(size))


def test_pixels_of_real_photos(shared_data: Path) -> None:
    photos = sorted((shared_data / "coco_val2017" / "images").rglob("*.jpg"))[:20]
    assert photos
    for file in photos:
        with Image.open(file) as opened:
            require_same_bytes({**USUAL, "size": 224, "resize_mode": "shortest"}, opened.convert("RGB"))


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def small_tower() -> Stored:
    return laid_out(small_model({}))


def test_a_tower_comes_back_as_it_was(small_tower: Stored, cache: Path) -> None:
    files.write_tower(IMAGE, small_tower)
    found = files.read_tower(IMAGE, IDENTITY.fingerprint)
    assert replace(found, weights={}) == replace(small_tower, weights={})
    (file,) = (cache / "image_towers").glob("*.safetensors")
    for weights in (found.weights, load_file(file)):
        assert weights.keys() == small_tower.weights.keys()
        assert all(np.array_equal(weights[name], small_tower.weights[name]) for name in weights)


def test_towers_of_both_sides_share_what_the_cache_may_hold(
    small_tower: Stored, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_tower(IMAGE, small_tower)
    (file,) = (cache / "image_towers").glob("*.safetensors")
    text = cache / "text_towers" / f"{1:064x}.safetensors"
    text.parent.mkdir()
    text.write_bytes(bytes(file.stat().st_size))
    os.utime(text, (1, 1))
    monkeypatch.setattr(files, "MOST_BYTES", file.stat().st_size + 10)
    files.write_tower(IMAGE, small_tower)
    assert [each.name for each in cache.rglob("*.safetensors")] == [file.name]


# --- from a model to a query ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("spec", ["tiny", "demo"])
def test_a_model_that_was_loaded_once_answers_without_torch(spec: str, tiny: Path) -> None:
    encoder = encoders.open(f"local-dir:{tiny}" if spec == "tiny" else "demo", device="cpu")
    tower = image_side_of(encoder.identity, announce=pytest.fail)
    assert tower is not None
    assert (tower.identity, list(tower.sides)) == (encoder.identity, ["image"])
    images = [picture(size) for size in ((90, 60), (31, 32), (200, 500))]
    pixels = [np.stack([side.prepare(image) for image in images]) for side in (tower.image, encoder.image)]
    assert pixels[0].tobytes() == pixels[1].tobytes()
    assert relative_error(tower.image.encode(pixels[0]), encoder.image.encode(pixels[0])) < 2e-5
    fitted = np.stack([ImagePixels(preprocessing_of_side(encoder).record).fit(image) for image in images])
    np.testing.assert_allclose(tower.image.encode(fitted), tower.image.encode(pixels[0]), atol=1e-6)
    # By it previews of raw files are chosen.
    assert tower.image.size == encoder.image.size == preprocessing_of_side(encoder).size


@pytest.mark.parametrize("source", ["postcards", pytest.param("photos", marks=pytest.mark.soak)])
def test_the_ten_nearest_of_pictures_are_torchs(source: str, request: pytest.FixtureRequest) -> None:
    folder = Path(__file__).parents[1] / "data" / "postcards" / "images"
    if source == "photos":
        folder = request.getfixturevalue("shared_data") / "flickr8k" / "images_test1k_224"
    encoder = encoders.open("demo", device="cpu")
    tower = image_side_of(encoder.identity, announce=pytest.fail)
    assert tower is not None
    pixels = []
    for file in sorted(folder.glob("*.jpg"))[:200]:
        with Image.open(file) as opened:
            pixels.append(tower.image.prepare(opened.convert("RGB")))
    ours, theirs = (side.encode(np.stack(pixels)).astype(np.float64) for side in (tower.image, encoder.image))
    assert len(ours) == 200
    found, expected = (np.argsort(-(queries @ theirs.T), axis=1)[:, :10] for queries in (ours, theirs))
    assert found.tolist() == expected.tolist()


def preprocessing_of_side(encoder: Encoder) -> Preprocessing:
    fast = encoder.image.fast
    assert isinstance(fast, Preprocessing)
    return fast


def test_the_image_side_without_torch_keeps_to_the_contract(tiny: Path) -> None:
    tower = image_side_of(encoders.open(f"local-dir:{tiny}", device="cpu").identity, announce=pytest.fail)
    assert tower is not None
    check_encoder(tower)


def test_for_both_sides_at_once_torch_is_loaded(tiny: Path) -> None:
    """Whoever wants both embeds."""
    identity = encoders.open(f"local-dir:{tiny}", device="cpu").identity
    request = EncoderRequest(identity.spec, frozenset({"image", "text"}), "cpu", "fp32", identity, pytest.fail)
    assert without_torch(request) is None


def test_a_tower_that_disagrees_is_not_used_and_not_tried_again(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {**ACTIVATIONS, "gelu": lambda x: np.float32(1.01) * ACTIVATIONS["gelu"](x)}
    with monkeypatch.context() as patch:
        patch.setattr(transformer, "ACTIVATIONS", wrong)
        encoder = encoders.open(f"local-dir:{tiny}", device="cpu")
    said: list[str] = []
    assert image_side_of(encoder.identity, announce=said.append) is None
    assert said[0].startswith(f"loading local-dir:{tiny} with torch, which takes seconds: its image side gives other")
    assert "vectors without torch (relative error 0.0" in said[0]
    monkeypatch.setattr(laying_out, "lay_out_images", lambda *_: pytest.fail("tried again"))
    encoders.open(f"local-dir:{tiny}", device="cpu")


def test_a_damaged_tower_is_laid_out_anew_by_the_next_load(tiny: Path) -> None:
    encoder = encoders.open(f"local-dir:{tiny}", device="cpu")
    (file,) = (Path(os.environ["MMSEARCH_CACHE"]) / "image_towers").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    said: list[str] = []
    assert image_side_of(encoder.identity, announce=said.append) is None
    assert "damaged" in said[0]
    encoders.open(f"local-dir:{tiny}", device="cpu")
    assert image_side_of(encoder.identity, announce=pytest.fail) is not None


def test_a_tower_that_lacks_a_tensor_is_not_used(tiny: Path) -> None:
    encoder = encoders.open(f"local-dir:{tiny}", device="cpu")
    stored = files.read_tower(IMAGE, encoder.identity.fingerprint)
    weights = {name: weight for name, weight in stored.weights.items() if name != "positions"}
    files.write_tower(IMAGE, replace(stored, weights=weights))
    said: list[str] = []
    assert image_side_of(encoder.identity, announce=said.append) is None
    assert "its image side in the cache cannot be used (ValueError: a tower without positions)" in said[0]


@pytest.mark.parametrize("side", [IMAGE, TEXT], ids=lambda side: side.name)
def test_weights_that_give_no_numbers_are_an_error_and_no_warning(side: Any, tiny: Path) -> None:
    encoder = encoders.open(f"local-dir:{tiny}", device="cpu")
    stored = files.read_tower(side, encoder.identity.fingerprint)
    weights = {name: weight * np.float32(1e30 if "qkv" in name else 1) for name, weight in stored.weights.items()}
    files.write_tower(side, replace(stored, weights=weights))
    tower = without_torch(
        EncoderRequest(encoder.identity.spec, frozenset({side.name}), "cpu", "fp32", encoder.identity, pytest.fail)
    )
    assert tower is not None
    pixels = np.zeros((2, 3, 32, 32), np.float32)
    with pytest.raises(EncoderError, match="gave vectors with NaN or infinity"):
        _ = tower.text.encode(["a dog"]) if side is TEXT else tower.image.encode(pixels)


def test_texts_are_asked_of_a_model_whose_image_side_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Laying it out is no reason for what the model would only do where a picture is encoded."""
    folder = write_tiny_model(tmp_path / "model")

    def fails(*_: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(open_clip.CLIP, "encode_image", fails)
    encoder = encoders.open(f"local-dir:{folder}", device="cpu")
    assert encoder.text.encode(["a dog"]).vectors.shape == (1, 32)
    said: list[str] = []
    assert image_side_of(encoder.identity, announce=said.append) is None
    assert said[0].endswith("its image side fails with torch too (RuntimeError: no such kernel)")


@pytest.fixture
def asked(tmp_path: Path) -> list[Path]:
    """Pictures that the gallery does not hold."""
    picture((300, 200), 7).save(tmp_path / "new.jpg")
    return [write_picture(tmp_path / "new.png", "red", seed=77), tmp_path / "new.jpg"]


def in_a_shell(*arguments: object) -> tuple[list[dict[str, Any]], set[str], str]:
    """(hits, modules that were loaded, stderr) of a command in a process of its own."""
    program = "import sys; from mmsearch.cli import main\ntry: main()\nfinally: print(*sys.modules)"
    command = [sys.executable, "-c", program, *map(str, arguments), "--format", "jsonl"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *lines, modules = done.stdout.splitlines()
    return [json.loads(line) for line in lines], set(modules.split()), done.stderr


SLOW = {"torch", "torchvision", "open_clip", "timm", "transformers", "pandas", "faiss", "ftfy", "regex", "numpy.random"}
SLOW |= {"pydantic"}


def test_a_query_from_the_shell_needs_no_torch(tiny: Path, photos: Path, asked: list[Path]) -> None:
    """Nor anything else that takes long to import; and it answers as torch does."""
    gallery, encoder = photos.parent / "g", encoders.open(f"local-dir:{tiny}", device="cpu")
    embed([photos], gallery=gallery, encoder=encoder)
    for file in asked:
        hits, modules, said = in_a_shell("query", "--image", file, "-g", gallery)
        expected = open_gallery(gallery, encoder=encoder).ask(Query([ImagePart(file)])).hits
        assert [hit["row_id"] for hit in hits] == [hit.row_id for hit in expected]
        np.testing.assert_allclose([hit["score"] for hit in hits], [hit.score for hit in expected], atol=1e-6)
        assert not modules & SLOW
        assert said == ""


def test_a_text_and_a_picture_together_need_no_torch(tiny: Path, photos: Path, asked: list[Path]) -> None:
    gallery, encoder = photos.parent / "g", encoders.open(f"local-dir:{tiny}", device="cpu")
    embed([photos], gallery=gallery, encoder=encoder)
    hits, modules, said = in_a_shell("query", "a red picture", "--image", asked[0], "-g", gallery)
    assert (len(hits), modules & SLOW, said) == (10, set(), "")


def test_a_server_that_only_answers_holds_no_torch(tiny: Path, photos: Path, asked: list[Path]) -> None:
    """Texts, and pictures that are sent to it, go through what the model's first load laid out."""
    gallery, encoder = photos.parent / "g", encoders.open(f"local-dir:{tiny}", device="cpu")
    embed([photos], gallery=gallery, encoder=encoder)
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from tests.servers import running\n"
        "with running(sys.argv[1], encoder=None) as server:\n"
        "    server.ask('a red picture')\n"
        "    sent = server.post('/api/pictures', content=Path(sys.argv[2]).read_bytes()).json()\n"
        "    answer = server.post('/api/query', {'parts': [{'picture': sent['picture']}], 'k': 10}).json()\n"
        "assert 'torch' not in sys.modules\n"
        "print(json.dumps([hit['row_id'] for hit in answer['hits']]))\n"
    )
    command = [sys.executable, "-c", code, str(gallery), str(asked[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.stderr == ""
    expected = open_gallery(gallery, encoder=encoder).ask(Query([ImagePart(asked[1])])).hits
    assert json.loads(done.stdout) == [hit.row_id for hit in expected]


def test_a_picture_of_which_nothing_is_left_is_refused(
    tmp_path: Path, photos: Path, command_line: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is 400 times as wide as high, where all of it has to fit into a square; by torch or without."""
    folder = write_tiny_model(tmp_path / "model", preprocess={"resize_mode": "longest"})
    gallery = photos.parent / "g"
    embed([photos], gallery=gallery, encoder=encoders.open(f"local-dir:{folder}", device="cpu"))
    picture((400, 1)).save(tmp_path / "line.png")
    for more in ((), ("--model", f"local-dir:{folder}")):
        done = command_line("query", "--image", tmp_path / "line.png", "-g", gallery, *more)
        assert (done.code, done.out) == (1, "")
        assert "line.png is no picture that can be read: height and width must be > 0" in done.err


def test_the_first_picture_on_a_machine_says_why_it_is_slow(tiny: Path, photos: Path, asked: list[Path]) -> None:
    """As it is where a release before this one laid out the texts alone."""
    gallery = photos.parent / "g"
    embed([photos], gallery=gallery, encoder=encoders.open(f"local-dir:{tiny}", device="cpu"))
    for file in (Path(os.environ["MMSEARCH_CACHE"]) / "image_towers").glob("*.safetensors"):
        file.unlink()
    said: list[str] = []
    first = open_gallery(gallery, announce=said.append).query(image=asked[0])
    assert said == [
        f"loading local-dir:{tiny} with torch, which takes seconds: its image side is laid out for quick queries now, "
        "this once"
    ]
    second = open_gallery(gallery, announce=pytest.fail).query(image=asked[0])
    assert [hit.path for hit in second] == [hit.path for hit in first]


def test_vectors_from_elsewhere_have_no_tower() -> None:
    said: list[str] = []
    assert image_side_of(EncoderIdentity("x", "declared:x", 3), announce=said.append) is None
    assert "declared:x" in said[0]
    with pytest.raises(NoTower, match="its text side is laid out"):
        files.read_tower(TEXT, IDENTITY.fingerprint)
