"""Towers in the user's cache: `text_towers/<fingerprint>.safetensors`, a file a tower, mapped rather than read.

A file is written under another name, synced and renamed, so that two processes may write the same tower and a reader
sees a whole one or none. Before it is used it is checked: format, fingerprint, and that every byte it promises is
there. A model whose text side cannot be laid out leaves `<fingerprint>.json` with the reason, so that it is not tried
each time.
"""

import contextlib
import json
import mmap
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from mmsearch.cache import cache_dir
from mmsearch.towers.text_tokens import ClipTokens, HubTokens, TokenizerRecord
from mmsearch.towers.text_tower import Design
from mmsearch.whole_files import is_partial, whole_file

__all__ = ["FORMAT_VERSION", "NoTower", "StoredTower", "is_decided", "read_tower", "write_reason", "write_tower"]

FORMAT_VERSION = 1
"""Of the file, and of what is computed with it: another number and the tower is laid out anew."""

MOST_BYTES = 10_000_000_000
"""Of all towers together. Beyond it those go that were not used for longest. (ViT-B-32: 0.25 GB; the largest of
open_clip's, with a vocabulary of 900,000: 7 GB.)"""

_FINGERPRINT = re.compile(r"sha256:([0-9a-f]{64})")
_TOKENIZER_TABLES = {"clip": "merges", "hub": "definition"}
_DTYPES = {"F32": "<f4", "U8": "u1"}
_STALE_S = 24 * 3600


class NoTower(Exception):
    """There is no tower to use. The message says why, as the second half of a sentence."""


@dataclass(frozen=True, slots=True)
class StoredTower:
    """A tower as it lies in the cache.

    weights: as `TextTower` takes them. dim: of its vectors.
    """

    fingerprint: str
    dim: int
    design: Design
    weights: dict[str, NDArray[np.float32]]
    tokenizer: TokenizerRecord


def read_tower(fingerprint: str) -> StoredTower:
    """The tower of the encoder with this fingerprint, its weights mapped. Raises NoTower."""
    file = _place(fingerprint, ".safetensors")
    try:
        with file.open("rb") as opened:
            content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise NoTower(_reason(fingerprint)) from None
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise NoTower(f"{file} cannot be read ({error}); it is made anew") from error
    try:
        stored = _parse(content, fingerprint)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoTower(f"{file} is damaged or of another version ({error}); it is made anew") from error
    with contextlib.suppress(OSError):
        os.utime(file)  # used now: see _drop_unused
    return stored


def is_decided(fingerprint: str) -> bool:
    """Whether a tower, or the reason why there can be none, is in the cache and whole."""
    try:
        read_tower(fingerprint)
    except NoTower:
        return _read_reason(fingerprint) is not None
    return True


def write_tower(tower: StoredTower) -> None:
    """Put a tower into the cache. Raises NoTower where it cannot be written; nothing is left behind then."""
    from safetensors.numpy import save_file

    kind = "clip" if isinstance(tower.tokenizer, ClipTokens) else "hub"
    settings = asdict(tower.tokenizer)
    tables = settings.pop(_TOKENIZER_TABLES[kind]).encode()
    head = {
        "format": FORMAT_VERSION,
        "fingerprint": tower.fingerprint,
        "dim": tower.dim,
        "design": asdict(tower.design),
        "tokenizer": {"kind": kind, **settings},
    }
    tensors: dict[str, NDArray[Any]] = {**tower.weights, "tokenizer": np.frombuffer(tables, np.uint8)}
    size = sum(array.nbytes for array in tensors.values())
    with _whole_file(_place(tower.fingerprint, ".safetensors"), size) as partial:
        save_file(tensors, partial, metadata={"mmsearch": json.dumps(head)})
    with contextlib.suppress(OSError):
        _place(tower.fingerprint, ".json").unlink()
    _drop_unused(keep=_place(tower.fingerprint, ".safetensors"))


def write_reason(fingerprint: str, reason: str) -> None:
    """Note why there can be no tower for an encoder. Raises NoTower where that cannot be written."""
    with _whole_file(_place(fingerprint, ".json"), len(reason)) as partial:
        partial.write_text(json.dumps({"format": FORMAT_VERSION, "reason": reason}), encoding="utf-8")
    with contextlib.suppress(OSError):
        _place(fingerprint, ".safetensors").unlink()


def _place(fingerprint: str, suffix: str) -> Path:
    found = _FINGERPRINT.fullmatch(fingerprint)
    if found is None:
        raise NoTower(f"the gallery's vectors come from elsewhere ({fingerprint})")
    return cache_dir() / "text_towers" / f"{found[1]}{suffix}"


def _parse(content: mmap.mmap, fingerprint: str) -> StoredTower:
    """The tensors as views of the mapped file, which the package safetensors would copy. Its format: the length of the
    header (8 bytes), the header (JSON: name -> dtype, shape, [first, past] byte after it), the data."""
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
    tables = bytes(_view(content, past_header, header.pop("tokenizer"), "U8")).decode()
    weights = {name: _view(content, past_header, entry, "F32") for name, entry in header.items()}
    settings = head["tokenizer"]
    kind = settings.pop("kind")
    settings[_TOKENIZER_TABLES[kind]] = tables
    tokenizer: TokenizerRecord
    if kind == "clip":
        tokenizer = ClipTokens(**{**settings, "special": tuple(settings["special"])})
    else:
        tokenizer = HubTokens(**settings)
    return StoredTower(fingerprint, int(head["dim"]), Design(**head["design"]), weights, tokenizer)


def _view(content: mmap.mmap, start: int, entry: dict[str, Any], dtype: str) -> NDArray[Any]:
    if entry["dtype"] != dtype:
        _refuse(f"numbers of type {entry['dtype']}")
    first, past = entry["data_offsets"]
    kind = np.dtype(_DTYPES[dtype])
    return np.frombuffer(content, kind, (past - first) // kind.itemsize, start + first).reshape(entry["shape"])


def _refuse(what: str) -> NoReturn:
    raise ValueError(what)


def _reason(fingerprint: str) -> str:
    return _read_reason(fingerprint) or "its text side is laid out for quick queries now, this once"


def _read_reason(fingerprint: str) -> str | None:
    try:
        document = json.loads(_place(fingerprint, ".json").read_text("utf-8"))
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
            partial.touch()
            mode = stat.S_IMODE(partial.stat().st_mode)  # as this user makes files; safetensors makes them private
            yield partial
            partial.chmod(mode)
    except OSError as error:
        raise NoTower(f"the cache {target.parent} cannot be written ({error.strerror or error})") from error


def _drop_unused(keep: Path) -> None:
    """Hold the towers to `MOST_BYTES`, and remove what interrupted writers left."""
    with contextlib.suppress(OSError):
        for left in keep.parent.iterdir():
            if is_partial(left) and time.time() - left.stat().st_mtime > _STALE_S:
                left.unlink(missing_ok=True)
        found = [(file.stat(), file) for file in keep.parent.glob("*.safetensors") if file != keep]
        room = MOST_BYTES - keep.stat().st_size
        for state, file in sorted(found, key=lambda each: each[0].st_mtime, reverse=True):
            room -= state.st_size
            if room < 0:
                file.unlink(missing_ok=True)
