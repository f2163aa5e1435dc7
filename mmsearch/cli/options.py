"""Options that several commands share, so that they are named and explained alike."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mmsearch.items import askable, kinds
from mmsearch.locations import redacted
from mmsearch.names import printable

__all__ = [
    "AmongOption",
    "CaptionColumns",
    "Device",
    "GalleryOption",
    "ImageColumn",
    "NEAR",
    "NEAR_HELP",
    "NearOption",
    "Precision",
    "TableOption",
    "path",
    "seconds",
    "location",
    "say",
]


def path(text: str) -> Path:
    """A path that was typed. An empty one (an unset variable in a script) would mean the current folder."""
    if not text:
        raise typer.BadParameter("an empty path; is a variable not set?")
    if "://" in text:
        raise typer.BadParameter(f"{redacted(text)} is a URL, and this takes a path on this machine")
    return Path(text)


def location(text: str) -> str:
    """The place of a folder or a file, a path or a URL (s3://…), that was typed."""
    return text if "://" in text else str(path(text))


GalleryOption = Annotated[
    str | None,
    typer.Option(
        "--gallery",
        "-g",
        envvar="MMSEARCH_GALLERY",
        metavar="DIR",
        parser=location,
        help="The gallery: a folder, or s3://BUCKET/FOLDER and the like. By default .mmsearch here or in the nearest "
        "parent folder, else the one that mmsearch use has named.",
        show_default=False,
    ),
]


def require_option(context: typer.Context, needed: str, *dependent: str) -> None:
    """Raise BadParameter for an option that was typed without the one that it belongs to: it would do nothing.

    needed, dependent: names of parameters.
    """
    if context.params[needed] is None:
        for name in dependent:
            source = context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                flag, other = (f"--{each.replace('_', '-')}" for each in (name, needed))
                raise typer.BadParameter(f"goes with {other}, which is not given", param_hint=flag)


def kind_name(text: str) -> str:
    """The name of a kind of item that was typed."""
    names = [kind.name for kind in kinds()]
    if text not in names:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(map(repr, names))}.")
    return text


def _among(text: str) -> str:
    if text not in askable():
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(map(repr, askable()))}.")
    return text


AmongOption = Annotated[
    str,
    typer.Option(
        "--in",
        metavar=f"[{'|'.join(askable())}]",
        parser=_among,
        help="Among what: the pictures, the captions, or both in one list.",
    ),
]
NEAR, NEAR_HELP = (
    "PLACE",
    'Only pictures taken near a place: "Lisbon 20km", "Paris, US 5 miles", "38.72,-9.14 20km". See embed --places.',
)
NearOption = Annotated[str | None, typer.Option(metavar=NEAR, help=NEAR_HELP)]
TableOption = Annotated[
    str,
    typer.Option(
        "--in",
        metavar=f"[{'|'.join(kind.name for kind in kinds())}]",
        parser=kind_name,
        help="Which table: the pictures or the captions.",
    ),
]
Device = Annotated[
    str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps. One that is absent is an error.")
]
Precision = Annotated[
    Literal["auto", "fp32", "fp16", "bf16", "int8"],
    typer.Option(help="What the model computes in; auto suits the device. int8 is for CPUs."),
]

ImageColumn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The column (or key) of image names in a file of captions. Default: by its name."
    ),
]
CaptionColumns = Annotated[
    list[str] | None,
    typer.Option("--caption-column", metavar="NAME", help="Likewise of captions. Repeatable: one or several."),
]


def seconds(text: str) -> float:
    """A time that was typed: "2s", "500ms", or a number of seconds."""
    for unit, of_a_second in (("ms", 0.001), ("s", 1.0), ("", 1.0)):
        number = text.removesuffix(unit) if unit else text
        if number != text or not unit:
            try:
                value = float(number) * of_a_second
            except ValueError:
                continue
            if 0 < value < float("inf"):
                return value
    raise typer.BadParameter(f"{text!r} is no time; write 2s, or 500ms")


def say(line: str) -> None:
    """A line for whoever watches, on stderr; one, whatever the names in it hold."""
    typer.echo(f"mmsearch: {printable(line)}", err=True)
