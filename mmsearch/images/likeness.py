"""Whether two files show the same picture: coded anew, in another size, turned, cropped, in other colours, marked.

What is compared is the fine detail of small grey pictures, which light and colours hardly change, by normalised
cross-correlation; for crops at every place, by Fourier transform, and in several sizes (Lewis 1995, "Fast Normalized
Cross-Correlation"). Two photos of one scene have other detail where something has moved.

Among a thousand photos no two different ones correlated with more than .51 as a whole, and of 4,000 pairs none with
more than .37 in a part; of the same picture, by ten kinds of edits, the hundredth lowest had .54 as a whole, and of
crops to 60 % of each side .70.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch.progress import Progress, ProgressCallback, quiet

__all__ = ["Likeness", "alike_pairs", "same_picture", "sharpness"]

_Grey = NDArray[np.float32]

_SIDE = 64  # pixels, of the longer side
_COARSE, _WHOLE = 16, 32  # pixels of each side, when all are compared with all, and when two are
_COARSELY_ALIKE, _WHOLLY_ALIKE, _PARTLY_ALIKE = 0.6, 0.52, 0.6
_SCALES = np.arange(0.5, 1.001, 0.05)
_LEAST_SHARE = 0.25  # of the side, that a part has after it was made smaller
_MAYBE_PART = 0.5  # the correlation at half the size from which on it is worth to look closely
_AT_ONCE = 1_024  # pictures that are compared with all others


@dataclass(frozen=True, eq=False, slots=True)
class Likeness:
    """What of a picture is compared: grey, uint8 (height, width), the longer side of 64 pixels."""

    grey: NDArray[np.uint8]

    @classmethod
    def of(cls, image: Image.Image) -> "Likeness":
        """That of an upright picture."""
        small = image.convert("L")
        small.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=3)
        return cls(np.asarray(small))


def alike_pairs(pictures: Sequence[Likeness], progress: ProgressCallback = quiet) -> Iterator[tuple[int, int]]:
    """The pairs of pictures (lower position first) that may be the same as a whole, turned or mirrored too.

    Each is compared with each, coarsely: n² / 2 products of eight times 256 numbers.
    """
    details = np.stack([_whole(picture, _COARSE) for picture in pictures]) if pictures else np.zeros((0, 1), np.float32)
    for start in range(0, len(details), _AT_ONCE):
        some = details[start : start + _AT_ONCE]
        scores = some @ details[start:].T
        for turn in _turns(_COARSE)[1:]:
            np.maximum(scores, some[:, turn] @ details[start:].T, out=scores)
        for one, other in np.argwhere(scores >= _COARSELY_ALIKE):
            if one < other:
                yield start + int(one), start + int(other)
        progress(Progress("comparing all pictures", start + len(some), len(details)))


def same_picture(one: Likeness, other: Likeness, *, parts: bool) -> bool:
    """Whether two show the same. parts: also where one is a part of the other, half as wide and high or more."""
    turned = _whole(one, _WHOLE)[_turns(_WHOLE)]
    if float(np.max(turned @ _whole(other, _WHOLE))) >= _WHOLLY_ALIKE:
        return True
    return parts and (_is_part(other, one) or _is_part(one, other))


def sharpness(image: Image.Image) -> float:
    """The variance of a picture's Laplacian: the more, the sharper, among pictures of one scene in one size."""
    grey = np.asarray(image.convert("L"), np.float32)
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, 1:-1]
    return float(np.var(grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner))


@lru_cache(maxsize=2_048)
def _whole(picture: Likeness, side: int) -> _Grey:
    """The detail of a picture as a square, float32 (side * side,), of unit length; zero where it is flat."""
    return _unit(_detail(_resized(picture.grey.astype(np.float32), side, side))).ravel()


@lru_cache
def _turns(side: int) -> NDArray[np.intp]:
    """(8, side * side): the places of a square's pixels in its turns and mirrorings."""
    places = np.arange(side * side).reshape(side, side)
    return np.stack([np.rot90(each, turn).ravel() for each in (places, places[:, ::-1]) for turn in range(4)])


