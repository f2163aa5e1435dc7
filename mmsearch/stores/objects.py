"""The objects of a store, through fsspec: requests are tried again where that helps, errors hold no credentials.

Everything is asked anew: fsspec's own cache of listings would show a gallery as it was.
"""

import errno
import math
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from mmsearch.errors import StoreError
from mmsearch.locations import Url, redacted
from mmsearch.stores.store_entries import ObjectListing, StoredObject

__all__ = ["CONNECTIONS", "Objects", "TornObject", "StoreUnavailable", "objects_of"]

_T = TypeVar("_T")

CONNECTIONS = 64
"""Requests at a time, at most; more wait for each other."""

# Which package speaks a scheme, and our extra that brings it.
_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), ("s3fs", "s3")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "gs")),
    **dict.fromkeys(("az", "abfs", "abfss"), ("adlfs", "az")),
}
# Where `mode="create"` is decided by the store and not by a look beforehand: If-None-Match, ifGenerationMatch.
_CREATES = (*_PACKAGES, "memory")

_TRIES = 6
_FIRST_WAIT = 0.5  # seconds; doubled each time, and between half and all of it is waited
_MOST_SECONDS = 60.0  # after which no further try is begun
_PART = 1 << 24  # bytes of a file that are fetched by one request
_AT_ONCE = 8  # parts
_IN_PARTS = 50_000_000  # from this size on s3fs may upload a file in parts, each by a request

# What packages call the lack of credentials, none of them an OSError.
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError")
# Whose exceptions tell of a request; those of others are bugs.
_OF_REQUESTS = (
    *("botocore", "aiobotocore", "aiohttp", "azure", "google", "gcsfs", "requests", "urllib3"),
    *("fsspec", "s3fs", "adlfs", "http", "ssl", "asyncio"),
)
_FINAL = (errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENAMETOOLONG, errno.EMSGSIZE, errno.ENOSPC, errno.EDQUOT)
_WORTH_ANOTHER_TRY = (408, 409, 425, 429)  # and all from 500


class StoreUnavailable(OSError):
    """The store gave no answer, or none that helps, however often it was asked."""


class TornObject(OSError):
    """An object has another size than it was said to have."""


class Objects:
    """All objects of the stores of one scheme. Thread-safe.

    Raises FileNotFoundError, PermissionError, StoreUnavailable and other OSErrors, each with the URL as its filename
    and without its cause, which may hold secrets.
    """

    def __init__(self, scheme: str) -> None:
        self.creates = scheme in _CREATES
        self._buckets = scheme in _PACKAGES
        self._files = _filesystem(scheme)

    def find(self, url: Url) -> StoredObject | None:
        """An object; None for a folder."""
        info = self._request(url, lambda path: self._files.info(path))
        return None if info["type"] == "directory" else _stored_object(url.name, info)

    def require_bucket(self, url: Url) -> None:
        """Raise FileNotFoundError where the store says that the bucket of a URL is not there."""
        bucket = Url(url.anchor)
        if not self._buckets:
            return
        try:
            self._request(bucket, lambda path: self._files.info(path))
        except PermissionError:  # who may read or write a part of a bucket may not look at all of it
            return
        except FileNotFoundError:
            pass
        else:
            return
        raise FileNotFoundError(errno.ENOENT, "there is no such bucket", str(bucket))

    def list(self, url: Url) -> ObjectListing:
        """What stands directly in a folder, sorted by name. Raises FileNotFoundError where there is nothing."""

        def list_path(path: str) -> Any:
            self._files.invalidate_cache()
            return self._files.ls(path, detail=True)

        files, folders, unaddressable = [], [], []
        prefix = self._files._strip_protocol(url.text) + "/"
        for info in self._request(url, list_path):
            is_folder = info["type"] == "directory"
            if not info["name"].startswith(prefix) or (info["name"] == prefix and not info["size"] and not is_folder):
                continue  # the object that marks a folder
            name = info["name"][len(prefix) :]
            name = name.removesuffix("/") if is_folder else name
            if not name or "/" in name or name in (".", ".."):
                unaddressable.append(f"{name}/…")
            elif is_folder:
                folders.append(name)
            else:
                files.append(_stored_object(name, info))
        return ObjectListing(
            tuple(sorted(files, key=lambda file: file.name)), tuple(sorted(folders)), tuple(unaddressable)
        )

    def read(self, url: Url, start: int = 0, end: int | None = None) -> bytes:
        """The bytes [start, end) of an object, as far as it has them; one request."""
        try:
            data = self._request(url, lambda path: self._files.cat_file(path, start=start, end=end))
        except OSError as error:
            if error.errno == errno.ERANGE:  # nothing stands there: an empty object, or after its end
                return b""
            raise
        return bytes(data)

    def download(self, url: Url, target: Path, size: int) -> None:
        """Write an object into a file. Raises TornObject where it does not have `size` bytes."""
        write_lock = Lock()

        def fetch_part(start: int) -> int:
            data = self.read(url, start, None if start + _PART >= size else start + _PART)
            with write_lock:
                file.seek(start)
                return file.write(data)

        with target.open("wb") as file:
            starts = range(0, max(1, size), _PART)
            if len(starts) == 1:
                written = fetch_part(0)
            else:
                with ThreadPoolExecutor(_AT_ONCE) as readers:
                    written = sum(readers.map(fetch_part, starts))
        if written != size:
            raise TornObject(errno.EIO, f"{written:,} bytes came instead of {size:,}", str(url))

    def upload(self, file: Path, url: Url) -> None:
        """Make an object of a file. It can be seen when it is whole."""
        # Of a file that is uploaded in parts, s3fs has to try parts again; else one failed part would restart them all.
        files = self._files if file.stat().st_size < _IN_PARTS else _filesystem(url.scheme, attempts=_TRIES)
        self._request(url, lambda path: files.put_file(str(file), path), most_seconds=math.inf)

    def create(self, url: Url, data: bytes) -> None:
        """Make an object, if there is none of that name. Raises FileExistsError, also where an earlier try of this call
        came through and its answer was lost."""
        self._request(url, lambda path: self._files.pipe_file(path, data, mode="create"))

    def delete(self, url: Url) -> None:
        """Remove an object; one that is gone is fine."""
        try:
            self._request(url, lambda path: self._files.rm_file(path))
        except FileNotFoundError:
            return

    def _request(self, url: Url, ask: Callable[[str], _T], *, most_seconds: float = _MOST_SECONDS) -> _T:
        path = self._files._strip_protocol(url.text)
        began, reason = time.monotonic(), ""
        for tries in range(1, _TRIES + 1):
            try:
                return ask(path)
            except Exception as error:  # noqa: BLE001 - each package raises its own
                failure, reason = _failure(error, url), _reason(error)
            if failure is not None:
                raise failure  # outside of the `except` block, so that the error does not hold its cause
            if tries == _TRIES or time.monotonic() - began > most_seconds:
                break
            time.sleep(_FIRST_WAIT * 2 ** (tries - 1) * random.uniform(0.5, 1))
        seconds = time.monotonic() - began
        raise StoreUnavailable(errno.EIO, f"no answer in {tries} tries over {seconds:.0f} s ({reason})", str(url))


