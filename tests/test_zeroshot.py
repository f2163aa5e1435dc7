"""Zero-shot classification with an encoder that knows colours."""

import csv
import io
import json
import re
import secrets
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmsearch.benchmarks.class_sets import ClassFinder, class_set_names, load_class_set
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation import (
    ClassResult,
    Confusion,
    ZeroShotClass,
    ZeroShotOptions,
    ZeroShotReport,
    evaluate_zeroshot,
)
from mmsearch.guides import read_guide
from mmsearch.metrics import (
    average_precision,
    calibration_error,
    mean_average_precision,
    mean_average_precision_difference,
    mean_per_class,
    mean_per_class_difference,
    reliability,
)
from mmsearch.reports import zeroshot_page
from mmsearch.reports.zeroshot_plots import confusion_matrix
from tests.archives import make_tar
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


def _value(report: ZeroShotReport, figure: str) -> float:
    return report.figures[figure].value


def test_accuracies_classes_and_confusions(classes: Path) -> None:
    report = evaluate_zeroshot(classes, encoder=FakeEncoder(), options=ZeroShotOptions(templates=("all {}",)))
    assert (report.images, len(report.classes)) == (24, 6)
    (system,) = report.systems
    assert _value(report, "top1") == pytest.approx(23 / 24)
    assert _value(report, "top5") == 1.0
    assert _value(report, "mean_per_class") == pytest.approx((5 + 3 / 4) / 6)
    assert [(found.actual, found.predicted, found.images) for found in system.confusions] == [
        ("the red", "the green", 1)
    ]
    red = next(found for found in system.classes if found.folder == "the_red")
    assert (red.name, red.images, red.top1, red.top5) == ("the red", 4, 0.75, 1.0)
    for name in ("top1", "mean_per_class"):
        assert report.figures[name].interval.low < _value(report, name) < report.figures[name].interval.high
    assert report.templates == ("all {}",)


def test_names_and_templates_of_ones_own(classes: Path, tmp_path: Path) -> None:
    """Names by folder, in any order; templates from a file."""
    named = tmp_path / "names.txt"
    named.write_text("".join(f"the_{colour}\t{colour} stuff\n" for colour in reversed(COLOURS)))
    report = evaluate_zeroshot(
        classes, encoder=FakeEncoder(), options=ZeroShotOptions(classes=named, templates=("{}", "some {}"))
    )
    assert _value(report, "top1") == pytest.approx(23 / 24)
    assert {found.name for found in report.classes} == {f"{colour} stuff" for colour in COLOURS}
    wrong = tmp_path / "wrong.txt"
    wrong.write_text("\n".join([*list(COLOURS)[1:], "red"]) + "\n")  # in another order than the sorted folders
    report = evaluate_zeroshot(classes, encoder=FakeEncoder(), options=ZeroShotOptions(classes=wrong))
    assert _value(report, "top1") < 0.5


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
    assert document["systems"][0]["figures"]["top1"]["value"] == pytest.approx(23 / 24)


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
    assert np.isfinite(_value(report, "mean_per_class"))


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
    assert any("(the_yellow)" in each.actual for each in report.systems[0].confusions)


def test_a_folder_without_pictures_is_said_to_be_no_class_or_is_one(classes: Path, tmp_path: Path) -> None:
    report = evaluate_zeroshot(classes, encoder=FakeEncoder())
    assert any("1 folders without pictures are taken for no class: empty" in problem for problem in report.problems)
    (tmp_path / "n.txt").write_text("empty\ta void\n" + "".join(f"the_{name}\t{name}\n" for name in COLOURS))
    report = evaluate_zeroshot(classes, encoder=FakeEncoder(), options=ZeroShotOptions(classes=tmp_path / "n.txt"))
    found = report.systems[0].classes
    empty = found[0]
    assert (empty.folder, empty.name, empty.images, empty.top1) == ("empty", "a void", 0, None)
    assert _value(report, "mean_per_class") == np.mean([each.top1 for each in found[1:]])
    assert any("1 classes have no picture" in problem for problem in report.problems)


