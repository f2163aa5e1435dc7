"""`mmsearch index`"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import GalleryOption, TableOption, say
from mmsearch.cli.progress import display

if TYPE_CHECKING:
    from mmsearch.pipeline.index import IndexReport


def index(
    table: TableOption = "images",
    factory: Annotated[
        str | None,
        typer.Option(metavar="STRING", help='FAISS factory string, as "IVF1024,Flat". Default: by the number of rows.'),
    ] = None,
    recall_target: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Search effort is chosen to reach this recall.")
    ] = 0.95,
    k: Annotated[int, typer.Option("-k", min=1, help="At this many hits.")] = 10,
    gallery: GalleryOption = None,
) -> None:
    """Build a FAISS index over the gallery and measure its recall against exact search.

    Rows that come later are scored exactly beside it until it is built again, so nothing is ever missing.
    """
    from mmsearch.pipeline.index import index as run

    with display(interrupted="the gallery is as it was") as shown:
        report = run(gallery, table=table, factory=factory, recall_target=recall_target, k=k, progress=shown.progress)
    _print(report)


def _print(report: "IndexReport") -> None:
    made = "is as it was: it holds every live row" if report.reused else f"built in {report.build_seconds:.1f} s"
    effort = "".join(f", {name} {value}" for name, value in asdict(report.effort).items() if value is not None)
    print(f"index     {report.table}: {report.factory}{effort}; {report.rows:,} rows, {report.bytes / 1e6:,.1f} MB")
    print(f"          {made}")
    for recall in report.recall:
        if recall.mean is None:
            print(f"recall    {recall.unmeasured}")
        else:
            print(f"recall    {recall.mean:.4f} at {recall.k} on {recall.n_queries} {recall.kind} queries")
    if not report.reached:
        say(f"warning: the target of {report.recall_target} is out of reach of {report.factory}; try another --factory")
