"""`mmsearch eval zeroshot` and `eval linear`: classification by names, and beside what learns from pictures."""

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.evaluate_options import AllowMissing, Compare, CompareAs, Fresh, Models
from mmsearch.cli.figures import print_differences
from mmsearch.cli.options import Device, Precision, location, path, say
from mmsearch.cli.progress import RESUMABLE, display

if TYPE_CHECKING:
    from mmsearch.evaluation import LinearReport, ZeroShotOptions, ZeroShotReport, ZeroShotSystem

__all__ = ["linear", "zeroshot"]

DataSet = Annotated[
    str,
    typer.Argument(
        metavar="[BENCHMARK]",
        help="A data set whose classes and templates are known: imagenet, cifar10, voc2007 …; mmsearch guide zeroshot "
        "lists them. custom: the folders are the classes.",
    ),
]
Pictures = Annotated[
    str,
    typer.Option(
        metavar="PLACE",
        parser=location,
        help="A folder with a folder of pictures for each class; VOC's own layout; or webdataset and Parquet shards, "
        "here or in an object store.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        parser=path,
        help="Lines of picture and class, in place of folders; a picture that stands there several times has several "
        "classes.",
    ),
]
SplitOfPictures = Annotated[str, typer.Option(help="Which of VOC's lists, or of the shards; all for everything.")]
LabelColumn = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="What holds the class in shards. Default: label, cls and the like.")
]
Classes = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        parser=path,
        help="Names of the classes: one a line in the order of the sorted folders (or of the data set), or "
        "FOLDER<TAB>NAME. Default: those of the data set, or the folders' names.",
    ),
]
Templates = Annotated[
    Path | None, typer.Option(metavar="FILE", parser=path, help="Templates, one a line, with {} for the name.")
]


def zeroshot(
    benchmark: DataSet = "custom",
    *,
    images: Pictures,
    labels: Labels = None,
    split: SplitOfPictures = "test",
    label_column: LabelColumn = None,
    classes: Classes = None,
    templates: Templates = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="A template, or openai (80), simple (7): sets by name. Repeatable. Default: those of the data set, "
            "or a photo of a {}.",
        ),
    ] = None,
    model: Models = None,
    compare: Compare = False,
    compare_as: CompareAs = None,
    allow_missing: AllowMissing = False,
    fresh: Fresh = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    report: Annotated[
        list[Path] | None,
        typer.Option(
            "--report",
            metavar="PLACE",
            parser=path,
            help="Write everything to a .json, .md or .html file, the table to .csv or .tex (LaTeX), what was said of "
            "every picture to .jsonl or .parquet; or all of it to a folder, with the plots. Repeatable.",
        ),
    ] = None,
) -> None:
    """Classify pictures by the names of their classes: top-1, top-5, mean per class, mAP, calibration, confusions."""
    from mmsearch.evaluation import evaluate_zeroshot, with_published_accuracies
    from mmsearch.reports import ZEROSHOT_KINDS, require_target, write_zeroshot

    options = _options(
        *(labels, split, label_column, classes, templates, template, device, precision),
        allow_missing=allow_missing,
        fresh=fresh,
    )
    for target in report or []:
        require_target(target, ZEROSHOT_KINDS)
    with display(interrupted=RESUMABLE) as shown:
        measured = evaluate_zeroshot(
            images,
            benchmark=benchmark,
            encoder=model,
            options=options,
            progress=shown.progress,
            announce=shown.announce,
        )
    if compare or compare_as:
        measured = with_published_accuracies(measured, compare_as or ())
    _print_zeroshot(measured, compare=compare or bool(compare_as))
    for target in report or []:
        _say_written(target, write_zeroshot(measured, target))


