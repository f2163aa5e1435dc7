"""The one door to encoders: from a spec to an encoder that is ready and fits the gallery that it is for."""

import sys
import warnings
from collections.abc import Callable, Collection
from typing import Protocol

from mmsearch.encoders import providers
from mmsearch.encoders.encoder import Encoder, EncoderRequest
from mmsearch.encoders.specs import DEFAULT_MODEL
from mmsearch.errors import EncoderMismatch, MmsearchWarning
from mmsearch.identity import require_same_encoder, require_same_images
from mmsearch.locations import Location
from mmsearch.versions import Manifest

__all__ = ["HoldsVectors", "announce_on_stderr", "open_encoder"]


class HoldsVectors(Protocol):
    """A gallery, as far as an encoder has to fit it."""

    @property
    def path(self) -> Location: ...

    @property
    def manifest(self) -> Manifest: ...


def announce_on_stderr(line: str) -> None:
    """The default way to say that something is about to be downloaded."""
    print(line, file=sys.stderr)


def open_encoder(
    spec: str | Encoder | None = None,
    sides: Collection[str] = ("image", "text"),
    *,
    device: str = "auto",
    precision: str = "auto",
    for_gallery: HoldsVectors | None = None,
    any_text_side: bool = False,
    announce: Callable[[str], None] = announce_on_stderr,
) -> Encoder:
    """The encoder that a spec names, on a device, with the sides that will be used (it may have more).

    spec: `ARCH/TAG`, `hf-hub:org/name`, `local-dir:PATH`, `ARCH/path/to/checkpoint.safetensors`, `demo`, `hf:org/name`
    or `hf:PATH` of transformers, `st:` likewise of sentence-transformers, or `PREFIX:NAME` of a provider that is
    installed (see `providers`). None: that of the gallery, else `DEFAULT_MODEL`. An encoder is taken as it is.
    device: auto, cpu, cuda, cuda:N or mps. precision: auto, fp32, fp16, bf16 or int8; benchmarks ask for fp32.
    for_gallery: whose vectors those of the encoder are to be compared with. Where these were imported, a warning says
    that nobody has checked whose they are. For texts alone, on the CPU, and with no spec, torch is not needed.
    any_text_side: whether it may have another text side than the gallery, as long as its vectors of pictures are the
    same: one that was taught on the gallery.
    announce: gets one line before each download: what, from where, how large, where to.
    Raises EncoderError where the model is unknown, its weights cannot be had, it lacks a side, or there is no such
    device; EncoderMismatch where it is not the gallery's encoder.
    """
    own = None if for_gallery is None else for_gallery.manifest.encoder
    if isinstance(spec, Encoder):
        encoder = spec
    else:
        wanted = spec
        if wanted is None:
            wanted = own.spec if own is not None else DEFAULT_MODEL
        known = own if spec is None else None
        request = EncoderRequest(wanted, frozenset(sides), device, precision, known, announce)
        encoder = providers.provider_of(wanted)(request)
    for name in sides:
        encoder.side(name)
    if for_gallery is not None:
        _require_fit(encoder, for_gallery, any_text_side=any_text_side)
    return encoder


def _require_fit(encoder: Encoder, gallery: HoldsVectors, *, any_text_side: bool) -> None:
    """Raise EncoderMismatch for another encoder than the gallery's; warn where that was only declared."""
    own, other = gallery.manifest.encoder, encoder.identity
    if not own.declared:
        require = require_same_images if any_text_side else require_same_encoder
        require(own, other, gallery.path)
        return
    if own.dim != other.dim:
        raise EncoderMismatch(
            f"{gallery.path} holds imported vectors of {own.dim} values, declared as those of {own.spec}; "
            f"{other.spec} gives {other.dim}"
        )
    warnings.warn(
        f"the vectors of {gallery.path} were imported; that they are of {own.spec} was declared and is not checked",
        MmsearchWarning,
        stacklevel=3,
    )
