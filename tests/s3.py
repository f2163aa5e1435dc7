"""An S3 server for tests, one for each process that runs them, and a bucket of its own for each test."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mmsearch.locations import Url
from mmsearch.stores import objects
from scripts.s3_server import CREDENTIALS, s3_server

__all__ = ["files_of", "forget_connections", "server", "through"]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of the server."""
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Url]:
    """A bucket that is there for one test."""
    with through(server, monkeypatch):
        name = f"test-{secrets.token_hex(4)}"
        files_of("s3").mkdir(name)
        yield Url(f"s3://{name}")


@contextmanager
def through(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have s3:// mean the server at an address."""
    with monkeypatch.context() as patch:
        for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": address}).items():
            patch.setenv(name, value)
        forget_connections()
        yield
    forget_connections()


def forget_connections() -> None:
    import fsspec

    for scheme in ("s3", "memory"):
        fsspec.get_filesystem_class(scheme).clear_instance_cache()
    objects.objects_of.cache_clear()


def files_of(scheme: str) -> Any:
    """fsspec's own view of a store."""
    return objects.objects_of(scheme)._files
