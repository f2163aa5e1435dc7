"""Towers in the user's cache: `text_towers/<fingerprint>.safetensors`, and `image_towers/` likewise; a file a tower,
mapped rather than read.

A file is written under another name, synced and renamed, so that two processes may write the same tower and a reader
sees a whole one or none. Before it is used it is checked: format, fingerprint, that every byte it promises is there,
and that none has changed. For that `<fingerprint>.hash` beside it holds the hash of its bytes, and the identity that
the file had when they were last hashed (size, times, inode): while it has that, nothing is hashed. A model of which a
side cannot be laid out leaves `<fingerprint>.json` with the reason, so that it is not tried each time.
"""

import contextlib
import json
import mmap
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsearch.cache import cache_dir, file_identity
from mmsearch.whole_files import is_partial, whole_file

__all__ = ["FORMAT_VERSION", "NoTower", "StoredTower", "TowerSide", "is_decided", "read_tower", "write_reason"]
__all__ += ["write_tower"]

FORMAT_VERSION = 4
"""Of the file, of what is computed with it, and of what can be laid out: another number and all is laid out anew."""

MOST_BYTES = 20_000_000_000
"""Of all towers together. Beyond it those go that were not used for longest. (ViT-B-32: 0.25 GB for texts and 0.35 for
images; the largest of open_clip's: 7 GB each.)"""

_FINGERPRINT = re.compile(r"sha256:([0-9a-f]{64})")
_DTYPES = {"F32": "<f4", "U8": "u1", "U64": "<u8", "I64": "<i8", "F64": "<f8"}
_DAY_S = 24 * 3600
_HASH_BYTES = 16
_LONG = 1_000  # characters: longer texts of a record, such as a tokenizer's tables, stand beside the weights

Design = TypeVar("Design")
Input = TypeVar("Input")


class NoTower(Exception):
    """There is no tower to use. The message says why, as the second half of a sentence."""


@dataclass(frozen=True, slots=True)
class TowerSide(Generic[Design, Input]):
    """A side of encoders that can be laid out.

    Attributes:
        name: as encoders call it: "text", "image".
        designs: name in the file -> record of what a tower does with its weights.
        inputs: name in the file -> record of what makes a tower's inputs.
    """

    name: str
    designs: Mapping[str, Callable[..., Design]]
    inputs: Mapping[str, Callable[..., Input]]


@dataclass(frozen=True, slots=True)
class StoredTower(Generic[Design, Input]):
    """A tower as it lies in the cache.

    Attributes:
        fingerprint: Of its encoder.
        dim: Of its vectors.
        design: What it does with its weights.
        input: What makes its inputs: the tokenizer of texts, the transform of pictures.
        weights: As the tower takes them.
        tables: What the input looks things up in.
    """

    fingerprint: str
    dim: int
    design: Design
    input: Input
    weights: Mapping[str, NDArray[np.float32]]
    tables: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def read_tower(side: TowerSide[Design, Input], fingerprint: str) -> StoredTower[Design, Input]:
    """The tower of a side of the encoder with this fingerprint, its weights mapped. Raises NoTower."""
    file = _place(side.name, fingerprint, ".safetensors")
    try:
        with file.open("rb") as opened:
            state = os.fstat(opened.fileno())
            content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise NoTower(_reason(side.name, fingerprint)) from None
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise NoTower(f"{file} cannot be read ({error}); it is made anew") from error
    try:
        stored = _parse(content, side, fingerprint)
        _require_unchanged(file, content, state)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoTower(f"{file} is damaged or of another version ({error}); it is made anew") from error
    return stored


def is_decided(side: TowerSide[Any, Any], fingerprint: str) -> bool:
    """Whether a tower, or the reason why there can be none, is in the cache and whole."""
    try:
        read_tower(side, fingerprint)
    except NoTower:
        return _read_reason(side.name, fingerprint) is not None
    return True


