"""`mmsearch finetune`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import Device, GalleryOption, location, path, say
from mmsearch.cli.progress import display
from mmsearch.names import printable, shell_quoted

if TYPE_CHECKING:
    from mmsearch.training.records import Comparison, FinetuneReport

NOT_SURELY_BETTER = 3
"""The exit code where it was not seen that the model is better than the one before."""


def finetune(
    ctx: typer.Context,
    out: Annotated[
        str,
        typer.Option(
            metavar="DIR",
            parser=location,
            help="A new folder for the model; --model local-dir:DIR is then taken wherever a model is.",
            show_default=False,
        ),
    ],
    gallery: GalleryOption = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option(
            "--pairs",
            metavar="FILE",
            parser=location,
            help="Captions to learn from in the place of a gallery: any file that embed --captions reads. Needs "
            "--images. Repeatable.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            parser=location,
            help="Where the pictures of --pairs are; without --pairs a folder with a folder of pictures for each "
            "class, whose names are learned. They are embedded into the cache.",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path,
            help="What the folders of --images are called: a name a line in the order of the sorted folders, or "
            "FOLDER<TAB>NAME. Default: the folders' names.",
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="What is said of a picture of a class, with {} for the name; or openai (80), simple (7). Repeatable. "
            "Default: a photo of a {}.",
        ),
    ] = None,
    retention: Annotated[
        str | None,
        typer.Option(
            metavar="GALLERY",
            parser=location,
            help="Another gallery of the same model, with captions: what should not be forgotten. Else the neighbours "
            "of general captions tell how much changes.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Where to load the gallery's model from now. Default: where it was then."),
    ] = None,
    text_only: Annotated[
        bool,
        typer.Option(
            "--text-only", help="Train the text side alone: vectors of pictures stay as they are. The default."
        ),
    ] = False,
    lora: Annotated[
        bool,
        typer.Option(
            "--lora",
            help="Train narrow additions to the weights of both towers, on the pictures: of a style that the model "
            "never saw. Galleries are embedded anew for it.",
        ),
    ] = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="Train all weights of both towers: learns more than --lora, and forgets more."),
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="How often each text is seen, with --lora and --full each picture; 0: try a linear map alone, which "
            "takes seconds.",
        ),
    ] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Texts, with --lora and --full pairs, at a time.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="The highest learning rate.")] = None,
    chunk: Annotated[
        int | None,
        typer.Option(min=1, help="With --lora and --full: pairs in memory at a time; the result is that of the batch."),
    ] = None,
    hard_negatives: Annotated[
        int,
        typer.Option(
            min=0,
            max=8,
            help="So many pictures that a caption nearly fits stand with it in a batch, looked for before each epoch. "
            "Of the text side alone: where there are more pictures than it is told apart from at once, 8,192.",
        ),
    ] = 0,
    seed: Annotated[
        int, typer.Option(min=0, help="Of all that is drawn: the same seed, the same weights on one machine.")
    ] = 0,
    device: Device = "auto",
) -> None:
    """Teach a model with the captions of a gallery, or the names of classes, and find out whether that helped.

    Pairs are divided by picture: most to learn from, some to choose by, and some that are looked at once, at the end.
    The text side is trained on the vectors that the gallery holds, so that no picture is encoded again and the gallery
    stays good; with --lora and --full both towers are, on the pictures.

    Where it is not seen to be better nothing is written, or it is said, and the exit code is 3.
    """
    from mmsearch.training.finetune_run import finetune as run
    from mmsearch.training.records import FinetuneOptions

    if text_only + lora + full > 1:
        raise typer.BadParameter("--text-only, --lora and --full say each what is trained: give one of them")
    if not (lora or full) and chunk is not None:
        raise typer.BadParameter("--chunk is for --lora and --full")
    if (lora or full) and epochs == 0:
        raise typer.BadParameter("--epochs 0 is for --text-only, which tries a linear map then")
    if pairs and images is None:
        raise typer.BadParameter("--pairs FILE needs --images DIR: where the pictures of the captions are")
    if (classes or template) and (pairs or images is None):
        raise typer.BadParameter("--classes and --template are for folders of classes: --images DIR without --pairs")
    named = ctx.get_parameter_source("gallery")
    if images is not None and named is not None and named.name == "COMMANDLINE":  # and not in the environment
        raise typer.BadParameter("--gallery, and --images with or without --pairs, say each what is learned from")
    options = FinetuneOptions(
        "lora" if lora else "full" if full else "text-only",
        seed=seed,
        epochs=epochs,
        batch=batch,
        rate=rate,
        chunk=chunk,
        hard_negatives=hard_negatives,
        device=device,
        classes=classes,
        templates=tuple(template or ()),
    )
    if lora or full:
        interrupted = "no model was written yet, and the same command continues from the last epoch"
    else:
        kept = "" if images is None else "; pictures that were embedded are kept"
        interrupted = f"no model was written{kept}; the same command begins the training anew"
    with display(interrupted=interrupted) as shown:
        report = run(
            out,
            gallery=None if images is not None else gallery,
            pairs=pairs or (),
            images=images,
            retention=retention,
            encoder=model,
            options=options,
            progress=shown.progress,
            announce=shown.announce,
        )
    if report.out is not None:
        from mmsearch.reports import draw_alpha_curve

        draw_alpha_curve(report, Path(report.out) / "curve.svg")
    _print(report)
    for problem in report.problems:
        say(f"warning: {printable(problem)}")
    if report.verdict != "better":
        raise typer.Exit(NOT_SURELY_BETTER)


def _print(report: "FinetuneReport") -> None:
    if report.out is None:
        print(f"model     not surely better: nothing was written; {printable(report.base.spec)} stays what it is")
    else:
        print(f"model     {printable(report.out)}: {report.verdict}")
        print(f"trained   {report.method}; {report.share_kept} kept")
    counts = (f"{images:,} pictures {name.replace('_', ' ')}" for name, (images, _) in report.counts.items())
    print(f"pairs     {', '.join(counts)}")
    if report.out is not None:
        _print_change("held out", report.held_out)
        if report.retention is not None:
            _print_change("kept", report.retention)
    else:
        before, best = report.curve[0].new, max(point.new for point in report.curve)
        after = f"{100 * best:.1f} at best, which may be chance" if best > before else "no more after"
        print(f"chosen by {report.held_out.decided_by} on validation pairs: {100 * before:.1f} before, {after}")
    print(f"took      {report.seconds:.1f} s")
    quoted = printable(shell_quoted(f"local-dir:{report.out}"))
    if report.out is not None and not report.keeps_images:
        print(f"use it    mmsearch embed PICTURES --model {quoted} --gallery NEW")
    if report.out is not None and report.keeps_images:
        print(f"use it    mmsearch query 'words' --model {quoted}")
        print(f"for good  mmsearch embed --model {quoted}")
        print(f"both in a gallery whose pictures {printable(report.base.spec)} has embedded")


def _print_change(name: str, comparison: "Comparison") -> None:
    """What decides, mean recall and R@1 in both directions, before and after."""
    print(f"{name:<9} {comparison.images:,} pictures, {comparison.texts:,} texts; in per cent, 95 % intervals")
    for figure, change in comparison.shown.items():
        if figure.endswith(("R@5", "R@10")):
            continue
        low, high = 100 * change.interval.low, 100 * change.interval.high
        print(
            f"          {figure:<18} {100 * change.first:5.1f} -> {100 * change.second:5.1f}  "
            f"({100 * change.value:+.1f}, {low:+.1f} to {high:+.1f})"
        )
