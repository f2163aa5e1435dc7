"""What was taken near a place: a filter like any other, by the columns `lat` and `lon`."""

from mmsearch.errors import QueryError
from mmsearch.items import BOTH, IMAGES, kind

__all__ = ["filter_near", "remark_on", "require_positions"]


def filter_near(where: str | None, near: str | None) -> str | None:
    """One filter for both: an SQL expression and a place, as "Lisbon 20km". Raises QueryError where it is no place."""
    if near is None:
        return where
    from mmsearch.places import parse_near  # late: most queries name no place

    taken_there = parse_near(near).sql()
    return taken_there if where is None else f"({where}\n) AND {taken_there}"  # the line break ends a comment


def remark_on(near: str) -> str | None:
    """What people should know of how a place was understood. Raises QueryError."""
    from mmsearch.places import parse_near

    return parse_near(near).remark


def require_positions(table: str) -> None:
    """Raise QueryError where items of a table are taken nowhere."""
    if table == BOTH or "lat" not in kind(table).columns:
        raise QueryError(f"only {IMAGES.name} are taken near a place; look among them: --in {IMAGES.name}")