def test_several_models_are_compared_on_the_same_pictures(classes: Path, tmp_path: Path, mmsearch: Command) -> None:
    done = mmsearch(
        *("eval", "zeroshot", "--images", classes, "--model", "one", "--model", "two"),
        *("--report", tmp_path / "out.json"),
    )
    assert done.code == 0, done.err
    assert done.out.count("mean_per_class") == 4  # of each model, their difference, the definition
    assert "two against one" in done.out
    document = json.loads((tmp_path / "out.json").read_text())
    assert [system["encoder"]["spec"] for system in document["systems"]] == ["one", "two"]
    assert document["comparisons"][0]["differences"]["top1"]["value"] == 0.0
    done = mmsearch("eval", "zeroshot", "--images", classes, "--model", "one", "--model", "one")
    assert (done.code, "named before" in done.err) == (1, True)


# --- several classes a picture ----------------------------------------------------------------------------------------


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """VOC's layout by hand: a picture is one colour, and the lists say what they please."""
    root = tmp_path / "VOC2007"
    (root / "JPEGImages").mkdir(parents=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    shown = {"000001": "red", "000002": "green", "000003": "red", "000004": "blue"}
    for number, (name, colour) in enumerate(shown.items()):
        write_picture(root / "JPEGImages" / f"{name}.jpg", colour, seed=number)
    lists = {
        "red": {"000001": 1, "000002": -1, "000003": 1, "000004": -1},
        "green": {"000001": -1, "000002": -1, "000003": 1, "000004": 0},  # wrong: the red one is said to be green
        "blue": {"000001": -1, "000002": -1, "000003": -1, "000004": 1},
    }
    for name, lines in lists.items():
        text = "".join(f"{image} {value:2}\n" for image, value in lines.items())
        (root / "ImageSets" / "Main" / f"{name}_test.txt").write_text(text)
    return root


def test_mean_average_precision_of_vocs_lists(voc: Path) -> None:
    """red and blue are perfect. green ranks 000002 first, and what is said to be green below it: 1/2 or 1/3 without the
    difficult one, which is judged neither way."""
    report = evaluate_zeroshot(voc, encoder=FakeEncoder(), options=ZeroShotOptions(templates=("{}",)))
    (system,) = report.systems
    assert report.multilabel
    assert (report.layout, report.images) == ("VOC's lists, test", 4)
    by_name = {each.name: each for each in system.classes}
    assert [by_name[name].images for name in ("blue", "green", "red")] == [1, 1, 2]
    assert [by_name[name].average_precision for name in ("blue", "red")] == [1.0, 1.0]
    green = by_name["green"].average_precision
    assert green is not None
    assert green in (pytest.approx(1 / 2), pytest.approx(1 / 3))  # which of the red ones stands higher is the pictures'
    assert _value(report, "mAP") == pytest.approx((2 + green) / 3)
    assert system.calibration is None
    assert not system.confusions


def test_vocs_lists_of_no_such_split_or_with_other_lines_are_one_line_each(voc: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"no lists CLASS_val\.txt; it has splits test"):
        evaluate_zeroshot(voc, encoder=FakeEncoder(), options=ZeroShotOptions(split="val"))
    (voc / "ImageSets" / "Main" / "red_test.txt").write_text("000001  1\n000002 yes\n")
    with pytest.raises(BenchmarkError, match=r"red_test\.txt, line 2: expected a picture and 1, -1 or 0"):
        evaluate_zeroshot(voc, encoder=FakeEncoder())


def test_labels_come_from_a_table(classes: Path, tmp_path: Path) -> None:
    """By path, by name without its suffix; Pets' columns behind the second are not looked at."""
    table = tmp_path / "labels.csv"
    table.write_text("image,class\nthe_red/more/0.png,red,7\nthe_green/more/1.png,green\nthe_blue/more/2,blue\n")
    options = ZeroShotOptions(labels=table, templates=("{}",))
    report = evaluate_zeroshot(classes, encoder=FakeEncoder(), options=options)
    assert (report.images, _value(report, "top1")) == (3, 1.0)
    assert any("Wilson's is 43.85 to 100.00" in problem for problem in report.problems)  # 3 of 3
    table.write_text("the_red/more/0.png\tred\nthe_red/more/0.png\tblue\nthe_green/more/1.png\tgreen\n")
    assert evaluate_zeroshot(classes, encoder=FakeEncoder(), options=ZeroShotOptions(labels=table)).multilabel
    for text, message in {
        "the_red/more/0.png\n": "line 1: expected a picture and its class",
        "nowhere.png\tred\n": "1 of 1 pictures that .* names are not in",
        "0.png\tred\n": "0.png is in .* more than once",
        "\n": "is empty",
    }.items():
        table.write_text(text)
        with pytest.raises(BenchmarkError, match=message):
            evaluate_zeroshot(classes, encoder=FakeEncoder(), options=ZeroShotOptions(labels=table))


# --- figures beside those of scikit-learn -----------------------------------------------------------------------------


def test_average_precision_is_that_of_scikit_learn() -> None:
    """With ties, and as the mean over classes; samples of no class are left out of the mean."""
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    scores = rng.integers(0, 12, (60, 5)) / 12
    relevant = rng.random((60, 5)) < 0.2
    relevant[:, 4] = False
    found, by_class = mean_average_precision(scores, relevant, np.ones_like(relevant))
    expected = [average_precision_score(relevant[:, column], scores[:, column]) for column in range(4)]
    np.testing.assert_allclose(by_class[:4], expected)
    assert np.isnan(by_class[4])
    assert found.value == pytest.approx(np.mean(expected))
    assert found.interval.low < found.value < found.interval.high


def test_eleven_points_by_their_definition() -> None:
    """Everingham et al. 2010, 4.2, in a few lines of Python; without ties."""
    rng = np.random.default_rng(1)
    for _ in range(30):
        scores, relevant = rng.permutation(40) / 40, rng.random(40) < 0.3
        if not relevant.any():
            continue
        hits = np.cumsum(relevant[np.argsort(-scores)])
        precision, recall = hits / np.arange(1, 41), hits / hits[-1]
        expected = np.mean([precision[recall * 10 >= point - 1e-9].max() for point in range(11)])
        assert average_precision(scores, relevant, "11-point") == pytest.approx(expected)


def test_what_is_not_judged_is_not_there() -> None:
    rng = np.random.default_rng(2)
    scores, relevant, judged = rng.random((50, 1)), rng.random((50, 1)) < 0.3, rng.random((50, 1)) < 0.7
    found, _ = mean_average_precision(scores, relevant, judged)
    kept = judged[:, 0]
    assert found.value == pytest.approx(average_precision(scores[kept, 0], relevant[kept, 0]))


def test_mean_per_class_is_balanced_accuracy_and_its_interval_a_resampling() -> None:
    from sklearn.metrics import balanced_accuracy_score

    rng = np.random.default_rng(3)
    actual = rng.choice(4, 300, p=[0.6, 0.2, 0.15, 0.05])
    said = np.where(rng.random(300) < 0.7, actual, rng.integers(0, 4, 300))
    right = (said == actual).astype(np.float64)
    found = mean_per_class(right, actual)
    assert found.value == pytest.approx(balanced_accuracy_score(actual, said))
    resampled = []
    for _ in range(400):
        drawn = rng.integers(0, 300, 300)
        resampled.append(np.mean([right[drawn][actual[drawn] == c].mean() for c in np.unique(actual[drawn])]))
    low, high = np.percentile(resampled, [2.5, 97.5])
    assert found.interval.low == pytest.approx(low, abs=0.02)
    assert found.interval.high == pytest.approx(high, abs=0.02)


def test_models_differ_by_what_their_figures_do() -> None:
    rng = np.random.default_rng(4)
    actual = np.sort(rng.integers(0, 3, 200))
    weak, strong = ((rng.random(200) < share).astype(np.float64) for share in (0.5, 0.8))
    found = mean_per_class_difference(weak, strong, actual)
    expected = mean_per_class(strong, actual).value - mean_per_class(weak, actual).value
    assert found.value == pytest.approx(expected)
    assert found.interval.low < expected < found.interval.high
    assert found.p < 0.01
    same = mean_per_class_difference(weak, weak, actual)
    assert (same.value, same.p) == (0.0, 1.0)
    relevant = rng.random((200, 2)) < 0.3
    noise, knowing = rng.random((200, 2)), relevant + rng.random((200, 2))
    maps = mean_average_precision_difference(noise, knowing, relevant, np.ones_like(relevant))
    assert maps.value > 0.2
    assert maps.interval.low > 0
    assert maps.p < 0.01


# --- calibration ------------------------------------------------------------------------------------------------------


class Scaled(FakeEncoder):
    """Says what it multiplies cosines with."""

    def __init__(self, scale: float) -> None:
        super().__init__(f"scaled {scale}")
        self.logit_scale = scale


def test_chances_are_the_softmax_of_the_models_own_scale(classes: Path) -> None:
    report = evaluate_zeroshot(classes, encoder=Scaled(20.0), options=ZeroShotOptions(templates=("{}",)))
    (system,) = report.systems
    evidence, judged = system.evidence, system.calibration
    assert judged is not None
    assert (judged.scale, judged.stated) == (20.0, True)
    encoder = FakeEncoder()
    texts = encoder.encode_texts([each.name for each in report.classes]).vectors.astype(np.float64)
    for row, name in enumerate(report.items.images):
        with Image.open(classes / name) as picture:
            pixels = encoder.preprocess(picture.convert("RGB"))
        logits = 20.0 * texts @ encoder.encode_images(pixels[np.newaxis])[0].astype(np.float64)
        chances = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(evidence.chances[row], np.sort(chances)[::-1][:5], rtol=1e-4)
    right = evidence.ranks == 1
    bins = np.ceil(evidence.chances[:, 0] * 15)  # Guo et al. 2017: from above its lower edge to its upper one
    expected = sum(
        (bins == number).mean() * abs(right[bins == number].mean() - evidence.chances[bins == number, 0].mean())
        for number in np.unique(bins)
    )
    assert judged.error.value == pytest.approx(expected)
    assert judged.confidence == pytest.approx(evidence.chances[:, 0].mean())
    unsaid = evaluate_zeroshot(classes, encoder=FakeEncoder()).systems[0].calibration
    assert unsaid is not None
    assert (unsaid.scale, unsaid.stated) == (100.0, False)


def test_bins_of_equal_width_by_their_definition() -> None:
    """Guo et al. 2017, 2: a bin holds what is above its lower edge, up to its upper one; an edge stays where it is."""
    rng = np.random.default_rng(6)
    chances = np.concatenate([rng.random(200) ** 0.3, np.arange(16) / 15])
    right = rng.random(216) < chances
    expected = 0.0
    for number in range(15):
        inside = (chances * 15 > number + 1e-9) & (chances * 15 <= number + 1 + 1e-9)
        inside |= (chances == 0) & (number == 0)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - chances[inside].mean())
    found = calibration_error(chances, right, np.arange(216), 216, bins=15, width=True)
    assert found.value == pytest.approx(expected)
    bins = reliability(chances, right, np.arange(216), 216, bins=15, width=True)
    assert sum(each.count for each in bins) == 216
    assert [each.predicted for each in bins] == sorted(each.predicted for each in bins)


