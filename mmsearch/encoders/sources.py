"""From a spec to everything that a model is made of: config, preprocessing, weights file, tokenizer.

open_clip resolves these in `create_model`, but only warns where a tag and an architecture disagree on the activation,
and takes default preprocessing for a checkpoint file. Here the tag's own word counts, and what is unknown is an error.
"""

import copy
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.encoders.hub import hub_file
from mmsearch.encoders.specs import (
    CONFIG_NAME,
    DEFAULT_MODEL,
    WEIGHT_SUFFIXES,
    CheckpointFile,
    HubModel,
    LocalModel,
    Spec,
    Tagged,
    close_names,
    require_files,
)
from mmsearch.errors import EncoderError

__all__ = ["ModelSource", "TaggedModel", "resolve", "resolve_tagged"]

_HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_PREFERRED_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
"""The order of open_clip's own search in a folder."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """What to build a model from.

    spec: canonical, paths absolute. model_cfg: as open_clip's model classes take it, with "quick_gelu" resolved.
    preprocess: the fields of open_clip's PreprocessCfg but for size, which the model gives.
    weights: the checkpoint. folder: of a model from a folder, else None.
    """

    spec: str
    model_cfg: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    weights: Path
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class TaggedModel:
    """An (architecture, tag) pair as open_clip's registry has it, nothing downloaded.

    repo, weight_names: where the weights are on the Hugging Face hub, equivalents preferred first.
    """

    spec: str
    model_cfg: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    repo: str
    weight_names: tuple[str, ...]


def resolve(spec: Spec, *, announce: Callable[[str], None]) -> ModelSource:
    """Find all that a spec names, downloading what is not on this machine. Raises EncoderError."""
    require_files(spec)
    match spec:
        case Tagged(arch, tag):
            tagged = resolve_tagged(arch, tag)
            _refuse_without_packages(tagged.spec, tagged.model_cfg)
            weights = hub_file(tagged.repo, tagged.weight_names, announce=announce)
            return ModelSource(tagged.spec, tagged.model_cfg, tagged.preprocess, weights)
        case HubModel(repo):
            model_cfg, preprocess = _read_config(hub_file(repo, [CONFIG_NAME], announce=announce))
            _refuse_without_packages(spec.spec, model_cfg)
            return ModelSource(spec.spec, model_cfg, preprocess, hub_file(repo, _HUB_WEIGHTS, announce=announce))
        case LocalModel(folder):
            return _resolve_folder(folder, spec.spec)
        case CheckpointFile():
            return _resolve_checkpoint(spec)


def resolve_tagged(arch: str, tag: str) -> TaggedModel:
    """A pair of open_clip's registry; its activation and preprocessing are those that the tag was trained with.

    Raises EncoderError for an unknown tag, naming what there is.
    """
    from open_clip import pretrained
    from open_clip.factory import get_model_config

    tags = pretrained.list_pretrained_tags_by_model(arch)
    entry = pretrained.get_pretrained_cfg(arch, tag) if tag else {}
    if not entry:
        raise _unknown_tag(arch, tag, tags)
    model_cfg = get_model_config(arch)
    # 27 tags say "quick_gelu" where their architecture's config does not (ViT-B-32/openai among them); without it they
    # lose points of accuracy. A tag that says nothing leaves it to the architecture: that is so for one only,
    # roberta-ViT-B-32/laion2b_s12b_b32k, trained from that config, whose published 61.7 % are with its QuickGELU.
    model_cfg["quick_gelu"] = bool(entry.get("quick_gelu", model_cfg.get("quick_gelu", False)))
    repo, _, name = entry["hf_hub"].rpartition("/")
    names = _HUB_WEIGHTS if not name else (f"{Path(name).stem}.safetensors", name)
    spec = f"{arch}/{next(each for each in tags if each == tag.lower().replace('-', '_'))}"
    return TaggedModel(spec, model_cfg, _preprocess(entry, arch), repo, names)


# What the models of one architecture were trained on: the larger, better filtered and more open data first.
_TRAINED_ON = ("datacomp_xl", "webli", "laion2b", "dfn", "metaclip", "merged2b", "openai", "datacomp", "laion400m")


def _rank(tag: str) -> tuple[bool, int, bool]:
    """Where a tag stands among those to choose from: the default model's first, half-trained ones after whole ones."""
    known = next((place for place, name in enumerate(_TRAINED_ON) if tag.startswith(name)), len(_TRAINED_ON))
    return not DEFAULT_MODEL.endswith(f"/{tag}"), known, re.search(r"_e\d+$", tag) is not None


