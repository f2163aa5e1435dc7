"""Two commands on one gallery, the second between any two steps of the first: what was told stays right."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsearch.ann import build, find_damaged_file, open_index
from mmsearch.errors import AnnIndexError, CommitConflict
from mmsearch.exact import exact_search
from mmsearch.gallery import Gallery, new_index_folder, open_writer
from mmsearch.gallery.gallery_writer import GalleryWriter
from mmsearch.identity import EncoderIdentity
from mmsearch.indexing import index, index_run
from mmsearch.items import ImageRow
from mmsearch.locations import Location, Url
from mmsearch.search.through_index import search_index
from mmsearch.stores import open_store
from mmsearch.stores.local import LocalStore
from mmsearch.stores.remote import ObjectStore
from mmsearch.upkeep.maintenance import compact
from tests.s3 import bucket, files_of, server

__all__ = ["bucket", "server"]  # fixtures

DIM = 8
ENCODER = EncoderIdentity("tests", "sha256:0123", DIM)
EVERYTHING = timedelta(seconds=-60)  # of a grace: whatever the clocks say
STEPS = (
    *("names", "entries", "read", "open", "create", "create_if_absent", "_link", "new_folder", "publish"),
    *("remove", "remove_folder"),
)
BEFORE = [f"{number:02d}" for number in range(40)]
DEAD = [0, 1, 2, 10]
ADDED = ["a", "b"]  # by two commits, each of which replaces a row of before
ALIVE = {name for number, name in enumerate(BEFORE) if number not in DEAD}


class Steps:
    """What a command asks of its store, one step after the other, and what is to happen just before one of them."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._at = -1
        self._then: Callable[[], None] = lambda: None
        self._watched = False
        self._depth = 0

    @contextmanager
    def step(self, name: str, folder: str) -> Iterator[None]:
        if not self._watched or (self._depth and name != "_link"):
            yield
            return
        self.seen.append(f"{name} {folder}")
        if len(self.seen) - 1 == self._at:
            self._watched = False
            self._then()
            self._watched = True
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def run(self, command: Callable[[], None], at: int = -1, then: Callable[[], None] = lambda: None) -> list[str]:
        """Run a command, and another one just before a step of it; the steps."""
        self.seen, self._at, self._then, self._watched = [], at, then, True
        try:
            command()
        finally:
            self._watched = False
        return self.seen


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    found = Steps()
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power fails here, and thousands of files are written

    def watched(real: Any, step: str) -> Any:
        @wraps(real)
        def call(self: Any, name: Any, *rest: Any, **more: Any) -> Any:
            with found.step(step, name.parent.name if isinstance(name, Path) else name.split("/")[0]):
                return real(self, name, *rest, **more)

        return call

    for store in (LocalStore, ObjectStore):
        for step in STEPS:
            if hasattr(store, step):
                monkeypatch.setattr(store, step, watched(getattr(store, step), step))
    return found


def turns(seen: list[str]) -> list[int]:
    """The steps that are not just one more like the step before."""
    return [place for place, step in enumerate(seen) if place == 0 or seen[place - 1] != step]


def before(step: str, seen: list[str], nth: int = 0) -> int:
    """The place of the nth such step."""
    return [place for place, found in enumerate(seen) if found == step][nth]


def rows(names: list[str], seed: int = 0) -> tuple[list[ImageRow], np.ndarray[Any, Any]]:
    vectors = np.stack([np.random.default_rng([seed, *name.encode()]).normal(size=DIM) for name in names])
    made = [ImageRow(1, name, None, 10, 20, None, name.encode(), 3, 2, None) for name in names]
    return made, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def write_gallery(place: Location, seed: int = 0) -> None:
    """Four shards of ten rows, of which some are dead."""
    with open_writer(place, command="test") as writer:
        writer.set_encoder(ENCODER)
        for start in range(0, 40, 10):
            writer.append("images", *rows(BEFORE[start : start + 10], seed))
            writer.commit()
        writer.delete("images", DEAD)
        writer.commit()


def live_after(commits: int) -> set[str]:
    """The names that are live after so many commits of `Trial.embed`."""
    return (ALIVE | set(ADDED[:commits])) - set(BEFORE[20 : 20 + min(commits, len(ADDED))])


