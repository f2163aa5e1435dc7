"""Tells files that are no films at first sight, so that no process is started for them."""

__all__ = ["may_be_film"]

_TEXT_BYTES = frozenset({*range(0x20, 0x7F), *b"\t\n\r\f\x1b"})


def may_be_film(head: bytes) -> bool:
    """Whether a file that begins so may be a film: not where it is empty, or plain text, as programs in .ts are.

    >>> may_be_film(b"export const one = 1;\\n"), may_be_film(bytes.fromhex("0000001866747970"))
    (False, True)
    """
    return not _TEXT_BYTES.issuperset(head)