@lru_cache
def objects_of(scheme: str) -> Objects:
    """The objects of a scheme. Raises StoreError where the package for it is missing."""
    return Objects(scheme)


# A forked process may not go on with the connections of its parent.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=objects_of.cache_clear)


def _filesystem(scheme: str, attempts: int = 1) -> Any:
    """The file system of a scheme, as one of ours. attempts: how often it may try a single request by itself."""
    import fsspec

    try:
        files = fsspec.filesystem(scheme, use_listings_cache=False, **_options(scheme, attempts))
    except ImportError:
        package, extra = _PACKAGES.get(scheme, (f"the package that fsspec takes for {scheme}", ""))
        how = f"pip install 'mmsearch[{extra}]'" if extra else "see fsspec's list of implementations"
        raise StoreError(f"{scheme}:// needs {package}: {how}") from None
    except ValueError:
        raise StoreError(f"{scheme}:// is no scheme that fsspec knows; s3://, gs:// and az:// are") from None
    if scheme in ("s3", "s3a"):
        files.retries = attempts  # or its tries would multiply with ours
    return files


def _options(scheme: str, attempts: int) -> dict[str, Any]:
    if scheme not in ("s3", "s3a"):
        return {}
    from fsspec.config import conf

    our_options = {
        "max_pool_connections": CONNECTIONS,
        "retries": {"mode": "standard", "total_max_attempts": attempts},
        "connect_timeout": 10,
        "read_timeout": 20,
    }
    return {"config_kwargs": {**our_options, **conf.get(scheme, {}).get("config_kwargs", {})}}


def _stored_object(name: str, info: dict[str, Any]) -> StoredObject:
    """What a file system says of an object; each calls the same things by names of its own."""
    modified = next((info[key] for key in _MODIFIED if info.get(key)), 0)
    etag = next((str(info[key]) for key in ("ETag", "etag") if info.get(key)), None)
    return StoredObject(name, int(info["size"]), _nanoseconds(modified), etag.strip('"') if etag else None)


_MODIFIED = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")


def _nanoseconds(moment: Any) -> int:
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    seconds = moment.timestamp() if isinstance(moment, datetime) else float(moment)
    return int(seconds * 1_000_000) * 1_000


def _failure(error: Exception, url: Url) -> Exception | None:
    """The error to raise for an error of a package; None where another try may help."""
    reason, url_text, status = _reason(error), str(url), _status(error)
    if isinstance(error, TimeoutError):
        return None
    if isinstance(error, FileExistsError) or status == 412:
        return FileExistsError(errno.EEXIST, reason, url_text)
    if isinstance(error, (FileNotFoundError, KeyError)) or status == 404:
        return FileNotFoundError(errno.ENOENT, f"nothing is there ({reason})", url_text)
    if type(error).__name__ in _NO_CREDENTIALS:
        return PermissionError(errno.EACCES, f"no credentials for it were found ({reason})", url_text)
    if isinstance(error, PermissionError) or status in (401, 403):
        return PermissionError(errno.EACCES, f"access denied ({reason})", url_text)
    if status == 416:
        return OSError(errno.ERANGE, reason, url_text)
    if status is not None:
        is_worth_another_try = status >= 500 or status in _WORTH_ANOTHER_TRY
        return None if is_worth_another_try else OSError(errno.EINVAL, reason, url_text)
    if isinstance(error, OSError):
        return OSError(error.errno, reason, url_text) if error.errno in _FINAL else None
    if type(error).__module__.partition(".")[0] in _OF_REQUESTS:
        return None
    if isinstance(error, ValueError):  # what cannot be a bucket, or a key
        return OSError(errno.EINVAL, reason, url_text)
    return error


def _reason(error: BaseException) -> str:
    text = " ".join(redacted(str(error)).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def _status(error: BaseException | None) -> int | None:
    """The HTTP status that an error, or what caused it, tells of."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or None
        for name in ("status_code", "status", "code"):
            if isinstance(code := getattr(error, name, None), int) and 400 <= code < 600:
                return code
        error = error.__cause__
    return None
