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
    from mmsearch.errors import MmsearchError as MmsearchError
    from mmsearch.gallery import Gallery as Gallery
    from mmsearch.pipeline.answers import Answer as Answer
    from mmsearch.pipeline.answers import Hit as Hit
    from mmsearch.pipeline.collect import collect as collect
    from mmsearch.pipeline.embed import EmbedOptions as EmbedOptions
    from mmsearch.pipeline.embed import EmbedReport as EmbedReport
    from mmsearch.pipeline.embed import Selection as Selection
    from mmsearch.pipeline.embed import embed as embed
    from mmsearch.pipeline.embed import preview as preview
    from mmsearch.pipeline.evaluate import EvaluateOptions as EvaluateOptions
    from mmsearch.pipeline.evaluate import EvaluationReport as EvaluationReport
    from mmsearch.pipeline.evaluate import evaluate as evaluate
    from mmsearch.pipeline.evaluate import evaluate_galleries as evaluate_galleries
    from mmsearch.pipeline.evaluate import evaluate_vectors as evaluate_vectors
    from mmsearch.pipeline.evaluate import evaluate_zeroshot as evaluate_zeroshot
    from mmsearch.pipeline.export import export as export
    from mmsearch.pipeline.imports import import_vectors as import_vectors
    from mmsearch.pipeline.index import IndexOptions as IndexOptions
    from mmsearch.pipeline.index import IndexReport as IndexReport
    from mmsearch.pipeline.index import index as index
    from mmsearch.pipeline.info import GalleryInfo as GalleryInfo
    from mmsearch.pipeline.info import info as info
    from mmsearch.pipeline.maintain import compact as compact
    from mmsearch.pipeline.maintain import forget as forget
    from mmsearch.pipeline.maintain import relocate as relocate
    from mmsearch.pipeline.query import OpenGallery as OpenGallery
    from mmsearch.pipeline.query import SearchOptions as SearchOptions
    from mmsearch.pipeline.query import open_gallery as open_gallery
    from mmsearch.pipeline.questions import Like as Like
    from mmsearch.pipeline.questions import Picture as Picture
    from mmsearch.pipeline.questions import Query as Query
    from mmsearch.pipeline.questions import Text as Text
    from mmsearch.pipeline.render import contact_sheet as contact_sheet
    from mmsearch.pipeline.render import html_page as html_page
    from mmsearch.serve.running import ServeOptions as ServeOptions
    from mmsearch.serve.running import gallery_app as gallery_app
    from mmsearch.serve.running import serve_gallery as serve_gallery

_HOMES = {
    "embed": "pipeline.embed",
    "EmbedOptions": "pipeline.embed",
    "EmbedReport": "pipeline.embed",
    "Selection": "pipeline.embed",
    "preview": "pipeline.embed",
    "import_vectors": "pipeline.imports",
    "index": "pipeline.index",
    "IndexOptions": "pipeline.index",
    "IndexReport": "pipeline.index",
    "open_gallery": "pipeline.query",
    "OpenGallery": "pipeline.query",
    "SearchOptions": "pipeline.query",
    "Query": "pipeline.questions",
    "Text": "pipeline.questions",
    "Picture": "pipeline.questions",
    "Like": "pipeline.questions",
    "Answer": "pipeline.answers",
    "Hit": "pipeline.answers",
    "contact_sheet": "pipeline.render",
    "html_page": "pipeline.render",
    "collect": "pipeline.collect",
    "evaluate": "pipeline.evaluate",
    "evaluate_galleries": "pipeline.evaluate",
    "evaluate_vectors": "pipeline.evaluate",
    "evaluate_zeroshot": "pipeline.evaluate",
    "EvaluateOptions": "pipeline.evaluate",
    "EvaluationReport": "pipeline.evaluate",
    "info": "pipeline.info",
    "GalleryInfo": "pipeline.info",
    "export": "pipeline.export",
    "forget": "pipeline.maintain",
    "relocate": "pipeline.maintain",
    "compact": "pipeline.maintain",
    "serve_gallery": "serve.running",
    "gallery_app": "serve.running",
    "ServeOptions": "serve.running",
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
