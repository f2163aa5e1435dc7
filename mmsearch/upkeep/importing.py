"""`import`: vectors that another program computed, as a gallery."""

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.declared import declared_encoder
from mmsearch.errors import EncoderMismatch, MmsearchWarning, SourceError
from mmsearch.gallery import GalleryWriter, gallery_to_write, open_writer
from mmsearch.identity import EncoderIdentity
from mmsearch.items import CAPTIONS, IMAGES, SKIPPED, CaptionRow, ImageRow, SkippedRow
from mmsearch.locations import Location, expanded, located
from mmsearch.progress import Progress, ProgressCallback, quiet
from mmsearch.stores import is_folder, utf8_name
from mmsearch.versions import Provenance, Root

__all__ = ["ImportReport", "import_vectors"]

_Path = str | os.PathLike[str]
_BATCH = 4_096
_VECTORS = {IMAGES.name: "img_emb", CAPTIONS.name: "text_emb"}
_COLUMNS = ("image_path", "caption", "width", "height", "original_width", "original_height")


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What was imported.

    Attributes:
        root: Where the pictures are taken to be.
        held: The number of rows that an earlier run had imported.
        skipped: The number of rows whose vector is none.
        present: Whether the root is there now.
    """

    gallery: Location
    encoder: EncoderIdentity
    root: Location
    images: int
    captions: int
    held: int
    skipped: int
    present: bool


def import_vectors(
    folder: _Path,
    *,
    model: str,
    images: _Path | None = None,
    gallery: _Path | None = None,
    progress: ProgressCallback = quiet,
) -> ImportReport:
    """Make a gallery of an output folder of clip-retrieval: `img_emb/`, `text_emb/` (.npy) and `metadata/` (Parquet).

    model: whose vectors they are; it is believed (`declared_encoder`). images: the folder where the pictures stand now;
    by default where they stood then, or, where their paths are relative, `folder`. Vectors are normalised. A picture
    that stands in several rows, with a caption each, is one picture with several captions. An interrupted import is
    continued by the same call. The pictures need not be there, and are not read; `embed` adds none to such a gallery.

    Raises SourceError (no such output, parts that do not belong together), EncoderError, EncoderMismatch.
    """
    source = Path(os.path.abspath(expanded(folder)))  # noqa: PTH100
    parts = _find_parts(source)
    dims = {part.dim for part in parts}
    if len(dims) != 1:
        raise SourceError(f"{source} holds vectors of several lengths ({sorted(dims)}); they are not of one model")
    identity = declared_encoder(model, dims.pop())
    base = _common_folder(parts)
    with open_writer(gallery_to_write(gallery), command="import") as writer:
        _require_importable(writer, identity)
        writer.set_encoder(identity, parts[0].dtype)
        root_path = located(images) if images else base or source
        import_run = _ImportRun(writer, str(base) if base else "", _find_or_add_root(writer, root_path))
        for part in parts:
            import_run.import_part(part, progress)
        writer.commit()
        warnings.warn(
            f"that these are vectors of {identity.spec} was declared and is not checked", MmsearchWarning, stacklevel=2
        )
        image_count, caption_count = import_run.counts[IMAGES.name], import_run.counts[CAPTIONS.name]
        return ImportReport(
            writer.gallery.path,
            identity,
            root_path,
            image_count,
            caption_count,
            import_run.held,
            import_run.skipped,
            is_folder(root_path),
        )


@dataclass(frozen=True, slots=True)
class _ImportPart:
    """Rows of one number: the vectors that there are, and the metadata in the same order."""

    metadata: Path
    vectors: Mapping[str, NDArray[np.floating]]
    rows: int

    @property
    def dim(self) -> int:
        return next(int(array.shape[1]) for array in self.vectors.values())

    @property
    def dtype(self) -> str:
        return "float32" if any(array.dtype != np.float16 for array in self.vectors.values()) else "float16"

    def batches(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """The first row of each batch, and its metadata."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        first = 0
        try:
            with utf8_name(self.metadata) as path, pq.ParquetFile(path) as file:
                columns = [name for name in file.schema_arrow.names if name in _COLUMNS]
                for rows in file.iter_batches(_BATCH, columns=columns):
                    yield first, rows.to_pylist()
                    first += rows.num_rows
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{self.metadata} cannot be read after row {first:,}: {error}") from error


def _find_parts(folder: Path) -> list[_ImportPart]:
    files_by_number = {name: _find_numbered_files(folder / name, name) for name in ("img_emb", "text_emb", "metadata")}
    if not files_by_number["metadata"] or not (files_by_number["img_emb"] or files_by_number["text_emb"]):
        raise SourceError(
            f"{folder} is no output of clip-retrieval: expected metadata/metadata_0.parquet, and img_emb/img_emb_0.npy "
            "or text_emb/text_emb_0.npy"
        )
    parts = []
    for number, metadata in sorted(files_by_number["metadata"].items()):
        vectors = {
            table: _map_vectors(files_by_number[name][number])
            for table, name in _VECTORS.items()
            if number in files_by_number[name]
        }
        if not vectors:
            raise SourceError(f"{metadata} has no vectors beside it")
        rows = _count_rows(metadata)
        for array in vectors.values():
            if len(array) != rows:
                raise SourceError(f"{metadata} describes {rows:,} rows, and there are {len(array):,} vectors beside it")
        parts.append(_ImportPart(metadata, vectors, rows))
    return parts


def _find_numbered_files(folder: Path, name: str) -> dict[int, Path]:
    files = {}
    for file in folder.glob(f"{name}_*"):
        if (match := re.fullmatch(rf"{name}_(\d+)\.(npy|parquet)", file.name)) and file.is_file():
            files[int(match[1])] = file
    return files


