"""Which encoder made a vector, to the last weight: SHA-256 over config, preprocessing, tokenizer and tensors.

Device, precision, file format and file names are not in it. Hashing costs a second a gigabyte, so the result is cached
under the identity of the weights files (path, size, times, inode), as `git` trusts it.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.cache import cache_dir, file_identity
from mmsearch.encoders.model_folders import read_settings
from mmsearch.whole_files import whole_file

if TYPE_CHECKING:
    import torch

__all__ = ["cached_fingerprint", "fingerprint", "folder_fingerprint", "image_side_fingerprint"]

_FORMAT = 1  # of what is hashed; another number makes every fingerprint another
_VALID = re.compile(r"sha256:[0-9a-f]{64}")

_NO_EFFECT = frozenset(
    {
        # Where pretrained parts of a model come from before its own weights replace them.
        *("hf_model_pretrained", "timm_model_pretrained"),
        # The tokenizer stands on its own, by content.
        *("hf_tokenizer_name", "tokenizer_kwargs", "tokenizer_mode"),
    }
)


_OF_TEXTS = (
    "text_cfg",
    "multimodal_cfg",
    "custom_text",
    "init_logit_scale",
    "init_logit_bias",
    "nonscalar_logit_scale",
)


def fingerprint(
    model_cfg: Mapping[str, Any],
    preprocess: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
    tensors: Iterable[tuple[str, "torch.Tensor"]],
) -> str:
    """The fingerprint of an encoder, "sha256:<hex>".

    model_cfg, preprocess: resolved. tokenizer: its identity. tensors: (name, tensor) of the loaded weights, in any
    order, before any change of device or precision.
    """
    import torch

    digest = hashlib.sha256(_canonical(model_cfg, preprocess, tokenizer))
    for name, tensor in sorted(tensors, key=lambda named: named[0]):
        head = json.dumps([name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)])
        digest.update(head.encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)  # bfloat16 has no numpy type, its bytes have
    return f"sha256:{digest.hexdigest()}"


def cached_fingerprint(
    weights: Sequence[Path],
    model_cfg: Mapping[str, Any],
    preprocess: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
    tensors: Iterable[tuple[str, "torch.Tensor"]],
) -> str:
    """As `fingerprint`, from the cache where these weights were hashed before; only else are the tensors read.

    weights: the files that hold the tensors.
    """
    entry = _entry(weights, _canonical(model_cfg, preprocess, tokenizer))
    known = _read(entry)
    if known is not None:
        return known
    value = fingerprint(model_cfg, preprocess, tokenizer, tensors)
    _write(entry, value)
    return value


def image_side_fingerprint(
    weights: Sequence[Path],
    model_cfg: Mapping[str, Any],
    preprocess: Mapping[str, Any],
    tensors: Iterable[tuple[str, "torch.Tensor"]],
) -> str:
    """The fingerprint of the image side of a model of open_clip alone, else as `cached_fingerprint`: of two models for
    which it is the same, the vectors of pictures are."""
    own_cfg = {name: value for name, value in model_cfg.items() if name not in _OF_TEXTS}
    own = ((name, tensor) for name, tensor in tensors if name.startswith("visual."))
    return cached_fingerprint(weights, {"side": "image", **own_cfg}, preprocess, {}, own)


def folder_fingerprint(folder: Path, tensors: Iterable[tuple[str, "torch.Tensor"]], further: Mapping[str, Any]) -> str:
    """The fingerprint of a model in a folder: what its settings say, its tokenizer and its weights.

    tensors: as in `fingerprint`. further: what else decides about what it gives.
    """
    settings = {
        file.relative_to(folder).as_posix(): _lasting(read_settings(file))
        for file in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")])
        if file.name in _DECIDING
    }
    names = [file for file in sorted([*folder.glob("*"), *folder.glob("*/*")]) if file.name in _TOKENS]
    tokens = {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in names}
    weights = sorted([*folder.glob("*.safetensors"), *folder.glob("*/*.safetensors")])
    return cached_fingerprint(weights, settings, dict(further), tokens, tensors)


_DECIDING = frozenset(
    {
        *("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer_config.json"),
        *("special_tokens_map.json", "added_tokens.json", "modules.json", "sentence_bert_config.json"),
        "config_sentence_transformers.json",
    }
)
_TOKENS = frozenset(
    {
        *("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "tokenizer.model", "spiece.model"),
        *("sentencepiece.bpe.model", "chat_template.jinja", "chat_template.json"),
    }
)
# Who wrote the files, and how the weights are kept, changes no vector.
_PASSING = frozenset({"transformers_version", "_name_or_path", "torch_dtype", "dtype", "__version__", "name_or_path"})


def _lasting(settings: Any) -> Any:
    if isinstance(settings, list):
        return [_lasting(each) for each in settings]
    if isinstance(settings, dict):
        return {key: _lasting(value) for key, value in settings.items() if key not in _PASSING}
    return settings


def _canonical(model_cfg: Mapping[str, Any], preprocess: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> bytes:
    parts = {"format": _FORMAT, "model": model_cfg, "preprocess": preprocess, "tokenizer": tokenizer}
    return json.dumps(_plain(parts), sort_keys=True, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    """Equal settings written differently, made equal: 4.0 and 4, tuple and list, None and absent."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if v is not None and k not in _NO_EFFECT}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _entry(weights: Sequence[Path], canonical: bytes) -> Path:
    files = [file.resolve() for file in weights]
    identity = json.dumps([each for file in files for each in (str(file), file_identity(file.stat()))]).encode()
    return cache_dir() / "fingerprints" / hashlib.sha256(identity + b"\0" + canonical).hexdigest()


def _read(entry: Path) -> str | None:
    try:
        text = entry.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return text if _VALID.fullmatch(text) else None


def _write(entry: Path, value: str) -> None:
    """Whole or not at all. A cache that cannot be written (a read-only home) costs time at the next load, no more."""
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(entry) as partial:
            partial.write_text(value + "\n", encoding="ascii")
