"""Galleries as they are: their captions ask for the pictures that they name, and the other way round."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.measuring import as_report, as_system, measure
from mmsearch.evaluation.records import EvaluationReport, Items, SystemResult
from mmsearch.gallery import Gallery
from mmsearch.items import CAPTIONS, IMAGES
from mmsearch.metrics import Relevance, Vectors
from mmsearch.names import real_name
from mmsearch.progress import ProgressCallback, quiet

__all__ = ["evaluate_galleries"]


def evaluate_galleries(
    galleries: Sequence[str | os.PathLike[str] | None],
    *,
    ks: tuple[int, ...] = (1, 5, 10),
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> EvaluationReport:
    """Measure retrieval between the pictures and the captions of galleries, both directions; nothing is encoded.

    galleries: folders, None for the one that is found here; several hold the same pictures and captions and are
    compared with the first. Captions without a picture and pictures without a caption do not count; equal
    scores rank by path. Raises GalleryError, BenchmarkError.
    """
    systems: list[SystemResult] = []
    first: _Held | None = None
    for place in galleries:
        gallery = Gallery.open(place)
        held = _held(gallery)
        first = first or held
        if (held.items.images, held.items.captions) != (first.items.images, first.items.captions):
            raise BenchmarkError(f"{gallery.path} does not hold the same pictures and captions as the first gallery")
        identity = gallery.manifest.encoder
        name = identity.spec if len(galleries) == 1 else f"{identity.spec} in {place or gallery.path}"
        if any(system.name == name for system in systems):
            raise BenchmarkError(f"{gallery.path} is named twice")
        measured = measure(held.images, held.captions, held.items, ks, progress=progress, announce=announce)
        stored = gallery.manifest.dtype
        systems.append(
            as_system(
                measured,
                name,
                encoder=identity,
                precision=stored,
                gallery=gallery.path,
                preprocessing="product",
                truncated=held.truncated,
            )
        )
    if first is None:
        raise BenchmarkError("no gallery: name at least one")
    items = first.items
    title = f"gallery: {len(items.images):,} images, {len(items.captions):,} captions"
    source = "captions that name a picture of the gallery"
    return as_report("gallery", title, source, systems, items, ks, problems=first.problems)


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    images: Vectors
    captions: Vectors
    items: Items
    truncated: int
    problems: tuple[str, ...]


def _held(gallery: Gallery) -> _Held:
    """What counts of a gallery, in the order of paths and captions, which is the same whoever embedded them."""
    pictures = {(root_id, name): row_id for row_id, root_id, name in gallery.image_names()}
    asking = []
    without = 0
    for row_id, row in gallery.all_captions():
        name = None if row.path is None else real_name(row.path, row.path_bytes)
        if row.root_id is None or name is None or (row.root_id, name) not in pictures:
            without += 1
        else:
            asking.append(((row.root_id, name), row.caption, row.ordinal, row_id, bool(row.truncated)))
    if not asking:
        raise BenchmarkError(
            f"{gallery.path}: no caption names a picture. Add such captions: mmsearch embed --captions FILE"
        )
    asking.sort()
    used = sorted({key for key, *_ in asking})
    place = {key: number for number, key in enumerate(used)}
    of_caption = np.array([place[key] for key, *_ in asking])
    roots = {root_id: gallery.root_path(root_id) for root_id, _ in used}
    names = tuple(name if len(roots) == 1 else f"{root_id}/{name}" for root_id, name in used)
    items = Items(
        images=names,
        files=tuple(str(root / name) if (root := roots[root_id]) else None for root_id, name in used),
        captions=tuple(caption for _, caption, *_ in asking),
        caption_ids=tuple(f"caption{number}" for number in range(len(asking))),
        asking_captions=np.arange(len(asking)),
        asking_images=np.arange(len(used)),
        images_of_caption=Relevance.one_each(of_caption),
        captions_of_image=Relevance.inverse(of_caption, len(used)),
    )
    left = len(pictures) - len(used)
    problems = [f"{without:,} captions name no picture of the gallery, left out"] if without else []
    problems += [f"{left:,} pictures have no caption, left out"] if left else []
    return _Held(
        images=gallery.vectors(IMAGES.name, np.array([pictures[key] for key in used])),
        captions=gallery.vectors(CAPTIONS.name, np.array([row_id for *_, row_id, _ in asking])),
        items=items,
        truncated=sum(cut for *_, cut in asking),
        problems=tuple(problems),
    )
