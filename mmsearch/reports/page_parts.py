"""What all pages of reports share: their look, tables, and the frame of a page that needs no network."""

import html
from collections.abc import Iterable

from mmsearch.names import shown
from mmsearch.reports.markdown import Table

__all__ = ["document", "escape", "table_html"]

_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #202124; background: #faf9f6; margin: 2rem auto; max-width: 76rem;
  padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem } .faint { color: #5f6368 }
p { overflow-wrap: anywhere } .scroll { overflow-x: auto; margin: .8rem 0 }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; text-align: left; border-bottom: 1px solid #e1e0dc } th { font-weight: 600 }
td:first-child { min-width: 10rem; overflow-wrap: anywhere }
small { white-space: nowrap }
.plots { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 1rem; margin: .8rem 0 }
details { margin: .8rem 0 } summary { cursor: pointer }
.plots svg { max-width: 100%; height: auto; background: #fff }
.failure { background: #fff; border: 1px solid #e1e0dc; border-radius: 8px; padding: .8rem; margin: .8rem 0 }
.row { display: flex; flex-wrap: wrap; gap: .7rem } figure { margin: 0; width: 168px }
figure img, figure .none { width: 168px; height: 168px; object-fit: contain; background: #eeede9; border-radius: 4px }
figure.right img, figure.right .none { outline: 3px solid #2e7d32 } .none { display: flex; align-items: center;
  justify-content: center; text-align: center; color: #5f6368; font-size: .8rem }
figcaption { font-size: .8rem; overflow-wrap: anywhere } ol { margin: .2rem 0 }
.warn { color: #a03020; font-weight: 600 }
@media (prefers-color-scheme: dark) {
  body { color: #e4e3df; background: #1d1e20 } .faint { color: #a3a7ac } th, td { border-color: #3a3c40 }
  .failure { background: #26282b; border-color: #3a3c40 } figure img, figure .none { background: #313337 }
  .warn { color: #ff9c86 } .none { color: #a3a7ac } .plots svg { border-radius: 6px }
}
"""


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page of some pieces of HTML."""
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_CSS}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def table_html(table: Table) -> str:
    """A table that scrolls where it is wide."""
    header, rows = table
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{_cell_html(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><tr>{head}</tr>{body}</table></div>"


def _cell_html(words: str) -> str:
    """A figure's interval goes below it."""
    value, bracket, interval = words.partition(" [")
    below_value = "<br>".join(map(escape, interval.removesuffix("]").split("; ")))
    return f"{escape(value)}<br><small class=faint>{below_value}</small>" if bracket else escape(words)


def escape(words: str) -> str:
    """Text as HTML shows it, without what a terminal or a browser would act on."""
    return html.escape(shown(words))
