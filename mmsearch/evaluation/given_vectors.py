"""Evaluates vectors that somebody else made, by qrels: the same figures without an encoder."""

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.correcting import Banks, DirectionBanks, given_bank
from mmsearch.evaluation.measuring import build_report, build_system_result, measure
from mmsearch.evaluation.records import EvaluationReport, Items, SystemResult
from mmsearch.items import CAPTIONS, IMAGES
from mmsearch.locations import expanded
from mmsearch.metrics import Ids, Relevance, Vectors
from mmsearch.progress import ProgressCallback, quiet
from mmsearch.runs import read_qrels
from mmsearch.stores import read_lines, utf8_name

__all__ = ["evaluate_vectors"]

_ID_COLUMNS = ("id", "path", "row_id")
_UNIT = 0.01
"""Lengths that differ from 1 by no more than this are not worth a remark: float16 rounds by a tenth of it."""
_BLOCK = 8_192


def evaluate_vectors(
    systems: Sequence[tuple[str, str]],
    *,
    bank: str | None = None,
    image_bank: str | None = None,
    qrels: str | os.PathLike[str] | None = None,
    image_ids: str | os.PathLike[str] | None = None,
    caption_ids: str | os.PathLike[str] | None = None,
    ks: tuple[int, ...] = (1, 5, 10),
    correct: bool = True,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> EvaluationReport:
    """Measure retrieval between vectors of images and of captions, both directions.

    systems: (images, captions), each `FILE.npy` of (n, dim), `FILE.npy[I]` for part I of (parts, n, dim), or
    `FILE.parquet` with a column `embedding`; several are compared with the first. bank, image_bank: likewise vectors of
    texts, and of images, that nobody here asks with: by these images are corrected for texts, and captions for images;
    what stands in a bank counts for every item, since nobody knows to which it belongs. qrels: TREC lines, a caption's
    id first; without them caption i belongs to image i. Ids are row numbers from 0, a Parquet file's column
    `id`, `path` or `row_id`, or the lines of image_ids and caption_ids; captions may be equal texts. All vectors are
    normalised, in float64 (8 bytes a number in memory); the report says so where their lengths were not near 1.
    correct: as of `EvaluateOptions`. Raises BenchmarkError.
    """
    results: list[SystemResult] = []
    problems: list[str] = []
    items: Items | None = None
    for image_file, caption_file in systems:
        images, own_image_ids = _read_vectors(image_file)
        captions, own_caption_ids = _read_vectors(caption_file)
        if images.shape[1] != captions.shape[1]:
            raise BenchmarkError(
                f"{image_file} has vectors of {images.shape[1]} dimensions, {caption_file} of {captions.shape[1]}"
            )
        image_names = _read_ids(image_ids) or own_image_ids or tuple(map(str, range(len(images))))
        caption_names = _read_ids(caption_ids) or own_caption_ids or tuple(map(str, range(len(captions))))
        _check_ids(image_names, len(images), image_file)
        _require_distinct(image_names, image_file)
        _check_ids(caption_names, len(captions), caption_file)
        pairs = _pair_items(image_names, caption_names, qrels)
        if items is not None and (pairs.images, pairs.captions) != (items.images, items.captions):
            raise BenchmarkError(f"{image_file} and {caption_file} are not of the same items as the first vectors")
        items = items or pairs
        name = f"{Path(image_file).name}, {Path(caption_file).name}"
        if any(result.name == name for result in results):
            name = f"{image_file}, {caption_file}"
        unit_images, unit_captions = (
            _normalise(vectors, file, problems) for vectors, file in ((images, image_file), (captions, caption_file))
        )
        banks = Banks(_read_bank(bank, unit_images, problems), _read_bank(image_bank, unit_captions, problems))
        measurements = measure(
            unit_images, unit_captions, items, ks, banks=banks, correct=correct, progress=progress, announce=announce
        )
        results.append(build_system_result(measurements, name, precision=str(images.dtype)))
    if items is None:
        raise BenchmarkError("no vectors: give at least one file of images and one of captions")
    unpaired = len(items.captions) - len(items.query_captions), len(items.images) - len(items.query_images)
    for count, noun in zip(unpaired, (CAPTIONS.name, IMAGES.name), strict=True):
        if count:
            problems.append(f"{count:,} {noun} have nothing relevant: returned as hits, not asked as queries")
    title = f"vectors: {len(items.images):,} images, {len(items.captions):,} captions"
    source = f"qrels {qrels}" if qrels else "caption i belongs to image i"
    return build_report("vectors", title, source, results, items, ks, problems=problems)


def _read_vectors(spec: str) -> tuple[Vectors, tuple[str, ...] | None]:
    """Vectors, memory-mapped where they can be, and their ids where the file has some."""
    match = re.fullmatch(r"(.+\.npy)(?:\[(\d+)\])?", spec)
    file = expanded(match[1] if match else spec)
    if not file.is_file():
        raise BenchmarkError(f"vectors: there is no file {file}")
    if not match:
        return _read_parquet(file)
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"vectors: {file} is no NumPy file of numbers: {error}") from None
    if match[2] is not None:
        if array.ndim != 3 or int(match[2]) >= len(array):
            raise BenchmarkError(f"vectors: {file} has shape {array.shape} and no part {match[2]} of (parts, n, dim)")
        array = array[int(match[2])]
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating) or not array.size:
        hint = f"; name a part: {file}[0]" if array.ndim == 3 else ""
        raise BenchmarkError(f"vectors: {file} is {array.dtype} of shape {array.shape}, not floats of (n, dim){hint}")
    return array, None


