"""The text tower without torch: the same tokens and the same vectors as open_clip's, or it is not used."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray

from mmsearch.encoders.laying_out import lay_out
from mmsearch.text_tower.tower import TextTower
from tests.models import random_weights

CONFIGS = Path(open_clip.__file__).parent / "model_configs"
TINY_VISION = {"image_size": 8, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
END = 49407  # what CLIP's tokenizer ends texts with
FINGERPRINT = "sha256:" + "0" * 64


# --- vectors ----------------------------------------------------------------------------------------------------------


def own_text_configs() -> Iterator[Any]:
    """The distinct text sides among open_clip's configs, those of the package transformers left out; small of width,
    layers and vocabulary."""
    seen = set()
    for file in sorted(CONFIGS.glob("*.json")):
        config = json.loads(file.read_text())
        text = config["text_cfg"]
        if "hf_model_name" in text:
            continue
        kept = {key: config[key] for key in ("custom_text", "quick_gelu") if config.get(key)}
        kept["kind"] = "CoCa" if "multimodal_cfg" in config else "CustomTextCLIP" if "custom_text" in config else "CLIP"
        aside = ("hf_tokenizer_name", "tokenizer_kwargs", "layers", "width", "vocab_size")
        kept["text_cfg"] = {key: value for key, value in text.items() if key not in aside}
        kept["hub"] = "hf_tokenizer_name" in text
        if kept["hub"] and text.get("pool_type") == "eos":  # so that CLIP's tokenizer, which tests have, ends texts so
            kept["text_cfg"]["eos_id"] = END
        key = json.dumps(kept, sort_keys=True)
        if key not in seen:
            seen.add(key)
            yield pytest.param(kept, id=file.stem)


def small_model(config: dict[str, Any]) -> Any:
    """A model with random weights whose text side is as the config says, but for its size."""
    text = {**config["text_cfg"], "layers": 2, "width": 4 * config["text_cfg"]["heads"], "vocab_size": 49408}
    parts: dict[str, Any] = {"embed_dim": 24, "text_cfg": text, "vision_cfg": TINY_VISION}
    if config["kind"] == "CoCa":
        parts["vision_cfg"] = {**TINY_VISION, "output_tokens": True}
        parts["multimodal_cfg"] = {"context_length": text["context_length"], "width": 16, "heads": 2, "layers": 1}
    return with_random_weights(getattr(open_clip, config["kind"])(**parts, quick_gelu=config.get("quick_gelu", False)))


def with_random_weights(model: Any) -> Any:
    rng = np.random.default_rng(0)
    state = model.state_dict()
    model.load_state_dict(
        {name: torch.from_numpy(random_weights(rng, name, tuple(state[name].shape))) for name in state}
    )
    return model.eval()


WORDS = "a photo of two brown dogs , and 17 children in red coats ! on the beach isn't it ? sunset & café 日本"


def captions() -> list[str]:
    """100 of all lengths: empty ones, one of each number of words to beyond every context, and two enormous ones."""
    rng = np.random.default_rng(0)
    lengths = [0, 0, *range(1, 97), 150, 5000]
    return [" ".join(rng.choice(WORDS.split(), length)) for length in lengths]


def hub_ids(context: int, eos_id: int) -> NDArray[np.int64]:
    """Token ids as tokenizers of the hub frame them: text, end of text, padding; cut at the context."""
    rng = np.random.default_rng(0)
    ids = np.full((100, context), 0 if eos_id else 1, np.int64)
    for row, length in enumerate(np.linspace(0, context + 9, 100).astype(int)):
        text = [*rng.integers(3, 1000, length).tolist(), eos_id]
        ids[row, : min(len(text), context)] = [*text[: context - 1], eos_id][: min(len(text), context)]
    return ids


@cache
def clip_tokenizer(context_length: int) -> Any:
    from mmsearch.encoders.tokens import _ClipTokenizer

    return _ClipTokenizer({"context_length": context_length}, {}, None)


def relative_error(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Of normalised vectors, centred: the greatest distance as a share of the distance from the mean."""
    ours, theirs = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (ours, theirs))
    apart = np.linalg.norm((ours - ours.mean(axis=0)) - (theirs - theirs.mean(axis=0)), axis=1)
    return float((apart / np.linalg.norm(theirs - theirs.mean(axis=0), axis=1)).max())


@pytest.mark.parametrize("config", list(own_text_configs()))
def test_vectors_equal_torchs(config: dict[str, Any]) -> None:
    model, text = small_model(config), config["text_cfg"]
    tokenizer = clip_tokenizer(text["context_length"])
    tower = lay_out(model, tokenizer, FINGERPRINT, 24)
    ids = hub_ids(text["context_length"], text.get("eos_id", 1)) if config["hub"] else tokenizer(captions()).ids
    with torch.inference_mode():
        expected = model.encode_text(torch.from_numpy(ids)).numpy()
    assert relative_error(TextTower(tower.design, tower.weights).encode(ids), expected) < 2e-5
