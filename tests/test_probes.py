"""Probes of what a model cannot do: each file as it was published, cut by hand and scored by hand.

The encoder knows colours: a text is the colour that it names first, and two texts of one colour are a tie.
"""

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmsearch import images
from mmsearch.embedding import embed
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.probes import (
    PROBES,
    GalleryProbeOptions,
    ProbeOptions,
    ProbeReport,
    chance,
    evaluate_gallery_probe,
    evaluate_probe,
    pictures,
)
from mmsearch.evaluation.probes.altering import ALTERATIONS
from mmsearch.evaluation.probes.comparing import (
    both_of_each_image,
    both_of_each_text,
    first_text_over_others,
    group_of_two,
)
from mmsearch.evaluation.probes.entries import Entry
from mmsearch.evaluation.probes.layouts import NUMBERS, counted_texts
from mmsearch.evaluation.probes.pictures import encode_pictures, open_picture, write_word
from mmsearch.evaluation.probes.records import ProbePicture, WrittenWord
from mmsearch.evaluation.probes.scoring import ProbeVectors, judge
from mmsearch.progress import Progress
from scripts.postcards.probe import write_pairs
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, provide, write_picture
from tests.vectors import random_unit_vectors


def coloured(folder: Path, *names: str) -> Path:
    """Pictures called by their colours: "red", "sub/blue"."""
    for number, name in enumerate(names):
        write_picture(folder / f"{name}.png", name.rpartition("/")[2].partition("_")[0], seed=number)
    return folder


def strict(report: ProbeReport) -> dict[tuple[str, str], float]:
    return {(each.figure, each.subset): each.strict.value for each in report.systems[0].results}


def run(name: str, **places: Any) -> ProbeReport:
    return evaluate_probe(name, encoder=FakeEncoder(), **places)


# --- comparisons and credit -----------------------------------------------------------------------------------------


def test_chance_is_counted_over_all_orders() -> None:
    """Winoground's own: 25, 25 and 16.67 % (Thrush et al. 2022)."""
    assert chance(both_of_each_image(2, 2)) == chance(both_of_each_text(2, 2)) == 0.25
    assert chance(group_of_two(2, 2)) == pytest.approx(1 / 6)
    assert [chance(first_text_over_others(1, texts)) for texts in (2, 4, 9)] == [1 / 2, 1 / 4, 1 / 9]
    both, first, second, text_only = (chance(figure.comparisons(1, 3)) for figure in PROBES["sugarcrepe-pp"].figures)
    assert (first, second) == (0.5, 0.5)
    assert both == text_only == pytest.approx(1 / 3)


def test_winoground_scores_are_those_of_its_authors() -> None:
    """Text, image and group, written from their definitions, on random vectors."""
    rng = np.random.default_rng(3)
    images, texts = random_unit_vectors(rng, 600, 4), random_unit_vectors(rng, 600, 4)
    pairs = tuple((2 * n, 2 * n + 1) for n in range(300))
    vectors = ProbeVectors(images, texts, pairs, pairs, np.ones(600, np.int64))
    found = {figure.name: judge(figure, vectors).strict for figure in PROBES["winoground"].figures}
    scores = images.astype(np.float64) @ texts.astype(np.float64).T
    for number, (a, b) in enumerate(pairs):
        text = scores[a, a] > scores[a, b] and scores[b, b] > scores[b, a]
        image = scores[a, a] > scores[b, a] and scores[b, b] > scores[a, b]
        assert (found["text"][number], found["image"][number]) == (text, image)
        assert found["group"][number] == (text and image)
    assert 0.1 < found["group"].mean() < 0.3


def test_ties_are_wrong_half_or_right(tmp_path: Path) -> None:
    coloured(tmp_path, "red", "blue", "green")
    entries = {
        "0": {"filename": "red.png", "caption": "a red ball", "negative_caption": "a blue ball"},
        "1": {"filename": "blue.png", "caption": "a blue ball", "negative_caption": "one blue box"},
        "2": {"filename": "green.png", "caption": "a red kite", "negative_caption": "the green kite of mine"},
        "3": {"filename": "green.png", "caption": "the green kite of mine", "negative_caption": "a black kite"},
    }
    (tmp_path / "swap_att.json").write_text(json.dumps(entries, indent=4))
    result = run("sugarcrepe", annotations=tmp_path / "swap_att.json").systems[0].results[0]
    assert (result.strict.value, result.half.value, result.lenient.value) == (2 / 4, 2.5 / 4, 3 / 4)
    assert (result.examples, result.groups, result.tied, result.chance) == (4, 3, 1, 0.5)
    assert result.shorter_text == 3 / 4
    assert result.strict.interval.low < 0.5 < result.strict.interval.high


