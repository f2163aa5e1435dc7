"""Vectors that clip-retrieval computed, as a gallery: searched, never mixed with others, never called checked."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from mmsearch.embedding import embed
from mmsearch.encoders import EncodedTexts
from mmsearch.errors import EncoderError, EncoderMismatch, MmsearchError, MmsearchWarning, SourceError
from mmsearch.gallery import Gallery, gallery_writer
from mmsearch.identity import EncoderIdentity
from mmsearch.indexing import index
from mmsearch.progress import Progress
from mmsearch.search.open_gallery import open_gallery
from mmsearch.upkeep.importing import ImportReport, import_vectors
from tests.fakes import FakeEncoder
from tests.galleries import contents, skipped
from tests.vectors import unit_vectors

MODEL = "ViT-B-32/laion2b_s34b_b79k"


def write_output(
    folder: Path, number: int, rows: list[dict[str, Any]], vectors: NDArray[Any], *, texts: bool = True
) -> None:
    """A part of an output folder, as clip-retrieval writes it."""
    for name in ("img_emb", "text_emb", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    np.save(folder / "img_emb" / f"img_emb_{number}.npy", vectors)
    if texts:
        np.save(folder / "text_emb" / f"text_emb_{number}.npy", vectors[::-1])
    pq.write_table(pa.Table.from_pylist(rows), folder / "metadata" / f"metadata_{number}.parquet")


def vectors(count: int, *, seed: int = 0) -> NDArray[np.float16]:
    return unit_vectors(np.random.default_rng(seed).normal(size=(count, 512))).astype(np.float16)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Two parts, of which the tenth comes after the second and one picture has two captions."""
    for number in (2, 10):
        rows = [{"image_path": f"/data/{number}/{place}.jpg", "caption": f"{number} {place}"} for place in range(5)]
        rows.append({"image_path": f"/data/{number}/0.jpg", "caption": f"{number} again"})
        write_output(tmp_path / "output", number, rows, vectors(6, seed=number))
    return tmp_path / "output"


def imported(output: Path, gallery: Path, **more: Any) -> ImportReport:
    with pytest.warns(MmsearchWarning, match="declared and is not checked"):
        return import_vectors(output, model=MODEL, gallery=gallery, **more)


def test_a_real_output_folder(shared_data: Path, tmp_path: Path) -> None:
    """Rows, vectors and captions are those of the files; a text finds what the vectors say."""
    source = shared_data / "clip_retrieval_outputs" / "fashion9"
    report = imported(source, tmp_path / "g")
    assert (report.images, report.captions, report.root) == (9, 9, Path("/content/catalog"))
    own = np.load(source / "img_emb" / "img_emb_0.npy").astype(np.float32)
    texts = np.load(source / "text_emb" / "text_emb_0.npy").astype(np.float32)
    metadata = pq.read_table(source / "metadata" / "metadata_0.parquet").to_pylist()
    rows = {path: vector for (_, path), (_, vector) in contents(tmp_path / "g").items()}
    assert list(rows) == [Path(row["image_path"]).name for row in metadata]
    np.testing.assert_allclose(np.stack(list(rows.values())), own, atol=1e-3)
    gallery = Gallery.open(tmp_path / "g")
    assert [row.caption for _, row in gallery.all_captions()] == [row["caption"] for row in metadata]
    found = open_gallery(tmp_path / "g").search(texts / np.linalg.norm(texts, axis=1, keepdims=True), k=1)
    assert np.array_equal(found.row_ids[:, 0], (own @ texts.T).argmax(axis=0))


def test_parts_come_in_the_order_of_their_numbers(output: Path, tmp_path: Path) -> None:
    report = imported(output, tmp_path / "g")
    assert (report.images, report.captions, report.root) == (10, 12, Path("/data"))
    gallery = Gallery.open(tmp_path / "g")
    assert [name for _, _, name in gallery.image_names()][:6] == [*(f"2/{place}.jpg" for place in range(5)), "10/0.jpg"]
    assert [row.path for _, row in gallery.all_captions() if "again" in row.caption] == ["2/0.jpg", "10/0.jpg"]
    assert gallery.manifest.encoder.fingerprint == f"declared:{MODEL}"


def test_queries_work_and_say_what_they_rest_on(output: Path, tmp_path: Path) -> None:
    imported(output, tmp_path / "g")

    class Same(FakeEncoder):
        def __init__(self) -> None:
            super().__init__("elsewhere")
            self.identity = EncoderIdentity(MODEL, "sha256:1", 512)

        def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
            return EncodedTexts(vectors(len(texts), seed=2).astype(np.float32), super().encode_texts(texts).truncated)

    with (
        pytest.warns(MmsearchWarning, match="imported; that they are of .* was declared"),
        pytest.warns(MmsearchWarning, match="/data is not there"),
    ):
        hits = open_gallery(tmp_path / "g", encoder=Same()).query("anything", k=1)
    assert (hits[0].path, round(hits[0].score, 2)) == ("2/0.jpg", 1.0)
    with pytest.raises(EncoderMismatch, match="imported vectors of 512"):
        open_gallery(tmp_path / "g", encoder=FakeEncoder()).query("anything")
    index(tmp_path / "g")
    assert open_gallery(tmp_path / "g").search(vectors(1, seed=2).astype(np.float32), k=1).row_ids[0, 0] == 0


