"""Search pictures with words and words with pictures, and know how good the answers are.

    import mmsearch

    mmsearch.embed(["photos/"])
    mmsearch.index()
    gallery = mmsearch.open_gallery()
    for hit in gallery.query("sunset over mountains", k=10):
        print(hit.rank, hit.score, hit.file)
    mmsearch.evaluate("flickr8k", images="Images/", annotations="captions.txt")

The same verbs as on the command line. Nothing heavy is loaded at import: each name brings its module on first use.
What there is stands in `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
