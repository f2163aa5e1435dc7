"""Values that are on the command line as they are wanted, taken without Typer's conversion.

Typer (0.29) converts every value by pydantic, defaults too, and importing pydantic takes longer than importing numpy. A
text is a text already, digits are a number, one of some words is that word, and what has a reader of our own is read by
it. Whatever is not plainly right goes Typer's way, which converts it or says what is wrong.
"""

import re
from typing import Any, Literal, get_args, get_origin

from typer.core import TyperCommand, TyperGroup

__all__ = ["PlainCommand", "PlainGroup"]

_NOT_PLAIN: Any = object()
_WHOLE = re.compile(r"[0-9]{1,15}")
_DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")


class PlainCommand(TyperCommand):
    """A command whose plain values need no pydantic."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _with_plain_values(super().get_params(ctx))


class PlainGroup(TyperGroup):
    """The same for the options before a command."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _with_plain_values(super().get_params(ctx))


def _with_plain_values(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        parameter._runtime_param = _PlainValue()  # releases of Typer without pydantic ignore it
    return parameters


class _PlainValue:
    """What Typer asks for the value of a parameter (its `RuntimeParam`)."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        descriptor = param.type_descriptor
        if not several:
            plain = _plain(value, descriptor.annotation, descriptor.parameter_info)
            if plain is not _NOT_PLAIN:
                return plain
        elif isinstance(value, list | tuple) and get_origin(descriptor.annotation) is list:
            (kind,) = get_args(descriptor.annotation)
            all_plain = [_plain(each, kind, descriptor.parameter_info) for each in value]
            if _NOT_PLAIN not in all_plain:
                return all_plain
        from typer._coercion import build_runtime_param

        return build_runtime_param(descriptor).coerce(value, param, ctx)


def _plain(value: Any, kind: Any, info: Any) -> Any:
    """The value as a parameter of this type takes it; `_NOT_PLAIN` where that is for Typer to say."""
    if info.parser is not None:
        try:
            return info.parser(value)
        except ValueError:
            return _NOT_PLAIN
    if kind is str:
        return value if isinstance(value, str) else _NOT_PLAIN
    if get_origin(kind) is Literal:
        return value if isinstance(value, str) and value in get_args(kind) else _NOT_PLAIN
    number = _number(value, kind)
    if number is None or info.clamp:
        return _NOT_PLAIN
    inside = (info.min is None or number >= info.min) and (info.max is None or number <= info.max)
    return number if inside else _NOT_PLAIN


def _number(value: Any, kind: Any) -> int | float | None:
    if kind is int:
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            return int(value)
        return value if type(value) is int else None
    if kind is float:
        if isinstance(value, str) and _DECIMAL.fullmatch(value):
            return float(value)
        return value if type(value) is float else None
    return None
