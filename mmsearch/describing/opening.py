"""The one door to describers: from a spec to one that is ready."""

from collections.abc import Callable

from mmsearch.describing.describer import Describer, DescriberRequest
from mmsearch.describing.providers import provider_of

__all__ = ["open_describer"]


def open_describer(
    spec: str | Describer, *, device: str = "auto", announce: Callable[[str], None] = lambda _: None
) -> Describer:
    """The describer that a spec names: `hf:org/name` or `hf:FOLDER` (models of transformers that see and write);
    `PREFIX:NAME` of a provider that is installed. A describer is taken as it is.

    device: auto, cpu, cuda, cuda:N or mps. announce: gets a line before a download, and the licence of the weights.
    Its weights are loaded when it is first asked. Raises EncoderError where there is none, its files cannot be had or
    its package is missing.
    """
    if not isinstance(spec, str):
        return spec
    return provider_of(spec)(DescriberRequest(spec, device, announce))