def test_nothing_is_added_to_imported_vectors(output: Path, tmp_path: Path, photos: Path) -> None:
    imported(output, tmp_path / "g")
    before = contents(tmp_path / "g").keys()
    for paths in ([photos], []):
        with pytest.raises(EncoderMismatch, match="others cannot be added"):
            embed(paths, gallery=tmp_path / "g", encoder=FakeEncoder())
    embed([photos], gallery=tmp_path / "own", encoder=FakeEncoder())
    with pytest.raises(EncoderMismatch, match="import into a new gallery"):
        import_vectors(output, model=MODEL, gallery=tmp_path / "own")
    assert contents(tmp_path / "g").keys() == before


def test_an_interrupted_import_is_continued(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_writer, "COMMIT_SECONDS", -1.0)

    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_vectors(output, model=MODEL, gallery=tmp_path / "g", progress=stop)
    assert len(contents(tmp_path / "g")) == 5
    report = imported(output, tmp_path / "g")
    assert (report.images, report.captions) == (5, 6)
    assert len(contents(tmp_path / "g")) == 10
    assert imported(output, tmp_path / "g").images == 0


def test_odd_vectors_and_rows(tmp_path: Path) -> None:
    """Not normalised, empty, not finite; without a path; with a size; relative paths of a webdataset."""
    rows: list[dict[str, object]] = [
        {"image_path": f"{place:05d}", "caption": "x" if place else "", "width": 640, "height": 480}
        for place in range(4)
    ]
    rows.append({"image_path": None, "caption": "no picture", "width": None, "height": None})
    odd = vectors(5).astype(np.float32) * 7
    odd[1], odd[2, 3] = 0, np.nan
    write_output(tmp_path / "output", 0, rows, odd, texts=False)
    report = imported(tmp_path / "output", tmp_path / "g", images=tmp_path / "pictures")
    assert (report.images, report.captions, report.skipped, report.root) == (2, 0, 2, tmp_path / "pictures")
    found = contents(tmp_path / "g")
    assert {
        path: (row["width"], round(float(np.linalg.norm(vector)), 4)) for (_, path), (row, vector) in found.items()
    } == {
        "00000": (640, 1.0),
        "00003": (640, 1.0),
    }
    assert {path for path, _, _ in skipped(tmp_path / "g")} == {"00001", "00002"}


@pytest.mark.parametrize(
    ("model", "spec"),
    [
        ("ViT-B/32", "ViT-B-32/openai"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", MODEL),
        ("hf-hub:laion/CLIP-ViT-B-32", "hf-hub:laion/CLIP-ViT-B-32"),
    ],
)
def test_names_of_models(model: str, spec: str, output: Path, tmp_path: Path) -> None:
    with pytest.warns(MmsearchWarning):
        assert import_vectors(output, model=model, gallery=tmp_path / "g").encoder.spec == spec


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("ViT-L-14/openai", EncoderMismatch, "768 values; these have 512"),
        ("ViT-B-32", EncoderError, "which weights"),
        ("no-such-model/x", EncoderError, "no model is called"),
    ],
)
def test_a_model_that_cannot_be_the_one_is_refused(
    model: str, error: type[MmsearchError], message: str, output: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        import_vectors(output, model=model, gallery=tmp_path / "g")
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize("damage", ["no metadata", "short", "no vectors", "cut", "cut metadata", "text"])
def test_what_is_no_output_of_clip_retrieval_is_refused(damage: str, output: Path, tmp_path: Path) -> None:
    part = output / "img_emb" / "img_emb_2.npy"
    if damage == "no metadata":
        shutil.rmtree(output / "metadata")
    elif damage == "short":
        np.save(part, vectors(3))
    elif damage == "no vectors":
        part.unlink()
        (output / "text_emb" / "text_emb_2.npy").unlink()
    elif damage == "cut":
        part.write_bytes(part.read_bytes()[:200])
    elif damage == "cut metadata":
        file = output / "metadata" / "metadata_2.parquet"
        file.write_bytes(file.read_bytes()[:100])
    else:
        np.save(part, np.array(["a", "b"]))
    with pytest.raises(SourceError):
        import_vectors(output, model=MODEL, gallery=tmp_path / "g")
    assert not (tmp_path / "g").exists()
