"""The encoder of vectors that others computed: as it is declared, checked as far as its name allows."""

import importlib.util
import json
from pathlib import Path

from mmsearch.encoders.providers import canonical_spec, is_open_clip
from mmsearch.encoders.specs import CONFIG_NAME, CheckpointFile, HubModel, LocalModel, Tagged, parse_spec
from mmsearch.errors import EncoderError, EncoderMismatch
from mmsearch.identity import EncoderIdentity

__all__ = ["declared_encoder"]

_OPENAI = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px")


def declared_encoder(model: str, dim: int) -> EncoderIdentity:
    """The identity of imported vectors of `dim` values, with the fingerprint `declared:<spec>`.

    model: a spec as `encoders.open` takes it, or as clip-retrieval names models: `ViT-B/32` (OpenAI's weights),
    `open_clip:ViT-B-32/laion2b_s34b_b79k`. Neither torch nor the model is loaded.
    Raises EncoderError for no model, EncoderMismatch where its vectors have another length.
    """
    name = model.removeprefix("open_clip:")
    if name in _OPENAI:
        name = f"{name.replace('/', '-').replace('@336px', '-336')}/openai"
    if not is_open_clip(name):
        spec = canonical_spec(name)
        return EncoderIdentity(spec, f"declared:{spec}", dim)
    parsed = parse_spec(name)
    if isinstance(parsed, Tagged) and not parsed.tag:
        raise EncoderError(f"{model} names an architecture; say which weights too, as in ViT-B-32/laion2b_s34b_b79k")
    expected = _dim(parsed)
    if expected is not None and expected != dim:
        raise EncoderMismatch(f"{parsed.spec} gives vectors of {expected} values; these have {dim}. Name their model")
    return EncoderIdentity(parsed.spec, f"declared:{parsed.spec}", dim)


def _dim(spec: Tagged | HubModel | LocalModel | CheckpointFile) -> int | None:
    """The length of a model's vectors by its config; None where that is not on this machine."""
    if isinstance(spec, HubModel):
        return None
    try:
        if isinstance(spec, LocalModel):
            return int(json.loads((spec.folder / CONFIG_NAME).read_text("utf-8"))["model_cfg"]["embed_dim"])
        found = importlib.util.find_spec("open_clip")
        configs = Path(found.origin or "").parent / "model_configs" if found else Path()
        return int(json.loads((configs / f"{spec.arch}.json").read_text("utf-8"))["embed_dim"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
