"""What a run has to do: a gallery's rows held against the folders that it mirrors.

roots   named folders, files, archives and lists -> roots
known   the rows that stand for files below a root
plan    what was found there -> tasks
guard   how much may be deleted without being told
"""

from mmsearch.sync.guard import check_prune, count_lost, suspicious
from mmsearch.sync.plan import Plan, RootState, Task, plan_root
from mmsearch.sync.roots import RootPlan, choose_roots, require_apart

__all__ = [
    "Plan",
    "RootPlan",
    "RootState",
    "Task",
    "check_prune",
    "choose_roots",
    "count_lost",
    "plan_root",
    "require_apart",
    "suspicious",
]
