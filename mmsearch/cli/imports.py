"""`mmsearch import`"""

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import GalleryOption, location, path
from mmsearch.cli.progress import display
from mmsearch.names import printable


def import_(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", parser=path, help="An output folder of clip-retrieval.")],
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="Whose vectors they are: ARCH/TAG and the like, or as clip-retrieval says it: ViT-B/32, open_clip:….",
        ),
    ],
    images: Annotated[
        str | None, typer.Option(metavar="DIR", parser=location, help="Where the pictures stand now. Default: as then.")
    ] = None,
    gallery: GalleryOption = None,
) -> None:
    """Make a gallery of vectors that clip-retrieval computed (img_emb, text_emb, metadata). Nothing is encoded.

    That the vectors are of the named model cannot be checked, so it is noted as declared, and said with every query.
    Pictures cannot be added to such a gallery.
    """
    from mmsearch.upkeep.importing import import_vectors as run

    with display(interrupted="what was imported is kept, and the same command continues") as shown:
        report = run(folder, model=model, images=images, gallery=gallery, progress=shown.progress)
    print(f"gallery   {printable(report.gallery)} ({report.encoder.spec}, declared)")
    print(
        f"imported  {report.images:,} pictures and {report.captions:,} captions"
        + (f"; {report.held:,} rows were there" if report.held else "")
        + (f"; {report.skipped:,} vectors are empty or not finite" if report.skipped else "")
    )
    missing = "" if report.present else " (not there now: mmsearch relocate, or --images)"
    print(f"pictures  below {report.root}{missing}")
