"""`mmsearch eval bias`: whether answers hold groups in other shares than there are."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mmsearch.cli.options import GalleryOption, path
from mmsearch.cli.probe import GalleryModel, Reports, print_tabled, write_reports
from mmsearch.cli.progress import display

__all__ = ["bias"]


def bias(
    groups: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            parser=path,
            help="A table with the columns path and group: which picture belongs to which group.",
        ),
    ],
    queries: Annotated[Path, typer.Option(metavar="FILE", parser=path, help="Queries, one a line.")],
    gallery: GalleryOption = None,
    k: Annotated[
        list[int] | None, typer.Option("-k", min=1, help="Of so many first answers; repeatable. Default: 10, 50.")
    ] = None,
    target: Annotated[
        Literal["gallery", "equal"],
        typer.Option(help="The share that a group should have: that of the labelled pictures, or the same for each."),
    ] = "gallery",
    model: GalleryModel = None,
    report: Reports = None,
) -> None:
    """Measure whether the first answers hold groups of pictures, which you label, in other shares than there are.

    MaxSkew@k and NDKL@k beside what random orders get, plain and corrected for hubs, and what to do. Labels are read
    for this report alone.
    """
    from mmsearch.evaluation.bias import BiasOptions, evaluate_bias
    from mmsearch.reports import TABLED_KINDS, bias_report, require_target

    for place in report or []:
        require_target(place, TABLED_KINDS)
    options = BiasOptions(ks=tuple(sorted(set(k))) if k else BiasOptions().ks, equal=target == "equal")
    with display(interrupted="nothing was written") as shown:
        measured = evaluate_bias(
            gallery,
            groups=groups,
            queries=queries,
            encoder=model,
            options=options,
            progress=shown.progress,
            announce=shown.announce,
        )
    tabled = bias_report(measured)
    print_tabled(tabled)
    write_reports(tabled, report)
