"""Who makes describers: mmsearch for `hf:`, and whatever is installed with an entry point of the group
`mmsearch.describers`.

A plugin names a prefix and a function:

    [project.entry-points."mmsearch.describers"]
    moondream = "mmsearch_moondream:open_describer"

`moondream:2b` is then the spec of a describer. The function gets a `DescriberRequest` and returns a `Describer`; what
it raises should be an EncoderError. It is imported when a spec names it, and not before.
"""

from mmsearch.describing.describer import Describer, DescriberRequest, Provider
from mmsearch.encoders.model_folders import (
    CONFIG,
    PROCESSOR,
    TOKENIZER,
    find_model_folder,
    parse_model_name,
    require_package,
)
from mmsearch.encoders.plugins import plugin_opener

__all__ = ["GROUP", "provider_of"]

GROUP = "mmsearch.describers"
_KNOWN = "hf:org/name or hf:FOLDER (BLIP, BLIP-2, GIT, LLaVA and others of transformers that see and write), demo"


def provider_of(spec: str) -> Provider:
    """What opens the describer of a spec. Raises EncoderError for one that nobody provides."""
    prefix, colon, _ = spec.partition(":")
    if colon and prefix == "hf":
        return _open_of_transformers
    if spec == "demo":
        return _open_demo
    unknown = f"no model that describes pictures is called {spec!r}; there is {_KNOWN}"
    return plugin_opener(GROUP, spec, "describers", _is_describer, "mmsearch.describing.Describer", unknown)


def _is_describer(made: object) -> bool:
    return all(callable(getattr(made, step, None)) for step in ("describe", "answer")) and hasattr(made, "identity")


def _open_of_transformers(request: DescriberRequest) -> Describer:
    require_package("transformers", "describe", request.spec)
    name = parse_model_name(request.spec)
    folder = find_model_folder(name, [CONFIG, TOKENIZER, PROCESSOR], announce=request.announce)
    from mmsearch.describing.generating import TransformersDescriber

    return TransformersDescriber(request, name, folder)


def _open_demo(request: DescriberRequest) -> Describer:
    require_package("transformers", "describe", "demo")
    from mmsearch.describing.demo_describer import DemoDescriber

    return DemoDescriber(request)
