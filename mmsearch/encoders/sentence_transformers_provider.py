"""Models of sentence-transformers that take pictures: `st:org/name` of the Hugging Face hub, `st:FOLDER` here."""

from mmsearch.encoders.encoder import Encoder, EncoderRequest
from mmsearch.encoders.model_folders import find_model_folder, parse_model_name, require_package
from mmsearch.encoders.weight_licences import announce_licence

__all__ = ["sentence_transformers_encoder"]

_NEEDS = (("modules.json",),)


def sentence_transformers_encoder(request: EncoderRequest) -> Encoder:
    """A SentenceTransformer that takes texts and pictures. Code that comes with a model is never run.

    Raises EncoderError where the package is not installed, the model cannot be had, takes no pictures, or asks for code
    of its own.
    """
    name = parse_model_name(request.spec)
    require_package("sentence_transformers", "sentence-transformers", name.spec)
    folder = find_model_folder(name, _NEEDS, announce=request.announce, modules=True)
    announce_licence(request, name.spec, folder)
    from mmsearch.encoders.sentence_transformers_encoder import load

    return load(request, name.spec, folder)
