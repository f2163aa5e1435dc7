"""What everybody relies on in an encoder, as checks: for the tests of whoever provides one.

    from mmsearch import encoders
    from mmsearch.encoders.contract import check_encoder


    def test_it_keeps_to_the_contract() -> None:
        encoder = encoders.open("clap:music", ["text", "sound"])
        check_encoder(encoder, samples={"sound": [dog, rain, violin]})

It knows what images and texts look like; of other sides it has to be given samples.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.encoder import Encoder
from mmsearch.encoders.opening import open_encoder
from mmsearch.encoders.protocols import EncodedImages, EncodedTexts, FastPreprocessing, ImageSide
from mmsearch.errors import EncoderError

__all__ = ["ContractBroken", "check_encoder"]

_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")
_PRECISIONS = ("fp32", "fp16", "bf16", "int8")
_MEMBERS: dict[str, tuple[str, ...]] = {
    "image": ("fast", "size", "prepare", "stack", "encode", "encode_reference", "lanes"),
    "text": ("encode",),
}
_TEXTS = ("a red bicycle leans against a wall", "two dogs", "noodles in a bowl, seen from above", "rain")
_LONG_TEXT = "a long walk through the rain " * 1_000
_IMAGE_SIZES = ((320, 240), (90, 260), (33, 32), (500, 40))
# How far a number of a unit vector may be off: rounding depends on what else is in the batch.
_ROUNDING = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2, "int8": 5e-2}
_LEAST_COSINE = 0.95  # of the same image by two ways; how near they are is for `embed` to measure
_LEAST_SAMPLES = 3


class ContractBroken(AssertionError):
    """An encoder that does not keep to the contract. clause: the part of it that is broken, in a word or two."""

    def __init__(self, clause: str, reason: str) -> None:
        super().__init__(f"{clause}: {reason}")
        self.clause = clause


def check_encoder(
    encoder: Encoder,
    *,
    samples: Mapping[str, Sequence[Any]] | None = None,
    reopen: Callable[[str], Encoder] | None = None,
) -> None:
    """Raise ContractBroken, which names the clause, unless an encoder keeps to the contract.

    samples: for each side but "image" and "text" some inputs, no two alike.
    reopen: opens an encoder of a spec anew; by default `mmsearch.encoders.open`.
    """
    _check_identity(encoder)
    _check_sides(encoder)
    inputs = {"image": _images(), "text": _TEXTS, **(samples or {})}
    for name in encoder.sides:
        if len(inputs.get(name, ())) < _LEAST_SAMPLES:
            raise ValueError(f"samples={{{name!r}: [...]}}: the {name} side is checked with {_LEAST_SAMPLES} or more")
    vectors = {name: _check_side(encoder, name, inputs[name]) for name in encoder.sides}
    again = (reopen or _reopener(encoder))(encoder.identity.spec)
    _check_same(encoder, again)
    for name in encoder.sides:
        if not _near(_encode(again, name, inputs[name]), vectors[name], _rounding(encoder, again)):
            _broken("reopening", f"opened again, the {name} side gives other vectors under the same fingerprint")


def _broken(clause: str, reason: str) -> NoReturn:
    raise ContractBroken(clause, reason)


def _check_identity(encoder: Encoder) -> None:
    identity = encoder.identity
    if not identity.spec:
        _broken("identity", "the spec is empty")
    if not _FINGERPRINT.fullmatch(identity.fingerprint):
        _broken("identity", f"the fingerprint {identity.fingerprint!r} is not sha256: and 64 hexadecimal digits")
    if identity.dim < 1:
        _broken("identity", f"dim is {identity.dim}")
    if encoder.precision not in _PRECISIONS:
        _broken("precision", f"{encoder.precision!r} is none of {', '.join(_PRECISIONS)}")
    if not encoder.device:
        _broken("device", "it is not said on what the encoder runs")


def _check_sides(encoder: Encoder) -> None:
    if not encoder.sides:
        _broken("sides", "there is none")
    for name, side in encoder.sides.items():
        if twin := next((other for other in encoder.sides if other != name and encoder.sides[other] is side), None):
            _broken("sides", f"the {name} side and the {twin} side are one object: one answers for the other")
        needed = _MEMBERS.get(name, ("prepare", "encode"))
        if missing := [member for member in needed if not hasattr(side, member)]:
            _broken("sides", f"the {name} side has no {' and no '.join(missing)}")
        if encoder.side(name) is not side:
            _broken("sides", f"another side answers for {name}")
    absent = "none such"
    try:
        encoder.side(absent)
    except EncoderError as error:
        if not all(name in str(error) for name in encoder.sides):
            _broken("sides", f"the error for a side that is not there names not all that are: {error}")
    else:
        _broken("sides", "another side answers for one that is not there, instead of an EncoderError")


def _check_side(encoder: Encoder, name: str, inputs: Sequence[Any]) -> NDArray[np.float32]:
    """Check what holds for each side, and what for this one; returns the vectors of the inputs."""
    vectors = _encode(encoder, name, inputs)
    _check_vectors(vectors, len(inputs), encoder, name)
    rounding = _rounding(encoder)
    apart = np.abs(vectors[:, None] - vectors[None]).max(axis=2) + np.eye(len(vectors))
    if apart.min() <= rounding:
        _broken("inputs count", f"the {name} side gives different inputs the same vector")
    for row, one in enumerate(inputs):
        alone = _encode(encoder, name, [one])
        if not _near(alone, vectors[row : row + 1], rounding):
            _broken("order", f"row {row} that the {name} side gives for a batch is not the vector of input {row} alone")
    if name == "image":
        _check_images(encoder, inputs, vectors)
    if name == "text":
        long = encoder.text.encode([_LONG_TEXT, *_TEXTS])
        _check_vectors(long.vectors, 1 + len(_TEXTS), encoder, name)
        _check_vectors(encoder.text.encode([]).vectors, 0, encoder, name)
    return vectors


def _encode(encoder: Encoder, name: str, inputs: Sequence[Any]) -> NDArray[np.float32]:
    side = encoder.side(name)
    if name != "text":
        return np.asarray(side.encode(_prepare(encoder, name, inputs)))
    encoded = side.encode(list(inputs))
    if not isinstance(encoded, EncodedTexts):
        _broken("texts", f"the text side gives a {type(encoded).__name__} and no EncodedTexts")
    if encoded.truncated.dtype != np.bool_ or encoded.truncated.shape != (len(inputs),):
        _broken("texts", f"truncated is {encoded.truncated.dtype} {encoded.truncated.shape}, not bool ({len(inputs)},)")
    return encoded.vectors


def _prepare(encoder: Encoder, name: str, inputs: Sequence[Any]) -> NDArray[np.float32]:
    prepared = [encoder.side(name).prepare(one) for one in inputs]
    one_shape = name != "image" or type(encoder.image).stack is ImageSide.stack
    if (one_shape and len({one.shape for one in prepared}) > 1) or any(one.dtype != np.float32 for one in prepared):
        found = ", ".join(dict.fromkeys(f"{one.dtype} {one.shape}" for one in prepared))
        _broken("prepare", f"what the {name} side prepares is not float32 of one shape: {found}")
    return np.asarray(encoder.image.stack(prepared) if name == "image" else np.stack(prepared))


def _check_vectors(vectors: NDArray[Any], count: int, encoder: Encoder, name: str) -> None:
    expected = (count, encoder.identity.dim)
    if vectors.shape != expected:
        _broken("shape", f"the {name} side gives vectors {vectors.shape} for {count} inputs, not {expected}")
    if vectors.dtype != np.float32:
        _broken("dtype", f"the {name} side gives {vectors.dtype}, not float32")
    if not np.isfinite(vectors).all():
        _broken("finite", f"the {name} side gives NaN or infinity")
    lengths = np.linalg.norm(vectors, axis=1)
    if count and np.abs(lengths - 1).max() > _ROUNDING["fp32"]:
        _broken("unit length", f"the {name} side gives vectors of length {lengths.min():.4g} to {lengths.max():.4g}")


def _check_images(encoder: Encoder, images: Sequence[Any], vectors: NDArray[np.float32]) -> None:
    side = encoder.image
    pixels = _prepare(encoder, "image", images)
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        _broken("prepare", f"images become {pixels.shape[1:]}, not (3, H, W)")
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(side.prepare, [*images] * 8))
    alone = [side.prepare(image) for image in images]
    if not all(np.array_equal(one, alone[number % len(images)]) for number, one in enumerate(many)):
        _broken("prepare", "in several threads at a time images become other pixels")
    _check_vectors(side.encode(pixels[:0]), 0, encoder, "image")
    reference = side.encode_reference(pixels)
    _check_vectors(reference, len(images), encoder, "image")
    _require_alike("reference", "encode and encode_reference", vectors, reference)
    if side.fast is not None:
        _check_fast(side, side.fast, images, pixels, reference)
    with side.lanes(2) as lanes:
        if not lanes:
            _broken("lanes", "there is none")
        for lane in lanes:
            encoded = lane(pixels)
            if not isinstance(encoded, EncodedImages) or min(encoded.transfer_seconds, encoded.encode_seconds) < 0:
                _broken("lanes", f"one gives {encoded!r} and no EncodedImages with its seconds")
            if not _near(encoded.vectors, vectors, _rounding(encoder)):
                _broken("lanes", "one gives other vectors than encode")


def _check_fast(
    side: ImageSide,
    fast: FastPreprocessing,
    images: Sequence[Any],
    prepared: NDArray[np.float32],
    reference: NDArray[np.float32],
) -> None:
    ways = {
        "fit": [fast.fit(image) for image in images],
        "fit_array": [fast.fit_array(np.array(image), 1, image.size, 1) for image in images],
    }
    for name, fitted in ways.items():
        if any(pixels.shape != (*fast.size, 3) or pixels.dtype != np.uint8 for pixels in fitted):
            _broken("fast", f"{name} gives {fitted[0].dtype} {fitted[0].shape}, not uint8 {(*fast.size, 3)}")
        if not all(fast.error(*both) >= 0 for both in zip(fitted, prepared, strict=True)):
            _broken("fast", "error is no mean of squares")
        _require_alike("fast", f"{name} and prepare", side.encode(np.stack(fitted)), reference)


def _check_same(encoder: Encoder, again: Encoder) -> None:
    for what in ("fingerprint", "dim", "spec"):
        first, second = getattr(encoder.identity, what), getattr(again.identity, what)
        if first != second:
            _broken("reopening", f"{encoder.identity.spec}, opened again, has another {what}: {first}, then {second}")


def _require_alike(clause: str, ways: str, vectors: NDArray[np.float32], reference: NDArray[np.float32]) -> None:
    if (vectors * reference).sum(axis=1).min() < _LEAST_COSINE:
        _broken(clause, f"{ways} give an image vectors that are not alike")


def _near(vectors: NDArray[np.float32], expected: NDArray[np.float32], rounding: float) -> bool:
    return vectors.shape == expected.shape and bool(np.abs(vectors - expected).max() <= rounding)


def _rounding(*encoders: Encoder) -> float:
    return max(_ROUNDING[encoder.precision] for encoder in encoders)


def _reopener(encoder: Encoder) -> Callable[[str], Encoder]:
    return lambda spec: open_encoder(spec, tuple(encoder.sides), announce=lambda _: None)


def _images() -> list[Any]:
    """Smooth pictures, no two alike, of several shapes."""
    import PIL.Image

    small = np.random.default_rng(0).integers(0, 256, size=(len(_IMAGE_SIZES), 6, 8, 3), dtype=np.uint8)
    smooth = PIL.Image.Resampling.BICUBIC
    return [PIL.Image.fromarray(one).resize(size, smooth) for one, size in zip(small, _IMAGE_SIZES, strict=True)]
