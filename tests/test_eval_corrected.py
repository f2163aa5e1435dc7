"""Evaluations with corrected scores and their calibration: real vectors by the protocol, and worlds that are known."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.evaluation import evaluate_galleries, evaluate_vectors, to_json
from mmsearch.evaluation.correcting import own_banks, split_images
from mmsearch.evaluation.records import Items
from mmsearch.metrics import Relevance
from mmsearch.runs import write_qrels
from tests import hubby
from tests.conftest import Command
from tests.vectors import random_unit_vectors

Floats = NDArray[np.float32]


@pytest.fixture
def clip(shared_data: Path) -> tuple[Floats, Floats]:
    images, captions = np.load(shared_data / "modality_gap_clip_vitb16_coco500" / "features_clip.npy")
    return images, captions


def split(clip: tuple[Floats, Floats], folder: Path, seed: int, bank: str = "captions") -> list[str | Path]:
    """250 captions ask for their images among 500; the bank is of the others."""
    images, captions = clip
    order = np.random.default_rng(seed).permutation(500)
    asking, others = np.sort(order[:250]), np.sort(order[250:])
    np.save(folder / "images.npy", images)
    np.save(folder / "captions.npy", captions)
    np.save(folder / "bank.npy", (captions if bank == "captions" else images)[others])
    np.save(folder / "image_bank.npy", images[others])
    write_qrels(folder / "qrels", [(str(n), str(n)) for n in asking.tolist()])
    options = {name.replace("_", "-"): folder / f"{name}.npy" for name in ("images", "captions", "bank", "image_bank")}
    return [part for name, file in options.items() for part in (f"--{name}", file)] + ["--qrels", folder / "qrels"]


def test_the_command_says_every_figure_with_and_without_correction(
    clip: tuple[Floats, Floats], tmp_path: Path, mmsearch: Command
) -> None:
    report = tmp_path / "out"
    done = mmsearch("eval", "vectors", *split(clip, tmp_path, 0), "--report", report)
    assert done.code == 0
    assert "scores corrected for hubs" in done.out
    assert "bank: 250 vectors, bank.npy" in done.out
    assert "is there what was asked for? 250 captions asked with their images among 250" in done.out
    document = json.loads((report / "report.json").read_text())
    corrected = document["corrected"]
    for direction in ("text_to_image", "image_to_text"):
        plain, found = document[direction], corrected[direction]
        assert plain.keys() <= found.keys()
        assert (found["queries"], found["gallery"]) == (plain["queries"], plain["gallery"])
        for name, difference in found["differences"].items():
            assert difference["difference"] == pytest.approx(found[name] - plain[name])
            assert difference["low"] <= difference["difference"] <= difference["high"]
        assert found["differences"]["MRR"]["low"] > 0
        assert found["alpha"] > 0
    assert (corrected["alpha"], corrected["k"]) == tuple(corrected["text_to_image"][name] for name in ("alpha", "k"))
    assert corrected["text_to_image"]["bank"] == {"source": "bank.npy", "vectors": 250}
    presence = document["calibration"]
    assert presence["corrected"]["AUROC"]["value"] > presence["plain"]["AUROC"]["value"]
    for judged in (presence["plain"], presence["corrected"]):
        assert judged["AUROC"]["low"] < judged["AUROC"]["value"] < judged["AUROC"]["high"]
        assert judged["ECE"]["value"] < 0.07
        assert sum(each["count"] for each in judged["reliability"]) == 500
        assert judged["risk_coverage"]["risk"][-1] == 0.5
    for name in ("report.md", "report.html"):
        text = (report / name).read_text()
        assert "Corrected for hubs" in text
        assert "Is there what was asked for?" in text
    assert (report / "plots" / "calibration.svg").is_file()


def figures(clip: tuple[Floats, Floats], folder: Path, seed: int, bank: str = "captions") -> dict[str, Any]:
    split(clip, folder, seed, bank)
    at = {name: str(folder / f"{name}.npy") for name in ("images", "captions", "bank", "image_bank")}
    report = evaluate_vectors(
        [(at["images"], at["captions"])], bank=at["bank"], image_bank=at["image_bank"], qrels=folder / "qrels"
    )
    return to_json(report)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_real_vectors_gain_what_is_published(clip: tuple[Floats, Floats], tmp_path: Path) -> None:
    """Over 20 splits; 500 images are searched, and whether an image is there is asked among the 250 that are asked
    for."""
    documents = [figures(clip, tmp_path, seed) for seed in range(20)]

    def mean(*path: str) -> float:
        values: list[Any] = documents
        for name in path:
            values = [value[name] for value in values]
        return float(np.mean(values))

    assert mean("corrected", "text_to_image", "R@1") >= mean("text_to_image", "R@1") + 0.07
    assert mean("corrected", "image_to_text", "R@1") >= mean("image_to_text", "R@1") + 0.03
    assert mean("calibration", "corrected", "AUROC", "value") >= 0.755
    assert mean("calibration", "corrected", "ECE", "value") <= 0.07
    assert mean("calibration", "plain", "AUROC", "value") < 0.73


def test_a_bank_of_pictures_is_refused(clip: tuple[Floats, Floats], tmp_path: Path, mmsearch: Command) -> None:
    """Pictures are near to pictures: what such a bank takes away is not what texts find too easily.

    Each of these stands among those that are searched, and nobody asks for it: lowered by itself, it would be a gain.
    """
    done = mmsearch("eval", "vectors", *split(clip, tmp_path, 0, "images"), "--report", tmp_path / "r.json")
    assert "text_to_image  not corrected: that it helps was not seen (MRR" in done.out
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["corrected"]["alpha"] == document["corrected"]["text_to_image"]["alpha"] == 0
    assert document["corrected"]["text_to_image"]["R@1"] == document["text_to_image"]["R@1"]
    assert document["calibration"]["corrected"] == document["calibration"]["plain"]


def test_a_direction_without_a_bank_is_not_corrected(tmp_path: Path, mmsearch: Command) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "v.npy", random_unit_vectors(rng, 2, 80, 16))
    np.save(tmp_path / "bank.npy", random_unit_vectors(rng, 50, 12))
    asked = "eval", "vectors", "--images", f"{tmp_path}/v.npy[0]", "--captions", f"{tmp_path}/v.npy[1]"
    done = mmsearch(*asked)
    assert "corrected      text_to_image: not corrected: no bank was given" in done.out
    wrong = mmsearch(*asked, "--bank", tmp_path / "bank.npy")
    assert wrong.code == 1
    assert "bank.npy has vectors of 12 dimensions, and what it is to correct of 16" in wrong.err
    missing = mmsearch(*asked, "--bank", tmp_path / "nothing.npy")
    assert (missing.code, "there is no file" in missing.err) == (1, True)


def test_too_few_images_judge_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "v.npy", random_unit_vectors(rng, 2, 59, 16))
    file = str(tmp_path / "v.npy")
    document = to_json(evaluate_vectors([(f"{file}[0]", f"{file}[1]")], bank=f"{file}[1]"))
    assert document["corrected"]["text_to_image"]["why"] == (
        "not tried: queries of 59 images, and 60 are needed to judge by"
    )
    assert document["calibration"] is None


def test_scores_that_say_nothing_are_seen_to(tmp_path: Path) -> None:
    """Vectors at random: neither the number of items searched nor anything else tells which images are there."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "v.npy", random_unit_vectors(rng, 2, 300, 32))
    file = str(tmp_path / "v.npy")
    presence = to_json(evaluate_vectors([(f"{file}[0]", f"{file}[1]")]))["calibration"]
    assert presence["plain"]["AUROC"]["value"] == pytest.approx(0.5, abs=0.02)
    assert presence["plain"]["Brier"]["value"] == pytest.approx(0.25, abs=0.01)


