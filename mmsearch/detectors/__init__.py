"""Models that look for things in a picture by their names, and draw boxes around them: `--find`.

    opening                 the door: a spec -> a detector
    records                 what is found
    transformers_detectors  OWL-ViT, OWLv2, Grounding DINO of the package transformers

Importing this package loads neither torch nor transformers; opening a detector does.
"""

from mmsearch.detectors.opening import Detector, open_detector
from mmsearch.detectors.records import Found, FoundBox, found_record

__all__ = ["Detector", "Found", "FoundBox", "found_record", "open_detector"]
