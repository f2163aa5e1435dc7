"""Embed as a sync: what happens to each kind of file, and what a run leaves behind."""

import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.embedding import EmbedOptions, EmbedReport, embed
from mmsearch.encoders import Pixels
from mmsearch.errors import EncoderMismatch, PruneRefused, SourceError
from mmsearch.gallery import Gallery
from mmsearch.images import decoding
from mmsearch.images.image_files import open_image
from mmsearch.loading import load
from mmsearch.progress import Progress
from mmsearch.sources import SourceFile
from mmsearch.workers import Workers
from tests.conftest import Command
from tests.fakes import FakeEncoder, provide, when_opened, write_picture


def names(gallery: Gallery) -> list[str]:
    return sorted(name for _, _, name in gallery.image_names())


def run(folder: Path, fake: FakeEncoder, *more: Path, **options: Any) -> EmbedReport:
    return embed([folder, *more], gallery=folder.parent / "g", encoder=fake, options=EmbedOptions(**options))


def test_the_life_of_a_photo_folder(photos: Path, fake: FakeEncoder) -> None:
    """Added, untouched, touched, moved, copied, edited and deleted files, run after run."""
    report = run(photos, fake)
    assert (report.images.added, report.total_images, fake.images_encoded) == (12, 12, 12)
    gallery = Gallery.open(photos.parent / "g")
    assert len(names(gallery)) == 12

    # Nothing changed: nothing is encoded and no version is made.
    again = run(photos, fake)
    assert (again.images.unchanged, again.version, fake.images_encoded) == (12, report.version, 12)

    # Touched, moved and copied files have content that is known: their vectors are reused.
    os.utime(photos / "red.png", ns=(1, 1))
    (photos / "blue.png").rename(photos / "moved blue.png")
    shutil.copy(photos / "green.png", photos / "more" / "green copy.png")
    third = run(photos, fake)
    counts = third.images
    assert (counts.added, counts.updated, counts.moved, counts.reused, counts.deleted) == (1, 1, 1, 2, 0)
    assert fake.images_encoded == 12
    gallery = Gallery.open(photos.parent / "g")
    assert {"moved blue.png", "more/green copy.png"} <= set(names(gallery))
    assert "blue.png" not in names(gallery)

    # An edited file is encoded, and its old row is gone in the same version.
    write_picture(photos / "black.png", "white", seed=7)
    os.utime(photos / "black.png", ns=(5, 5))
    (photos / "yellow.png").unlink()
    fourth = run(photos, fake)
    assert (fourth.images.updated, fourth.images.reused, fourth.images.deleted) == (1, 0, 1)
    assert fake.images_encoded == 13
    final = Gallery.open(photos.parent / "g")
    assert len(names(final)) == len(set(names(final))) == final.live_rows("images") == 12


def test_a_moved_photo_keeps_its_vector_bit_for_bit(photos: Path, fake: FakeEncoder) -> None:
    run(photos, fake)
    gallery = Gallery.open(photos.parent / "g")
    before = {name: gallery.vectors("images", np.array([row]))[0] for row, _, name in gallery.image_names()}
    (photos / "red.png").rename(photos / "rouge.png")
    run(photos, fake)
    gallery = Gallery.open(photos.parent / "g")
    after = {name: gallery.vectors("images", np.array([row]))[0] for row, _, name in gallery.image_names()}
    assert np.array_equal(after["rouge.png"], before["red.png"])


def test_two_pictures_of_one_name_stay_apart(photos: Path, fake: FakeEncoder) -> None:
    run(photos, fake)
    found = names(Gallery.open(photos.parent / "g"))
    assert "red.png" in found
    assert "more/red.png" in found


