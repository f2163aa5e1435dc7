"""Who makes encoders: open_clip, transformers (`hf:`), sentence-transformers (`st:`), and whatever is installed with an
entry point of the group `mmsearch.encoders`.

A plugin names a prefix and a function:

    [project.entry-points."mmsearch.encoders"]
    clap = "mmsearch_clap:open_encoder"

`clap:music` is then an encoder spec. The function gets an `EncoderRequest` and returns an `Encoder` whose identity has
that spec; what it raises should be an EncoderError. It is imported when a spec names it, and not before.
`mmsearch.encoders.contract` says whether its encoders keep to what everybody relies on.
"""

import importlib
from typing import TYPE_CHECKING, cast

from mmsearch.encoders.encoder import Encoder, EncoderRequest, Provider
from mmsearch.encoders.open_clip_provider import open_clip_encoder
from mmsearch.encoders.plugins import installed_plugins, only_plugin, opened_by
from mmsearch.encoders.specs import OWN_PREFIXES, parse_spec
from mmsearch.errors import EncoderError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "canonical_spec", "is_open_clip", "provider_of"]

GROUP = "mmsearch.encoders"

_OF_FOLDERS = {"hf": "transformers", "st": "sentence_transformers"}
"""The packages whose models are folders of the Hugging Face hub, by the prefix of their specs. What provides them is
loaded when a spec names it: a query of open_clip's models does not wait for it."""


def provider_of(spec: str) -> Provider:
    """What opens the encoders of a spec. Raises EncoderError for a prefix that nobody provides."""
    if (package := _OF_FOLDERS.get(_prefix(spec))) is not None:
        module = importlib.import_module(f"mmsearch.encoders.{package}_provider")
        return cast(Provider, getattr(module, f"{package}_encoder"))
    entry = _plugin_of(spec)
    return open_clip_encoder if entry is None else _guarded(entry)


def canonical_spec(spec: str) -> str:
    """A spec as identities have it: paths are absolute. Nothing is loaded. Raises EncoderError for what is none."""
    if _prefix(spec) in _OF_FOLDERS:
        from mmsearch.encoders.model_folders import parse_model_name

        return parse_model_name(spec).spec
    return parse_spec(spec).spec if _plugin_of(spec) is None else spec


def is_open_clip(spec: str) -> bool:
    """Whether open_clip is meant. Raises EncoderError for a prefix that nobody provides."""
    return _prefix(spec) not in _OF_FOLDERS and _plugin_of(spec) is None


def _prefix(spec: str) -> str:
    """What stands before the colon; empty where there is none."""
    prefix, colon, _ = spec.partition(":")
    return prefix if colon else ""


def _plugin_of(spec: str) -> "EntryPoint | None":
    """The plugin whose prefix a spec has; None where open_clip is meant. Raises EncoderError where nobody is."""
    prefix, colon, _ = spec.partition(":")
    if not colon or "/" in prefix or prefix in OWN_PREFIXES:
        return None
    installed = installed_plugins(GROUP)
    if (entry := only_plugin(installed, prefix, spec, "encoders")) is not None:
        return entry
    try:
        parse_spec(spec)  # which says what is close
    except EncoderError as error:
        prefixes = ", ".join(f"{entry.name}:" for entry in installed) or "none is installed"
        own = " and ".join(f"{name}:" for name in _OF_FOLDERS)
        raise EncoderError(
            f"{error} Beside open_clip's there are those of transformers and sentence-transformers ({own}), and the "
            f"encoders of providers: {prefixes}."
        ) from error
    return None


def _guarded(entry: "EntryPoint") -> Provider:
    """A provider that somebody else wrote: what goes wrong in it is an EncoderError that names it."""

    def open_encoder(request: EncoderRequest) -> Encoder:
        made = opened_by(entry, request, lambda made: isinstance(made, Encoder), "mmsearch.encoders.Encoder")
        return cast(Encoder, made)

    return open_encoder
