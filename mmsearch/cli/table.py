"""The table of an answer on a terminal: what is known of each hit as far as there is room, and its picture."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.locations import url_of
from mmsearch.names import printable
from mmsearch.search.hits import where_in_file

if TYPE_CHECKING:
    from PIL import Image
    from rich.table import Table
    from rich.text import Text

    from mmsearch.render.terminal import Box, Protocol, Rows
    from mmsearch.search.answers import Answer
    from mmsearch.search.hits import Hit

__all__ = ["from_here", "print_table", "protocol_of", "shortened"]

_ROOM = 40
"""Columns that a path has at least where a date or a size stands beside it."""
_BETWEEN = 2
"""Columns between two of the table's own."""
_LEAST = 12
"""Columns that a shortened path has at least; in less it is folded."""
_PICTURE, _HALVES = (14, 5), (24, 8)
"""Columns and lines of a picture, real or of half blocks."""
_MOST = 40
"""Pictures in a table; hits further down have none."""
_SECONDS = 1.5
"""All pictures of a table together may take so long; one that is not ready by then is left out."""
_MARK = "\ue000"
"""Where a picture begins, until it is put there: a character for private use, which no name is shown with."""

_KITTY = ("xterm-kitty", "xterm-ghostty")
_ITERM2 = ("iTerm.app", "WezTerm", "mintty")
_SIXEL = ("foot", "mlterm", "contour")  # by the beginning of TERM
_WITHIN = ("screen", "tmux")  # multiplexers, by the beginning of TERM


def from_here(file: str) -> str:
    """The shortest path that opens a file from here; a URL as it is."""
    if url_of(file) is not None:
        return file
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def protocol_of(environment: Mapping[str, str]) -> "Protocol | None":
    """How the terminal of an environment shows pictures; None where it does not, or does not say so.

    It is not asked: that would cost the time of its answer, and what was typed ahead. Within tmux and screen it is
    none: variables of the terminal outside reach into them; its pictures do not, or stay where the text has moved on.
    """
    term = environment.get("TERM", "")
    if "TMUX" in environment or "STY" in environment or term.startswith(_WITHIN):
        return None
    if term in _KITTY:
        return "kitty"
    if term.startswith(_SIXEL):
        return "sixel"
    # The first is set by the terminal itself; the second comes along over ssh.
    program = environment.get("TERM_PROGRAM") or environment.get("LC_TERMINAL", "").replace("iTerm2", "iTerm.app")
    return "iterm2" if program in _ITERM2 else None


