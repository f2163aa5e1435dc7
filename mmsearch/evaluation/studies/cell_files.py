"""Cells on the disk: `OUT/cells/<key>.json`, each written once, whole, and durably."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.encoders.costs import EncoderCosts
from mmsearch.errors import StoreError
from mmsearch.evaluation.studies.records import CellResult
from mmsearch.identity import EncoderIdentity
from mmsearch.strict_json import json_text
from mmsearch.whole_files import whole_file

__all__ = ["FORMAT", "cell_file", "find_cell", "read_cell", "read_cells", "write_cell"]

FORMAT = 1
"""Cells of another format are measured again."""

_DIRECTIONS = ("text_to_image", "image_to_text")


def cell_file(out: Path, key: str) -> Path:
    """Where a cell stands in the folder of a study."""
    return out / "cells" / f"{key}.json"


def write_cell(cell: CellResult, out: Path) -> None:
    """Write a cell into the folder of a study. Raises StoreError."""
    file = cell_file(out, cell.key)
    document: dict[str, Any] = {"format": FORMAT}
    for name in CellResult.__slots__:
        value = getattr(cell, name)
        document[name] = asdict(value) if name in ("encoder", "costs") and value is not None else value
    document["ranks"] = {direction: ranks.tolist() for direction, ranks in cell.ranks.items()}
    document["image_of_caption"] = cell.image_of_caption.tolist()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file, synced=True) as partial:
            partial.write_text(json_text(document) + "\n", "utf-8", errors="backslashreplace")
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error.strerror or error}") from error


def read_cell(file: Path) -> CellResult | None:
    """The cell in a file; None where there is none, or none that is whole and of this format."""
    try:
        document = json.loads(file.read_text("utf-8"))
        return _cell(document) if document["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_cell(out: Path, key: str, measured: str) -> str | None:
    """The key of a whole cell: `key` where there is one, else any of the same measurement, whose names are others; None
    where there is none. measured: what the keys of one measurement begin with."""
    others = sorted(file.stem for file in (out / "cells").glob(f"{measured}*.json"))
    return next((each for each in (key, *others) if read_cell(cell_file(out, each)) is not None), None)


def read_cells(out: Path) -> list[CellResult]:
    """The cells in the folder of a study, in the order in which they were measured; of those of one name the newest."""
    cells = [cell for file in sorted((out / "cells").glob("[!.]*.json")) if (cell := read_cell(file)) is not None]
    newest = {
        (cell.model, cell.variant, cell.benchmark): cell for cell in sorted(cells, key=lambda cell: cell.measured_at)
    }
    return sorted(newest.values(), key=lambda cell: cell.measured_at)


def _cell(document: Mapping[str, Any]) -> CellResult:
    fields = {name: document[name] for name in CellResult.__slots__}
    ranks = {direction: np.asarray(document["ranks"][direction], np.int64) for direction in _DIRECTIONS}
    image_of_caption = np.asarray(document["image_of_caption"], np.int64)
    if [len(ranks[direction]) for direction in _DIRECTIONS] != [len(image_of_caption), document["n_images"]]:
        raise ValueError("ranks and queries do not belong together")
    return CellResult(
        **fields
        | {
            "encoder": EncoderIdentity(**document["encoder"]),
            "costs": None if document["costs"] is None else EncoderCosts(**document["costs"]),
            "ranks": ranks,
            "image_of_caption": image_of_caption,
            **{name: tuple(document[name]) for name in ("templates", "departures", "problems")},
        }
    )