def _read_bank(file: str | None, items: Vectors, problems: list[str]) -> DirectionBanks | None:
    if file is None:
        return None
    vectors, _ = _read_vectors(file)
    if vectors.shape[1] != items.shape[1]:
        raise BenchmarkError(
            f"the bank {file} has vectors of {vectors.shape[1]} dimensions, and what it is to correct of "
            f"{items.shape[1]}: give vectors of the same model"
        )
    return given_bank(_normalise(vectors, file, problems), items, Path(file).name)


def _read_parquet(file: Path) -> tuple[Vectors, tuple[str, ...] | None]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with utf8_name(file) as path, pq.ParquetFile(path) as opened:
            names = opened.schema_arrow.names
            if "embedding" not in names:
                raise BenchmarkError(f"vectors: {file} has no column embedding, but {', '.join(names)}")
            ids = next((name for name in _ID_COLUMNS if name in names), None)
            table = opened.read(columns=["embedding", *([ids] if ids else [])])
        column = table.column("embedding").combine_chunks()
        lengths = set(pc.unique(pc.list_value_length(column)).to_pylist())
        flat = column.flatten()
    except (pa.ArrowException, AttributeError, OSError) as error:
        raise BenchmarkError(f"vectors: {file} is no Parquet file with a list in embedding: {error}") from None
    if len(lengths) > 1 or flat.null_count:
        shown = ", ".join("none" if each is None else str(each) for each in sorted(lengths, key=lambda n: n or 0)[:5])
        problem = (
            f"vectors of different lengths ({shown})" if len(lengths) > 1 else "vectors with numbers left out (null)"
        )
        raise BenchmarkError(f"vectors: embedding in {file} holds {problem}; each row takes one number a dimension")
    numbers = flat.to_numpy(zero_copy_only=False)
    if not len(table) or not numbers.size or not np.issubdtype(numbers.dtype, np.floating):
        raise BenchmarkError(f"vectors: embedding in {file} holds {flat.type} in {len(table):,} rows, not floats")
    return numbers.reshape(len(table), -1), tuple(map(str, table.column(ids).to_pylist())) if ids else None


def _read_ids(file: str | os.PathLike[str] | None) -> tuple[str, ...] | None:
    if file is None:
        return None
    try:
        return tuple(line for line in read_lines(expanded(file)) if line)
    except OSError as error:
        raise BenchmarkError(f"ids: {file} cannot be read: {error.strerror or error}") from None


def _check_ids(ids: Sequence[str], expected: int, file: str) -> None:
    if len(ids) != expected:
        raise BenchmarkError(f"{len(ids):,} ids for the {expected:,} vectors in {file}")