def print_table(answer: "Answer", *, preview: bool | None = None) -> None:
    """Print an answer on a terminal.

    preview: whether the pictures of the hits stand beside them; None for where the terminal shows real ones.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if (words := answer.worth.in_words()) is not None:
        console.print(Text(words, style="dim" if answer.worth.probability is None else "yellow"))
    if not answer.hits:
        return
    protocol = protocol_of(os.environ)
    columns = (_PICTURE if protocol else _HALVES)[0]
    wanted = protocol is not None if preview is None else preview
    if not wanted or console.width < columns + _ROOM:
        console.print(_table(answer, console.width))
    elif protocol is not None:
        _print_with_pictures(answer, protocol)
    else:
        from mmsearch.render.terminal import Box  # late: it loads what reads pictures

        shown = [_in_halves(image) for image in _thumbnails(answer, Box(*_HALVES))]
        console.print(_table(answer, console.width - columns - _BETWEEN, shown))
    if copies := _copies(answer.hits):
        of_these = "one of these is a copy" if copies == 1 else f"{copies} of these are copies"
        console.print(Text(f"{of_these} of another: --distinct leaves copies out", style="dim"))


def _copies(hits: "Sequence[Hit]") -> int:
    """How many hits have the content of a better one: copies, and links."""
    contents = [content for hit in hits if (content := getattr(hit.row, "content_hash", None)) is not None]
    return len(contents) - len({*contents})


def _thumbnails(answer: "Answer", box: "Box") -> "list[Image.Image | None]":
    """The picture of each hit, where there is one and it was ready in time."""
    from mmsearch.render.terminal import thumbnails

    files = [None if hit.gone or not hit.kind.has_picture else hit.file for hit in answer.hits[:_MOST]]
    found = thumbnails(files, box.pixels, seconds=_SECONDS)
    return [*found, *[None] * (len(answer.hits) - len(found))]


def _in_halves(image: "Image.Image | None") -> "Text":
    """A picture as text."""
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    from mmsearch.render.terminal import Box, half_blocks

    rows: Rows = [] if image is None else half_blocks(image, Box(*_HALVES))
    lines = [
        Text("").join(
            Text("▀", Style(color=Color.from_rgb(*upper), bgcolor=None if lower is None else Color.from_rgb(*lower)))
            for upper, lower in cells
        )
        for cells in rows
    ]
    return Text("\n").join(lines)


def _print_with_pictures(answer: "Answer", protocol: "Protocol") -> None:
    """Print the table with room where pictures belong, and each of them as its first line is reached."""
    from rich.console import Console
    from rich.text import Text

    from mmsearch.render.terminal import Box, cell_pixels, drawn

    columns, rows = _PICTURE
    box = Box(columns, rows, cell_pixels(sys.stdout.fileno()))
    images = _thumbnails(answer, box)
    console = Console()
    places = [Text("" if image is None else _MARK + "\n" * (rows - 1)) for image in images]
    table = _table(answer, console.width - columns - _BETWEEN, places, columns)
    with console.capture() as captured:
        console.print(table)
    waiting = (drawn(image, protocol, box) for image in images if image is not None)
    for line in captured.get().splitlines(keepends=True):
        # Blanks would cover a picture in some terminals: the cursor moves on over it instead.
        begins = line.startswith(_MARK)
        sys.stdout.write((next(waiting) if begins else "") + f"\x1b[{columns}C" + line[columns:])
    sys.stdout.flush()


def _table(
    answer: "Answer", width: int, pictures: "Sequence[Text] | None" = None, columns: int = _HALVES[0]
) -> "Table":
    """The table, with pictures before what is no more than `width` columns wide."""
    from rich.table import Table
    from rich.text import Text

    in_words = any(hit.text is not None for hit in answer.hits)
    table = Table(box=None, pad_edge=False, leading=0 if pictures is None else 1)
    if pictures is not None:
        table.add_column("", width=columns, no_wrap=True)
    scores: dict[str, _Show] = {"score": lambda hit: f"{hit.score:.4f}"} | _more_scores(answer.hits)
    room = width - sum(max(len(name), len("0.0000")) + _BETWEEN for name in ("rank", *scores))
    while scores and room < _LEAST:  # what was found comes before how well it fits
        name, _ = scores.popitem()
        room += max(len(name), len("0.0000")) + _BETWEEN
    table.add_column("rank", justify="right", no_wrap=True)
    facts, room = _facts(answer.hits, room if not in_words else 0)
    for name in (*scores, *facts):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(answer.query.noun, overflow="fold")
    if in_words:
        table.add_column("of", overflow="fold", style="dim")
    for index, hit in enumerate(answer.hits):
        gone = "  gone" if hit.gone else ""
        if hit.text is None:
            # A terminal that knows links opens the picture on a click.
            path = printable(from_here(hit.whole_file or hit.whole_path or ""))
            place = f" {words}" if (words := where_in_file(hit)) else ""
            shown = shortened(path, room - len(gone) - len(place))
            cells = [Text(f"{shown}{place}", style=_link(hit)), *([Text("")] if in_words else [])]
        else:
            cells = [Text(printable(hit.text), style=_link(hit)), Text(printable(hit.path or ""))]
        if gone:
            cells[0 if hit.text is None else 1].append(gone, style="bold red")
        known = [show(hit) for show in (*scores.values(), *facts.values())]
        before = [] if pictures is None else [pictures[index]]
        table.add_row(*before, str(hit.rank), *known, *cells)
    return table


_Show = Callable[["Hit"], str]


def _more_scores(hits: "Sequence[Hit]") -> dict[str, _Show]:
    """What is known beyond the scores of the hits of an answer: name -> how it is shown."""
    columns: dict[str, _Show] = {}
    if any(hit.corrected is not None for hit in hits):
        columns["corrected"] = lambda hit: "" if hit.corrected is None else f"{hit.corrected:.4f}"
    if any(hit.rerank is not None for hit in hits):
        columns["rerank"] = lambda hit: "" if hit.rerank is None else f"{hit.rerank:.3f}"
    if any(hit.probability is not None for hit in hits):
        columns["probability"] = lambda hit: "" if hit.probability is None else f"{100 * hit.probability:.0f} %"
    if any(hit.z is not None for hit in hits):
        columns["z"] = lambda hit: "" if hit.z is None else f"{hit.z:.2f}"
    return columns


def _facts(hits: "Sequence[Hit]", room: int) -> tuple[dict[str, _Show], int]:
    """When pictures were taken and how large they are, as far as that is known and there is room; and the room that is
    left."""

    def taken(hit: "Hit") -> str:
        moment = getattr(hit.row, "taken_at", None)
        return moment.strftime("%Y-%m-%d") if moment else ""

    def size(hit: "Hit") -> str:
        width, height = getattr(hit.row, "width", None), getattr(hit.row, "height", None)
        return f"{width} × {height}" if width and height else ""

    facts: dict[str, _Show] = {}
    for name, show in {"taken": taken, "size": size}.items():
        widest = max(len(show(hit)) for hit in hits)
        taken_up = max(widest, len(name)) + _BETWEEN
        if widest and room - taken_up >= _ROOM:
            facts[name] = show
            room -= taken_up
    return facts, room


def shortened(path: str, columns: int) -> str:
    """A path that takes no more than so many columns: the folders next to the file stay, which tell most of it; of a
    name that is too long itself the middle is left out.

    >>> shortened("/home/anna/Pictures/2024/Lisbon/IMG_0042.jpg", 30)
    '…/2024/Lisbon/IMG_0042.jpg'
    """
    from rich.cells import cell_len, set_cell_size

    if columns < _LEAST or cell_len(path) <= columns:
        return path
    folder, slash, kept = path.rpartition("/")
    if slash and cell_len(f"…/{kept}") <= columns:
        for name in reversed(folder.split("/")):
            if cell_len(f"…/{name}/{kept}") > columns:
                break
            kept = f"{name}/{kept}"
        return f"…/{kept}"
    ending = columns // 2
    while cell_len(path[-ending:]) > columns // 2:
        ending -= 1
    return f"{set_cell_size(path, columns - cell_len(path[-ending:]) - 1).rstrip()}…{path[-ending:]}"


def _link(hit: "Hit") -> str:
    file = hit.whole_file
    openable = file is not None and not hit.gone and url_of(file) is None
    return f"link {Path(str(file)).as_uri()}" if openable else ""