# --- data sets that are known -----------------------------------------------------------------------------------------


def test_every_data_set_is_whole() -> None:
    """As many classes as the data set has; a source; templates that are templates; each is found by its own folder."""
    sizes = {name: len(load_class_set(name)) for name in class_set_names()}
    assert sizes == {
        "birdsnap": 500,
        "caltech101": 102,
        "cars": 196,
        "cifar10": 10,
        "cifar100": 100,
        "country211": 211,
        "dtd": 47,
        "eurosat": 10,
        "fgvc-aircraft": 100,
        "flowers102": 102,
        "food101": 101,
        "gtsrb": 43,
        "imagenet": 1000,
        "imagenet-a": 200,
        "imagenet-r": 200,
        "imagenet-sketch": 1000,
        "imagenet-v2": 1000,
        "mnist": 10,
        "objectnet": 113,
        "pcam": 2,
        "pets": 37,
        "rendered-sst2": 2,
        "resisc45": 45,
        "stl10": 10,
        "sun397": 397,
        "svhn": 10,
        "voc2007": 20,
    }
    for name in class_set_names():
        known = load_class_set(name)
        assert known.source
        assert known.figure in ("top1", "mean_per_class", "mAP_11_point")
        assert known.templates
        assert all(template.count("{}") == 1 for template in known.templates)
        assert len(known.folders) == len(known.names)
        assert all(each == each.strip() and each for each in known.names)
        labels = [folder or each for folder, each in zip(known.folders, known.names, strict=True)]
        finder = ClassFinder(known, labels)
        assert [finder.find(label) for label in labels] == list(range(len(known))), name


