"""Who makes re-rankers: mmsearch for `hf:`, `st:` and `demo`, and whatever is installed with an entry point of the
group `mmsearch.rerankers`.

A plugin names a prefix and a function:

    [project.entry-points."mmsearch.rerankers"]
    colpali = "mmsearch_colpali:open_reranker"

`colpali:v1` is then the spec of a re-ranker. The function gets a `RerankerRequest` and returns a `Reranker`; what it
raises should be an EncoderError. It is imported when a spec names it, and not before.
"""

import json

from mmsearch.encoders.model_folders import CONFIG, TOKENIZER, find_model_folder, parse_model_name, require_package
from mmsearch.encoders.model_folders import read_settings as read_json
from mmsearch.encoders.plugins import plugin_opener
from mmsearch.errors import EncoderError
from mmsearch.rerankers.reranker import Provider, Reranker, RerankerRequest

__all__ = ["GROUP", "provider_of"]

GROUP = "mmsearch.rerankers"
_KNOWN = "hf:org/name or hf:FOLDER (BLIP, BLIP-2, ViLT), st:org/name or st:FOLDER (sentence-transformers), demo"
_KINDS = {"blip": "BLIP", "blip-2": "BLIP-2", "vilt": "ViLT"}


def provider_of(spec: str) -> Provider:
    """What opens the re-ranker of a spec. Raises EncoderError for one that nobody provides."""
    prefix, colon, _ = spec.partition(":")
    if colon and prefix == "hf":
        return _open_of_transformers
    if colon and prefix == "st":
        return _open_cross_encoder
    if spec == "demo":
        return _open_demo
    unknown = f"no re-ranker is called {spec!r}; there is {_KNOWN}"
    return plugin_opener(GROUP, spec, "re-rankers", _is_reranker, "mmsearch.rerankers.Reranker", unknown)


def _is_reranker(made: object) -> bool:
    return all(callable(getattr(made, step, None)) for step in ("prepare", "look", "match"))


def _open_of_transformers(request: RerankerRequest) -> Reranker:
    """BLIP, BLIP-2 or ViLT, as the settings of the model say."""
    require_package("transformers", "rerank", request.spec)
    name = parse_model_name(request.spec)
    folder = find_model_folder(name, [CONFIG, TOKENIZER], announce=request.announce)
    settings = read_json(folder / CONFIG[0])
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if kind == "blip":
        from mmsearch.rerankers.blip import BlipReranker

        return BlipReranker(request, folder)
    if kind == "blip-2":
        from mmsearch.rerankers.blip2 import Blip2Reranker

        return Blip2Reranker(request, folder)
    if kind == "vilt":
        from mmsearch.rerankers.vilt import ViltReranker

        return ViltReranker(request, folder)
    raise EncoderError(
        f"{request.spec} is a model of the kind {json.dumps(kind)}, which is not asked about a picture and a text "
        f"together here; of transformers these are: {', '.join(_KINDS.values())}. Cross-encoders of "
        "sentence-transformers are named as st:"
    )


def _open_cross_encoder(request: RerankerRequest) -> Reranker:
    require_package("sentence_transformers", "rerank", request.spec)
    from mmsearch.rerankers.cross_encoder import CrossEncoderReranker

    return CrossEncoderReranker(request)


def _open_demo(request: RerankerRequest) -> Reranker:
    from mmsearch.rerankers.demo_reranker import DemoReranker

    return DemoReranker(request)
