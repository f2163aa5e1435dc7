"""Names typed on a keyboard (NFC) find the files of a Mac (NFD), and the other way round."""

import json
import os
import unicodedata
from pathlib import Path
from typing import Literal, TypeAlias

import pytest

from mmsearch.benchmarks.image_folder import ImageFolder
from mmsearch.benchmarks.model import DraftImage
from mmsearch.gallery import Gallery
from mmsearch.locations import located
from mmsearch.names import on_disk
from mmsearch.search.counting import count_folders
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.own_items import row_named
from tests.conftest import Command
from tests.fakes import write_picture

Form: TypeAlias = Literal["NFC", "NFD"]
FORMS: tuple[Form, ...] = ("NFC", "NFD")


def typed(text: object, form: Form) -> str:
    return unicodedata.normalize(form, str(text))


@pytest.fixture(params=FORMS)
def stored(request: pytest.FixtureRequest) -> Form:
    form: Form = request.param
    return form


@pytest.fixture
def form(stored: Form) -> str:
    """The form in which it is typed: the other."""
    return "NFD" if stored == "NFC" else "NFC"


@pytest.fixture
def photos(tmp_path: Path, stored: Form) -> Path:
    folder = tmp_path / typed("Öl und Café", stored)
    write_picture(folder / typed("été/plage.png", stored), "red")
    write_picture(folder / typed("été/Ångström.png", stored), "green")
    write_picture(folder / "plain.png", "blue")
    return folder


@pytest.fixture
def gallery(photos: Path, tmp_path: Path, mmsearch: Command) -> Path:
    assert mmsearch("embed", photos, "-g", tmp_path / "g", "--model", "fake").code == 0
    return tmp_path / "g"


def paths(out: str) -> list[str]:
    return sorted(typed(json.loads(line)["path"], "NFC") for line in out.splitlines())


@pytest.mark.parametrize(
    "where",
    [
        "path like 'été/%'",
        "path ilike 'ÉTÉ/%'",
        "starts_with(path, 'été')",
        "path in ('été/plage.png', 'été/Ångström.png')",
        "regexp_matches(path, '^ét.*/')",
        "length(split_part(path, '/', 1)) = 3",
    ],
)
def test_filters(gallery: Path, form: Form, where: str, mmsearch: Command) -> None:
    asked = mmsearch("query", "red", "-g", gallery, "--where", typed(where, form), "--format", "jsonl")
    assert asked.code == 0, asked.err
    assert paths(asked.out) == ["été/plage.png", "été/Ångström.png"]


def test_pictures_that_are_named(gallery: Path, photos: Path, form: Form, mmsearch: Command) -> None:
    """By a path of the gallery, by a file, by a file to ask with, also with a weight."""
    file = typed(photos / "été/plage.png", form)
    assert not os.path.lexists(file)
    for options in (
        ["--like", typed("été/plage.png", form)],
        ["--like", file],
        ["--image", file],
        ["--image", f"{file}^2"],
    ):
        asked = mmsearch("query", *options, "-k", 3, "-g", gallery, "--format", "jsonl")
        assert asked.code == 0, asked.err
        assert len(paths(asked.out)) == 3 - ("--like" in options)


def test_files_beside_a_picture(tmp_path: Path, stored: Form, form: Form, mmsearch: Command) -> None:
    folder = tmp_path / "p"
    write_picture(folder / typed("été/Ångström.jpg", stored), "red")
    (folder / typed("été/Ångström.jpg.json", stored)).write_text("{}")
    write_picture(folder / "plain.jpg", "blue")
    (folder / "plain.jpg.json").write_text("{}")
    assert mmsearch("embed", folder, "-g", tmp_path / "g", "--model", "fake").code == 0
    where = typed("list_contains(files, 'été/Ångström.jpg.json')", form)
    asked = mmsearch("query", "red", "-g", tmp_path / "g", "--where", where, "--format", "jsonl")
    assert paths(asked.out) == ["été/Ångström.jpg"], asked.err
    gallery = Gallery.open(tmp_path / "g")
    named = row_named(gallery, typed("été/Ångström.jpg.json", form))
    assert named == row_named(gallery, typed("été/Ångström.jpg", form))


