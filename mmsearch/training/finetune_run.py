"""`finetune`: teaches a model with the captions of a gallery, and says whether that helped."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mmsearch.cache import writable_cache
from mmsearch.errors import TrainingError
from mmsearch.gallery import Gallery
from mmsearch.locations import Location, located
from mmsearch.progress import ProgressCallback, quiet
from mmsearch.training.class_folders import read_class_folders
from mmsearch.training.model_folder import new_folder
from mmsearch.training.records import FinetuneOptions, FinetuneReport
from mmsearch.training.work_folder import held_work_folder

__all__ = ["finetune"]

_Path = str | os.PathLike[str]


def finetune(
    out: _Path,
    *,
    gallery: _Path | None = None,
    pairs: Sequence[_Path] = (),
    images: _Path | None = None,
    retention: _Path | None = None,
    encoder: str | None = None,
    options: FinetuneOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> FinetuneReport:
    """Teach a gallery's model with the gallery's captions: its text side, on the vectors that the gallery holds, or
    both towers, on the pictures.

    Pairs are divided by picture; nothing is chosen by those that are held out. A linear map on the vectors of texts and
    the whole text tower are both trained, and validation pairs choose between them, how much of the training is kept,
    and whether any is: where they do not surely gain, the model before is kept and nothing is written. Both towers
    (`options.method`) are trained as `train_towers` says; a run that was stopped goes on from a folder beside `out`.

    out: a new folder, which becomes a model: `local-dir:OUT` is taken wherever a model is. pairs, images: files of
    captions and the folder of their pictures, in the place of a gallery: these are embedded into the cache, with
    `encoder` or the default model, where that was not done before. images alone: a folder with a folder of pictures for
    each class, whose names are learned; zero-shot accuracy decides then, and classes are divided alike. retention:
    another gallery of the same model, with captions: what should not be forgotten. encoder: where to load the gallery's
    model from now.
    Raises TrainingError, SourceError, EncoderError, EncoderMismatch, GalleryError, StoreError.
    """
    folder = new_folder(out)
    options = options or FinetuneOptions()
    data, folders = None, None
    if images is None and (pairs or options.classes or options.templates):
        raise TrainingError("files of captions, and classes with their templates, need the folder of their images")
    if images is not None:
        if gallery is not None:
            raise TrainingError("pairs come from a gallery, or from images with captions or classes: name one of them")
        files = [located(file) for file in pairs]
        if files:
            data = f"captions of {', '.join(map(str, files))}, pictures of {located(images)}"
        else:
            folders = read_class_folders(images, classes=options.classes, templates=options.templates)
            data = f"{len(folders.names):,} classes of {located(images)}, said as {', '.join(folders.templates)}"
        gallery = _embed_pairs(files, located(images), encoder, options.device, progress, announce)
    Gallery.open(gallery)
    if retention is not None:
        Gallery.open(retention)
    from mmsearch.training.gallery_training import train_on_gallery  # late: it loads torch, which takes seconds

    with held_work_folder(folder):
        return train_on_gallery(
            folder,
            gallery=gallery,
            retention=retention,
            encoder=encoder,
            folders=folders,
            data=data,
            options=options,
            progress=progress,
            announce=announce,
        )


def _embed_pairs(
    files: Sequence[Location],
    images: Location,
    encoder: str | None,
    device: str,
    progress: ProgressCallback,
    announce: Callable[[str], None],
) -> Path:
    """The gallery in the cache with these pictures and captions, as they are now."""
    from mmsearch.embedding import EmbedOptions, embed  # late, as above

    named = "\0".join([encoder or "", str(images), *map(str, files)])
    digest = hashlib.blake2b(named.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    place = writable_cache("finetuning", digest)
    embed(
        [str(images)],
        captions=[str(file) for file in files],
        gallery=place,
        encoder=encoder,
        options=EmbedOptions(device=device, prune=True),
        progress=progress,
        announce=announce,
    )
    return place
