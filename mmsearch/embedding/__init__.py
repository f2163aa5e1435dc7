"""`embed`: bring a gallery in line with folders of pictures and files of captions."""

from mmsearch.embedding.embed_run import embed, embed_again, preview
from mmsearch.embedding.encoder_source import KeptEncoder
from mmsearch.embedding.estimate import Estimate, Timing
from mmsearch.embedding.records import CaptionCounts, EmbedOptions, EmbedReport, GuessCounts, ImageCounts, ItemCounts
from mmsearch.embedding.refreshing import RefreshReport, refresh
from mmsearch.sources import Selection

__all__ = [
    "CaptionCounts",
    "EmbedOptions",
    "EmbedReport",
    "Estimate",
    "GuessCounts",
    "ImageCounts",
    "ItemCounts",
    "KeptEncoder",
    "RefreshReport",
    "Selection",
    "Timing",
    "embed",
    "embed_again",
    "preview",
    "refresh",
]
