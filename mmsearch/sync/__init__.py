"""Finds out what a run has to do: compares a gallery's rows with the folders that it mirrors.

roots         named folders, files, archives and lists -> roots
known_files   the rows of the files below a root
plan          the files found there -> tasks
prune_guard   how many rows may be deleted without --prune
"""

from mmsearch.sync.plan import IsSettled, Plan, RootState, Task, plan_root
from mmsearch.sync.prune_guard import check_prune, count_lost, find_leaving, needs_prune
from mmsearch.sync.roots import RootPlan, choose_roots, require_apart

__all__ = [
    "IsSettled",
    "Plan",
    "RootPlan",
    "RootState",
    "Task",
    "check_prune",
    "choose_roots",
    "find_leaving",
    "count_lost",
    "plan_root",
    "require_apart",
    "needs_prune",
]
