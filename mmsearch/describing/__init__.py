"""Models that say in words what a picture shows, and answer questions about it. What they say is a guess.

    opening            the door: a spec -> a describer
    describer          what one takes and gives
    providers          who makes describers: transformers, the demo model, and plugins
    generating         models of transformers that see and write
    demo_describer     the one that comes with mmsearch, for postcards
    ways_of_asking     how the kinds of models are asked: what goes in beside the picture
    describe           pictures -> what a describer says of each

Importing this package loads neither torch nor transformers; opening a describer does.
"""

from mmsearch.describing.describe import Description, describe, picture_named, require_pictures
from mmsearch.describing.describer import MOST_CHARACTERS, Describer, DescriberRequest, Said, said
from mmsearch.describing.opening import open_describer

__all__ = [
    "MOST_CHARACTERS",
    "Describer",
    "DescriberRequest",
    "Description",
    "Said",
    "describe",
    "open_describer",
    "picture_named",
    "require_pictures",
    "said",
]
