"""`embed`: bring a gallery in line with folders of pictures and files of captions."""

import os
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

from mmsearch.encoders import DEFAULT_MODEL, Encoder, load_encoder, parse_spec
from mmsearch.errors import (
    EncoderError,
    EncoderMismatch,
    FilesSkipped,
    MmsearchError,
    MmsearchWarning,
    ParityError,
    SourceError,
    StoreError,
)
from mmsearch.gallery import GalleryWriter, open_writer, place_for_gallery, require_same_encoder
from mmsearch.locations import Location, located
from mmsearch.pipeline.embed.captions import embed_captions
from mmsearch.pipeline.embed.estimate import Estimate, Timing, estimate
from mmsearch.pipeline.embed.pictures import embed_pictures, route
from mmsearch.pipeline.embed.report import CaptionCounts, EmbedOptions, EmbedReport, ImageCounts
from mmsearch.pipeline.embed.spread import Spread
from mmsearch.pipeline.embed.stages import StageTimes
from mmsearch.pipeline.embed.worker import Introduction, Recipe
from mmsearch.records import EncoderIdentity, ProgressCallback, quiet
from mmsearch.sources import EVERYTHING, CaptionFile, Selection, archive_kind, read_captions, read_pairs
from mmsearch.stores import is_folder, real
from mmsearch.sync import Plan, choose_roots, plan_root

__all__ = [
    "CaptionCounts",
    "EmbedOptions",
    "EmbedReport",
    "Estimate",
    "ImageCounts",
    "Selection",
    "Timing",
    "embed",
    "preview",
]

_Path = str | os.PathLike[str]
_DEMO_WARNING = (
    "the demo model knows drawn postcards (data/postcards) and nothing else; on other pictures its answers mean nothing"
)


def embed(
    paths: Sequence[_Path] = (),
    *,
    captions: Sequence[_Path] = (),
    gallery: _Path | None = None,
    encoder: str | Encoder | None = None,
    options: EmbedOptions | None = None,
    selection: Selection = EVERYTHING,
    progress: ProgressCallback = quiet,
    announce: Callable[[str], None] = lambda _: None,
) -> EmbedReport:
    """Sync a gallery with folders: encode what is new or changed, drop what is gone, leave the rest alone.

    paths: folders (mirrored in full); files and archives, and lists of them (added or updated). None, and no captions:
    all roots of the gallery. captions: files of captions (see `mmsearch.sources.read_captions`), or folders and
    archives with a text beside each picture (`read_pairs`); running one again replaces its captions.
    selection: which of the files; a run that looks at a part of them deletes nothing.
    gallery: its folder; see `mmsearch.gallery.place_for_gallery` for the default. Made where there is none.
    encoder: an encoder spec, or an encoder; by default the gallery's own, and for a new gallery `DEFAULT_MODEL`.
    announce: told in a line what device is used and what is downloaded, before it happens.

    What is finished is committed at least once a minute; an interrupted run is continued by the same call.
    Raises SourceError (nothing there, nothing embedded, PruneRefused, FilesSkipped), EncoderError, EncoderMismatch,
    GalleryBusy, StoreError.
    """
    started = time.monotonic()
    options = options or EmbedOptions()
    named = dict.fromkeys(real(located(file)) for file in captions)
    place = place_for_gallery(gallery)
    files = [(file, _read_captions(file, place)) for file in named]
    for file, lines in files:
        announce(f"{file.name}: {len(lines.lines):,} captions, read as {lines.kind}")
    with open_writer(place, command="embed") as writer:
        _require_own_vectors(writer)
        source = _EncoderSource(encoder, writer, options, announce)
        image_counts, caption_counts, stages = ImageCounts(), CaptionCounts(), StageTimes()
        measured = writer.manifest.parity
        plan = None
        if paths or not captions:
            plan = _plan(writer, paths, options, selection, progress, announce)
        source.check()
        try:
            if plan is not None:
                executor = source.on_ray() if options.ray else None
                image_counts, stages = embed_pictures(writer, source.load, plan, options, progress, executor)
                writer.commit()  # captions find their pictures among committed rows
                _require_roots(plan)
                _require_pictures(plan, image_counts)
            for file, lines in files:
                caption_counts += embed_captions(writer, source.load, file, lines, progress)
                writer.commit()
        except (StoreError, ParityError):
            raise
        except BaseException:
            # Ctrl-C, a failing device, a refused delete: what is encoded is kept, and the same command continues.
            writer.commit()
            raise
        writer.commit()
        if options.strict:
            _require_none_skipped(image_counts)
        parity = next((each for each in writer.manifest.parity if each not in measured), None)
        report = _report(writer, source, image_counts, caption_counts, time.monotonic() - started)
        return replace(report, stages=stages, parity=parity)