def test_the_guide_lists_them_all() -> None:
    rows = [line for line in read_guide("zeroshot").text.splitlines() if line.startswith("| `")]
    known = [load_class_set(name) for name in class_set_names()]
    assert [row for row in rows if not row.startswith("| `--")] == [
        f"| `{each.name}` | {each.title} | {len(each):,} | {len(each.templates)} | {each.figure} |" for each in known
    ]


def test_imagenet_is_that_of_open_clip_and_its_subsets_are_subsets() -> None:
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES

    imagenet = load_class_set("imagenet")
    assert list(imagenet.names) == list(IMAGENET_CLASSNAMES)
    assert [each.replace("{}", "cat") for each in imagenet.templates] == [t("cat") for t in OPENAI_IMAGENET_TEMPLATES]
    assert list(imagenet.folders) == sorted(imagenet.folders)
    assert imagenet.folders[0] == "n01440764"
    assert imagenet.names[0] == "tench"
    for name in ("imagenet-a", "imagenet-r"):
        subset = load_class_set(name)
        assert set(subset.folders) < set(imagenet.folders)
        assert all(
            imagenet.names[imagenet.folders.index(f)] == n for f, n in zip(subset.folders, subset.names, strict=True)
        )
    assert load_class_set("imagenet-r").names[:2] == ("goldfish", "great white shark")