def test_bad_files_are_skipped_with_a_reason_and_nothing_else(photos: Path, fake: FakeEncoder) -> None:
    (photos / "empty.jpg").touch()
    (photos / "notes.jpg").write_text("these are notes")
    (photos / "cut.png").write_bytes((photos / "red.png").read_bytes()[:300])
    (photos / "broken link.png").symlink_to(photos / "nowhere.png")
    shutil.copy(photos / "red.png", photos / "really a png.txt")
    report = run(photos, fake)
    assert (report.images.added, report.images.skipped) == (13, 4)
    skipped = {row.path: (row.stage, row.reason) for row in Gallery.open(photos.parent / "g").skipped_rows()}
    assert skipped["empty.jpg"] == ("identify", "empty file")
    assert skipped["notes.jpg"][0] == "identify"
    assert "not an image" in skipped["notes.jpg"][1]
    assert "truncated" in skipped["cut.png"][1]
    assert skipped["broken link.png"][0] == "read"

    # They are not looked at again until they change.
    again = run(photos, fake)
    assert (again.images.skipped, again.images.still_skipped, again.version) == (0, 4, report.version)
    write_picture(photos / "empty.jpg", "green", seed=3)
    mended = run(photos, fake)
    assert (mended.images.added, mended.images.still_skipped) == (1, 3)
    assert "empty.jpg" not in {row.path for row in Gallery.open(photos.parent / "g").skipped_rows()}


def test_a_picture_that_breaks_leaves_the_gallery(photos: Path, fake: FakeEncoder) -> None:
    run(photos, fake)
    (photos / "red.png").write_text("overwritten by mistake")
    report = run(photos, fake)
    assert (report.images.deleted, report.images.skipped, report.total_images) == (1, 1, 11)


def test_odd_names_survive(photos: Path, fake: FakeEncoder) -> None:
    """Spaces, quotes, newlines, other scripts and bytes that are no text."""
    odd = ["with space.png", "quo'te\".png", "new\nline.png", "日本語.png", "naïve émoji 🌅.png"]
    odd.append(os.fsdecode(b"\xff\xfe.png"))
    for place, name in enumerate(odd):
        write_picture(photos / name, "green", seed=50 + place)
    run(photos, fake)
    gallery = Gallery.open(photos.parent / "g")
    assert set(odd) <= set(names(gallery))
    row_ids = {name: row_id for row_id, _, name in gallery.image_names()}
    (row,) = gallery.image_rows(np.array([row_ids[odd[-1]]]))
    assert (row.path, row.path_bytes) == ("\\xff\\xfe.png", b"\xff\xfe.png")
    assert run(photos, fake).images.unchanged == 12 + len(odd)


def test_link_loops_end_and_linked_folders_are_named(photos: Path, fake: FakeEncoder) -> None:
    (photos / "more" / "loop").symlink_to(photos)
    (photos / "linked.png").symlink_to(photos / "red.png")
    report = run(photos, fake)
    assert report.images.added == 13
    assert report.images.linked_folders == (str(photos / "more" / "loop"),)


def test_hidden_files_and_the_gallery_itself_are_passed_over(photos: Path, fake: FakeEncoder) -> None:
    write_picture(photos / ".hidden.png")
    write_picture(photos / ".thumbnails" / "a.png")
    report = embed([photos], gallery=photos / "my gallery", encoder=fake)
    write_picture(photos / "my gallery" / "planted.png")
    assert report.images.added == 12
    assert embed([photos], gallery=photos / "my gallery", encoder=fake).images.added == 0


@pytest.mark.parametrize("make", ["missing", "empty", "no images"])
def test_nothing_to_embed_is_an_error_and_leaves_no_gallery(tmp_path: Path, fake: FakeEncoder, make: str) -> None:
    folder = tmp_path / "photos"
    if make != "missing":
        folder.mkdir()
    if make == "no images":
        (folder / "notes.txt").write_text("no picture")
    with pytest.raises(SourceError, match=str(folder)):
        run(folder, fake)
    assert not (tmp_path / "g").exists()


