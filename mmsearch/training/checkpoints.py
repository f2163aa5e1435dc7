"""Where training stands, on the disk: a file of tensors and a few words, read without running any code.

A run that is killed continues from its last checkpoint to the same end, bit for bit on one machine: all that is random
follows from the seed and the step, so the weights, the optimiser's moments and the order of the epoch are all there is
to keep.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmsearch.errors import StoreError, TrainingError
from mmsearch.whole_files import whole_file

__all__ = ["Checkpoint", "read_checkpoint", "write_checkpoint"]

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Attributes:
    run: what decides how the run goes (settings, pairs, model), as a digest; another run is not continued.
    step: how many steps are done.
    log: what is to be told of them, as JSON.
    tensors: by name: what is trained, and the optimiser's moments of it.
    """

    run: str
    step: int
    log: str
    tensors: Mapping[str, Tensor]


def write_checkpoint(file: Path, checkpoint: Checkpoint) -> None:
    """Write it in place of what was there; a kill at any moment leaves one of the two. Raises StoreError."""
    about = {"format": _FORMAT, "run": checkpoint.run, "step": checkpoint.step, "log": checkpoint.log}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    try:
        with whole_file(file, synced=True) as partial:
            save_file(tensors, partial, metadata={"checkpoint": json.dumps(about)})
    except (OSError, SafetensorError) as error:  # on a full disk it is either
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise StoreError(
            f"cannot write the checkpoint {file}: {reason}. Once there is room the same command goes on from the one "
            "before"
        ) from error


def read_checkpoint(file: Path, run: str) -> Checkpoint | None:
    """The checkpoint of a run; None where there is none yet.

    Raises TrainingError where it is another run's, or damaged."""
    if not file.exists():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            about = json.loads((opened.metadata() or {})["checkpoint"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  no mapping
        found = Checkpoint(str(about["run"]), int(about["step"]), str(about["log"]), tensors)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{file} is damaged ({error}): delete it to begin from the start") from error
    if about.get("format") != _FORMAT or found.run != run:
        raise TrainingError(
            f"{file} is the checkpoint of a run with other pairs, another model or other settings: give the same as "
            "then to continue it, another --out, or delete it to begin from the start"
        )
    return found
