"""The one door to detectors: from a spec to one that is ready."""

import json
from collections.abc import Callable

from mmsearch.detectors.detector import Detector
from mmsearch.encoders.model_folders import (
    CONFIG,
    PROCESSOR,
    TOKENIZER,
    find_model_folder,
    parse_model_name,
    read_settings,
    require_package,
)
from mmsearch.errors import EncoderError

__all__ = ["open_detector"]


def open_detector(
    spec: str | Detector, *, device: str = "cpu", announce: Callable[[str], None] = lambda _: None
) -> Detector:
    """The detector that a spec names: `hf:org/name` or `hf:FOLDER` (OWL-ViT, OWLv2, Grounding DINO, with the package
    transformers). A detector is taken as it is.

    device: auto, cpu, cuda, cuda:N or mps. announce: gets a line before a download.
    Raises EncoderError where there is none, it finds nothing by names, or its package is missing.
    """
    if not isinstance(spec, str):
        return spec
    if not spec.startswith("hf:"):
        raise EncoderError(
            f"no detector is called {spec!r}; there is hf:org/name or hf:FOLDER (OWL-ViT, OWLv2, Grounding DINO), as "
            "hf:google/owlv2-base-patch16-ensemble"
        )
    require_package("transformers", "rerank", spec)
    folder = find_model_folder(parse_model_name(spec), [CONFIG, PROCESSOR, TOKENIZER], announce=announce)
    settings = read_settings(folder / CONFIG[0])
    kind = settings.get("model_type") if isinstance(settings, dict) else None

    from mmsearch.detectors.transformers_detectors import DETECTORS

    make = DETECTORS.get(str(kind))
    if make is None:
        raise EncoderError(
            f"{spec} is a model of the kind {json.dumps(kind)}, which finds nothing by its name here; of transformers "
            f"these do: {', '.join(DETECTORS)}"
        )
    return make(spec, folder, device)