def test_folders_are_found_as_data_sets_have_them() -> None:
    def found(name: str, *labels: str) -> list[str | None]:
        known = load_class_set(name)
        finder = ClassFinder(known, labels)
        return [None if (index := finder.find(label)) is None else known.names[index] for label in labels]

    assert found("sun397", "c/church/indoor", "a/abbey", "t/theater/indoor_seats") == [
        *("church indoor", "abbey", "theater indoor seats")
    ]
    assert found("imagenet-v2", "0", "999") == ["tench", "toilet paper"]
    assert found("imagenet", "val/n01440764", "n99999999") == ["tench", None]
    assert found("flowers102", "1", "102") == ["pink primrose", "blackberry lily"]
    assert found("flowers102", "0", "101") == ["pink primrose", "blackberry lily"]  # as torchvision counts
    assert found("gtsrb", "00014") == ["stop"]
    assert found("caltech101", "101_ObjectCategories/Faces_easy", "BACKGROUND_Google") == [
        "centered face",
        "background",
    ]
    assert found("eurosat", "2750/HerbaceousVegetation") == ["brushland or shrubland"]
    assert found("country211", "test/AD", "XK") == ["Andorra", "Kosovo"]
    assert found("objectnet", "alarm_clock", "air_freshener") == ["alarm clock", None]
    with pytest.raises(
        BenchmarkError, match=r"2 classes of ImageNet-1k, validation are called missile: .* n0\d+ and n0\d+"
    ):
        found("imagenet", "missile")


def test_a_data_set_brings_its_names_templates_and_candidates(tmp_path: Path, mmsearch: Command) -> None:
    """Pictures of two classes are classified among all ten."""
    for number, name in enumerate(("airplane", "Truck")):
        write_picture(tmp_path / "cifar" / name / "a.png", "red", seed=number)
    report = evaluate_zeroshot(tmp_path / "cifar", benchmark="cifar10", encoder=FakeEncoder())
    assert (report.title, len(report.classes), len(report.templates)) == ("CIFAR-10", 10, 18)
    assert [each.images for each in report.systems[0].classes] == [1, *[0] * 8, 1]
    write_picture(tmp_path / "cifar" / "aeroplane" / "a.png", "red")
    with pytest.raises(BenchmarkError, match="aeroplane is no class of CIFAR-10; near it are airplane"):
        evaluate_zeroshot(tmp_path / "cifar", benchmark="cifar10", encoder=FakeEncoder())
    done = mmsearch("eval", "zeroshot", "cifar11", "--images", tmp_path / "cifar")
    assert (done.code, "no data set cifar11; did you mean cifar10?" in done.err) == (1, True)