def _map_vectors(file: Path) -> NDArray[np.floating]:
    try:
        array: NDArray[np.floating] = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise SourceError(f"{file} cannot be read: {error}") from error
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise SourceError(f"{file} holds {array.dtype} of shape {array.shape}, and no vectors")
    return array


def _count_rows(file: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(file).num_rows)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{file} cannot be read: {error}") from error


def _common_folder(parts: Sequence[_ImportPart]) -> Path | None:
    """The folder that all pictures are below, or None where their paths are relative."""
    folders: set[str] = set()
    for part in parts:
        for _, rows in part.batches():
            folders |= {os.path.dirname(_text_value(row.get("image_path"))) for row in rows}  # noqa: PTH120
    absolute = [folder for folder in folders if os.path.isabs(folder)]  # noqa: PTH117
    return Path(os.path.commonpath(absolute)) if absolute and len(absolute) == len(folders) else None


def _require_importable(writer: GalleryWriter, identity: EncoderIdentity) -> None:
    own = writer.manifest.encoder
    if writer.manifest.version and own.fingerprint != identity.fingerprint:
        raise EncoderMismatch(
            f"{writer.gallery.path} holds vectors of {own.spec} ({own.fingerprint[:19]}…); import into a new gallery "
            "with --gallery"
        )


def _find_or_add_root(writer: GalleryWriter, path: Location) -> Root:
    for root in writer.roots:
        if writer.root_path(root) == path:
            return root
    return writer.add_root(path, whole=False)


class _ImportRun:
    """Rows on their way into the gallery."""

    def __init__(self, writer: GalleryWriter, base: str, root: Root) -> None:
        self._writer, self._base, self._root = writer, base, root
        self._images = {name for _, root_id, name in writer.gallery.image_names() if root_id == root.id}
        self._captions = {(row.source, row.ordinal) for _, row in writer.gallery.all_captions()}
        self._skipped = {row.path for row in writer.gallery.skipped_rows()}
        self.counts = dict.fromkeys(_VECTORS, 0)
        self.held = self.skipped = 0

    def import_part(self, part: _ImportPart, progress: ProgressCallback) -> None:
        source = self._writer.uri(part.metadata)
        for first, rows in part.batches():
            for table, vectors in part.vectors.items():
                block = np.asarray(vectors[first : first + len(rows)], np.float32)
                if table == IMAGES.name:
                    self._take_images(rows, block)
                else:
                    self._take_captions(source, first, rows, block)
            if self._writer.is_commit_due:
                self._writer.commit()
            progress(Progress("importing", first + len(rows), part.rows, self.skipped))

    def _take_images(self, rows: Sequence[Mapping[str, Any]], vectors: NDArray[np.float32]) -> None:
        usable = _find_usable(vectors)
        image_rows: list[ImageRow] = []
        usable_rows: list[int] = []
        skips: list[SkippedRow] = []
        for number, row in enumerate(rows):
            name = self._image_name(row)
            if name is None:
                continue
            if name in self._images:
                self.held += 1
            elif usable[number]:
                self._images.add(name)
                usable_rows.append(number)
                width, height = (_read_side(row, side) for side in ("width", "height"))
                image_rows.append(ImageRow(self._root.id, name, None, None, None, None, None, width, height, None))
            elif name not in self._skipped:
                self._skipped.add(name)
                reason = "its imported vector is empty or not finite"
                skips.append(SkippedRow(self._root.id, name, None, None, None, None, "encode", reason))
        self._append(IMAGES.name, image_rows, vectors[usable_rows])
        if skips:
            self._writer.append(SKIPPED.name, skips)
            self.skipped += len(skips)

    def _take_captions(
        self, source: str, first: int, rows: Sequence[Mapping[str, Any]], vectors: NDArray[np.float32]
    ) -> None:
        usable = _find_usable(vectors)
        caption_rows: list[CaptionRow] = []
        usable_rows: list[int] = []
        for number, row in enumerate(rows):
            caption = row.get("caption")
            if not isinstance(caption, str) or not caption.strip() or not usable[number]:
                continue
            if (source, first + number) in self._captions:
                self.held += 1
                continue
            usable_rows.append(number)
            name = self._image_name(row)
            linked_name = name if name in self._images else None
            root_id = None if linked_name is None else self._root.id
            caption_rows.append(CaptionRow(caption.strip(), root_id, linked_name, None, source, first + number))
        self._append(CAPTIONS.name, caption_rows, vectors[usable_rows])

    def _append(
        self, table: str, rows: Sequence[ImageRow] | Sequence[CaptionRow], vectors: NDArray[np.float32]
    ) -> None:
        if rows:
            unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
            self._writer.append(table, rows, unit, Provenance("unknown", "unknown", "imported"))
            self.counts[table] += len(rows)

    def _image_name(self, row: Mapping[str, Any]) -> str | None:
        if not (path := _text_value(row.get("image_path"))):
            return None
        name = os.path.relpath(path, self._base) if self._base else path
        return name.encode("utf-8", "replace").decode()


def _text_value(value: object) -> str:
    return value if isinstance(value, str) else ""


def _read_side(row: Mapping[str, Any], side: str) -> int | None:
    """Of a picture. What a table without it holds may be null, NaN or a text."""
    for value in (row.get(side), row.get(f"original_{side}")):
        if isinstance(value, (int, float)) and 0 < value < 1 << 31:
            return int(value)
    return None


def _find_usable(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    norms = np.linalg.norm(vectors, axis=1)
    is_usable: NDArray[np.bool_] = np.isfinite(norms) & (norms > 1e-6)
    return is_usable
