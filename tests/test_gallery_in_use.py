"""`mmsearch use`: the gallery that answers from anywhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmsearch.embedding import embed
from mmsearch.errors import GalleryNotFound, StoreError
from mmsearch.gallery import Gallery, find_gallery, gallery_in_use, use_gallery, use_no_gallery
from tests.conftest import Command
from tests.fakes import FakeEncoder
from tests.terminals import errors_in_a_terminal

pytestmark = pytest.mark.filterwarnings("ignore::mmsearch.errors.MmsearchNote")


@pytest.fixture
def gallery(photos: Path, fake: FakeEncoder) -> Path:
    embed([photos], gallery=photos.parent / "g", encoder=fake)
    return photos.parent / "g"


def test_the_gallery_in_use_answers_from_anywhere(gallery: Path, mmsearch: Command) -> None:
    assert "no gallery in" in (refused := mmsearch("query", "red")).err
    assert "mmsearch use GALLERY" in refused.err
    assert mmsearch("use", gallery).out == f"in use    {gallery}\n"
    assert mmsearch("use").out == f"in use    {gallery}\n"
    done = mmsearch("query", "red", "-k", 2)
    assert (done.code, len(done.out.splitlines()), done.err) == (0, 2, "")
    assert mmsearch("use", "--none").out == f"in use    none; it was {gallery}\n"
    assert "none" in mmsearch("use").out
    assert mmsearch("query", "red").code == 1
    assert mmsearch("use", "--none").code == 0


@pytest.mark.parametrize("name", ["two\nlines", "ends\n", "g\u00e4l", " g "])
def test_a_gallery_of_any_name_is_in_use(name: str, gallery: Path) -> None:
    place = gallery.rename(gallery.parent / name)
    assert use_gallery(place) == gallery_in_use() == place
    assert Gallery.open().path == place


def test_what_is_named_and_what_is_nearer_come_first(
    gallery: Path, photos: Path, fake: FakeEncoder, mmsearch: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    use_gallery(gallery)
    (tmp_path / "here" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "below")
    assert Gallery.open().path == gallery
    embed([photos / "more"], gallery=tmp_path / "here" / ".mmsearch", encoder=fake)
    assert Gallery.open().path == tmp_path / "here" / ".mmsearch"
    assert "it is nearer" in mmsearch("use").err
    embed([photos / "more"], gallery=tmp_path / "named", encoder=fake)
    monkeypatch.setenv("MMSEARCH_GALLERY", str(tmp_path / "named"))
    assert Gallery.open().path == tmp_path / "named"
    assert "MMSEARCH_GALLERY names it" in mmsearch("use").err
    assert Gallery.open(gallery).path == gallery
    monkeypatch.setenv("MMSEARCH_GALLERY", str(tmp_path / "nowhere"))
    with pytest.raises(GalleryNotFound, match="no gallery at"):  # what is named and wrong is not replaced in silence
        Gallery.open()


def test_pictures_that_are_named_never_go_into_the_gallery_in_use(
    gallery: Path, photos: Path, mmsearch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_gallery(gallery)
    before = Gallery.open(gallery).manifest.version
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert mmsearch("embed", "--model", "fake", photos / "more").code == 0
    assert find_gallery() == tmp_path / "elsewhere" / ".mmsearch"
    assert Gallery.open(gallery).manifest.version == before


def test_embed_alone_syncs_the_gallery_in_use(
    gallery: Path, photos: Path, mmsearch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_gallery(gallery)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (photos / "red.png").unlink()
    done = mmsearch("embed")
    assert f"gallery   {gallery}" in done.out
    assert "1 deleted" in done.out
    assert os.listdir() == []


def test_a_gallery_in_use_that_is_gone_is_said_with_what_to_do(gallery: Path, mmsearch: Command) -> None:
    use_gallery(gallery)
    gallery.rename(gallery.with_name("away"))
    for command in (["query", "red"], ["info"], ["embed"]):
        done = mmsearch(*command)
        assert done.code == 1
        assert re.fullmatch(
            rf"mmsearch: error: the gallery in use, {gallery}, is not there: .*: mmsearch use --none\n", done.err
        )
    assert "NOT THERE" in mmsearch("use").out
    gallery.with_name("away").rename(gallery)
    assert mmsearch("query", "red").code == 0


def test_only_a_gallery_can_be_used(tmp_path: Path, mmsearch: Command) -> None:
    done = mmsearch("use", tmp_path)
    assert done.code == 1
    assert f"no gallery at {tmp_path}. Make one with: mmsearch embed" in done.err
    assert gallery_in_use() is None
    assert mmsearch("use", tmp_path, "--none").code == 2


@pytest.mark.parametrize("content", [b"", b"\n", b"\0/x\n", b"\xff\xfe/nowhere\n", b"/x" * 100_000])
def test_whatever_stands_in_its_file_there_is_no_traceback(content: bytes, mmsearch: Command) -> None:
    file = Path(os.environ["MMSEARCH_CONFIG"]) / "gallery"
    file.write_bytes(content)
    for command in (["use"], ["query", "red"], ["use", "--none"]):
        assert mmsearch(*command).code in (0, 1)
    assert not file.exists()


def test_a_name_that_is_no_text_is_kept(photos: Path, fake: FakeEncoder) -> None:
    place = photos.parent / os.fsdecode(b"g-\xff")
    embed([photos], gallery=place, encoder=fake)
    assert use_gallery(place) == gallery_in_use() == place
    assert use_no_gallery() == place


def test_a_home_that_cannot_be_written_is_said(
    gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mmsearch: Command
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MMSEARCH_CONFIG", str(tmp_path / "file" / "config"))
    with pytest.raises(
        StoreError, match=r"cannot write .*file/config/gallery: .* Without it: export MMSEARCH_GALLERY="
    ):
        use_gallery(gallery)
    assert mmsearch("use", gallery).code == 1
    assert mmsearch("use").out.startswith("in use    none")
    assert mmsearch("use", "--none").code == 0


def test_without_the_variable_it_stands_where_the_platform_has_it(
    gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MMSEARCH_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("platformdirs.user_config_dir", lambda name: str(tmp_path / "config" / name))
    use_gallery(gallery)
    assert (tmp_path / "config" / "mmsearch" / "gallery").read_text("utf-8") == f"{gallery}\n"
    assert gallery_in_use() == gallery


def test_who_watches_is_told_which_gallery_answers(gallery: Path, tmp_path: Path) -> None:
    use_gallery(gallery)
    shown = errors_in_a_terminal(tmp_path, "query", "--like", "red.png", "--format", "paths")
    assert shown.splitlines() == [f"mmsearch: the gallery in use answers: {gallery}"]
    shown = errors_in_a_terminal(tmp_path, "query", "--like", "red.png", "--format", "paths", "-g", gallery)
    assert shown == ""


def test_a_query_of_a_gallery_that_is_near_does_not_look_for_the_one_in_use(gallery: Path) -> None:
    code = (
        "import sys\nfrom mmsearch.cli import main\n"
        f"sys.argv = ['mmsearch', 'query', '--like', 'red.png', '-g', {str(gallery)!r}]\nmain()\n"
        "sys.exit(str({'platformdirs'} & set(sys.modules) or ''))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MMSEARCH_CONFIG"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=gallery.parent, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
