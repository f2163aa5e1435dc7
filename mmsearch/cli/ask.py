"""`mmsearch ask`"""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mmsearch.cli.describe import NOTHING_SAID
from mmsearch.cli.marks import kept_name
from mmsearch.cli.options import Device, GalleryOption, say
from mmsearch.cli.progress import display
from mmsearch.items import GUESS
from mmsearch.names import printable, shown

if TYPE_CHECKING:
    from mmsearch.search.asking import Asked


def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask, in words.")],
    model: Annotated[
        str,
        typer.Option(metavar="MODEL", help="The model that answers: hf:org/name, hf:FOLDER, or a plugin's."),
    ],
    image: Annotated[list[str] | None, typer.Option(metavar="FILE", help="Ask about this picture. Repeatable.")] = None,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="Ask about the pictures of the gallery that fit this text, or a kept @NAME, best."
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=16, help="With --query: about how many of them.")] = 4,
    output: Annotated[
        Literal["table", "jsonl"], typer.Option("--format", help="For people, or an object of JSON for each picture.")
    ] = "table",
    gallery: GalleryOption = None,
    device: Device = "auto",
) -> None:
    """Ask a question about pictures. The answer is a machine's guess, of which nothing is checked.

    Each picture is asked about alone, and named beside its answer. Where mmsearch calibrate has measured what scores
    mean, and probably nothing fits the query, it says so and asks no model.
    """
    from mmsearch.search.asking import ask as run
    from mmsearch.search.query import Query

    asked_of: str | Query | None = query
    if (name := kept_name(query)) is not None:
        from mmsearch.gallery import Gallery
        from mmsearch.search.kept_queries import kept_query

        kept = kept_query(name)
        kept.require_encoder_of(Gallery.open(gallery))
        asked_of = Query(kept.parts, k=k, templates=kept.templates)
    with display(interrupted="nothing was written") as progress:
        asked = run(
            question,
            pictures=image or (),
            query=asked_of,
            model=model,
            k=k,
            gallery=gallery,
            device=device,
            progress=progress.progress,
            announce=say,
        )
    for remark in asked.remarks:
        say(remark)
    _print_jsonl(asked) if output == "jsonl" else _print(asked)


def _print_jsonl(asked: "Asked") -> None:
    common = {"question": asked.question, "guessed_by": asked.guessed_by}
    if asked.nothing is not None:
        print(json.dumps({"guess": None, "nothing": asked.nothing, **common}, ensure_ascii=False))
    for each in asked.guesses:
        found = {} if each.hit is None else {"row_id": each.hit.row_id, "score": each.hit.score}
        told = {"number": each.number, "picture": shown(each.picture), "guess": each.guess, "cut": each.cut}
        print(json.dumps({**told, **common, **found}, ensure_ascii=False))


def _print(asked: "Asked") -> None:
    if asked.nothing is not None:
        print(asked.nothing)
        return
    if not sys.stdout.isatty():
        for each in asked.guesses:
            print(each.number, printable(each.picture), f"{GUESS}{each.guess or NOTHING_SAID}", sep="\t")
        return
    answers = "; ".join(f"{guess or NOTHING_SAID} ({', '.join(map(str, numbers))})" for guess, numbers in asked.agreed)
    print(f"{GUESS}{answers}")
    width = len(str(asked.guesses[-1].number))
    for each in asked.guesses:
        print(f"  {each.number:{width}}  {each.guess or NOTHING_SAID:30}  {printable(each.picture)}")
