"""Probes: what a model cannot do. Small choices between texts, or pictures, that a model of words alone would fail.

catalogue   the probes, one record each
layouts     how their files look
entries     annotation files as entries that know their lines
loading     files to examples
parquet_pictures  Parquet files that hold pictures
pictures    pictures cut out, written over, and encoded
comparing   what has to score higher than what, and chance
scoring     from vectors to figures with intervals
altering    captions made wrong in one respect
gallery_probe  a probe of a gallery's own pictures and captions
probe_run   all of it, for several encoders
records     options and report
"""

from mmsearch.evaluation.probes.catalogue import PROBES, Probe
from mmsearch.evaluation.probes.comparing import Comparison, Figure, chance
from mmsearch.evaluation.probes.gallery_probe import GalleryProbeOptions, evaluate_gallery_probe
from mmsearch.evaluation.probes.pictures import open_picture
from mmsearch.evaluation.probes.probe_run import evaluate_probe
from mmsearch.evaluation.probes.records import (
    FigureResult,
    ProbeFailure,
    ProbeOptions,
    ProbePicture,
    ProbeReport,
    ProbeSystem,
)
from mmsearch.evaluation.probes.scoring import ALL

__all__ = [
    "ALL",
    "PROBES",
    "Comparison",
    "Figure",
    "FigureResult",
    "GalleryProbeOptions",
    "Probe",
    "ProbeFailure",
    "ProbeOptions",
    "ProbePicture",
    "ProbeReport",
    "ProbeSystem",
    "chance",
    "evaluate_gallery_probe",
    "evaluate_probe",
    "open_picture",
]