class Trial:
    """A gallery, and the commands that meet in it."""

    def __init__(self, folder: Path, places: Callable[[], Location]) -> None:
        self._folder, self._places = folder, places
        self._begun: Path | None = None
        self.place: Location = folder
        self.told = 0  # commits of `embed` that were said to have succeeded

    def begin(self) -> None:
        """A gallery as it was before."""
        self.told, self.place = 0, self._places()
        self.elsewhere()
        if isinstance(self.place, Url):
            write_gallery(self.place)
        else:
            if self._begun is None:
                self._begun = self._folder / "begun"
                write_gallery(self._begun)
            shutil.copytree(self._begun, self.place)

    def elsewhere(self) -> None:
        """Go on on another machine: one that has no copies of what lies in a bucket."""
        os.environ["MMSEARCH_CACHE"] = str(self._folder / f"cache-{secrets.token_hex(4)}")

    def embed(self) -> None:
        """What `embed` does to a bucket, where no lock keeps it out."""
        writer = GalleryWriter(open_store(self.place), Gallery.open(self.place).manifest, "late")
        with suppress(CommitConflict):
            for name in ADDED:
                writer.append("images", *rows([name]), replaces={"images": [20 + self.told]})
                writer.commit()
                self.told += 1

    def compact(self) -> None:
        with suppress(CommitConflict):
            compact(self.place, grace=EVERYTHING)

    def index(self) -> None:
        index(self.place)

    def check(self) -> None:
        """Who was told of success finds what was committed, through every index as without one."""
        self.elsewhere()
        gallery = Gallery.open(self.place)
        found = {name for _, _, name in gallery.image_names()}
        # A commit that was followed by a compaction at once may have been called a conflict: it is there as a whole.
        assert found in (live_after(self.told), live_after(self.told + 1))
        queries = rows(["x", "y", "z"])[1]
        exact = exact_search(gallery.vector_blocks("images"), queries, 100)
        assert exact.row_ids.shape[1] == len(found) == gallery.live_rows("images")
        for entry in gallery.manifest.indexes:
            folder = gallery.index_folder(entry.name)
            ann = open_index(folder, fingerprint=ENCODER.fingerprint, dim=DIM, entry=entry)
            assert find_damaged_file(ann.record, folder) is None
            through = search_index(ann, gallery, "images", queries, 100, effort=ann.record.effort)
            beside = {int(i) for block in gallery.vector_blocks("images", skip=entry.covers) for i in block.row_ids}
            for by_index, by_all in zip(through.row_ids, exact.row_ids, strict=True):
                hits = by_index[by_index >= 0].tolist()
                assert sorted([*hits, *beside]) == sorted(by_all.tolist())


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    monkeypatch.setenv("MMSEARCH_CACHE", "")  # put back at the end
    return Trial(tmp_path, lambda: tmp_path / secrets.token_hex(4))


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    monkeypatch.setenv("MMSEARCH_CACHE", "")
    return Trial(tmp_path, lambda: Url(f"memory://{secrets.token_hex(4)}/g"))


@pytest.fixture
def s3(tmp_path: Path, bucket: Url, monkeypatch: pytest.MonkeyPatch) -> Trial:
    monkeypatch.setenv("MMSEARCH_CACHE", "")
    return Trial(tmp_path, lambda: bucket / secrets.token_hex(4))


def meet(trial: Trial, steps: Steps, first: str, second: str, places: Callable[[list[str]], list[int]] = turns) -> None:
    """One command between the steps of another, at each of some places; and then a compaction that removes all it can.

    Only a conflict may end a command, and that of a writer alone: an index is committed whatever comes between.
    """
    trial.begin()
    for at in places(steps.run(getattr(trial, first))):
        trial.begin()
        steps.run(getattr(trial, first), at, getattr(trial, second))
        trial.check()
        trial.compact()
        trial.check()
    assert at > 0


@pytest.mark.parametrize(("first", "second"), [("compact", "embed"), ("embed", "compact")])
def test_writers_on_a_disk(local: Trial, steps: Steps, first: str, second: str) -> None:
    """Also where the lock that keeps them apart does not work, as on some network mounts."""
    meet(local, steps, first, second)


@pytest.mark.soak
@pytest.mark.parametrize(("first", "second"), [("compact", "index"), ("index", "compact"), ("index", "embed")])
def test_an_index_on_a_disk(local: Trial, steps: Steps, first: str, second: str) -> None:
    meet(local, steps, first, second)


