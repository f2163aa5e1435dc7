"""Metadata in PNG as ImageMagick wrote it before PNG had chunks for it: texts of hexadecimal digits."""

import re
from typing import Any

__all__ = ["raw_profile"]

_HEADER = re.compile(r"\s*\S{1,80}\s+\d{1,12}\s*\n")  # what it is, and how many bytes follow
_MOST_DIGITS = 1 << 24


def raw_profile(info: dict[Any, Any], name: str) -> bytes | None:
    """The bytes of "Raw profile type NAME"; as far as they are hexadecimal. None where there is none."""
    text = info.get(f"Raw profile type {name}")
    if not isinstance(text, str) or (header := _HEADER.match(text)) is None:
        return None
    digits = re.sub(r"\s", "", text[header.end() : _MOST_DIGITS])
    hexadecimal = re.match(r"(?:[0-9a-fA-F]{2})*", digits)
    return bytes.fromhex(hexadecimal[0]) if hexadecimal else None