def _require_fp32(precision: str) -> str:
    """The precision of the exact route. Raises EncoderError where another one was asked for."""
    if precision not in ("auto", "fp32"):
        raise EncoderError(f"--exact computes in fp32, not in {precision}; leave one of the two out")
    return "fp32"


def _require_for_workers(device: str) -> None:
    """Raise EncoderError for a device that a worker on a cluster cannot be told to use."""
    if device not in ("auto", "cpu", "cuda"):
        raise EncoderError(
            f"--device {device}: on a cluster, which device a worker gets is decided there; use auto, cuda or cpu"
        )


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
    """What `embed` with the same arguments would do to the pictures, and how long it would take; nothing is written.

    A sample is read and encoded, for which the model is loaded. Raises as `embed` does before it writes.
    """
    options = options or EmbedOptions()
    with open_writer(place_for_gallery(gallery), command="embed --dry-run") as writer:
        _require_own_vectors(writer)
        source = _EncoderSource(encoder, writer, options, announce)
        plan = _plan(writer, paths, options, selection, progress, announce)
        source.check()
        return estimate(plan, writer.gallery.path, source.load, options)


class _EncoderSource:
    """Loads the encoder when something has to be encoded, and not before: a run that only looks stays quick."""

    def __init__(
        self,
        wanted: str | Encoder | None,
        writer: GalleryWriter,
        options: EmbedOptions,
        announce: Callable[[str], None],
    ) -> None:
        self._writer, self._options, self._announce = writer, options, announce
        self._own = writer.manifest.encoder if writer.manifest.version else None
        self._wanted: str | Encoder = wanted or (self._own.spec if self._own else DEFAULT_MODEL)
        self._loading = threading.Lock()
        self._failure: MmsearchError | None = None
        self._workers: list[Introduction] = []
        self.loaded: Encoder | None = None

    def check(self) -> None:
        """Refuse another model than the gallery's, even where nothing is to be encoded."""
        if self._own is None or self._wanted == self._own.spec:
            return
        if not isinstance(self._wanted, str) or parse_spec(self._wanted).spec != self._own.spec:
            self.load()

    def load(self) -> Encoder:
        """The encoder, loaded once by whichever thread comes first; what prevented it is raised in all of them."""
        with self._loading:
            if self._failure is not None:
                raise self._failure
            if self.loaded is None:
                try:
                    self.loaded = self._load()
                except MmsearchError as error:
                    self._failure = error
                    raise
            return self.loaded

    def _load(self) -> Encoder:
        encoder = self._wanted
        if isinstance(encoder, str):
            self._announce(f"loading {encoder}")
            device = self._options.device
            encoder = load_encoder(encoder, device=device, precision=self._precision(), announce=self._announce)
        self._writer.begin(encoder.identity, self._options.dtype)
        self._say(encoder.identity, encoder.device, encoder.precision)
        return encoder

    def _precision(self) -> str:
        return _require_fp32(self._options.precision) if self._options.exact else self._options.precision

    def _say(self, identity: EncoderIdentity, device: str, precision: str) -> None:
        if identity.spec == "demo":
            warnings.warn(_DEMO_WARNING, MmsearchWarning, stacklevel=2)
        self._announce(f"encoding with {identity.spec} on {device}, {precision}")

    def on_ray(self) -> Spread:
        """An executor whose workers load the encoder, each for itself. Raises ClusterError where there is no Ray."""
        from mmsearch.executors.ray import RayCrew

        options, writer = self._options, self._writer
        _require_for_workers(options.device)
        wanted = parse_spec(self._wanted).spec if isinstance(self._wanted, str) else self._wanted
        dtype = writer.manifest.dtype if writer.manifest.version else options.dtype
        made = replace(options, precision=self._precision())
        recipe = Recipe(wanted, made, route(options), writer.gallery.path, dtype)

        def crew() -> RayCrew:
            address = None if options.ray == "any" else options.ray
            gpus = options.device != "cpu"
            return RayCrew(address, recipe, threads=options.threads, gpus=gpus, announce=self._announce)

        return Spread(crew, introduced=self._introduced, announce=self._announce)

    def _introduced(self, worker: Introduction) -> None:
        if self._workers:
            require_same_encoder(self._workers[0].identity, worker.identity, self._writer.gallery.path)
        else:
            self._writer.begin(worker.identity, self._options.dtype)
            self._say(worker.identity, f"a Ray cluster, {worker.provenance.device}", worker.provenance.precision)
        self._workers.append(worker)

    @property
    def used(self) -> tuple[str | None, str | None]:
        """(device, precision) of whatever encoded; None where nothing had to be."""
        ways = sorted({(each.provenance.device, each.provenance.precision) for each in self._workers})
        if self.loaded is not None and not ways:
            return self.loaded.device, self.loaded.precision
        if not ways:
            return None, None
        devices, precisions = (" and ".join(dict.fromkeys(part)) for part in zip(*ways, strict=True))
        workers = "1 worker" if len(self._workers) == 1 else f"{len(self._workers)} workers"
        return f"{workers} on Ray, {devices}", precisions


