"""`mmsearch export`"""

from typing import Annotated

import typer

from mmsearch.cli.options import GalleryOption, TableOption, location
from mmsearch.items import DEFAULT_KIND
from mmsearch.names import printable


def export(
    file: Annotated[str, typer.Argument(metavar="FILE", parser=location, help="The Parquet file to write.")],
    table: TableOption = DEFAULT_KIND.name,
    gallery: GalleryOption = None,
) -> None:
    """Write the live rows of a gallery, vectors and metadata, as one Parquet file for any other tool."""
    from mmsearch.upkeep.exporting import export as run

    report = run(file, table=table, gallery=gallery)
    print(f"{printable(report.file)}: {report.rows:,} {report.table}, {report.bytes / 1e6:,.1f} MB")
