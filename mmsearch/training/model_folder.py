"""A model that was trained, as a folder: in open_clip's layout, with a card for people and a record for programs."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.encoders.image_origin import RECORD_NAME
from mmsearch.encoders.sources import ModelSource
from mmsearch.encoders.specs import CONFIG_NAME
from mmsearch.errors import StoreError, TrainingError
from mmsearch.locations import expanded
from mmsearch.names import random_name
from mmsearch.whole_files import make_durable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CARD_NAME", "new_folder", "require_new_folder", "write_model"]

CARD_NAME = "README.md"
_WEIGHTS_NAME = "open_clip_model.safetensors"
_NOT_COPIED = (CONFIG_NAME, RECORD_NAME, CARD_NAME)
_OF_TOKENIZERS = (".json", ".txt", ".model")
_MOST_BYTES = 1 << 28


def new_folder(out: str | os.PathLike[str]) -> Path:
    """The folder of a new model, in full. Raises TrainingError unless a model can be written there."""
    given = os.fspath(out)
    folder = Path(os.path.abspath(expanded(given)))  # noqa: PTH100 - Path.resolve would follow links
    if not given.strip() or folder == Path.cwd() or folder in Path.cwd().parents:
        raise TrainingError(
            f"{given!r} is no new folder, and the model gets one of its own: name it, as in --out taught"
        )
    require_new_folder(folder)
    return folder


def require_new_folder(out: Path) -> None:
    """Raise TrainingError unless a model can be written there: what stands there is never written over."""
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise TrainingError(f"{out} exists already, and no model is written over: name another folder with --out")
    above = next((folder for folder in out.absolute().parents if folder.exists()), None)
    if above is not None and not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise TrainingError(f"{out} cannot be made: {above} is no folder that can be written")


def write_model(
    out: Path, source: ModelSource, weights: "Mapping[str, Tensor]", *, card: str, record: Mapping[str, Any]
) -> None:
    """Write a model, whole or not at all. Raises StoreError, TrainingError where something stands there by now."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file  # late: it loads torch

    partial = out.with_name(f".{out.name}.{random_name(8)}.tmp")
    try:
        partial.mkdir(parents=True)
        _copy_tokenizer(source, partial)
        config = {"model_cfg": dict(source.model_cfg), "preprocess_cfg": dict(source.preprocess)}
        (partial / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (partial / RECORD_NAME).write_text(json.dumps(dict(record), indent=2) + "\n", encoding="utf-8")
        (partial / CARD_NAME).write_text(card, encoding="utf-8")
        tensors = {name: tensor.contiguous().clone() for name, tensor in weights.items()}
        save_file(tensors, partial / _WEIGHTS_NAME, metadata={"format": "pt"})
        for file in partial.iterdir():
            file.chmod(0o644)
            make_durable(file)
        require_new_folder(out)
        partial.replace(out)  # over an empty folder too
    except (OSError, SafetensorError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise StoreError(f"cannot write the model {out}: {reason}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _copy_tokenizer(source: ModelSource, folder: Path) -> None:
    """What lies beside the weights of the model before and may be its tokenizer."""
    if source.folder is None:
        return
    for file in source.folder.iterdir():
        is_other = file.name in _NOT_COPIED or file.name.endswith(".index.json")
        if file.suffix in _OF_TOKENIZERS and not is_other and file.is_file() and file.stat().st_size <= _MOST_BYTES:
            shutil.copyfile(file, folder / file.name)