def test_an_unmounted_disk_does_not_erase_a_gallery(photos: Path, fake: FakeEncoder) -> None:
    """An empty root is an error even when it held few pictures; --prune says that it is meant."""
    other = photos.parent / "other"
    write_picture(other / "a.png", seed=9)
    run(photos, fake, other)
    shutil.rmtree(photos)
    photos.mkdir()
    with pytest.raises(SourceError, match="--prune"):
        run(photos, fake)
    photos.rmdir()
    with pytest.raises(SourceError, match="not there"):
        embed(gallery=photos.parent / "g", encoder=fake)
    photos.mkdir()
    assert Gallery.open(photos.parent / "g").live_rows("images") == 13
    assert run(photos, fake, prune=True).total_images == 1


def test_a_run_that_would_delete_much_is_refused_without_prune(tmp_path: Path, fake: FakeEncoder) -> None:
    folder = tmp_path / "photos"
    for place in range(150):
        write_picture(folder / f"{place}.png", seed=place, size=(4, 4))
    run(folder, fake)
    for place in range(110):
        (folder / f"{place}.png").unlink()
    with pytest.raises(PruneRefused, match="110 of the 150"):
        run(folder, fake)
    assert Gallery.open(tmp_path / "g").live_rows("images") == 150
    assert run(folder, fake, prune=True).images.deleted == 110


def test_a_moved_file_is_counted_once_and_apart(photos: Path, fake: FakeEncoder, mmsearch: Command) -> None:
    """Of two copies one may be gone and one new: as many are moved as are gone, and the rest is added or deleted."""
    (photos / "red.png").rename(photos / "a.png")
    shutil.copy(photos / "a.png", photos / "b.png")
    run(photos, fake)
    (photos / "a.png").rename(photos / "more" / "a.png")
    (photos / "b.png").unlink()
    counts = run(photos, fake).images
    assert (counts.moved, counts.added, counts.deleted, counts.reused) == (1, 0, 1, 0)
    shutil.copy(photos / "more" / "a.png", photos / "c.png")
    (photos / "more" / "a.png").rename(photos / "d.png")
    counts = run(photos, fake).images
    assert (counts.moved, counts.added, counts.deleted, counts.reused) == (1, 1, 0, 1)
    (photos / "more").rename(photos / "other")
    done = mmsearch("embed", photos, "--model", "fake", "-g", photos.parent / "g")
    assert "0 added, 0 updated, 0 deleted, 7 unchanged, 6 moved\n" in done.out
    assert fake.images_encoded == 12


def test_a_renamed_folder_is_no_mass_delete(tmp_path: Path, fake: FakeEncoder) -> None:
    """The files reappear under other names with the same content, so nothing is lost and nothing is refused."""
    folder = tmp_path / "photos"
    for place in range(150):
        write_picture(folder / "old" / f"{place}.png", seed=place, size=(4, 4))
    run(folder, fake)
    (folder / "old").rename(folder / "new")
    report = run(folder, fake)
    assert (report.images.moved, report.total_images) == (150, 150)
    assert (report.images.added, report.images.reused, report.images.deleted) == (0, 0, 0)
    assert fake.images_encoded == 150


def test_replacing_a_folder_by_other_pictures_is_refused_at_the_end(tmp_path: Path, fake: FakeEncoder) -> None:
    """Whether new files are moved ones is known once they are read; additions are kept, the deletes are not made."""
    folder = tmp_path / "photos"
    for place in range(150):
        write_picture(folder / "old" / f"{place}.png", seed=place, size=(4, 4))
    run(folder, fake)
    shutil.rmtree(folder / "old")
    for place in range(150):
        write_picture(folder / "new" / f"{place}.png", seed=1000 + place, size=(4, 4))
    with pytest.raises(PruneRefused):
        run(folder, fake)
    assert Gallery.open(tmp_path / "g").live_rows("images") == 300
    assert run(folder, fake, prune=True).total_images == 150
    assert fake.images_encoded == 300


