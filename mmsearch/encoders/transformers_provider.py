"""Dual encoders of the package transformers: `hf:org/name` of the Hugging Face hub, `hf:FOLDER` on this machine."""

from pathlib import Path

from mmsearch.encoders.encoder import Encoder, EncoderRequest
from mmsearch.encoders.model_folders import (
    CONFIG,
    PROCESSOR,
    TOKENIZER,
    find_model_folder,
    parse_model_name,
    require_package,
)
from mmsearch.encoders.weight_licences import announce_licence

__all__ = ["transformers_encoder"]

_NEEDS = (CONFIG, PROCESSOR, TOKENIZER)


def transformers_encoder(request: EncoderRequest) -> Encoder:
    """CLIP, SigLIP, ALIGN and their kin, as transformers has them. Code that comes with a model is never run.

    Raises EncoderError where the package is not installed, the model cannot be had, is no dual encoder, or asks for
    code of its own.
    """
    name = parse_model_name(request.spec)
    require_package("transformers", "transformers", name.spec)
    folder: Path = find_model_folder(name, _NEEDS, announce=request.announce)
    announce_licence(request, name.spec, folder)
    from mmsearch.encoders.transformers_encoder import load

    return load(request, name.spec, folder)
