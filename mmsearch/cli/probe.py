"""`mmsearch eval probe`: what a model cannot do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.budget import print_columns
from mmsearch.cli.options import Device, GalleryOption, Precision, path, say
from mmsearch.cli.progress import RESUMABLE, display

if TYPE_CHECKING:
    from mmsearch.reports import TabledReport

__all__ = ["GalleryModel", "Reports", "app", "print_tabled", "probe", "write_reports"]

app = typer.Typer(
    help="Measure what a model cannot do: small choices between texts or pictures, beside chance and what texts alone "
    "give away. One command for each probe.",
    no_args_is_help=True,
)

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="As for embed; repeatable, and then compared with the first. Default: ViT-B-32/laion2b_s34b_b79k.",
        show_default=False,
    ),
]
GalleryModel = Annotated[
    str | None,
    typer.Option("--model", metavar="MODEL", help="The gallery's own, where it has to be named another way."),
]
Reports = Annotated[
    list[Path] | None,
    typer.Option(
        "--report",
        metavar="PLACE",
        parser=path,
        help="Write everything to a .json, .md or .html file, the figures to .csv, or all to a folder. Repeatable.",
    ),
]


def probe(
    context: typer.Context,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", parser=path, help="The folder of its pictures. Default: where the annotations stand."
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path,
            help="Its file as it was published, or the folder that holds its files. Default: the folder of pictures.",
        ),
    ] = None,
    model: Models = None,
    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing", help="Go on without examples whose pictures are missing or unreadable, and say so."
        ),
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Encode everything anew, whatever the cache holds.")] = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    report: Reports = None,
) -> None:
    """Measure what a model cannot do by a published probe and its rules, with intervals, chance and blind baselines.

    Give --images, --annotations or both. Files are read as they were published.
    """
    from mmsearch.evaluation.probes import ProbeOptions, evaluate_probe
    from mmsearch.reports import TABLED_KINDS, probe_report, require_target

    for target in report or []:
        require_target(target, TABLED_KINDS)
    options = ProbeOptions(allow_missing=allow_missing, device=device, precision=precision, fresh=fresh)
    with display(interrupted=RESUMABLE) as shown:
        measured = evaluate_probe(
            str(context.info_name),
            images=images,
            annotations=annotations,
            encoder=model,
            options=options,
            progress=shown.progress,
            announce=shown.announce,
        )
    tabled = probe_report(measured)
    print_tabled(tabled)
    write_reports(tabled, report)


def gallery_probe(
    gallery: GalleryOption = None,
    most: Annotated[int, typer.Option(min=20, help="Pictures that are taken at most, by lot.")] = 1000,
    strength: Annotated[
        list[float] | None,
        typer.Option(
            metavar="SHARE",
            help="Height of the written word as a share of the picture's height; repeatable. Default: .05, .1, .2, .4.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the lot.")] = 0,
    model: GalleryModel = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on without pictures that cannot be read, and say so.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Encode everything anew, whatever the cache holds.")] = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    report: Reports = None,
) -> None:
    """Measure what a gallery's model cannot do, on the gallery's own pictures and captions, made wrong in one respect.

    Attributes and sides swapped, words in another order, a negation, another count; and a word of another picture's
    caption written over the picture. Captions are taken to be English.
    """
    from mmsearch.evaluation.probes import GalleryProbeOptions, evaluate_gallery_probe
    from mmsearch.reports import TABLED_KINDS, probe_report, require_target

    for target in report or []:
        require_target(target, TABLED_KINDS)
    options = GalleryProbeOptions(
        most=most,
        strengths=tuple(sorted(set(strength))) if strength else GalleryProbeOptions().strengths,
        seed=seed,
        allow_missing=allow_missing,
        device=device,
        precision=precision,
        fresh=fresh,
    )
    with display(interrupted=RESUMABLE) as shown:
        measured = evaluate_gallery_probe(
            gallery, encoder=model, options=options, progress=shown.progress, announce=shown.announce
        )
    tabled = probe_report(measured)
    print_tabled(tabled)
    write_reports(tabled, report)


for _name, _about in {
    "sugarcrepe": "SugarCrepe: a caption and one that is wrong in a word or in their order.",
    "sugarcrepe-pp": "SugarCrepe++: two captions of one meaning, and a wrong one.",
    "aro-relation": "ARO, Visual Genome Relation: which thing does what to which.",
    "aro-attribution": "ARO, Visual Genome Attribution: which thing has which attribute.",
    "winoground": "Winoground: two pictures, two captions of the same words.",
    "valse": "VALSE: captions and foils, one phenomenon a file.",
    "eqben": "EqBen: two pictures that differ little, and their captions.",
    "mmvp-vlm": "MMVP-VLM: pairs of pictures that CLIP takes for alike.",
    "whatsup": "What'sUp: on, under, left, right, in front, behind.",
    "countbench": "CountBench: two to ten things.",
    "scam": "SCAM: things with another thing's name on a note beside them.",
    "rta100": "RTA-100: the same, called label=OBJECT_text=WORD.",
}.items():
    app.command(_name, short_help=_about)(probe)
app.command("gallery", short_help="Of a gallery's own pictures and captions.")(gallery_probe)


def print_tabled(report: "TabledReport") -> None:
    """The verdict, then the tables it rests on."""
    print(report.title)
    for note in report.notes:
        print(note)
    print(f"\n{report.verdict}")
    for heading, table in report.tables.items():
        print(f"\n{heading}")
        print_columns(table)
    print(f"\n{report.explained}\n{report.protocol}")
    for problem in report.problems:
        say(f"note: {problem}")


def write_reports(report: "TabledReport", targets: list[Path] | None) -> None:
    """Write a report to each of its places, and say so."""
    from mmsearch.reports import write_tabled

    for target in targets or []:
        files = write_tabled(report, target)
        say(f"report written to {target}" + (f" ({len(files)} files)" if len(files) > 1 else ""))
