"""`mmsearch query`"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from mmsearch.budget import MOST_RERANKED, RERANKED
from mmsearch.cli.answering import answering, require_nothing_else
from mmsearch.cli.from_file import BATCH_FORMATS
from mmsearch.cli.hits import FORMATS, keep_files, keep_page, keep_sheet
from mmsearch.cli.marks import kept_name, marked_files
from mmsearch.cli.opening import open_page, open_pictures, require_few
from mmsearch.cli.options import NEAR, NEAR_HELP, AmongOption, GalleryOption, path, require_option, say, seconds
from mmsearch.cli.progress import display
from mmsearch.cli.table import print_table
from mmsearch.items import DEFAULT_KIND
from mmsearch.names import shell_quoted

_ASK, _ANSWER, _SEARCH = "What is asked", "How it is answered", "How it is searched"


def query(
    ctx: typer.Context,
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="What to look for, in words.")] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--and", metavar="TEXT", help="More words to add to the query. Repeatable.", rich_help_panel=_ASK),
    ] = None,
    away: Annotated[
        list[str] | None,
        typer.Option("--not", metavar="TEXT", help="Words to keep away from. Repeatable.", rich_help_panel=_ASK),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Look for what is like this picture, film or PDF, or like a part of a picture: "
            "dog.jpg#box=0.25,0,0.5,0.5 (left, top, right, bottom, in shares). Repeatable.",
            rich_help_panel=_ASK,
        ),
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RANKS|PATH",
            help="Look for more like this picture, film or PDF of the gallery, or like hits of the last answer (3, or "
            "1,4), without itself; needs no model, but for a part (#box=…). Repeatable.",
            rich_help_panel=_ASK,
        ),
    ] = None,
    yes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RANKS|PATH",
            help="What is right: hits of the last answer by their ranks, as in 1,4 or 2-5, or a picture of the "
            "gallery. The query learns from it. Repeatable.",
            rich_help_panel=_ASK,
        ),
    ] = None,
    no: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RANKS|PATH", help="What is wrong, likewise; it is left out. Repeatable.", rich_help_panel=_ASK
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Keep what is asked and marked, to be asked again: mmsearch query @NAME",
            rich_help_panel=_ASK,
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help='Put each text in the place of {} here, as in "a photo of {}". Several are averaged. Repeatable.',
            rich_help_panel=_ASK,
        ),
    ] = None,
    from_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Answer many queries, a line each or id TAB query; - is stdin. As --format jsonl or trec.",
            rich_help_panel=_ASK,
        ),
    ] = None,
    table: AmongOption = DEFAULT_KIND.name,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="SQL",
            help="Only among rows for which this is true, as in \"width > height and path like 'trips/%'\".",
            rich_help_panel=_ASK,
        ),
    ] = None,
    near: Annotated[str | None, typer.Option(metavar=NEAR, help=NEAR_HELP, rich_help_panel=_ASK)] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.", rich_help_panel=_ANSWER)] = 10,
    min_score: Annotated[
        float | None,
        typer.Option(metavar="COSINE", help="Leave out hits that score less than this.", rich_help_panel=_ANSWER),
    ] = None,
    min_probability: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="Leave out hits that are relevant with less of a chance, as mmsearch calibrate measured it.",
            rich_help_panel=_ANSWER,
        ),
    ] = None,
    distinct: Annotated[
        bool,
        typer.Option(
            "--distinct",
            help="Leave out near-duplicates: hits with a cosine of 0.97 or more to a better hit.",
            rich_help_panel=_ANSWER,
        ),
    ] = False,
    each: Annotated[
        bool,
        typer.Option(
            "--each",
            help="Every moment of a film, page of a document and tile of a picture is a hit; else the best of a file.",
            rich_help_panel=_ANSWER,
        ),
    ] = False,
    per_video: Annotated[
        Literal["max", "mean"],
        typer.Option(help="Rank films by their best frame, or by the mean of all.", rich_help_panel=_ANSWER),
    ] = "max",
    sort: Annotated[
        Literal["rank", "date"],
        typer.Option(
            help="date: newest first, of the hits that are likely relevant, as mmsearch calibrate measured it.",
            rich_help_panel=_ANSWER,
        ),
    ] = "rank",
    output: Annotated[
        Literal["table", "jsonl", "csv", "csv-safe", "paths", "paths0", "trec"] | None,
        typer.Option(
            "--format",
            help="Default: a table on a terminal, tab-separated text elsewhere. csv holds names as they are; csv-safe "
            "is for spreadsheets, which would run a name like =1+1: it gets an apostrophe in front.",
            show_default=False,
            rich_help_panel=_ANSWER,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=path, help="Write a page with the pictures too.", rich_help_panel=_ANSWER),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--contact-sheet",
            metavar="FILE",
            parser=path,
            help="Draw the hits into this .jpg, .png or .webp file too.",
            rich_help_panel=_ANSWER,
        ),
    ] = None,
    copy_to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=path,
            help="Copy the files of the hits here too, as 01-beach.jpg; nothing is overwritten.",
            rich_help_panel=_ANSWER,
        ),
    ] = None,
    cut: Annotated[
        bool,
        typer.Option(
            "--cut",
            help="With --copy-to: of films copy the moments alone, from the key frame before; nothing is encoded anew.",
            rich_help_panel=_ANSWER,
        ),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show where in each picture what was asked is seen, in --html or --format jsonl. Each is encoded some "
            "hundred times.",
            rich_help_panel=_ANSWER,
        ),
    ] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="With --explain: a preview, some four times as fast: the place is guessed, falls are measured.",
            rich_help_panel=_ANSWER,
        ),
    ] = False,
    find: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Draw boxes around what the words name, in --html or --format jsonl, by a detector: hf:org/name or "
            "hf:FOLDER (OWLv2, OWL-ViT, Grounding DINO).",
            rich_help_panel=_ANSWER,
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--open", help="Open the page of --html, or else the pictures.", rich_help_panel=_ANSWER)
    ] = False,
    preview: Annotated[
        bool | None,
        typer.Option(
            "--preview/--no-preview",
            help="Show the pictures in the table on a terminal, or not. Default: where it shows real ones (kitty, "
            "Ghostty, iTerm2, WezTerm, mintty, foot, mlterm, Contour); elsewhere they are made of half blocks.",
            show_default=False,
            rich_help_panel=_ANSWER,
        ),
    ] = None,
    gallery: GalleryOption = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Ask a running mmsearch serve. Its token, if it has one, stands in the URL or in MMSEARCH_TOKEN.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    correct: Annotated[
        Literal["measured", "general"],
        typer.Option(
            help="Correct for hubs, pictures that everything finds, where mmsearch calibrate saw that it helps; or "
            "also by general texts, which nothing measured.",
            rich_help_panel=_SEARCH,
        ),
    ] = "measured",
    no_correct: Annotated[
        bool, typer.Option("--no-correct", help="Rank by the plain score.", rich_help_panel=_SEARCH)
    ] = False,
    rerank: Annotated[
        str | None,
        typer.Option(
            metavar="RERANKER",
            help="Take a second look at the best hits with a model that sees picture and text together: hf:org/name or "
            "hf:FOLDER (BLIP, BLIP-2, ViLT), st:… (cross-encoders), demo. See mmsearch guide reranking.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    rerank_by: Annotated[
        Literal["logit", "logit+score"],
        typer.Option(help="What it ranks by: its own value, or that plus the score.", rich_help_panel=_SEARCH),
    ] = "logit",
    depth: Annotated[
        int, typer.Option(min=1, max=MOST_RERANKED, help="How many of the best it looks at.", rich_help_panel=_SEARCH)
    ] = RERANKED,
    within: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            parser=seconds,
            help="How long it may look, as in 2s; what it has not looked at then comes after what it has.",
            show_default=False,
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Score everything, past the index.", rich_help_panel=_SEARCH)
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say how was searched, on stderr.", rich_help_panel=_SEARCH)
    ] = False,
    nprobe: Annotated[
        int | None, typer.Option(min=1, help="Lists that an IVF index visits.", rich_help_panel=_SEARCH)
    ] = None,
    ef_search: Annotated[
        int | None, typer.Option(min=1, help="Candidates that an HNSW index keeps.", rich_help_panel=_SEARCH)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Where to load the gallery's model from now. Default: where it was then.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="Where the query is encoded.", rich_help_panel=_SEARCH)
    ] = "cpu",
) -> None:
    """Search: by words, by pictures, or by both; among the pictures, or with --in among the captions, or both.

    Several things can be asked at once: mmsearch query "beach" --image dog.jpg --not "people". Each counts with its
    weight, 1 unless ^ and a number at its end say otherwise: "beach^2". Words that end so are written "x^2^1".

    The score is the cosine of the angle between query and item. What is usual depends on the model: with CLIP ViT-B/16
    a photo scored 0.26 to 0.36 with its own caption, 0.09 to 0.25 with those of others, and 0.39 to 0.71 with other
    photos (500 of COCO, 5th to 95th percentile). Compare scores within one query. Where the gallery was calibrated
    (mmsearch calibrate) a text is also told with what chance a hit is relevant, and whether anything is.

    A filter takes an SQL expression over the columns of the gallery; one that is not understood lists them. The hits
    are the best of what it admits, all of which is scored where that is quicker than the index; --exact always does.

    Marks teach it: mmsearch query "red door", then mmsearch query "red door" --yes 1,4 --no 2-3 --keep red-doors, and
    from then on mmsearch query @red-doors, which takes more marks.

    Encoders are weak at composition: which thing is red, what stands left of what. --rerank has a slower model look at
    the best hits and the text together. The value that it gives each stands beside the score, and ranks go by it.

    With --server a running `mmsearch serve` answers, without the start of a model; pictures are sent to it.
    """
    from mmsearch.search.kept_queries import keep_query, kept_query
    from mmsearch.search.last_answer import remember_answer
    from mmsearch.search.query import NEAR_DUPLICATE, Query
    from mmsearch.search.query_files import read_queries
    from mmsearch.search.retrieval import SearchOptions
    from mmsearch.search.typed_parts import typed_parts

    corrections = "none" if no_correct else correct
    options = SearchOptions(exact=exact, nprobe=nprobe, ef_search=ef_search)
    if server is not None:
        require_nothing_else(ctx, model, device, options)
        if plan:
            raise typer.BadParameter("the server decides how it searches, and does not say it", param_hint="--plan")
        if keep is not None:
            raise typer.BadParameter(
                "a query is kept with the gallery's vectors, and those are the server's", param_hint="--keep"
            )
    require_option(ctx, "rerank", "rerank_by", "depth", "within")
    for hint, looks in (("--explain", explain), ("--find", find)):
        if looks and output != "jsonl" and html is None:
            raise typer.BadParameter("is shown by --html FILE and by --format jsonl; name one", param_hint=hint)
        if looks and server is not None:
            raise typer.BadParameter("is done here, not by a server: leave --server out", param_hint=hint)
    if quick and not explain:
        raise typer.BadParameter("says how --explain looks; name that too", param_hint="--quick")
    if sort != "rank" and output == "trec":
        raise typer.BadParameter("a TREC run is in the order of its scores", param_hint="--sort")
    if show and html is None:
        require_few(k)
    if html is not None or sheet is not None:
        from mmsearch.render import require_outputs

        require_outputs(page=html, sheet=sheet)
    if cut and copy_to is None:
        raise typer.BadParameter("says what is copied to a folder; name it with --copy-to DIR", param_hint="--cut")
    opening = answering(server, gallery, model=model, device=device, options=options)
    if from_file is not None:
        parts = text, also, away, image, like, yes, no, keep
        sorted_by = None if sort == "rank" else sort
        others = (
            template,
            where,
            near,
            min_score,
            min_probability,
            sorted_by,
            html,
            sheet,
            copy_to,
            distinct or None,
            preview,
            show or None,
            plan or None,
            explain or None,
            find,
        )
        if any(given is not None for given in (*parts, *others)) or output not in (None, *BATCH_FORMATS):
            raise typer.BadParameter(
                "goes with -k, --in, --format jsonl or trec, and how to search; not with other queries or answers",
                param_hint="--from-file",
            )
        queries = read_queries(
            from_file,
            k=k,
            table=table,
            correct=corrections,
            rerank=rerank,
            rerank_by=rerank_by,
            depth=depth,
            within=within,
            each=each,
            per_video=per_video,
        )
        with opening as answer:
            BATCH_FORMATS[output or "jsonl"](answer.many(queries))
        return
    kept = None if (name := kept_name(text)) is None else kept_query(name)
    parts_now = typed_parts(
        text if kept is None else None,
        also=also or (),
        away=away or (),
        pictures=image or (),
        like=marked_files(like or (), "--like"),
        right=marked_files(yes or (), "--yes"),
        wrong=marked_files(no or (), "--no"),
    )
    asked = Query(
        parts_now if kept is None else kept.parts_and(parts_now),
        k=k,
        table=table,
        templates=template or (() if kept is None else kept.templates),
        where=where,
        near=near,
        min_score=min_score,
        min_probability=min_probability,
        distinct=NEAR_DUPLICATE if distinct else None,
        correct=corrections,
        sort=sort,
        rerank=rerank,
        rerank_by=rerank_by,
        depth=depth,
        within=within,
        each=each,
        per_video=per_video,
    )
    with opening as answer:
        if kept is not None and answer.gallery is not None:
            kept.require_encoder_of(answer.gallery)
        answered = answer.one(asked)
        if explain and answer.explain is not None:
            with display(interrupted="nothing was written") as shown:
                answered = answer.explain(answered, shown.progress, quick)
            if quick:
                say("a preview: where to look is guessed; without --quick it is measured")
        if find is not None and answer.find is not None:
            with display(interrupted="nothing was written") as shown:
                answered = answer.find(answered, find, shown.progress)
        if keep is not None and answer.gallery is not None:
            keep_query(keep, asked, answer.gallery)
            say(f"kept; to ask it again: mmsearch query {shell_quoted(f'@{keep}')}")
            if limits := replace(asked, templates=()).conditions():
                say(f"what limits the answer is not kept: {'; '.join(limits)}")
        for line in answer.plan(asked) if plan and answer.plan is not None else ():
            say(f"plan: {line}")
    remember_answer(answered, server)
    if preview is not None and output in (None, "table") and sys.stdout.isatty():
        print_table(answered, preview=preview)
    else:
        FORMATS[output or "table"](answered)
    for write, target in ((keep_sheet, sheet), (keep_page, html), (partial(keep_files, cut=cut), copy_to)):
        if target is not None:
            write(answered, target)
    if show:
        open_page(html) if html is not None else open_pictures(answered.hits)
