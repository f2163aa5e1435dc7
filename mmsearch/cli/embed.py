"""`mmsearch embed`"""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmsearch.cli.agreement import agreement, disagreements
from mmsearch.cli.options import CaptionColumns, Device, GalleryOption, ImageColumn, Precision, location, say
from mmsearch.cli.plain_values import PlainCommand
from mmsearch.cli.progress import RESUMABLE, Display, display, duration, interruptible
from mmsearch.names import printable
from mmsearch.strict_json import json_text, without_empty

if TYPE_CHECKING:
    from mmsearch.embedding import EmbedOptions, EmbedReport, Estimate
    from mmsearch.embedding.records import CaptionCounts, ImageCounts


class Command(PlainCommand):
    """Takes `--ray` with an address or without one: what follows it may as well be the first path."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a bare `--ray` its value."""
        if "--ray" in args:
            from mmsearch.cluster.ray import is_address

            after = [*args[1:], ""]
            args = ["--ray=any" if arg == "--ray" and not is_address(after[i]) else arg for i, arg in enumerate(args)]
        return super().parse_args(ctx, args)


def embed(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH]...",
            parser=location,
            help="Folders, mirrored in full; files, archives (.tar, .zip, .parquet) and lists of files (.csv, .jsonl, "
            ".parquet, .txt); also s3://BUCKET/FOLDER and the like. None: all roots of the gallery.",
        ),
    ] = None,
    captions: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            parser=location,
            help="A file of captions (CSV, JSON, Parquet, or a caption a line), a PDF for the text of its pages, or "
            "a folder or archive with a .txt or .json beside each picture. Repeatable.",
        ),
    ] = None,
    describe: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Have this model say what each picture shows, and embed that as captions of its own: hf:org/name, or "
            "a plugin's (mmsearch guide describing).",
        ),
    ] = None,
    image_column: ImageColumn = None,
    caption_column: CaptionColumns = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="ARCH/TAG, hf-hub:org/name, local-dir:PATH, hf:org/name, st:org/name or demo (mmsearch guide models). "
            "Default: the gallery's own, or for a new gallery ViT-B-32/laion2b_s34b_b79k.",
            show_default=False,
        ),
    ] = None,
    gallery: GalleryOption = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Only files that match, as in .gitignore: '*.jpg', '/2019', 'raw/'. Repeatable."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Not the files and folders that match. Repeatable.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many new or changed files in this run.")] = None,
    hidden: Annotated[
        bool, typer.Option("--hidden", help="Hidden files too, and what programs leave among pictures.")
    ] = False,
    each_file: Annotated[
        bool,
        typer.Option(
            "--each-file",
            help="Every picture file by itself: raw data beside what was made of them, originals beside edited copies.",
        ),
    ] = False,
    tiles: Annotated[
        str | None,
        typer.Option(
            metavar="TILES",
            help="Embed overlapping tiles of large pictures beside the whole, so that small things in them are found: "
            "auto (by size), 2,3 (2 x 2 and 3 x 3), or none. Default: as before.",
            show_default=False,
        ),
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="FRAMES",
            help="Which frames of films and animations: auto (a look every two seconds at least; what shows something "
            "new), scenes, keys, every=1s, or how many of each. Default: as before, else auto, and of animations the "
            "first. Films need pip install 'mmsearch[video]'.",
            show_default=False,
        ),
    ] = None,
    retry_skipped: Annotated[
        bool, typer.Option("--retry-skipped", help="Try again what an earlier run could not embed.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail, once all others are embedded, if files could not be.")
    ] = False,
    places: Annotated[
        bool,
        typer.Option(
            "--places",
            help="Keep where pictures were taken, which else is not read: latitude, longitude, and the city near by. "
            "Whoever has the gallery then knows it.",
        ),
    ] = False,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh",
            help="Read dates, cameras, titles and (with --places) places again of pictures that the gallery holds; "
            "encode nothing.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done to the pictures, and time a sample.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Deletes are meant, even if a root is empty or most of it is gone.")
    ] = False,
    device: Device = "auto",
    precision: Precision = "auto",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Pictures encoded together. Default: what suits the device.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="That decode, and on a CPU encode. Default: one a core.")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Skip larger pictures before decoding them. Default: 200,000,000.")
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Decode with Pillow, preprocess with open_clip's own transform, encode in fp32. Slower."
        ),
    ] = False,
    decode: Annotated[
        Literal["auto", "cpu", "gpu"],
        typer.Option(
            help="Where JPEG is decoded: auto has a GPU decode what the cores cannot keep up with; gpu, all it takes."
        ),
    ] = "auto",
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="Have a Ray cluster embed the pictures: auto (the one this machine belongs to), local (started for "
            "it), host:port; without an address the first of these that there is.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Go on: sync again whenever files change, until Ctrl-C. Needs pip install 'mmsearch[watch]'.",
        ),
    ] = False,
    output: Annotated[
        Literal["text", "jsonl"],
        typer.Option("--format", help="For people, or for programs: progress and report as JSON lines on stdout."),
    ] = "text",
) -> None:
    """Bring a gallery in line with folders of pictures: encode what is new or changed, drop what is gone.

    Run it again at any time: unchanged files cost a look, an interrupted run continues. Without --gallery the gallery
    is .mmsearch, here or in the nearest parent folder; it is made here if there is none, also where another one is in
    use (mmsearch use): that one is only synced, by embed alone. With --include, --exclude or --limit, and of files that
    are named, pictures are added and updated but none is dropped.
    """
    from mmsearch.embedding import EmbedOptions, Selection
    from mmsearch.embedding import embed as run
    from mmsearch.embedding import preview as run_dry
    from mmsearch.frame_choice import parse_frames
    from mmsearch.images import MAX_PIXELS, CutOptions
    from mmsearch.sources import ColumnNames

    options = EmbedOptions(
        device=device,
        precision=precision,
        batch_size=batch_size,
        threads=threads,
        max_pixels=max_pixels or MAX_PIXELS,
        prune=prune,
        exact=exact,
        strict=strict,
        ray=ray,
        columns=ColumnNames(image_column, tuple(caption_column or ())),
        decode=decode,
        places=places,
    )
    if refresh:
        chooses = (include, exclude, limit, hidden, each_file, frames, retry_skipped)
        _require_alone(
            captions, image_column, caption_column, model, *chooses, describe, dry_run, watch, ray, prune, strict, exact
        )
        _refresh(paths or [], gallery, options, output)
        return
    choice = None if frames is None else str(parse_frames(frames))
    cuts = CutOptions(frames=choice, animations=choice, tiles=tiles)
    selection = Selection(tuple(include or ()), tuple(exclude or ()), limit, hidden, retry_skipped, each_file, cuts)
    if dry_run:
        if watch:
            raise typer.BadParameter("it embeds nothing; leave --watch out", param_hint="--dry-run")
        if ray:
            raise typer.BadParameter("it times a sample on this machine; leave --ray out", param_hint="--dry-run")
        if captions or describe:
            name = "--captions" if captions else "--describe"
            raise typer.BadParameter(f"it looks at pictures only; leave {name} out", param_hint="--dry-run")
        with display(interrupted="nothing was written", output=output) as shown:
            estimate = run_dry(
                paths or [],
                gallery=gallery,
                encoder=model,
                options=options,
                selection=selection,
                progress=shown.progress,
                announce=shown.announce,
            )
        _print_estimate(estimate) if output == "text" else _print_json("estimate", asdict(estimate))
        return
    if watch:
        given: dict[str, Any] = {
            "--ray": ray,
            "--captions": captions,
            "--describe": describe,
            "--limit": limit,
            "--prune": prune,
            "--strict": strict,
        }
        for name, value in given.items():
            if value:
                raise typer.BadParameter(f"leave {name} out, and run it beside", param_hint="--watch")
        _watch(paths or [], gallery=gallery, encoder=model, options=options, selection=selection, output=output)
        return
    with display(interrupted=RESUMABLE, output=output) as shown:
        report = run(
            paths or [],
            captions=captions or [],
            gallery=gallery,
            encoder=model,
            describer=describe,
            options=options,
            selection=selection,
            progress=shown.progress,
            announce=shown.announce,
        )
    _show(report, output)


