"""From a spec to an encoder that is ready."""

import sys
from collections.abc import Callable

from mmsearch.encoders.protocols import Encoder, TextEncoder
from mmsearch.encoders.specs import parse_spec, require_files
from mmsearch.identity import EncoderIdentity

__all__ = ["announce_on_stderr", "find_text_encoder", "load_encoder"]


def announce_on_stderr(line: str) -> None:
    """The default way to say that something is about to be downloaded."""
    print(line, file=sys.stderr)


def load_encoder(
    spec: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    announce: Callable[[str], None] = announce_on_stderr,
) -> Encoder:
    """The encoder that a spec names, on a device.

    spec: `ARCH/TAG`, `hf-hub:org/name`, `local-dir:PATH`, `ARCH/path/to/checkpoint.safetensors` or `demo`.
    device: auto, cpu, cuda, cuda:N or mps. precision: auto, fp32, fp16, bf16 or int8; benchmarks ask for fp32.
    announce: gets one line before each download: what, from where, how large, where to.
    Raises EncoderError where the model is unknown, its weights cannot be had, or there is no such device.
    """
    parsed = parse_spec(spec)  # first: a typing mistake should not cost the import of torch
    require_files(parsed)
    from mmsearch.encoders.open_clip_encoder import load

    return load(parsed, device=device, precision=precision, announce=announce)


def find_text_encoder(identity: EncoderIdentity, *, announce: Callable[[str], None]) -> TextEncoder | None:
    """The text side of an encoder without torch: answers within a tenth of a second instead of several.

    It is laid out in the user's cache when the encoder is first loaded (`load_encoder`). None where it is not there;
    announce then gets a line that says why loading the encoder is what comes next.
    """
    from mmsearch.encoders.text_side import open_tower
    from mmsearch.towers.text_files import NoTower

    try:
        return open_tower(identity)
    except NoTower as reason:
        announce(f"loading {identity.spec} with torch, which takes seconds: {reason}")
        return None