def write_tower(side: TowerSide[Design, Input], tower: StoredTower[Design, Input]) -> None:
    """Put a tower into the cache. Raises NoTower where it cannot be written; nothing is left behind then."""
    design, _ = _described(tower.design, side.designs)
    made_by, texts = _described(tower.input, side.inputs)
    head = {
        "format": FORMAT_VERSION,
        "fingerprint": tower.fingerprint,
        "dim": tower.dim,
        "design": design,
        "input": made_by,
    }
    tensors: dict[str, NDArray[Any]] = dict(tower.weights)
    tensors |= {f"table.{name}": array for name, array in tower.tables.items()}
    tensors |= {f"input.{name}": np.frombuffer(text.encode(), np.uint8) for name, text in texts.items()}
    target = _place(side.name, tower.fingerprint, ".safetensors")
    with _whole_file(target, sum(array.nbytes for array in tensors.values())) as partial:
        digest = _write_safetensors(partial, tensors, {"mmsearch": json.dumps(head)})
        _hash_file(target).unlink(missing_ok=True)  # of what stood there before
    with contextlib.suppress(OSError):
        _note_hash(target, digest, target.stat())
        target.with_suffix(".json").unlink()
    _drop_unused(keep=target)


def write_reason(side: TowerSide[Any, Any], fingerprint: str, reason: str) -> None:
    """Note why there can be no tower for a side of an encoder. Raises NoTower where that cannot be written."""
    target = _place(side.name, fingerprint, ".json")
    with _whole_file(target, len(reason)) as partial:
        partial.write_text(json.dumps({"format": FORMAT_VERSION, "reason": reason}), encoding="utf-8")
    with contextlib.suppress(OSError):
        target.with_suffix(".safetensors").unlink()
        _hash_file(target).unlink()


def _place(side: str, fingerprint: str, suffix: str) -> Path:
    found = _FINGERPRINT.fullmatch(fingerprint)
    if found is None:
        raise NoTower(f"the gallery's vectors come from elsewhere ({fingerprint})")
    return cache_dir() / f"{side}_towers" / f"{found[1]}{suffix}"