def _watch(paths: list[str], *, output: Literal["text", "jsonl"], **how: Any) -> None:
    """Show each sync: the first as that of a plain `embed`, later ones in a line. Ends by Ctrl-C or SIGTERM."""
    import time

    from mmsearch.upkeep.watching import watch

    shown = Display()
    reports = watch(
        paths, progress=lambda state: shown.progress(state), announce=lambda line: shown.announce(line), **how
    )
    with interruptible(RESUMABLE):
        with display(interrupted=RESUMABLE, output=output) as shown:
            first = next(reports)
        _show(first, output)
        shown = Display()  # no bar for days on end
        sys.stdout.flush()
        for report in reports:
            if output == "text":
                print(f"{time.strftime('%H:%M:%S')}  {_outcome(report)}")
            else:
                _show(report, output)
            sys.stdout.flush()


def _outcome(report: "EmbedReport") -> str:
    """What a sync did, in a line."""
    images = report.images
    counts = {"added": images.added, "updated": images.updated, "moved": images.moved, "deleted": images.deleted}
    counts["skipped"] = images.skipped
    done = [f"{count:,} {what}" for what, count in counts.items() if count]
    for kind, each in report.others.items():
        of_kind = {"added": each.added, "updated": each.updated, "moved": each.moved, "deleted": each.deleted}
        done += [f"{count:,} {kind} {what}" for what, count in of_kind.items() if count]
    return f"{', '.join(done)}; {report.total_images:,} pictures in the gallery"


