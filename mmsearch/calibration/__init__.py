"""`calibrate`: what makes the scores of a gallery comparable, measured on its own captions and stored beside it.

pairs             which captions ask for which images
calibration_run   the bank, the choice of the correction, the mean of every row
corrected_effort  what corrected searches through an index need, and find
"""

from mmsearch.calibration.calibration_run import calibrate
from mmsearch.calibration.records import CalibrateOptions, CalibrationReport, TableCalibration

__all__ = ["CalibrateOptions", "CalibrationReport", "TableCalibration", "calibrate"]
