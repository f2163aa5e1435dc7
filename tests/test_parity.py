"""The fast route against the exact one: it agrees on good pictures, and every fault that is put in stops the run."""

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate

from mmsearch import encoders
from mmsearch.embedding import EmbedOptions, EmbedReport, embed, parity, recording
from mmsearch.embedding.exact_encoding import encode_exactly
from mmsearch.embedding.parity import ParityCheck, centred_cosines, psnr, top10_overlap
from mmsearch.encoders import Encoder, open_clip_encoder, preprocessing
from mmsearch.errors import ParityError
from mmsearch.gallery import Gallery
from mmsearch.images import decode, turbo
from mmsearch.loader import DecodeGroup
from mmsearch.upkeep.summary import info
from tests.models import write_tiny_model

Pixels = NDArray[np.uint8]


def photo(seed: int, size: tuple[int, int]) -> Image.Image:
    """Structure at every scale, as in a photograph; blue at the top, red at the left: every turn shows."""
    rng, (width, height) = np.random.default_rng(seed), size
    pixels = rng.normal(0, 3, size=(height, width, 3))
    for cells in (3, 6, 12, 24, 48):
        grid = rng.integers(0, 256, size=(cells, cells, 3), dtype=np.uint8)
        pixels += (
            np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC), np.float64) - 128
        ) / cells**0.5
    pixels += 128
    pixels[: height // 3, :, 2] += 60
    pixels[:, : width // 3, 0] += 60
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def jpeg(seed: int, size: tuple[int, int] = (200, 150), orientation: int = 1) -> bytes:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    photo(seed, size).save(stream, "JPEG", quality=92, exif=exif)
    return stream.getvalue()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local-dir:{write_tiny_model(tmp_path_factory.mktemp('model'))}"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten of a size that is decoded whole, two of each other orientation, nine four times as large, four PNGs."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(10):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed, (64, 48)))
    for orientation in range(2, 9):
        for seed in range(2):
            (folder / f"turned_{orientation}_{seed}.jpg").write_bytes(
                jpeg(10 * orientation + seed, (64, 48), orientation)
            )
    for seed in range(9):
        (folder / f"large_{seed}.jpg").write_bytes(jpeg(100 + seed, (640, 403)))
    for seed in range(4):
        photo(200 + seed, (90, 80)).save(folder / f"{seed}.png")
    return folder


def run(photos: Path, gallery: Path, encoder: str | Encoder, **options: Any) -> EmbedReport:
    return embed([photos], gallery=gallery, encoder=encoder, options=EmbedOptions(**options))


def test_a_run_records_how_well_it_agrees(photos: Path, model: str, tmp_path: Path) -> None:
    """Every format, orientation and route that is present, at least eight of each where there are so many."""
    report = run(photos, tmp_path / "g", model)
    assert report.images.added == 37
    assert report.parity is not None
    found = {(each.format, each.orientation, each.route): each for each in report.parity.agreements}
    assert {key: each.images for key, each in found.items()} == {
        ("JPEG", 1, "turbo"): 8,
        ("JPEG", 1, "turbo/4"): 8,
        ("PNG", 1, "pillow"): 4,
        **{("JPEG", orientation, "turbo"): 2 for orientation in range(2, 9)},
    }
    for (_, orientation, route), each in found.items():
        assert each.cosine_lowest > 0.9995
        if route == "pillow":
            assert each.psnr_lowest is None  # the very same pixels
        else:
            assert each.psnr_lowest is not None
            assert each.psnr_lowest > (50 if route == "turbo/4" else 60 if orientation < 5 else 45)
    assert report.parity.top10_overlap is not None
    assert report.parity.top10_overlap > 0.98
    assert (report.parity.device, report.parity.precision, report.parity.images) == ("cpu", "fp32", 34)
    assert Gallery.open(tmp_path / "g").manifest.parity == (report.parity,)
    assert info(tmp_path / "g").parity == (report.parity,)
    assert report.stages.bottleneck in ("read", "decode", "resize", "encode", "write")
    again = run(photos, tmp_path / "g", model)
    assert (again.parity, again.stages.bottleneck) == (None, None)
    assert Gallery.open(tmp_path / "g").manifest.parity == (report.parity,)


