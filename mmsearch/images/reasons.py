"""Why a file gave no picture, in a line for a person."""

import re
import struct

from PIL import Image

__all__ = ["header_reason", "reason", "words_for_people"]

_TRUNCATED = re.compile(
    r"truncat|not enough|unexpected end|end[- ]of[- ](file|stream)|premature|too short|unpack requires|only got|"
    r"incomplete|buffer is not large|unexpected eof",
    re.IGNORECASE,
)

_UNSUPPORTED = re.compile(
    r"unsupported|not supported|unimplemented|not implemented|cannot handle"
    r"|decoder .* not available|unknown image mode",
    re.IGNORECASE,
)
_OF_PYTHON = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RecursionError, UnicodeError),
    struct.error,
)
_FOR_PROGRAMMERS = re.compile(
    r"invalid literal|could not convert|values to unpack|unpack\w* requires|operand type|object (is|has)|'\w+' object"
    r"|NoneType|must be \w+, not|null character|^decoder error|please build|Plugin\.|^b['\"]|^\w+Error$",
    re.IGNORECASE,
)
"""TypeErrors and ValueErrors are raised by Python and by plugins: their words tell which."""

_BITS = re.compile(r"cannot handle (\d+)-bit layers")


def header_reason(error: Exception, format_name: str) -> str:
    """As `reason`, for a file that begins like an image of this format and goes on otherwise."""
    if isinstance(error, (Image.DecompressionBombError, MemoryError)) or _is_truncated(error):
        return reason(error, format_name)
    if (text := _unsupported(error)) is not None:
        return f"{format_name} of a kind that is not supported: {text}"
    text = words_for_people(error)
    if text == "could not create decoder object":  # all that the WebP decoder says
        return f"truncated or damaged {format_name}"
    # "not identified" is what Pillow says where a plugin gives up without a reason, at a width of 0 for instance.
    return f"damaged {format_name} header" + ("" if not text or text.startswith("not identified") else f": {text}")


def reason(error: Exception, format_name: str | None) -> str:
    """One short line for a person: what is wrong with the file, not where Pillow noticed."""
    if isinstance(error, MemoryError):
        return f"not enough memory to decode this {format_name}"
    if isinstance(error, Image.DecompressionBombError):
        return "declares more pixels than Pillow decodes at once"
    if _is_truncated(error):
        return f"truncated {format_name}"
    if (text := _unsupported(error)) is not None:
        return f"{format_name} of a kind that is not supported: {text}"
    text = words_for_people(error)
    return f"damaged {format_name}" + (f": {text}" if text else "")


def words_for_people(error: Exception) -> str:
    """What a library says of a damaged file, in a line; "" where that helps only who mends the library: it read on
    where it should have looked first, and the words are Python's, which Pillow passes on as its own."""
    text = _one_line(error)
    cause: BaseException | None = error
    while cause is not None and str(cause) == str(error):
        if isinstance(cause, _OF_PYTHON):
            return ""
        cause = cause.__cause__ or cause.__context__
    return "" if _FOR_PROGRAMMERS.search(text) else text


def _is_truncated(error: Exception) -> bool:
    return isinstance(error, (EOFError, IndexError)) or _TRUNCATED.search(str(error)) is not None


def _unsupported(error: Exception) -> str | None:
    """What a decoder says that it cannot do; None where it finds fault with the file."""
    text = words_for_people(error)
    bits = _BITS.search(text)
    if bits:
        return f"{bits[1]} bits per sample"
    return text if _UNSUPPORTED.search(text) else None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
