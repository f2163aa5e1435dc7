"""`embed`: bring a gallery in line with folders of pictures and files of captions."""

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from mmsearch.describing import Describer, open_describer
from mmsearch.embedding.caption_sync import embed_captions
from mmsearch.embedding.encoder_source import EncoderSource, KeptEncoder
from mmsearch.embedding.estimate import Estimate, estimate
from mmsearch.embedding.file_sync import FileRun, embed_files
from mmsearch.embedding.guess_sync import embed_guesses, follow_pictures
from mmsearch.embedding.records import CaptionCounts, EmbedOptions, EmbedReport, GuessCounts, ImageCounts, ItemCounts
from mmsearch.embedding.stage_times import StageTimes
from mmsearch.encoders import Encoder
from mmsearch.errors import (
    EncoderMismatch,
    FilesSkipped,
    MmsearchWarning,
    ParityError,
    SourceError,
    StoreError,
)
from mmsearch.gallery import GalleryWriter, gallery_to_write, open_writer
from mmsearch.gallery.positions import knows_places
from mmsearch.items import CAPTIONS, DEFAULT_KIND, kinds
from mmsearch.locations import Location, located
from mmsearch.names import shell_quoted
from mmsearch.places import INSTALL, has_names
from mmsearch.progress import ProgressCallback, quiet
from mmsearch.sources import (
    EVERYTHING,
    CaptionFile,
    ColumnNames,
    Selection,
    container_form,
    holds_page_texts,
    read_captions,
    read_document_captions,
    read_sidecar_captions,
)
from mmsearch.stores import is_folder, real
from mmsearch.sync import IsSettled, Plan, choose_roots, plan_root
from mmsearch.tiles import USUAL_SIDE

__all__ = ["embed", "embed_again", "preview"]

_Path = str | os.PathLike[str]
_FILES_CHECKED = 8  # files of a root: where none of them is there, the root is not