def test_intervals_draw_pictures_and_have_a_width_where_all_is_right(tmp_path: Path) -> None:
    coloured(tmp_path, "red", "blue")
    entries = [
        {"filename": f"{colour}.png", "caption": f"a {colour} {thing}", "negative_caption": f"a black {thing}"}
        for colour in ("red", "blue")
        for thing in ("ball", "box", "kite", "car", "hat")
    ]
    (tmp_path / "a.json").write_text(json.dumps(entries))
    result = run("sugarcrepe", annotations=tmp_path / "a.json").systems[0].results[0]
    assert (result.examples, result.groups, result.strict.value) == (10, 2, 1.0)
    assert result.strict.interval.low == pytest.approx(0.3424, abs=1e-4)  # Wilson's of two draws, not of ten


def test_an_average_picture_shows_what_texts_give_away(tmp_path: Path) -> None:
    """Nine of ten pictures are red and all captions say so: the texts alone get them right."""
    coloured(tmp_path, *(f"red_{n}" for n in range(9)), "blue")
    entries = [
        {"filename": f"red_{n}.png", "caption": f"{n} red", "negative_caption": f"{n} blue"} for n in range(9)
    ] + [{"filename": "blue.png", "caption": "9 blue", "negative_caption": "9 red"}]
    (tmp_path / "a.json").write_text(json.dumps(entries))
    result = run("sugarcrepe", annotations=tmp_path / "a.json").systems[0].results[0]
    assert (result.strict.value, result.average_picture) == (1.0, 0.9)
    assert result.shorter_text == 0.9  # "red" is shorter than "blue"


# --- each probe, as its files look ----------------------------------------------------------------------------------


def test_sugarcrepe_a_file_for_each_subset(tmp_path: Path) -> None:
    coloured(tmp_path / "val2017", "red", "blue")
    data = tmp_path / "data"
    data.mkdir()
    red = {"filename": "red.png", "caption": "a red ball", "negative_caption": "a blue ball"}
    blue = {"filename": "blue.png", "caption": "a red ball", "negative_caption": "a blue ball"}
    (data / "swap_att.json").write_text(json.dumps({"0": red, "1": blue}))
    (data / "add_obj.json").write_text(json.dumps({"0": red}))
    report = run("sugarcrepe", images=tmp_path / "val2017", annotations=data)
    assert strict(report) == {
        ("text", "all"): pytest.approx(2 / 3),
        ("text", "mean of subsets"): 0.75,
        ("text", "add_obj"): 1.0,
        ("text", "swap_att"): 0.5,
    }
    assert report.systems[0].failures[0].where == "swap_att.json, line 1"


def test_sugarcrepe_pp_asks_pictures_and_texts_alone(tmp_path: Path) -> None:
    coloured(tmp_path, "red")
    right = {"filename": "red.png", "caption": "red one", "caption2": "a red", "negative_caption": "blue"}
    half = {"filename": "red.png", "caption": "red one", "caption2": "black", "negative_caption": "blue x"}
    (tmp_path / "swap_obj.json").write_text(json.dumps([right, half | {"caption2": "blue y"}]))
    found = strict(run("sugarcrepe-pp", annotations=tmp_path / "swap_obj.json"))
    assert found[("both", "all")] == 0.5
    assert (found[("first", "all")], found[("second", "all")]) == (
        1.0,
        0.5,
    )
    assert found[("text_only", "all")] == 0.5