def _described(record: Any, kinds: Mapping[str, Callable[..., Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """A record as JSON, with the name of its kind; and those of its texts that are long, by field."""
    fields = asdict(record)
    texts = {name: value for name, value in fields.items() if isinstance(value, str) and len(value) > _LONG}
    kind = next(name for name, made in kinds.items() if made is type(record))
    return {"kind": kind, **{name: value for name, value in fields.items() if name not in texts}}, texts


def _write_safetensors(file: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """As the package safetensors writes them; but that keeps a copy of all tensors in memory, this of one. Returns the
    hash of what is written, taken in memory.

    The format: the length of the header (8 bytes), the header (JSON: name -> dtype, shape, [first, past] byte after
    it), the data.
    """
    names = {np.dtype(kind): name for name, kind in _DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": metadata}
    past = 0
    tensors = dict(sorted(tensors.items(), key=lambda entry: -entry[1].itemsize))  # so that all are aligned
    for name, array in tensors.items():
        first, past = past, past + array.nbytes
        header[name] = {"dtype": names[array.dtype], "shape": array.shape, "data_offsets": [first, past]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned
    import hashlib  # late: a query whose tower is as it was hashes nothing

    digest = hashlib.blake2b(digest_size=_HASH_BYTES)
    with file.open("wb") as opened:
        head = np.frombuffer(len(text).to_bytes(8, "little") + text, np.uint8)
        for array in (head, *tensors.values()):
            data = np.ascontiguousarray(array).data
            digest.update(data)
            opened.write(data)
    return digest.hexdigest()


def _require_unchanged(file: Path, content: mmap.mmap, state: os.stat_result) -> None:
    """Raise ValueError where the bytes of a tower are others than were written. state: of the file that is mapped.

    A tower of which no hash was noted, by a release that noted none, is taken as it is.
    """
    digest, identity = _read_hash(file)
    is_known = identity == file_identity(state)
    if not is_known:
        import hashlib

        found = hashlib.blake2b(content, digest_size=_HASH_BYTES).hexdigest()
        if digest not in ("", found):
            _refuse("its bytes have changed since it was written")
        digest = found
    if time.time() - state.st_mtime > _DAY_S:
        with contextlib.suppress(OSError):
            os.utime(file)  # used today: see _drop_unused
            touched = file.stat()
            if touched.st_ino == state.st_ino:  # and not what another process has put there meanwhile
                state, is_known = touched, False
    if not is_known:
        _note_hash(file, digest, state)


def _hash_file(tower: Path) -> Path:
    return tower.with_suffix(".hash")


def _read_hash(tower: Path) -> tuple[str, str]:
    """The hash of a tower, and the identity of its file when it was last taken; empty where none is noted."""
    try:
        document = json.loads(_hash_file(tower).read_text("utf-8"))
        return str(document["blake2b"]), str(document["file"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", ""


def _note_hash(tower: Path, digest: str, state: os.stat_result) -> None:
    """Where this cannot be written, the next query hashes again."""
    with contextlib.suppress(OSError), whole_file(_hash_file(tower)) as partial:
        partial.write_text(json.dumps({"blake2b": digest, "file": file_identity(state)}), encoding="utf-8")


def _parse(content: mmap.mmap, side: TowerSide[Design, Input], fingerprint: str) -> StoredTower[Design, Input]:
    """The tensors as views of the mapped file, which the package safetensors would copy."""
    past_header = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:past_header])
    head = json.loads(header.pop("__metadata__")["mmsearch"])
    if head["format"] != FORMAT_VERSION:
        _refuse(f"format {head['format']} instead of {FORMAT_VERSION}")
    if head["fingerprint"] != fingerprint:
        _refuse(f"it belongs to {head['fingerprint']}")
    promised = past_header + max(entry["data_offsets"][1] for entry in header.values())
    if promised != len(content):
        _refuse(f"{len(content):,} bytes instead of {promised:,}")
    texts = {
        name.removeprefix("input."): bytes(_view(content, past_header, header.pop(name), "U8")).decode()
        for name in list(header)
        if name.startswith("input.")
    }
    tables = {
        name.removeprefix("table."): _view(content, past_header, entry := header.pop(name), entry["dtype"])
        for name in list(header)
        if name.startswith("table.")
    }
    weights = {name: _view(content, past_header, entry, "F32") for name, entry in header.items()}
    design = _made(side.designs, head["design"])
    made_by = _made(side.inputs, head["input"] | texts)
    return StoredTower(fingerprint, int(head["dim"]), design, made_by, weights, tables)


_Made = TypeVar("_Made")


def _made(kinds: Mapping[str, Callable[..., _Made]], fields: Mapping[str, Any]) -> _Made:
    """The record that `_described` wrote down."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    kind = str(values.pop("kind"))
    return kinds[kind](**values)


def _view(content: mmap.mmap, start: int, entry: dict[str, Any], dtype: str) -> NDArray[Any]:
    if entry["dtype"] != dtype:
        _refuse(f"numbers of type {entry['dtype']}")
    first, past = entry["data_offsets"]
    kind = np.dtype(_DTYPES[dtype])
    return np.frombuffer(content, kind, (past - first) // kind.itemsize, start + first).reshape(entry["shape"])


def _refuse(what: str) -> NoReturn:
    raise ValueError(what)


def _reason(side: str, fingerprint: str) -> str:
    return _read_reason(side, fingerprint) or f"its {side} side is laid out for quick queries now, this once"


def _read_reason(side: str, fingerprint: str) -> str | None:
    try:
        document = json.loads(_place(side, fingerprint, ".json").read_text("utf-8"))
        return str(document["reason"]) if document["format"] == FORMAT_VERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def _whole_file(target: Path, size: int) -> Iterator[Path]:
    """A path to write to, which becomes `target` when the block ends well: whole and on the disk, or not at all."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(target.parent).free < 2 * size:
            raise NoTower(f"the disk of {target.parent} has no room for it ({2 * size / 1e6:,.0f} MB)")
        with whole_file(target, synced=True) as partial:
            yield partial
    except OSError as error:
        raise NoTower(f"the cache {target.parent} cannot be written ({error.strerror or error})") from error


def _drop_unused(keep: Path) -> None:
    """Hold the towers to `MOST_BYTES`, and remove what interrupted writers left."""
    with contextlib.suppress(OSError):
        for left in keep.parent.iterdir():
            if is_partial(left) and time.time() - left.stat().st_mtime > _DAY_S:
                left.unlink(missing_ok=True)
        found = [(file.stat(), file) for file in cache_dir().glob("*_towers/*.safetensors") if file != keep]
        room = MOST_BYTES - keep.stat().st_size
        for state, file in sorted(found, key=lambda each: each[0].st_mtime, reverse=True):
            room -= state.st_size
            if room < 0:
                file.unlink(missing_ok=True)
                _hash_file(file).unlink(missing_ok=True)
