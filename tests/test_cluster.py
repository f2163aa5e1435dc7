"""Work that is spread over workers: whatever happens to them, the gallery is the one that a local run makes."""

import io
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mmsearch.cluster import dispatcher, ray
from mmsearch.content_hashes import DEFAULT_HASH
from mmsearch.embedding import EmbedOptions, EmbedReport, Selection, embed, parity, pieces, sample_budget, worker
from mmsearch.embedding.parity import ParityCheck
from mmsearch.embedding.pieces import Piece, PieceCutter, split_piece
from mmsearch.embedding.stage_times import StageClock
from mmsearch.encoders import Encoder, Pixels, preprocessing
from mmsearch.errors import (
    ClusterError,
    EncoderError,
    EncoderMismatch,
    FilesSkipped,
    ParityError,
    SourceError,
    StoreError,
)
from mmsearch.gallery import Gallery, find_gallery, gallery_writer
from mmsearch.images import turbo
from mmsearch.indexing import index
from mmsearch.locations import Url
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.retrieval import EXACT
from mmsearch.sources import Container, Member, SourceFile
from mmsearch.sources import open_source_file as open_file
from mmsearch.sync import Task
from mmsearch.upkeep.maintenance import compact
from tests.archives import make_tar
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.galleries import assert_equal, contents
from tests.models import write_tiny_model
from tests.s3 import bucket, files_of, server
from tests.worker_pools import Fault, PretendedWorkerPool, worker_pool

__all__ = ["bucket", "server", "worker_pool"]

FILES = 40