def test_captions_correct_what_others_ask_for_and_never_their_own_image() -> None:
    rng = np.random.default_rng(0)
    images, captions = random_unit_vectors(rng, 40, 8), random_unit_vectors(rng, 120, 8)
    owner = np.repeat(np.arange(40), 3)
    names = tuple(map(str, range(120)))
    items = Items(
        images=names[:40],
        files=(None,) * 40,
        captions=names,
        caption_ids=names,
        query_captions=np.arange(120),
        query_images=np.arange(40),
        images_of_caption=Relevance.one_each(owner),
        captions_of_image=Relevance.inverse(owner, 40),
    )
    folds = split_images(items)
    assert sorted(np.bincount(folds).tolist()) == [20, 20]
    banks = own_banks(images, captions, items, folds)
    assert banks.text_to_image is not None
    assert banks.image_to_text is not None
    for fold in (0, 1):
        texts, pictures = banks.text_to_image.of_fold[fold], banks.image_to_text.of_fold[fold]
        # Nothing that a query of this fold might be, or ask for.
        assert (folds[texts.owners] != fold).all()
        assert (folds[pictures.owners] != fold).all()
        assert (len(texts.vectors), len(pictures.vectors)) == (60, 20)
        assert np.array_equal(captions[np.isin(owner, texts.owners)], texts.vectors)
    assert banks.text_to_image.owners.tolist() == list(range(40))
    assert banks.image_to_text.owners.tolist() == owner.tolist()


def says() -> Iterator[str]:
    for number in range(200):
        yield f"{number} once"
        yield f"{number} again"


def test_a_gallery_with_hubs_is_corrected_by_its_own_captions(tmp_path: Path) -> None:
    hubby.write(tmp_path / "g", hubby.World(200), pictures=range(200), captions=list(says()))
    document = to_json(evaluate_galleries([tmp_path / "g"]))
    corrected = document["corrected"]["text_to_image"]
    assert corrected["alpha"] > 0
    assert corrected["R@1"] > document["text_to_image"]["R@1"] + 0.03
    assert corrected["bank"]["source"] == "captions of the other half of the images"
    presence = document["calibration"]
    assert (presence["queries"], presence["searched"]) == (400, 200)
    assert presence["corrected"]["AUROC"]["value"] > presence["plain"]["AUROC"]["value"]
