"""`mmsearch index`"""

from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import GalleryOption, TableOption
from mmsearch.cli.progress import progress_bar

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

    with progress_bar() as progress:
        report = run(gallery, table=table, factory=factory, recall_target=recall_target, k=k, progress=progress)
    _print(report)


def _print(report: "IndexReport") -> None:
    print(report)
