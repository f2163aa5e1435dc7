"""Models of transformers and sentence-transformers: where their files lie, and what of them is loaded. Never code.

A model is named as `PREFIX:org/name`, a repository of the Hugging Face hub, or as `PREFIX:FOLDER`, a folder on this
machine. Of a repository those files are downloaded that are read: settings, tokenizers and tensors.
`transformers` is not imported here.
"""

import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from mmsearch.encoders.hub import hub_folder
from mmsearch.errors import EncoderError
from mmsearch.locations import expanded

__all__ = [
    *("CONFIG", "PROCESSOR", "TOKENIZER", "ModelName", "find_model_folder", "licence_in", "no_downloads"),
    *("parse_model_name", "read_settings", "require_no_code", "require_package"),
]

CONFIG = ("config.json",)
PROCESSOR = ("preprocessor_config.json", "processor_config.json")
TOKENIZER = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model")
"""Files of which a model has one or another."""

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_SETTINGS = ("*.json", "*.txt", "*.model", "*.jinja", "README.md")
_TENSORS = ("model.safetensors", "model-*-of-*.safetensors")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_NOT_MODULES = ("onnx", "openvino")  # the same weights for other programs
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_MOST_SETTINGS_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class ModelName:
    """Which model is meant.

    Attributes:
        prefix: who loads it: "hf", "st".
        repo: its repository on the Hugging Face hub, "org/name"; empty for one in a folder.
        folder: its folder, absolute; None for one of the hub.
    """

    prefix: str
    repo: str = ""
    folder: Path | None = None

    @property
    def spec(self) -> str:
        return f"{self.prefix}:{self.folder or self.repo}"


def parse_model_name(spec: str) -> ModelName:
    """`PREFIX:org/name` or `PREFIX:FOLDER`, taken apart. Nothing is looked up, so that a name means the same in every
    folder: a folder whose path looks like a repository is named with `./` before it. Raises EncoderError."""
    prefix, _, rest = spec.partition(":")
    if not rest:
        raise EncoderError(f"{prefix}: needs a model: {prefix}:org/name (of the Hugging Face hub) or {prefix}:/folder")
    if _REPOSITORY.fullmatch(rest):
        return ModelName(prefix, repo=rest)
    return ModelName(prefix, folder=expanded(rest).absolute())


def find_model_folder(
    name: ModelName, needs: Sequence[Sequence[str]], *, announce: Callable[[str], None], modules: bool = False
) -> Path:
    """The folder that holds a model's files; what of it is not on this machine is downloaded.

    needs: files without which it is no model; of each group one (`CONFIG`, `PROCESSOR`, `TOKENIZER`). Weights are
    needed besides. modules: whether it has parts in folders of their own, as those of sentence-transformers.
    announce: gets a line before a download.
    Raises EncoderError where it cannot be had, asks for code of its own, or has weights only as pickles.
    """
    if name.folder is not None:
        if not name.folder.is_dir():
            raise EncoderError(f"{name.spec}: there is no such folder")
        folder = name.folder
    else:
        folder = hub_folder(
            name.repo,
            is_wanted=lambda file: _is_wanted(file, modules),
            is_complete=lambda cached: not _missing(cached, needs, modules),
            check_settings=lambda cached: require_no_code(cached, name.spec),
            check_names=lambda files: _require_tensors(files, name.spec, modules),
            advice=_advice(name),
            announce=announce,
        )
    require_no_code(folder, name.spec)
    _require_tensors(_names_in(folder, modules), name.spec, modules)
    if missing := _missing(folder, needs, modules):
        raise EncoderError(f"{name.spec}: {folder} has no {missing}")
    return folder


def require_no_code(folder: Path, spec: str) -> None:
    """Raise EncoderError for a model that brings code of its own, or is only a change to another one."""
    for file in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]):
        if file.name == "adapter_config.json":
            raise EncoderError(
                f"{spec} is an adapter ({file.name}), a change to the weights of another model. Merge it into them "
                "(merge_and_unload of the package peft, then save_pretrained)"
            )
        if file.name.endswith("config.json") and (code := _code_named_in(read_settings(file))):
            raise EncoderError(
                f"{spec} asks for code of its own ({code}, says {file.name}). Code that comes with a model is never "
                "run: it could do anything. A model of a kind that transformers itself knows can be used"
            )


def read_settings(file: Path) -> Any:
    """What a JSON file of a model says. Raises EncoderError."""
    try:
        if file.stat().st_size > _MOST_SETTINGS_BYTES:
            raise EncoderError(f"{file} holds no settings of a model: it is larger than {_MOST_SETTINGS_BYTES:,} bytes")
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise EncoderError(f"cannot read {file}: {reason}") from error


def licence_in(folder: Path) -> str | None:
    """The licence of the weights, as the model card in their folder states it: "apache-2.0"; with its name or address
    where it is none of the usual ones. None where it states none, or there is no card."""
    from huggingface_hub.repocard import metadata_load

    try:
        stated = metadata_load(folder / "README.md") or {}
    except Exception:  # noqa: BLE001 - whatever the reader of YAML thinks of a card; a card is no reason to stop
        return None
    licence = stated.get("license")
    if isinstance(licence, list):
        licence = ", ".join(map(str, licence))
    if not isinstance(licence, str) or not licence.strip():
        return None
    further = [str(stated[key]) for key in ("license_name", "license_link") if stated.get(key)]
    return _one_line(f"{licence} ({', '.join(further)})" if further else licence)