def _require_own_vectors(writer: GalleryWriter) -> None:
    own = writer.manifest.encoder
    if own.declared:
        raise EncoderMismatch(
            f"the vectors of {writer.gallery.path} were imported, and that they are of {own.spec} is not checked; "
            "others cannot be added to them. Embed into another gallery with --gallery"
        )


def _read_captions(file: Location, gallery: Location) -> CaptionFile:
    if is_folder(file) or archive_kind(file.name) in ("tar", "zip"):
        return read_pairs(file, avoid=gallery)
    return read_captions(file)


def _plan(
    writer: GalleryWriter,
    paths: Sequence[_Path],
    options: EmbedOptions,
    selection: Selection,
    progress: ProgressCallback,
    announce: Callable[[str], None],
) -> Plan:
    plan = Plan()
    for root in choose_roots(writer, paths, announce=announce):
        plan_root(writer.gallery, root, plan, prune=options.prune, progress=progress, selection=selection)
    for note in plan.notes:
        warnings.warn(note, MmsearchWarning, stacklevel=3)
    return plan


def _require_roots(plan: Plan) -> None:
    """What was to be read while a disk went away is tried again by the next run; that it went has to be said."""
    if gone := [str(root.folder) for root in plan.roots if not is_folder(root.folder)]:
        raise SourceError(
            f"{', '.join(gone)} went away during the run. What was embedded until then is kept; mount it again and run "
            "the same command"
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
    if counts.in_gallery or counts.deleted or not plan.candidates:
        return
    reasons = "; ".join(f"{number} x {reason}" for reason, number in counts.skipped_reasons[:5])
    raise SourceError(
        f"no picture could be embedded from {', '.join(str(root.folder) for root in plan.roots)}: "
        f"{plan.candidates} files, {reasons or 'all of them skipped before (mmsearch info --skipped)'}"
    )


def _report(
    writer: GalleryWriter, source: _EncoderSource, images: ImageCounts, captions: CaptionCounts, seconds: float
) -> EmbedReport:
    gallery = writer.gallery
    return EmbedReport(
        gallery=gallery.path,
        version=writer.manifest.version,
        encoder=writer.manifest.encoder,
        device=source.used[0],
        precision=source.used[1],
        images=images,
        captions=captions,
        total_images=gallery.live_rows("images"),
        total_captions=gallery.live_rows("captions"),
        seconds=seconds,
    )
