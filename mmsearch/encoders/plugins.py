"""What other packages provide: entry points of a group, by the prefix of a spec; their faults are EncoderErrors."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmsearch.errors import EncoderError, MmsearchError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["PluginRequest", "installed_plugins", "only_plugin", "opened_by", "plugin_opener"]


@dataclass(frozen=True, slots=True)
class PluginRequest:
    """What is asked of a provider of models that look at pictures: re-rankers, describers.

    Attributes:
        spec: the whole of it, with its prefix.
        device: auto, cpu, cuda, cuda:N or mps.
        announce: gets a line before each download: what, from where, how large, where to.
    """

    spec: str
    device: str
    announce: Callable[[str], None]


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


def plugin_opener(
    group: str, spec: str, things: str, is_right: Callable[[object], bool], right: str, unknown: str
) -> Callable[[PluginRequest], Any]:
    """What opens a spec by the plugin of its prefix. unknown: what is said of one that nobody provides; the prefixes of
    the plugins that there are follow. Else as of `only_plugin` and `opened_by`. Raises EncoderError."""
    prefix, colon, _ = spec.partition(":")
    installed = installed_plugins(group)
    entry = only_plugin(installed, prefix, spec, things) if colon else None
    if entry is None:
        raise EncoderError(unknown + "".join(f", {each.name}:…" for each in installed))
    return lambda request: opened_by(entry, request, is_right, right)
