"""Writers of models with random weights, small and full-size, for tests and benchmarks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TINY_MODEL: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
PREPROCESS: dict[str, Any] = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def write_tiny_model(
    folder: Path,
    *,
    seed: int = 0,
    model: dict[str, Any] | None = None,
    preprocess: dict[str, Any] | None = None,
) -> Path:
    """Write a model of 1.7 million random weights as a folder for `local-dir:`; the same bytes for the same arguments.

    model, preprocess: laid over the config; "vision_cfg" and "text_cfg" are merged key by key. Returns folder.
    """
    overrides = dict(model or {})
    config = {**TINY_MODEL, **overrides}
    for part in ("vision_cfg", "text_cfg"):
        config[part] = {**TINY_MODEL[part], **overrides.get(part, {})}
    return _write(folder, config, {**PREPROCESS, **(preprocess or {})}, seed)


def write_random_model(folder: Path, arch: str = "ViT-B-32", *, seed: int = 0) -> Path:
    """Write a full-size open_clip architecture with random weights (0.6 GB for ViT-B-32). Returns folder."""
    from open_clip.factory import get_model_config

    return _write(folder, get_model_config(arch), PREPROCESS, seed)


def write_large_tokenizer(folder: Path, pieces: int = 256_000) -> None:
    """Write a tokenizer like SigLIP2's beside a model: byte-pair encoding with half a million merges, of all strings of
    letters up to a length of three and many of four."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    letters = [*"▁etaoinshrdlucmfwypvbgkjqxz"]
    vocabulary = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    merges: list[tuple[str, str]] = []
    grown = len(vocabulary) - len(letters)
    while len(vocabulary) < pieces:
        piece = vocabulary[grown]
        grown += 1
        for letter in letters[: pieces - len(vocabulary)]:
            vocabulary.append(piece + letter)
            merges += [(piece, letter), *([(piece[0], piece[1:] + letter)] if len(piece) > 1 else [])]
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    made = Tokenizer(models.BPE(numbers, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    made.add_special_tokens(special)
    made.save(str(folder / "tokenizer.json"))
    tokens = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "padding_side": "right", **tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _write(folder: Path, model_cfg: dict[str, Any], preprocess: dict[str, Any], seed: int) -> Path:
    import torch
    from open_clip import CLIP, CustomTextCLIP
    from safetensors.numpy import save_file

    cfg = dict(model_cfg)
    kind = CustomTextCLIP if cfg.pop("custom_text", False) else CLIP
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in kind(**cfg).state_dict().items()}
    rng = np.random.default_rng(seed)
    tensors = {name: random_weights(rng, name, tuple(shape)) for name, shape in sorted(shapes.items())}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "open_clip_model.safetensors")
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return folder


def random_weights(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Large enough that different inputs get clearly different vectors, small enough that nothing saturates."""
    if name == "logit_scale":
        return np.array(np.log(100), dtype=np.float32)
    drawn: NDArray[np.float32] = np.asarray(rng.standard_normal(shape, dtype=np.float32))
    if name.endswith("running_var"):
        return np.abs(drawn) + np.float32(0.5)
    norms = ("ln_", "bn", "norm", "fc_norm")
    if any(part.startswith(norms) for part in name.split(".")) or ".downsample.1." in name:
        return np.asarray(np.float32(0.1) * drawn + np.float32(1.0 if name.endswith("weight") else 0.0))
    is_window = len(shape) == 4 and shape[-1] <= 3  # of a residual network, whose many layers add up
    fan_in = int(np.prod(shape[1:])) if is_window else shape[-1] if len(shape) > 1 else 64
    return np.asarray(drawn / np.float32(np.sqrt(fan_in)))
