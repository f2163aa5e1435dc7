"""The one door to re-rankers: from a spec to one that is ready."""

from collections.abc import Callable

from mmsearch.rerankers.providers import provider_of
from mmsearch.rerankers.reranker import Reranker, RerankerRequest

__all__ = ["open_reranker"]


def open_reranker(
    spec: str | Reranker, *, device: str = "cpu", announce: Callable[[str], None] = lambda _: None
) -> Reranker:
    """The re-ranker that a spec names: `hf:org/name` or `hf:FOLDER` (BLIP, BLIP-2, ViLT, with the package
    transformers); `demo`; `st:org/name` or `st:FOLDER` (cross-encoders of sentence-transformers); `PREFIX:NAME` of a
    provider that is installed. A re-ranker is taken as it is.

    device: auto, cpu, cuda, cuda:N or mps. announce: gets a line before a download.
    Raises EncoderError where there is none, it takes no pictures, its weights cannot be had or its package is missing.
    """
    if not isinstance(spec, str):
        return spec
    return provider_of(spec)(RerankerRequest(spec, device, announce))
