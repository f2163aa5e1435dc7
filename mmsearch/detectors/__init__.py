"""Models that look for things in a picture by their names, and draw boxes around them: `--find`.

    opening                 the door: a spec -> a detector
    records                 what is found
    transformers_detectors  OWL-ViT, OWLv2, Grounding DINO of the package transformers

Importing this package loads nothing; opening a detector loads torch and transformers.
"""
