"""Models of which only the text side was trained: whose image side they have, as their folder says and their weights
prove.

What `finetune` writes beside the weights names the model that it began with and the fingerprint of the image side that
both have. The claim counts where the weights that are loaded have that very image side: who trains on, or swaps the
weights, has a model of its own.
"""

import contextlib
import hashlib
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmsearch.cache import cache_dir, file_identity
from mmsearch.encoders.specs import WEIGHT_SUFFIXES
from mmsearch.identity import EncoderIdentity
from mmsearch.whole_files import whole_file

__all__ = ["RECORD_NAME", "known_identity", "note_identity", "stated_image_origin"]

RECORD_NAME = "mmsearch_finetune.json"
"""What `finetune` writes beside the weights, for programs."""

_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_BYTES = 1 << 24
_PARTS = (*WEIGHT_SUFFIXES, ".json", ".txt", ".model")
"""What files of a model end in; a picture or a card beside them changes nothing."""


def stated_image_origin(folder: Path) -> tuple[str, str] | None:
    """(the fingerprint of the model whose image side a model in a folder has, that of the image side alone), as it is
    stated; None where nothing is, or nothing that can be read."""
    file = folder / RECORD_NAME
    try:
        if file.stat().st_size > _MOST_BYTES:
            return None
        stated = json.loads(file.read_text(encoding="utf-8"))["image_side"]
        origin, own = str(stated["of"]), str(stated["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return (origin, own) if _FINGERPRINT.fullmatch(origin) and _FINGERPRINT.fullmatch(own) else None


def known_identity(folder: Path, spec: str) -> EncoderIdentity | None:
    """The identity that a model in a folder had when it was last loaded; None where it was not, or a file has changed
    since. Nothing of the model is loaded."""
    try:
        document = json.loads(_entry(folder, spec).read_text(encoding="utf-8"))
        identity = EncoderIdentity(**document)
    except (OSError, ValueError, TypeError):
        return None
    return identity if identity.spec == spec and _FINGERPRINT.fullmatch(identity.fingerprint) else None


def note_identity(folder: Path, identity: EncoderIdentity) -> None:
    """Keep the identity of a model in a folder, all of which lies there, for `known_identity`."""
    with contextlib.suppress(OSError):
        entry = _entry(folder, identity.spec)
        entry.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(entry) as partial:
            partial.write_text(json.dumps(asdict(identity)), encoding="utf-8")


def _entry(folder: Path, spec: str) -> Path:
    """Raises OSError."""
    parts = [file for file in folder.resolve().iterdir() if file.suffix in _PARTS]
    files: list[Any] = sorted((file.name, file_identity(file.stat())) for file in parts)
    digest = hashlib.sha256(json.dumps([spec, str(folder.resolve()), files]).encode()).hexdigest()
    return cache_dir() / "identities" / digest
