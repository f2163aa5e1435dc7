"""Under which licence the weights of a model stand, as far as its model card says so. Nothing is downloaded for it."""

from pathlib import Path

from mmsearch.encoders.encoder import EncoderRequest
from mmsearch.encoders.model_folders import licence_in, parse_model_name
from mmsearch.encoders.sources import ModelSource
from mmsearch.encoders.specs import HubModel, LocalModel, Tagged, parse_spec
from mmsearch.errors import EncoderError

__all__ = ["NOT_STATED", "announce_licence", "licence_of", "licence_of_source"]

NOT_STATED = "not stated"

_MODEL_FOLDERS = ("hf", "st")
"""The prefixes of specs that `parse_model_name` takes apart."""


def licence_of(spec: str) -> str | None:
    """The licence that the model card in a model's folder, or in the cache of the hub, states: "apache-2.0"; "not
    stated" where there is none. None for models that are neither of a folder nor of a repository."""
    try:
        if spec.partition(":")[0] in _MODEL_FOLDERS:
            name = parse_model_name(spec)
            return _stated(name.folder or _cached(name.repo))
        if spec == "demo":
            return "apache-2.0"  # it is part of mmsearch
        if not spec.startswith(("local-dir:", "hf-hub:")):
            return None
        parsed = parse_spec(spec)
    except EncoderError:
        return None
    match parsed:
        case LocalModel(folder):
            return _stated(folder)
        case HubModel(repo):
            return _stated(_cached(repo))
    return None


def licence_of_source(source: ModelSource) -> str | None:
    """The licence that the card of a model states: one in its folder, in the cache of the hub, or beside weights that
    came from there. None where nobody says, and of a checkpoint file, whose neighbours may be about anything."""
    if isinstance(parse_spec(source.spec), Tagged):
        return licence_in(source.weights.parent)
    licence = licence_of(source.spec)
    return None if licence == NOT_STATED else licence


def announce_licence(request: EncoderRequest, spec: str, folder: Path) -> None:
    """Say the licence to who names a model; who asks a gallery with its own was told when it was made."""
    if request.known is None:
        request.announce(f"licence of the weights of {spec}: {_stated(folder)}")


def _stated(folder: Path | None) -> str:
    return (licence_in(folder) if folder is not None else None) or NOT_STATED


def _cached(repo: str) -> Path | None:
    import huggingface_hub

    card = huggingface_hub.try_to_load_from_cache(repo, "README.md")
    return Path(card).parent if isinstance(card, str) else None
