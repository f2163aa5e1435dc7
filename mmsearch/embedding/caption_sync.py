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
from mmsearch.sources import MEMBER, CaptionFile, CaptionLine, shown
from mmsearch.stores import is_folder
from mmsearch.versions import Provenance

__all__ = ["embed_captions"]

_EXAMPLES = 10  # of captions without a picture, and of pictures without a caption
_CHUNK = 2_048  # captions between two looks at the clock: seconds of work on a small machine


def embed_captions(
    writer: GalleryWriter,
    encoder: Callable[[], Encoder],
    file: Location,
    captions: CaptionFile,
    progress: ProgressCallback,
) -> CaptionCounts:
    """Make the gallery's captions of `file` (absolute) those of `captions`; unchanged ones keep their rows.

    Of a folder or an archive with captions beside the pictures, those without a picture are reported and not embedded.
    """
    source = writer.uri(file)
    live, gone = _live(writer, source)
    images = _Images(writer, file)
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
        own = source if line.member is None else f"{source}{MEMBER}{shown(line.member)}"
        row = CaptionRow(line.caption, root_id, path, path_bytes, own, line.ordinal)
        row_id, old = live.pop((own, line.ordinal), (None, None))
        if old is not None and replace(old, truncated=None) == row:
            unchanged += 1
        else:
            changed.append((row, row_id))
    uncaptioned = images.uncaptioned() if any(line.stem for line in captions.lines) else []
    truncated = _encode(writer, encoder, changed, progress)
    gone += [row_id for row_id, _ in live.values()]
    writer.delete(CAPTIONS.name, gone)
    return CaptionCounts(
        added=sum(row_id is None for _, row_id in changed),
        updated=sum(row_id is not None for _, row_id in changed),
        unchanged=unchanged,
        deleted=len(gone),
        truncated=truncated,
        unmatched=len(unmatched),
        problems=tuple(f"{file.name}: {problem}" for problem in captions.problems),
        uncaptioned=len(uncaptioned),
        unpaired=(
            *(f"{shown(str(line.member))} has no picture" for line in unmatched[:_EXAMPLES] if line.stem),
            *(f"{shown(name)} has no caption" for name in uncaptioned[:_EXAMPLES]),
        ),
    )


_Key = tuple[str, int]  # source, ordinal


def _live(writer: GalleryWriter, source: str) -> tuple[dict[_Key, tuple[int, CaptionRow]], list[int]]:
    """The captions of a source that the gallery holds, and the row ids of those that stand in it twice."""
    live: dict[_Key, tuple[int, CaptionRow]] = {}
    twice: list[int] = []
    for row_id, row in writer.gallery.all_captions():
        if row.source == source or row.source.startswith(f"{source}{MEMBER}"):
            key = (row.source, row.ordinal)
            if key in live:
                twice.append(row_id)
            else:
                live[key] = (row_id, row)
    return live, twice


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
        encoded = model.text.encode([row.caption for row, _ in chunk])
        truncated += int(np.count_nonzero(encoded.truncated))
        provenance = Provenance(model.device, model.precision, CAPTIONS.side)
        rows = [replace(row, truncated=bool(cut)) for (row, _), cut in zip(chunk, encoded.truncated, strict=True)]
        replaced = [row_id for _, row_id in chunk if row_id is not None]
        writer.append(CAPTIONS.name, rows, encoded.vectors, provenance, replaces={CAPTIONS.name: replaced})
        if writer.due:
            writer.commit()
        progress(Progress("encoding captions", start + len(chunk), len(changed)))
    return truncated


_Picture = tuple[int, str]  # root id, name


class _Images:
    """Finds the picture that a source of captions means, by its path or by its path without the suffix."""

    def __init__(self, writer: GalleryWriter, source: Location) -> None:
        self._writer, self._source, self._is_folder = writer, source, is_folder(source)
        self._by_location: dict[str, _Picture] = {}
        self._alike: dict[str, _Picture] = {}  # by the composed location, where that is another
        self._by_name: dict[str, _Picture | None] = {}  # by the composed name
        self._found: set[_Picture] = set()
        self._folders = {root.id: str(writer.root_path(root)) for root in writer.roots}

    def find(self, line: CaptionLine) -> _Picture | tuple[None, None]:
        """(root id, name) of a live picture, or (None, None).

        Its `image` is taken as a path from the source, then from each root, then as a name that only one picture has.
        """
        if not self._by_location:
            self._by_location = self._locations(stems=line.stem)
        image = line.image or ""
        beside = str(self._source if self._is_folder else self._source.parent)
        if line.stem and not self._is_folder:
            image = f"{self._source.name}{MEMBER}{image}"
        for base in (beside, *self._folders.values()):
            location = joined(base, image)
            known = self._by_location.get(location) or self._alike.get(composed(location))
            if known is not None:
                self._found.add(known)
                return known
        picture = self._by_name.get(composed(os.path.basename(image)))  # noqa: PTH119
        if picture is None:
            return None, None
        self._found.add(picture)
        return picture

    def uncaptioned(self) -> list[str]:
        """The pictures beside the captions that none of them means: of the source, else of the roots that it names."""
        at = str(self._source)
        inside = [
            picture
            for location, picture in self._by_location.items()
            if location.startswith((f"{at}/", f"{at}{MEMBER}"))
        ]
        if not inside:
            roots = {root_id for root_id, _ in self._found}
            inside = [picture for picture in self._by_location.values() if picture[0] in roots]
        return [name for root_id, name in inside if (root_id, name) not in self._found]

    def _locations(self, *, stems: bool) -> dict[str, _Picture]:
        found: dict[str, _Picture] = {}
        for _, root_id, name in self._writer.gallery.image_names():
            if root_id in self._folders:
                known = os.path.splitext(name)[0] if stems else name  # noqa: PTH122
                location = f"{self._folders[root_id]}/{known}"
                found.setdefault(location, (root_id, name))
                if (other := composed(location)) != location:
                    self._alike.setdefault(other, (root_id, name))
                base = composed(known.rpartition("/")[2])
                self._by_name[base] = None if base in self._by_name else (root_id, name)
        return found
