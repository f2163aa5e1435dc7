"""What classes of one's own are called, by their folders or in a file, and the templates that ask for them."""

from collections import Counter
from pathlib import Path

from mmsearch.errors import BenchmarkError
from mmsearch.stores import read_lines

__all__ = ["DEFAULT_TEMPLATES", "name_classes", "names_in_order", "templates_in"]

DEFAULT_TEMPLATES = ("a photo of a {}.",)


def name_classes(counts: dict[str, int], file: Path | None) -> dict[str, str]:
    """Label -> name of each class. counts: the pictures of each label. Names may repeat. A folder without pictures is a
    class where the file names it. Raises BenchmarkError."""
    filled = [label for label, count in counts.items() if count]
    if file is None:
        return {label: label.replace("_", " ").replace("-", " ") for label in filled}
    lines = _read_lines(file, "classes")
    if lines and all("\t" in line for line in lines):
        pairs = [(label.strip(), name.strip()) for label, _, name in (line.partition("\t") for line in lines)]
        if repeated := [label for label, times in Counter(label for label, _ in pairs).items() if times > 1]:
            raise BenchmarkError(f"classes: {file} names the folder {repeated[0]} twice")
        names_given = dict(pairs)
        if absent := [label for label in filled if label not in names_given]:
            raise BenchmarkError(f"classes: {file} has no name for the folder {absent[0]}")
        return {label: names_given[label] for label in counts if label in names_given}
    for labels in (filled, list(counts)):
        if len(lines) == len(labels):
            return dict(zip(labels, lines, strict=True))
    raise BenchmarkError(
        f"classes: {file} has {len(lines):,} names for {len(filled):,} folders; give a name a line in the order "
        "of the sorted folders, or FOLDER<TAB>NAME"
    )


def names_in_order(file: Path, count: int) -> list[str]:
    """The names in a file, one a line, of so many classes. Raises BenchmarkError."""
    lines = _read_lines(file, "classes")
    if len(lines) != count:
        raise BenchmarkError(f"classes: {file} has {len(lines):,} names for the {count:,} classes of the data set")
    return lines


def templates_in(file: Path) -> tuple[str, ...]:
    """The templates in a file, one a line. Raises BenchmarkError."""
    lines = tuple(_read_lines(file, "templates"))
    if not lines:
        raise BenchmarkError(f"templates: {file} is empty; write one a line, with {{}} for the name")
    return lines


def _read_lines(file: Path, noun: str) -> list[str]:
    try:
        return [line.strip() for line in read_lines(file) if line.strip()]
    except OSError as error:
        raise BenchmarkError(f"{noun}: {file} cannot be read: {error.strerror or error}") from None
