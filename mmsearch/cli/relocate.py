"""`mmsearch relocate`"""

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import GalleryOption


def relocate(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Where the root was.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Where it is now.")],
    gallery: GalleryOption = None,
) -> None:
    """Say that a folder of pictures was moved. Nothing is encoded again."""
    from mmsearch.pipeline.maintain import relocate as run

    report = run(root, new, gallery=gallery)
    print(f"{report.gallery}: {report.old} is now {report.new}")
