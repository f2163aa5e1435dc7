"""What a file is that is no picture to us: by its first bytes, never by its name."""

import re
import struct

__all__ = ["HEAD_BYTES", "describe_file", "raw_kind", "explain_unsupported"]

HEAD_BYTES = 4096
"""How much of a file's beginning is looked at."""

_FILM = "not an image: a film ({})"
_SOUND = "not an image: sound ({})"
_ARCHIVE = "not an image: an archive ({})"
_DOCUMENT = "not an image: a document ({})"

_RAW: tuple[tuple[bytes, str], ...] = (
    (b"FUJIFILMCCD-RAW", "Fujifilm RAF"),
    (b"FOVb", "Sigma X3F"),
    (b"II\x1a\0\0\0HEAPCCDR", "Canon CRW"),
    (b"IIU\0", "Panasonic RW2"),
    (b"IIRO", "Olympus ORF"),
    (b"IIRS", "Olympus ORF"),
    (b"MMOR", "Olympus ORF"),
    (b"\0MRM", "Minolta MRW"),
)

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\x1aE\xdf\xa3", _FILM.format("Matroska or WebM")),
    (b"\0\0\1\xba", _FILM.format("MPEG")),
    (b"\0\0\1\xb3", _FILM.format("MPEG")),
    (b"FLV\1", _FILM.format("Flash video")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _FILM.format("Windows Media")),
    (b".RMF", _FILM.format("RealMedia")),
    (b"OggS", _SOUND.format("Ogg")),
    (b"fLaC", _SOUND.format("FLAC")),
    (b"ID3", _SOUND.format("MP3")),
    (b"MThd", _SOUND.format("MIDI")),
    (b"%PDF-", _DOCUMENT.format("PDF")),
    (b"%!PS", "not an image: a drawing (PostScript)"),
    (b"\xc5\xd0\xd3\xc6", "not an image: a drawing (EPS)"),
    (b"{\\rtf", _DOCUMENT.format("RTF")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _DOCUMENT.format("Microsoft Office, before 2007")),
    (b"\xd7\xcd\xc6\x9a", "not an image: a drawing (Windows metafile)"),
    (b"gimp xcf", "not an image that is read: a project of GIMP (XCF)"),
    (b"\x1f\x8b", _ARCHIVE.format("gzip")),
    (b"BZh", _ARCHIVE.format("bzip2")),
    (b"\xfd7zXZ\0", _ARCHIVE.format("xz")),
    (b"\x28\xb5\x2f\xfd", _ARCHIVE.format("Zstandard")),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE.format("7-Zip")),
    (b"Rar!\x1a\x07", _ARCHIVE.format("RAR")),
    (b"SQLite format 3\0", "not an image: a database (SQLite)"),
    (b"PAR1", "not an image: a table (Parquet)"),
    (b"\x7fELF", "not an image: a program"),
    (b"MZ", "not an image: a program"),
    (b"\0\x05\x16\x07", "not an image: what macOS keeps beside a file (AppleDouble)"),
)

_RIFF = {
    b"AVI ": _FILM.format("AVI"),
    b"WAVE": _SOUND.format("WAV"),
    b"CDR": "not an image: a drawing (CorelDRAW)",
}

_BRANDS: tuple[tuple[bytes, str], ...] = (
    (b"M4A ", _SOUND.format("MPEG-4")),
    (b"M4B ", _SOUND.format("MPEG-4")),
    (b"qt  ", _FILM.format("QuickTime")),
    (b"3gp", _FILM.format("3GPP")),
    (b"3g2", _FILM.format("3GPP")),
)
_IMAGE_BRANDS = frozenset((b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"avif", b"avis"))

_ZIPPED = (
    (b"word/", _DOCUMENT.format("Word")),
    (b"xl/", _DOCUMENT.format("Excel")),
    (b"ppt/", _DOCUMENT.format("PowerPoint")),
    (b"mimetypeapplication/vnd.oasis.opendocument", _DOCUMENT.format("OpenDocument")),
    (b"mimetypeapplication/epub", _DOCUMENT.format("EPUB")),
    (b"[Content_Types].xml", _DOCUMENT.format("Microsoft Office")),
)

_HTML = re.compile(rb"^\s*(<!--.*?-->|\s)*<(!doctype\s+html|html)[\s>]", re.DOTALL | re.IGNORECASE)


def raw_kind(head: bytes) -> str | None:
    """Which camera's raw data begin so, but for those that are a TIFF at first sight; None for anything else."""
    if head[4:12] == b"ftypcrx ":
        return "Canon CR3"
    return next((kind for start, kind in _RAW if head.startswith(start)), None)


def describe_file(head: bytes) -> str | None:
    """What begins so, as the reason why it is no picture; None where that is not known.

    head: HEAD_BYTES of the file. The answer depends on nothing else."""
    for start, description in _STARTS:
        if head.startswith(start):
            return description
    if head[:4] == b"RIFF":
        return next((description for name, description in _RIFF.items() if head[8:].startswith(name)), None)
    if head[4:8] == b"ftyp":
        return _describe_box_file(head)
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
        return _FILM.format("QuickTime")
    if head[:4] in (b"PK\3\4", b"PK\5\6"):
        return next((description for name, description in _ZIPPED if name in head), _ARCHIVE.format("ZIP"))
    if head[257:262] == b"ustar":
        return _ARCHIVE.format("tar")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _SOUND.format("AIFF")
    if head[:1] == b"\x47" and head[188:189] == b"\x47" and head[376:377] == b"\x47":
        return _FILM.format("MPEG transport stream")
    if len(head) > 3 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return _SOUND.format("AAC")
    if len(head) > 3 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != 0x08 and head[2] >> 4 != 15:
        return _SOUND.format("MP3")
    text = head.removeprefix(b"\xef\xbb\xbf")
    return "not an image: a web page" if _HTML.match(text) else None


def _describe_box_file(head: bytes) -> str | None:
    """Of the family of MP4, to which HEIC and AVIF belong too."""
    (size,) = struct.unpack_from(">I", head)
    major, brands = head[8:12], {head[offset : offset + 4] for offset in (8, *range(16, min(size, len(head)), 4))}
    for brand, description in _BRANDS:
        if major.startswith(brand):
            return description
    return None if brands & _IMAGE_BRANDS else _FILM.format("MP4")


def explain_unsupported(head: bytes) -> str | None:
    """Why a file of a format that is read is none that can be; None where nothing speaks against it."""
    if head[:4] == b"8BPS" and len(head) >= 26:
        bits, mode = struct.unpack_from(">HH", head, 22)
        if bits not in (1, 8):
            return f"PSD of {bits} bits per sample is not supported"
        if mode not in _PSD_MODES:
            return f"PSD of this colour mode ({mode}) is not supported"
    if head[4:8] == b"ftyp" and b"unci" in head:
        return "HEIF without compression (unci) is not supported"
    return None


_PSD_MODES = frozenset((0, 1, 2, 3, 4, 7, 8, 9))