def test_folders_are_counted(tmp_path: Path, stored: Form, form: Form, mmsearch: Command) -> None:
    """As the page lists them: below a folder that is typed in the other form, and by its composed name."""
    write_picture(tmp_path / "p" / typed("été/Käfer/a.png", stored), "red")
    assert mmsearch("embed", tmp_path / "p", "-g", tmp_path / "g", "--model", "fake").code == 0
    opened = open_gallery(tmp_path / "g")
    root = opened.gallery.manifest.roots[0].id
    assert [(folder.path, folder.count) for folder in count_folders(opened, root)] == [("été", 1)]
    assert [folder.path for folder in count_folders(opened, root, typed("été", form))] == ["été/Käfer"]


def test_a_folder_that_is_gone_is_found_too(gallery: Path, photos: Path, form: Form, mmsearch: Command) -> None:
    photos.rename(photos.parent / "elsewhere")
    assert row_named(Gallery.open(gallery), typed(photos / "été/plage.png", form)) >= 0
    forgotten = mmsearch("forget", typed(photos, form), "-g", gallery)
    assert forgotten.code == 0, forgotten.err
    assert Gallery.open(gallery).live_rows("images") == 0


def test_what_embed_is_told(photos: Path, tmp_path: Path, form: Form, mmsearch: Command) -> None:
    """Folders, patterns, captions and lists."""
    captions = tmp_path / "c.csv"
    captions.write_text(typed("image,caption\nété/plage.png,a beach\nÅngström.png,a man\n", form))
    again = tmp_path / "list.csv"
    again.write_text(f"path\n{typed(photos / 'été/plage.png', form)}\n")
    g = tmp_path / "g"
    options = ["-g", g, "--model", "fake"]
    assert mmsearch("embed", typed(photos, form), *options, "--exclude", typed("été/Ång*", form)).code == 0
    assert Gallery.open(g).live_rows("images") == 2
    assert mmsearch("embed", typed(photos, form), *options, "--include", typed("/été/", form)).code == 0
    assert Gallery.open(g).live_rows("images") == 3
    assert len(Gallery.open(g).manifest.roots) == 1
    done = mmsearch("embed", photos, *options, "--captions", captions)
    assert done.code == 0, done.err
    assert {row.root_id for _, row in Gallery.open(g).all_captions()} == {1}
    listed = mmsearch("embed", again, *options)
    assert listed.code == 0, listed.err
    assert Gallery.open(g).live_rows("images") == 3


def test_the_images_of_a_benchmark(photos: Path, form: Form, stored: Form) -> None:
    found = ImageFolder(photos).find(DraftImage(typed("Ångström.png", form), "", ()))
    assert found == typed("été/Ångström.png", stored)


def test_two_files_that_differ_only_so_stay_two(tmp_path: Path, mmsearch: Command) -> None:
    """What is typed exactly as it is there is that one."""
    for place, form in enumerate(FORMS):
        write_picture(tmp_path / "p" / typed("é.png", form), "red", seed=place)
    if len(list((tmp_path / "p").iterdir())) == 1:
        pytest.skip("this file system takes both for one name")
    assert mmsearch("embed", tmp_path / "p", "-g", tmp_path / "g", "--model", "fake").code == 0
    gallery = Gallery.open(tmp_path / "g")
    rows = {row_named(gallery, typed("é.png", form)) for form in FORMS}
    assert len(rows) == 2
    for form in FORMS:
        file = tmp_path / "p" / typed("é.png", form)
        assert located(file) == file


def test_paths_that_are_not_there_stay_as_typed(tmp_path: Path) -> None:
    for name in ("é/ö.png", "e\u0301", "é\0", "é" * 300):
        assert on_disk(f"{tmp_path}/{name}") == f"{tmp_path}/{name}"
    listed: dict[str, dict[str, str]] = {}
    write_picture(tmp_path / "e\u0301.png", "red")
    for _ in range(3):
        assert on_disk(f"{tmp_path}/é.png", listed) == f"{tmp_path}/e\u0301.png"
    assert [*listed] == [str(tmp_path)]


def test_a_column_is_composed_whatever_its_pieces() -> None:
    """In pieces of which some are empty, with missing values, cut out of a longer one; ASCII is left alone."""
    import pyarrow as pa

    from mmsearch.names import composed_column

    apart = unicodedata.normalize("NFD", "été")
    column = pa.chunked_array([["x", apart, None], [], [apart + "/é", "b"]], pa.string())
    assert composed_column(column).to_pylist() == ["x", "été", None, "été/é", "b"]
    assert composed_column(column.slice(1, 3)).to_pylist() == ["été", None, "été/é"]
    plain = pa.chunked_array([["a", None]], pa.string())
    assert composed_column(plain) is plain
    assert composed_column(column.slice(0, 0)).to_pylist() == []