def linear(
    benchmark: DataSet = "custom",
    *,
    images: Pictures,
    labels: Labels = None,
    split: SplitOfPictures = "test",
    label_column: LabelColumn = None,
    classes: Classes = None,
    templates: Templates = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="A template, or openai (80), simple (7): sets by name. Repeatable; the first also stands alone. "
            "Default: those of the data set, or a photo of a {} and simple.",
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            parser=location,
            help="Ask these pictures, laid out as --images, and learn from all of --images.",
        ),
    ] = None,
    test_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Without --test, the share of each class that is held out to ask.")
    ] = 0.5,
    shots: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Learn from so many pictures of each class; repeatable. Default: 1, 2, 4, 8, 16."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How often these are drawn.")] = 5,
    model: Models = None,
    allow_missing: AllowMissing = False,
    fresh: Fresh = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    report: Annotated[
        list[Path] | None,
        typer.Option(
            "--report",
            metavar="PLACE",
            parser=path,
            help="Write everything to a .json, .md or .html file, the table to .csv or .tex (LaTeX); or all of it to a "
            "folder, with the plot. Repeatable.",
        ),
    ] = None,
) -> None:
    """Compare zero-shot classification with what learns from pictures: nearest mean, cache and linear probe."""
    from mmsearch.evaluation import LinearOptions, evaluate_linear
    from mmsearch.reports import LINEAR_KINDS, require_target, write_linear

    options = LinearOptions(
        read=_options(
            *(labels, split, label_column, classes, templates, template, device, precision),
            allow_missing=allow_missing,
            fresh=fresh,
        ),
        test=test,
        test_share=test_share,
        shots=tuple(sorted(set(shots))) if shots else LinearOptions().shots,
        seeds=seeds,
    )
    for target in report or []:
        require_target(target, LINEAR_KINDS)
    with display(interrupted=RESUMABLE) as shown:
        measured = evaluate_linear(
            images,
            benchmark=benchmark,
            encoder=model,
            options=options,
            progress=shown.progress,
            announce=shown.announce,
        )
    _print_linear(measured)
    for target in report or []:
        _say_written(target, write_linear(measured, target))


def _options(
    labels: Path | None,
    split: str,
    label_column: str | None,
    classes: Path | None,
    templates: Path | None,
    template: list[str] | None,
    device: str,
    precision: str,
    *,
    allow_missing: bool,
    fresh: bool,
) -> "ZeroShotOptions":
    from mmsearch.evaluation import ZeroShotOptions, templates_in

    return ZeroShotOptions(
        labels=labels,
        split=split,
        label_column=label_column,
        classes=classes,
        templates=(*(templates_in(templates) if templates else ()), *(template or ())),
        allow_missing=allow_missing,
        device=device,
        precision=precision,
        fresh=fresh,
    )


def _say_written(target: Path, files: tuple[Path, ...]) -> None:
    say(f"report written to {target}" + (f" ({len(files)} files)" if len(files) > 1 else ""))


_MOST = 10
"""Classes and confusions that are printed; reports have them all."""


def _print_zeroshot(report: "ZeroShotReport", *, compare: bool) -> None:
    """Figures, calibration, the worst classes, and what is taken for what; of several models compared."""
    left_out = f"; {len(report.unreadable):,} UNREADABLE IMAGES LEFT OUT" if report.unreadable else ""
    print(f"zero-shot: {report.images:,} images, {len(report.classes):,} classes{left_out}")
    templates = f"{len(report.templates)} template{'s' if len(report.templates) > 1 else ''}, {report.templates[0]!r}"
    print(f"{report.title}; read as {report.layout}; {templates}")
    for system in report.systems:
        _print_system(system, report)
        if compare:
            _print_published(system, report)
    for comparison in report.comparisons:
        print(f"\n{comparison.second} against {comparison.first}")
        print_differences(comparison.differences)
    print(f"\n{report.protocol}")
    for problem in report.problems:
        say(f"note: {problem}")


