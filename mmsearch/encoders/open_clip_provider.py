"""open_clip's encoders, of all specs that are not a plugin's. torch is imported where there is no way around it."""

from mmsearch.encoders.encoder import Encoder, EncoderRequest
from mmsearch.encoders.protocols import ImageSide, TextSide
from mmsearch.encoders.specs import LocalModel, parse_spec, require_files
from mmsearch.identity import EncoderIdentity

__all__ = ["open_clip_encoder", "without_torch"]


def open_clip_encoder(request: EncoderRequest) -> Encoder:
    """An open_clip model; for queries to a gallery the sides that they need, without torch, where those are laid out.

    They are laid out in the user's cache when their model is first loaded, and answer within a fraction of a second
    instead of several. Raises EncoderError where the model is unknown, its weights cannot be had, or there is no such
    device.
    """
    if (encoder := without_torch(request)) is not None:
        return encoder
    parsed = parse_spec(request.spec)  # first: a typing mistake should not cost the import of torch
    require_files(parsed)
    from mmsearch.encoders.open_clip_encoder import load

    return load(parsed, device=request.device, precision=request.precision, announce=request.announce)


def without_torch(request: EncoderRequest) -> Encoder | None:
    """The side that is asked for of the encoder that is known, by a gallery or by its folder; None where more is asked,
    or where it is not laid out. Then a line says why loading the model comes next."""
    one_side = request.sides in ({"text"}, {"image"})
    plain = request.device == "cpu" and request.precision in ("auto", "fp32")
    if not (one_side and plain):
        return None
    known = request.known
    if known is None and request.precision == "fp32":  # as queries ask; what encodes much is quicker with torch
        known = _known_in_folder(request.spec)
    if known is None:
        return None
    from mmsearch.towers.tower_files import NoTower

    try:
        return Encoder(known, {side: _open_side(side, known) for side in sorted(request.sides)})
    except NoTower as reason:
        request.announce(f"loading {request.spec} with torch, which takes seconds: {reason}")
        return None


def _known_in_folder(spec: str) -> EncoderIdentity | None:
    """The encoder in a folder, where that was loaded before and is as it was."""
    parsed = parse_spec(spec)
    if not isinstance(parsed, LocalModel):
        return None
    from mmsearch.encoders.image_origin import known_identity

    return known_identity(parsed.folder, parsed.spec)


def _open_side(side: str, identity: EncoderIdentity) -> ImageSide | TextSide:
    """A side from the cache. Raises NoTower."""
    if side == "text":
        from mmsearch.encoders.text_side import open_text_side

        return open_text_side(identity)
    from mmsearch.encoders.image_side import open_image_side

    return open_image_side(identity)
