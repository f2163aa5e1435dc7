"""`mmsearch query`"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mmsearch.cli.from_file import BATCH_FORMATS
from mmsearch.cli.hits import FORMATS
from mmsearch.cli.options import GalleryOption, TableOption, path, say


def query(
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="What to look for, in words.")] = None,
    image: Annotated[
        Path | None, typer.Option(metavar="FILE", parser=path, help="Look for what is like this picture.")
    ] = None,
    from_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Answer many queries, a line each or id TAB query; - is stdin. As --format jsonl or trec.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 10,
    table: TableOption = "images",
    gallery: GalleryOption = None,
    output: Annotated[
        Literal["table", "jsonl", "csv", "paths", "trec"] | None,
        typer.Option(
            "--format", help="Default: a table on a terminal, tab-separated text elsewhere.", show_default=False
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--contact-sheet", metavar="FILE", help="Draw the hits into this .jpg, .png or .webp file too."),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Score everything, past the index.")] = False,
    nprobe: Annotated[int | None, typer.Option(min=1, help="Lists that an IVF index visits.")] = None,
    ef_search: Annotated[int | None, typer.Option(min=1, help="Candidates that an HNSW index keeps.")] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Where to load the gallery's model from now. Default: where it was then."),
    ] = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="Where the query is encoded.")] = "cpu",
) -> None:
    """Search: by words, or by a picture with --image; among the pictures, or with --in captions among the captions.

    The score is the cosine of the angle between query and item. What is usual depends on the model: with CLIP ViT-B/16
    a photo scored 0.26 to 0.36 with its own caption, 0.09 to 0.26 with those of others, and 0.39 to 0.71 with other
    photos (500 of COCO, 5th to 95th percentile). Compare scores within one query.
    """
    from mmsearch.pipeline.query import SearchOptions, open_gallery

    if sheet is not None:
        from mmsearch.pipeline.render import require_place

        require_place(sheet)
    opened = open_gallery(gallery, encoder=model, device=device, announce=say)
    options = SearchOptions(exact=exact, nprobe=nprobe, ef_search=ef_search)
    if from_file is not None:
        if text is not None or image is not None or sheet is not None or output not in (None, *BATCH_FORMATS):
            raise typer.BadParameter(
                "goes with --format jsonl or trec, and without a text, --image or --contact-sheet",
                param_hint="--from-file",
            )
        from mmsearch.pipeline.batch import answer_all, read_questions

        questions = read_questions(from_file)
        BATCH_FORMATS[output or "jsonl"](answer_all(opened, questions, k=k, table=table, options=options))
        return
    if output == "trec":
        raise typer.BadParameter(
            "--format trec goes with --from-file, which gives queries their ids", param_hint="--format"
        )
    hits = opened.query(text, image=image, k=k, table=table, options=options)
    FORMATS[output or "table"](hits)
    if sheet is not None:
        from mmsearch.pipeline.render import Answer, contact_sheet

        answer = Answer(text or f"like {image}", hits, str(image) if image else None)
        say(f"contact sheet: {contact_sheet([answer], sheet)}")
