"""What an evaluation leaves behind: JSON, Markdown, a page, plots, tables, queries, TREC's runs and qrels.

report_files   a file, or a folder with everything
index_curve    recall of an index against time (matplotlib)
alpha_curve    what was learnt and what was kept by weights between before and after (matplotlib)
plots          recall against k, rank histograms, score distributions, the gap in two dimensions (matplotlib)
markdown       figures as Markdown
report_page    one HTML file with everything, plots and pictures within
page_parts     what all pages of reports share
budget_report  where recall is lost: JSON, Markdown, a page
waterfall      the same as plots
tabled_report  tables with words around them and pictures below: JSON, Markdown, a page, CSV
probe_report   what a probe says of models, as such a report
bias_report    whether answers are skewed, likewise
shift_report   how far a gallery lies from a reference, likewise
figure_table_report  tables with a row a language, a fold and the like, as such a report and in LaTeX
spreadsheets   figures as CSV and as a LaTeX table
study_files    everything of a study, into its folder
study_tables   the tables of a study: text, Markdown, CSV, LaTeX
study_plots    its bars, and recall against what models cost
study_page     one HTML file with all of it
query_rows     every query with its hits, as JSON lines or Parquet, systems one below the other or side by side
query_sides    the two directions of a report, with the names of who asks and of what is returned
disagreements  a page of what one of two systems answers and the other does not
pictures       thumbnails within pages
size_tables    R@k against the size of the gallery
size_curves    the same as plots and CSV
zeroshot_report  classification, in all of these forms
zeroshot_plots   the same as plots
linear_report    classification beside what learns from pictures, in all forms but those of queries
"""

from mmsearch.reports.alpha_curve import draw_alpha_curve
from mmsearch.reports.bias_report import bias_report
from mmsearch.reports.budget_report import BUDGET_KINDS, budget_markdown, budget_page, budget_tables, write_budget
from mmsearch.reports.disagreements import disagreements
from mmsearch.reports.figure_table_report import FIGURE_KINDS, figure_cells, figure_report, write_figures
from mmsearch.reports.index_curve import draw_curve
from mmsearch.reports.linear_report import LINEAR_KINDS, draw_linear, linear_markdown, linear_page, write_linear
from mmsearch.reports.markdown import markdown
from mmsearch.reports.plots import plots
from mmsearch.reports.probe_report import probe_report, probe_tables, write_probe
from mmsearch.reports.query_rows import query_rows, side_by_side_rows
from mmsearch.reports.report_files import require_target, write_report
from mmsearch.reports.report_page import page
from mmsearch.reports.shift_report import shift_report
from mmsearch.reports.spreadsheets import figures_csv, figures_latex
from mmsearch.reports.study_files import write_study
from mmsearch.reports.study_tables import study_text
from mmsearch.reports.tabled_report import TABLED_KINDS, TabledReport, write_tabled
from mmsearch.reports.waterfall import waterfalls
from mmsearch.reports.zeroshot_plots import zeroshot_plots
from mmsearch.reports.zeroshot_report import (
    ZEROSHOT_KINDS,
    prediction_rows,
    write_zeroshot,
    zeroshot_markdown,
    zeroshot_page,
)

__all__ = [
    "BUDGET_KINDS",
    "LINEAR_KINDS",
    "ZEROSHOT_KINDS",
    "TABLED_KINDS",
    "TabledReport",
    "FIGURE_KINDS",
    "bias_report",
    "budget_markdown",
    "budget_page",
    "budget_tables",
    "disagreements",
    "draw_alpha_curve",
    "draw_curve",
    "draw_linear",
    "figure_cells",
    "figure_report",
    "figures_csv",
    "figures_latex",
    "linear_markdown",
    "linear_page",
    "markdown",
    "page",
    "plots",
    "prediction_rows",
    "probe_report",
    "probe_tables",
    "query_rows",
    "require_target",
    "shift_report",
    "side_by_side_rows",
    "study_text",
    "waterfalls",
    "write_budget",
    "write_probe",
    "write_tabled",
    "write_linear",
    "write_report",
    "write_zeroshot",
    "zeroshot_markdown",
    "zeroshot_page",
    "zeroshot_plots",
    "write_figures",
    "write_study",
]