def embed(
    paths: Sequence[_Path] = (),
    *,
    captions: Sequence[_Path] = (),
    gallery: _Path | None = None,
    encoder: str | Encoder | None = None,
    describer: str | Describer | None = None,
    options: EmbedOptions | None = None,
    selection: Selection = EVERYTHING,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> EmbedReport:
    """Sync a gallery with folders: encode what is new or changed, drop what is gone, leave the rest alone.

    paths: folders (mirrored in full); files and archives, and lists of them (added or updated). None, and no captions:
    all roots of the gallery. captions: files of captions (see `mmsearch.sources.read_captions`), or folders and
    archives with a text beside each picture (`read_sidecar_captions`); running one again replaces its captions.
    selection: which of the files; a run that looks at a part of them deletes nothing.
    gallery: its folder; see `mmsearch.gallery.gallery_to_write` for the default. Made where there is none.
    encoder: an encoder spec, or an encoder; by default the gallery's own, and for a new gallery `DEFAULT_MODEL`.
    describer: a model that describes the pictures (`mmsearch.describing.open_describer`). What it says of those of
    which the gallery does not hold it yet is embedded as captions of its own.
    announce: told in a line what device is used and what is downloaded, before it happens.

    What is finished is committed at least once a minute; an interrupted run is continued by the same call.
    Raises SourceError (nothing there, nothing embedded, PruneRefused, FilesSkipped), EncoderError, EncoderMismatch,
    GalleryBusy, StoreError.
    """
    return embed_again(
        paths,
        captions=captions,
        gallery=gallery,
        encoder=encoder,
        describer=describer,
        options=options or EmbedOptions(),
        selection=selection,
        progress=progress,
        announce=announce,
    )


def embed_again(
    paths: Sequence[_Path],
    *,
    captions: Sequence[_Path] = (),
    gallery: _Path | None,
    encoder: str | Encoder | None,
    options: EmbedOptions,
    selection: Selection,
    progress: ProgressCallback,
    announce: Callable[[str], None],
    describer: str | Describer | None = None,
    kept: KeptEncoder | None = None,
    is_settled: IsSettled = lambda _: True,
) -> EmbedReport:
    """As `embed`, for who calls it again and again.

    kept: holds the encoder from one call to the next. is_settled: told each file that is new or has changed; one that
    is still being written is left for a later call.
    """
    started = time.monotonic()
    caption_files = dict.fromkeys(real(located(file)) for file in captions)
    gallery_path = gallery_to_write(gallery, adds=bool(paths or captions))
    files = [(file, _read_captions(file, gallery_path, options.columns)) for file in caption_files]
    for file, lines in files:
        announce(f"{file.name}: {len(lines.lines):,} captions, read as {lines.form}")
    opened = None if describer is None else open_describer(describer, device=options.device, announce=announce)
    if opened is not None:
        opened.require_describes()
    if options.places and not has_names():
        announce(f"cities and countries are not named: {INSTALL}; latitudes and longitudes are kept")
    with open_writer(gallery_path, command="embed") as writer:
        _require_own_vectors(writer)
        file_run, caption_counts = FileRun(ImageCounts(), {}, StageTimes()), CaptionCounts()
        measured = writer.manifest.parity
        kept = kept or KeptEncoder()
        cuts = replace(selection.cuts, input_side=_input_side(encoder, writer, options, announce, kept))
        selection = replace(selection, cuts=cuts)
        plan, guesses = None, None
        if paths or not captions:
            plan = _plan(writer, paths, options, selection, progress, announce, is_settled)
            if options.places and (held := plan.unchanged[DEFAULT_KIND.name]) and not knows_places(writer.gallery):
                announce(f"{held:,} pictures are held already; to read their places: mmsearch embed --places --refresh")
        sides = {*(plan.sides if plan else ()), *([CAPTIONS.side] if captions or opened else [])}
        source = EncoderSource(encoder, writer, options, announce, sides or {DEFAULT_KIND.side}, kept, progress)
        source.check_model()
        try:
            if plan is not None:
                executor = source.make_ray_executor() if options.ray else None
                file_run = embed_files(writer, source.load, plan, options, progress, executor)
                writer.commit()  # captions find their pictures among committed rows
                _require_roots(plan)
                _require_pictures(plan, file_run.images)
                deleted = follow_pictures(writer)
                guesses = GuessCounts(deleted=deleted) if deleted else None
            captions_from = time.monotonic()
            for file, lines in files:
                caption_counts += embed_captions(writer, source.load, file, lines, progress)
                writer.commit()
            caption_seconds = time.monotonic() - captions_from
            if opened is not None:
                writer.commit()  # it describes what is committed
                announce(f"describing with {opened.name} on {opened.device}")
                counts = embed_guesses(writer, source.load, opened, progress)
                guesses = replace(counts, deleted=guesses.deleted if guesses else 0)
        except (StoreError, ParityError):
            raise
        except BaseException:
            # Ctrl-C, a failing device, a refused delete: what is encoded is kept, and the same command continues.
            writer.commit()
            raise
        writer.commit()
        if options.strict:
            _require_none_skipped(file_run.images)
        parity = next((measurement for measurement in writer.manifest.parity if measurement not in measured), None)
        others = _drop_empty_kinds(file_run.others, writer)
        report = _report(writer, source, file_run.images, caption_counts, time.monotonic() - started)
        tiles = _count_tiles(writer) if selection.cuts.tiles is not None else None
        report = replace(report, stages=file_run.stages, parity=parity, others=others, tiles=tiles, guesses=guesses)
        return replace(report, caption_seconds=caption_seconds) if files else report


def preview(
    paths: Sequence[_Path] = (),
    *,
    gallery: _Path | None = None,
    encoder: str | Encoder | None = None,
    options: EmbedOptions | None = None,
    selection: Selection = EVERYTHING,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> Estimate:
    """Say what `embed` with the same arguments would do to the pictures, and how long it would take. Writes nothing.

    The model is loaded, and a sample is read and encoded. Raises as `embed` does before it writes.
    """
    options = options or EmbedOptions()
    with open_writer(gallery_to_write(gallery, adds=bool(paths)), command="embed --dry-run") as writer:
        _require_own_vectors(writer)
        kept = KeptEncoder()
        cuts = replace(selection.cuts, input_side=_input_side(encoder, writer, options, announce, kept))
        plan = _plan(writer, paths, options, replace(selection, cuts=cuts), progress, announce)
        source = EncoderSource(encoder, writer, options, announce, {DEFAULT_KIND.side}, kept, only_looks=True)
        source.check_model()
        return estimate(plan, writer.gallery.path, source.load, options)


def _input_side(
    encoder: str | Encoder | None,
    writer: GalleryWriter,
    options: EmbedOptions,
    announce: Callable[[str], None],
    kept: KeptEncoder,
) -> Callable[[], int]:
    """Gives the longer side of the model's input, for which the model is loaded when somebody asks."""

    @cache
    def side() -> int:
        loaded = EncoderSource(encoder, writer, options, announce, {DEFAULT_KIND.side}, kept, only_looks=True).load()
        return max(loaded.image.size or (USUAL_SIDE,))

    return side


def _require_own_vectors(writer: GalleryWriter) -> None:
    own = writer.manifest.encoder
    if own.declared:
        raise EncoderMismatch(
            f"the vectors of {writer.gallery.path} were imported, and that they are of {own.spec} is not checked; "
            "others cannot be added to them. Embed into another gallery with --gallery"
        )


def _read_captions(file: Location, gallery: Location, columns: ColumnNames) -> CaptionFile:
    if is_folder(file) or container_form(file.name) in ("tar", "zip"):
        return read_sidecar_captions(file, avoid=gallery)
    if holds_page_texts(file.name):
        return read_document_captions(file)
    return read_captions(file, columns)


def _plan(
    writer: GalleryWriter,
    paths: Sequence[_Path],
    options: EmbedOptions,
    selection: Selection,
    progress: ProgressCallback,
    announce: Callable[[str], None],
    is_settled: IsSettled = lambda _: True,
) -> Plan:
    plan = Plan()
    for root in choose_roots(writer, paths, announce=announce):
        plan_root(
            writer.gallery,
            root,
            plan,
            prune=options.prune,
            progress=progress,
            selection=selection,
            is_settled=is_settled,
        )
    _require_not_moved(writer, plan)
    for note in plan.notes:
        warnings.warn(note, MmsearchWarning, stacklevel=3)
    return plan


def _require_not_moved(writer: GalleryWriter, plan: Plan) -> None:
    """Raise SourceError where a new root holds the files of an absent one.

    Then the absent root was moved, or the gallery was, which stores the paths of roots relative to itself. Every
    picture would stand in the gallery twice, once with a missing file.
    """
    planned = {root.root_id for root in plan.roots}
    tables = [kind.name for kind in kinds() if kind.files is not None]
    absent = [root for root in writer.roots if root.id not in planned]
    for new_root in plan.roots:
        names = {task.file.name for task in plan.tasks if task.root_id == new_root.root_id}
        for root in absent if not new_root.live else ():
            folder = writer.root_path(root)
            held_names = [name for table in tables for name in writer.gallery.files(table, root.id).names]
            if not isinstance(folder, Path) or any(
                os.path.lexists(folder / name) for name in held_names[:_FILES_CHECKED]
            ):
                continue
            if held_names and 2 * len(names.intersection(held_names)) >= len(held_names):
                raise SourceError(
                    f"{new_root.folder} holds the pictures that the gallery knows below {folder}, where they are not: "
                    f"they, or the gallery, were moved. To go on with them: mmsearch relocate "
                    f"{shell_quoted(folder)} {shell_quoted(new_root.folder)}. To have them as others: mmsearch forget "
                    f"{shell_quoted(folder)}"
                )


def _require_roots(plan: Plan) -> None:
    """Raise SourceError where a root has vanished during the run. The next run tries its files again."""
    if missing := [str(root.folder) for root in plan.roots if not is_folder(root.folder)]:
        raise SourceError(
            f"{', '.join(missing)} went away during the run. What was embedded until then is kept; mount it again and "
            "run the same command"
        )


def _require_none_skipped(counts: ImageCounts) -> None:
    if skipped := counts.skipped + counts.still_skipped:
        reasons = "; ".join(f"{number} x {reason}" for reason, number in counts.skipped_reasons[:5])
        raise FilesSkipped(
            f"{skipped:,} files could not be embedded ({reasons or 'all of them in earlier runs'}); all others are in "
            "the gallery. mmsearch info --skipped lists them, --retry-skipped tries them again"
        )


def _require_pictures(plan: Plan, counts: ImageCounts) -> None:
    whole = {str(root.folder) for root in plan.roots}
    if unlisted := [entry for entry in plan.unreadable if entry[0].rstrip("/.") in whole]:
        raise SourceError("; ".join(f"{folder} cannot be listed: {reason}" for folder, reason in unlisted))
    kept = any(root.live and not root.named for root in plan.roots)
    if plan.unreadable and not plan.candidates and not counts.deleted and not kept:
        files = "; ".join(f"{file}: {reason}" for file, reason in plan.unreadable[:5])
        raise SourceError(f"nothing of what was named can be read: {files}")
    if not plan.candidates and not plan.unreadable and not counts.deleted and not any(root.live for root in plan.roots):
        raise SourceError(
            f"no files in what was named below {', '.join(str(root.folder) for root in plan.roots)}: an empty archive, "
            "or one that holds only captions and the like"
        )
    if counts.in_gallery or counts.deleted or plan.unsettled or not plan.candidates:
        return
    reasons = "; ".join(f"{number} x {reason}" for reason, number in counts.skipped_reasons[:5])
    raise SourceError(
        f"no picture could be embedded from {', '.join(str(root.folder) for root in plan.roots)}: "
        f"{plan.candidates} files, {reasons or 'all of them skipped before (mmsearch info --skipped)'}"
    )


def _drop_empty_kinds(others: Mapping[str, ItemCounts], writer: GalleryWriter) -> dict[str, ItemCounts]:
    """Drop the counts of kinds of which the gallery neither held nor holds an item."""
    return {name: counts for name, counts in others.items() if counts != ItemCounts() or writer.gallery.live_rows(name)}


def _count_tiles(writer: GalleryWriter) -> int:
    columns = (rows.column("box") for rows in writer.gallery.scan(DEFAULT_KIND.name, ["box"]))
    return sum(len(column) - column.null_count for column in columns)


def _report(
    writer: GalleryWriter, source: EncoderSource, images: ImageCounts, captions: CaptionCounts, seconds: float
) -> EmbedReport:
    gallery = writer.gallery
    return EmbedReport(
        gallery=gallery.path,
        version=writer.manifest.version,
        encoder=writer.manifest.encoder,
        device=source.devices_used[0],
        precision=source.devices_used[1],
        images=images,
        captions=captions,
        total_images=gallery.live_rows(DEFAULT_KIND.name),
        total_captions=gallery.live_rows(CAPTIONS.name),
        seconds=seconds,
    )
