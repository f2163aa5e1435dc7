"""Encoder specs: what `--model` takes, taken apart. Neither torch nor open_clip is imported here."""

import difflib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mmsearch.errors import EncoderError
from mmsearch.locations import expanded

__all__ = [
    "DEFAULT_MODEL",
    "OWN_PREFIXES",
    "Tagged",
    "HubModel",
    "LocalModel",
    "CheckpointFile",
    "Spec",
    "CONFIG_NAME",
    "WEIGHT_SUFFIXES",
    "parse_spec",
    "require_files",
    "architectures",
    "close_names",
    "demo_folder",
]

DEFAULT_MODEL = "ViT-B-32/laion2b_s34b_b79k"

OWN_PREFIXES = ("hf-hub", "local-dir", "open_clip")
"""What may stand before the colon of open_clip's own specs."""

CONFIG_NAME = "open_clip_config.json"
"""What open_clip calls the config of a model in a folder or repository."""

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
"""What a file of weights ends in, preferred first."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """`ARCH/TAG`: an architecture of open_clip and a tag of its pretrained weights."""

    arch: str
    tag: str

    @property
    def spec(self) -> str:
        return f"{self.arch}/{self.tag}" if self.tag else self.arch


@dataclass(frozen=True, slots=True)
class HubModel:
    """`hf-hub:org/name`: a repository of the Hugging Face hub with an open_clip_config.json."""

    repo: str

    @property
    def spec(self) -> str:
        return f"hf-hub:{self.repo}"


@dataclass(frozen=True, slots=True)
class LocalModel:
    """`local-dir:PATH`: a folder with an open_clip_config.json and weights; `demo` is the one that comes bundled."""

    folder: Path
    spec: str


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """`ARCH/path/to/checkpoint.safetensors`: weights from a file, preprocessing from the config beside it."""

    arch: str
    file: Path

    @property
    def spec(self) -> str:
        return f"{self.arch}/{self.file}"


Spec: TypeAlias = Tagged | HubModel | LocalModel | CheckpointFile

_FORMS = (
    f"ARCH/TAG (such as {DEFAULT_MODEL}), hf-hub:org/name, local-dir:PATH, ARCH/path/to/checkpoint.safetensors, or demo"
)


def parse_spec(spec: str) -> Spec:
    """Take a spec apart; paths become absolute. Raises EncoderError for what is none.

    Whether an architecture exists is looked up here, as its name decides how the rest is read; tags are not.
    """
    if spec == "demo":
        return LocalModel(demo_folder(), "demo")
    scheme, colon, rest = spec.partition(":")
    if colon and scheme == "open_clip":
        return parse_spec(rest)
    if colon and scheme == "local-dir":
        if not rest:
            raise EncoderError("local-dir: needs a folder: local-dir:PATH")
        folder = expanded(rest).absolute()
        return LocalModel(folder, f"local-dir:{folder}")
    if colon and scheme == "hf-hub":
        org, slash, name = rest.partition("/")
        if not (org and slash and name) or "/" in name:
            raise EncoderError(f"{spec!r} names no repository of the Hugging Face hub: hf-hub:org/name")
        return HubModel(rest)
    return _parse_named(spec)


def _parse_named(spec: str) -> Spec:
    arch, slash, rest = spec.partition("/")
    known = architectures()
    if arch not in known:
        # OpenAI wrote ViT-B/32, open_clip lists name:tag; people copy both.
        wanted = spec.replace("/", "-").replace(":", "-") if slash else spec.partition(":")[0]
        names = dict.fromkeys([*close_names(arch, known), *close_names(wanted, known)])
        close = f" Close to it: {', '.join(list(names)[:5])}." if names else ""
        raise EncoderError(
            f"no model is called {spec!r}: open_clip has no architecture {arch!r}.{close} A model is {_FORMS}."
        )
    if not rest:
        return Tagged(arch, "")
    if "/" in rest or rest.endswith(WEIGHT_SUFFIXES):
        return CheckpointFile(arch, expanded(rest).absolute())
    return Tagged(arch, rest)


def require_files(spec: Spec) -> None:
    """Raise EncoderError where a spec names a folder or file that is not there."""
    match spec:
        case LocalModel(folder, name) if not (folder / CONFIG_NAME).is_file():
            if name == "demo":
                raise EncoderError(f"the demo model is not part of this installation: {folder} has no {CONFIG_NAME}")
            missing = f"it has no {CONFIG_NAME}" if folder.is_dir() else "there is no such folder"
            raise EncoderError(f"{name}: {missing}. A model's folder holds {CONFIG_NAME} and its weights")
        case CheckpointFile(_, file) if not file.is_file():
            raise EncoderError(f"{spec.spec}: there is no file {file}")
        case CheckpointFile(_, file) if not (file.parent / CONFIG_NAME).is_file():
            raise EncoderError(
                f"the preprocessing that {file} was trained with is not known: a file of weights does not say it. "
                f"Write {file.parent / CONFIG_NAME} with, for instance, "
                '{"preprocess_cfg": {"mean": [0.4815, 0.4578, 0.4082], "std": [0.2686, 0.2613, 0.2758], '
                '"interpolation": "bicubic", "resize_mode": "shortest"}}, '
                "or copy the config of the model that it was fine-tuned from"
            )


def architectures() -> tuple[str, ...]:
    """The architectures that open_clip knows, by the names of its config files (importing it costs 6 s)."""
    found = importlib.util.find_spec("open_clip")
    if found is None or found.origin is None:
        raise EncoderError("open_clip is not installed: pip install open_clip_torch")
    return tuple(sorted(file.stem for file in (Path(found.origin).parent / "model_configs").glob("*.json")))


def close_names(name: str, names: Iterable[str]) -> list[str]:
    """At most five of the names that look like it, case aside, the closest first."""
    by_folded = {each.casefold(): each for each in names}
    return [by_folded[match] for match in difflib.get_close_matches(name.casefold(), by_folded, n=5, cutoff=0.5)]


def demo_folder() -> Path:
    """Where the bundled model lies, or would."""
    return Path(__file__).parent / "demo"
