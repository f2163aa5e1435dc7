"""All that `finetune` does with the pairs of a gallery: divides, trains, chooses, compares, and writes the model."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch import encoders
from mmsearch.encoders.devices import describe
from mmsearch.encoders.open_clip_encoder import identify, identify_image_side
from mmsearch.encoders.providers import is_open_clip
from mmsearch.encoders.weight_licences import licence_of_source
from mmsearch.errors import EncoderMismatch, StoreError, TrainingError
from mmsearch.gallery import Gallery
from mmsearch.identity import EncoderIdentity, require_same_encoder
from mmsearch.progress import ProgressCallback, quiet
from mmsearch.training.choosing import Chosen, choose
from mmsearch.training.class_folders import ClassFolders, class_pairs
from mmsearch.training.guards import (
    NOT_SURELY_BETTER,
    compare,
    judge,
)
from mmsearch.training.looking import look_in_gallery
from mmsearch.training.model_card import model_card
from mmsearch.training.model_folder import new_folder, write_model
from mmsearch.training.pairs import gallery_pairs
from mmsearch.training.pixel_file import PixelFile, decode_pictures
from mmsearch.training.records import (
    FinetuneOptions,
    FinetuneReport,
    PairSplit,
    Trained,
    TrainingPairs,
)
from mmsearch.training.retention import Retention
from mmsearch.training.splitting import split_pairs
from mmsearch.training.text_map_training import train_map
from mmsearch.training.text_training import TextSettings, encode_texts, train_texts
from mmsearch.training.tower_settings import TowerMethod, TowerSettings
from mmsearch.training.trainable_model import TrainableModel, open_trainable_model
from mmsearch.training.tuned_towers import tune_towers
from mmsearch.training.work_folder import work_folder

__all__ = ["train_on_gallery"]

_CHECKED = 8  # texts, of which the model that was written has to give the vectors that it had in training
_AGREES = 0.999

_Path = str | os.PathLike[str]


def train_on_gallery(
    out: _Path,
    *,
    gallery: _Path | None = None,
    retention: _Path | None = None,
    encoder: str | None = None,
    folders: ClassFolders | None = None,
    data: str | None = None,
    options: FinetuneOptions | None = None,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> FinetuneReport:
    """What `mmsearch.training.finetune_run.finetune` does, of a gallery.

    folders: the classes of its pictures, which are learned in the place of its captions. data: what is learned from,
    for people; by default the gallery.
    """
    began = time.monotonic()
    options = options or FinetuneOptions()
    folder = new_folder(out)
    opened = Gallery.open(gallery)
    pairs = gallery_pairs(opened) if folders is None else class_pairs(opened, folders)
    if folders is not None and (absent := len(folders.class_of) - pairs.images):
        announce(f"{absent:,} of {len(folders.class_of):,} pictures of the classes cannot be read, and are left out")
    split = split_pairs(pairs, seed=options.seed)
    known = Retention.of_gallery(retention, opened, options.seed) if retention is not None else None
    trainable, base = _open_model(opened, encoder, options, announce)
    if folders is not None:
        split = _with_text_vectors(split, trainable)
    known = known or Retention.of_general(trainable)
    pictures = None
    if options.method != "text-only":
        pictures = _decode(folder, split, known, trainable, progress, announce)
        split, known = _readable(split, pictures), known.readable(pictures)
    parts = {"training": split.training, "validation": split.validation, "held_out": split.held_out}
    counts = {name: (part.images, len(part.texts)) for name, part in parts.items()}
    announce(
        f"learning from {split.training.images:,} pictures with {len(split.training.texts):,} texts; "
        f"{split.validation.images:,} choose, {split.held_out.images:,} are held out"
    )
    if pictures is None:
        chosen = _train(trainable, split, known, options, opened, progress, announce)
    else:
        announce(f"training both towers on {describe(trainable.device)}")
        chosen = _train_towers(trainable, split, known, pictures, folder, options, progress)
    trained, alpha = chosen.trained, chosen.alpha
    before = trained.vectors(0.0, split.held_out)
    after = trained.vectors(alpha, split.held_out)
    held_out = compare("held-out pairs", before, after, split.held_out)
    report = FinetuneReport(
        out=str(folder.absolute()) if alpha else None,
        encoder=None,
        base=base,
        method=trained.name if alpha else f"nothing: {trained.name} was tried",
        counts=counts,
        alpha=alpha,
        curve=chosen.curve,
        held_out=held_out,
        retention=known.compare(trained, alpha) if alpha else None,
        verdict=judge(held_out) if alpha else NOT_SURELY_BETTER,
        problems=chosen.problems,
        log=trained.log,
        seconds=time.monotonic() - began,
        settings={**trained.settings, "seed": options.seed},
        keeps_images=trained.keeps_images,
    )
    if not alpha:
        shutil.rmtree(work_folder(folder), ignore_errors=True)
        return report
    data = data or f"captions of {opened.path} (version {opened.manifest.version})"
    record = _record(report, trainable, base, data)
    card = model_card(report, data=data, licence=licence_of_source(trainable.source))
    write_model(folder, trainable.source, trained.weights(alpha), card=card, record=record)
    identity = _open_written(folder, trained, alpha, split.held_out, base, announce)
    shutil.rmtree(work_folder(folder), ignore_errors=True)
    return replace(report, encoder=identity, seconds=time.monotonic() - began)


def _with_text_vectors(split: PairSplit, trainable: TrainableModel) -> PairSplit:
    """With the vectors of texts that no gallery holds, by the model before training."""
    training, validation, held_out = (
        replace(pairs, text_vectors=encode_texts(trainable, pairs.texts))
        for pairs in (split.training, split.validation, split.held_out)
    )
    return PairSplit(training, validation, held_out)


def _open_model(
    gallery: Gallery, encoder: str | None, options: FinetuneOptions, announce: Callable[[str], None]
) -> tuple[TrainableModel, EncoderIdentity]:
    """The gallery's model, to be trained. Raises TrainingError, EncoderMismatch."""
    own = gallery.manifest.encoder
    if own.declared:
        raise TrainingError(
            f"the vectors of {gallery.path} were imported, and that they are of {own.spec} is not checked: a text side "
            "that is taught with them may be taught nonsense. Embed the pictures: mmsearch embed PICTURES --gallery DIR"
        )
    spec = encoder or own.spec
    if not is_open_clip(spec):
        raise TrainingError(f"{spec} is no model of open_clip, and only those can be trained")
    announce(f"loading {spec}")
    trainable = open_trainable_model(spec, device=options.device, announce=announce)
    base = identify(trainable.source, trainable.model, trainable.tokenizer)
    require_same_encoder(own, base, gallery.path)
    return trainable, base


