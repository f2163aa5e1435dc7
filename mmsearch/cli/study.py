"""`mmsearch eval run` and `mmsearch eval merge`: many models on many benchmarks, in one table."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import location, path, say
from mmsearch.cli.progress import display

if TYPE_CHECKING:
    from mmsearch.evaluation.studies import Study, StudyPlan, StudyReport

__all__ = ["merge", "run"]

_RESUMABLE = "what was measured and encoded is kept, and the same command continues from there"


def run(
    study: Annotated[
        Path | None,
        typer.Argument(
            metavar="[STUDY]",
            parser=path,
            help="A TOML file with models, benchmarks and options. Without it: --model and --benchmark.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="A model in the place of the file's. Repeatable.",
            show_default=False,
        ),
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            "--benchmark",
            metavar="BENCHMARK",
            help="The name of a data set (coco …) or custom, in the place of the file's. Repeatable, each with "
            "--images and --annotations.",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(metavar="PLACE", parser=location, help="Where a benchmark's images are, in the same order."),
    ] = None,
    annotations: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", parser=location, help="The captions of a benchmark, in the same order."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="A smoke run: only so many images of each benchmark. Goes to limit-N in the folder, and is marked.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=path,
            help="The folder for what is measured, tables and plots. Default: the file's, else STUDY-results.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and what is done already; do nothing.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure everything again, and encode it anew.")] = False,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="auto, cpu, cuda, cuda:1 or mps; auto and cuda are all GPUs of the machine. Default: the file's, else "
            "auto.",
            show_default=False,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A Ray cluster that encodes the images: auto (the one this machine belongs to), local (started for "
            "it) or host:port. Its machines share the images' folder and MMSEARCH_CACHE.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure models on benchmarks, all with all, into one table with intervals and tests of all pairs.

    What is done already is skipped, so the same command goes on after a kill. What cannot be measured is said at the
    end, with exit code 1; the rest is done.
    """
    from mmsearch.evaluation.studies import plan_study, run_study
    from mmsearch.reports import study_text, write_study

    asked = _study(study, model, list(zip(*_same_number(benchmark, images, annotations), strict=True)))
    asked = replace(
        asked, out=out or asked.out, device=device or asked.device, limit=limit or asked.limit, ray=ray or asked.ray
    )
    if asked.limit is not None:
        asked = replace(asked, out=asked.out / f"limit-{asked.limit}")
    if dry_run:
        _print_plan(plan_study(asked, fresh=fresh))
        return
    with display(interrupted=_RESUMABLE) as shown:
        report = run_study(asked, fresh=fresh, progress=shown.progress, announce=shown.announce)
    files = write_study(report, asked.out) if report.tables else ()
    print(study_text(report), end="")
    say(f"{report.done:,} measured, {report.skipped:,} done before")
    _finish(report, files, asked.out)


def merge(
    studies: Annotated[
        list[Path], typer.Argument(metavar="DIR...", parser=path, help="Folders that mmsearch eval run has written.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", parser=path, help="The folder for the joined study.")],
    k: Annotated[
        list[int] | None, typer.Option("-k", min=1, help="The k of R@k; repeatable. Default: 1, 5, 10.")
    ] = None,
) -> None:
    """Join what several machines have measured into one table, with all pairs compared."""
    from mmsearch.evaluation.studies import merge_studies
    from mmsearch.reports import study_text, write_study

    report = merge_studies(studies, out, ks=tuple(sorted(set(k))) if k else (1, 5, 10))
    files = write_study(report, out)
    print(study_text(report), end="")
    _finish(report, files, out)


def _same_number(
    benchmarks: list[str] | None, images: list[str] | None, annotations: list[str] | None
) -> tuple[list[str], list[str], list[str]]:
    given = benchmarks or [], images or [], annotations or []
    if not len(given[0]) == len(given[1]) == len(given[2]):
        raise typer.BadParameter(
            f"{len(given[0])} of --benchmark, {len(given[1])} of --images, {len(given[2])} of --annotations: give each "
            "benchmark its images and its annotations, in the same order"
        )
    return given


def _study(file: Path | None, models: list[str] | None, benchmarks: list[tuple[str, str, str]]) -> "Study":
    """The study of a file, with what was named beside it in the place of the file's."""
    from mmsearch.evaluation.studies import StudyBenchmark, describe_study, read_study

    named = [StudyBenchmark(name, name, images, annotations) for name, images, annotations in benchmarks]
    if file is None and not (models and named):
        raise typer.BadParameter("name a study's TOML file, or at least one --model and one --benchmark")
    return describe_study(None if file is None else read_study(file), models or (), named)


def _print_plan(plan: "StudyPlan") -> None:
    for cell in plan.cells:
        name = plan.study.system_name(cell.model, cell.variant)
        print(f"{cell.state}\t{name}\t{cell.benchmark.name}" + (f"\t{cell.reason}" if cell.reason else ""))
    for name, loaded in plan.loaded.items():
        say(f"{name}: {len(loaded.images):,} images in {loaded.root}, {len(loaded.captions):,} captions")
    counts = ", ".join(f"{plan.count(state):,} {state}" for state in ("done", "to do", "failed") if plan.count(state))
    say(f"{counts}; results in {plan.study.out}")
    if plan.count("failed"):
        raise typer.Exit(1)


def _finish(report: "StudyReport", files: tuple[Path, ...], out: Path) -> None:
    if files:
        say(f"{len(files)} files written to {out}; the page is {out / 'study.html'}")
    if report.failures:
        for failure in report.failures:
            say(f"not measured: {failure.model} ({failure.variant}) on {failure.benchmark}: {failure.reason}")
        say(f"error: {len(report.failures):,} could not be measured; mend them and run the same command again")
        raise typer.Exit(1)
