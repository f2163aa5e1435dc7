"""Search pictures with words and words with pictures, and know how good the answers are.

    import mmsearch

    mmsearch.embed(["photos/"])
    gallery = mmsearch.open_gallery()
    for hit in gallery.query("sunset over mountains", k=10): ...
    mmsearch.evaluate("flickr8k", images="Images/", annotations="captions.txt")

Nothing is loaded at import: each name below brings its module when it is first used.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