def _train(
    trainable: TrainableModel,
    split: PairSplit,
    known: Retention,
    options: FinetuneOptions,
    gallery: Gallery,
    progress: ProgressCallback,
    announce: Callable[[str], None],
) -> Chosen:
    """What validation pairs choose among all that was trained; at alpha 0 where none of it surely gains."""
    tried = []
    if (by_map := train_map(trainable, split)) is not None:
        tried.append(choose(by_map, split.validation, known, progress))
    defaults = TextSettings()
    settings = TextSettings(
        epochs=defaults.epochs if options.epochs is None else options.epochs,
        batch=options.batch or defaults.batch,
        rate=options.rate,
        hard_negatives=options.hard_negatives,
        seed=options.seed,
    )
    if settings.hard_negatives and split.training.images <= settings.told_apart:
        announce(
            f"hard negatives change nothing here: each text is told apart from all {split.training.images:,} pictures"
        )
    if settings.epochs:
        look = look_in_gallery(gallery, split.training)
        by_tower = train_texts(trainable, split.training, settings, look=look, progress=progress)
        tried.append(choose(by_tower, split.validation, known, progress))
    if not tried:
        raise TrainingError(
            f"of {trainable.source.spec} no last matrix is known that a linear map could be multiplied into: have its "
            "text tower trained with --epochs"
        )
    for each in tried:
        announce(f"{each.trained.name}: {100 * each.gain:+.1f} points of {each.decided_by} on validation pairs")
    return max(tried, key=lambda each: each.gain)


