"""From a picture and vectors of texts to regions: parts of it are hidden one after the other, and it is encoded anew.

Each hidden picture serves all texts, so that m windows and n texts cost m + n encodings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders import Encoder, HidesPlaces, ImageSide
from mmsearch.encoders.image_side import side_that_hides
from mmsearch.explaining.masking import box_masks, fill_masked, heat_maps, windows
from mmsearch.explaining.phrases import Phrase
from mmsearch.explaining.records import Box, Region
from mmsearch.explaining.view import View, view_of
from mmsearch.loading import apply_transform

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["Wanted", "find_regions", "preview_regions", "regions_by"]

_STEPS, _SHARE = 8, 0.22
"""Windows in each direction, and how much of the width and the height each hides: less hides no thing as a whole, more
hides two (measured on postcards by scripts/explain_protocol.py)."""
_QUICK_SHARE = 0.34
"""Likewise of windows that are hidden from the last blocks alone, where a thing has spread to its surroundings."""
_HEAT_SIDE = 32
_SIDES = (0.22, 0.36, 0.5)
"""Of the boxes that are tried around the best window, in shares of the width and the height: all pairs of them."""
_ENOUGH = 0.9
"""Of the greatest fall by any of these: the smallest box that reaches it is taken."""
_TOGETHER = 16
"""Pictures that are filled and encoded at a time: some dozen megabytes of pixels."""
_USUAL = 1.4826  # times the median absolute deviation is the standard deviation, of what is spread normally
_LEAST_USUAL = 1e-4  # of a cosine: what rounding does to it stands out of nothing

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for in pictures.

    Attributes:
        whole: (dim,), the unit vector of all that was asked.
        phrases: The pieces that get a region each.
        vectors: (n, dim), of the phrases, unit length.
        without: For each phrase the vector (dim,) of the text without it; None where there is none.
        everyday: (m, dim), of the phrases that they are held against; None where what is looked for is no text.
    """

    whole: Floats
    phrases: Sequence[Phrase]
    vectors: Floats
    without: Sequence[Floats | None]
    everyday: Floats | None = None


def regions_by(
    encoder: Encoder,
    image: "PIL.Image.Image",
    wanted: Wanted,
    check: Callable[[], None] = lambda: None,
    *,
    quick: bool = False,
) -> tuple[float, list[Region], int]:
    """`find_regions` by an encoder, or `preview_regions` where it has to be quick. Raises EncoderError also where it
    has no quick way."""
    if quick:
        return preview_regions(side_that_hides(encoder), image, wanted, check)
    return find_regions(encoder.image, image, wanted, check)


def find_regions(
    side: ImageSide,
    image: "PIL.Image.Image",
    wanted: Wanted,
    check: Callable[[], None] = lambda: None,
) -> tuple[float, list[Region], int]:
    """The score of the whole, a region a phrase, and how many pictures were encoded.

    image: upright, RGB. check: called before every few pictures that are encoded; what it raises ends the work.
    Raises EncoderError, ImageError (a picture of which nothing is left of a side).
    """
    check()
    pixels = apply_transform(lambda: side.prepare(image))
    view = view_of(side, *image.size)  # whose transform has just taken a picture of this size
    hidden = windows(_STEPS, _SHARE)
    looked = _Looked(pixels, view, hidden, _SHARE, _encode_hidden(side, pixels, hidden, check), _boxes_around, False)
    return _regions_of(side, looked, wanted, check)


def preview_regions(
    side: HidesPlaces, image: "PIL.Image.Image", wanted: Wanted, check: Callable[[], None] = lambda: None
) -> tuple[float, list[Region], int]:
    """As `find_regions`, in a hurry: windows are hidden from the last blocks of the model alone, each phrase's box is
    the best of them, and only what is lost without that is measured."""
    check()
    pixels = apply_transform(lambda: side.prepare(image))
    view = view_of(side, *image.size)
    hidden = windows(_STEPS, _QUICK_SHARE)
    vectors = side.encode_hidden(pixels, partial(box_masks, hidden)).astype(np.float64)
    looked = _Looked(pixels, view, hidden, _QUICK_SHARE, vectors, lambda window: [window], True)
    return _regions_of(side, looked, wanted, check)