def swapped(monkeypatch: pytest.MonkeyPatch, _: Any) -> None:
    right = turbo.decode

    def wrong(*arguments: Any) -> tuple[Pixels, int] | None:
        found = right(*arguments)
        return (np.ascontiguousarray(found[0][:, :, ::-1]), found[1]) if found else None

    monkeypatch.setattr(turbo, "decode", wrong)


def fast_of(encoder: Encoder) -> preprocessing.Preprocessing:
    fast = encoder.image.fast
    assert isinstance(fast, preprocessing.Preprocessing)
    return fast


def interpolated(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> None:
    monkeypatch.setattr(fast_of(encoder), "_mode", "bilinear")


def nearest(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> None:
    def plain(pixels: torch.Tensor, scale_factor: Any, **_: object) -> torch.Tensor:
        return interpolate(pixels, scale_factor=scale_factor)

    monkeypatch.setattr(preprocessing, "interpolate", plain)


def unturned(monkeypatch: pytest.MonkeyPatch, _: Any) -> None:
    monkeypatch.setattr(preprocessing, "turned", lambda pixels, orientation: pixels)


def turned_the_other_way(monkeypatch: pytest.MonkeyPatch, _: Any) -> None:
    right, inverse = preprocessing.turned, {6: 8, 8: 6}

    def turned_back(pixels: torch.Tensor, orientation: int) -> torch.Tensor:
        return right(pixels, inverse.get(orientation, orientation))

    monkeypatch.setattr(preprocessing, "turned", turned_back)


def shifted(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> None:
    """As if the last column of a scaled picture were as wide as the others."""
    right = turbo.decode

    def wrong(*arguments: Any) -> tuple[Pixels, int] | None:
        found = right(*arguments)
        return (np.ascontiguousarray(np.roll(found[0], 2, axis=1)), found[1]) if found else None

    monkeypatch.setattr(turbo, "decode", wrong)


def other_mean(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> None:
    right = fast_of(encoder).normalise
    monkeypatch.setattr(fast_of(encoder), "normalise", lambda pixels: right(pixels) + 0.4)


def other_std(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> None:
    right = fast_of(encoder).normalise
    monkeypatch.setattr(fast_of(encoder), "normalise", lambda pixels: right(pixels) * 0.5)


def unnormalised(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> None:
    monkeypatch.setattr(fast_of(encoder), "normalise", lambda pixels: pixels.permute(0, 3, 1, 2).float())


FAULTS = (
    *(swapped, interpolated, nearest, unturned, turned_the_other_way, shifted),
    *(other_mean, other_std, unnormalised),
)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_fast_route_stops_the_run(
    fault: Callable[..., None], photos: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written that lies; the exact route does not share the fault, and works."""
    encoder = encoders.open(model, device="cpu")
    fault(monkeypatch, encoder)
    with pytest.raises(ParityError, match="do not agree with the exact route") as caught:
        run(photos, tmp_path / "g", encoder)
    assert "--exact" in str(caught.value)
    assert not (tmp_path / "g" / "manifests").exists()
    assert run(photos, tmp_path / "g", encoder, exact=True).images.added == 37


@pytest.mark.parametrize("fault", [swapped, nearest, other_mean])
def test_a_fault_is_found_in_a_folder_of_one(
    fault: Callable[..., None], model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.jpg").write_bytes(jpeg(1))
    encoder = encoders.open(model, device="cpu")
    assert run(tmp_path / "one", tmp_path / "right", encoder).images.added == 1
    fault(monkeypatch, encoder)
    with pytest.raises(ParityError):
        run(tmp_path / "one", tmp_path / "wrong", encoder)


def test_pictures_that_are_all_alike_are_no_fault(model: str, tmp_path: Path) -> None:
    """Frames of a still camera: subtracting their mean leaves noise, whose cosine says nothing."""
    (tmp_path / "frames").mkdir()
    frame = np.asarray(photo(1, (120, 90)), np.int16)
    for seed in range(20):
        noise = np.random.default_rng(seed).integers(-1, 2, size=frame.shape)
        Image.fromarray(np.clip(frame + noise, 0, 255).astype(np.uint8)).save(tmp_path / "frames" / f"{seed}.jpg")
    report = run(tmp_path / "frames", tmp_path / "g", model)
    assert report.parity is not None
    assert min(each.cosine_lowest for each in report.parity.agreements) > 0.999


def test_ctrl_c_commits_nothing_that_was_not_compared(
    photos: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoders.open(model, device="cpu")
    other_mean(monkeypatch, encoder)

    def interrupted(state: Any) -> None:
        if state.task == "embedding" and state.done == 30:
            raise KeyboardInterrupt

    with pytest.raises(ParityError):
        embed([photos], gallery=tmp_path / "g", encoder=encoder, progress=interrupted)
    assert not (tmp_path / "g" / "manifests").exists()


def test_the_exact_route_is_the_reference(photos: Path, model: str, tmp_path: Path) -> None:
    """Row by row what Pillow and open_clip's own transform give in fp32, and the shards say so."""
    encoder = encoders.open(model, device="cpu")
    report = run(photos, tmp_path / "g", encoder, exact=True, dtype="float32")
    assert report.parity is None
    gallery = Gallery.open(tmp_path / "g")
    assert {shard.provenance.route for shard in gallery.manifest.shards["images"] if shard.provenance} == {"exact"}
    rows = [row for block in gallery.scan("images", ["path", "embedding"]) for row in block.to_pylist()]
    assert len(rows) == 37
    for row in rows:
        pixels = encoder.image.prepare(decode((photos / row["path"]).read_bytes()).image)
        assert np.abs(encoder.image.encode_reference(pixels[None])[0] - row["embedding"]).max() < 1e-6


def test_exact_is_fp32(photos: Path, model: str, tmp_path: Path, command_line: Any) -> None:
    done = command_line("embed", photos, "--model", model, "--exact", "--precision", "bf16", "-g", tmp_path / "g")
    assert done.code == 1
    assert "--exact computes in fp32, not in bf16" in done.err


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_other_precisions_agree_within_their_gates(
    precision: str, photos: Path, model: str, tmp_path: Path, command_line: Any
) -> None:
    """And say how well on the way out."""
    done = command_line(
        "embed", photos, "--model", model, "--precision", precision, "--device", "cpu", "-g", tmp_path / "g"
    )
    assert done.code == 0, done.err
    (parity,) = info(tmp_path / "g").parity
    assert parity.precision == precision
    lowest = min(each.cosine_lowest for each in parity.agreements)
    assert 0.98 < lowest < 0.99999
    assert re.search(r"agrees    34 pictures with the exact route: pixels at \d\d dB or better", done.out)
    assert f"centred cosine {lowest:.5f} or better" in done.out
    assert "the bottleneck is" in done.out
    assert f"agrees    on cpu in {precision}, 34 pictures" in command_line("info", "-g", tmp_path / "g").out


def test_int8_is_for_transformers_on_cpus(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmsearch.errors import EncoderError

    exact, quick = (encoders.open(model, device="cpu", precision=each) for each in ("fp32", "int8"))
    assert np.array_equal(exact.text.encode(["a dog"]).vectors, quick.text.encode(["a dog"]).vectors)
    pixels = np.stack([exact.image.prepare(photo(seed, (40, 40))) for seed in range(4)])
    assert 0 < np.abs(exact.image.encode(pixels) - quick.image.encode(pixels)).max() < 0.05
    assert np.array_equal(exact.image.encode(pixels), quick.image.encode_reference(pixels))
    with pytest.raises(EncoderError, match="int8 is for transformers"):
        encoders.open("demo", device="cpu", precision="int8")
    monkeypatch.setattr(open_clip_encoder, "choose_device", lambda _: torch.device("mps"))
    with pytest.raises(EncoderError, match="int8 is for CPUs; mps is faster in fp16"):
        encoders.open(model, precision="int8")


def test_which_pictures_are_compared() -> None:
    """The first eight of each kind, then ever fewer, so that a long run is sampled to its end."""
    check, kind = ParityCheck(), DecodeGroup("JPEG", 1, "turbo")
    chosen = [number for number in range(1, 101) if check.should_sample(kind, b"%d" % number)]
    assert chosen == [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64]
    assert check.should_sample(DecodeGroup("JPEG", 6, "turbo"), b"1")
    assert all(check.should_sample(kind, b"%d" % number) for number in chosen)  # files that are read twice


def test_a_picture_that_is_decoded_twice_takes_one_place_of_the_sample(model: str, tmp_path: Path) -> None:
    """One of two copies is thrown away after decoding, and so is what was decoded before the encoder was ready."""
    (tmp_path / "photos").mkdir()
    for seed in range(8):
        (tmp_path / "photos" / f"{seed}.jpg").write_bytes(jpeg(seed, (64, 48)))
    (tmp_path / "photos" / "0_copy.jpg").write_bytes(jpeg(0, (64, 48)))
    report = run(tmp_path / "photos", tmp_path / "g", encoders.open(model, device="cpu"))
    assert report.images.added == 9
    assert report.parity is not None
    assert [each.images for each in report.parity.agreements] == [8]


def test_the_measures() -> None:
    """Worked by hand."""
    assert psnr(np.array([1.0, 255.0**2, 0.0])).round(2).tolist() == [48.13, 0.0, np.inf]
    here, there = np.array([[1.0, 1.0], [2.0, 1.0]], np.float32), np.array([[1.0, 2.0], [3.0, 1.0]], np.float32)
    assert centred_cosines(here, there, np.array([1.0, 0.0])).round(6).tolist() == [1.0, round(3 / 10**0.5, 6)]
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 8)).astype(np.float32)
    assert top10_overlap(rows, rows) == 1.0
    assert top10_overlap(rows[:11], rows[:11]) is None
    other = top10_overlap(rng.normal(size=(30, 8)).astype(np.float32), rows)
    assert other is not None
    assert 0.2 < other < 0.5  # of 29 others ten are shared by chance with a third


def odd_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the fast way did not agree on pictures of 120 x 90, whatever is in them, and on no other."""
    right = turbo.decode

    def wrong(*arguments: Any) -> tuple[Pixels, int] | None:
        found = right(*arguments)
        if found is not None and arguments[1:3] == (120, 90):
            return np.ascontiguousarray(found[0][:, ::-1]), found[1]
        return found

    monkeypatch.setattr(turbo, "decode", wrong)


@pytest.fixture
def with_odd_files(tmp_path: Path) -> Path:
    """Ten pictures, and eleven turned ones on which the fast way does not agree, of which two are the same."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for seed in range(10):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed, (64, 48)))
        (folder / f"odd_{seed}.jpg").write_bytes(jpeg(300 + seed, (120, 90), 6))
    (folder / "odd_copy.jpg").write_bytes((folder / "odd_3.jpg").read_bytes())
    return folder


def require_exact(gallery: Path, folder: Path, encoder: Encoder, names: str) -> None:
    """Their vectors are those of the exact route, to the precision that is stored."""
    rows = [row for block in Gallery.open(gallery).scan("images", ["path", "embedding"]) for row in block.to_pylist()]
    rows = [row for row in rows if row["path"].startswith(names)]
    assert rows
    for row in rows:
        pixels = encoder.image.prepare(decode((folder / row["path"]).read_bytes()).image)
        assert np.abs(encoder.image.encode_reference(pixels[None])[0] - np.array(row["embedding"])).max() < 1e-3


def test_a_kind_that_does_not_agree_goes_by_the_exact_route(
    with_odd_files: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_line: Any
) -> None:
    """All of it, what was done before that was known and copies too; it is counted and named, and the run goes on."""
    encoder = encoders.open(model, device="cpu")
    odd_file(monkeypatch)
    report = run(with_odd_files, tmp_path / "g", encoder)
    assert report.images.added == 21
    assert report.parity is not None
    (kind,) = report.parity.disagreements
    assert (kind.format, kind.orientation, kind.route, kind.images) == ("JPEG", 6, "turbo", 11)
    assert len(kind.examples) == 5
    assert all("odd_" in name for name in kind.examples)
    assert kind.psnr_lowest is not None
    assert kind.psnr_lowest < 40
    (agreeing,) = report.parity.agreements
    assert agreeing.orientation == 1
    assert agreeing.images > 4
    require_exact(tmp_path / "g", with_odd_files, encoder, "odd_")
    gallery = Gallery.open(tmp_path / "g")
    ways = {shard.provenance.route: shard.rows for shard in gallery.manifest.shards["images"] if shard.provenance}
    assert ways == {"fast": 10, "exact": 11}
    assert gallery.manifest.parity == (report.parity,)
    said = command_line("info", "-g", tmp_path / "g").out
    assert "exact     11 JPEG pictures (orientation 6, turbo) by the exact route: pixels at" in said
    assert "odd_0.jpg" in said


def test_one_picture_that_does_not_agree_does_not_stop_the_run(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_line: Any
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "odd_0.jpg").write_bytes(jpeg(1, (120, 90)))
    encoder = encoders.open(model, device="cpu")
    odd_file(monkeypatch)
    report = run(tmp_path / "one", tmp_path / "g", encoder)
    assert report.images.added == 1
    assert report.parity is not None
    assert [each.images for each in report.parity.disagreements] == [1]
    require_exact(tmp_path / "g", tmp_path / "one", encoder, "odd_")
    assert "agrees    on cpu in fp32, none with the exact route" in command_line("info", "-g", tmp_path / "g").out


def test_from_there_on_a_kind_goes_exactly_without_being_done_twice(
    with_odd_files: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured as soon as there are enough samples, the rest of the kind is not encoded by the fast way first."""
    encoder = encoders.open(model, device="cpu")
    odd_file(monkeypatch)
    monkeypatch.setattr(parity, "_MOST_SAMPLES", 4)
    again: list[int] = []

    def counted(files: Sequence[Any], *rest: Any) -> Any:
        again.append(len(files))
        return encode_exactly(files, *rest)

    monkeypatch.setattr(recording, "encode_exactly", counted)
    for seed in range(40):
        (with_odd_files / f"odd_z{seed}.jpg").write_bytes(jpeg(400 + seed, (120, 90), 6))
    report = run(with_odd_files, tmp_path / "g", encoder, batch_size=2, threads=1)
    assert report.parity is not None
    assert [each.images for each in report.parity.disagreements] == [51]
    assert 0 < sum(again) < 40
    require_exact(tmp_path / "g", with_odd_files, encoder, "odd_")


def test_a_file_that_changes_before_it_is_done_again_is_left_to_the_next_run(
    with_odd_files: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoders.open(model, device="cpu")
    odd_file(monkeypatch)

    def changes(state: Any) -> None:
        if state.task == "embedding" and state.done == 21:
            (with_odd_files / "odd_9.jpg").write_bytes(jpeg(999, (120, 90), 6))

    report = embed([with_odd_files], gallery=tmp_path / "g", encoder=encoder, progress=changes)
    assert (report.images.added, report.images.skipped, report.total_images) == (20, 1, 20)
    assert report.images.skipped_reasons == (("changed while it was read", 1),)
    assert run(with_odd_files, tmp_path / "g", encoder).images.added == 1
    require_exact(tmp_path / "g", with_odd_files, encoder, "odd_")


def test_a_manifest_names_no_disagreement_where_there_is_none(photos: Path, model: str, tmp_path: Path) -> None:
    """Releases that do not know the field read such a gallery."""
    report = run(photos, tmp_path / "g", encoders.open(model, device="cpu"))
    assert report.parity is not None
    assert report.parity.agreements
    *_, newest = sorted((tmp_path / "g" / "manifests").iterdir())
    assert "agreements" in newest.read_text()
    assert "disagreements" not in newest.read_text()