def _show(report: "EmbedReport", output: str) -> None:
    if output == "text":
        _print(report)
    else:
        _print_json("report", without_empty(without_empty(asdict(report), "others"), "guesses"))
    _warn(report)


def _require_alone(*others: object) -> None:
    """Raise BadParameter where --refresh is given with what it has no use for."""
    if any(others):
        raise typer.BadParameter(
            "it reads headers alone, of what the gallery holds; leave out what chooses files, models and captions, and "
            "what deletes, fails or decodes",
            param_hint="--refresh",
        )


def _refresh(paths: list[str], gallery: str | None, options: "EmbedOptions", output: Literal["text", "jsonl"]) -> None:
    from mmsearch.embedding import refresh

    with display(interrupted="what was read is kept, and the same command reads the rest", output=output) as shown:
        report = refresh(
            paths,
            gallery=gallery,
            places=options.places,
            threads=options.threads,
            max_pixels=options.max_pixels,
            progress=shown.progress,
            announce=shown.announce,
        )
    if output == "jsonl":
        _print_json("report", asdict(report))
        return
    print(f"gallery   {printable(report.gallery)} (version {report.version})")
    done = report.changed + report.unchanged
    print(f"pictures  {done:,} read: {report.changed:,} changed, {report.unchanged:,} unchanged")
    if report.columns:
        print(f"columns   {', '.join(f'{name} {count:,}' for name, count in report.columns.items())}")
    for count, what in (
        (report.missing, "are not there"),
        (report.stale, "were changed since they were embedded"),
    ):
        if count:
            print(f"passed by {count:,} whose files {what} (mmsearch embed)")
    rate = f" ({done / report.seconds:,.0f} a second)" if report.seconds > 0 and done else ""
    print(f"took      {report.seconds:.1f} s{rate}")
    for file, reason in report.unread_files:
        say(f"warning: {printable(file)} cannot be read ({reason}); its row stays as it was")
    if report.unread > len(report.unread_files):
        say(f"warning: nor can {report.unread - len(report.unread_files):,} more")


def _print_json(event: str, fields: dict[str, object]) -> None:
    print(json_text({"event": event, **fields}, default=str))


def _print(report: "EmbedReport") -> None:
    images, captions = report.images, report.captions
    # A watch may find nothing but files that are still being written.
    state = f"version {report.version}, {report.encoder.spec}" if report.version else "nothing in it yet"
    print(f"gallery   {printable(report.gallery)} ({state})")
    print(
        f"pictures  {report.total_images:,} in the gallery{_changes(images)}"
        + (f", {images.moved:,} moved" if images.moved else "")
        + (f"; {images.reused:,} had known content" if images.reused else "")
    )
    if report.tiles is not None:
        print(f"tiles     {report.tiles:,} of these are tiles of large pictures")
    if images.joined:
        ended = f"; {images.merged:,} of them were pictures of their own before" if images.merged else ""
        print(f"files     {images.joined:,} joined with another file of the same picture{ended}")
    if images.alike:
        print(f"films     {images.alike:,} more frames were looked at and left out: they look like the one before")
    if images.passed_over:
        print(f"passed    {images.passed_over:,} files and folders over, hidden or none of your pictures (--hidden)")
    if report.total_captions:
        print(f"captions  {report.total_captions:,} in the gallery{_changes(captions)}")
    if (guesses := report.guesses) is not None:
        print(
            f"guesses   {guesses.described:,} pictures described"
            + (f" by {printable(guesses.model)}" if guesses.model else "")
            + (f", {guesses.copied:,} of content that it knows" if guesses.copied else "")
            + f", {guesses.unchanged:,} unchanged, {guesses.deleted:,} deleted"
        )
    for kind, counts in report.others.items():
        print(
            f"{kind:<9} {counts.added:,} added, {counts.updated:,} updated, {counts.deleted:,} deleted, "
            f"{counts.unchanged:,} unchanged"
            + (f", {counts.moved:,} moved" if counts.moved else "")
            + (f"; {counts.reused:,} had known content" if counts.reused else "")
        )
    if images.skipped or images.still_skipped:
        print(
            f"skipped   {images.skipped:,} files now, {images.still_skipped:,} unchanged since an earlier run "
            "(mmsearch info --skipped lists them)"
        )
        for reason, count in images.skipped_reasons[:5]:
            print(f"          {count:,} x {reason}")
    if report.parity is not None:
        print(f"agrees    {agreement(report.parity)}")
        for line in disagreements(report.parity):
            print(f"exact     {line}")
    where = f" on {report.device}, {report.precision}" if report.device else ""
    of_captions = f"; {report.caption_seconds:.1f} s of them captions" if report.caption_seconds else ""
    print(f"took      {report.seconds:.1f} s{where}{of_captions}")
    if report.stages.bottleneck is not None:
        stages = ", ".join(f"{each.name} {each.seconds:.1f} s ({each.share:.0%})" for each in report.stages.stages)
        print(f"stages    {stages}; the bottleneck is {report.stages.bottleneck}")
    if report.stages.decoded_on_gpu:
        print(f"decoded   {report.stages.decoded_on_gpu:,} on the GPU, {report.stages.decoded_on_cpu:,} on processors")