def _require_distinct(ids: Sequence[str], file: str) -> None:
    if len(set(ids)) != len(ids):
        repeated, _ = Counter(ids).most_common(1)[0]
        raise BenchmarkError(f"the id {repeated!r} stands twice among those of {file}; each image needs its own")


def _pair_items(images: tuple[str, ...], captions: tuple[str, ...], qrels: str | os.PathLike[str] | None) -> Items:
    if qrels is None and len(images) != len(captions):
        raise BenchmarkError(
            f"{len(images):,} images and {len(captions):,} captions: say with --qrels which belong together"
        )
    # Two captions may be the same text: what belongs to a text belongs to both.
    rows_of_caption: dict[str, list[int]] = {}
    for row, name in enumerate(captions):
        rows_of_caption.setdefault(name, []).append(row)
    row_of_image = {name: row for row, name in enumerate(images)}
    pairs = [] if qrels is None else read_qrels(expanded(qrels))
    if unknown := [pair for pair in pairs if pair[0] not in rows_of_caption or pair[1] not in row_of_image]:
        raise BenchmarkError(
            f"qrels: {len(unknown):,} of {len(pairs):,} lines name a caption or an image without a vector, "
            f"e.g. {unknown[0][0]} {unknown[0][1]}. Captions are called {captions[0]}, …, images {images[0]}, …."
        )
    positions = [(row, row_of_image[image]) for caption, image in pairs for row in rows_of_caption[caption]]
    of_caption: dict[int, list[int]] = {}
    of_image: dict[int, list[int]] = {}
    for caption_row, image_row in (
        positions if qrels is not None else zip(range(len(captions)), range(len(images)), strict=True)
    ):
        of_caption.setdefault(caption_row, []).append(image_row)
        of_image.setdefault(image_row, []).append(caption_row)
    query_captions, query_images = sorted(of_caption), sorted(of_image)
    return Items(
        images=images,
        files=(None,) * len(images),
        captions=captions,
        caption_ids=_distinct_ids(captions),
        query_captions=np.array(query_captions, np.int64),
        query_images=np.array(query_images, np.int64),
        images_of_caption=Relevance.lists(of_caption[row] for row in query_captions),
        captions_of_image=Relevance.lists(of_image[row] for row in query_images),
    )


def _distinct_ids(captions: Sequence[str]) -> tuple[str, ...]:
    """The captions as names: the second of equal ones is called "text#2", or by the next number that is free."""
    taken: set[str] = set(captions)
    seen: set[str] = set()
    names = []
    for caption in captions:
        name, number = caption, 1
        while name in seen or (number > 1 and name in taken):
            number += 1
            name = f"{caption}#{number}"
        seen.add(name)
        names.append(name)
    return tuple(names)


def _normalise(vectors: Vectors, file: str, problems: list[str]) -> NDArray[np.float64]:
    """(n, dim) at unit length, in float64: scores are cosines however the file rounded its vectors, and a length of
    1.005 would put its vector before others."""
    unit = np.empty(vectors.shape, np.float64)
    lengths = np.empty(len(vectors), np.float64)
    for first in range(0, len(vectors), _BLOCK):
        block = slice(first, first + _BLOCK)
        unit[block] = vectors[block]
        # The largest entry first: squares of float64 could overflow, and those of what is tiny vanish.
        largest = np.abs(unit[block]).max(axis=1)
        scaled = unit[block] / np.where(largest > 0, largest, 1)[:, None]
        norms = np.linalg.norm(scaled, axis=1)
        lengths[block] = norms * largest
        with np.errstate(invalid="ignore", divide="ignore"):
            unit[block] = scaled / norms[:, None]
    if not np.isfinite(lengths).all() or not lengths.all():
        unusable: Ids = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
        raise BenchmarkError(
            f"vectors: {len(unusable):,} in {file} have NaN, infinity or no length, e.g. row {unusable[0]}"
        )
    if np.abs(lengths - 1).max() > _UNIT:
        problems.append(f"the vectors in {file} have lengths of {lengths.min():.3g} to {lengths.max():.3g}: normalised")
    return unit
