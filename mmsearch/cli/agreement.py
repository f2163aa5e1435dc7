"""How a sample of pictures agrees with the exact route, in a line."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmsearch.records import Parity

__all__ = ["agreement"]


def agreement(parity: "Parity") -> str:
    """The least of every kind of picture in the sample: pixels in dB, embeddings as centred cosine."""
    decibels = [each.psnr_lowest for each in parity.agreements if each.psnr_lowest is not None]
    cosine = min(each.cosine_lowest for each in parity.agreements)
    overlap = "" if parity.top10_overlap is None else f", top 10 {parity.top10_overlap:.1%} the same"
    pixels = f"pixels at {min(decibels):.0f} dB or better" if decibels else "pixels equal"
    return f"{parity.images} pictures with the exact route: {pixels}, centred cosine {cosine:.5f} or better{overlap}"