def _changes(counts: "ImageCounts | CaptionCounts") -> str:
    """What became of the items of a run; nothing where it looked at none, as at pictures where captions were named."""
    if not (counts.added or counts.updated or counts.deleted or counts.unchanged):
        return ""
    return (
        f": {counts.added:,} added, {counts.updated:,} updated, {counts.deleted:,} deleted, "
        f"{counts.unchanged:,} unchanged"
    )


def _print_estimate(estimate: "Estimate") -> None:
    print(f"gallery   {printable(estimate.gallery)} (dry run: nothing was written)")
    print(
        f"pictures  {estimate.new:,} new, {estimate.changed:,} changed, {estimate.gone:,} gone, "
        + f"{estimate.unchanged:,} unchanged"
        + (f", {estimate.retried:,} tried again" if estimate.retried else "")
        + (f"; {estimate.still_skipped:,} skipped since an earlier run" if estimate.still_skipped else "")
    )
    if estimate.pieces:
        print(f"pieces    {estimate.pieces:,} of these are parts of files: tiles, pages, frames")
    if estimate.bytes:
        print(f"disk      about {_size(estimate.bytes)} for these {estimate.new + estimate.changed:,}")
    timing = estimate.timing
    if timing is None:
        reason = f"not known: {estimate.untimed}" if estimate.untimed else "a moment: nothing is to be embedded"
        print(f"time      {reason}")
        return
    print(f"time      about {duration(timing.seconds)} on {timing.device}, {timing.precision}")
    print(
        f"limit     {timing.bottleneck}: of a sample of {timing.sample + timing.unreadable:,} files, reading and "
        f"decoding took {timing.load_seconds * 1e3:,.1f} ms each, encoding {timing.encode_seconds * 1e3:,.1f} ms"
        + (f"; {timing.unreadable:,} would be skipped" if timing.unreadable else "")
    )


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"


def _warn(report: "EmbedReport") -> None:
    for folder, reason in report.images.unreadable[:10]:
        say(f"warning: {folder} cannot be read ({reason}); its pictures stay as they were")
    for folder in report.images.linked_folders[:10]:
        say(f"warning: {folder} is a link to a folder and is not followed; name the folder itself to embed it")
    captions = report.captions
    if captions.truncated:
        say(f"warning: {captions.truncated:,} captions are longer than the model reads; their ends were cut")
    if captions.unmatched:
        say(f"warning: {captions.unmatched:,} captions name a picture that the gallery does not hold")
    if captions.uncaptioned:
        say(f"warning: {captions.uncaptioned:,} pictures beside the captions have none")
    for line in (*captions.unpaired[:10], *captions.problems[:10]):
        say(f"warning: {line}")
    if (guesses := report.guesses) is not None:
        if guesses.truncated:
            say(f"warning: {guesses.truncated:,} descriptions are longer than the model reads; their ends do not count")
        for file, reason in guesses.unread_files:
            say(f"warning: {printable(file)} was not described: {reason}")
        if guesses.unread > len(guesses.unread_files):
            say(f"warning: nor were {guesses.unread - len(guesses.unread_files):,} more")