def require_package(package: str, extra: str, spec: str) -> None:
    """Raise EncoderError where a package that a model needs is not installed. It is not imported."""
    if importlib.util.find_spec(package) is None:
        name = package.replace("_", "-")
        raise EncoderError(f'{spec} needs the package {name}: pip install "mmsearch[{extra}]"')


@contextmanager
def no_downloads() -> Iterator[None]:
    """Inside, the hub's client reaches for no network: whatever a model's files say, nothing else is fetched."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


# --- files ------------------------------------------------------------------------------------------------------------


def _is_wanted(name: str, modules: bool) -> bool:
    folder, _, file = name.rpartition("/")
    if folder and (not modules or "/" in folder or folder in _NOT_MODULES or folder.startswith(".")):
        return False
    return any(fnmatch(file, pattern) for pattern in (*_SETTINGS, *_TENSORS)) and not file.endswith(".bin.index.json")


def _names_in(folder: Path, modules: bool) -> list[str]:
    files = [*folder.glob("*"), *(folder.glob("*/*") if modules else ())]
    return [file.relative_to(folder).as_posix() for file in files]


def _require_tensors(names: Iterable[str], spec: str, modules: bool) -> None:
    """Raise EncoderError where a folder has weights as pickles alone, or none at all."""
    by_folder: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        if not folder or (modules and "/" not in folder and folder not in _NOT_MODULES):
            by_folder.setdefault(folder, []).append(file)
    have = {folder for folder, files in by_folder.items() if any(file in _WEIGHTS for file in files)}
    for folder, files in sorted(by_folder.items()):
        pickles = sorted(file for file in files if any(fnmatch(file, pattern) for pattern in _PICKLES))
        pickles = [file for file in pickles if file != "training_args.bin"]
        if pickles and folder not in have:
            where = f"{folder}/{pickles[0]}" if folder else pickles[0]
            raise EncoderError(
                f"{spec} has its weights only as a pickle ({where}), which can run any code when it is loaded. "
                "Convert them to safetensors where you trust them: load the model with the package that it was made "
                "with, and save it again (save_pretrained)"
            )
    if not have:
        raise EncoderError(f"{spec} has no weights: {_WEIGHTS[0]} is missing. A model with random weights is not used")


def _missing(folder: Path, needs: Sequence[Sequence[str]], modules: bool) -> str:
    """What a folder lacks to be a model, in words; empty where it is whole."""
    for group in needs:
        if not any((folder / name).is_file() for name in group):
            return " and no ".join(group)
    for place in _weight_folders(folder) if modules else [folder]:
        if not any((place / name).is_file() for name in _WEIGHTS):
            return (place / _WEIGHTS[0]).relative_to(folder).as_posix()
    indexes = [*folder.glob(_WEIGHTS[1]), *(folder.glob(f"*/{_WEIGHTS[1]}") if modules else ())]
    for index in indexes:
        settings = read_settings(index)
        shards = settings.get("weight_map") if isinstance(settings, dict) else None
        if not isinstance(shards, dict):
            raise EncoderError(f"{index} does not say in which files the weights are (weight_map)")
        for shard in sorted({str(each) for each in shards.values()}):
            if not (index.parent / shard).is_file():
                return shard
    return ""


_WITH_WEIGHTS = ("Transformer", "CLIPModel", "Dense", "LayerNorm")


def _weight_folders(folder: Path) -> list[Path]:
    """Where the parts of a model that have weights lie, as its modules.json says."""
    modules = read_settings(folder / "modules.json") if (folder / "modules.json").is_file() else None
    if not isinstance(modules, list):
        return [folder]
    parts = [each for each in modules if isinstance(each, dict)]
    with_weights = [each for each in parts if str(each.get("type")).rpartition(".")[2] in _WITH_WEIGHTS]
    return [folder / str(each.get("path", "")) for each in with_weights] or [folder]


def _code_named_in(settings: Any) -> str | None:
    """The code that settings ask for, "modeling_x.XModel"; None where they ask for none."""
    if isinstance(settings, list):
        return next((code for each in settings if (code := _code_named_in(each))), None)
    if not isinstance(settings, dict):
        return None
    if named := settings.get("auto_map"):
        classes = named.values() if isinstance(named, dict) else [named]
        flat = [one for each in classes for one in (each if isinstance(each, list) else [each]) if one]
        return _one_line(str(flat[0])) if flat else None
    return next((code for each in settings.values() if (code := _code_named_in(each))), None)


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text).strip()[:120]


def _advice(name: ModelName) -> str:
    """What to do where a model of the hub cannot be had."""
    here = f" There is a folder {name.repo} here: {name.prefix}:./{name.repo}." if Path(name.repo).is_dir() else ""
    return (
        f"Without a network name a folder: {name.prefix}:/path/to/folder. To make one, elsewhere: "
        f"hf download {name.repo} --local-dir my-model.{here}"
    )
