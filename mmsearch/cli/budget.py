"""`mmsearch eval budget`: where recall is lost, for people."""

from typing import TYPE_CHECKING

from mmsearch.cli.options import say

if TYPE_CHECKING:
    from mmsearch.evaluation import BudgetReport
    from mmsearch.reports.markdown import Table

__all__ = ["print_budget", "print_columns"]


def print_budget(report: "BudgetReport") -> None:
    """The verdict, then the tables it rests on."""
    from mmsearch.reports import budget_tables

    print(report.title)
    print(f"annotations read as {report.source}; {report.encoder.spec} on {report.device}, {report.precision}")
    print(f"\n{report.verdict}")
    for heading, table in budget_tables(report).items():
        print(f"\n{heading}")
        print_columns(table)
    print(f"\n{report.protocol}")
    for problem in report.problems:
        say(f"note: {problem}")


def print_columns(table: "Table") -> None:
    """Columns as wide as their widest cell, figures below each other."""
    header, rows = table
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        print("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
