"""`embed`: bring a gallery in line with folders of pictures and files of captions."""

from mmsearch.embedding.embed_run import embed, preview
from mmsearch.embedding.estimate import Estimate, Timing
from mmsearch.embedding.records import CaptionCounts, EmbedOptions, EmbedReport, ImageCounts, ItemCounts
from mmsearch.sources import Selection

__all__ = [
    "CaptionCounts",
    "EmbedOptions",
    "EmbedReport",
    "Estimate",
    "ImageCounts",
    "ItemCounts",
    "Selection",
    "Timing",
    "embed",
    "preview",
]
