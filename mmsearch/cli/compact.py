"""`mmsearch compact`"""

from datetime import timedelta
from typing import Annotated

import typer

from mmsearch.cli.options import GalleryOption


def compact(
    gallery: GalleryOption = None,
    grace: Annotated[
        float, typer.Option(min=0, metavar="HOURS", help="Keep files that went out of use less than this ago.")
    ] = 24.0,
) -> None:
    """Tidy a gallery: merge small shards, drop dead rows, and remove files that are no longer in use.

    The grace is for readers that are still at an older version.
    """
    from mmsearch.upkeep.maintenance import compact as run

    report = run(gallery, grace=timedelta(hours=grace))
    print(
        f"{report.gallery}: {report.shards_before:,} shards became {report.shards_after:,}; "
        f"{report.removed_files:,} files removed, {report.removed_bytes / 1e6:,.1f} MB freed"
    )