def _unknown_tag(arch: str, tag: str, tags: list[str]) -> EncoderError:
    if not tags:
        return EncoderError(
            f"open_clip has no pretrained weights for {arch}: give a file, {arch}/path/to/checkpoint.safetensors, "
            "or another architecture"
        )
    shown = close_names(tag, tags) or sorted(tags, key=_rank)[:8]
    more = f" and {len(tags) - len(shown)} more" if len(tags) > len(shown) else ""
    what = (
        f"{arch} has no pretrained weights {tag!r}" if tag else f"{arch} alone is not a model: its weights have a tag"
    )
    return EncoderError(
        f"{what}. There is {', '.join(f'{arch}/{each}' for each in shown)}{more}; all: "
        f'python -c "import open_clip; print(open_clip.list_pretrained_tags_by_model({arch!r}))"'
    )


def _resolve_folder(folder: Path, spec: str) -> ModelSource:
    model_cfg, preprocess = _read_config(folder / CONFIG_NAME)
    _refuse_without_packages(spec, model_cfg)
    return ModelSource(spec, model_cfg, preprocess, _weights_in(folder), folder)


def _weights_in(folder: Path) -> Path:
    for name in _PREFERRED_WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    others = sorted(file for file in folder.iterdir() if file.suffix in WEIGHT_SUFFIXES and file.is_file())
    if len(others) == 1:
        return others[0]
    if others:
        names = ", ".join(file.name for file in others)
        raise EncoderError(
            f"{folder} has several files of weights ({names}) and none has the usual name: call one of them "
            f"{_PREFERRED_WEIGHTS[0]}"
        )
    raise EncoderError(
        f"{folder} has a {CONFIG_NAME} but no weights: {_PREFERRED_WEIGHTS[0]} is missing (or another "
        f"{', '.join(WEIGHT_SUFFIXES)} file). A model with random weights is not used"
    )


def _resolve_checkpoint(spec: CheckpointFile) -> ModelSource:
    from open_clip.factory import get_model_config

    config = spec.file.parent / CONFIG_NAME
    model_cfg = get_model_config(spec.arch)
    parsed = _parse_config(config)
    beside = parsed.get("model_cfg")
    quick_gelu = beside.get("quick_gelu", False) if isinstance(beside, dict) else model_cfg.get("quick_gelu", False)
    model_cfg["quick_gelu"] = bool(quick_gelu)
    preprocess = _preprocess(_preprocess_part(parsed, config), str(config))
    _refuse_without_packages(spec.spec, model_cfg)
    return ModelSource(spec.spec, model_cfg, preprocess, spec.file)


def _read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(model_cfg, preprocess) of an open_clip_config.json."""
    parsed = _parse_config(path)
    model_cfg = parsed.get("model_cfg")
    parts = ("embed_dim", "vision_cfg", "text_cfg")
    if not isinstance(model_cfg, dict) or any(part not in model_cfg for part in parts):
        raise EncoderError(f"{path} is not a config of open_clip: it lacks model_cfg with {', '.join(parts)}")
    _require_sizes(model_cfg, path)
    model_cfg = copy.deepcopy(model_cfg)
    model_cfg["quick_gelu"] = bool(model_cfg.get("quick_gelu", False))
    return model_cfg, _preprocess(_preprocess_part(parsed, path), str(path))


_MOST_CONFIG_BYTES = 1 << 24

_MOST = {"layers": 1_000}
"""Of a model's own sizes. What is larger is a mistake that would take all memory, or an hour, to find."""
_MOST_OF_OTHERS = 10_000_000