@pytest.mark.soak
@pytest.mark.parametrize(("first", "second"), [("compact", "embed"), ("compact", "compact"), ("index", "compact")])
def test_in_a_bucket(memory: Trial, steps: Steps, first: str, second: str) -> None:
    meet(memory, steps, first, second)


@pytest.mark.soak
def test_an_embed_beside_a_compaction_in_s3(s3: Trial, steps: Steps) -> None:
    """Between writing shards and committing them, between listing and saying so, between saying so and removing."""

    def places(seen: list[str]) -> list[int]:
        commits = [before("create_if_absent manifests", seen, nth) for nth in (0, 1)]
        return [*commits, before("remove manifests", seen)]

    meet(s3, steps, "compact", "embed", places)


@pytest.mark.soak
def test_a_compaction_beside_an_index_in_s3(s3: Trial, steps: Steps) -> None:
    """Between uploading it and its commit."""
    meet(s3, steps, "index", "compact", lambda seen: [before("create_if_absent manifests", seen)])


@pytest.mark.soak
@pytest.mark.timeout(1200)
# An object store behaves as the one in memory, and takes minutes for each pair: two of them stand above.
@pytest.mark.parametrize("where", ["local", "memory"])
@pytest.mark.parametrize(
    ("first", "second"),
    [(one, other) for one in ("embed", "index", "compact") for other in ("embed", "index", "compact") if one != other]
    + [("index", "index"), ("compact", "compact")],
)
def test_at_every_step(where: str, first: str, second: str, steps: Steps, request: pytest.FixtureRequest) -> None:
    if (where, first, second) == ("local", "compact", "compact"):
        pytest.skip("the lock of a disk keeps one out, and says so")
    meet(request.getfixturevalue(where), steps, first, second, lambda seen: list(range(len(seen))))


@pytest.mark.parametrize("where", ["local", "memory"])
def test_an_index_is_not_built_again_for_a_compaction(
    where: str, steps: Steps, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is left alone while it is built, though no version names it, and whatever the grace."""
    trial: Trial = request.getfixturevalue(where)
    built: list[int] = []

    def counted(*arguments: Any, **more: Any) -> Any:
        built.append(1)
        return build(*arguments, **more)

    monkeypatch.setattr(index_run, "build", counted)
    trial.begin()
    seen = steps.run(trial.index)
    from_publishing = [at for at in turns(seen) if at >= before("publish index", seen)]
    for at in [before("new_folder index", seen) + 1, *from_publishing]:
        trial.begin()
        if at not in from_publishing:
            trial.compact()  # so that no shard will be removed that the index is reading
        built.clear()
        steps.run(trial.index, at, trial.compact)
        assert len(built) == 1
        trial.check()
        trial.compact()
        (entry,) = Gallery.open(trial.place).manifest.indexes
        assert [folder.name for folder in open_store(trial.place).entries("index")] == [entry.name]


def test_what_a_killed_build_left_is_removed(local: Trial) -> None:
    """Its lock is there, and nobody holds it."""
    local.begin()
    assert isinstance(local.place, Path)
    with new_index_folder(Gallery.open(local.place)) as (name, folder):
        (folder / "vectors.npy").write_bytes(b"1")
        lock = folder.with_name(f".{name}.lock")
        assert lock.exists()
        local.compact()
        assert (folder / "vectors.npy").exists()
    assert not lock.exists()
    lock.touch()
    local.compact()
    assert list((local.place / "index").iterdir()) == []


def test_a_gallery_that_is_made_anew_while_its_index_is_built(memory: Trial, steps: Steps) -> None:
    """The index speaks of other rows: it is refused rather than committed."""
    memory.begin()
    seen = steps.run(memory.index)

    def made_anew() -> None:
        assert isinstance(memory.place, Url)
        files_of("memory").rm(str(memory.place), recursive=True)
        write_gallery(memory.place, seed=1)
        memory.embed()

    memory.begin()
    with pytest.raises(AnnIndexError, match="was made anew while its index was built"):
        steps.run(memory.index, before("publish index", seen) - 1, made_anew)
    assert Gallery.open(memory.place).manifest.indexes == ()