def test_aro_is_cut_to_its_box(tmp_path: Path) -> None:
    """A picture that is red on the left and blue on the right: what is right depends on the box."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20], pixels[:, 20:] = COLOURS["red"], COLOURS["blue"]
    (tmp_path / "images").mkdir()
    Image.fromarray(pixels).save(tmp_path / "images" / "1.png")
    entry = {
        "image_path": "1.png",
        "true_caption": "the blue is right of it",
        "false_caption": "the red is right of it",
        "relation_name": "to the right of",
        "bbox_x": 20,
        "bbox_y": 0,
        "bbox_w": 20,
        "bbox_h": 20,
    }
    other = entry | {"bbox_x": 0, "relation_name": "to the left of"}
    file = tmp_path / "visual_genome_relation.json"
    file.write_text(json.dumps([entry, other]))
    report = run("aro-relation", images=tmp_path / "images", annotations=file)
    assert strict(report) == {
        ("text", "all"): 0.5,
        ("text", "mean of subsets"): 0.5,
        ("text", "to the left of"): 0.0,
        ("text", "to the right of"): 1.0,
    }
    result = report.systems[0].results[0]
    assert (result.examples, result.groups) == (2, 1)  # two boxes of one picture are drawn together
    file.write_text(json.dumps([entry | {"attributes": ["blue", "red"]}] * 25 + [other | {"attributes": ["a", "b"]}]))
    found = strict(run("aro-attribution", images=tmp_path / "images", annotations=file))
    assert found[("text", "blue_red")] == 1.0
    assert ("text", "mean of subsets") not in found  # only one subset has the 25 examples that count


def test_winoground_names_pictures_without_their_ending(tmp_path: Path) -> None:
    coloured(tmp_path / "images", "red_0", "blue_0", "green_0")
    first = {"id": 0, "image_0": "red_0", "image_1": "blue_0", "caption_0": "red", "caption_1": "blue"}
    second = {
        "id": 1,
        "image_0": "red_0",
        "image_1": "green_0",
        "caption_0": "green or red",
        "caption_1": "red or green",
    }
    lines = [first | {"collapsed_tag": "Object"}, second | {"collapsed_tag": "Relation"}]
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = run("winoground", images=tmp_path / "images", annotations=tmp_path / "examples.jsonl")
    found = strict(report)
    assert [found[(name, "all")] for name in ("text", "image", "group")] == [0.5, 0.5, 0.5]
    assert (found[("group", "Object")], found[("group", "Relation")]) == (1.0, 0.0)
    assert report.systems[0].results[0].groups == 1  # the two examples share a picture


def test_valse_counts_what_people_found_valid(tmp_path: Path) -> None:
    coloured(tmp_path, "red", "blue")
    valid = {"image_file": "red.png", "caption": "red", "foil": "blue", "mturk": {"foil": 0, "caption": 3, "other": 0}}
    unsure = valid | {"image_file": "blue.png", "mturk": {"foil": 2, "caption": 1, "other": 0}}
    listed = valid | {"image_file": "blue.png", "caption": ["a blue"], "foil": "a red"}
    (tmp_path / "actions.json").write_text(json.dumps({"a_0": valid, "a_1": unsure, "a_2": listed}))
    report = run("valse", annotations=tmp_path / "actions.json")
    assert (strict(report)[("text", "all")], report.examples) == (1.0, 2)
    assert any(problem.startswith("1 examples left out: fewer than two of three") for problem in report.problems)


def test_eqben_records_stand_at_any_depth_and_frames_may_be_arrays(tmp_path: Path) -> None:
    coloured(tmp_path / "eqbenag", "red", "blue")
    Image.fromarray(np.full((8, 8, 3), COLOURS["green"], np.uint8)).save(tmp_path / "eqbenag" / "green.png")
    bgr = np.full((8, 8, 3), COLOURS["red"][::-1], np.uint8)
    (tmp_path / "eqbenyoucook2").mkdir()
    np.save(tmp_path / "eqbenyoucook2" / "0.npy", bgr)
    pair = {"image0": "eqbenag/red.png", "image1": "eqbenag/blue.png"}
    deep = {"film": {"person": [pair | {"caption0": ["red"], "caption1": ["blue"]}]}}
    (tmp_path / "ag.json").write_text(json.dumps(deep))
    found = strict(run("eqben", images=tmp_path, annotations=tmp_path / "ag.json"))
    assert found[("group", "all")] == 1.0
    films = {
        "film": [
            {"image0": "eqbenyoucook2/0.npy", "image1": "eqbenag/green.png", "caption0": "red", "caption1": "green"}
        ]
    }
    (tmp_path / "youcook2.json").write_text(json.dumps(films))
    report = run("eqben", images=tmp_path, annotations=tmp_path / "youcook2.json")
    assert strict(report)[("group", "all")] == 1.0
    np.save(tmp_path / "eqbenyoucook2" / "0.npy", np.zeros(3))
    with pytest.raises(BenchmarkError, match=r"1 of 2 pictures cannot be read: eqbenyoucook2/0.npy \(.*no array"):
        run("eqben", images=tmp_path, annotations=tmp_path / "youcook2.json")


def test_mmvp_rows_are_pairs_and_texts_choose_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "MLLM_VLM Images"
    for number, colour in enumerate(("red", "blue", "green", "white"), 1):
        write_picture(folder / ("Orientation" if number < 3 else "Texts") / f"{number}.jpg", colour)
    rows = ["1,Orientation,red one", "2,Orientation,blue one", "3,Texts,a white one", "4,Texts,a green one"]
    (tmp_path / "Questions.csv").write_text("\n".join(["Question ID,Type,Statement", *rows]) + "\n")
    report = run("mmvp-vlm", images=folder, annotations=tmp_path / "Questions.csv")
    found = strict(report)
    assert (found[("image", "Orientation")], found[("image", "Texts")], found[("image", "all")]) == (1.0, 0.0, 0.5)
    assert report.templates == ("a photo of {}",)
    (tmp_path / "Questions.csv").write_text("Question ID,Type,Statement\n1,Orientation,red\n")
    with pytest.raises(BenchmarkError, match=r"Questions.csv, line 2: a row without its pair"):
        run("mmvp-vlm", images=folder, annotations=tmp_path / "Questions.csv")


def test_whatsup_counts_pairs_and_sets(tmp_path: Path) -> None:
    """Four ways of two things; the encoder sees the colour, and one of the four is wrong."""
    folder = tmp_path / "controlled_images"
    ways = {"left_of": "red", "right_of": "blue", "on": "green", "under": "white"}
    entries = []
    for way, colour in ways.items():
        write_picture(folder / f"mug_{way}_plate.jpeg", colour)
        others = [f"a {other} mug" for other in ways.values() if other != colour]
        said = "black" if way == "under" else colour
        right = f"a {said} mug {way.partition('_')[0]} a plate"
        entries.append(
            {"image_path": f"data/controlled_images/mug_{way}_plate.jpeg", "caption_options": [right, *others]}
        )
    file = tmp_path / "controlled_images_dataset.json"
    file.write_text(json.dumps(entries))
    report = run("whatsup", images=folder, annotations=file)
    found = strict(report)
    assert found[("text", "all")] == 0.75
    assert (found[("text", "left")], found[("text", "under")]) == (1.0, 0.0)
    assert (found[("pairs", "all")], found[("sets", "all")]) == (0.5, 0.0)
    chances = {each.figure: each.chance for each in report.systems[0].results if each.subset == "all"}
    assert chances == {"text": 0.25, "pairs": 1 / 16, "sets": 1 / 256}
    write_picture(tmp_path / "val2017" / "000000000139.jpg", "red")
    (tmp_path / "coco_qa_one_obj.json").write_text(json.dumps([[139, "A red on the left", "A blue on the right"]]))
    found = strict(run("whatsup", images=tmp_path / "val2017", annotations=tmp_path / "coco_qa_one_obj.json"))
    assert found == {("text", "all"): 1.0}


def test_countbench_says_each_number_as_the_caption_does(tmp_path: Path) -> None:
    def texts(text: str, number: object) -> tuple[str, ...]:
        return counted_texts(Entry(tmp_path / "c.json", "line 1", 0, None, {"text": text, "number": number}))

    found = texts("Three couples, three cats", 3)
    assert found[:3] == ("Three couples, three cats", "Two couples, two cats", "Four couples, four cats")
    assert (len(found), len(set(found))) == (9, 9)
    assert texts("set of 6 chairs", "6")[:2] == ("set of 6 chairs", "set of 2 chairs")
    coloured(tmp_path, "red")
    entries = [
        {"image": "red.png", "text": "two red things", "number": 2},
        {"image": "red.png", "text": "many red things", "number": 2},
    ]
    (tmp_path / "CountBench.json").write_text(json.dumps(entries))
    report = run("countbench", annotations=tmp_path / "CountBench.json")
    result = report.systems[0].results[0]
    assert result.examples == 1
    assert result.chance == pytest.approx(1 / 9)
    assert (result.strict.value, result.half.value) == (0.0, 0.5)  # the encoder does not count: nine texts tie
    assert report.problems == ("1 examples left out: the caption does not say its number, from two to ten",)
    entries[0]["number"] = "some"
    (tmp_path / "CountBench.json").write_text(json.dumps(entries, indent=1))
    with pytest.raises(BenchmarkError, match=r"CountBench.json, line 2: 'number' is 'some', not a number"):
        run("countbench", annotations=tmp_path / "CountBench.json")


def test_scam_is_read_from_parquet_with_its_pictures(tmp_path: Path) -> None:
    def picture(colour: str) -> dict[str, Any]:
        out = io.BytesIO()
        Image.new("RGB", (8, 8), COLOURS[colour]).save(out, "PNG")
        return {"bytes": out.getvalue(), "path": None}

    rows: dict[str, list[Any]] = {
        "id": ["NoSCAM_1", "SCAM_1", "SCAM_2"],
        "image": [picture("red"), picture("blue"), picture("red")],
        "object_label": ["red", "red", "red"],
        "attack_word": ["blue", "blue", "blue"],
        "type": ["NoSCAM", "SCAM", "SCAM"],
        "postit_area_pct": [0.0, 4.0, 4.0],
    }
    file = tmp_path / "train-00000.parquet"
    pq.write_table(pa.table(rows), file, row_group_size=2)
    report = run("scam", annotations=file)
    assert strict(report) == {
        ("object", "all"): pytest.approx(2 / 3),
        ("object", "mean of subsets"): 0.75,
        ("object", "NoSCAM"): 1.0,
        ("object", "SCAM"): 0.5,
    }
    assert (len(report.templates), report.templates[0]) == (32, "a bad photo of a {}.")
    rows["object_label"][1] = None
    pq.write_table(pa.table(rows), file)
    with pytest.raises(BenchmarkError, match=r"train-00000.parquet, row 2: no 'object_label' or 'object'"):
        run("scam", annotations=file)


def test_rta100_is_read_from_the_names_of_its_pictures(tmp_path: Path) -> None:
    write_picture(tmp_path / "label=red_text=blue.png", "red")
    write_picture(tmp_path / "label=green_text=white.png", "blue")
    found = strict(run("rta100", images=tmp_path))
    assert (found[("top1", "all")], found[("object", "all")]) == (
        0.5,
        0.5,
    )
    write_picture(tmp_path / "photo.png", "red")
    with pytest.raises(BenchmarkError, match=r"photo\.png is not called label=OBJECT_text=WORD"):
        run("rta100", images=tmp_path)


# --- files that are not as they should be ---------------------------------------------------------------------------

GOOD = '{"filename": "red.png", "caption": "red", "negative_caption": "blue"}'


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.json",
            "[\n" + GOOD + ",\n" + '{"filename": "red.png", "caption": "red"}\n]',
            "line 3: no 'negative_caption'",
        ),
        ("a.json", "[\n" + GOOD + "\n" + GOOD + "]", r"line 3: no valid JSON: neither a comma nor \]"),
        ("a.json", "{\n" + f'"0": {GOOD},\n"1": [4]' + "\n}", r"line 3: no 'caption'; there is \[4\]"),
        ("a.json", '[{"filename": "red.png", "caption": "  ", "negative_caption": "b"}]', "line 1: 'caption' is '  '"),
        (
            "a.json",
            '[{"filename": 4, "caption": "a", "negative_caption": "b"}]',
            "line 1: 4.jpg|picture that is not in",
        ),
        ("a.json", f"[{GOOD}]\n\n{GOOD}\n", "line 3: no valid JSON: more than one value"),
        ("a.jsonl", f"{GOOD}\n\n{{\n", "line 3: no valid JSON"),
        ("a.csv", "filename,caption,negative_caption\nred.png,red\n", "line 2: 2 cells under 3 names"),
        ("a.csv", "filename,caption,negative_caption\n", "a header and no rows"),
        ("a.json", "[]", "no entries"),
        ("a.json", "", "empty"),
        ("a.json", "[" * 100_000, "too deeply nested"),
        ("a.parquet", "PAR1 and no more", "Parquet, but damaged"),
        ("a.json", "[\n\udcff]", "line 2: not UTF-8"),
        ("a.json", '[{"filename": "none.png", "caption": "a", "negative_caption": "b"}]', "none.png.*--allow-missing"),
    ],
)
def test_format_errors_name_file_and_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    coloured(tmp_path, "red")
    (tmp_path / name).write_text(text, "utf-8", errors="surrogateescape")
    with pytest.raises(BenchmarkError, match=message) as raised:
        run("sugarcrepe", annotations=tmp_path / name)
    assert name in str(raised.value)


def test_missing_pictures_are_left_out_where_that_is_allowed(tmp_path: Path) -> None:
    coloured(tmp_path, "red")
    (tmp_path / "broken.png").write_text("no picture")
    entries = [
        json.loads(GOOD),
        json.loads(GOOD) | {"filename": "none.png"},
        json.loads(GOOD) | {"filename": "broken.png"},
    ]
    (tmp_path / "a.json").write_text(json.dumps(entries))
    with pytest.raises(BenchmarkError, match="1 examples have a picture that is not in"):
        run("sugarcrepe", annotations=tmp_path / "a.json")
    report = run("sugarcrepe", annotations=tmp_path / "a.json", options=ProbeOptions(allow_missing=True))
    assert report.systems[0].results[0].examples == 1
    assert report.problems == ("1 EXAMPLES LEFT OUT whose pictures are missing",)
    assert [name.partition(" ")[0] for name in report.systems[0].unreadable] == ["broken.png"]


def test_pictures_may_stand_in_an_archive(tmp_path: Path) -> None:
    coloured(tmp_path / "val2017", "red")
    with zipfile.ZipFile(tmp_path / "val2017.zip", "w") as archive:
        archive.write(tmp_path / "val2017" / "red.png", "val2017/red.png")
    (tmp_path / "a.json").write_text(f"[{GOOD}]")
    report = run("sugarcrepe", images=tmp_path / "val2017.zip", annotations=tmp_path / "a.json")
    assert strict(report) == {("text", "all"): 1.0}


def test_what_is_no_probe_is_said(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="there is no probe 'crepe'; there are sugarcrepe, "):
        run("crepe", images=tmp_path)
    with pytest.raises(BenchmarkError, match="give the folder of its images, or its annotations"):
        run("sugarcrepe")
    with pytest.raises(BenchmarkError, match="there is no file or folder"):
        run("sugarcrepe", annotations=tmp_path / "none.json")
    with pytest.raises(BenchmarkError, match=r"holds no \.json"):
        run("sugarcrepe", annotations=tmp_path)


# --- whole runs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    coloured(tmp_path, "red", "blue")
    entries = [json.loads(GOOD), json.loads(GOOD) | {"filename": "blue.png"}]
    (tmp_path / "swap_att.json").write_text(json.dumps(entries))
    return tmp_path


def test_vectors_are_kept_and_a_changed_picture_is_encoded_anew(pairs: Path) -> None:
    first, second, third, fourth = (FakeEncoder() for _ in range(4))

    def measure(encoder: FakeEncoder, *, fresh: bool = False) -> int:
        evaluate_probe(
            "sugarcrepe", annotations=pairs / "swap_att.json", encoder=encoder, options=ProbeOptions(fresh=fresh)
        )
        return encoder.images_encoded

    assert (measure(first), measure(second)) == (4, 0)  # a colour's name is encoded as a picture of it
    write_picture(pairs / "blue.png", "blue", seed=99)
    assert measure(third) == 2  # the block that it is in
    assert measure(fourth, fresh=True) == 4


def test_a_picture_is_decoded_once_whatever_is_written_over_it(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def decode(data: bytes) -> Any:
        decoded.append(hashlib.sha256(data).hexdigest())
        return images.decode(data)

    monkeypatch.setattr(pictures, "decode", decode)
    encoder = FakeEncoder()
    options = GalleryProbeOptions(strengths=(0.1, 0.2, 0.3), fresh=True)
    report = evaluate_gallery_probe(gallery, options=options, encoder=encoder)
    assert (report.pictures, encoder.images_encoded - report.texts) == (4 * 30, 4 * 30)
    assert len(set(decoded)) == 30
    assert len(decoded) < 2 * 30  # again only where a thread's share ends within the pictures of one file


def test_vectors_come_in_the_order_of_the_pictures_and_the_work_is_told(tmp_path: Path) -> None:
    coloured(tmp_path, "red", "blue", "green")
    (tmp_path / "black.png").write_text("no picture")
    files = [str(tmp_path / f"{name}.png") for name in ("red", "blue", "black", "green", "red", "blue")]
    asked = [ProbePicture(file, file) for file in files]
    asked[4] = replace(asked[4], written=WrittenWord("word", 0.3))
    asked += [replace(asked[3], box=(0, 0, 4, number)) for number in range(4, 8)]
    encoder, told = FakeEncoder(), list[Progress]()
    vectors, reasons = encode_pictures(asked, encoder, told.append)
    assert list(reasons) == [2]
    assert not vectors[2].any()
    for place, picture in enumerate(asked):
        if place != 2:
            alone = encoder.image.encode(encoder.image.prepare(open_picture(picture))[np.newaxis])[0]
            assert np.allclose(vectors[place], alone, atol=1e-6)
    assert (told[-1].done, told[-1].total) == (10, 10)


def test_several_models_are_compared(pairs: Path) -> None:
    report = evaluate_probe(
        "sugarcrepe", annotations=pairs / "swap_att.json", encoder=[FakeEncoder("one"), FakeEncoder("two", seed=1)]
    )
    (comparison,) = report.comparisons
    assert (comparison.first, comparison.second) == ("one", "two")
    assert comparison.differences["text"].value == 0.0
    with pytest.raises(BenchmarkError, match="the same encoder"):
        evaluate_probe("sugarcrepe", annotations=pairs / "swap_att.json", encoder=[FakeEncoder(), FakeEncoder()])


def test_the_command_prints_and_writes_all_kinds(pairs: Path, mmsearch: Command) -> None:
    done = mmsearch("eval", "probe", "sugarcrepe", "--images", pairs, "--model", "fake", "--report", pairs / "out")
    assert done.code == 0, done.err
    assert "sugarcrepe (Hsieh et al. 2023): 2 examples, 2 pictures" in done.out
    assert "fake: text 50.00 [0.00, 100.00] %, chance 50.00; blind to the pictures" in done.out
    written = sorted(file.name for file in (pairs / "out").iterdir())
    assert written == ["probe.csv", "probe.html", "probe.json", "probe.md"]
    document = json.loads((pairs / "out" / "probe.json").read_text())
    assert document["systems"][0]["results"][0]["strict"]["value"] == 0.5
    assert (
        (pairs / "out" / "probe.csv").read_text().splitlines()[1].startswith("sugarcrepe,fake,fp32,text,all,2,2,0.5,")
    )
    page = (pairs / "out" / "probe.html").read_text()
    assert page.count("<div class=failure>") == 1
    assert "data:image/jpeg;base64," in page
    assert "| text | all | 50.00 [0.00, 100.00] |" in (pairs / "out" / "probe.md").read_text()
    done = mmsearch("eval", "probe", "sugarcrepe", "--images", pairs, "--report", pairs / "out.txt")
    assert (done.code, "name a .json, .md, .html or .csv file" in done.err) == (1, True)


def test_every_probe_is_a_command(command_line: Command) -> None:
    from mmsearch.cli.probe import app

    named = [command.name for command in app.registered_commands if command.name != "gallery"]
    assert named == list(PROBES)


def test_the_demo_model_binds_colours_on_swapped_postcards(tmp_path: Path) -> None:
    """As data/demo_model.md says: of the pairs that differ only in which thing has which colour, all."""
    file = write_pairs(tmp_path, 24)
    found = strict(evaluate_probe("winoground", annotations=file, encoder="demo"))
    assert [found[(name, "all")] for name in ("text", "image", "group")] == [1.0, 1.0, 1.0]


# --- of a gallery's own pictures and captions -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("attributes", "A red car and a blue kite.", "A blue car and a red kite."),
        ("attributes", "Big red dog, big red house", None),  # nothing that could change places
        ("attributes", "a purple plane and two violet tents", None),  # one colour
        ("attributes", "a small dog in red and a Large one", "a large dog in red and a Small one"),
        ("sides", "On the left a dog in front of a cat", "On the right a dog behind a cat"),
        ("sides", "a bright overcoat", None),
        ("negation", "A dog on a beach", "No dog on a beach"),
        ("negation", "the beach with two dogs", "the beach with no dogs"),
        ("negation", "dogs", None),
        ("count", "nobody at 11", None),
        ("order", "three little words", None),
    ],
)
def test_captions_are_made_wrong_in_one_respect(name: str, text: str, wrong: str | None) -> None:
    (alteration,) = (each for each in ALTERATIONS if each.name == name)
    assert alteration.alter(text, Random(0)) == wrong


def test_counts_and_orders_are_drawn_by_lot() -> None:
    alter = {each.name: each.alter for each in ALTERATIONS}
    found = {alter["count"]("Two dogs and 3 cats", Random(seed)) for seed in range(200)}
    assert found == {f"{number.capitalize()} dogs and 3 cats" for number in NUMBERS if number != "two"}
    assert {alter["count"]("3 cats", Random(seed)) for seed in range(200)} == {
        f"{number} cats" for number in range(2, 11) if number != 3
    }
    shuffled = alter["order"]("a dog on a beach", Random(1))
    assert shuffled is not None
    assert sorted(shuffled.split()) == sorted(["a", "dog", "on", "a", "beach"])
    assert shuffled != "a dog on a beach"


def test_a_word_is_written_as_high_as_asked_and_never_wider_than_the_picture() -> None:
    ground = Image.new("RGB", (400, 200), (128, 128, 128))
    heights = []
    for height in (0.1, 0.2, 0.4):
        rows, columns = np.nonzero((np.asarray(write_word(ground, WrittenWord("Hxg", height))) != 128).any(axis=2))
        heights.append((rows.max() - rows.min() + 1) / 200)
        assert abs((columns.max() + columns.min()) / 2 - 200) < 4  # in the middle
    assert heights == pytest.approx([0.1, 0.2, 0.4], rel=0.25)
    _, columns = np.nonzero((np.asarray(write_word(ground, WrittenWord("w" * 40, 0.5))) != 128).any(axis=2))
    assert columns.max() - columns.min() < 400 * 0.97
    assert np.asarray(ground).min() == 128  # the picture itself is as it was


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Thirty pictures of a colour, each with a caption that names this colour first and another behind."""
    provide(monkeypatch)
    lines = ["image,caption"]
    for number in range(30):
        first, second = ("red", "blue", "green")[number % 3], ("white", "black", "yellow")[number % 3]
        write_picture(tmp_path / "photos" / f"{number}.png", first, seed=number)
        lines.append(f"{number}.png,a {first} car left of two {second} boats near item{'abcdefghij'[number % 10] * 4}")
    (tmp_path / "captions.csv").write_text("\n".join(lines) + "\n")
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder="fake", captions=[tmp_path / "captions.csv"])
    return tmp_path / "g"


