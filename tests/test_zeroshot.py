"""Zero-shot classification with an encoder that knows colours."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsearch.errors import BenchmarkError
from mmsearch.evaluation import ZeroShotOptions, evaluate_zeroshot
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """A folder for each colour; one of the red pictures is green, and folders and files that are none lie about."""
    folder = tmp_path / "classes"
    for number, colour in enumerate(COLOURS):
        for place in range(4):
            shown = "green" if (colour, place) == ("red", 3) else colour
            write_picture(folder / f"the_{colour}" / "more" / f"{place}.png", shown, seed=10 * number + place)
    (folder / "empty").mkdir()
    (folder / ".hidden").mkdir()
    (folder / "notes.txt").write_text("x")
    return folder


def test_accuracies_classes_and_confusions(classes: Path) -> None:
    report = evaluate_zeroshot(classes, encoder=FakeEncoder(), options=ZeroShotOptions(templates=("all {}",)))
    assert (report.images, len(report.classes)) == (24, 6)
    assert report.top1 == pytest.approx(23 / 24)
    assert report.top5 == 1.0
    assert report.mean_per_class == pytest.approx((5 + 3 / 4) / 6)
    assert [(found.actual, found.predicted, found.images) for found in report.confusions] == [
        ("the red", "the green", 1)
    ]
    red = next(found for found in report.classes if found.folder == "the_red")
    assert (red.name, red.images, red.top1, red.top5) == ("the red", 4, 0.75, 1.0)
    assert report.intervals["top1"].low < report.top1 < report.intervals["top1"].high
    assert report.templates == ("all {}",)


def test_names_and_templates_of_ones_own(classes: Path, tmp_path: Path) -> None:
    """Names by folder, in any order; templates from a file."""
    named = tmp_path / "names.txt"
    named.write_text("".join(f"the_{colour}\t{colour} stuff\n" for colour in reversed(COLOURS)))
    report = evaluate_zeroshot(
        classes, encoder=FakeEncoder(), options=ZeroShotOptions(classes=named, templates=("{}", "some {}"))
    )
    assert report.top1 == pytest.approx(23 / 24)
    assert {found.name for found in report.classes} == {f"{colour} stuff" for colour in COLOURS}
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("\n".join([*list(COLOURS)[1:], "red"]) + "\n")  # in another order than the sorted folders
    assert evaluate_zeroshot(classes, encoder=FakeEncoder(), options=ZeroShotOptions(classes=wrong)).top1 < 0.5


def test_openai_templates_are_those_of_open_clip() -> None:
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    from mmsearch.encoders.prompts import templates_named

    found = templates_named(["openai"])
    assert [template.replace("{}", "cat") for template in found] == [make("cat") for make in OPENAI_IMAGENET_TEMPLATES]
    assert len(templates_named(["simple", "simple", "itap of a {}."])) == 7


def test_the_command_prints_and_writes(classes: Path, tmp_path: Path, mmsearch: Command) -> None:
    (tmp_path / "templates.txt").write_text("one {}\n\ntwo {}\n")
    done = mmsearch(
        *("eval", "zeroshot", "--images", classes, "--templates", tmp_path / "templates.txt"),
        *("--report", tmp_path / "out.json"),
    )
    assert done.code == 0
    assert "zero-shot: 24 images, 6 classes" in done.out
    assert "1 x the red taken for the green" in done.out
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["templates"] == ["one {}", "two {}"]
    assert document["top1"] == pytest.approx(23 / 24)


def test_bad_input_is_one_line_each(classes: Path, tmp_path: Path) -> None:
    def refused(message: str, images: Path = classes, **options: Any) -> None:
        with pytest.raises(BenchmarkError, match=message):
            evaluate_zeroshot(images, encoder=FakeEncoder(), options=ZeroShotOptions(**options))

    refused("does not exist", tmp_path / "absent")
    refused("0 folders with pictures", classes / "the_red" / "more")
    few, twice, other = tmp_path / "few.txt", tmp_path / "twice.txt", tmp_path / "other.txt"
    few.write_text("a\nb\n")
    other.write_text("somewhere\ta name\n")
    refused("2 names for 6 folders", classes=few)
    twice.write_text("the_red\ta\nthe_blue\tb\nthe_red\tc\n")
    refused("names the folder the_red twice", classes=twice)
    refused("no name for the folder the_black", classes=other)
    refused("cannot be read", classes=tmp_path / "absent")
    (classes / "the_red" / "more" / "0.png").write_text("broken")
    refused(r"1 of 24 images cannot be read.*--allow-missing")
    report = evaluate_zeroshot(classes, encoder=FakeEncoder(), options=ZeroShotOptions(allow_missing=True))
    assert (report.images, report.unreadable) == (23, ("the_red/more/0.png",))
    assert np.isfinite(report.mean_per_class)


def test_names_may_repeat_and_the_report_says_so(classes: Path, tmp_path: Path, mmsearch: Command) -> None:
    """As those of ImageNet-1k do; the class that comes first gets what is equal."""
    names = ["black", "blue", "green", "red", "white", "red"]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    assert sorted(f"the_{colour}" for colour in COLOURS)[3:] == ["the_red", "the_white", "the_yellow"]
    report = evaluate_zeroshot(
        classes, encoder=FakeEncoder(), options=ZeroShotOptions(classes=tmp_path / "names.txt", templates=("{}",))
    )
    assert [each.name for each in report.classes] == names
    assert any("1 names stand for several classes: red" in problem for problem in report.problems)
    assert any("(the_yellow)" in each.actual for each in report.confusions)


def test_a_folder_without_pictures_is_said_to_be_no_class_or_is_one(classes: Path, tmp_path: Path) -> None:
    report = evaluate_zeroshot(classes, encoder=FakeEncoder())
    assert any("1 folders without pictures are taken for no class: empty" in problem for problem in report.problems)
    (tmp_path / "n.txt").write_text("empty\ta void\n" + "".join(f"the_{name}\t{name}\n" for name in COLOURS))
    report = evaluate_zeroshot(classes, encoder=FakeEncoder(), options=ZeroShotOptions(classes=tmp_path / "n.txt"))
    empty = report.classes[0]
    assert (empty.folder, empty.name, empty.images, empty.top1) == ("empty", "a void", 0, None)
    assert report.mean_per_class == np.mean([each.top1 for each in report.classes[1:]])
    assert any("1 classes have no picture" in problem for problem in report.problems)


def test_several_models_are_compared_on_the_same_pictures(classes: Path, tmp_path: Path, mmsearch: Command) -> None:
    done = mmsearch(
        *("eval", "zeroshot", "--images", classes, "--model", "one", "--model", "two"),
        *("--report", tmp_path / "out.json"),
    )
    assert done.code == 0, done.err
    assert done.out.count("zero-shot: 24 images, 6 classes") == 2
    assert "two against one" in done.out
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["encoder"]["spec"] == "one"
    assert [other["encoder"]["spec"] for other in document["others"]] == ["two"]
    assert document["comparisons"][0]["differences"]["top1"]["value"] == 0.0
    done = mmsearch("eval", "zeroshot", "--images", classes, "--model", "one", "--model", "one")
    assert (done.code, "named before" in done.err) == (1, True)
