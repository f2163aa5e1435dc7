"""JSON that every reader takes. Python's own writes NaN and Infinity, which are none of JSON's words."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["json_text", "without_empty"]


def json_text(document: Any, *, indent: int | None = None, default: Callable[[Any], Any] | None = None) -> str:
    """A document as JSON (RFC 8259). A number that is none becomes null: it was not measured. Text stays text, in any
    script. default: as for `json.dumps`.

    >>> json_text({"mean": float("nan"), "ranks": [1, float("inf")]})
    '{"mean": null, "ranks": [1, null]}'
    """
    return json.dumps(_finite(document), ensure_ascii=False, allow_nan=False, indent=indent, default=default)


def without_empty(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Fields of a record, without the one of this name where nothing stands in it.

    >>> without_empty({"images": 0, "others": {}}, "others")
    {'images': 0}
    """
    return {key: value for key, value in fields.items() if value or key != name}


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return value
