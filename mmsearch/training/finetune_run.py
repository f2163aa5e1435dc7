"""`finetune`: teaches a model with the captions of a gallery, and says whether that helped."""

import os
from collections.abc import Callable
from pathlib import Path

from mmsearch.gallery import Gallery
from mmsearch.locations import expanded
from mmsearch.progress import ProgressCallback, quiet
from mmsearch.training.model_folder import require_new_folder
from mmsearch.training.records import FinetuneOptions, FinetuneReport

__all__ = ["finetune"]

_Path = str | os.PathLike[str]


def finetune(
    out: _Path,
    *,
    gallery: _Path | None = None,
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

    out: a new folder, which becomes a model: `local-dir:OUT` is taken wherever a model is. retention: another gallery
    of the same model, with captions: what should not be forgotten. encoder: where to load the gallery's model from now.
    Raises TrainingError, EncoderError, EncoderMismatch, GalleryError, StoreError.
    """
    require_new_folder(Path(expanded(os.fspath(out))))
    Gallery.open(gallery)
    if retention is not None:
        Gallery.open(retention)
    from mmsearch.training.text_finetuning import teach_texts  # late: it loads torch, which takes seconds

    return teach_texts(
        out,
        gallery=gallery,
        retention=retention,
        encoder=encoder,
        options=options,
        progress=progress,
        announce=announce,
    )
