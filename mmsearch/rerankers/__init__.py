"""Models that look at a picture and a text together, and say how well they fit. Slow, and better at composition than
the encoders that find candidates.

    opening          the door: a spec -> a re-ranker
    reranker         what one takes and gives; what is kept of pictures that were seen
    providers        who makes re-rankers: those below, and plugins
    pairs            how a model of transformers is read from its folder; pictures and texts as the authors prepare them
    blip             BLIP with its matching head
    blip2            BLIP-2 likewise
    vilt             ViLT
    cross_encoder    picture-capable cross-encoders of sentence-transformers
    demo_reranker    the one that comes with mmsearch, for postcards
    demo_network     its network

Importing this package loads none of torch, transformers and sentence-transformers; opening a re-ranker does.
"""

from mmsearch.rerankers.opening import open_reranker
from mmsearch.rerankers.reranker import LookedAt, Reranker, RerankerRequest

__all__ = ["LookedAt", "Reranker", "RerankerRequest", "open_reranker"]
