"""`mmsearch index`"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.calibrate import describe_effort, print_report
from mmsearch.cli.options import GalleryOption, TableOption, path, say
from mmsearch.cli.progress import display
from mmsearch.items import DEFAULT_KIND

if TYPE_CHECKING:
    from mmsearch.calibration import CalibrationReport
    from mmsearch.indexing import IndexReport, Plan
    from mmsearch.progress import ProgressCallback


def _milliseconds(text: str) -> float:
    """A time that was typed: 5ms, 0.2s, or a number of milliseconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s)?\s*", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no time; write it as 5ms or 0.2s")
    return float(match[1]) * (1000 if match[2] == "s" else 1)


def index(
    table: TableOption = DEFAULT_KIND.name,
    factory: Annotated[
        str | None,
        typer.Option(
            metavar="STRING", help='FAISS factory string, as "IVF1024,Flat". Default: by number of rows and memory.'
        ),
    ] = None,
    recall_target: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="The search effort is the cheapest whose recall is surely at least this."),
    ] = 0.95,
    k: Annotated[int, typer.Option("-k", "--k", min=1, help="Recall at this many hits.")] = 10,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="As 4GiB: building and searching each hold no more (mapped files not counted). "
            "Default: half of the machine's.",
            show_default=False,
        ),
    ] = None,
    latency: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=_milliseconds,
            help="As 5ms: the best recall that a single query may take so long for.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be built, and what it would cost.")
    ] = False,
    no_calibrate: Annotated[
        bool, typer.Option("--no-calibrate", help="Leave the scores as they are, see mmsearch calibrate.")
    ] = False,
    report: Annotated[bool, typer.Option("--report", help="Print what other search efforts cost and find.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", parser=path, help="Draw that, recall against time, too.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Where to load the gallery's model from now. Default: where it was then."),
    ] = None,
    gallery: GalleryOption = None,
) -> None:
    """Build an index over the gallery, or bring it up to date, and measure its recall on text and image queries.

    It is tuned on the gallery's captions, or on a thousand general ones where it has too few, against exact search.
    Rows that come later are scored exactly beside it, so nothing is ever missing; run it again to add them.

    The gallery is calibrated too where it was not, or has grown or shrunk by a quarter since.
    """
    from mmsearch.indexing import IndexOptions, predict
    from mmsearch.indexing import index as run

    options = IndexOptions(factory, recall_target, k, memory, latency, model)
    if dry_run:
        _print_plan(predict(gallery, table=table, options=options))
        return
    with display(interrupted="the gallery is as it was") as shown:
        done = run(gallery, table=table, options=options, progress=shown.progress)
        calibration = None if no_calibrate else _calibrate(gallery, model, shown.progress)
    _print(done)
    if calibration is not None:
        print_report(calibration)
    if report:
        _print_curve(done)
    if plot is not None:
        from mmsearch.reports import draw_curve

        say(f"curve: {draw_curve(done, plot)}")


def _calibrate(gallery: str | None, model: str | None, progress: "ProgressCallback") -> "CalibrationReport | None":
    """Calibrate where that is due; None where there is nothing to calibrate."""
    from mmsearch.calibration import CalibrateOptions, calibrate
    from mmsearch.gallery import Gallery

    if not Gallery.open(gallery).live_rows(DEFAULT_KIND.name):
        return None
    return calibrate(gallery, options=CalibrateOptions(model, only_if_stale=True), progress=progress)


def _print_plan(plan: "Plan") -> None:
    from mmsearch.indexing import format_bytes

    print(f"index     {plan.factory}; {plan.rows:,} rows of dim {plan.dim}")
    print(f"why       {plan.why}")
    print(f"build     about {plan.seconds:,.0f} s, {format_bytes(plan.build_memory)} of memory")
    print(f"          of that {', '.join(f'{name} {seconds:,.0f} s' for name, seconds in plan.steps)}")
    print(f"search    {format_bytes(plan.search_memory)} of memory, {format_bytes(plan.mapped)} mapped from the disk")
    print(f"disk      {format_bytes(plan.disk)}")


def _print(report: "IndexReport") -> None:
    from mmsearch.indexing import format_bytes

    effort = describe_effort(report.effort)
    print(f"index     {report.table}: {report.factory}{f', {effort}' if effort else ''}; {report.rows:,} rows")
    print(f"{report.outcome:9} {report.why}")
    for recall in report.recall:
        if recall.mean is None:
            print(f"recall    {recall.unmeasured}")
        else:
            print(
                f"recall    {recall.mean:.4f} (surely {recall.low:.4f}) at {recall.k} on {recall.n_queries} "
                f"{recall.kind} queries ({recall.source})"
                + ("" if recall.best is None else f"; {recall.best:.4f} at 1")
            )
    print(f"latency   {report.milliseconds:.2f} ms for a single query")
    peak = f", {format_bytes(report.peak)} at most in this run" if report.peak is not None else ""
    searching, mapped = format_bytes(report.plan.search_memory), format_bytes(report.mapped)
    print(f"memory    {searching} to search{peak}; {mapped} mapped from the disk")
    print(f"disk      {format_bytes(report.bytes)}; {report.seconds:.1f} s")
    if not report.reached:
        say(f"warning: {report.factory} does not reach what was asked for; try another --factory, or more --memory")


def _print_curve(report: "IndexReport") -> None:
    from mmsearch.indexing import find_chosen_effort, select_best_efforts

    at = find_chosen_effort(report)
    print()
    print(f"{'':2}{'effort':<28}{'ms':>9}{'text':>9}{'surely':>9}{'image':>9}{'surely':>9}")
    for point in select_best_efforts(report.tried, kept=at):
        cells = "".join(
            f"{'-' if value is None else f'{value:.4f}':>9}"
            for value in (point.text, point.text_low, point.image, point.image_low)
        )
        mark = "*" if point == at else " "
        print(f"{mark:2}{describe_effort(point.effort) or 'exhaustive':<28}{point.milliseconds:9.2f}{cells}")
