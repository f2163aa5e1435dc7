"""A server over a gallery in an S3 (moto's, on loopback), of pictures that lie there too."""

import time
from pathlib import Path

import pytest

from mmsearch.embedding import embed
from mmsearch.locations import Url
from tests.fakes import FakeEncoder, write_picture
from tests.s3 import bucket, files_of, server
from tests.servers import running

__all__ = ["bucket", "server"]  # fixtures


@pytest.fixture
def red(tmp_path: Path) -> Path:
    return write_picture(tmp_path / "photos" / "red.png", "red", seed=1)


def test_it_gives_what_the_store_holds_and_follows_it(bucket: Url, red: Path) -> None:
    """Pictures by their row, checked by their content; what is embedded meanwhile is found without a restart."""
    photos, gallery = bucket / "photos", bucket / "gallery"
    files_of("s3").pipe_file(f"{photos}/red.png", red.read_bytes())
    embed([photos], gallery=gallery, encoder=FakeEncoder())
    with running(gallery) as server:
        (hit,) = server.ask("red")["hits"]
        assert hit["file"] == f"{photos}/red.png"
        place = f"/api/images/{hit['row_id']}"
        assert server.get(f"{place}/original").content == red.read_bytes()
        assert server.get(f"{place}/thumbnail").headers["content-type"] == "image/jpeg"
        other = write_picture(red.parent / "blue.png", "blue", seed=2)
        files_of("s3").pipe_file(f"{photos}/blue.png", other.read_bytes())
        embed([photos], gallery=gallery, encoder=FakeEncoder())
        until = time.monotonic() + 30
        while len(hits := server.ask("blue")["hits"]) < 2 and time.monotonic() < until:
            time.sleep(0.1)
        assert [Path(each["file"]).name for each in hits] == ["blue.png", "red.png"]
        files_of("s3").pipe_file(f"{photos}/red.png", other.read_bytes())
        refused = server.get(f"{place}/original")
        assert (refused.status_code, refused.json()["error"]) == (410, "the file was changed since it was embedded")
