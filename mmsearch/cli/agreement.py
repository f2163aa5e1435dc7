"""How a sample of pictures agrees with the exact route, in a line."""

from typing import TYPE_CHECKING

from mmsearch.names import printable

if TYPE_CHECKING:
    from mmsearch.versions import Parity

__all__ = ["agreement", "disagreements"]


def agreement(parity: "Parity") -> str:
    """The least of every kind of picture in the sample: pixels in dB, embeddings as centred cosine."""
    if not parity.agreements:
        return "none with the exact route; all went by it"
    decibels = [each.psnr_lowest for each in parity.agreements if each.psnr_lowest is not None]
    cosine = min(each.cosine_lowest for each in parity.agreements)
    overlap = "" if parity.top10_overlap is None else f", top 10 {parity.top10_overlap:.1%} the same"
    pixels = f"pixels at {min(decibels):.0f} dB or better" if decibels else "pixels equal"
    return f"{parity.images} pictures with the exact route: {pixels}, centred cosine {cosine:.5f} or better{overlap}"


def disagreements(parity: "Parity") -> list[str]:
    """A line for each kind of picture that went by the exact route."""
    return [
        f"{each.images:,} {each.format} pictures (orientation {each.orientation}, {each.route}) by the exact route: "
        + ("pixels equal" if each.psnr_lowest is None else f"pixels at {each.psnr_lowest:.1f} dB")
        + f", centred cosine {each.cosine_lowest:.4f} by the fast one; {printable(', '.join(each.examples))}"
        for each in parity.disagreements
    ]
