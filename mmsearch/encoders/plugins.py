"""What other packages provide: entry points of a group, by the prefix of a spec; their faults are EncoderErrors."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from mmsearch.errors import EncoderError, MmsearchError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["installed_plugins", "only_plugin", "opened_by"]


def installed_plugins(group: str) -> tuple["EntryPoint", ...]:
    """All entry points of a group, by name."""
    import importlib.metadata  # late: a cold query would wait for it

    return tuple(sorted(importlib.metadata.entry_points(group=group), key=lambda entry: entry.name))


def only_plugin(installed: Iterable["EntryPoint"], prefix: str, spec: str, things: str) -> "EntryPoint | None":
    """The one that has this name; None where there is none. Raises EncoderError where two packages have it.

    things: what they provide, for messages.
    """
    named = [entry for entry in installed if entry.name == prefix]
    if len(homes := sorted({entry.value for entry in named})) > 1:
        raise EncoderError(
            f"{spec!r}: two packages provide {things} as {prefix}: ({' and '.join(homes)}); uninstall one of them"
        )
    return named[0] if named else None


def opened_by(entry: "EntryPoint", request: Any, is_right: Callable[[object], bool], right: str) -> Any:
    """What a plugin makes of a request, which has a spec. Raises EncoderError for whatever goes wrong in it, with its
    name, and where what it makes is not `right`.
    """
    try:
        made = entry.load()(request)
    except MmsearchError:
        raise
    except Exception as error:  # whatever a stranger's package raises
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise EncoderError(f"the provider {entry.name} ({entry.value}) cannot open {request.spec}: {words}") from error
    if not is_right(made):
        raise EncoderError(
            f"the provider {entry.name} ({entry.value}) gave a {type(made).__name__} for {request.spec}, and no {right}"
        )
    return made