def test_objectnet_leaves_other_folders_out_and_says_so(tmp_path: Path) -> None:
    for folder in ("alarm_clock", "backpack", "air_freshener"):
        write_picture(tmp_path / "objectnet" / folder / "a.png", "red")
    report = evaluate_zeroshot(
        tmp_path / "objectnet", benchmark="objectnet", encoder=FakeEncoder(), options=ZeroShotOptions(templates=("{}",))
    )
    assert report.images == 2
    assert any("1 folders are of other classes, and left out: air_freshener" in problem for problem in report.problems)
    assert any("border of 2 pixels" in problem for problem in report.problems)


# --- reports ----------------------------------------------------------------------------------------------------------


def test_a_report_in_every_form(classes: Path, tmp_path: Path, mmsearch: Command) -> None:
    done = mmsearch(
        *("eval", "zeroshot", "--images", classes, "--model", "one", "--model", "two", "--template", "{}"),
        *("--report", tmp_path / "all", "--report", tmp_path / "p.jsonl", "--report", tmp_path / "t.tex"),
    )
    assert done.code == 0, done.err
    written = sorted(file.name for file in (tmp_path / "all").iterdir())
    assert written == [
        *("classes.csv", "figures.csv", "figures.tex", "plots", "predictions.parquet"),
        *("report.html", "report.json", "report.md"),
    ]
    plots = sorted(file.name for file in (tmp_path / "all" / "plots").iterdir())
    assert plots == [
        *("confusions.one_1.svg", "confusions.two_2.svg", "figures.svg"),
        *("reliability.one_1.svg", "reliability.two_2.svg"),
    ]
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    wrong = next(row for row in rows if row["id"] == "the_red/more/3.png")
    assert wrong["classes"] == ["the red"]
    assert set(wrong["systems"]) == {"one", "two"}
    said = wrong["systems"]["one"]
    assert (said["top"][0], said["rank"]) == ("the green", said["top"].index("the red") + 1)
    assert said["scores"] == sorted(said["scores"], reverse=True)
    assert len(said["chances"]) == 5
    assert pq.read_table(tmp_path / "all" / "predictions.parquet").to_pylist() == rows
    with (tmp_path / "all" / "figures.csv").open(newline="") as stream:
        figures = list(csv.DictReader(stream))
    assert [row["system"] for row in figures] == ["one", "two"]
    assert float(figures[0]["top1"]) == pytest.approx(23 / 24)
    latex = (tmp_path / "t.tex").read_text()
    assert latex == (tmp_path / "all" / "figures.tex").read_text()
    assert r"one & \textbf{95.8} & \textbf{100.0} & \textbf{95.8} \\" in latex
    for text in ((tmp_path / "all" / name).read_text() for name in ("report.md", "report.html")):
        assert "the green" in text
        assert "Compared on the same pictures" in text
    done = mmsearch("eval", "zeroshot", "--images", classes, "--report", tmp_path / "x.docx")
    assert (done.code, "or a folder for everything" in done.err) == (1, True)


def test_the_page_shows_the_surest_mistakes(classes: Path) -> None:
    """The only one is a green picture in the folder of the red ones."""
    report = evaluate_zeroshot(classes, encoder=FakeEncoder(), options=ZeroShotOptions(templates=("{}",)))
    page = zeroshot_page(report)
    shown = page[page.index("The surest mistakes") : page.index("Protocol")]
    assert shown.count("<figure>") == 1
    assert re.search(r"the red: taken for the green, \d+ %<br><span class=faint>the_red/more/3.png", shown)
    assert "data:image/jpeg" in shown


def test_the_scale_is_what_a_model_of_torch_states() -> None:
    """The logarithm of a scale, as most have it, or a temperature, as ALIGN does."""
    import torch

    from mmsearch.encoders.logit_scale import logit_scale_of

    assert logit_scale_of(SimpleNamespace(logit_scale=torch.tensor(np.log(50.0)))) == pytest.approx(50)
    assert logit_scale_of(
        SimpleNamespace(logit_scale=torch.nn.Parameter(torch.tensor([np.log(20.0)])))
    ) == pytest.approx(20)
    assert logit_scale_of(SimpleNamespace(temperature=torch.nn.Parameter(torch.tensor(0.05)))) == pytest.approx(20)
    assert logit_scale_of(SimpleNamespace(logit_scale=torch.tensor(float("nan")))) is None
    assert logit_scale_of(SimpleNamespace()) is None


