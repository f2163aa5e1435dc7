"""`mmsearch info`"""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mmsearch.cli.agreement import agreement, disagreements
from mmsearch.cli.calibrate import describe_correction, describe_through_index
from mmsearch.cli.options import GalleryOption
from mmsearch.names import printable
from mmsearch.strict_json import json_text, without_empty

if TYPE_CHECKING:
    from mmsearch.upkeep.summary import GalleryInfo


def info(
    gallery: GalleryOption = None,
    output: Annotated[Literal["text", "json"], typer.Option("--format", help="For people or for programs.")] = "text",
    skipped: Annotated[
        bool, typer.Option("--skipped", help="List the files that could not be embedded, and why.")
    ] = False,
) -> None:
    """Say what a gallery holds: its encoder, its counts and size, its roots, its index and the state of it."""
    from mmsearch.upkeep.summary import info as run
    from mmsearch.upkeep.summary import skipped as list_skipped

    if skipped:
        for root, row in list_skipped(gallery):
            if output == "json":
                print(json.dumps({"root": root, "path": row.path, "stage": row.stage, "reason": row.reason}))
            else:
                print(printable(f"{root}/{row.path}"), row.stage, row.reason, sep="\t")
        return
    summary = run(gallery)
    if output == "json":
        print(json_text(without_empty(asdict(summary), "others"), default=str, indent=1))
    else:
        _print(summary)


def _print(summary: "GalleryInfo") -> None:
    print(f"gallery   {printable(summary.path)}")
    print(f"version   {summary.version}, {summary.created_at}, by {summary.created_by}")
    print(f"encoder   {summary.encoder.spec}, dim {summary.encoder.dim}, {summary.dtype}")
    print(
        f"          {summary.encoder.fingerprint}" + (" (imported, never checked)" if summary.encoder.declared else "")
    )
    if summary.licence is not None:
        print(f"licence   of its weights: {printable(summary.licence)}")
    others = "".join(f", {rows:,} {kind}" for kind, rows in summary.others.items())
    of_files = "" if summary.files == summary.images else f" of {summary.files:,} files"
    held = f"{summary.images:,} images{of_files}, {summary.captions:,} captions{others}"
    print(f"holds     {held}; {summary.skipped:,} files skipped")
    if summary.damaged:
        print(f"damaged   {summary.damaged:,} of the images: their files end too early (query … --where damaged)")
    if summary.before_facts:
        print(
            f"headers   {summary.before_facts:,} images were embedded before cameras, titles and keywords were kept: "
            "mmsearch embed --refresh reads them"
        )
    print(f"size      {summary.bytes / 1e6:,.1f} MB in {summary.shards:,} shards and {len(summary.indexes)} indexes")
    for parity in summary.parity:
        print(f"agrees    on {parity.device} in {parity.precision}, {agreement(parity)}")
        for line in disagreements(parity):
            print(f"exact     {line}")
    for root in summary.roots:
        missing = "" if root.present else "  NOT THERE (mmsearch relocate, or forget)"
        named = "" if root.whole else " of the files that were named"
        print(f"root      {printable(root.path)}: {root.images:,} images, {root.skipped:,} skipped{named}{missing}")
    for index in summary.indexes:
        print(
            f"index     {index.table}: {index.factory}, {index.rows:,} rows; covers {index.covered:,} live rows, "
            f"{index.beside:,} are scored beside it, {index.dead:,} of its rows are dead"
        )
        for recall in index.recall:
            if recall.mean is not None:
                best = "" if recall.best is None else f", {recall.best:.4f} at 1"
                print(f"          recall {recall.mean:.4f} at {recall.k}{best} on {recall.kind} queries")
        if index.damaged:
            print(f"          DAMAGED, queries pass it by: {index.damaged}")
    if not summary.indexes:
        print("index     none; every query scores every row (mmsearch index)")
    indexed = {index.table for index in summary.indexes}
    for scores in summary.scores:
        print(f"scores    {scores.table}: {describe_correction(scores)}")
        print(f"          {scores.correction.why}")
        if scores.through_index is not None:
            print(f"          {describe_through_index(scores.through_index)}")
        elif scores.correction.measured and scores.correction.alpha and scores.table in indexed:
            print("          through the index: not tuned for this one (mmsearch calibrate)")
