"""`mmsearch kept`"""

import json
from typing import Annotated, Literal

import typer

from mmsearch.cli.options import say
from mmsearch.names import printable


def kept(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Kept queries, with or without @. None: all of them."),
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete those that are named. No picture and no gallery is touched.")
    ] = False,
    output: Annotated[
        Literal["table", "jsonl"], typer.Option("--format", help="For people, or an object of JSON for each query.")
    ] = "table",
) -> None:
    """List the queries that are kept under a name, or delete some.

    mmsearch query "red door" --yes 1,4 --keep red-doors keeps one, mmsearch query @red-doors asks it. They lie in the
    configuration folder; MMSEARCH_CONFIG names another.
    """
    from mmsearch.errors import QueryError
    from mmsearch.search.kept_queries import delete_kept_query, kept_queries, kept_query

    chosen = [name.removeprefix("@") for name in names or ()]
    if delete:
        if not chosen:
            raise typer.BadParameter("name the queries to delete, as in: mmsearch kept red-doors --delete")
        for name in dict.fromkeys(chosen):
            delete_kept_query(name)
            print(f"deleted   @{name}")
        return
    if not chosen and not (chosen := kept_queries()):
        say('no query is kept; keep one: mmsearch query "red door" --yes 1 --keep red-doors')
    for name in chosen:
        try:
            found = kept_query(name)
        except QueryError as error:
            if names:
                raise
            say(f"warning: {error}")  # the others are listed all the same
            continue
        if output == "jsonl":
            document = {"name": name, "title": found.title, "model": found.model or None, "templates": found.templates}
            print(json.dumps(document, ensure_ascii=False))
        else:
            of_model = f"  ({printable(found.model)})" if found.model else ""
            print(f"@{name}\t{printable(found.title)}{of_model}")