def _train_towers(
    trainable: TrainableModel,
    split: PairSplit,
    known: Retention,
    pictures: PixelFile,
    folder: Path,
    options: FinetuneOptions,
    progress: ProgressCallback,
) -> Chosen:
    method: TowerMethod = "full" if options.method == "full" else "lora"
    usual = TowerSettings(method)
    settings = replace(
        usual,
        epochs=options.epochs or usual.epochs,
        batch=options.batch or usual.batch,
        chunk=options.chunk or usual.chunk,
        peak_rate=options.rate,
        hard_negatives=options.hard_negatives,
        seed=options.seed,
    )
    checkpoint = work_folder(folder) / "checkpoint.safetensors"
    tuned = tune_towers(trainable, split.training, pictures, settings, checkpoint=checkpoint, progress=progress)
    return choose(tuned, split.validation, known, progress)


def _decode(
    folder: Path,
    split: PairSplit,
    known: Retention,
    trainable: TrainableModel,
    progress: ProgressCallback,
    announce: Callable[[str], None],
) -> PixelFile:
    """The pictures of all pairs, decoded once. Raises StoreError, and TrainingError where most cannot be decoded."""
    parts = (split.training, split.validation, split.held_out, known.choosing, known.reporting)
    files = [file for part in parts if part is not None for file in part.files if file is not None]
    work = work_folder(folder)
    try:
        work.mkdir(parents=True, exist_ok=True)
        pictures = decode_pictures(files, trainable.preprocessing, work / "pixels.rgb", progress=progress)
    except OSError as error:
        raise StoreError(f"cannot write decoded pictures to {work}: {error.strerror or error}") from error
    if pictures.skipped:
        file, reason = pictures.skipped[0]
        said = f"{len(pictures.skipped):,} of {len(files):,} pictures cannot be decoded, among them {file}: {reason}"
        if len(pictures.rows) < len(set(files)) / 2:
            raise TrainingError(f"{said}. Is their disk connected? Where they moved, mmsearch relocate says so")
        announce(said)
    return pictures


def _readable(split: PairSplit, pictures: PixelFile) -> PairSplit:
    training, validation, held_out = (
        pictures.decoded(pairs) for pairs in (split.training, split.validation, split.held_out)
    )
    return PairSplit(training, validation, held_out)


def _record(report: FinetuneReport, trainable: TrainableModel, base: EncoderIdentity, data: str) -> dict[str, Any]:
    """What programs are told of a model: all of the report but where it is, and whose image side it has."""
    told = asdict(replace(report, held_out=report.held_out, out=None))
    for name in ("out", "encoder", "seconds"):
        del told[name]
    record: dict[str, Any] = {"format": 1, "data": data, **told}
    if report.keeps_images:
        of_images = identify_image_side(trainable.source, trainable.model)
        record["image_side"] = {"of": base.of_side("image"), "fingerprint": of_images}
    return record


def _open_written(
    folder: Path,
    trained: Trained,
    alpha: float,
    pairs: TrainingPairs,
    base: EncoderIdentity,
    announce: Callable[[str], None],
) -> EncoderIdentity:
    """Open a model that was written, which also lays it out for queries without torch. Raises EncoderMismatch where it
    is not what was trained."""
    opened = encoders.open(f"local-dir:{folder.absolute()}", device="cpu", precision="fp32", announce=announce)
    texts = pairs.texts[:_CHECKED]
    agreement = np.sum(opened.text.encode(texts).vectors * trained.text_vectors(alpha, texts), axis=1)
    if float(agreement.min()) < _AGREES or (trained.keeps_images and opened.identity.image_of != base.of_side("image")):
        raise EncoderMismatch(f"the model in {folder} is not what was trained: its disk or memory may be damaged")
    return opened.identity
