"""`mmsearch eval languages`, `lengths`, `folds` and their kin: benchmarks whose report is a table with several rows."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mmsearch.cli.evaluate_options import (
    AllowMissing,
    Annotations,
    CaptionsPerImage,
    Fresh,
    ImageFolder,
    Ks,
    Models,
    Split,
    SplitFile,
)
from mmsearch.cli.options import CaptionColumns, Device, ImageColumn, Precision, location, path, say
from mmsearch.cli.progress import RESUMABLE, display

if TYPE_CHECKING:
    from mmsearch.evaluation import EvaluateOptions, FigureReport

__all__ = ["composed", "folds", "instances", "languages", "lengths", "moments", "msrvtt", "positives", "regions"]

TableReports = Annotated[
    list[Path] | None,
    typer.Option(
        "--report",
        metavar="PLACE",
        parser=path,
        help="Write the table to a .json, .md, .html, .csv or .tex (LaTeX) file, or all of that to a folder. "
        "Repeatable.",
    ),
]


ImagePlace = Annotated[
    str,
    typer.Option(
        metavar="PLACE", parser=location, help="Its images: a folder or an archive, here or in an object store."
    ),
]


def languages(
    benchmark: Annotated[
        str, typer.Argument(metavar="BENCHMARK", help="xm3600, xtd10, xtd200, flickr30k-200, multi30k, or any other.")
    ],
    *,
    images: ImageFolder,
    annotations: Annotated[
        list[str],
        typer.Option(
            metavar="PLACE",
            help="The folder or file of its captions; of other benchmarks a file for each language, as en=FILE. "
            "Repeatable.",
        ),
    ],
    language: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this one. Repeatable. Default: all that are there.")
    ] = None,
    image_column: ImageColumn = None,
    caption_column: CaptionColumns = None,
    split: Split = "test",
    split_file: SplitFile = None,
    model: Models = None,
    k: Ks = None,
    captions_per_image: CaptionsPerImage = None,
    allow_missing: AllowMissing = False,
    fresh: Fresh = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    report: TableReports = None,
) -> None:
    """Measure retrieval by captions in several languages: a row each, and the mean of the languages.

    Images are encoded once, whatever the number of languages.
    """
    from mmsearch.evaluation import evaluate_languages

    options = _options(
        split, split_file, captions_per_image, k, image_column, caption_column, device, precision, allow_missing, fresh
    )
    files = _by_language(annotations)
    _measure(
        report,
        partial(
            evaluate_languages,
            benchmark,
            images=images,
            annotations=files,
            languages=language or (),
            encoder=model,
            options=options,
        ),
    )


def lengths(
    benchmark: Annotated[
        str, typer.Argument(metavar="[BENCHMARK]", help="urban1k, docci, dci, or any other.")
    ] = "custom",
    *,
    images: ImageFolder,
    annotations: Annotations = None,
    words: Annotated[
        list[int] | None,
        typer.Option(
            min=1, help="A row goes to so many words. Repeatable. Default: 20, 40, 60, 100, 150.", show_default=False
        ),
    ] = None,
    image_column: ImageColumn = None,
    caption_column: CaptionColumns = None,
    split: Split = "test",
    split_file: SplitFile = None,
    model: Models = None,
    k: Ks = None,
    captions_per_image: CaptionsPerImage = None,
    allow_missing: AllowMissing = False,
    fresh: Fresh = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    report: TableReports = None,
) -> None:
    """Measure retrieval by the length of captions, and the share of captions that is longer than the model reads."""
    from mmsearch.evaluation import LENGTHS, evaluate_lengths

    options = _options(
        split, split_file, captions_per_image, k, image_column, caption_column, device, precision, allow_missing, fresh
    )
    _measure(
        report,
        partial(
            evaluate_lengths,
            benchmark,
            images=images,
            annotations=annotations,
            encoder=model,
            lengths=words or LENGTHS,
            options=options,
        ),
    )


def folds(
    benchmark: Annotated[str, typer.Argument(metavar="[BENCHMARK]", help="coco, or any other.")] = "coco",
    *,
    images: ImageFolder,
    annotations: Annotations = None,
    number: Annotated[int, typer.Option("--folds", min=2, help="How many.")] = 5,
    image_column: ImageColumn = None,
    caption_column: CaptionColumns = None,
    split: Split = "test",
    split_file: SplitFile = None,
    model: Models = None,
    k: Ks = None,
    captions_per_image: CaptionsPerImage = None,
    allow_missing: AllowMissing = False,
    fresh: Fresh = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    report: TableReports = None,
) -> None:
    """Measure retrieval in folds of the test split, each searched by itself, and their mean: COCO 1K."""
    from mmsearch.evaluation import evaluate_folds

    options = _options(
        split, split_file, captions_per_image, k, image_column, caption_column, device, precision, allow_missing, fresh
    )
    _measure(
        report,
        partial(
            evaluate_folds,
            benchmark,
            images=images,
            annotations=annotations,
            encoder=model,
            folds=number,
            options=options,
        ),
    )


def positives(
    benchmark: Annotated[str, typer.Argument(metavar="[BENCHMARK]", help="coco, or any other with ids.")] = "coco",
    *,
    images: ImageFolder,
    annotations: Annotations = None,
    positives: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            parser=location,
            help="The folder with eccv_caption_to_image.json and its kin, or CxC's sits_test.csv.",
        ),
    ],
    split: Split = "test",
    split_file: SplitFile = None,
    model: Models = None,
    k: Ks = None,
    captions_per_image: CaptionsPerImage = None,
    allow_missing: AllowMissing = False,
    fresh: Fresh = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    report: TableReports = None,
) -> None:
    """Measure retrieval on COCO by extended positives: ECCV Caption and CxC, with R-precision and mAP@R."""
    from mmsearch.evaluation import evaluate_positives

    options = _options(split, split_file, captions_per_image, k, None, None, device, precision, allow_missing, fresh)
    _measure(
        report,
        partial(
            evaluate_positives,
            benchmark,
            images=images,
            annotations=annotations,
            positives=positives,
            encoder=model,
            options=options,
        ),
    )


def composed(
    benchmark: Annotated[str, typer.Argument(metavar="BENCHMARK", help="cirr or fashioniq.")],
    *,
    images: ImagePlace,
    annotations: Annotated[
        str,
        typer.Option(
            metavar="DIR", parser=location, help="The folder with the files of its captions and image splits."
        ),
    ],
    split: Annotated[str, typer.Option(help="Which split; the answers of the test splits are not given out.")] = "val",
    weight: Annotated[float, typer.Option(help="How much the words count; the picture counts 1.")] = 1.0,
    model: Models = None,
    allow_missing: AllowMissing = False,
    fresh: Fresh = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    report: TableReports = None,
) -> None:
    """Measure composed queries, a picture and words that change it, as query asks them; and either alone."""
    from mmsearch.evaluation import EvaluateOptions, evaluate_composed

    options = EvaluateOptions(allow_missing=allow_missing, device=device, precision=precision, fresh=fresh)
    _measure(
        report,
        partial(
            evaluate_composed,
            benchmark,
            images=images,
            annotations=annotations,
            split=split,
            weight=weight,
            encoder=model,
            options=options,
        ),
    )


def instances(
    benchmark: Annotated[str, typer.Argument(metavar="BENCHMARK", help="roxford5k or rparis6k.")],
    *,
    images: ImagePlace,
    annotations: Annotated[
        str, typer.Option(metavar="FILE", parser=location, help="Its ground truth: gnd_roxford5k.pkl, or as JSON.")
    ],
    model: Models = None,
    fresh: Fresh = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    report: TableReports = None,
) -> None:
    """Measure image to image: pictures of the same place, easy, medium and hard, by mAP without junk."""
    from mmsearch.evaluation import EvaluateOptions, evaluate_instances

    _measure(
        report,
        partial(
            evaluate_instances,
            benchmark,
            images=images,
            annotations=annotations,
            encoder=model,
            options=EvaluateOptions(device=device, precision=precision, fresh=fresh),
        ),
    )


def regions(
    *,
    images: ImagePlace,
    annotations: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            parser=location,
            help="Expressions with boxes: refs(unc).p with instances.json beside it, COCO's layout, or JSON lines.",
        ),
    ],
    instances: Annotated[
        str | None,
        typer.Option(metavar="FILE", parser=location, help="Of refs, the instances.json that stands elsewhere."),
    ] = None,
    detections: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            parser=location,
            help="Measure a detector's boxes too: JSON of image_id, box (x, y, w, h).",
        ),
    ] = None,
    tiles: Annotated[
        str | None, typer.Option(metavar="TILES", help="Measure tiles too: auto, or how many a side, as in 2,3.")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Repeatable. Default: all but train.", show_default=False)
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help='Put each expression in the place of {}, as in "a photo of {}". Several are averaged. Repeatable.',
        ),
    ] = None,
    box_form: Annotated[
        Literal["xyxy", "xywh"] | None,
        typer.Option(help="What the boxes of records are, where they do not tell.", show_default=False),
    ] = None,
    model: Models = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    report: TableReports = None,
) -> None:
    """Measure which part of a picture an expression means: RefCOCO, RefCOCO+, RefCOCOg, by accuracy at IoU .5."""
    from mmsearch.evaluation import RegionOptions, evaluate_regions
    from mmsearch.tiles import Tiling

    options = RegionOptions(
        splits=split or (),
        instances=instances,
        detections=detections,
        tiles=None if tiles is None else Tiling.read(tiles),
        box_form=box_form,
        templates=template or (),
        device=device,
        precision=precision,
    )
    _measure(report, partial(evaluate_regions, images=images, annotations=annotations, encoder=model, options=options))


Galleries = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[GALLERY]...",
        parser=location,
        help="Galleries that hold the films, embedded in one way or another. None: .mmsearch here or in the nearest "
        "parent folder.",
    ),
]

QueryModel = Annotated[
    str | None,
    typer.Option("--model", metavar="MODEL", help="Where to load the galleries' model from now.", show_default=False),
]


def msrvtt(
    places: Galleries = None,
    *,
    annotations: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            parser=location,
            help="MSRVTT_JSFUSION_test.csv, a list of records with video and caption, or videodatainfo.json.",
        ),
    ],
    split: Annotated[str, typer.Option(help="Which split of videodatainfo.json.")] = "test",
    model: QueryModel = None,
    k: Ks = None,
    allow_missing: AllowMissing = False,
    report: TableReports = None,
) -> None:
    """Measure how captions find films of galleries, and films captions: MSR-VTT (1k-A) and its kin.

    Films are ranked by their best frame, by the mean of their frames, and by their mean vector, side by side. Frames
    are those that embed chose: several galleries of the same films compare ways to choose them.
    """
    from mmsearch.evaluation import EvaluateOptions, evaluate_films

    _measure(
        report,
        partial(
            evaluate_films,
            places or [None],
            annotations=annotations,
            split=split,
            ks=tuple(sorted(set(k))) if k else EvaluateOptions().ks,
            allow_missing=allow_missing,
            encoder=model,
        ),
    )


def moments(
    places: Galleries = None,
    *,
    annotations: Annotated[
        str,
        typer.Option(
            metavar="FILE", parser=location, help="JSON lines with query, vid and relevant_windows, as of QVHighlights."
        ),
    ],
    model: QueryModel = None,
    allow_missing: AllowMissing = False,
    report: TableReports = None,
) -> None:
    """Measure how queries find moments in their films: QVHighlights, by R1 at IoU .5 and .7, and by mAP."""
    from mmsearch.evaluation import evaluate_moments

    _measure(
        report,
        partial(
            evaluate_moments,
            places or [None],
            annotations=annotations,
            allow_missing=allow_missing,
            encoder=model,
        ),
    )


def _options(
    split: str,
    split_file: Path | None,
    captions_per_image: int | None,
    ks: Sequence[int] | None,
    image_column: str | None,
    caption_columns: Sequence[str] | None,
    device: str,
    precision: str,
    allow_missing: bool,
    fresh: bool,
) -> "EvaluateOptions":
    from mmsearch.evaluation import EvaluateOptions
    from mmsearch.sources import ColumnNames

    return EvaluateOptions(
        split=split,
        split_file=split_file,
        captions_per_image=captions_per_image,
        allow_missing=allow_missing,
        ks=tuple(sorted(set(ks))) if ks else EvaluateOptions().ks,
        device=device,
        precision=precision,
        fresh=fresh,
        columns=ColumnNames(image_column, tuple(caption_columns or ())),
    )


def _by_language(annotations: Sequence[str]) -> str | dict[str, str]:
    """One place, or language -> file."""
    pairs = [text.partition("=") for text in annotations]
    if len(pairs) == 1 and not pairs[0][1]:
        return location(annotations[0])
    if wrong := [text for text, (_, equals, _) in zip(annotations, pairs, strict=True) if not equals]:
        raise typer.BadParameter(f"--annotations {wrong[0]}: of several, each names its language, as in en=FILE")
    return {language: location(file) for language, _, file in pairs}


def _measure(targets: Sequence[Path] | None, evaluate: "Callable[..., FigureReport]") -> None:
    """Measure, once all places for reports are seen to be some; print the tables, and write the reports.

    evaluate: what remains to be given is how it shows its progress and what it announces.
    """
    from mmsearch.reports import FIGURE_KINDS, figure_cells, require_target, write_figures

    for target in targets or ():
        require_target(target, FIGURE_KINDS)
    with display(interrupted=RESUMABLE) as shown:
        measured = evaluate(progress=shown.progress, announce=shown.announce)
    print(measured.title)
    print(f"annotations read as {measured.source}")
    for table in measured.tables:
        print(f"\n{table.encoder.spec} on {table.device}, {table.precision}")
        header, rows = figure_cells(measured, table)
        _print_cells(header, rows)
    print(f"\n{measured.protocol}")
    for problem in measured.problems:
        say(f"note: {problem}")
    for target in targets or ():
        files = write_figures(measured, target)
        say(f"report written to {target}" + (f" ({len(files)} files)" if len(files) > 1 else ""))


def _print_cells(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; a direction stands once, above its figures."""
    groups, names = zip(*(_in_two_lines(cell) for cell in header), strict=True)
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    starts = [sum(widths[:column]) + 2 * column for column in range(len(widths))]
    above = ""
    for column, group in enumerate(groups):
        if group and group != groups[column - 1]:
            above = f"{above:<{starts[column]}}{group}  "
    if above:
        print(above.rstrip())
    for line in (names, *rows):
        first, *others = zip(line, widths, strict=True)
        print("  ".join([f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)]).rstrip())


def _in_two_lines(heading: str) -> tuple[str, str]:
    """The direction of a figure, or "", and the rest."""
    group, space, name = heading.rpartition(" ")
    return (group, name) if space and "_to_" in group else ("", heading)
