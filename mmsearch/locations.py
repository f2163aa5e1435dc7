"""Where something is: a path on this machine, or the URL of something in an object store.

A URL is never held in a `Path`, which would take one of its slashes away.
"""

import os
import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from urllib.parse import quote, unquote_to_bytes

from mmsearch.errors import StoreError
from mmsearch.names import on_disk

__all__ = ["Location", "Url", "expanded", "joined", "located", "redacted", "url_of"]

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_WEB = ("http", "https", "ftp")
_LOCAL = ("file", "local")
# What a URL becomes in a Path.
_MANGLED = re.compile(r"(s3a?|gs|gcs|az|abfss?|memory):/[^/]")
# name:secret@… as in s3://KEY:SECRET@bucket, where secrets may hold slashes. A user's name alone (sftp://anna@host,
# abfs://container@account) is none.
_USERINFO = re.compile(r"(://)[^/@\s:]*:[^@\s]*@")
# What signed URLs carry, and what people append to addresses.
_SIGNED = re.compile(
    r"([?&](?:x-amz-[a-z-]+|x-goog-[a-z-]+|awsaccesskeyid|signature|sig|[a-z_-]*(?:secret|token|password|key))=)[^&\s\"'<>]+",
    re.IGNORECASE,
)
_SECRET_NAMES = re.compile(
    r"SECRET|TOKEN|PASSWORD|ACCESS_KEY|ACCOUNT_KEY|STORAGE_KEY|CONNECTION_STRING|_SAS|SAS_", re.IGNORECASE
)
_SHORTEST_SECRET = 8


class Url:
    """A place in an object store, with those members of a Path that need no look at it.

    text: "s3://bucket/photos/a b.jpg", the key as it is, nothing percent-encoded, no slash at the end.
    """

    # Not a dataclass: `asdict` of a report should leave it as it leaves a Path.
    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __fspath__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Url({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __truediv__(self, name: str | os.PathLike[str]) -> "Url":
        below = os.fspath(name).replace(os.sep, "/")
        return self if below in ("", ".") else Url(f"{self.text}/{below}")

    @property
    def scheme(self) -> str:
        return self.text.partition("://")[0]

    @property
    def key(self) -> str:
        """The part after "s3://", which begins with the bucket."""
        return self.text.partition("://")[2]

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "Url":
        """The folder; of a bucket itself."""
        folder, slash, _ = self.key.rpartition("/")
        return Url(f"{self.scheme}://{folder}") if slash else self

    @property
    def anchor(self) -> str:
        """The bucket."""
        return f"{self.scheme}://{self.key.partition('/')[0]}"

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.anchor, *self.key.split("/")[1:])

    def is_relative_to(self, other: "Location") -> bool:
        return isinstance(other, Url) and (self == other or self.text.startswith(f"{other.text}/"))

    def relative_to(self, other: "Location") -> PurePosixPath:
        if not self.is_relative_to(other):
            raise ValueError(f"{self} is not below {other}")
        return PurePosixPath(self.text[len(str(other)) + 1 :])

    def as_uri(self) -> str:
        """Percent-encoded, as it stands in a manifest."""
        return f"{self.scheme}://{quote(self.key, safe='/@:')}"

    @classmethod
    def from_uri(cls, uri: str) -> "Url":
        scheme, _, key = uri.partition("://")
        return cls(f"{scheme}://{unquote_to_bytes(key).decode('utf-8', 'surrogateescape')}")

    def at(self, relative: str) -> "Url":
        """What stands at a path relative to here, which may lead up: "../photos"."""
        bucket, _, key = self.key.partition("/")
        joined = posixpath.normpath(f"/{key}/{relative}").strip("/")
        return Url(f"{self.scheme}://{bucket}/{joined}" if joined else f"{self.scheme}://{bucket}")


Location: TypeAlias = Path | Url


def located(place: str | os.PathLike[str], listed: dict[str, dict[str, str]] | None = None) -> Location:
    """A place as it is typed: an absolute path, links not resolved ("x/../g" and "g" are one place), or a URL.

    A name typed in another form of Unicode than the file system has it in is the one that is there. listed: as of
    `on_disk`. Raises StoreError for a URL that holds credentials, is one of the web, names no bucket, or went through a
    Path.
    """
    text = os.fspath(place)
    found = _SCHEME.match(text)
    if found is None:
        if _MANGLED.match(text) and not os.path.isdir(text.partition("/")[0]):  # noqa: PTH112 - a folder called s3:
            raise StoreError(f"{redacted(text)} is a URL that went through a Path and lost a slash; give it as text")
        path = os.path.abspath(expanded(text))  # noqa: PTH100 - resolve() would follow links
        return Path(on_disk(path, listed))
    scheme = found[1].lower()
    if (clean := redacted(text)) != text:
        raise StoreError(
            f"{clean} holds credentials, which would end up in manifests, logs and the history of your shell. Leave "
            "them out: they are taken from where the store's own tools take them (environment, profile, role)"
        )
    if scheme in _WEB:
        raise StoreError(f"{text} is an address of the web, which is not read. Download it first: curl -O {text}")
    key = text[found.end() :].strip("/") if scheme not in _LOCAL else ""
    if scheme in _LOCAL:
        return Path(on_disk(os.path.abspath(text[found.end() :]), listed))  # noqa: PTH100
    if not key:
        raise StoreError(f"{text} names no bucket; expected {scheme}://BUCKET or {scheme}://BUCKET/FOLDER")
    return Url(f"{scheme}://{key}")


def expanded(place: str | os.PathLike[str]) -> Path:
    """A path with ~ and ~name read as a shell does: where there is no such user, it is the name of a file (~.jpg)."""
    return Path(os.path.expanduser(place))  # noqa: PTH111 - that of Path raises for the home of nobody


def url_of(location: str) -> Url | None:
    """The URL that the text of a location is; None for a path."""
    return Url(location) if _SCHEME.match(location) else None


def joined(base: str, name: str) -> str:
    """The text of the location that `name` means, seen from the location `base`: a relative path, or one of its own."""
    url = url_of(base)
    if url_of(name) is not None:
        return name
    if url is None or os.path.isabs(name):  # noqa: PTH117
        return os.path.normpath(os.path.join(base, name))  # noqa: PTH118
    return str(url.at(name))


def redacted(text: str) -> str:
    """Text of others (an error, a URL) without what may be credentials: signed parts, secrets of the environment."""
    text = _SIGNED.sub(r"\1***", _USERINFO.sub(r"\1***@", text))
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and value in text and _SECRET_NAMES.search(name):
            text = text.replace(value, "***")
    return text
