"""The bundled model through the whole of mmsearch: real text, drawn pictures, real recall."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import mmsearch
from mmsearch.encoders.specs import CONFIG_NAME, demo_folder
from scripts.postcards.dataset import load_test
from scripts.postcards.queries import QUERIES, Query, matches
from scripts.postcards.scene import Scene

README = Path(__file__).resolve().parents[1] / "README.md"
DATA = Path(__file__).resolve().parents[1] / "data"
POSTCARDS = DATA / "postcards"

pytestmark = pytest.mark.skipif(
    not (demo_folder() / CONFIG_NAME).is_file(), reason="the demo model is not part of this checkout"
)


@pytest.fixture(scope="module")
def postcards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gallery of the 1,000 postcards and their captions, made by the command line."""
    folder = tmp_path_factory.mktemp("postcards")
    captions = folder / "captions.jsonl"
    with captions.open("w") as file:
        for image in json.loads((POSTCARDS / "dataset_postcards.json").read_text())["images"]:
            for sentence in image["sentences"]:
                print(json.dumps({"image": image["filename"], "caption": sentence["raw"]}), file=file)
    done = run(folder, "embed", POSTCARDS / "images", "--captions", captions, "--model", "demo", "-g", folder / "g")
    assert "pictures  1,000 in the gallery: 1,000 added" in done.stdout
    assert "captions  5,000 in the gallery: 5,000 added" in done.stdout
    assert "warning: the demo model knows drawn postcards" in done.stderr
    assert "picture that the gallery does not hold" not in done.stderr
    run(folder, "index", "-g", folder / "g")
    run(folder, "index", "--in", "captions", "-g", folder / "g")
    return folder / "g"


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MMSEARCH_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "mmsearch", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def opened(postcards: Path) -> mmsearch.OpenGallery:
    return mmsearch.open_gallery(postcards)


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    """File name -> what the picture was drawn from."""
    return {postcard.filename: postcard.scene for postcard in load_test(POSTCARDS)}


def test_the_first_query_of_a_newcomer(postcards: Path, scenes: dict[str, Scene]) -> None:
    """From the shell: all ten are sunsets over mountains, by what they were drawn from."""
    hits = run(postcards.parent, "query", "sunset over mountains", "-g", postcards, "--format", "jsonl").stdout
    names = [json.loads(line)["path"] for line in hits.splitlines()]
    assert len(names) == 10
    assert all(matches(QUERIES[0], scenes[name]) for name in names)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.text)
def test_fixed_queries_bring_what_they_ask_for(
    opened: mmsearch.OpenGallery, scenes: dict[str, Scene], query: Query
) -> None:
    hits = opened.query(query.text, k=10)
    wrong = [hit.path for hit in hits if not matches(query, scenes[hit.path or ""])]
    assert not wrong


def test_words_for_a_picture(opened: mmsearch.OpenGallery) -> None:
    """The best captions of a picture are mostly its own: of 5,000, at least half of the first four."""
    own = 0
    for number in range(0, 1000, 50):
        name = f"postcard_{number:04}.jpg"
        hits = opened.query(image=POSTCARDS / "images" / name, k=4, table="captions")
        own += sum(hit.path == name for hit in hits)
    assert own >= 40


def test_a_picture_that_is_not_in_the_gallery_finds_its_like(
    opened: mmsearch.OpenGallery, scenes: dict[str, Scene], tmp_path: Path
) -> None:
    """A postcard drawn again in another seed, saved as PNG: what it finds first is the same kind of scene."""
    from scripts.postcards.render import render

    name = "postcard_0001.jpg"
    render(scenes[name], 12345).save(tmp_path / "new.png")
    hits = opened.query(image=tmp_path / "new.png", k=3)
    assert name in {hit.path for hit in hits}


@pytest.mark.soak
def test_recall_on_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the same protocol as Flickr30k; the floors are the ceiling's R@1 and R@10 times .9 and .95."""
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path))
    report = mmsearch.evaluate(
        "custom",
        images=POSTCARDS / "images",
        annotations=POSTCARDS / "dataset_postcards.json",
        encoder="demo",
    )
    assert (report.images, report.captions, report.split, report.truncated) == (1000, 5000, "test", 0)
    assert report.text_to_image.recall[1] >= 0.9 * 0.6031
    assert report.text_to_image.recall[10] >= 0.95 * 0.8903
    assert report.image_to_text.recall[1] >= 0.9 * 0.9964
    assert report.image_to_text.recall[10] >= 0.95


def test_the_readme_shows_what_the_demo_prints(postcards: Path) -> None:
    """Its queries with their answers: the same hits in the same order, scores to three digits (processors differ)."""
    shown = re.findall(r"^\$ mmsearch (query .+)\n((?:\d.*\n)+)", README.read_text("utf-8"), flags=re.MULTILINE)
    assert len(shown) == 2
    for command, answer in shown:
        arguments = shlex.split(command.replace("demo_out/gallery", str(postcards)).replace("data/", f"{DATA}/"))
        printed = run(postcards.parent, *arguments).stdout.replace(f"{DATA}/", "data/")
        for line, expected in zip(printed.splitlines(), answer.splitlines(), strict=True):
            (rank, score, hit), (its_rank, its_score, its_hit) = line.split("\t"), expected.split("\t")
            assert (rank, hit) == (its_rank, its_hit)
            assert float(score) == pytest.approx(float(its_score), abs=1e-3)


NAMES = {
    "noon": "noon",
    "sunset": "sunset",
    "moonlit night": "moon",
    "starry night": "stars",
    "storm": "storm",
    "fog": "fog",
    "mountains": "mountains",
    "sea": "sea",
    "desert": "desert",
    "forest": "forest",
    "fields": "fields",
    "city": "city",
    "snow": "snow",
    "sheep": "sheep",
    "lighthouse": "lighthouse",
}
"""What albums of postcards could be called, and the time, the land or the thing that is meant."""


def shows(scene: Scene, fact: str) -> bool:
    return fact in (scene.time, scene.land, *(thing.kind for thing in scene.things))


@pytest.mark.soak
@pytest.mark.parametrize("k", [None, 14])
def test_albums_are_what_was_drawn_and_are_called_so(
    postcards: Path, scenes: dict[str, Scene], tmp_path: Path, k: int | None
) -> None:
    """Left alone, the albums are the six times or the seven lands; more of them, and each has mostly what its name
    says, by far more than the rest."""
    words = tmp_path / "words.txt"
    words.write_text("\n".join(NAMES))
    report = mmsearch.clusters(postcards, words=words, k=k)
    gallery = mmsearch.open_gallery(postcards)
    drawn = {
        hit.path: scenes[hit.path or ""] for album in report.all_albums for hit in mmsearch.album_hits(gallery, album)
    }
    assert len(drawn) == report.pictures == 1000
    right = 0
    for album in report.albums:
        meant = NAMES[album.name.partition(", ")[0]]
        members = [scenes[hit.path or ""] for hit in mmsearch.album_hits(gallery, album)]
        share = sum(shows(scene, meant) for scene in members) / len(members)
        usual = sum(shows(scene, meant) for scene in drawn.values()) / len(drawn)
        assert share > 2 * usual, album.name
        right += sum(shows(scene, meant) for scene in members)
    if k is None:
        assert len(report.albums) in (6, 7)
        assert right >= 0.98 * (1000 - (report.other.pictures if report.other else 0))
    assert right > 800
    assert len({album.name for album in report.albums}) == len(report.albums)