def test_of_many_classes_those_that_are_confused_are_drawn() -> None:
    """34 classes of 10 pictures: 4 of class 33 are taken for class 0; each of the others is right."""
    names = [f"c{number}" for number in range(34)]
    classes = tuple(ZeroShotClass(name, name, name) for name in names)
    results = tuple(ClassResult(name, name, 10, 1.0, 1.0) for name in names)
    system: Any = SimpleNamespace(classes=results, confusions=(Confusion("c33", "c0", 4), Confusion("c33", "c1", 1)))
    report: Any = SimpleNamespace(classes=classes)
    (rows, columns), shares = confusion_matrix(report, system)
    expected: list[list[float]] = [[1, 0, 0, 0], [0, 1, 0, 0], [0.4, 0.1, 0.5, 0]]
    assert (rows, columns) == (["c0", "c1", "c33"], ["c0", "c1", "c33", "any other"])
    np.testing.assert_allclose(shares, np.array(expected))


# --- shards -----------------------------------------------------------------------------------------------------------


def _picture(tmp_path: Path, colour: str, seed: int = 0) -> bytes:
    return write_picture(tmp_path / "drawn" / f"{colour}{seed}.png", colour, seed=seed).read_bytes()


def _shards(tmp_path: Path, labels: list[tuple[str, str, bytes]], *, multilabel: bool = False) -> Path:
    """As CLIP_benchmark's exporter lays a classification data set out. labels: colour, ending and content of each."""
    root = tmp_path / "wds"
    (root / "test").mkdir(parents=True)
    members = [
        (f"s{number:07d}.{ending}", data)
        for number, (colour, kind, label) in enumerate(labels)
        for ending, data in (("png", _picture(tmp_path, colour, number)), (kind, label))
    ]
    make_tar(root / "test" / "0.tar", members[:4])
    make_tar(root / "test" / "1.tar", members[4:])
    (root / "test" / "nshards.txt").write_text("2\n")
    (root / "classnames.txt").write_text("green\nred\nwhite\nred\n")  # names may repeat
    (root / "zeroshot_classification_templates.txt").write_text("all {c}\n{c} it is\n")
    if multilabel:
        (root / "dataset_type.txt").write_text("multilabel\n")
    return root


def test_webdataset_as_clip_benchmark_exports_it(tmp_path: Path, mmsearch: Command) -> None:
    """Three of four are right: the fourth is said to be white and is green. The second red is a candidate too."""
    labels = [("green", "cls", b"0"), ("red", "cls", b"1"), ("white", "cls", b"2"), ("green", "cls", b"2")]
    root = _shards(tmp_path, labels)
    report = evaluate_zeroshot(root, encoder=FakeEncoder())
    assert (report.images, report.layout) == (4, "webdataset with classes, 2 shards")
    assert [each.name for each in report.classes] == ["green", "red", "white", "red"]
    assert report.templates == ("all {}", "{} it is")
    assert _value(report, "top1") == 3 / 4
    assert _value(report, "mean_per_class") == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert report.items.images[3] == "test/1.tar!/s0000003.png"
    done = mmsearch("eval", "zeroshot", "--images", root / "test" / "0.tar", "--report", tmp_path / "p.jsonl")
    assert (done.code, "numbers without names" in done.err) == (1, True)  # the names stand beside the folder of shards
    (tmp_path / "n.txt").write_text("green\nred\n")
    done = mmsearch("eval", "zeroshot", "--images", root / "test" / "0.tar", "--classes", tmp_path / "n.txt")
    assert done.code == 0, done.err
    assert "zero-shot: 2 images, 2 classes" in done.out


def test_webdataset_with_several_classes_a_picture(tmp_path: Path) -> None:
    """CLIP_benchmark writes 1 or 0 of each class as an array. All rank well but white, whose only picture is green."""

    def array(*flags: int) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, np.array(flags))
        return buffer.getvalue()

    labels = [("green", "npy", array(1, 0, 0, 0)), ("red", "npy", array(0, 1, 0, 0))]
    root = _shards(
        tmp_path, [*labels, ("white", "npy", array(0, 0, 0, 0)), ("green", "npy", array(1, 0, 1, 0))], multilabel=True
    )
    report = evaluate_zeroshot(root, encoder=FakeEncoder())
    found = report.systems[0].classes
    assert [each.images for each in found] == [2, 1, 1, 0]
    assert [each.average_precision for each in found][:2] == [1.0, 1.0]
    assert found[2].average_precision in (1 / 2, 1 / 3, 1 / 4)  # the one without a class is white, and stands first
    assert report.systems[0].evidence.ranks[2] == 0  # it has no class
    (root / "test" / "1.tar").unlink()
    with pytest.raises(BenchmarkError, match="1 of the 2 shards"):
        evaluate_zeroshot(root, encoder=FakeEncoder())


