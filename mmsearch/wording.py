"""What is wrong with a request, in sentences of our own: the field, what it was, and what is possible."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["problem"]

_SHOWN = 60  # characters of a value that a sentence repeats
_Context = Mapping[str, Any]

_KINDS = {
    "string": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "model": "an object",
    "model_attributes": "an object",
    "dict": "an object",
}
_LIMITS: dict[str, Callable[[_Context], str]] = {
    "greater_than_equal": lambda limit: f"it is at least {_number(limit['ge'])}",
    "greater_than": lambda limit: f"it is more than {_number(limit['gt'])}",
    "less_than_equal": lambda limit: f"it is at most {_number(limit['le'])}",
    "less_than": lambda limit: f"it is less than {_number(limit['lt'])}",
    "string_too_short": lambda limit: f"it has at least {_count(limit['min_length'], 'character')}",
    "string_too_long": lambda limit: f"it has at most {_count(limit['max_length'], 'character')}",
    "too_short": lambda limit: f"it has at least {_count(limit['min_length'], 'entry', 'entries')}",
    "too_long": lambda limit: f"it has at most {_count(limit['max_length'], 'entry', 'entries')}",
    "string_pattern_mismatch": lambda limit: f"it is written as {limit['pattern']}",
    "literal_error": lambda limit: f"it is {limit['expected']}",
    "enum": lambda limit: f"it is {limit['expected']}",
    "finite_number": lambda _: "it is a finite number",
    "string_unicode": lambda _: "it is text in valid Unicode",
}


def problem(error: Mapping[str, Any], *, listed: str) -> str:
    """One entry of pydantic's `errors()` as a sentence. Its place begins with what holds the fields, as "body".

    listed: where it is said what is possible.

    >>> too_large = {"type": "less_than_equal", "loc": ("body", "k"), "input": 20000, "ctx": {"le": 10000}}
    >>> problem(too_large, listed="the guide")
    'k is 20000; it is at most 10,000'
    >>> problem({"type": "missing", "loc": ("body", "parts"), "input": {}}, listed="the guide")
    'parts is missing'
    """
    kind, context, where = error["type"], error.get("ctx") or {}, _field(error["loc"])
    if kind == "json_invalid":
        return "the body is no valid JSON"
    if where == "the body" and isinstance(error.get("input"), str | bytes):
        return "the body is not taken as JSON: send it with the header Content-Type: application/json"
    if kind == "missing":
        return f"{where} is missing"
    if kind == "extra_forbidden":
        return f"{where} is not known here; {listed} lists what is"
    if kind == "value_error":  # of our own validators
        return f"{where}: {context.get('error')}"
    if (limit := _LIMITS.get(kind)) is not None:
        return f"{where} is {_shown(error.get('input'))}; {limit(context)}"
    wanted = _KINDS.get(kind.rsplit("_", 1)[0])
    possible = f"it is {wanted}" if wanted else f"{listed} says what is possible"
    return f"{where} is {_shown(error.get('input'))}; {possible}"


def _field(location: Sequence[str | int]) -> str:
    """The name of a field as a program would write it: queries[0].k."""
    name = ""
    for step in location[1:]:
        if isinstance(step, int):
            name += f"[{step}]"
        elif step.isidentifier() and step not in _KINDS:  # of a union the names of its kinds stand there too
            name += f".{step}"
    return name.lstrip(".") or "the body"


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"a list of {len(value):,}"
    if isinstance(value, dict):
        return "an object"
    if value is None:
        return "null"
    text = str(value)
    if len(text) > _SHOWN:
        return f"{len(text):,} characters long"
    return repr(value) if isinstance(value, str) else text


def _number(value: float) -> str:
    return f"{value:,}"


def _count(number: int, one: str, several: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"
