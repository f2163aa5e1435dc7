"""Folders of classes teach a model what they are called; zero-shot accuracy says whether that helped."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmsearch.errors import TrainingError
from mmsearch.training.class_folders import read_class_folders
from mmsearch.training.finetune_run import finetune
from mmsearch.training.guards import compare, deciding_figure, judge
from mmsearch.training.records import FinetuneOptions, PairVectors, TrainingPairs
from mmsearch.training.splitting import split_pairs
from tests.conftest import Command
from tests.test_finetune_text import POSTCARDS, write_spoilt_model

pytestmark = pytest.mark.filterwarnings("ignore:the demo model knows drawn postcards")


def make_pairs(counts: list[int], *, templates: int = 1) -> TrainingPairs:
    """So many pictures of each class, in turn by picture, not by class."""
    classes = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)
    n = len(classes)
    return TrainingPairs(
        texts=tuple(f"{template} of {number}" for number in classes for template in range(templates)),
        image_of_text=np.repeat(np.arange(n), templates),
        files=tuple(f"{number}.jpg" for number in range(n)),
        groups=np.arange(n),
        image_vectors=np.zeros((n, 3), np.float32),
        text_vectors=np.zeros((n * templates, 3), np.float32),
        classes=classes,
    )


def test_each_class_is_divided_alike_and_a_single_picture_is_learned_from() -> None:
    split = split_pairs(make_pairs([40, 20, 8, 4, 2, 1]), seed=3)
    parts = (split.training, split.validation, split.held_out)
    counts = np.stack([np.bincount(part.classes, minlength=6) for part in parts if part.classes is not None])
    assert counts.tolist() == [[24, 12, 5, 2, 1, 1], [6, 3, 1, 1, 0, 0], [10, 5, 2, 1, 1, 0]]
    assert not set(split.training.files) & set(split.held_out.files)
    other = split_pairs(make_pairs([40, 20, 8, 4, 2, 1]), seed=4)
    assert other.held_out.files != split.held_out.files


def test_a_picture_that_stands_in_two_classes_is_on_one_side() -> None:
    pairs = make_pairs([20, 20])
    assert pairs.classes is not None
    one, other = (int(np.flatnonzero(pairs.classes == number)[0]) for number in (0, 1))
    pairs.groups[other] = pairs.groups[one]
    split = split_pairs(pairs)
    both = {f"{one}.jpg", f"{other}.jpg"}
    assert any(both <= set(part.files) for part in (split.training, split.validation, split.held_out))


def test_figures_of_classes_by_hand() -> None:
    """Three pictures of two classes with two templates. Picture 2 (of class 1) is nearest to a text of class 0, and
    its own class is nearest as the mean of its texts."""
    a, b, c = np.eye(3, dtype=np.float32)
    pairs = TrainingPairs(
        texts=("x0", "y0", "x0", "y0", "x1", "y1"),
        image_of_text=np.repeat(np.arange(3), 2),
        files=(None,) * 3,
        groups=np.arange(3),
        image_vectors=np.zeros((3, 3), np.float32),
        text_vectors=np.zeros((6, 3), np.float32),
        classes=np.array([4, 4, 9]),
    )
    texts = {"x0": a, "y0": np.array([0, 0.8, 0.6], np.float32), "x1": b, "y1": c}
    third = np.array([0.0, 0.8, 0.6], np.float32)
    vectors = PairVectors(np.stack([a, a, third]), np.stack([texts[text] for text in pairs.texts]))
    # Means: of class 0 (1, 0.8, 0.6) by its length 1.41, of class 1 (0, 1, 1) by 1.41: picture 2 has 0.71 and 0.99.
    assert deciding_figure(vectors, pairs) == 1.0
    spoilt = PairVectors(np.stack([a, c, third]), vectors.texts)
    assert deciding_figure(spoilt, pairs) == pytest.approx(2 / 3)
    found = compare("them", vectors, spoilt, pairs)
    assert found.decided_by == "zero-shot accuracy"
    assert found.accuracy is not None
    assert found.accuracy.first == 1.0
    assert found.accuracy.second == pytest.approx(2 / 3)
    # Before: y0 finds picture 2 first, wrongly, so do x1 and y1 rightly; picture 2 finds y0 first.
    assert found.figures["text_to_image R@1"].first == pytest.approx(4 / 6)
    assert found.figures["text_to_image R@5"].first == 1.0
    assert found.figures["image_to_text R@1"].first == pytest.approx(2 / 3)
    assert list(found.shown)[:2] == ["zero-shot accuracy", "mean recall"]
    assert judge(compare("them", vectors, vectors, pairs)) == "not surely better"


def write_classes(folder: Path, count: int) -> Path:
    """Postcards in folders by their time of day, as their specification has it."""
    for image in json.loads((POSTCARDS / "specifications.json").read_text())[:count]:
        place = folder / str(image["scene"]["time"])
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(POSTCARDS / "images" / image["filename"], place)
    return folder


@pytest.mark.soak
def test_a_model_learns_what_classes_are_called(tmp_path: Path, command_line: Command) -> None:
    spoilt = write_spoilt_model(tmp_path / "spoilt")
    folder = write_classes(tmp_path / "classes", 90)
    (folder / "classes.txt").write_text("")
    done = command_line(
        *("finetune", "--out", tmp_path / "taught", "--images", folder, "--model", spoilt, "--epochs", "0"),
        *("--template", "the landscape at {}", "--template", "{}"),
    )
    assert (done.code, "better" in done.out) == (0, True), done.err
    (line,) = [line for line in done.out.splitlines() if "zero-shot accuracy" in line]
    before, after = (float(word) for word in line.split()[2:5:2])
    assert after > before + 20
    record = json.loads((tmp_path / "taught" / "mmsearch_finetune.json").read_text())
    assert "said as the landscape at {}, {}" in record["data"]
    assert sum(images for images, _ in record["counts"].values()) == 90
    assert all(texts == 2 * images for images, texts in record["counts"].values())
    assert "| zero-shot accuracy |" in (tmp_path / "taught" / "README.md").read_text()


def test_folders_are_read_as_eval_reads_them(tmp_path: Path) -> None:
    for name in ("hot_dog/1.jpg", "hot_dog/more/2.png", "cat/1.jpg", "empty/notes.txt", "kitten/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    read = read_class_folders(tmp_path)
    assert read.texts == ["a photo of a cat.", "a photo of a hot dog.", "a photo of a kitten."]
    assert read.class_of == {"cat/1.jpg": 0, "hot_dog/1.jpg": 1, "hot_dog/more/2.png": 1, "kitten/1.jpg": 2}
    (tmp_path / "names.txt").write_text("cat\tcat\nhot_dog\tsausage\nkitten\tcat\n")
    named = read_class_folders(tmp_path, classes=tmp_path / "names.txt", templates=["{}", "one {}"])
    assert named.texts == ["cat", "one cat", "sausage", "one sausage"]
    assert named.class_of["kitten/1.jpg"] == named.class_of["cat/1.jpg"]


def test_what_holds_no_classes_is_refused(tmp_path: Path, command_line: Command) -> None:
    (tmp_path / "pictures" / "one").mkdir(parents=True)
    (tmp_path / "pictures" / "one" / "1.jpg").write_bytes(b"")
    out = tmp_path / "taught"
    with pytest.raises(TrainingError, match=r"1 folder with pictures.*Without --pairs.*at least two"):
        finetune(out, images=tmp_path / "pictures")
    (tmp_path / "pictures" / "two").mkdir()
    (tmp_path / "pictures" / "two" / "1.jpg").write_bytes(b"")
    (tmp_path / "names.txt").write_text("same\nsame\n")
    with pytest.raises(TrainingError, match="have one name"):
        finetune(out, images=tmp_path / "pictures", options=FinetuneOptions(classes=tmp_path / "names.txt"))
    with pytest.raises(TrainingError, match="need the folder of their images"):
        finetune(out, options=FinetuneOptions(templates=("{}",)))
    for wrong in (["--template", "{}"], ["--images", tmp_path, "--pairs", tmp_path / "c.csv", "--classes", "x"]):
        refused = command_line("finetune", "--out", out, *wrong)
        assert (refused.code, "are for folders of classes" in " ".join(refused.err.split())) == (2, True)
    assert not out.exists()


def test_pictures_that_cannot_be_read_are_left_out_and_said(tmp_path: Path, command_line: Command) -> None:
    folder = write_classes(tmp_path / "classes", 12)
    broken = next(folder.rglob("*.jpg"))
    broken.write_bytes(b"no picture")
    done = command_line("finetune", "--out", tmp_path / "taught", "--images", folder, "--model", "demo")
    assert (done.code, "pictures with captions: 11, of which 11 differ" in done.err) == (1, True)
    assert "1 of 12 pictures of the classes cannot be read" in done.err