def _require_sizes(model_cfg: Mapping[str, Any], path: Path) -> None:
    """Raise EncoderError where a part of a model's config is no object, or a size in it no number that can be one."""
    for part in ("vision_cfg", "text_cfg"):
        if not isinstance(model_cfg[part], dict):
            raise EncoderError(f"{path}: {part} is {model_cfg[part]!r:.80}, not an object of settings")
        for name in ("layers", "width", "heads", "head_width", "patch_size", "image_size"):
            _require_size(model_cfg[part], name, path)
    for part, name in (("text_cfg", "context_length"), ("text_cfg", "vocab_size")):
        _require_size(model_cfg[part], name, path)
    _require_size(model_cfg, "embed_dim", path)
    text_cfg = model_cfg["text_cfg"]
    if not isinstance(text_cfg.get("tokenizer_kwargs") or {}, dict):
        raise EncoderError(f"{path}: tokenizer_kwargs is {text_cfg['tokenizer_kwargs']!r:.80}, not an object")
    if not isinstance(text_cfg.get("eos_id") or 0, int):
        raise EncoderError(f"{path}: eos_id is {text_cfg['eos_id']!r:.80}, not the number of a token")


def _require_size(settings: Mapping[str, Any], name: str, path: Path) -> None:
    if name not in settings or (name == "patch_size" and settings[name] is None):  # a ResNet has no patches
        return
    value, most = settings[name], _MOST.get(name, _MOST_OF_OTHERS)
    # A side may be (height, width), and a ResNet has a number of layers for each stage.
    for each in value if isinstance(value, list) and value else [value]:
        if isinstance(each, bool) or not isinstance(each, int) or not 0 < each <= most:
            raise EncoderError(f"{path}: {name} is {value!r:.80}, not a whole number from 1 to {most:,}")


def _parse_config(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_CONFIG_BYTES:
            raise EncoderError(f"{path} is no config of open_clip: it is larger than {_MOST_CONFIG_BYTES:,} bytes")
        parsed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise EncoderError(f"cannot read {path}: {reason}") from error
    if not isinstance(parsed, dict):
        raise EncoderError(f"{path} is not a config of open_clip: it holds no object")
    return parsed


def _preprocess_part(parsed: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    part = parsed.get("preprocess_cfg")
    if not isinstance(part, dict) or not {"mean", "std"} <= set(part):
        raise EncoderError(
            f"{path} does not say how the model's pictures were preprocessed: preprocess_cfg needs mean and std "
            "(and interpolation and resize_mode where they are not bicubic and shortest)"
        )
    return part


def _preprocess(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """open_clip's defaults, overlaid with what is given; checked."""
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    merged: dict[str, Any] = merge_preprocess_dict(PreprocessCfg(), dict(given))
    merged.pop("size")
    for key in ("mean", "std"):
        values = merged[key] if isinstance(merged[key], (list, tuple)) else [merged[key]] * 3
        if len(values) != 3 or not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
            raise EncoderError(f"{where}: preprocess_cfg has {key} = {merged[key]!r}, not three numbers")
        if key == "std" and 0 in values:
            raise EncoderError(f"{where}: preprocess_cfg has std = {merged[key]!r}, and pixels are divided by it")
        merged[key] = [float(value) for value in values]
    for key, known in (
        (
            "interpolation",
            ("bicubic", "bilinear", "random"),
        ),  # random is for training; open_clip then infers with bicubic
        ("resize_mode", ("shortest", "longest", "squash")),
        ("mode", ("RGB",)),
    ):
        if merged[key] not in known:
            raise EncoderError(f"{where}: preprocess_cfg has {key} = {merged[key]!r}, not one of {', '.join(known)}")
    return merged


def _refuse_without_packages(spec: str, model_cfg: Mapping[str, Any]) -> None:
    """Before anything is downloaded."""
    import importlib.util

    text = model_cfg["text_cfg"]
    for package, extra, needs in (
        ("transformers", "transformers", text.get("hf_model_name")),
        ("tokenizers", "siglip", text.get("hf_tokenizer_name")),
    ):
        if needs and importlib.util.find_spec(package) is None:
            raise EncoderError(
                f'the text side of {spec} needs the package {package} (for {needs}): pip install "mmsearch[{extra}]"'
            )