SIDECAR = (
    '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:d="http://purl.org/dc/elements/1.1/">'
    "<r:Description><d:title>{title}</d:title></r:Description></r:RDF>"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of six colours, copies far from their originals, an archive, files of one picture, and what is none."""
    photos = tmp_path / "photos"
    for place in range(FILES):
        write_picture(photos / f"{place:02d}.png", list(COLOURS)[place % 6], seed=place)
    for place in range(0, FILES, 8):
        shutil.copy(photos / f"{place:02d}.png", photos / f"z{place:02d}.png")
        shutil.copy(photos / f"{place:02d}.png", photos / f"{place:02d}copy.png")
    make_tar(photos / "m.tar", [(f"{n}.png", (photos / f"{n:02d}.png").read_bytes() + b"%d" % n) for n in range(9)])
    for name in ("05.CR2", "06.CR2", "raw.CR2"):
        shutil.copy(photos / f"{FILES - 1:02d}.png", photos / name)
        (photos / name).write_bytes((photos / name).read_bytes() + name.encode())
    (photos / "06.xmp").write_text(SIDECAR.format(title="Of a sidecar"))
    (photos / "broken.jpg").write_text("no picture")
    (photos / "link.png").symlink_to(tmp_path / "nowhere.png")
    return tmp_path


def spread(folder: Path, gallery: str = "g", encoder: str | Encoder | None = None, **more: Any) -> EmbedReport:
    keywords = {key: more.pop(key) for key in ("selection", "progress", "captions") if key in more}
    options = EmbedOptions(ray="auto", **more)
    return embed(
        [folder / "photos"], gallery=folder / gallery, encoder=encoder or FakeEncoder(), options=options, **keywords
    )


def local(folder: Path, gallery: str = "local", **more: Any) -> EmbedReport:
    return embed([folder / "photos"], gallery=folder / gallery, encoder=FakeEncoder(), **more)


def changed(photos: Path) -> None:
    """New, edited, moved, touched, vanished and broken files."""
    write_picture(photos / "new.png", "blue", seed=900)
    write_picture(photos / "00.png", "white", seed=901)
    os.utime(photos / "00.png", ns=(7, 7))
    os.utime(photos / "01.png", ns=(8, 8))
    (photos / "02.png").rename(photos / "moved.png")
    (photos / "03.png").unlink()
    (photos / "04.png").write_text("no longer a picture")
    (photos / "06.xmp").write_text(SIDECAR.format(title="Changed"))
    shutil.copy(photos / "07.png", photos / "raw.JPG")


def test_it_is_the_gallery_of_a_local_run(folder: Path, worker_pool: type[PretendedWorkerPool]) -> None:
    """A first run, one with all kinds of changes, and one with nothing to do."""
    ours, theirs = spread(folder), local(folder)
    assert_equal(folder / "g", folder / "local")
    assert replace(ours.images, reused=0) == replace(theirs.images, reused=0)
    assert (ours.device, ours.precision, ours.seconds > 0) == ("3 workers on Ray, cpu", "fp32", True)
    assert worker_pool.last.done > 9
    assert worker_pool.last.closed
    changed(folder / "photos")
    ours, theirs = spread(folder), local(folder)
    assert_equal(folder / "g", folder / "local")
    assert ours.images == theirs.images
    assert (ours.images.moved, ours.images.reused, ours.images.deleted) == (1, 3, 2)
    done = worker_pool.last
    assert spread(folder).images.unchanged == len(contents(folder / "g"))
    assert worker_pool.last is done  # nobody was asked
    manifest = Gallery.open(folder / "g").manifest
    assert manifest.promised == {}
    assert {shard.provenance.route for shard in manifest.shards["images"] if shard.provenance} == {"fast"}


def test_raw_data_stand_for_a_jpeg_that_is_none(folder: Path, worker_pool: type[PretendedWorkerPool]) -> None:
    (folder / "photos" / "raw.JPG").write_text("no picture")
    ours, theirs = spread(folder), local(folder)
    assert_equal(folder / "g", folder / "local")
    assert replace(ours.images, reused=0) == replace(theirs.images, reused=0)
    assert (1, "raw.CR2") in contents(folder / "g")


def test_known_content_is_encoded_nowhere(
    folder: Path, worker_pool: type[PretendedWorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of files in another root, also those that a part of this very run has embedded, once workers were told."""
    local(folder, "g")
    shutil.copytree(folder / "photos", folder / "again", symlinks=True)
    encoded: list[int] = []
    right = FakeEncoder.encode_images

    def counted(encoder: FakeEncoder, pixels: Pixels) -> NDArray[np.float32]:
        encoded.append(len(pixels))
        return right(encoder, pixels)

    monkeypatch.setattr(FakeEncoder, "encode_images", counted)
    report = embed([folder / "again"], gallery=folder / "g", encoder=FakeEncoder(), options=EmbedOptions(ray="auto"))
    assert (sum(encoded), report.images.reused) == (0, report.images.added)
    one, other = (Gallery.open(folder / name) for name in ("g", "g"))
    assert one.live_rows("images") == 2 * report.images.added == other.live_rows("images")
    monkeypatch.setattr("mmsearch.embedding.cluster_run._LEAST_GROWTH", 0)
    monkeypatch.setattr(PretendedWorkerPool, "size", 1)
    report = spread(folder, "fresh")
    assert 5 <= report.images.reused <= 10  # what a worker holds already was handed to it with what was known then
    assert worker_pool.last.shared > 3
    local(folder)
    assert_equal(folder / "fresh", folder / "local")


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_to_workers(
    seed: int, folder: Path, worker_pool: type[PretendedWorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third of all attempts fails, before or after the shard was written; some are done twice."""
    rng = random.Random(seed)
    monkeypatch.setattr(dispatcher, "_MOST_ERRORS", 1000)
    monkeypatch.setattr(dispatcher, "_MOST_ENDED_WORKERS", 1000)
    monkeypatch.setattr(dispatcher, "_MOST_FRUITLESS_ENDS", 1000)
    monkeypatch.setattr(dispatcher, "_LATE_FACTOR", 0)
    monkeypatch.setattr(dispatcher, "_LATE_SECONDS", 0)
    monkeypatch.setattr(gallery_writer, "COMMIT_SECONDS", rng.choice([-1.0, 60.0]))
    faults: list[Fault] = ["ended", "gone", "hangs", StoreError("no space"), RuntimeError("CUDA error")]
    hung: list[int] = []

    def fault(worker: int, piece: Piece) -> Fault:
        found = rng.choice(faults) if rng.random() < 0.35 else None
        hung.extend([worker] if found == "hangs" else [])
        return None if found == "hangs" and len(hung) > 3 else found  # or there is nobody left

    monkeypatch.setattr(PretendedWorkerPool, "size", 5)
    monkeypatch.setattr(PretendedWorkerPool, "fault", staticmethod(fault))
    spread(folder)
    changed(folder / "photos")
    spread(folder)
    local(folder)
    assert_equal(folder / "g", folder / "local")
    compact(folder / "g", grace=timedelta(0))
    named = {shard.name for shard in Gallery.open(folder / "g").shards("images")}
    assert {file.name for file in (folder / "g" / "images").iterdir()} == named  # what was done twice is swept up
    assert_equal(folder / "g", folder / "local")


def test_a_file_that_ends_whoever_reads_it(
    folder: Path, worker_pool: type[PretendedWorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found and skipped; the others are embedded, and few workers are lost over it."""

    def fault(worker: int, piece: Piece) -> Fault:
        return "ended" if any(task.file.name == "17.png" for task in piece.tasks) else None

    monkeypatch.setattr(PretendedWorkerPool, "fault", staticmethod(fault))
    monkeypatch.setattr(pieces, "_FIRST", 1000)
    monkeypatch.setattr(PretendedWorkerPool, "size", 1)
    report = spread(folder)
    assert worker_pool.last.ended <= 6
    skipped = {(row.path, row.stage, row.reason) for row in Gallery.open(folder / "g").skipped_rows()}
    assert ("17.png", "decode", "ended every worker that read it") in skipped
    (folder / "photos" / "17.png").write_text("no picture")
    assert (spread(folder).images.added, local(folder).images.added) == (0, report.images.added)
    # Unchanged it is not tried again, until that is asked for.
    monkeypatch.undo()


@pytest.mark.parametrize("beginning", [True, False])
def test_workers_that_end_whatever_they_do(
    beginning: bool, folder: Path, worker_pool: type[PretendedWorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a run ends with an error rather than with every file skipped."""
    if beginning:

        def hire(self: PretendedWorkerPool) -> list[int]:
            self._started += 1
            self._events.append(dispatcher.WorkerEvent("ended", self._started, "killed by signal 9"))
            return [self._started]

        monkeypatch.setattr(PretendedWorkerPool, "start_workers", hire)
    else:
        monkeypatch.setattr(PretendedWorkerPool, "fault", staticmethod(lambda worker, piece: "ended"))
    with pytest.raises(ClusterError, match="before they begin" if beginning else "whatever they are given"):
        spread(folder)
    assert not find_gallery(folder / "g") or not list(Gallery.open(folder / "g").skipped_rows())


def test_that_there_is_no_worker_is_said(
    folder: Path, worker_pool: type[PretendedWorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    right, calls, said = PretendedWorkerPool.start_workers, [0], list[str]()

    def hire(self: PretendedWorkerPool) -> Any:
        calls[0] += 1
        return right(self) if calls[0] > 5 else []

    monkeypatch.setattr(PretendedWorkerPool, "start_workers", hire)
    monkeypatch.setattr(dispatcher, "_SILENT_SECONDS", 0.0)
    options = EmbedOptions(ray="auto")
    embed([folder / "photos"], gallery=folder / "g", encoder=FakeEncoder(), options=options, announce=said.append)
    assert said[0].startswith("no worker is ready")
    assert said[1:] == ["encoding with fake on a Ray cluster, cpu, fp32"]


@pytest.mark.parametrize("error", [StoreError("the disk is full"), RuntimeError("CUDA error: device-side assert")])
def test_what_fails_for_every_worker_is_raised(
    error: Exception, folder: Path, worker_pool: type[PretendedWorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PretendedWorkerPool, "fault", staticmethod(lambda worker, piece: error))
    with pytest.raises(type(error), match=str(error)):
        spread(folder)
    assert worker_pool.last.closed


@pytest.mark.parametrize("error", [ImportError("libtorch.so: failed to map segment"), MemoryError("no memory")])
def test_a_machine_that_lacks_memory_or_a_library_is_a_line(
    error: Exception, folder: Path, worker_pool: type[PretendedWorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def another(make: Any, worker: int) -> Any:
        raise error

    monkeypatch.setattr(PretendedWorkerPool, "make_another", staticmethod(another))
    with pytest.raises(
        ClusterError, match=rf"on node0: a worker cannot work there \({type(error).__name__}: {error}\)"
    ):
        spread(folder)
    assert worker_pool.last.closed


def test_a_worker_with_another_model_or_program(
    folder: Path, worker_pool: type[PretendedWorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def another(make: Any, worker: int) -> Any:
        return replace(make, encoder=FakeEncoder("fake", seed=1)) if worker == 2 else make

    monkeypatch.setattr(PretendedWorkerPool, "make_another", staticmethod(another))
    monkeypatch.setattr(gallery_writer, "COMMIT_SECONDS", -1.0)
    local(folder, "g", selection=Selection(limit=1))
    with pytest.raises(EncoderMismatch, match=r"the model on node2 is another one: .* cannot be compared"):
        spread(folder)
    monkeypatch.setattr(PretendedWorkerPool, "make_another", staticmethod(lambda make, worker: make))
    monkeypatch.setattr(worker, "__version__", "0.0.1")
    with pytest.raises(ClusterError, match=r"mmsearch on node0 is 0\.0\.1, and here it is"):
        spread(folder)


def test_in_a_new_gallery_the_first_worker_decides_and_another_model_is_refused(
    folder: Path, worker_pool: type[PretendedWorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def another(make: Any, worker: int) -> Any:
        return replace(make, encoder=FakeEncoder("fake", seed=worker))

    monkeypatch.setattr(PretendedWorkerPool, "make_another", staticmethod(another))
    with pytest.raises(EncoderMismatch, match="the model on node1 is another one"):
        spread(folder)


def test_a_worker_without_the_mount(
    folder: Path, worker_pool: type[PretendedWorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures that only it cannot read are not skipped: what was embedded is kept, and the error says what to do."""
    from mmsearch.loading import reading

    blind = [False]

    def open_source_file(file: SourceFile) -> Any:
        if blind[0]:
            raise FileNotFoundError(2, "No such file or directory", file.location)
        return open_file(file)

    def fault(worker: int, piece: Piece) -> Fault:
        blind[0] = piece.first_row_id > 20
        return None

    monkeypatch.setattr(reading, "open_source_file", open_source_file)
    monkeypatch.setattr(PretendedWorkerPool, "fault", staticmethod(fault))
    with pytest.raises(SourceError, match=r"on node\d none of \d files below .*photos can be read, and here they can"):
        spread(folder)
    assert all(row.path in ("broken.jpg", "link.png") for row in Gallery.open(folder / "g").skipped_rows())
    monkeypatch.undo()
    local(folder, "g")
    local(folder)
    assert_equal(folder / "g", folder / "local")


def test_a_worker_without_the_gallery(
    folder: Path, worker_pool: type[PretendedWorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it sees no gallery at all, or writes into a folder of its own."""

    def elsewhere(make: Any, worker: int) -> Any:
        return replace(make, gallery=folder / "elsewhere")

    monkeypatch.setattr(PretendedWorkerPool, "make_another", staticmethod(elsewhere))
    with pytest.raises(StoreError, match=r"on node0: the gallery .*elsewhere is not there; it has to be on storage"):
        spread(folder)
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "lock").write_text("")
    with pytest.raises(StoreError, match=r"a worker on node\d wrote .* and it is not there"):
        spread(folder)
    assert find_gallery(folder / "g") is None


def test_ctrl_c_keeps_what_is_done(folder: Path, worker_pool: type[PretendedWorkerPool]) -> None:
    def interrupted(state: Any) -> None:
        if state.task == "embedding" and state.done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spread(folder, progress=interrupted)
    kept = contents(folder / "g")
    assert 15 <= len(kept) < FILES
    assert Gallery.open(folder / "g").manifest.promised == {}
    assert worker_pool.last.closed
    report = spread(folder)
    assert report.images.unchanged == len(kept)
    local(folder)
    assert_equal(folder / "g", folder / "local")


def test_pictures_and_gallery_in_an_object_store(
    folder: Path, worker_pool: type[PretendedWorkerPool], bucket: Url
) -> None:
    for file in (folder / "photos").iterdir():
        if file.exists():
            files_of("s3").pipe_file(f"{bucket.key}/photos/{file.name}", file.read_bytes())
    options = EmbedOptions(ray="auto")
    for _ in range(2):
        embed([f"{bucket}/photos"], gallery=f"{bucket}/g", encoder=FakeEncoder(), options=options)
        embed([f"{bucket}/photos"], gallery=folder / "local", encoder=FakeEncoder())
        assert_equal(f"{bucket}/g", folder / "local")
        files_of("s3").rm_file(f"{bucket.key}/photos/05.png")
        files_of("s3").pipe_file(f"{bucket.key}/photos/06.png", b"no picture any more")
        files_of("s3").pipe_file(f"{bucket.key}/photos/05.png", (folder / "photos" / "07.png").read_bytes())
    assert worker_pool.last.done > 0


def test_an_index_built_meanwhile_does_not_answer_for_rows_to_come(
    folder: Path, worker_pool: type[PretendedWorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces are committed in whatever order they are done: rows with lower ids come after rows with higher ones."""
    monkeypatch.setattr(gallery_writer, "COMMIT_SECONDS", -1.0)
    built: list[tuple[tuple[int, int], ...]] = []

    def indexing(state: Any) -> None:
        if state.task == "embedding" and state.done > 15 and not built:
            index(folder / "g")
            entry = Gallery.open(folder / "g").index_for("images")
            assert entry is not None
            built.append(entry.covers)

    spread(folder, progress=indexing)
    assert 0 < sum(past - first for first, past in built[0]) < built[0][-1][1]  # what others still write is left out
    answers = open_gallery(folder / "g", encoder=FakeEncoder())
    found, exact = (answers.query("red", k=1000, options=options) for options in (type(EXACT)(), EXACT))
    assert [hit.row_id for hit in found] == [hit.row_id for hit in exact]
    assert len(found) == len(contents(folder / "g"))
    index(folder / "g")
    entry = Gallery.open(folder / "g").index_for("images")
    assert entry is not None
    assert entry.covers == ((0, Gallery.open(folder / "g").manifest.next_row_ids["images"]),)


def test_options_count_as_they_do_here(folder: Path, worker_pool: type[PretendedWorkerPool]) -> None:
    for gallery, run in (("g", spread), ("local", local)):
        run(folder, gallery, selection=Selection(include=("1*.png",), exclude=("13*",), limit=7))
    assert_equal(folder / "g", folder / "local")
    assert len(contents(folder / "g")) == 7
    with pytest.raises(FilesSkipped, match="1 x no such file"):
        spread(folder, strict=True)
    report = spread(folder, selection=Selection(retry_skipped=True), max_pixels=10)
    assert (report.images.added, report.images.skipped) == (0, 2)
    with pytest.raises(EncoderError, match=r"--device cuda:1: on a cluster"):
        spread(folder, device="cuda:1")
    with pytest.raises(EncoderError, match="on node0: --device cuda: the cluster has no GPU to give"):
        spread(folder, device="cuda", selection=Selection(retry_skipped=True))
    with pytest.raises(EncoderError, match="--exact computes in fp32"):
        spread(folder, exact=True, precision="bf16")


def photo(seed: int) -> bytes:
    rng, stream = np.random.default_rng(seed), io.BytesIO()
    small = rng.integers(0, 256, size=(6, 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize((160, 120), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def test_agreement_is_measured_by_each_worker_and_recorded_for_all(
    tmp_path: Path, worker_pool: type[PretendedWorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that does not agree stops the run before it writes, however well the others do."""
    (tmp_path / "photos").mkdir()
    for seed in range(48):
        (tmp_path / "photos" / f"{seed:02d}.jpg").write_bytes(photo(seed))
    model = f"local-dir:{write_tiny_model(tmp_path / 'model')}"
    report = spread(tmp_path, encoder=model)
    assert report.parity is not None
    ((kind,),) = [report.parity.agreements]
    assert 3 * 8 <= kind.images == report.parity.images < 48
    assert kind.cosine_lowest > 0.999
    assert Gallery.open(tmp_path / "g").manifest.parity == (report.parity,)
    stages = {stage.name: stage.seconds for stage in report.stages.stages}
    assert list(stages) == ["read", "decode", "resize", "transfer", "encode", "compare", "write", "commit"]
    assert min(stages[name] for name in ("read", "decode", "resize", "encode", "write", "commit")) > 0
    embed([tmp_path / "photos"], gallery=tmp_path / "local", encoder=model)
    assert_equal(tmp_path / "g", tmp_path / "local")

    monkeypatch.setattr(
        preprocessing.Preprocessing, "normalise", lambda self, pixels: pixels.permute(0, 3, 1, 2).float()
    )
    with pytest.raises(ParityError, match=r"on node\d: JPEG pictures .* do not agree with the exact route"):
        spread(tmp_path, "wrong", encoder=model)
    assert find_gallery(tmp_path / "wrong") is None
    assert not list(tmp_path.glob("wrong/images/*"))


def test_each_worker_of_a_long_run_limits_what_its_sample_costs(
    tmp_path: Path, worker_pool: type[PretendedWorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the files of the whole run, not of its piece: of a kind one at once, and no other that it cannot afford."""
    (tmp_path / "photos").mkdir()
    for seed in range(48):
        (tmp_path / "photos" / f"{seed:02d}.jpg").write_bytes(photo(seed))
    monkeypatch.setattr(parity, "_SMALL_RUN", 47)
    monkeypatch.setattr(sample_budget, "SHARE", 0.0)
    report = spread(tmp_path, encoder=f"local-dir:{write_tiny_model(tmp_path / 'model')}")
    assert report.images.added == 48
    assert report.parity is not None
    assert 1 <= report.parity.images <= 3


def test_a_kind_that_does_not_agree_goes_exactly_at_each_worker(
    tmp_path: Path, worker_pool: type[PretendedWorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was done of it in a piece is done again before anything is written; all workers' counts are one."""
    (tmp_path / "photos").mkdir()
    for seed in range(48):
        (tmp_path / "photos" / f"{seed:02d}.jpg").write_bytes(photo(seed))
    model = f"local-dir:{write_tiny_model(tmp_path / 'model')}"
    embed([tmp_path / "photos"], gallery=tmp_path / "local", encoder=model, options=EmbedOptions(exact=True))
    right = turbo.decode

    def odd(*arguments: Any) -> Any:
        found = right(*arguments)
        return found and (np.ascontiguousarray(found[0][:, ::-1]), found[1]) if arguments[1] == 160 else found

    monkeypatch.setattr(turbo, "decode", odd)
    report = spread(tmp_path, encoder=model)
    assert report.parity is not None
    assert report.parity.agreements == ()
    assert [each.images for each in report.parity.disagreements] == [48]
    assert_equal(tmp_path / "g", tmp_path / "local")


def tasks(count: int, archive: Callable[[int], Container | None] = lambda _: None) -> list[Task]:
    files = [
        SourceFile("/r", f"{place}.jpg", 1, 1)
        if archive(place) is None
        else Member("/r", f"a!/{place}", 1, 1, container=archive(place))
        for place in range(count)
    ]
    return [Task(file, 1, None, None) for file in files]


def cut(pieces_of: PieceCutter, workers: int = 2) -> list[int]:
    sizes = []
    while (piece := pieces_of.next_piece(workers)) is not None:
        sizes.append(len(piece.tasks))
    return sizes


def test_pieces_take_some_seconds_and_shrink_towards_the_end() -> None:
    given: list[int] = []

    def reserve(count: int) -> int:
        given.append(count)
        return sum(given) - count

    plan = PieceCutter(tasks(5000), reserve)
    first = plan.next_piece(2)
    assert first is not None
    assert (first.first_row_id, len(first.tasks)) == (0, 256)
    plan.learn_rate(256, 10.0)
    sizes = cut(plan)
    assert sizes[:4] == [512, 512, 512, 512]  # 20 seconds at 25.6 a second
    assert sizes[-1] <= 32
    assert sorted(sizes, reverse=True)[4:] == sizes[4:]
    assert 256 + sum(sizes) == sum(given) == 5000
    quick = PieceCutter(tasks(400_000), reserve)
    quick.learn_rate(256, 0.01)
    assert cut(quick)[0] == pieces.MOST


def test_an_archive_is_for_one_worker() -> None:
    """As long as it is not much more than a piece."""

    def archive(past: int) -> Callable[[int], Container | None]:
        found = Container("/r/a.tar", "tar", 1, 1, 1, complete=True)
        return lambda place: found if 200 <= place < past else None

    for past, expected in ((300, 300), (480, 480), (4000, 200)):
        piece = PieceCutter(tasks(5000, archive(past)), lambda _: 0).next_piece(2)
        assert piece is not None
        assert len(piece.tasks) == expected
    inside = PieceCutter(
        tasks(5000, lambda _: Container("/r/a.tar", "tar", 1, 1, 1, complete=True)), lambda _: 0
    ).next_piece(2)
    assert inside is not None
    assert len(inside.tasks) == 256


def test_parts_keep_their_row_ids() -> None:
    piece = Piece(1000, tuple(tasks(100)), 100)
    parts = split_piece(piece)
    assert len(parts) == 15
    assert [part.first_row_id for part in parts] == list(range(1000, 1100, 7))
    assert sum((part.tasks for part in parts), ()) == piece.tasks
    assert split_piece(split_piece(parts[0])[0]) == [split_piece(parts[0])[0]]


def test_content_hashes_are_found_among_those_that_are_known() -> None:
    """To the last byte, also where that is zero."""
    known = [bytes([n]) * 15 + b"\0" for n in range(1, 50, 2)]

    def holder(hashes: list[bytes]) -> worker._PieceBuffer:
        known = worker.sort_hashes(hashes)
        return worker._PieceBuffer(Piece(0, (), 0), known, FakeEncoder(), ParityCheck(), StageClock(), DEFAULT_HASH)

    held = holder(known)
    assert all(held.knows(each) for each in known)
    assert not any(held.knows(bytes([n]) * 15 + end) for n in range(52) for end in (b"\1", b"\xff"))
    assert not holder([]).knows(known[0])


def test_ray_on_the_command_line(
    folder: Path, worker_pool: type[PretendedWorkerPool], mmsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an address or without one, wherever it stands."""
    photos = folder / "photos"
    for number, (arguments, address) in enumerate(
        (
            (["--ray", photos], None),
            ([photos, "--ray"], None),
            ([photos, "--ray", "auto"], "auto"),
            (["--ray", "head:6379", photos], "head:6379"),
            (["--ray=local", photos], "local"),
            (["--ray", "ray://head:10001", photos], "ray://head:10001"),
        )
    ):
        done = mmsearch("embed", *arguments, "--model", "demo", "-g", folder / f"g{number}")
        assert (done.code, worker_pool.last.address) == (0, address), done.err
        assert "3 workers on Ray, cpu" in done.out
    done = mmsearch("embed", photos, "--ray", "--dry-run", "-g", folder / "g")
    assert done.code == 2
    assert "it times a sample on this machine" in done.err


def test_without_ray_the_error_says_what_to_install(
    folder: Path, mmsearch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = mmsearch("embed", folder / "photos", "--ray", "--model", "demo", "-g", folder / "g")
    assert (done.code, done.out) == (1, "")
    assert "pip install 'mmsearch[ray]'" in done.err
    assert not (folder / "g").exists()


def test_an_address_where_nobody_answers() -> None:
    """It is said at once; nothing is tried for minutes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ClusterError, match=rf"no Ray cluster at {address}: .*refused"):
        ray.RayWorkerPool(address, lambda share: None)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows bounds no address space")
def test_too_little_address_space_for_a_cluster_of_this_machine_is_a_line(folder: Path) -> None:
    """Ray would start and never answer."""
    limited = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_AS, (3 << 29, 3 << 29));"
        "sys.argv = ['mmsearch', *sys.argv[1:]]; runpy.run_module('mmsearch', run_name='__main__')"
    )
    command = [sys.executable, "-c", limited, "embed", str(folder), "--ray", "local", "--model", "demo"]
    done = subprocess.run(
        [*command, "--gallery", str(folder.parent / "g")], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "1.5 GiB of address space" in done.stderr.splitlines()[-1]
    assert "ulimit -v" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_what_is_an_address() -> None:
    assert all(map(ray.is_address, ("auto", "local", "127.0.0.1:6379", "ray://head.example:10001", "[::1]:6379")))
    assert not any(map(ray.is_address, ("photos", "/data/photos", "./auto", "a/b:3", "C:\\photos", "x:y", "", ":1")))


@pytest.mark.parametrize(
    ("nodes", "threads", "gpus", "expected"),
    [
        # (CPUs, GPUs) of each machine -> (threads, whether it has a GPU) of each worker of each machine
        ([(32, 4), (64, 0)], None, True, [[(8, True)] * 4, []]),
        ([(2, 4)], None, True, [[(1, True)] * 4]),
        ([(32, 4), (64, 0)], 3, True, [[(3, True)] * 4, []]),
        ([(12, 4), (9, 0)], None, False, [[(6, False), (6, False)], [(5, False), (4, False)]]),
        ([(20, 0), (1, 0), (0, 0)], None, True, [[(7, False), (7, False), (6, False)], [(1, False)], []]),
        ([(5, 0), (1, 0)], 2, True, [[(2, False), (2, False)], [(1, False)]]),
    ],
)
def test_who_works_on_a_machine(
    nodes: list[tuple[int, int]], threads: int | None, gpus: bool, expected: list[list[tuple[int, bool]]]
) -> None:
    """A worker for each GPU where there are any, else for each eight processors; nothing is given out twice."""
    found = ray.RayWorkerPool.__new__(ray.RayWorkerPool)
    found._threads, found._gpus = threads, gpus
    found._nodes = {
        str(place): {"Resources": {"CPU": float(cpus), **({"GPU": float(count)} if count else {})}}
        for place, (cpus, count) in enumerate(nodes)
    }
    shares = [[(share.threads, share.gpu) for share in found._divide_node(node)] for node in found._nodes.values()]
    assert shares == expected


@pytest.mark.parametrize("told", [False, True])
def test_the_last_line_is_ours_where_this_process_is_ended(told: bool) -> None:
    """Ray ends a driver from its own code: nothing of ours runs then, and what Ray said would be the last line."""
    code = "import os\nfrom mmsearch.cluster.ray import _start_exit_notice\nlast = _start_exit_notice()\n"
    code += "last.communicate(b'well')\n" if told else ""
    code += "os.write(2, b'said by Ray\\n')\nos._exit(1)"
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.splitlines()
    assert lines[0] == "said by Ray"
    assert [line.startswith("mmsearch: error: this process was ended from outside") for line in lines[1:]] == (
        [] if told else [True]
    )