def test_a_folder_that_fails_to_list_is_unknown_not_vanished(
    photos: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an injected error, since whoever runs the tests may be allowed to list everything."""
    run(photos, fake)
    scandir = os.scandir

    def failing(path: str) -> object:
        if str(path).endswith("more"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    report = run(photos, fake)
    assert report.images.deleted == 0
    assert report.images.unreadable == ((str(photos / "more"), "Permission denied"),)


def test_single_files_only_add_or_update(photos: Path, fake: FakeEncoder) -> None:
    embed([photos / "red.png", photos / "more" / "blue.png"], gallery=photos.parent / "g", encoder=fake)
    gallery = Gallery.open(photos.parent / "g")
    assert names(gallery) == ["more/blue.png", "red.png"]
    (photos / "red.png").unlink()
    write_picture(photos / "green.png", "green", seed=77)
    report = embed([photos / "green.png"], gallery=photos.parent / "g", encoder=fake)
    assert (report.images.added, report.images.deleted, report.total_images) == (1, 0, 3)


def test_roots_may_not_overlap(photos: Path, fake: FakeEncoder) -> None:
    run(photos, fake)
    with pytest.raises(SourceError, match="lies inside the root"):
        embed([photos / "more"], gallery=photos.parent / "g", encoder=fake)
    with pytest.raises(SourceError, match="forget"):
        embed([photos.parent], gallery=photos.parent / "g", encoder=fake)


def test_a_root_reached_through_a_link_is_the_same_root(photos: Path, fake: FakeEncoder) -> None:
    run(photos, fake)
    link = photos.parent / "link"
    link.symlink_to(photos)
    report = embed([link], gallery=photos.parent / "g", encoder=fake)
    assert (report.images.unchanged, report.total_images) == (12, 12)


def test_another_model_is_refused_with_both_names(photos: Path, fake: FakeEncoder) -> None:
    run(photos, fake)
    with pytest.raises(EncoderMismatch, match=r"fake.*other"):
        run(photos, FakeEncoder("other"))


def test_vectors_are_those_of_the_encoder(photos: Path, fake: FakeEncoder) -> None:
    """Row by row: the stored vector of each file is what encoding that file alone gives."""
    from PIL import Image

    run(photos, fake)
    gallery = Gallery.open(photos.parent / "g")
    for row_id, _, name in gallery.image_names():
        with Image.open(photos / name) as image:
            alone = fake.encode_images(fake.preprocess(image.convert("RGB"))[None])[0]
        stored = gallery.vectors("images", np.array([row_id]))[0]
        assert stored.dtype == np.float16
        np.testing.assert_allclose(stored, alone, atol=1e-3)


def test_an_interrupted_run_keeps_what_is_finished(photos: Path) -> None:
    """Ctrl-C in the middle: the finished batches are committed and the same call completes the gallery."""

    class Interrupted(FakeEncoder):
        def encode_images(self, pixels: Pixels) -> NDArray[np.float32]:
            if self.images_encoded >= 6:
                raise KeyboardInterrupt
            return super().encode_images(pixels)

    options = EmbedOptions(batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        embed([photos], gallery=photos.parent / "g", encoder=Interrupted(), options=options)
    assert Gallery.open(photos.parent / "g").live_rows("images") == 6
    fake = FakeEncoder()
    assert embed([photos], gallery=photos.parent / "g", encoder=fake, options=options).total_images == 12
    assert fake.images_encoded == 6


def test_a_model_that_cannot_be_loaded_is_tried_once(
    photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also though several decoders ask for it: each attempt may cost a time-out of the network."""
    from mmsearch.errors import EncoderError

    attempts = []

    def failing(spec: str) -> FakeEncoder:
        attempts.append(spec)
        raise EncoderError("no weights")

    provide(monkeypatch, failing)
    with pytest.raises(EncoderError, match="no weights"):
        embed([photos], gallery=tmp_path / "g", encoder="some/model", options=EmbedOptions(threads=4))
    assert attempts == ["some/model"]
    assert not (tmp_path / "g").exists()


def test_a_picture_over_the_pixel_limit_is_skipped_before_it_is_decoded(photos: Path, fake: FakeEncoder) -> None:
    write_picture(photos / "large.png", size=(100, 50))
    report = embed([photos], gallery=photos.parent / "g", encoder=fake, options=EmbedOptions(max_pixels=4000))
    assert (report.images.added, report.images.skipped) == (12, 1)
    ((reason, _),) = report.images.skipped_reasons
    assert "over the limit" in reason


def test_a_file_that_changes_while_it_is_read_is_skipped_and_tried_again(
    photos: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of one picture and half of another must not become a row."""

    def grow(file: SourceFile) -> None:
        if file.name == "red.png":
            with Path(file.location).open("ab") as stream:
                stream.write(b"more")

    with monkeypatch.context() as patch:
        when_opened(patch, grow)
        report = run(photos, fake)
    assert report.images.skipped_reasons == (("changed while it was read", 1),)
    assert run(photos, fake).images.added == 1


def test_the_header_of_a_small_file_is_read_once(
    photos: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it takes is a third of all that other threads have to wait for."""
    opened = []

    def counted(file: BinaryIO, max_pixels: int, **named: Any) -> Any:
        opened.append(1)
        return open_image(file, max_pixels, **named)

    monkeypatch.setattr(decoding, "open_image", counted)
    states = {file: file.stat() for file in photos.glob("*.png")}
    files = [SourceFile(str(photos), file.name, state.st_size, state.st_mtime_ns) for file, state in states.items()]
    with Workers(2, "load") as workers:
        pictures = list(load(files, lambda: fake.image, workers, 2))
    assert all(picture.pixels is not None for picture in pictures)
    assert len(opened) == len(files) == 6


def test_what_is_no_picture_loads_no_encoder(photos: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small or large: a model takes seconds to load, and perhaps has to be fetched."""
    run(photos, fake)
    (photos / "small.txt").write_text("no picture")
    (photos / "large.txt").write_text("no picture" * 200_000)

    def never(*_: object, **__: object) -> Any:
        raise AssertionError("it was loaded")

    provide(monkeypatch, never)
    report = embed([photos], gallery=photos.parent / "g")
    assert (report.images.unchanged, report.images.skipped, report.device) == (12, 2, None)


def test_a_file_that_may_not_be_read_is_skipped(
    photos: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an injected error, since whoever runs the tests may be allowed to read everything."""
    import builtins

    real = open

    def refusing(file: Any, *arguments: Any, **options: Any) -> Any:
        if str(file).endswith("/red.png"):
            raise PermissionError(13, "Permission denied")
        return real(file, *arguments, **options)

    monkeypatch.setattr(builtins, "open", refusing)
    report = run(photos, fake)
    assert (report.images.added, report.images.skipped_reasons) == (10, (("permission denied", 2),))


def test_copies_within_a_run_are_encoded_once(photos: Path, fake: FakeEncoder) -> None:
    for place in range(5):
        shutil.copy(photos / "red.png", photos / f"copy {place}.png")
    report = run(photos, fake)
    assert (report.images.added, report.images.reused, fake.images_encoded) == (17, 5, 12)


def test_a_gallery_is_not_strewn_among_other_files(photos: Path, fake: FakeEncoder) -> None:
    """`--gallery` with the folder of pictures itself, or with any folder that has a life of its own."""
    from mmsearch.errors import GalleryError

    with pytest.raises(GalleryError, match="holds other files"):
        embed([photos], gallery=photos, encoder=fake)
    embed([photos], gallery=photos.parent / "g", encoder=fake)
    with pytest.raises(SourceError, match="the gallery itself"):
        embed([photos.parent / "g" / "images"], gallery=photos.parent / "g", encoder=fake)


def test_a_file_named_twice_is_one_picture(photos: Path, fake: FakeEncoder) -> None:
    link = photos.parent / "link"
    link.symlink_to(photos)
    files = [photos / "red.png", photos / "red.png", link / "red.png", photos / "more" / ".." / "red.png"]
    report = embed(files, gallery=photos.parent / "g", encoder=fake)
    assert (report.images.added, report.total_images) == (1, 1)


def test_links_to_a_disk_that_is_gone_keep_their_pictures(tmp_path: Path, fake: FakeEncoder) -> None:
    """A file that cannot be read at all is unknown, not broken: its picture stays."""
    for place in range(5):
        write_picture(tmp_path / "disk" / f"{place}.png", "red", seed=place)
    (tmp_path / "photos").mkdir()
    write_picture(tmp_path / "photos" / "own.png", "blue")
    for place in range(5):
        (tmp_path / "photos" / f"{place}.png").symlink_to(tmp_path / "disk" / f"{place}.png")
    run(tmp_path / "photos", fake)
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    report = run(tmp_path / "photos", fake)
    assert (report.images.deleted, report.total_images, len(report.images.unreadable)) == (0, 6, 5)
    (tmp_path / "unplugged").rename(tmp_path / "disk")
    assert run(tmp_path / "photos", fake).images.unchanged == 6


def test_pictures_that_break_by_the_hundred_are_guarded_too(tmp_path: Path, fake: FakeEncoder) -> None:
    """A failing disk that empties files must not empty the gallery; --prune says that it is meant."""
    for place in range(120):
        write_picture(tmp_path / "photos" / f"{place}.png", seed=place, size=(4, 4))
    run(tmp_path / "photos", fake)
    for place in range(119):
        (tmp_path / "photos" / f"{place}.png").write_bytes(b"")
    for _ in range(2):  # refused today, refused tomorrow
        with pytest.raises(PruneRefused, match="119 of the 120"):
            run(tmp_path / "photos", fake)
        assert Gallery.open(tmp_path / "g").live_rows("images") == 120
    report = run(tmp_path / "photos", fake, prune=True)
    assert (report.images.deleted, report.images.skipped, report.total_images) == (119, 119, 1)


def test_an_interrupted_move_is_continued_by_the_same_call(tmp_path: Path) -> None:
    """The rows that the first run added are those that the vanished ones became."""
    folder = tmp_path / "photos"
    for place in range(150):
        write_picture(folder / "old" / f"{place}.png", seed=place, size=(4, 4))
    run(folder, FakeEncoder())
    (folder / "old").rename(folder / "new")

    def stop(state: Progress) -> None:
        if state.done == 120:
            raise KeyboardInterrupt

    from mmsearch.embedding import flow
    from mmsearch.gallery import gallery_writer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery_writer, "COMMIT_SECONDS", -1.0)
        patch.setattr(flow, "_MOST_WAITING", 1)
        with pytest.raises(KeyboardInterrupt):
            embed([folder], gallery=tmp_path / "g", encoder=FakeEncoder(), progress=stop)
    assert Gallery.open(tmp_path / "g").live_rows("images") > 260  # old and new names both
    fake = FakeEncoder()
    report = run(folder, fake)
    assert (report.total_images, fake.images_encoded) == (150, 0)


def test_a_folder_of_copies_may_be_renamed(tmp_path: Path, fake: FakeEncoder) -> None:
    for place in range(130):
        write_picture(tmp_path / "photos" / "old" / f"{place}.png", seed=1, size=(4, 4))
    run(tmp_path / "photos", fake)
    (tmp_path / "photos" / "old").rename(tmp_path / "photos" / "new")
    assert run(tmp_path / "photos", fake).total_images == 130


def test_when_one_root_is_refused_nothing_of_another_is_deleted(tmp_path: Path, fake: FakeEncoder) -> None:
    for name, count in (("a", 10), ("b", 150)):
        for place in range(count):
            write_picture(tmp_path / name / f"{place}.png", seed=place + count, size=(4, 4))
    embed([tmp_path / "a", tmp_path / "b"], gallery=tmp_path / "g", encoder=fake)
    (tmp_path / "a" / "0.png").unlink()
    for place in range(120):
        (tmp_path / "b" / f"{place}.png").unlink()
        write_picture(tmp_path / "b" / f"other {place}.png", seed=9000 + place, size=(4, 4))
    with pytest.raises(PruneRefused, match="Nothing was deleted"):
        embed([tmp_path / "a", tmp_path / "b"], gallery=tmp_path / "g", encoder=fake)
    assert "0.png" in [name for _, root, name in Gallery.open(tmp_path / "g").image_names() if root == 1]


def test_a_row_that_this_run_replaced_and_merged_away_can_still_lend_its_vector(
    tmp_path: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmsearch.gallery import compacting, gallery_writer

    photos = tmp_path / "photos"
    for place in range(6):
        write_picture(photos / f"{place}.png", "red", seed=place)
    run(photos, fake)
    shutil.copy(photos / "0.png", photos / "z original.png")
    write_picture(photos / "0.png", "blue", seed=77)
    os.utime(photos / "0.png", ns=(3, 3))
    for place in range(10, 30):
        write_picture(photos / f"{place}.png", "green", seed=place)
    monkeypatch.setattr(gallery_writer, "COMMIT_SECONDS", -1.0)
    monkeypatch.setattr(compacting, "MOST_SMALL_SHARDS", 1)
    embed([photos], gallery=tmp_path / "g", encoder=fake, options=EmbedOptions(batch_size=1, threads=1))
    assert len(names(Gallery.open(tmp_path / "g"))) == 27


def test_captions_stand_once_however_their_file_is_named(photos: Path, fake: FakeEncoder) -> None:
    file = photos.parent / "captions.txt"
    file.write_text("one\ntwo\n")
    link = photos.parent / "link.txt"
    link.symlink_to(file)
    gallery = photos.parent / "g"
    embed(captions=[file, file, link], gallery=gallery, encoder=fake)
    embed(captions=[file], gallery=photos / ".." / "g", encoder=fake)
    assert Gallery.open(gallery).live_rows("captions") == 2


def test_a_file_below_a_link_in_its_own_root_is_the_same_picture(photos: Path, fake: FakeEncoder) -> None:
    (photos / "link").symlink_to(photos / "more")
    run(photos, fake)
    report = embed([photos / "link" / "red.png"], gallery=photos.parent / "g", encoder=fake)
    assert (report.images.unchanged, report.total_images) == (1, 12)


def test_a_root_that_cannot_be_listed_is_an_error(
    photos: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(_: str) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(SourceError, match="cannot be listed"):
        run(photos, fake)


def test_a_gallery_that_is_a_file_is_refused(photos: Path, fake: FakeEncoder) -> None:
    from mmsearch.errors import GalleryError

    with pytest.raises(GalleryError, match="is a file"):
        embed([photos], gallery=photos / "red.png", encoder=fake)


def test_relocate_onto_another_root_is_refused_also_through_a_link(photos: Path, fake: FakeEncoder) -> None:
    from mmsearch.upkeep.maintenance import relocate

    other = photos.parent / "other"
    write_picture(other / "x.png", "white", seed=4)
    run(photos, fake, other)
    link = photos.parent / "link"
    link.symlink_to(photos / "more")
    with pytest.raises(SourceError, match="lies inside the root"):
        relocate(other, link, gallery=photos.parent / "g")


def test_the_model_is_loaded_in_the_main_thread(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that Ctrl-C ends a download."""
    import threading

    loaded_in = []

    def load(spec: str) -> FakeEncoder:
        loaded_in.append(threading.current_thread())
        return FakeEncoder(spec)

    provide(monkeypatch, load)
    assert embed([photos], gallery=photos.parent / "g", encoder="fake").images.added == 12
    assert loaded_in == [threading.main_thread()]
