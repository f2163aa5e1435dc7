"""The caption half of `embed`: a file of captions, synced by (source, ordinal)."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmsearch.encoders import Encoder
from mmsearch.gallery import GalleryWriter
from mmsearch.pipeline.embed.report import CaptionCounts
from mmsearch.records import CaptionRow, Progress, ProgressCallback, Provenance
from mmsearch.sources import CaptionFile, shown

__all__ = ["embed_captions"]

_CHUNK = 2_048  # captions between two looks at the clock: seconds of work on a small machine


def embed_captions(
    writer: GalleryWriter,
    encoder: Callable[[], Encoder],
    file: Path,
    captions: CaptionFile,
    progress: ProgressCallback,
) -> CaptionCounts:
    """Make the gallery's captions of `file` (absolute) those of `captions`; unchanged ones keep their rows."""
    source = writer.uri(file)
    live: dict[int, tuple[int, CaptionRow]] = {}
    gone: list[int] = []
    for known_id, known in writer.gallery.all_captions():
        if known.source == source and known.ordinal in live:
            gone.append(known_id)  # a key stands once
        elif known.source == source:
            live[known.ordinal] = (known_id, known)
    images = _Images(writer)
    changed: list[tuple[CaptionRow, int | None]] = []
    unchanged = unmatched = 0
    for line in captions.lines:
        root_id, name = images.find(file.parent, line.image) if line.image else (None, None)
        unmatched += bool(line.image) and root_id is None
        path = None if name is None else shown(name)
        path_bytes = None if name is None or path == name else os.fsencode(name)
        row = CaptionRow(line.caption, root_id, path, path_bytes, source, line.ordinal)
        row_id, old = live.pop(line.ordinal, (None, None))
        if old is not None and replace(old, truncated=None) == row:
            unchanged += 1
        else:
            changed.append((row, row_id))
    truncated = _encode(writer, encoder, changed, progress)
    gone += [row_id for row_id, _ in live.values()]
    writer.delete("captions", gone)
    return CaptionCounts(
        added=sum(row_id is None for _, row_id in changed),
        updated=sum(row_id is not None for _, row_id in changed),
        unchanged=unchanged,
        deleted=len(gone),
        truncated=truncated,
        unmatched=unmatched,
        problems=tuple(f"{file.name}: {problem}" for problem in captions.problems),
    )


def _encode(
    writer: GalleryWriter,
    encoder: Callable[[], Encoder],
    changed: Sequence[tuple[CaptionRow, int | None]],
    progress: ProgressCallback,
) -> int:
    truncated = 0
    for start in range(0, len(changed), _CHUNK):
        chunk = changed[start : start + _CHUNK]
        model = encoder()
        encoded = model.encode_texts([row.caption for row, _ in chunk])
        truncated += int(np.count_nonzero(encoded.truncated))
        provenance = Provenance(model.device, model.precision, "text")
        rows = [replace(row, truncated=bool(cut)) for (row, _), cut in zip(chunk, encoded.truncated, strict=True)]
        replaced = [row_id for _, row_id in chunk if row_id is not None]
        writer.append("captions", rows, encoded.vectors, provenance, replaces={"captions": replaced})
        if writer.due:
            writer.commit()
        progress(Progress("encoding captions", start + len(chunk), len(changed)))
    return truncated


class _Images:
    """Finds the picture that a file of captions means by a path."""

    def __init__(self, writer: GalleryWriter) -> None:
        self._writer = writer
        self._by_location: dict[str, tuple[int, str]] | None = None
        self._by_name: dict[str, tuple[int, str] | None] = {}
        self._folders = {root.id: str(writer.root_path(root)) for root in writer.roots}

    def find(self, folder: Path, image: str) -> tuple[int, str] | tuple[None, None]:
        """(root id, name) of a live picture, or (None, None).

        `image` is taken as a path from the file of captions, then from each root, then as a name that only one has.
        """
        if self._by_location is None:
            self._by_location = self._locations()
        for base in (str(folder), *self._folders.values()):
            location = os.path.normpath(os.path.join(base, image))  # noqa: PTH118
            if location in self._by_location:
                return self._by_location[location]
        return self._by_name.get(os.path.basename(image)) or (None, None)  # noqa: PTH119

    def _locations(self) -> dict[str, tuple[int, str]]:
        found = {}
        for _, root_id, name in self._writer.gallery.image_names():
            if root_id in self._folders:
                found[f"{self._folders[root_id]}/{name}"] = (root_id, name)
                base = name.rpartition("/")[2]
                self._by_name[base] = None if base in self._by_name else (root_id, name)
        return found
