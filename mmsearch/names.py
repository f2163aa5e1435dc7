"""Names of files as text: what file systems allow and text, terminals and keyboards do not, dealt with in one place."""

import os
import unicodedata

__all__ = ["composed", "printable", "shown"]

_JOINERS = "\u200c\u200d"  # they print nothing, and emoji and several scripts fall apart without them


def shown(name: str) -> str:
    """A file system string as text that can be printed and stored: undecodable bytes become \\xNN."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    return name


def printable(text: str) -> str:
    """Text that cannot steer a terminal or break a line: control characters and undecodable bytes shown as escapes."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        char if char.isprintable() or char in _JOINERS else char.encode("unicode_escape").decode() for char in text
    )


def composed(name: str) -> str:
    """The form in which two names are the same to a person: é as keyboards write it, in one character (NFC), and é as a
    Mac's file system has it, in two (NFD)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)