def _print_system(system: "ZeroShotSystem", report: "ZeroShotReport") -> None:
    print(f"\n{system.name} on {system.device}, {system.precision}")
    for name, estimate in system.figures.items():
        low, high = 100 * estimate.interval.low, 100 * estimate.interval.high
        published = (
            "   what is published for this data set" if name == report.figure and report.benchmark != "custom" else ""
        )
        print(f"{name:15}{100 * estimate.value:8.2f}   95 % interval {low:.2f} to {high:.2f}{published}")
    if (judged := system.calibration) is not None:
        scale = f"scale {judged.scale:.4g}" + ("" if judged.stated else ", CLIP's: the model states none")
        low, high = 100 * judged.error.interval.low, 100 * judged.error.interval.high
        print(f"{'ECE':15}{100 * judged.error.value:8.2f}   95 % interval {low:.2f} to {high:.2f}")
        print(f"{'':15}mean chance of the best class {100 * judged.confidence:.2f}; {scale}")
    _print_classes(system, report)
    if system.truncated:
        say(f"warning: {system.truncated:,} texts are longer than the model reads; their ends were cut")


def _print_published(system: "ZeroShotSystem", report: "ZeroShotReport") -> None:
    print()
    if not system.published:
        print(f"published      nothing that the project knows of for {system.name} on {report.benchmark}")
    for (model, source, differing), figures in groupby(
        system.published, key=lambda each: (each.model, each.source, each.differing)
    ):
        for each in figures:
            where = "inside" if each.inside else "OUTSIDE"
            published, here = 100 * each.published, 100 * each.ours.value
            print(f"published      {each.figure:15}{published:7.2f}, here {here:.2f}: {where} the interval")
        print(f"{'':15}{model}: {source}")
        print(f"{'':15}differs in: {'; '.join(differing) or 'nothing known'}")


def _print_classes(system: "ZeroShotSystem", report: "ZeroShotReport") -> None:
    names = ("average_precision",) if report.multilabel else ("top1", "top5")
    shares = [
        ([getattr(result, name) for name in names], each.shown, result.images)
        for each, result in zip(report.classes, system.classes, strict=True)
        if result.images
    ]
    print(
        f"\n{'worst classes':30}" + "".join(f"{name.replace('average_', ''):>10}" for name in names) + f"{'images':>8}"
    )
    for values, name, images in sorted(shares, key=lambda share: share[0][0])[:_MOST]:
        print(f"{name:30}" + "".join(f"{100 * value:10.2f}" for value in values) + f"{images:8,}")
    for confusion in system.confusions[:_MOST]:
        print(f"{confusion.images:6,} x {confusion.actual} taken for {confusion.predicted}")


def _print_linear(report: "LinearReport") -> None:
    """A row a method: top1 with its interval, the seeds, and how it stands against zero-shot."""
    print(f"baselines: {report.asked:,} images asked, {report.learned:,} to learn from, {report.classes:,} classes")
    print(f"{report.title}; read as {report.layout}; {len(report.templates)} templates, {report.templates[0]!r} first")
    for system in report.systems:
        print(f"\n{system.name} on {system.device}, {system.precision}")
        print(f"{'':27}{'shots':>6}{'top1':>9}{'95 % from':>11}{'to':>9}{'per class':>11}{'difference':>12}{'p':>9}")
        for each in system.baselines:
            shots = "" if each.shots == 0 else "all" if each.shots is None else str(each.shots)
            low, high = 100 * each.top1.interval.low, 100 * each.top1.interval.high
            figures = f"{100 * each.top1.value:9.2f}{low:11.2f}{high:9.2f}{100 * each.mean_per_class:11.2f}"
            against = "" if each.against is None else f"{100 * each.against.value:+12.2f}{each.against.p:9.4f}"
            print(f"{each.method:27}{shots:>6}{figures}{against}")
        print(f"\n{system.verdict}")
    print(f"\n{report.protocol}")
    for problem in report.problems:
        say(f"note: {problem}")
