"""What can be found: kinds of items, a file each, and the registry of all.

rows      what rows are made of
kinds     what a kind is
images, captions   the kinds that come with mmsearch
registry  all kinds by name, and by the suffix of a file
"""

from mmsearch.items.captions import CAPTIONS, GUESS, MACHINE, CaptionRow
from mmsearch.items.images import IMAGES, ImageRow
from mmsearch.items.kinds import NUMBERS, SKIPPED, AnyKind, Content, Files, Kind, Side, Span, Table
from mmsearch.items.registry import (
    BOTH,
    DEFAULT_KIND,
    MEMBER,
    askable,
    kind,
    kind_of_file,
    kinds,
    know,
    register,
    table,
    table_names,
    unregister,
    without_span,
)
from mmsearch.items.rows import FileRow, ItemRow, SkippedRow

__all__ = [
    "BOTH",
    "CAPTIONS",
    "DEFAULT_KIND",
    "GUESS",
    "IMAGES",
    "MACHINE",
    "MEMBER",
    "NUMBERS",
    "SKIPPED",
    "AnyKind",
    "CaptionRow",
    "Content",
    "FileRow",
    "Files",
    "ImageRow",
    "ItemRow",
    "Kind",
    "Side",
    "SkippedRow",
    "Span",
    "Table",
    "askable",
    "kind",
    "kind_of_file",
    "kinds",
    "know",
    "register",
    "table",
    "table_names",
    "unregister",
    "without_span",
]
