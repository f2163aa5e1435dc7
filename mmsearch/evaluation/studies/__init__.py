"""Studies: many models on many benchmarks, in one table.

records     a study, what was measured of it, and its report
study_file  a study from TOML
planning    which cells (a model on a benchmark under some options) there are, and which are done
running     measures what is not done; each cell is kept as soon as it is measured
cell_files  cells on the disk
tabulating  cells to figures with intervals, and all pairs compared
merging     joins what several machines measured
"""

from mmsearch.evaluation.studies.merging import merge_studies
from mmsearch.evaluation.studies.planning import plan_study
from mmsearch.evaluation.studies.records import (
    MEAN_RECALL,
    BenchmarkTable,
    CellResult,
    PlannedCell,
    Study,
    StudyBenchmark,
    StudyFailure,
    StudyModel,
    StudyPair,
    StudyPlan,
    StudyReport,
    StudySystem,
    StudyVariant,
)
from mmsearch.evaluation.studies.running import run_study
from mmsearch.evaluation.studies.study_file import describe_study, read_study

__all__ = [
    "BenchmarkTable",
    "CellResult",
    "MEAN_RECALL",
    "PlannedCell",
    "Study",
    "StudyBenchmark",
    "StudyFailure",
    "StudyModel",
    "StudyPair",
    "StudyPlan",
    "StudyReport",
    "StudySystem",
    "StudyVariant",
    "describe_study",
    "merge_studies",
    "plan_study",
    "read_study",
    "run_study",
]
