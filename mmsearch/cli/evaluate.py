"""`mmsearch eval`: benchmarks, vectors, studies, zero-shot classification, and where recall is lost."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.budget import RERANKED
from mmsearch.cli import evaluate_tables
from mmsearch.cli.bias import bias
from mmsearch.cli.budget import print_budget
from mmsearch.cli.evaluate_options import (
    AllowMissing,
    Annotations,
    CaptionsPerImage,
    Compare,
    CompareAs,
    Depth,
    Factory,
    Fresh,
    GallerySizes,
    ImageFolder,
    Ks,
    Models,
    NoCorrect,
    PerQuery,
    Reports,
    Rerank,
    RerankBy,
    Split,
    SplitFile,
)
from mmsearch.cli.figures import print_evaluation
from mmsearch.cli.options import CaptionColumns, Device, ImageColumn, Precision, location, path, require_option, say
from mmsearch.cli.probe import app as probes
from mmsearch.cli.progress import RESUMABLE, display
from mmsearch.cli.shift import shift
from mmsearch.cli.study import merge, run
from mmsearch.cli.zeroshot import linear, zeroshot

if TYPE_CHECKING:
    from mmsearch.errors import BenchmarkError
    from mmsearch.evaluation import BudgetReport, EvaluationReport
    from mmsearch.progress import ProgressCallback

__all__ = ["app"]

app = typer.Typer(
    help="Measure text-image retrieval: R@k and more in both directions, with intervals, the health of the space, and "
    "reports. One command for each kind of benchmark.",
    no_args_is_help=True,
)


def benchmark(
    context: typer.Context,
    images: ImageFolder,
    annotations: Annotations = None,
    image_column: ImageColumn = None,
    caption_column: CaptionColumns = None,
    split: Split = "test",
    split_file: SplitFile = None,
    model: Models = None,
    k: Ks = None,
    captions_per_image: CaptionsPerImage = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Put captions into it, at {}; or openai, simple: sets of templates, whose vectors are averaged. "
            "Repeatable. Default: captions as they are.",
        ),
    ] = None,
    product_preprocessing: Annotated[
        bool,
        typer.Option(
            "--product-preprocessing", help="Measure once more with images prepared as embed does, and compare."
        ),
    ] = False,
    compare: Compare = False,
    compare_as: CompareAs = None,
    allow_missing: AllowMissing = False,
    rerank: Rerank = None,
    rerank_by: RerankBy = "logit",
    depth: Depth = RERANKED,
    no_correct: NoCorrect = False,
    via_index: Annotated[
        bool, typer.Option("--via-index", help="Ask through the ANN index too, and print what that costs.")
    ] = False,
    factory: Factory = None,
    fresh: Fresh = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    gallery_sizes: GallerySizes = False,
    report: Reports = None,
    per_query: PerQuery = False,
) -> None:
    """Measure retrieval on a benchmark, text to image and image to text, by the protocol of the published results.

    The benchmark's vectors are kept in the cache (mmsearch cache shows it), so a second run is quick.
    """
    from mmsearch.evaluation import EvaluateOptions
    from mmsearch.evaluation import evaluate as run
    from mmsearch.reports import require_target
    from mmsearch.sources import ColumnNames

    options = EvaluateOptions(
        split=split,
        split_file=split_file,
        captions_per_image=captions_per_image,
        allow_missing=allow_missing,
        ks=tuple(sorted(set(k))) if k else EvaluateOptions().ks,
        templates=tuple(template or ()),
        product_preprocessing=product_preprocessing,
        compare=compare,
        compare_as=tuple(compare_as or ()),
        device=device,
        precision=precision,
        correct=not no_correct,
        rerank=rerank,
        rerank_by=rerank_by,
        depth=depth,
        via_index=via_index,
        factory=factory,
        fresh=fresh,
        columns=ColumnNames(image_column, tuple(caption_column or ())),
    )
    require_option(context, "rerank", "rerank_by", "depth")
    for target in report or []:
        require_target(target)
    with display(interrupted=RESUMABLE) as shown:
        evaluation = run(
            str(context.info_name),
            images=images,
            annotations=annotations,
            encoder=model,
            options=options,
            progress=shown.progress,
            announce=shown.announce,
        )
        evaluation, failed = _with_sizes(evaluation, gallery_sizes, shown.progress)
    print_evaluation(evaluation, compare=compare or bool(compare_as))
    _write(evaluation, report, per_query)
    if failed is not None:
        raise failed


def vectors(
    images: Annotated[
        list[str],
        typer.Option(
            metavar="FILE", help="Vectors of images: .npy, part I of one as FILE.npy[I], or .parquet. Repeatable."
        ),
    ],
    captions: Annotated[
        list[str],
        typer.Option(metavar="FILE", help="Vectors of captions, as often as images; compared with the first."),
    ],
    bank: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Vectors of texts that correct images for hubs, in the same forms; none of them may be of a caption "
            "that asks. Default: text_to_image is not corrected.",
        ),
    ] = None,
    image_bank: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Vectors of other images, which correct captions for image_to_text."),
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path,
            help="TREC lines of what belongs together: caption 0 image 1. Default: caption i to image i.",
        ),
    ] = None,
    image_ids: Annotated[
        Path | None, typer.Option(metavar="FILE", parser=path, help="Their names, one a line. Default: 0, 1, 2, …")
    ] = None,
    caption_ids: Annotated[
        Path | None, typer.Option(metavar="FILE", parser=path, help="Likewise for captions; texts are welcome.")
    ] = None,
    k: Ks = None,
    no_correct: NoCorrect = False,
    gallery_sizes: GallerySizes = False,
    report: Reports = None,
    per_query: PerQuery = False,
) -> None:
    """Measure retrieval between vectors that exist already, of any model; no encoder is loaded."""
    from mmsearch.evaluation import EvaluateOptions
    from mmsearch.evaluation import evaluate_vectors as run
    from mmsearch.reports import require_target

    if len(images) != len(captions):
        raise typer.BadParameter(f"{len(images)} files of images and {len(captions)} of captions: give pairs")
    for target in report or []:
        require_target(target)
    with display(interrupted="nothing was written") as shown:
        evaluation = run(
            list(zip(images, captions, strict=True)),
            bank=bank,
            image_bank=image_bank,
            qrels=qrels,
            image_ids=image_ids,
            caption_ids=caption_ids,
            ks=tuple(sorted(set(k))) if k else EvaluateOptions().ks,
            correct=not no_correct,
            progress=shown.progress,
            announce=shown.announce,
        )
        evaluation, failed = _with_sizes(evaluation, gallery_sizes, shown.progress)
    print_evaluation(evaluation, compare=False)
    _write(evaluation, report, per_query)
    if failed is not None:
        raise failed


def galleries(
    context: typer.Context,
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[GALLERY]...",
            parser=location,
            help="Galleries; compared with the first. None: .mmsearch here or in the nearest parent folder.",
        ),
    ] = None,
    k: Ks = None,
    rerank: Rerank = None,
    rerank_by: RerankBy = "logit",
    depth: Depth = RERANKED,
    no_correct: NoCorrect = False,
    device: Device = "auto",
    gallery_sizes: GallerySizes = False,
    report: Reports = None,
    per_query: PerQuery = False,
) -> None:
    """Measure retrieval between the pictures and the captions of galleries, as embed left them; nothing is encoded.

    Captions that name a picture of the gallery count, and pictures that have one. A re-ranker reads the pictures again.
    """
    from mmsearch.evaluation import EvaluateOptions
    from mmsearch.evaluation import evaluate_galleries as run
    from mmsearch.reports import require_target

    require_option(context, "rerank", "rerank_by", "depth")
    for target in report or []:
        require_target(target)
    options = EvaluateOptions(
        ks=tuple(sorted(set(k))) if k else EvaluateOptions().ks,
        correct=not no_correct,
        rerank=rerank,
        rerank_by=rerank_by,
        depth=depth,
        device=device,
    )
    with display(interrupted="nothing was written") as shown:
        evaluation = run(places or [None], options=options, progress=shown.progress, announce=shown.announce)
        evaluation, failed = _with_sizes(evaluation, gallery_sizes, shown.progress)
    print_evaluation(evaluation, compare=False)
    _write(evaluation, report, per_query)
    if failed is not None:
        raise failed


def budget(
    benchmark: Annotated[
        str, typer.Argument(metavar="[BENCHMARK]", help="flickr8k, flickr30k, coco or custom.")
    ] = "custom",
    *,
    images: ImageFolder,
    annotations: Annotations = None,
    image_column: ImageColumn = None,
    caption_column: CaptionColumns = None,
    split: Split = "test",
    split_file: SplitFile = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="As for embed. Default: ViT-B-32/laion2b_s34b_b79k.",
            show_default=False,
        ),
    ] = None,
    k: Ks = None,
    captions_per_image: CaptionsPerImage = None,
    allow_missing: AllowMissing = False,
    factory: Annotated[
        str | None, typer.Option(metavar="STRING", help="FAISS factory string of the index. Default: by size.")
    ] = None,
    nprobe: Annotated[
        int | None, typer.Option(min=1, help="Lists that an IVF index visits. Default: as it was tuned.")
    ] = None,
    ef_search: Annotated[
        int | None, typer.Option(min=1, help="Candidates that an HNSW index keeps. Default: as it was tuned.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help="Measure a filter too: an expression over the columns of what is searched."),
    ] = None,
    fresh: Fresh = False,
    device: Device = "auto",
    precision: Precision = "fp32",
    report: Annotated[
        list[Path] | None,
        typer.Option(
            "--report",
            metavar="PLACE",
            parser=path,
            help="Write everything to a .json, .md or .html file, or all of that to a folder, with plots. Repeatable.",
        ),
    ] = None,
) -> None:
    """Measure where recall is lost between a benchmark and a query: preprocessing, float16, index, filter, correction.

    Every stage is measured given those before it, and alone, on the same queries, and the costliest is named.
    """
    from mmsearch.ann import Effort
    from mmsearch.evaluation import BudgetOptions, evaluate_budget
    from mmsearch.reports import BUDGET_KINDS, require_target
    from mmsearch.sources import ColumnNames

    options = BudgetOptions(
        split=split,
        split_file=split_file,
        captions_per_image=captions_per_image,
        allow_missing=allow_missing,
        columns=ColumnNames(image_column, tuple(caption_column or ())),
        ks=tuple(sorted(set(k))) if k else BudgetOptions().ks,
        device=device,
        precision=precision,
        fresh=fresh,
        factory=factory,
        effort=Effort(nprobe=nprobe, ef_search=ef_search),
        where=where,
    )
    for target in report or []:
        require_target(target, BUDGET_KINDS)
    with display(interrupted=RESUMABLE) as shown:
        measured = evaluate_budget(
            benchmark,
            images=images,
            annotations=annotations,
            encoder=model,
            options=options,
            progress=shown.progress,
            announce=shown.announce,
        )
    print_budget(measured)
    _write_budget(measured, report)


for _name, _about in {
    "flickr8k": "Flickr8k: 1,000 test images, 5,000 captions.",
    "flickr30k": "Flickr30k: 1,000 test images, 5,000 captions.",
    "coco": "COCO, Karpathy's test split: 5,000 images, 25,010 captions.",
    "custom": "Images and captions of your own.",
}.items():
    app.command(_name, short_help=_about)(benchmark)
app.command("languages", short_help="Captions in several languages: a row each, and the mean.")(
    evaluate_tables.languages
)
app.command("lengths", short_help="Long captions: by their length, and how many are cut.")(evaluate_tables.lengths)
app.command("positives", short_help="COCO by extended positives: ECCV Caption, CxC.")(evaluate_tables.positives)
app.command("composed", short_help="A picture and words that change it: CIRR, FashionIQ.")(evaluate_tables.composed)
app.command("instances", short_help="Image to image: ROxford, RParis.")(evaluate_tables.instances)
app.command("regions", short_help="Which part of a picture is meant: RefCOCO and its kin.")(evaluate_tables.regions)
app.command("msrvtt", short_help="Films by captions: MSR-VTT and its kin.")(evaluate_tables.msrvtt)
app.command("moments", short_help="Moments in films: QVHighlights.")(evaluate_tables.moments)
app.command("folds", short_help="COCO 1K: five folds of the test split, and the mean.")(evaluate_tables.folds)
app.command("vectors", short_help="Vectors that exist already, with qrels.")(vectors)
app.command("gallery", short_help="Galleries whose captions name their pictures.")(galleries)
app.command("budget", short_help="Where recall is lost, stage by stage.")(budget)
app.command("run", short_help="A study: many models on many benchmarks, in one table.")(run)
app.command("merge", short_help="Join what several machines measured of a study.")(merge)
app.command("zeroshot", short_help="Zero-shot classification by the names of classes.")(zeroshot)
app.command("linear", short_help="The same beside what learns from a few pictures, or from all.")(linear)
app.command("bias", short_help="Whether answers are skewed towards groups.")(bias)
app.command("shift", short_help="How far a gallery lies from a reference.")(shift)
app.add_typer(probes, name="probe")


def _with_sizes(
    evaluation: "EvaluationReport", wanted: bool, progress: "ProgressCallback"
) -> tuple["EvaluationReport", "BenchmarkError | None"]:
    """With R@k against the size of the gallery; or without, and why: what was measured is shown before that is said."""
    from mmsearch.errors import BenchmarkError
    from mmsearch.evaluation import with_gallery_sizes

    try:
        return (with_gallery_sizes(evaluation, progress=progress) if wanted else evaluation), None
    except BenchmarkError as error:
        return evaluation, error


def _write(evaluation: "EvaluationReport", targets: list[Path] | None, per_query: bool) -> None:
    from mmsearch.reports import write_report

    for target in targets or []:
        files = write_report(evaluation, target, per_query=per_query)
        say(f"report written to {target}" + (f" ({len(files)} files)" if len(files) > 1 else ""))


def _write_budget(measured: "BudgetReport", targets: list[Path] | None) -> None:
    from mmsearch.reports import write_budget

    for target in targets or []:
        files = write_budget(measured, target)
        say(f"report written to {target}" + (f" ({len(files)} files)" if len(files) > 1 else ""))
