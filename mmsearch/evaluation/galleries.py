"""Evaluates galleries as they are: captions are queries for the pictures that they name, and the other way round."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.measuring import build_report, build_system_result, measure
from mmsearch.evaluation.records import EvaluateOptions, EvaluationReport, Items, SystemResult
from mmsearch.evaluation.reranking import measure_reranked, open_named_reranker
from mmsearch.gallery import Gallery
from mmsearch.items import CAPTIONS, IMAGES
from mmsearch.metrics import Relevance, Vectors
from mmsearch.names import real_name
from mmsearch.progress import ProgressCallback, quiet

__all__ = ["Captioned", "evaluate_galleries", "read_captioned"]


def evaluate_galleries(
    galleries: Sequence[str | os.PathLike[str] | None],
    *,
    options: EvaluateOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> EvaluationReport:
    """Measure retrieval between the pictures and the captions of galleries, both directions; nothing is encoded.

    options: of which `ks`, `correct`, `rerank`, `rerank_by`, `depth` and `device` count.

    galleries: folders, None for the one that is found here; several hold the same pictures and captions and are
    compared with the first. Captions without a picture, captions that a model has written and pictures without a
    caption do not count; equal scores rank by path. Raises GalleryError, BenchmarkError,
    EncoderError.
    """
    options = options or EvaluateOptions()
    reranker = open_named_reranker(options, announce)
    systems: list[SystemResult] = []
    first: _GalleryVectors | None = None
    for path in galleries:
        gallery = Gallery.open(path)
        vectors = _read_gallery(gallery)
        first = first or vectors
        if (vectors.items.images, vectors.items.captions) != (first.items.images, first.items.captions):
            raise BenchmarkError(f"{gallery.path} does not hold the same pictures and captions as the first gallery")
        identity = gallery.manifest.encoder
        name = identity.spec if len(galleries) == 1 else f"{identity.spec} in {path or gallery.path}"
        if any(system.name == name for system in systems):
            raise BenchmarkError(f"{gallery.path} is named twice")
        measurements = measure(
            vectors.images,
            vectors.captions,
            vectors.items,
            options.ks,
            correct=options.correct,
            progress=progress,
            announce=announce,
        )
        system = build_system_result(
            measurements,
            name,
            encoder=identity,
            precision=gallery.manifest.dtype,
            gallery=gallery.path,
            preprocessing="product",
            truncated=vectors.truncated,
        )
        if reranker is not None:
            again = measure_reranked(vectors, measurements.evidence, reranker, options, product=True, progress=progress)
            system = replace(system, reranked=again)
        systems.append(system)
    if first is None:
        raise BenchmarkError("no gallery: name at least one")
    items = first.items
    title = f"gallery: {len(items.images):,} images, {len(items.captions):,} captions"
    source = "captions that name a picture of the gallery"
    return build_report("gallery", title, source, systems, items, options.ks, problems=first.problems)


@dataclass(frozen=True, slots=True, eq=False)
class _GalleryVectors:
    gallery: Gallery
    image_row_ids: NDArray[np.int64]
    images: Vectors
    captions: Vectors
    items: Items
    truncated: int
    problems: tuple[str, ...]


def _read_gallery(gallery: Gallery) -> _GalleryVectors:
    captioned = read_captioned(gallery)
    return _GalleryVectors(
        gallery=gallery,
        image_row_ids=captioned.image_row_ids,
        images=gallery.vectors(IMAGES.name, captioned.image_row_ids),
        captions=gallery.vectors(CAPTIONS.name, captioned.caption_row_ids),
        items=captioned.items,
        truncated=captioned.truncated,
        problems=captioned.problems,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Captioned:
    """The pictures of a gallery that have captions, and these captions.

    Attributes:
        image_row_ids: The row id of each image of `items`.
        caption_row_ids: The row id of each caption.
        truncated: How many captions were longer than the model reads.
        problems: What does not count, in words.
    """

    items: Items
    image_row_ids: NDArray[np.int64]
    caption_row_ids: NDArray[np.int64]
    truncated: int
    problems: tuple[str, ...]


def read_captioned(gallery: Gallery) -> Captioned:
    """What counts of a gallery, in the order of paths and captions, which is the same whoever embedded them.

    Raises BenchmarkError where no caption names a picture.
    """
    image_row_ids = {(root_id, name): row_id for row_id, root_id, name in gallery.image_names()}
    captions = []
    unlinked = 0
    for row_id, row in gallery.people_captions():
        name = None if row.path is None else real_name(row.path, row.path_bytes)
        if row.root_id is None or name is None or (row.root_id, name) not in image_row_ids:
            unlinked += 1
        else:
            captions.append(((row.root_id, name), row.caption, row.ordinal, row_id, bool(row.truncated)))
    if not captions:
        raise BenchmarkError(
            f"{gallery.path}: no caption names a picture. Add such captions: mmsearch embed --captions FILE"
        )
    captions.sort()
    image_keys = sorted({key for key, *_ in captions})
    image_index = {key: number for number, key in enumerate(image_keys)}
    image_of_caption = np.array([image_index[key] for key, *_ in captions])
    roots = {root_id: gallery.root_path(root_id) for root_id, _ in image_keys}
    names = tuple(name if len(roots) == 1 else f"{root_id}/{name}" for root_id, name in image_keys)
    items = Items(
        images=names,
        files=tuple(str(root / name) if (root := roots[root_id]) else None for root_id, name in image_keys),
        captions=tuple(caption for _, caption, *_ in captions),
        caption_ids=tuple(f"caption{number}" for number in range(len(captions))),
        query_captions=np.arange(len(captions)),
        query_images=np.arange(len(image_keys)),
        images_of_caption=Relevance.one_each(image_of_caption),
        captions_of_image=Relevance.inverse(image_of_caption, len(image_keys)),
    )
    uncaptioned = len(image_row_ids) - len(image_keys)
    problems = [f"{unlinked:,} captions name no picture of the gallery, left out"] if unlinked else []
    problems += [f"{uncaptioned:,} pictures have no caption, left out"] if uncaptioned else []
    return Captioned(
        items=items,
        image_row_ids=np.array([image_row_ids[key] for key in image_keys]),
        caption_row_ids=np.array([row_id for *_, row_id, _ in captions]),
        truncated=sum(cut for *_, cut in captions),
        problems=tuple(problems),
    )
