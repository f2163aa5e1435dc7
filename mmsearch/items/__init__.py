"""What can be found: kinds of items, a file each."""

from mmsearch.items.captions import CaptionRow
from mmsearch.items.images import ImageRow
from mmsearch.items.tables import ITEM_TABLES, TABLES, ItemTable, SkippedRow, Table

__all__ = ["ITEM_TABLES", "TABLES", "CaptionRow", "ImageRow", "ItemTable", "SkippedRow", "Table"]
