"""Search pictures with words and words with pictures, and know how good the answers are.

    import mmsearch

    mmsearch.embed(["photos/"])
    mmsearch.index()
    gallery = mmsearch.open_gallery()
    for hit in gallery.query("sunset over mountains", k=10):
        print(hit.rank, hit.score, hit.file)
    mmsearch.evaluate("flickr8k", images="Images/", annotations="captions.txt")

The same verbs as on the command line. Nothing heavy is loaded at import: each name brings its module on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mmsearch.version import __version__

if TYPE_CHECKING:
    from mmsearch.embedding import EmbedOptions as EmbedOptions
    from mmsearch.embedding import EmbedReport as EmbedReport
    from mmsearch.embedding import Selection as Selection
    from mmsearch.embedding import embed as embed
    from mmsearch.embedding import preview as preview
    from mmsearch.errors import MmsearchError as MmsearchError
    from mmsearch.evaluation import EvaluateOptions as EvaluateOptions
    from mmsearch.evaluation import EvaluationReport as EvaluationReport
    from mmsearch.evaluation import evaluate as evaluate
    from mmsearch.evaluation import evaluate_galleries as evaluate_galleries
    from mmsearch.evaluation import evaluate_vectors as evaluate_vectors
    from mmsearch.evaluation import evaluate_zeroshot as evaluate_zeroshot
    from mmsearch.gallery import Gallery as Gallery
    from mmsearch.guides import Guide as Guide
    from mmsearch.guides import list_guides as list_guides
    from mmsearch.guides import read_guide as read_guide
    from mmsearch.indexing import IndexOptions as IndexOptions
    from mmsearch.indexing import IndexReport as IndexReport
    from mmsearch.indexing import index as index
    from mmsearch.render import contact_sheet as contact_sheet
    from mmsearch.render import html_page as html_page
    from mmsearch.render.collecting import collect as collect
    from mmsearch.search.answers import Answer as Answer
    from mmsearch.search.hits import Hit as Hit
    from mmsearch.search.open_gallery import OpenGallery as OpenGallery
    from mmsearch.search.open_gallery import open_gallery as open_gallery
    from mmsearch.search.query import ImagePart as ImagePart
    from mmsearch.search.query import ItemPart as ItemPart
    from mmsearch.search.query import Query as Query
    from mmsearch.search.query import TextPart as TextPart
    from mmsearch.search.query import VectorPart as VectorPart
    from mmsearch.search.retrieval import SearchOptions as SearchOptions
    from mmsearch.serve.running import ServeOptions as ServeOptions
    from mmsearch.serve.running import gallery_app as gallery_app
    from mmsearch.serve.running import serve_gallery as serve_gallery
    from mmsearch.upkeep.exporting import export as export
    from mmsearch.upkeep.importing import import_vectors as import_vectors
    from mmsearch.upkeep.maintenance import compact as compact
    from mmsearch.upkeep.maintenance import forget as forget
    from mmsearch.upkeep.maintenance import relocate as relocate
    from mmsearch.upkeep.summary import GalleryInfo as GalleryInfo
    from mmsearch.upkeep.summary import info as info

_HOMES = {
    "embed": "embedding",
    "EmbedOptions": "embedding",
    "EmbedReport": "embedding",
    "Selection": "embedding",
    "preview": "embedding",
    "import_vectors": "upkeep.importing",
    "index": "indexing",
    "IndexOptions": "indexing",
    "IndexReport": "indexing",
    "open_gallery": "search.open_gallery",
    "OpenGallery": "search.open_gallery",
    "SearchOptions": "search.retrieval",
    "Query": "search.query",
    "TextPart": "search.query",
    "ImagePart": "search.query",
    "ItemPart": "search.query",
    "VectorPart": "search.query",
    "Answer": "search.answers",
    "Hit": "search.hits",
    "contact_sheet": "render",
    "html_page": "render",
    "collect": "render.collecting",
    "evaluate": "evaluation",
    "evaluate_galleries": "evaluation",
    "evaluate_vectors": "evaluation",
    "evaluate_zeroshot": "evaluation",
    "EvaluateOptions": "evaluation",
    "EvaluationReport": "evaluation",
    "info": "upkeep.summary",
    "GalleryInfo": "upkeep.summary",
    "export": "upkeep.exporting",
    "forget": "upkeep.maintenance",
    "relocate": "upkeep.maintenance",
    "compact": "upkeep.maintenance",
    "serve_gallery": "serve.running",
    "gallery_app": "serve.running",
    "ServeOptions": "serve.running",
    "list_guides": "guides",
    "read_guide": "guides",
    "Guide": "guides",
    "Gallery": "gallery",
    "MmsearchError": "errors",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mmsearch' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mmsearch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