def _is_part(part: Likeness, whole: Likeness) -> bool:
    """Whether a picture, made smaller, is found somewhere in another: at half the size first."""
    if _correlation_of_part(_halved(part), _halved(whole)) < _MAYBE_PART:
        return False
    return _correlation_of_part(part, whole) >= _PARTLY_ALIKE


@lru_cache(maxsize=2_048)
def _halved(picture: Likeness) -> Likeness:
    height, width = (max(1, side // 2) for side in picture.grey.shape)
    return Likeness(np.asarray(Image.fromarray(picture.grey).resize((width, height), Image.Resampling.BOX)))


@lru_cache(maxsize=256)
def _searched(picture: Likeness) -> tuple[NDArray[np.complexfloating], NDArray[np.float64]]:
    """The Fourier transform of a picture's detail, and the sums of its squares from the upper left corner."""
    detail = _detail(picture.grey.astype(np.float32))
    squares = detail.astype(np.float64) ** 2
    sums = np.pad(np.cumsum(np.cumsum(squares, 0), 1), ((1, 0), (1, 0)))
    return np.fft.rfft2(detail, _transformed(picture)), sums


def _transformed(picture: Likeness) -> tuple[int, int]:
    """The size of a Fourier transform in which nothing wraps around."""
    side = 2 * max(picture.grey.shape)
    return side, side


def _correlation_of_part(part: Likeness, whole: Likeness) -> float:
    """How well a picture, made smaller, is found somewhere in another."""
    transformed, sums = _searched(whole)
    size = _transformed(whole)
    grey, best = part.grey.astype(np.float32), 0.0
    for height, width in _sizes_within(whole.grey.shape, grey.shape):
        sought = _unit(_detail(_resized(grey, height, width)))
        places = np.fft.irfft2(transformed * np.conj(np.fft.rfft2(sought, size)), size)
        found = places[: whole.grey.shape[0] - height + 1, : whole.grey.shape[1] - width + 1]
        below, above = sums[height:], sums[:-height]
        energy = below[:, width:] - above[:, width:] - below[:, :-width] + above[:, :-width]
        best = max(best, float(np.max(found / np.sqrt(np.maximum(energy, 1.0)))))
    return best


def _sizes_within(whole: tuple[int, ...], part: tuple[int, ...]) -> list[tuple[int, int]]:
    """Heights and widths that a part may have in the whole."""
    largest = min(whole[0] / part[0], whole[1] / part[1])
    sizes = {(round(part[0] * largest * scale), round(part[1] * largest * scale)) for scale in _SCALES}
    return sorted(size for size in sizes if min(size) >= _LEAST_SHARE * max(whole))


def _resized(grey: _Grey, height: int, width: int) -> _Grey:
    return np.asarray(_resizing(grey.shape[0], height) @ grey @ _resizing(grey.shape[1], width).T, np.float32)


def _detail(grey: _Grey) -> _Grey:
    """What is left of a picture when it is blurred, twice by 1 4 6 4 1 each way, and that is taken from it."""
    height, width = grey.shape
    return np.asarray(grey - _blurring(height) @ grey @ _blurring(width).T, np.float32)


# Both as matrices: a hundred times are small pictures resized and blurred for a pair of which one may be a part.
@lru_cache(maxsize=4_096)
def _resizing(before: int, after: int) -> _Grey:
    """(after, before): Pillow's bilinear resizing of a column."""
    columns = Image.fromarray(np.eye(before, dtype=np.float32))
    return np.asarray(columns.resize((before, after), Image.Resampling.BILINEAR), np.float32)


@lru_cache
def _blurring(side: int) -> _Grey:
    """(side, side): of a column, where what is beyond the edges is like them."""
    once = np.zeros((side, side), np.float32)
    for shift, weight in zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True):
        np.add.at(once, (np.arange(side), np.clip(np.arange(side) + shift, 0, side - 1)), weight / 16)
    return once @ once


def _unit(detail: _Grey) -> _Grey:
    """Without its mean and of length 1; zero where there is no detail."""
    centred = detail - detail.mean()
    length = float(np.linalg.norm(centred))
    return centred / np.float32(length) if length > 1.0 else np.zeros_like(centred)
