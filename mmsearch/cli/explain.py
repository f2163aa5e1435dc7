"""`mmsearch explain`"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mmsearch.cli.options import GalleryOption, path, say
from mmsearch.names import printable

if TYPE_CHECKING:
    from mmsearch.explaining.records import Explanation, Region


def explain(
    ctx: typer.Context,
    picture: Annotated[str, typer.Argument(metavar="PICTURE", help="A picture file; - is stdin.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for in it, in words.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            parser=path,
            help="Draw heat and boxes into this .png, .jpg or .webp.",
        ),
    ] = None,
    phrase: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Look for this instead of the pieces that the text is cut into. Repeatable.",
        ),
    ] = None,
    output: Annotated[
        Literal["table", "jsonl"], typer.Option("--format", help="For people, or an object of JSON for each phrase.")
    ] = "table",
    gallery: GalleryOption = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="The model. Default: that of the gallery, where there is one.", show_default=False
        ),
    ] = None,
    find: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Ask a detector for the boxes instead: hf:org/name or hf:FOLDER (OWLv2, OWL-ViT, Grounding DINO).",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A preview, some four times as fast: the place is guessed, falls are measured."),
    ] = False,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="Where it is encoded.")] = "cpu",
) -> None:
    """Show where in a picture each phrase of a text is seen, and what the score loses without it.

    Parts of the picture are hidden one after the other, and it is encoded anew: what the score of a phrase loses then
    is what that part spoke for it. The box around the best part is hidden too, and what the whole text loses by that is
    measured. Where no part stands out, there is no box.
    """
    from mmsearch.explaining.explain import explain as run
    from mmsearch.explaining.records import region_record

    if out is not None:
        from mmsearch.render import require_outputs

        if picture == "-":
            raise typer.BadParameter("a picture from stdin is read once; save it first", param_hint="--output")
        require_outputs(page=None, sheet=out)
    if find is not None:
        if model is not None:
            raise typer.BadParameter("the detector finds it alone; leave one of them out", param_hint="--model")
        if quick:
            raise typer.BadParameter("a detector has no preview; leave one of them out", param_hint="--quick")
        named = ctx.get_parameter_source("gallery")
        if named is not None and named.name == "COMMANDLINE":  # and not in the environment
            raise typer.BadParameter(
                "the detector looks at the picture alone, whatever a gallery holds; leave one of them out",
                param_hint="--gallery",
            )
        _find(picture, text, find, phrase or (), out, output, device)
        return
    found = run(
        picture, text, phrases=phrase or (), encoder=model, gallery=gallery, device=device, quick=quick, announce=say
    )
    if quick:
        say("a preview: where to look is guessed; without --quick it is measured")
    if output == "jsonl":
        for region in found.regions:
            print(json.dumps(region_record(region), ensure_ascii=False))
    else:
        _print(found)
    if out is not None:
        from mmsearch.render import draw_explanation

        say(f"drawn: {draw_explanation(picture, found, out)}")


def _find(
    picture: str, text: str, model: str, phrases: Sequence[str], out: Path | None, output: str, device: str
) -> None:
    """What a detector finds."""
    from mmsearch.detectors.records import found_record
    from mmsearch.explaining.find import find_things

    things = find_things(picture, text, detector=model, phrases=phrases, device=device, announce=say)
    for found in things:
        if output == "jsonl":
            print(json.dumps(found_record(found), ensure_ascii=False))
            continue
        for box in found.boxes:
            where = ",".join(f"{value:.3f}" for value in box.box)
            print(printable(found.phrase), f"{box.score:.4f}", where, sep="\t")
        if not found.boxes:
            print(printable(found.phrase), "", "", sep="\t")
    if out is not None:
        from mmsearch.render import draw_found_in

        say(f"drawn: {draw_found_in(picture, things, out)}")


def _print(found: "Explanation") -> None:
    if not sys.stdout.isatty():
        for region in found.regions:
            print(region.phrase, f"{region.fall:.4f}", _box(region), sep="\t")
        return
    print(f"score     {found.score:.4f}   {printable(found.text)}")
    width = max(len(printable(region.phrase)) for region in found.regions)
    for region in found.regions:
        where = (
            f"{_box(region):24} without it the score falls by {region.fall:.4f}"
            if region.points
            else "no place stands out"
        )
        print(f"{printable(region.phrase):{width}}  {where}")


def _box(region: "Region") -> str:
    """As the address of a piece of a picture names it; empty where no place stands out."""
    return ",".join(f"{value:.3f}" for value in region.box) if region.points else ""
