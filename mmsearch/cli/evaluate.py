"""`mmsearch eval`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mmsearch.cli.options import Device, Precision, say
from mmsearch.cli.progress import RESUMABLE, display

if TYPE_CHECKING:
    from mmsearch.metrics import DirectionResult
    from mmsearch.pipeline.evaluate import EvaluationReport


def evaluate(
    benchmark: Annotated[Literal["flickr8k", "flickr30k", "coco", "custom"], typer.Argument(help="Which benchmark.")],
    images: Annotated[Path, typer.Option(metavar="DIR", help="The folder of its images.")],
    annotations: Annotated[Path, typer.Option(metavar="FILE", help="Its captions, in any of the formats in use.")],
    split: Annotated[str, typer.Option(help="Which split of the annotation file; all for everything.")] = "test",
    split_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Image names, one a line: these are the split.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="As for embed. Default: ViT-B-32/laion2b_s34b_b79k.", show_default=False),
    ] = None,
    k: Annotated[
        list[int] | None, typer.Option("-k", min=1, help="The k of R@k; repeatable. Default: 1, 5, 10.")
    ] = None,
    captions_per_image: Annotated[int | None, typer.Option(min=1, help="Only the first so many. Default: all.")] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Go on without images that are missing or unreadable, and say so.")
    ] = False,
    via_index: Annotated[
        bool, typer.Option("--via-index", help="Ask through the ANN index too, and print what that costs.")
    ] = False,
    factory: Annotated[
        str | None, typer.Option(metavar="STRING", help="FAISS factory string of that index. Default: by size.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write everything as JSON.")] = None,
) -> None:
    """Measure Recall@k on a benchmark, text to image and image to text, by the protocol of the published results.

    The benchmark's vectors are kept in the cache (MMSEARCH_CACHE, or the platform's folder), so a second run is quick.
    """
    from mmsearch.pipeline.evaluate import EvaluateOptions
    from mmsearch.pipeline.evaluate import evaluate as run

    options = EvaluateOptions(
        split=split,
        split_file=split_file,
        captions_per_image=captions_per_image,
        allow_missing=allow_missing,
        ks=tuple(sorted(set(k))) if k else EvaluateOptions().ks,
        device=device,
        precision=precision,
        via_index=via_index,
        factory=factory,
        report=report,
    )
    with display(interrupted=RESUMABLE) as shown:
        found = run(
            benchmark,
            images=images,
            annotations=annotations,
            encoder=model,
            options=options,
            progress=shown.progress,
            announce=shown.announce,
        )
    _print(found)
    if report is not None:
        say(f"report written to {report}")


def _print(report: "EvaluationReport") -> None:
    split = f", split {report.split}" if report.split else ""
    left_out = f"; {len(report.unreadable)} UNREADABLE IMAGES LEFT OUT" if report.unreadable else ""
    print(f"{report.benchmark}{split}: {report.images:,} images, {report.captions:,} captions{left_out}")
    print(f"{report.encoder.spec} on {report.device}, {report.precision}; annotations read as {report.source}")
    print()
    ks = list(report.text_to_image.recall)
    header = "".join(f"{f'R@{k}':>8}" for k in ks)
    print(f"{'':15}{header}{'median':>9}{'mean rank':>11}{'queries':>9}{'gallery':>9}")
    for direction in (report.text_to_image, report.image_to_text):
        _print_direction(direction)
    for part in report.via_index:
        cells = "".join(f"{100 * value:8.2f}" for value in part.recall.values())
        effort = ", ".join(f"{name} {value}" for name, value in _effort(part.effort).items())
        measured = "; ".join(
            f"ann_recall@{recall.k} of {recall.kind} queries {recall.mean:.4f}"
            if recall.mean is not None
            else str(recall.unmeasured)
            for recall in part.ann
        )
        print(f"{part.direction:15}{cells}   via {part.factory}{', ' if effort else ''}{effort}")
        print(f"{'':15}{part.milliseconds:.3f} ms a query in one batch; {measured}")
    print(f"\n{report.protocol}")
    if report.truncated:
        say(f"warning: {report.truncated:,} captions are longer than the model reads; their ends were cut")
    for problem in report.problems:
        say(f"note: {problem}")


def _effort(effort: object) -> dict[str, int]:
    from dataclasses import asdict

    return {name: value for name, value in asdict(effort).items() if value is not None}  # type: ignore[call-overload]


def _print_direction(direction: "DirectionResult") -> None:
    cells = "".join(f"{100 * value:8.2f}" for value in direction.recall.values())
    print(
        f"{direction.direction:15}{cells}{direction.median_rank:9.1f}{direction.mean_rank:11.1f}"
        f"{direction.queries:9,}{direction.gallery:9,}"
    )
    if direction.tied_queries:
        low = ", ".join(f"{100 * value:.2f}" for value in direction.recall_pessimistic.values())
        high = ", ".join(f"{100 * value:.2f}" for value in direction.recall_optimistic.values())
        print(f"{'':15}  {direction.tied_queries} queries hang on ties: {low} at worst, {high} at best")