def _table(folder: Path, images: list[bytes], labels: list[Any], feature: dict[str, Any] | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": [{"bytes": image, "path": None} for image in images], "label": labels})
    if feature is not None:
        info = json.dumps({"info": {"features": {"image": {"_type": "Image"}, "label": feature}}})
        table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, folder / "validation-00000-of-00001.parquet")
    return folder


def test_parquet_as_hugging_face_writes_it(tmp_path: Path) -> None:
    """A number with its names in the schema, of one class or of a list of them; or a text."""
    images = [_picture(tmp_path, colour) for colour in ("red", "green", "red")]
    names = {"names": ["green", "red"], "_type": "ClassLabel"}
    options = ZeroShotOptions(split="val", templates=("{}",))
    report = evaluate_zeroshot(_table(tmp_path / "a", images, [1, 0, 0], names), encoder=FakeEncoder(), options=options)
    assert [each.name for each in report.classes] == ["green", "red"]
    assert _value(report, "top1") == pytest.approx(2 / 3)
    listed = {"feature": names, "_type": "List"}
    report = evaluate_zeroshot(
        _table(tmp_path / "b", images, [[1], [0], [0, 1]], listed), encoder=FakeEncoder(), options=options
    )
    assert report.multilabel
    assert [each.images for each in report.systems[0].classes] == [2, 2]
    report = evaluate_zeroshot(
        _table(tmp_path / "c", images, ["red", "green", "red"], None), encoder=FakeEncoder(), options=options
    )
    assert _value(report, "top1") == 1.0
    with pytest.raises(
        BenchmarkError, match="no pictures of the split test in its shards; the splits there: validation"
    ):
        evaluate_zeroshot(tmp_path / "c", encoder=FakeEncoder())
    with pytest.raises(BenchmarkError, match=r"looked for kind.*stands label.*--label-column"):
        evaluate_zeroshot(
            tmp_path / "c", encoder=FakeEncoder(), options=ZeroShotOptions(split="val", label_column="kind")
        )
    _table(tmp_path / "c", images, [1, -1, 0], names)
    with pytest.raises(BenchmarkError, match="were not given out"):
        evaluate_zeroshot(tmp_path / "c", encoder=FakeEncoder(), options=options)


def test_numbers_of_shards_are_the_classes_of_the_data_set(tmp_path: Path) -> None:
    """By name where all of these are the data set's, in whatever order; else by number, which is said."""
    images = [_picture(tmp_path, colour) for colour in ("red", "green")]
    cifar = list(load_class_set("cifar10").names)
    options = ZeroShotOptions(split="all", templates=("{}",))

    def counts(names: list[str]) -> tuple[list[int], list[str]]:
        feature = {"names": names, "_type": "ClassLabel"}
        place = _table(tmp_path / secrets.token_hex(4), images, [0, 1], feature)
        report = evaluate_zeroshot(place, benchmark="cifar10", encoder=FakeEncoder(), options=options)
        return [each.images for each in report.systems[0].classes], list(report.problems)

    found, problems = counts(cifar[::-1])
    assert found == [0] * 8 + [1, 1]
    assert not any("in the order of" in problem for problem in problems)
    found, problems = counts([f"synset {number}" for number in range(10)])
    assert found == [1, 1] + [0] * 8
    assert any("classes are numbers, taken in the order of CIFAR-10" in problem for problem in problems)
    with pytest.raises(BenchmarkError, match="3 classes, and CIFAR-10 has 10: another data set"):
        counts(["a", "b", "c"])


def test_a_place_that_cannot_be_looked_at_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="cannot be read: File name too long"):
        evaluate_zeroshot(tmp_path / ("x" * 300), encoder=FakeEncoder())
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchmarkError, match="0 folders with pictures, and no shards"):
        evaluate_zeroshot(tmp_path / "empty", encoder=FakeEncoder())
