"""Joins what several machines measured of one study."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmsearch.errors import BenchmarkError, StoreError
from mmsearch.evaluation.studies.cell_files import cell_file, read_cells
from mmsearch.evaluation.studies.records import CellResult, StudyReport
from mmsearch.evaluation.studies.tabulating import tabulate

__all__ = ["merge_studies"]


def merge_studies(folders: Sequence[Path], out: Path, *, ks: Sequence[int] = (1, 5, 10)) -> StudyReport:
    """Copy the cells of some studies' folders into `out`, and tabulate them all, in the order of the folders.

    A cell that several machines measured counts once, the first; it has to have the same ranks in each. Raises
    BenchmarkError for a folder without cells, for cells that contradict each other, and for a smoke run among others;
    StoreError.
    """
    cells: dict[tuple[str, str, str], tuple[CellResult, Path]] = {}
    for folder in folders:
        held = read_cells(folder)
        if not held:
            raise BenchmarkError(f"{folder} holds nothing that mmsearch eval run has measured (no cells/*.json)")
        for cell in held:
            name = cell.model, cell.variant, cell.benchmark
            if name not in cells:
                cells[name] = cell, folder
            else:
                _require_same(cell, folder, *cells[name])
    chosen = [cell for cell, _ in cells.values()]
    _require_one_size(chosen, [folder for _, folder in cells.values()])
    for cell, folder in cells.values():
        _copy(cell_file(folder, cell.key), cell_file(out, cell.key))
    report = tabulate(out.name, _in_order(chosen), ks, chosen[0].limit)
    return replace(report, skipped=len(chosen))


def _require_same(cell: CellResult, folder: Path, other: CellResult, other_folder: Path) -> None:
    named = f"{cell.model} ({cell.variant}) on {cell.benchmark}"
    differing = [
        words
        for words, differs in (
            ("another encoder", cell.encoder.fingerprint != other.encoder.fingerprint),
            ("other queries", cell.benchmark_hash != other.benchmark_hash),
            ("another number of images", cell.limit != other.limit),
        )
        if differs
    ]
    if not differing and any(not np.array_equal(cell.ranks[side], other.ranks[side]) for side in cell.ranks):
        differing = ["other ranks, though of the same encoder and queries (another device or precision?)"]
    if differing:
        raise BenchmarkError(
            f"{named} was measured twice, in {other_folder} and in {folder}, with {' and '.join(differing)}: name one "
            "of them otherwise, or leave one of the folders out"
        )


def _require_one_size(cells: Sequence[CellResult], folders: Sequence[Path]) -> None:
    for cell, folder in zip(cells, folders, strict=True):
        if cell.limit != cells[0].limit:
            sizes = [
                "all images" if limit is None else f"the first {limit:,} images"
                for limit in (cells[0].limit, cell.limit)
            ]
            raise BenchmarkError(
                f"{folders[0]} measured {sizes[0]} of each benchmark and {folder} {sizes[1]}: a smoke run does not "
                "stand beside others"
            )


def _in_order(cells: Sequence[CellResult]) -> list[CellResult]:
    """Models, options and benchmarks as they first come."""
    ranks = [
        {name: number for number, name in enumerate(dict.fromkeys(names))}
        for names in (
            [cell.model for cell in cells],
            [cell.variant for cell in cells],
            [cell.benchmark for cell in cells],
        )
    ]
    return sorted(cells, key=lambda c: (ranks[0][c.model], ranks[1][c.variant], ranks[2][c.benchmark]))


def _copy(source: Path, target: Path) -> None:
    if source.resolve() == target.resolve():
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror or error}") from error
