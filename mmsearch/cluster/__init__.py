"""Workers that are somewhere else, and how work is dealt out to them.

    dispatch   pieces of work to workers that may end at any moment
    ray        workers as actors of a Ray cluster

Nothing here knows what the work is.
"""

from mmsearch.cluster.dispatch import Crew, Dispatch, Done, Happened, Lost, Share

__all__ = ["Crew", "Dispatch", "Done", "Happened", "Lost", "Share"]