@dataclass(frozen=True, slots=True)
class _Looked:
    """A picture, and the vectors of it without each of some windows.

    Attributes:
        pixels: (3, H, W).
        view: Where these lie in the picture.
        hidden: The windows.
        share: Of the width and the height that each hides.
        vectors: (windows, dim).
        boxes: Which boxes are tried for the best window of a phrase.
        preview: Whether the windows were hidden from the last blocks alone.
    """

    pixels: Floats
    view: View
    hidden: Sequence[Box]
    share: float
    vectors: NDArray[np.float64]
    boxes: Callable[[Box], list[Box]]
    preview: bool


def _regions_of(
    side: ImageSide, looked: _Looked, wanted: Wanted, check: Callable[[], None]
) -> tuple[float, list[Region], int]:
    hidden, view = looked.hidden, looked.view
    texts = np.vstack([wanted.whole[None], wanted.vectors]).astype(np.float64)
    whole_picture = side.encode(looked.pixels[None])[0].astype(np.float64)
    scores = texts @ whole_picture
    fits = _fits(scores[1:], wanted.everyday, whole_picture)
    falls = scores[:, None] - texts @ looked.vectors.T
    heats = heat_maps(falls[1:], _STEPS, looked.share, _HEAT_SIDE)
    boxes = [looked.boxes(hidden[int(each.argmax())]) for each in falls[1:]]
    tried = [box for some in boxes for box in some]
    measured = scores[:, None] - texts @ _encode_hidden(side, looked.pixels, tried, check).T
    regions = []
    for number, phrase in enumerate(wanted.phrases):
        without = wanted.without[number]
        own = range(number * len(boxes[number]), (number + 1) * len(boxes[number]))
        chosen = _smallest_enough(boxes[number], measured[number + 1, own]) + own.start
        regions.append(
            Region(
                phrase=phrase.text,
                start=phrase.start,
                end=phrase.end,
                score=float(scores[number + 1]),
                fall=float(measured[0, chosen]),
                phrase_fall=float(measured[number + 1, chosen]),
                text_fall=None if without is None else float(scores[0] - without.astype(np.float64) @ whole_picture),
                stands_out=_stands_out(falls[number + 1]),
                fits=fits[number],
                box=view.box(tried[chosen]),
                peak=_middle(view, hidden[int(falls[number + 1].argmax())]),
                heat=view.over_picture(heats[number], _HEAT_SIDE),
                preview=looked.preview,
            )
        )
    return float(scores[0]), regions, 1 + len(tried) + (0 if looked.preview else len(hidden))


def _encode_hidden(
    side: ImageSide, pixels: Floats, boxes: Sequence[Box], check: Callable[[], None]
) -> NDArray[np.float64]:
    """The vectors (n, dim) of a picture (3, H, W) in which each of n boxes is hidden."""
    vectors = []
    for start in range(0, len(boxes), _TOGETHER):
        check()
        masks = box_masks(boxes[start : start + _TOGETHER], *pixels.shape[1:])
        vectors.append(side.encode(fill_masked(pixels, masks)))
    return np.concatenate(vectors).astype(np.float64)


def _boxes_around(window: Box) -> list[Box]:
    """Boxes of several shapes around the middle of a window, cut to the picture."""
    x, y = (window[0] + window[2]) / 2, (window[1] + window[3]) / 2
    return [
        (max(0.0, x - across / 2), max(0.0, y - down / 2), min(1.0, x + across / 2), min(1.0, y + down / 2))
        for across in _SIDES
        for down in _SIDES
    ]


def _smallest_enough(boxes: Sequence[Box], falls: NDArray[np.float64]) -> int:
    """Which of some boxes is the smallest whose fall is nearly the greatest."""
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in boxes]
    enough = falls >= falls.max() - (1 - _ENOUGH) * abs(falls.max())
    return min((number for number in range(len(boxes)) if enough[number]), key=areas.__getitem__)


def _stands_out(falls: NDArray[np.float64]) -> float:
    middle = float(np.median(falls))
    usual = max(_LEAST_USUAL, _USUAL * float(np.median(np.abs(falls - middle))))
    return (float(falls.max()) - middle) / usual


def _fits(scores: NDArray[np.float64], everyday: Floats | None, picture: NDArray[np.float64]) -> Sequence[float | None]:
    """How far each score lies above the mean of those of everyday phrases, in their deviations."""
    if everyday is None:
        return [None] * len(scores)
    usual = everyday.astype(np.float64) @ picture
    return [*map(float, (scores - usual.mean()) / max(_LEAST_USUAL, float(usual.std())))]


def _middle(view: View, box: Box) -> tuple[float, float]:
    left, top, right, bottom = box
    return view.point((left + right) / 2, (top + bottom) / 2)