def test_a_gallery_is_a_probe_of_its_own(gallery: Path, mmsearch: Command, tmp_path: Path) -> None:
    done = mmsearch("eval", "probe", "gallery", "-g", gallery, "--strength", "0.2", "--report", tmp_path / "out")
    assert done.code == 0, done.err
    document = json.loads((tmp_path / "out" / "probe.json").read_text())
    results = {each["subset"]: each for each in document["systems"][0]["results"]}
    assert list(results) == ["attributes", "sides", "order", "negation", "count", "written 0 %", "written 20 %"]
    assert results["attributes"]["strict"]["value"] == 1.0  # the colour that comes first is another
    for name in ("sides", "count", "negation"):  # the colour that comes first stays: the encoder sees no difference
        assert (results[name]["strict"]["value"], results[name]["half"]["value"]) == (0.0, 0.5)
    assert {each["examples"] for each in results.values()} == {30}
    (paired,) = document["comparisons"]
    assert (paired["first"], paired["second"]) == ("fake, written 0 %", "fake, written 20 %")
    assert "weakest at sides: 0.00 [0.00, 11.35] %, chance 50.00" in done.out
    page = (tmp_path / "out" / "probe.html").read_text()
    assert page.count("<div class=failure>") >= 6 * 3
    same = mmsearch("eval", "probe", "gallery", "-g", gallery, "--strength", "0.2")
    assert same.out == done.out  # the lot is that of the seed


def test_a_gallery_that_says_too_little_is_told_so(gallery: Path, mmsearch: Command, tmp_path: Path) -> None:
    report = evaluate_gallery_probe(gallery, options=GalleryProbeOptions(most=25, strengths=()), encoder=FakeEncoder())
    assert report.examples == 6 * 25
    with pytest.raises(BenchmarkError, match="shares of a height from 0 to 1"):
        evaluate_gallery_probe(gallery, options=GalleryProbeOptions(strengths=(2.0,)))
    embed([tmp_path / "photos"], gallery=tmp_path / "bare", encoder="fake")
    done = mmsearch("eval", "probe", "gallery", "-g", tmp_path / "bare")
    assert (done.code, "no caption names a picture" in done.err) == (1, True)
    done = mmsearch("eval", "probe", "gallery", "-g", gallery, "--model", "other")
    assert (done.code, "fake" in done.err) == (1, True)
    for file in (tmp_path / "photos").glob("1*.png"):
        file.write_text("no picture any more")
    done = mmsearch("eval", "probe", "gallery", "-g", gallery)
    assert (done.code, "pictures cannot be read" in done.err) == (1, True)
