"""Options that the commands of `mmsearch eval` share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mmsearch.budget import MOST_RERANKED
from mmsearch.cli.options import location, path

__all__ = [
    "AllowMissing",
    "Annotations",
    "CaptionsPerImage",
    "Compare",
    "CompareAs",
    "Depth",
    "Factory",
    "Fresh",
    "GallerySizes",
    "ImageFolder",
    "Ks",
    "Models",
    "NoCorrect",
    "PerQuery",
    "Reports",
    "Rerank",
    "RerankBy",
    "Split",
    "SplitFile",
]

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="As for embed; repeatable, and then compared with the first. Default: ViT-B-32/laion2b_s34b_b79k.",
        show_default=False,
    ),
]
Ks = Annotated[list[int] | None, typer.Option("-k", min=1, help="The k of R@k; repeatable. Default: 1, 5, 10.")]
Reports = Annotated[
    list[Path] | None,
    typer.Option(
        "--report",
        metavar="PLACE",
        parser=path,
        help="Write everything to a .json, .md or .html file, the table to .csv or .tex (LaTeX), every query with its "
        "hits to .jsonl or .parquet (to .wide.jsonl or .wide.parquet with the models side by side); or all of it to a "
        "folder, with the plots, TREC's runs and qrels, and where two models disagree. Repeatable.",
    ),
]
Compare = Annotated[bool, typer.Option("--compare", help="Set the figures beside the published ones of the model.")]
CompareAs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODEL",
        help="Set them beside those of this published model, as ARCH/TAG: for weights under another name. With "
        "several --model once for each.",
    ),
]
GallerySizes = Annotated[
    bool,
    typer.Option(
        "--gallery-sizes",
        help="Measure R@k among fewer images too, drawn five times, and fit the law by which it falls as a gallery "
        "grows.",
    ),
]
NoCorrect = Annotated[
    bool,
    typer.Option(
        "--no-correct",
        help="Leave out how scores would be corrected for hubs and calibrated, which takes most of the time.",
    ),
]
Rerank = Annotated[
    str | None,
    typer.Option(
        metavar="RERANKER",
        help="Measure also with the best candidates of each query re-ranked, as query --rerank does.",
    ),
]
RerankBy = Annotated[
    Literal["logit", "logit+score"],
    typer.Option(help="What it ranks by: its own value, or that plus the score, as BLIP was published."),
]
Depth = Annotated[int, typer.Option(min=1, max=MOST_RERANKED, help="How many candidates of each query it looks at.")]
PerQuery = Annotated[bool, typer.Option("--per-query", help="Put the rank of each query into the JSON.")]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Go on without images that are missing or unreadable, and say so.")
]
ImageFolder = Annotated[
    str,
    typer.Option(
        metavar="PLACE",
        parser=location,
        help="Its images: a folder or an archive, here or in an object store; or webdataset and Parquet shards, which "
        "hold its captions too.",
    ),
]
Annotations = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        parser=location,
        help="Its captions, in any of the formats in use. Default: those in the shards of its images.",
        show_default=False,
    ),
]
Split = Annotated[str, typer.Option(help="Which split of the annotation file; all for everything.")]
SplitFile = Annotated[
    Path | None, typer.Option(metavar="FILE", parser=path, help="Image names, one a line: these are the split.")
]
CaptionsPerImage = Annotated[int | None, typer.Option(min=1, help="Only the first so many. Default: all.")]
Factory = Annotated[
    str | None, typer.Option(metavar="STRING", help="FAISS factory string of that index. Default: by size.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Encode everything anew, whatever the cache holds.")]
