"""Pictures of the same place: Revisited Oxford and Paris, with what is easy, hard and junk for each query.

Their ground truth is a pickle, `gnd_roxford5k.pkl`. A pickle can run anything; of this one only plain values and arrays
of numbers are taken, and what else it names is refused. The same as JSON is read too.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.benchmarks.annotation_files import read_bytes
from mmsearch.benchmarks.image_folder import ImageFolder
from mmsearch.benchmarks.model import DraftImage
from mmsearch.benchmarks.plain_pickles import DAMAGED, RefusedName, load_plain
from mmsearch.errors import BenchmarkError
from mmsearch.locations import Location

__all__ = ["INSTANCE_SETS", "InstanceBenchmark", "InstanceQuery", "load_instances"]

INSTANCE_SETS = {
    "roxford5k": (70, 4_993),
    "rparis6k": (70, 6_322),
}
"""Name -> how many queries and images it has (Radenović et al. 2018)."""

_MOST_BYTES = 1 << 28
_ENDING = ".jpg"


@dataclass(frozen=True, slots=True, eq=False)
class InstanceQuery:
    """A part of a picture, and which images show the same.

    Attributes:
        image: Position in the pictures that ask.
        box: Left, top, right and bottom in pixels; None for the whole picture.
        easy, hard: Positions of images that show it.
        junk: Positions of images that neither count as right nor as wrong.
    """

    image: int
    box: tuple[float, float, float, float] | None
    easy: NDArray[np.int64]
    hard: NDArray[np.int64]
    junk: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class InstanceBenchmark:
    """What is searched, and what asks.

    Attributes:
        root: What images are relative to.
        images: Paths of what is searched, in the order of the ground truth.
        asking: Paths of the pictures that ask; none of them is searched.
    """

    name: str
    root: Location
    images: tuple[str, ...]
    asking: tuple[str, ...]
    queries: tuple[InstanceQuery, ...]


def load_instances(name: str, *, images: Location, annotations: Location) -> InstanceBenchmark:
    """Read the ground truth, and find its images in a folder or an archive. Raises BenchmarkError."""
    data = _parse(annotations)
    listed, asking, records = (data.get(key) for key in ("imlist", "qimlist", "gnd"))
    if not (_is_names(listed) and _is_names(asking) and isinstance(records, list) and records):
        keys = ", ".join(map(str, data)) or "none"
        raise BenchmarkError(f"{annotations}: not a ground truth with imlist, qimlist and gnd; it has the keys {keys}")
    assert isinstance(listed, list)
    assert isinstance(asking, list)
    if len(records) != len(asking):
        raise BenchmarkError(f"{annotations}: {len(records):,} records for {len(asking):,} pictures that ask")
    folder = ImageFolder(images, _ENDING)
    queries = tuple(
        _read_query(f"{annotations}: gnd[{number}]", number, record, len(listed))
        for number, record in enumerate(records)
    )
    return InstanceBenchmark(name, folder.root, _find_all(folder, listed), _find_all(folder, asking), queries)


def _find_all(folder: ImageFolder, names: Sequence[str]) -> tuple[str, ...]:
    found = {name: folder.find(DraftImage(name, "", ())) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise BenchmarkError(
            f"images: {len(missing):,} of {len(found):,} are not in {folder.place} "
            f"({', '.join(missing[:3])}{', …' if len(missing) > 3 else ''})"
        )
    return tuple(path for name in names if (path := found[name]) is not None)


def _read_query(where: str, number: int, record: Any, images: int) -> InstanceQuery:
    if not isinstance(record, dict):
        raise BenchmarkError(f"{where}: not a record with easy, hard and junk")
    sides = {key: _positions(where, key, record.get(key, ()), images) for key in ("easy", "hard", "junk")}
    box = record.get("bbx")
    if box is None:
        return InstanceQuery(number, None, **sides)
    try:
        left, top, right, bottom = (float(side) for side in box)
    except (TypeError, ValueError):
        raise BenchmarkError(f"{where}: bbx is not four numbers: {box!r:.60}") from None
    if not (right > left and bottom > top):
        raise BenchmarkError(f"{where}: bbx is an empty box: {box!r:.60}")
    return InstanceQuery(number, (left, top, right, bottom), **sides)


def _positions(where: str, key: str, values: Any, images: int) -> NDArray[np.int64]:
    try:
        positions = np.asarray(values, np.int64).reshape(-1) if len(values) else np.empty(0, np.int64)
    except (TypeError, ValueError, OverflowError):
        raise BenchmarkError(f"{where}: {key} is not a list of positions: {values!r:.60}") from None
    if len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < images:
        raise BenchmarkError(f"{where}: {key} names an image beyond the {images:,} of imlist")
    return np.unique(positions)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)


def _parse(file: Location) -> dict[Any, Any]:
    data = read_bytes(file, "annotations")
    if len(data) > _MOST_BYTES:
        raise BenchmarkError(f"{file}: {len(data):,} bytes, too many for a ground truth")
    try:
        parsed = json.loads(data) if data.lstrip()[:1] == b"{" else load_plain(data)
    except RefusedName as error:
        raise BenchmarkError(f"{file}: {error}") from None
    except DAMAGED as error:
        raise BenchmarkError(f"{file}: neither JSON nor a pickle of plain values ({error})") from None
    if not isinstance(parsed, dict):
        raise BenchmarkError(f"{file}: not a ground truth with imlist, qimlist and gnd")
    return parsed
