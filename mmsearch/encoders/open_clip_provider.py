"""open_clip's encoders, of all specs that are not a plugin's. torch is imported where there is no way around it."""

from mmsearch.encoders.encoder import Encoder, EncoderRequest
from mmsearch.encoders.specs import parse_spec, require_files

__all__ = ["open_clip_encoder", "without_torch"]


def open_clip_encoder(request: EncoderRequest) -> Encoder:
    """An open_clip model; for the texts of a gallery its text side alone, without torch, where that is laid out.

    It is laid out in the user's cache when its model is first loaded, and answers within a tenth of a second instead of
    several. Raises EncoderError where the model is unknown, its weights cannot be had, or there is no such device.
    """
    if (encoder := without_torch(request)) is not None:
        return encoder
    parsed = parse_spec(request.spec)  # first: a typing mistake should not cost the import of torch
    require_files(parsed)
    from mmsearch.encoders.open_clip_encoder import load

    return load(parsed, device=request.device, precision=request.precision, announce=request.announce)


def without_torch(request: EncoderRequest) -> Encoder | None:
    """The text side of the encoder that is known; None where more is asked, or where it is not laid out. Then a line
    says why loading the model comes next."""
    plain = request.sides == {"text"} and request.device == "cpu" and request.precision in ("auto", "fp32")
    if request.known is None or not plain:
        return None
    from mmsearch.encoders.text_side import open_tower
    from mmsearch.towers.text_files import NoTower

    try:
        return open_tower(request.known)
    except NoTower as reason:
        request.announce(f"loading {request.spec} with torch, which takes seconds: {reason}")
        return None
