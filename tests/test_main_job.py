"""The main job as a person does it: real photos, real captions, real processes, a real open_clip model on disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.independent import evaluate_independently
from tests.models import write_random_model, write_tiny_model

PHOTOS = 1000


def mmsearch(folder: Path, *arguments: object) -> str:
    environment = {**os.environ, "MMSEARCH_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "mmsearch", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def main_job(folder: Path, data: Path, model: Path) -> None:
    photos = data / "flickr8k" / "images_test1k_224"
    captions = folder / "captions.csv"  # the file holds those of all 8,000 photos
    captions.write_text("\n".join((data / "flickr8k" / "captions.txt").read_text().splitlines()[:501]) + "\n")
    embedded = mmsearch(folder, "embed", photos, "--captions", captions, "--model", f"local-dir:{model}")
    assert f"{PHOTOS:,} in the gallery: {PHOTOS:,} added" in embedded
    assert "Flat" in mmsearch(folder, "index")
    hits = [
        json.loads(line) for line in mmsearch(folder, "query", "two dogs on a beach", "--format", "jsonl").splitlines()
    ]
    assert [hit["rank"] for hit in hits] == list(range(1, 11))
    assert all(Path(hit["file"]).is_file() for hit in hits)
    exact = mmsearch(folder, "query", "two dogs on a beach", "--format", "jsonl", "--exact").splitlines()
    assert [json.loads(line)["row_id"] for line in exact] == [hit["row_id"] for hit in hits]
    assert mmsearch(folder, "query", "--image", hits[3]["file"], "--format", "paths").splitlines()[0] == hits[3]["file"]
    assert len(mmsearch(folder, "query", "--image", hits[0]["file"], "--in", "captions").splitlines()) == 10
    mmsearch(
        folder,
        *("eval", "flickr8k", "--images", photos, "--annotations", data / "flickr8k" / "Flickr8k.token.txt"),
        *("--model", f"local-dir:{model}", "--report", folder / "out.json"),
    )
    report = json.loads((folder / "out.json").read_text())
    for direction, figures in evaluate_independently(Path(report["gallery"])).items():
        for name, value in figures.items():
            assert report[direction][name] == pytest.approx(value, abs=1e-12), (direction, name)
    assert (report["text_to_image"]["queries"], report["image_to_text"]["queries"]) == (5 * PHOTOS, PHOTOS)
    info = json.loads(mmsearch(folder, "info", "--format", "json"))
    assert (info["images"], info["skipped"]) == (PHOTOS, 0)


@pytest.mark.soak
def test_the_main_job_on_real_photos(tmp_path: Path, shared_data: Path) -> None:
    main_job(tmp_path, shared_data, write_tiny_model(tmp_path / "model"))


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_the_main_job_with_a_full_size_model(tmp_path: Path, shared_data: Path) -> None:
    """ViT-B-32 of random weights: what it finds means nothing, what it costs and computes is real."""
    main_job(tmp_path, shared_data, write_random_model(tmp_path / "model", "ViT-B-32"))
