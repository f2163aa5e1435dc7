"""Which of the files that are there a run looks at."""

from collections.abc import Callable
from dataclasses import dataclass

from mmsearch.errors import SourceError
from mmsearch.images import AS_USUAL, CutOptions
from mmsearch.names import composed

__all__ = ["EVERYTHING", "Selection"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files a run looks at; by default all that are not hidden.

    include, exclude: patterns as in a .gitignore file, held against the path relative to the root: `*.jpg` at any
    depth, `/2019` at the top, `raw/` a folder and all in it, `a/**/b`. A file has to match one of `include`, if there
    are any, and none of `exclude`. limit: at most so many new or changed files. hidden: those with a leading dot too.
    retry_skipped: try again what an earlier run could not embed. apart: every picture file is an item of its own, also
    where several are of one shot. cuts: how files that hold several pictures are cut.

    A run that looks at a part (include, exclude, limit) adds and updates; it never deletes.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    limit: int | None = None
    hidden: bool = False
    retry_skipped: bool = False
    apart: bool = False
    cuts: CutOptions = AS_USUAL

    @property
    def partial(self) -> bool:
        """Whether files may be there that this run does not look at."""
        return bool(self.include or self.exclude or self.limit is not None)

    def wants(self) -> Callable[[str], bool]:
        """Tells of a name (relative to its root) whether it is selected. Raises SourceError for what is no pattern."""
        if not self.include and not self.exclude:
            return lambda _: True
        included, excluded = _matcher(self.include), self.excludes()
        if not self.include:
            return lambda name: not excluded(name)
        return lambda name: included(name) and not excluded(name)

    def excludes(self) -> Callable[[str], bool]:
        """Tells of a name, that of a folder with a "/" at its end, whether it is excluded with all in it."""
        return _matcher(self.exclude) if self.exclude else lambda _: False


EVERYTHING = Selection()


def _matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    from pathspec import GitIgnoreSpec

    try:
        spec = GitIgnoreSpec.from_lines(map(composed, patterns))
    except ValueError as error:
        raise SourceError(f"{error}; patterns are those of .gitignore: '*.jpg', '/2019', 'raw/', 'a/**/b'") from error
    return lambda name: spec.match_file(composed(name))
