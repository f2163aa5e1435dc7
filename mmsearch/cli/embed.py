"""`mmsearch embed`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.agreement import agreement
from mmsearch.cli.options import Device, GalleryOption, Precision, path, say
from mmsearch.cli.progress import RESUMABLE, display

if TYPE_CHECKING:
    from mmsearch.pipeline.embed import EmbedReport


def embed(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH]...",
            parser=path,
            help="Folders, mirrored in full, and files. None: all roots of the gallery.",
        ),
    ] = None,
    captions: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", parser=path, help="A file of captions: CSV, JSON, or a caption a line. Repeatable."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="ARCH/TAG, hf-hub:org/name, local-dir:PATH or demo. Default: the gallery's own, or for a new gallery "
            "ViT-B-32/laion2b_s34b_b79k.",
            show_default=False,
        ),
    ] = None,
    gallery: GalleryOption = None,
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
    prune: Annotated[
        bool, typer.Option("--prune", help="Deletes are meant, even if a root is empty or most of it is gone.")
    ] = False,
) -> None:
    """Bring a gallery in line with folders of pictures: encode what is new or changed, drop what is gone.

    Run it again at any time: unchanged files cost a look, an interrupted run continues. Without --gallery the gallery
    is .mmsearch, here or in the nearest parent folder; it is made here if there is none.
    """
    from mmsearch.images import MAX_PIXELS
    from mmsearch.pipeline.embed import EmbedOptions
    from mmsearch.pipeline.embed import embed as run

    options = EmbedOptions(
        device=device,
        precision=precision,
        batch_size=batch_size,
        threads=threads,
        max_pixels=max_pixels or MAX_PIXELS,
        prune=prune,
        exact=exact,
    )
    with display(interrupted=RESUMABLE) as shown:
        report = run(
            paths or [],
            captions=captions or [],
            gallery=gallery,
            encoder=model,
            options=options,
            progress=shown.progress,
            announce=shown.announce,
        )
    _print(report)


def _print(report: "EmbedReport") -> None:
    images, captions = report.images, report.captions
    print(f"gallery   {report.gallery} (version {report.version}, {report.encoder.spec})")
    print(
        f"pictures  {report.total_images:,} in the gallery: {images.added:,} added, {images.updated:,} updated, "
        f"{images.deleted:,} deleted, {images.unchanged:,} unchanged"
        + (f"; {images.reused:,} had known content" if images.reused else "")
    )
    if report.total_captions:
        print(
            f"captions  {report.total_captions:,} in the gallery: {captions.added:,} added, "
            f"{captions.updated:,} updated, {captions.deleted:,} deleted, {captions.unchanged:,} unchanged"
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
    print(f"took      {report.seconds:.1f} s" + (f" on {report.device}, {report.precision}" if report.device else ""))
    if report.stages.bottleneck is not None:
        stages = ", ".join(f"{each.name} {each.seconds:.1f} s ({each.share:.0%})" for each in report.stages.stages)
        print(f"          {stages}; the bottleneck is {report.stages.bottleneck}")
    _warn(report)


def _warn(report: "EmbedReport") -> None:
    for folder, reason in report.images.unreadable[:10]:
        say(f"warning: {folder} cannot be listed ({reason}); its pictures stay as they were")
    for folder in report.images.linked_folders[:10]:
        say(f"warning: {folder} is a link to a folder and is not followed; name the folder itself to embed it")
    captions = report.captions
    if captions.truncated:
        say(f"warning: {captions.truncated:,} captions are longer than the model reads; their ends were cut")
    if captions.unmatched:
        say(f"warning: {captions.unmatched:,} captions name a picture that the gallery does not hold")
    for problem in captions.problems[:10]:
        say(f"warning: {problem}")
