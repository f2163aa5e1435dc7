"""The caption half of `embed`: a file of captions, synced by (source, ordinal)."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mmsearch.embedding.records import CaptionCounts
from mmsearch.encoders import Encoder
from mmsearch.gallery import GalleryWriter
from mmsearch.items import CAPTIONS, CaptionRow
from mmsearch.locations import Location, joined
from mmsearch.names import composed, stored_name
from mmsearch.progress import Progress, ProgressCallback
from mmsearch.sources import MEMBER, CaptionFile, CaptionLine, shown, spanned
from mmsearch.stores import is_folder
from mmsearch.versions import Provenance

__all__ = ["embed_captions"]

_EXAMPLES = 10  # of captions without a picture, and of pictures without a caption
_COMMIT_ROWS = 2_048  # captions between two looks at the clock: seconds of work on a small machine


def embed_captions(
    writer: GalleryWriter,
    encoder: Callable[[], Encoder],
    file: Location,
    captions: CaptionFile,
    progress: ProgressCallback,
) -> CaptionCounts:
    """Make `captions` the gallery's captions of `file` (absolute); unchanged ones keep their rows.

    `file` may be a folder or an archive with captions beside the pictures. Then captions without a picture are reported
    and not embedded.
    """
    source = writer.uri(file)
    live, deleted = _read_live_captions(writer, source)
    images = _ImageFinder(writer, file)
    changed: list[tuple[CaptionRow, int | None]] = []
    unchanged = 0
    unmatched: list[CaptionLine] = []
    for line in captions.lines:
        root_id, name = images.find(line) if line.image else (None, None)
        if line.image and root_id is None:
            unmatched.append(line)
            if line.stem:
                continue
        path, path_bytes = (None, None) if name is None else stored_name(name)
        caption_source = source if line.member is None else f"{source}{MEMBER}{shown(line.member)}"
        row = CaptionRow(line.caption, root_id, path, path_bytes, caption_source, line.ordinal)
        old_row_id, old_row = live.pop((caption_source, line.ordinal), (None, None))
        if old_row is not None and replace(old_row, truncated=None) == row:
            unchanged += 1
        else:
            changed.append((row, old_row_id))
    uncaptioned = images.uncaptioned() if any(line.stem for line in captions.lines) else []
    truncated = _encode(writer, encoder, changed, progress)
    deleted += [old_row_id for old_row_id, _ in live.values()]
    writer.delete(CAPTIONS.name, deleted)
    return CaptionCounts(
        added=sum(old_row_id is None for _, old_row_id in changed),
        updated=sum(old_row_id is not None for _, old_row_id in changed),
        unchanged=unchanged,
        deleted=len(deleted),
        truncated=truncated,
        unmatched=len(unmatched),
        problems=tuple(f"{file.name}: {problem}" for problem in captions.problems),
        uncaptioned=len(uncaptioned),
        unpaired=(
            *(f"{shown(str(line.member))} has no picture" for line in unmatched[:_EXAMPLES] if line.stem),
            *(f"{shown(name)} has no caption" for name in uncaptioned[:_EXAMPLES]),
        ),
    )


_CaptionKey = tuple[str, int]  # source, ordinal


def _read_live_captions(
    writer: GalleryWriter, source: str
) -> tuple[dict[_CaptionKey, tuple[int, CaptionRow]], list[int]]:
    """Read the captions of a source that the gallery holds. Returns them, and the row ids of repeated ones."""
    live: dict[_CaptionKey, tuple[int, CaptionRow]] = {}
    repeated: list[int] = []
    for row_id, row in writer.gallery.all_captions():
        if row.source == source or row.source.startswith(f"{source}{MEMBER}"):
            key = (row.source, row.ordinal)
            if key in live:
                repeated.append(row_id)
            else:
                live[key] = (row_id, row)
    return live, repeated


def _encode(
    writer: GalleryWriter,
    encoder: Callable[[], Encoder],
    changed: Sequence[tuple[CaptionRow, int | None]],
    progress: ProgressCallback,
) -> int:
    truncated = 0
    for start in range(0, len(changed), _COMMIT_ROWS):
        chunk = changed[start : start + _COMMIT_ROWS]
        model = encoder()
        encoded = model.text.encode([row.caption for row, _ in chunk])
        truncated += int(np.count_nonzero(encoded.truncated))
        provenance = Provenance(model.device, model.precision, CAPTIONS.side)
        rows = [replace(row, truncated=bool(cut)) for (row, _), cut in zip(chunk, encoded.truncated, strict=True)]
        replaced = [row_id for _, row_id in chunk if row_id is not None]
        writer.append(CAPTIONS.name, rows, encoded.vectors, provenance, replaces={CAPTIONS.name: replaced})
        if writer.is_commit_due:
            writer.commit()
        progress(Progress("encoding captions", start + len(chunk), len(changed)))
    return truncated


_ImageKey = tuple[int, str]  # root id, name


class _ImageFinder:
    """Finds the image of a caption, by its path or by its path without the suffix."""

    def __init__(self, writer: GalleryWriter, source: Location) -> None:
        self._writer, self._source, self._is_folder = writer, source, is_folder(source)
        self._by_location: dict[str, _ImageKey] = {}
        self._by_composed_location: dict[str, _ImageKey] = {}  # by the composed location, where that is another
        self._by_name: dict[str, _ImageKey | None] = {}  # by the composed name
        self._matched: set[_ImageKey] = set()
        self._folders = {root.id: str(writer.root_path(root)) for root in writer.roots}

    def find(self, line: CaptionLine) -> _ImageKey | tuple[None, None]:
        """(root id, name) of the live image of a caption, or (None, None).

        `line.image` is tried as a path from the source, then from each root, then as a name that only one image has.
        """
        if not self._by_location:
            self._by_location = self._read_locations(stems=line.stem)
        image = line.image or ""
        beside = str(self._source if self._is_folder else self._source.parent)
        if line.stem and not self._is_folder:
            image = f"{self._source.name}{MEMBER}{image}"
        for base in (beside, *self._folders.values()):
            location = joined(base, image)
            known = self._by_location.get(location) or self._by_composed_location.get(composed(location))
            if known is not None:
                self._matched.add(known)
                return known
        image_key = self._by_name.get(composed(os.path.basename(image)))  # noqa: PTH119
        if image_key is None:
            return None, None
        self._matched.add(image_key)
        return image_key

    def uncaptioned(self) -> list[str]:
        """The names of images without a caption: of those in the source, else of those in the roots of its images."""
        source_location = str(self._source)
        inside = [
            image_key
            for location, image_key in self._by_location.items()
            if location.startswith((f"{source_location}/", f"{source_location}{MEMBER}"))
        ]
        if not inside:
            roots = {root_id for root_id, _ in self._matched}
            inside = [image_key for image_key in self._by_location.values() if image_key[0] in roots]
        return [name for root_id, name in inside if (root_id, name) not in self._matched]

    def _read_locations(self, *, stems: bool) -> dict[str, _ImageKey]:
        by_location: dict[str, _ImageKey] = {}
        for _, root_id, name in self._writer.gallery.image_names():
            if root_id in self._folders:
                known_name = os.path.splitext(name)[0] if stems else name  # noqa: PTH122
                location = f"{self._folders[root_id]}/{known_name}"
                by_location.setdefault(location, (root_id, name))
                if (composed_location := composed(location)) != location:
                    self._by_composed_location.setdefault(composed_location, (root_id, name))
                if spanned(name) is not None:
                    continue  # every document has a page 3
                base_name = composed(known_name.rpartition("/")[2])
                self._by_name[base_name] = None if base_name in self._by_name else (root_id, name)
        return by_location
