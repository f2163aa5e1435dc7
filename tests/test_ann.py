"""FAISS indexes: every kind finds what it should, never what is dead, and says clearly what is wrong with it."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.ann import (
    AnnIndex,
    Effort,
    FileRecord,
    MeasuredRecall,
    TriedEffort,
    VectorFile,
    build,
    find_damaged_file,
    grow,
    open_index,
    parts,
    read_record,
    save,
    training_rows_needed,
)
from mmsearch.ann.lowering import move_into_lowered_codes, search_lists, share_by_lists
from mmsearch.ann.selections import exact_is_cheaper
from mmsearch.errors import AnnIndexError, StoreError
from mmsearch.exact import VectorBlock
from mmsearch.progress import Progress
from mmsearch.versions import IndexEntry
from tests.vectors import unit_vectors

DIM, ROWS = 64, 3000
FINGERPRINT = "sha256:0123"

# Everything that the guide to the index suggests, and each class of FAISS that is searched in its own way.
PRECISE = [
    *("Flat", "SQfp16", "SQ8", "HNSW16", "HNSW16,SQ8", "L2norm,HNSW16"),
    *("IVF16,Flat", "IVF16,SQfp16", "IVF16,SQ8", "IVF16_HNSW8,Flat"),
    *("IVF16,PQ8,RFlat", "IVF16,PQ16x4fsr,Refine(SQfp16)", "OPQ8,IVF16,PQ8,RFlat", "IVF16,RaBitQ,RFlat"),
]
COARSE = [
    *("RaBitQ", "IVF16,RaBitQ", "IVF16,RaBitQ4", "IVF16,RaBitQfs", "PCA32,IVF16,Flat"),
    *("IVF16,PQ16x4", "IVF16,PQ16x4fs", "IVF16,PQ16x4fsr", "OPQ8,IVF16,PQ8"),
]
SELECTIVE = PRECISE + COARSE
FETCHING_MORE = ["PQ8", "PQ16x4fs", "IVF16,RQ4x4", "PCA32,PQ8", "PQ8,RFlat"]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tests run beside each other: FAISS's threads spin while they wait, which slows training down tenfold."""
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float16]:
    """Unit vectors in clumps of low intrinsic dimension, as embeddings are: k-means and graphs work on them."""
    rng = np.random.default_rng(0)
    clumps = rng.standard_normal((40, 12))[rng.integers(0, 40, ROWS)]
    flat = (clumps + 0.7 * rng.standard_normal((ROWS, 12))) @ rng.standard_normal((12, DIM))
    flat += 0.3 * rng.standard_normal((ROWS, DIM))
    return unit_vectors(flat).astype(np.float16)


@pytest.fixture(scope="module")
def row_ids() -> NDArray[np.int64]:
    """Row ids have gaps."""
    return np.sort(np.random.default_rng(1).choice(10 * ROWS, ROWS, replace=False)).astype(np.int64)


def built(factory: str, vectors: NDArray[np.float16], row_ids: NDArray[np.int64], seed: int = 7) -> AnnIndex:
    parts = [slice(start, start + 700) for start in range(0, len(row_ids), 700)]
    return build(
        factory,
        name="x",
        table="images",
        fingerprint=FINGERPRINT,
        dim=vectors.shape[1],
        training=lambda: vectors[:700].astype(np.float32),
        blocks=[VectorBlock(row_ids[some], vectors[some]) for some in parts],
        rows=len(row_ids),
        seed=seed,
    )


def written(index: AnnIndex, vectors: NDArray[np.float16], folder: Path) -> AnnIndex:
    """Saved with its vectors; as in memory, with the record on disk."""
    rows, dim = vectors.shape
    with VectorFile(folder, rows, dim, str(vectors.dtype)) as file:
        assert len(list(file.write_through([VectorBlock(index.row_ids, vectors)]))) == 1
    return AnnIndex(index.faiss_index, index.row_ids, save(index, folder, file.record), vectors)


def entry_of(index: AnnIndex, name: str = "x") -> IndexEntry:
    return IndexEntry(name, "images", ((0, 10 * ROWS),), index.record.rows, index.record.factory)


def nearest(
    vectors: NDArray[np.float16], queries: NDArray[np.float32], allowed: NDArray[np.bool_], k: int
) -> NDArray[np.int64]:
    scores = np.where(allowed, queries @ vectors.astype(np.float32).T, -9)
    return np.argsort(-scores, axis=1)[:, :k]


@pytest.mark.parametrize("factory", SELECTIVE + FETCHING_MORE)
def test_dead_rows_are_never_found(
    factory: str, vectors: NDArray[np.float16], row_ids: NDArray[np.int64], tmp_path: Path
) -> None:
    """The promise of deletion, for every kind of index, built and as opened from disk.

    Half of the rows die, the nearest of each query among them. What is left must still be found: a selector that is
    ignored returns the dead, one that is applied too late returns too little.
    """
    rng = np.random.default_rng(2)
    queries = vectors[rng.choice(ROWS, 40, replace=False)].astype(np.float32)
    gone = rng.random(ROWS) < 0.5
    gone[nearest(vectors, queries, np.ones(ROWS, bool), 1).ravel()] = True
    dead = np.sort(np.concatenate([row_ids[gone], [10 * ROWS + 5]]))  # and one that the index never held
    index = written(built(factory, vectors, row_ids), vectors, tmp_path)
    opened = open_index(tmp_path, fingerprint=FINGERPRINT, dim=DIM, entry=entry_of(index))
    for each in (index, opened):
        found, scores = each.search(queries, 10, dead=dead)
        assert found.shape == scores.shape == (40, 10)
        assert not np.isin(found, dead).any()
        assert (found >= 0).all()
        assert all(len(set(line)) == 10 for line in found.tolist())
        assert (np.diff(scores, axis=1) <= 1e-5).all()
        everywhere, _ = each.search(queries, 10, dead=dead, exhaustive=True)
        assert not np.isin(everywhere, dead).any()
    wanted = row_ids[nearest(vectors, queries, ~gone, 10)]
    recall = np.mean([np.isin(line, right).mean() for line, right in zip(found, wanted, strict=True)])
    assert recall > (0.9 if factory in PRECISE else 0.3), recall


@pytest.mark.parametrize("factory", SELECTIVE)
def test_selective_kinds_are_known(factory: str, vectors: NDArray[np.float16], row_ids: NDArray[np.int64]) -> None:
    """Kinds that take a selector must use it: fetching more instead would be right but slow, and go unnoticed."""
    assert parts.takes_selector(built(factory, vectors, row_ids).faiss_index)


def test_few_are_left(vectors: NDArray[np.float16], row_ids: NDArray[np.int64]) -> None:
    """Fewer live rows than asked for: all of them, then padding; with nprobe 1 perhaps fewer still."""
    queries = vectors[:5].astype(np.float32)
    for factory in ("Flat", "IVF16,Flat", "HNSW16", "PQ8"):
        index = built(factory, vectors, row_ids)
        found, scores = index.search(queries, 10, dead=row_ids[3:], exhaustive=True)
        assert sorted(found[0, :3]) == row_ids[:3].tolist()
        assert (found[:, 3:] == -1).all()
        assert np.isneginf(scores[:, 3:]).all()
    found, _ = built("IVF16,Flat", vectors, row_ids).search(queries, 2000, nprobe=1)
    assert (np.diff((found >= 0).astype(int), axis=1) <= 0).all()


def test_no_more_columns_than_rows(vectors: NDArray[np.float16], row_ids: NDArray[np.int64]) -> None:
    """k may exceed the index."""
    assert built("Flat", vectors[:4], row_ids[:4]).search(vectors[:2].astype(np.float32), 10)[0].shape == (2, 4)


def test_flat_equals_argsort(vectors: NDArray[np.float16], row_ids: NDArray[np.int64]) -> None:
    """The anchor: with no approximation at all, FAISS and numpy agree on every hit whose score is not tied."""
    queries = vectors[::50].astype(np.float32)
    found, scores = built("Flat", vectors, row_ids).search(queries, 10)
    full = queries.astype(np.float64) @ vectors.astype(np.float64).T
    assert np.abs(scores - -np.sort(-full, axis=1)[:, :10]).max() < 1e-6
    assert np.abs(np.take_along_axis(full, np.searchsorted(row_ids, found), axis=1) - scores).max() < 1e-6


@pytest.mark.parametrize(
    "factory", ["IVF16,Flat", "IVF16,SQ8", "PCA32,IVF16,Flat", "HNSW4", "PCA32,HNSW4", "IVF16,PQ8,RFlat"]
)
def test_exhaustive_search_looks_everywhere(
    factory: str, vectors: NDArray[np.float16], row_ids: NDArray[np.int64]
) -> None:
    """It is what the recorded effort is judged by, so lists and graphs may not hide anything from it."""
    queries = vectors[::30].astype(np.float32)
    index = built(factory, vectors, row_ids)
    found, _ = index.search(queries, 10, exhaustive=True, nprobe=1, ef_search=10, k_factor=1)
    everything, _ = index.search(queries[:1], ROWS, exhaustive=True, nprobe=1, ef_search=16)
    assert np.array_equal(np.sort(everything[0]), row_ids)
    if "PCA" not in factory:
        wanted = row_ids[nearest(vectors, queries, np.ones(ROWS, bool), 10)]
        assert np.mean([np.isin(a, b).mean() for a, b in zip(found, wanted, strict=True)]) > 0.97


def test_effort_matters_and_the_record_is_its_default(vectors: NDArray[np.float16], row_ids: NDArray[np.int64]) -> None:
    """nprobe and ef_search must reach FAISS through every wrapper, or measuring them would measure nothing."""
    queries = vectors[::20].astype(np.float32)
    wanted = row_ids[nearest(vectors, queries, np.ones(ROWS, bool), 10)]

    def recall(found: NDArray[np.int64]) -> float:
        return float(np.mean([np.isin(a, b).mean() for a, b in zip(found, wanted, strict=True)]))

    for factory in ("IVF64,Flat", "IVF64,PQ32x4fsr,RFlat", "PCA60,IVF64,Flat"):
        index = built(factory, vectors, row_ids)
        little, much = recall(index.search(queries, 10, nprobe=1)[0]), recall(index.search(queries, 10, nprobe=32)[0])
        assert little < much - 0.05
        record = dataclasses.replace(index.record, effort=dataclasses.replace(index.record.effort, nprobe=1))
        chosen = AnnIndex(index.faiss_index, index.row_ids, record)
        assert recall(chosen.search(queries, 10)[0]) == little
    graph = built("HNSW4", vectors, row_ids)
    little, much = (recall(graph.search(queries, 10, ef_search=width)[0]) for width in (10, 500))
    assert little < much - 0.02
    refined = built("PQ8,RFlat", vectors, row_ids)
    little, much = (recall(refined.search(queries, 10, k_factor=factor)[0]) for factor in (1, 40))
    assert little < much - 0.05


def test_efforts_by_kind(vectors: NDArray[np.float16], row_ids: NDArray[np.int64]) -> None:
    """The ladder that measuring climbs: cheapest first, up to everything."""
    assert built("Flat", vectors, row_ids).widths() == [Effort()]
    assert [e.nprobe for e in built("IVF12,Flat", vectors, row_ids).widths()] == [1, 2, 3, 4, 6, 8, 12]
    assert [e.ef_search for e in built("HNSW16", vectors, row_ids).widths()][:2] == [16, 32]
    assert built("IVF2,Flat", vectors, row_ids).factors(10) == [None]
    assert built("IVF2,Flat,RFlat", vectors, row_ids).factors(10) == [10, 40]
    lossy = built("IVF2,PQ8x4fs", vectors, row_ids)
    assert lossy.factors(10) == [2, 3, 5, 7, 10, 14, 20, 40, 80]
    assert lossy.factors(1000) == [2, 3]  # never more candidates than are worth scoring


def test_row_ids_in_any_order(vectors: NDArray[np.float16], row_ids: NDArray[np.int64], tmp_path: Path) -> None:
    """Merged shards interleave row ids: blocks ascend, the sequence of blocks need not."""
    order = np.concatenate([np.arange(1500, ROWS), np.arange(1500)])
    index = written(built("Flat", vectors[order], row_ids[order]), vectors[order], tmp_path)
    opened = open_index(tmp_path, fingerprint=FINGERPRINT, dim=DIM, entry=entry_of(index))
    assert not opened.record.ascending
    dead = row_ids[::2]
    found, _ = opened.search(vectors[::40].astype(np.float32), 10, dead=dead)
    assert not np.isin(found, dead).any()
    live = np.arange(ROWS) % 2 == 1
    assert np.array_equal(found[:, 0], row_ids[nearest(vectors, vectors[::40].astype(np.float32), live, 1)[:, 0]])


@pytest.mark.parametrize("factory", ["IVF16,Flat", "IVF16,PQ8", "OPQ8,IVF16,PQ8", "IVF16,PQ16x4fsr"])
def test_same_seed_same_index(
    factory: str, vectors: NDArray[np.float16], row_ids: NDArray[np.int64], tmp_path: Path
) -> None:
    """A rebuild must not change answers, and a seed must change something, else it is not used."""
    digests = []
    for number, seed in enumerate((7, 7, 8)):
        (tmp_path / str(number)).mkdir()
        index = written(built(factory, vectors, row_ids, seed), vectors, tmp_path / str(number))
        digests.append(index.record.files[0].blake2b)
    assert digests[0] == digests[1] != digests[2]


def test_training_is_silent(
    vectors: NDArray[np.float16], row_ids: NDArray[np.int64], capfd: pytest.CaptureFixture[str]
) -> None:
    """FAISS writes "please provide at least 39*k points" to stderr from C++, 400 times for one OPQ."""
    for factory in ("IVF200,Flat", "OPQ8,IVF16,PQ8", "Flat,Refine(PQ8)", "IVF16_HNSW8,PQ8x4fs", "RQ2x8", "HNSW16,SQ8"):
        built(factory, vectors, row_ids)
    captured = capfd.readouterr()
    assert captured.err + captured.out == ""


def test_progress_reaches_the_total(vectors: NDArray[np.float16], row_ids: NDArray[np.int64]) -> None:
    """A bar that stops short looks like a hang."""
    seen: list[Progress] = []
    build(
        "IVF4,Flat",
        table="images",
        fingerprint=FINGERPRINT,
        dim=DIM,
        training=lambda: vectors.astype(np.float32),
        blocks=[VectorBlock(row_ids, vectors)],
        rows=ROWS,
        seed=1,
        progress=seen.append,
    )
    assert seen[0].total is None
    assert seen[-1].done == seen[-1].total == ROWS


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("Flatt", "could not parse"),
        ("", "could not parse"),
        ("IVF16", "could not parse"),
        ("PQ7", "multiple"),
        ("IVF4294967296000,Flat", "stoi"),
        ("IVF0,Flat", "at least one list"),  # FAISS builds this one and fails in search
        ("HNSW1", "two links"),  # FAISS crashes the process on this one
        ("IVF16_HNSW0,Flat", "two links"),
        ("HNSW16_PQ8", "inner product"),  # FAISS silently makes this one L2
        ("IVF16(IVF4,Flat),PQ8", "inside another"),  # and on this one
        ("IDMap,Flat", "leave IDMap out"),
    ],
)
def test_bad_factory_strings(factory: str, reason: str) -> None:
    """Quoted, explained, with examples; above all where FAISS itself would accept the string and crash or lie later."""
    with pytest.raises(AnnIndexError, match=reason) as caught:
        training_rows_needed(factory, DIM)
    assert repr(factory) in str(caught.value)
    assert "IVF1024,Flat" in str(caught.value)


@pytest.mark.parametrize(
    ("factory", "needed"),
    [
        ("Flat", 0),
        ("HNSW16", 0),
        ("SQ8", 1),
        ("IVF100,Flat", 100),
        ("IVF16,PQ8", 256),
        ("OPQ8,Flat", 256),
        ("PQ8x4fs", 16),
    ],
)
def test_training_rows_needed(
    factory: str, needed: int, vectors: NDArray[np.float16], row_ids: NDArray[np.int64]
) -> None:
    """Known before any work is done, and right: that many suffice, one less is refused with the number."""
    assert training_rows_needed(factory, DIM) == needed
    built(factory, vectors[: max(1, needed)], row_ids[: max(1, needed)])
    if needed > 1:
        with pytest.raises(AnnIndexError, match=f"at least {needed} vectors"):
            built(factory, vectors[: needed - 1], row_ids[: needed - 1])


def test_what_faiss_refuses_while_building_is_ours(vectors: NDArray[np.float16], row_ids: NDArray[np.int64]) -> None:
    """Limits that cannot be told from outside: FAISS's own reason, not a traceback."""
    with pytest.raises(AnnIndexError, match="PRQ2x2x8"):
        built("PRQ2x2x8", vectors[:20], row_ids[:20])
    with pytest.raises(AnnIndexError, match="NSG does not support incremental addition"):
        built("NSG16", vectors, row_ids)


@pytest.fixture
def saved(vectors: NDArray[np.float16], row_ids: NDArray[np.int64], tmp_path: Path) -> tuple[Path, IndexEntry]:
    index = built("IVF16,Flat", vectors, row_ids)
    recall = (
        MeasuredRecall("image", 10, 500, 0.97),
        MeasuredRecall("text", 10, 0, None, "the gallery holds no captions"),
    )
    effort = Effort(nprobe=4)
    tried = (TriedEffort(effort, 0.5, 0.9, 0.88, 0.97, 0.96),)
    record = dataclasses.replace(
        index.record, effort=effort, recall=recall, recall_target=0.95, build_seconds=1.5, tried=tried
    )
    written(AnnIndex(index.faiss_index, index.row_ids, record), vectors, tmp_path)
    return tmp_path, entry_of(index)


def test_record_survives_the_disk(saved: tuple[Path, IndexEntry]) -> None:
    """Everything that was measured is read again; the files are as the record says."""
    folder, entry = saved
    record = read_record(folder)
    assert record.effort == Effort(nprobe=4)
    assert record.recall[0].mean == 0.97
    assert record.recall[1].unmeasured == "the gallery holds no captions"
    assert (record.recall_target, record.build_seconds, record.seed) == (0.95, 1.5, 7)
    assert record == open_index(folder, fingerprint=FINGERPRINT, dim=DIM, entry=entry).record
    assert record.tried[0].low == 0.88
    names = ("index.faiss", "row_ids.npy", "vectors.npy")
    assert record.bytes == sum((folder / name).stat().st_size for name in names)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "record.json"])
    assert find_damaged_file(record, folder) is None


def cut_index(folder: Path) -> None:
    with (folder / "index.faiss").open("r+b") as file:
        file.truncate(1000)


def swap_row_ids(folder: Path) -> None:
    np.save(folder / "row_ids.npy", np.arange(2 * ROWS, dtype=np.int32))


def flip_row_id(folder: Path) -> None:
    data = bytearray((folder / "row_ids.npy").read_bytes())
    data[-3] ^= 1
    (folder / "row_ids.npy").write_bytes(data)


def garble_index(folder: Path) -> None:
    path = folder / "index.faiss"
    path.write_bytes(b"nope" + path.read_bytes()[4:])


def change_record(folder: Path, **fields: object) -> None:
    document = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(document | fields))


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda folder: (folder / "record.json").unlink(), "record"),
        (lambda folder: (folder / "record.json").write_text("{"), "record"),
        (lambda folder: (folder / "record.json").write_text("[]"), "record"),
        (lambda folder: (folder / "index.faiss").unlink(), "cannot be read"),
        (lambda folder: (folder / "row_ids.npy").unlink(), "cannot be read"),
        (cut_index, "1,000 bytes"),
        (swap_row_ids, "as it was written"),
        (flip_row_id, "as it was written"),
        (lambda folder: (folder / "vectors.npy").unlink(), "cannot be read"),
        (lambda folder: (folder / "vectors.npy").write_bytes(b""), "0 bytes"),
        (lambda folder: change_record(folder, name="another"), "another"),
        (garble_index, "cannot be read"),
        (lambda folder: change_record(folder, format_version=99), "format version 99"),
        (lambda folder: change_record(folder, fingerprint="sha256:ffff"), "sha256:ffff"),
        (lambda folder: change_record(folder, dim=32), "dim 32"),
        (lambda folder: change_record(folder, rows=7), "rows 7"),
        (lambda folder: change_record(folder, table="captions"), "captions"),
    ],
)
def test_a_wrong_index_is_refused(saved: tuple[Path, IndexEntry], damage: Callable[[Path], object], what: str) -> None:
    """Never a wrong answer, never a crash: the folder, what is wrong, and the command that mends it."""
    folder, entry = saved
    damage(folder)
    with pytest.raises(AnnIndexError, match=what) as caught:
        open_index(folder, fingerprint=FINGERPRINT, dim=DIM, entry=entry)
    assert str(folder) in str(caught.value)
    assert "mmsearch index" in str(caught.value)


def test_damage_that_sizes_do_not_show_is_found_by_looking(saved: tuple[Path, IndexEntry]) -> None:
    """A flipped bit in the codes or the vectors costs recall or a score: `mmsearch index` reads everything."""
    folder, _ = saved
    for name in ("vectors.npy", "index.faiss"):
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 4
        (folder / name).write_bytes(data)
        assert find_damaged_file(read_record(folder), folder) == name


@pytest.mark.parametrize("factory", ["Flat", "IVF16,PQ16x4fsr", "HNSW16", "IVF16,SQfp16", "OPQ8,IVF16,PQ8"])
def test_rows_added_later_are_found(
    factory: str, vectors: NDArray[np.float16], row_ids: NDArray[np.int64], tmp_path: Path
) -> None:
    """An opened index grows by lists and codes that it has: every row finds itself, first half and second."""
    half = ROWS // 2
    index = written(built(factory, vectors[:half], row_ids[:half]), vectors[:half], tmp_path)
    opened = open_index(tmp_path, fingerprint=FINGERPRINT, dim=DIM, entry=entry_of(index), writable=True)
    more = grow(opened, name="y", blocks=[VectorBlock(row_ids[half:], vectors[half:])], rows=ROWS - half)
    more = AnnIndex(more.faiss_index, more.row_ids, more.record, vectors)
    assert (more.record.name, more.record.rows, more.record.trained_rows) == ("y", ROWS, half)
    found = more.neighbours(vectors[::20].astype(np.float32), 1, effort=Effort(nprobe=8, k_factor=40, ef_search=64))
    assert np.mean(found.row_ids[:, 0] == row_ids[::20]) > 0.97


@pytest.mark.parametrize("factory", SELECTIVE + FETCHING_MORE)
def test_neighbours_are_scored_by_the_stored_vectors(
    factory: str, vectors: NDArray[np.float16], row_ids: NDArray[np.int64]
) -> None:
    """Whatever the codes say; and more hits than an effort brings are found by looking at every code."""
    index = built(factory, vectors, row_ids)
    index = AnnIndex(index.faiss_index, index.row_ids, index.record, vectors)
    queries = vectors[::300].astype(np.float32)
    least = Effort(nprobe=1, ef_search=16, k_factor=2)
    found = index.neighbours(queries, 2000, dead=row_ids[::3], effort=least)
    assert found.row_ids.shape == (len(queries), 2000)
    for query, ids, scores in zip(queries, found.row_ids, found.scores, strict=True):
        assert len(set(ids.tolist())) == 2000
        assert not np.isin(ids, row_ids[::3]).any()
        stored = vectors[np.searchsorted(row_ids, ids)].astype(np.float64)
        np.testing.assert_allclose(scores, stored @ query.astype(np.float64), atol=1e-12)
        assert np.all(np.diff(scores) <= 0)


def test_a_full_or_missing_disk_is_a_store_error(
    vectors: NDArray[np.float16], row_ids: NDArray[np.int64], tmp_path: Path
) -> None:
    """FAISS reports it as RuntimeError."""
    with pytest.raises(StoreError, match="gone"):
        save(built("Flat", vectors, row_ids), tmp_path / "gone", FileRecord("vectors.npy", 0, ""))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads Linux's smaps_rollup")
@pytest.mark.parametrize("factory", ["Flat", "SQfp16", "IVF16,Flat", "IVF16,SQfp16", "HNSW16", "IVF4,PQ8,RFlat"])
def test_opened_indexes_are_mapped(factory: str, tmp_path: Path) -> None:
    """Opening must not copy: anonymous memory grows by far less than the file. Measured in a process of its own."""
    rng = np.random.default_rng(3)
    many = rng.standard_normal((20_000, 256)).astype(np.float16)
    index = written(built(factory, many, np.arange(20_000)), many, tmp_path)
    code = f"""
import faiss
import numpy as np
from pathlib import Path
from typing import Any
from mmsearch.ann import open_index
from mmsearch.versions import IndexEntry

def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("Anonymous:"))

before = anonymous()
entry = IndexEntry("x", "images", (), 20000, {factory!r})
index = open_index(Path({str(tmp_path)!r}), fingerprint={FINGERPRINT!r}, dim=256, entry=entry)
print(anonymous() - before)
"""
    grow = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert grow * 1024 < index.record.bytes / 3


def test_importing_does_not_load_faiss() -> None:
    """`mmsearch --help` and exact search must not pay a quarter of a second for it."""
    code = "import sys, mmsearch.ann; assert 'faiss' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_search_for_one_hit_looks_at_as_many_candidates_as_it_was_tuned_with(
    vectors: NDArray[np.float16], row_ids: NDArray[np.int64]
) -> None:
    """The codes of a coarse index put the best hit anywhere among the first; fewer hits asked for change nothing."""
    queries = vectors[::20].astype(np.float32) + np.float32(0.02)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for factory in ("RaBitQ", "IVF16,PQ16x4fs", "PQ8,RFlat", "HNSW4", "IVF64,Flat"):
        index = built(factory, vectors, row_ids)
        tuned = dataclasses.replace(
            index.record,
            effort=Effort(nprobe=8, ef_search=10, k_factor=2),
            recall=(MeasuredRecall("text", 10, 50, 0.9),),
        )
        index = AnnIndex(index.faiss_index, index.row_ids, tuned, vectors)
        ten = index.neighbours(queries, 10)
        for k in (1, 2, 5):
            few = index.neighbours(queries, k)
            np.testing.assert_array_equal(few.row_ids, ten.row_ids[:, :k], err_msg=factory)
            np.testing.assert_array_equal(few.scores, ten.scores[:, :k], err_msg=factory)


def test_a_faiss_that_answers_wrongly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import faiss

    parts.load_faiss.cache_clear()
    monkeypatch.setattr(faiss, "__version__", "1.13.0")
    with pytest.raises(
        AnnIndexError, match=r"faiss-cpu 1\.13\.0 finds the wrong rows .*pip install 'faiss-cpu>=1\.14\.2'"
    ):
        parts.load_faiss()
    monkeypatch.setattr(faiss, "__version__", "1.14.2")
    assert parts.load_faiss() is faiss


@pytest.mark.parametrize("factory", ["IVF16,PQ16x4fsr", "IVF16,PQ16x4fs", "OPQ8,IVF16,PQ8", "IVF16,SQ8", "IVF16,Flat"])
def test_what_is_taken_from_scores_is_taken_from_lists_first(
    vectors: NDArray[np.float16], row_ids: NDArray[np.int64], factory: str
) -> None:
    """And the rest from their rows: together it is what the codes say less what was to be taken."""
    index = built(factory, vectors, row_ids)
    lowered = np.random.default_rng(2).uniform(0, 0.4, ROWS)
    ivf, queries = parts.unwrap_index(index.faiss_index, np.ascontiguousarray(vectors[:5], np.float32))
    shares = share_by_lists(ivf, lowered)
    scores, positions = search_lists(ivf, queries, ROWS, shares, selector=None, nprobe=16)
    by_codes, all_positions = ivf.search(
        queries, ROWS, params=parts.search_parameters(ivf, None, Effort(nprobe=16), ROWS)
    )
    for query in range(5):
        left, meant = np.empty(ROWS), np.empty(ROWS)
        left[positions[query]] = scores[query] - shares.left[positions[query]]
        meant[all_positions[query]] = by_codes[query] - lowered[all_positions[query]]
        assert left == pytest.approx(meant, abs=0.02)  # FastScan rounds scores to as much
    dead = parts.select_all_but(np.arange(0, ROWS, 2), ROWS)
    assert (search_lists(ivf, queries, 50, shares, selector=dead, nprobe=16)[1] % 2 == 1).all()


@pytest.mark.parametrize("factory", ["IVF16,PQ16x4fsr", "IVF16,PQ8x4fsr"])
def test_fastscan_codes_hold_what_is_taken_from_scores(
    vectors: NDArray[np.float16], row_ids: NDArray[np.int64], factory: str
) -> None:
    """Scores by the codes are then less what is taken; searches that take nothing find what they found."""
    index = built(factory, vectors, row_ids)
    lowered = np.random.default_rng(2).uniform(0, 0.4, ROWS)
    ivf, queries = parts.unwrap_index(index.faiss_index, np.ascontiguousarray(vectors[:5], np.float32))
    by_codes, all_positions = ivf.search(
        queries, ROWS, params=parts.search_parameters(ivf, None, Effort(nprobe=16), ROWS)
    )
    shares = share_by_lists(ivf, lowered)
    codes = move_into_lowered_codes(ivf, shares.left)
    assert codes is not None
    assert sum(ivf.invlists.list_size(number) for number in range(16)) == 0
    for given, taken in ((shares, lowered), (None, np.zeros(ROWS))):
        scores, positions = search_lists(
            ivf, queries, ROWS, given, selector=None, nprobe=16, lowered_codes=codes, is_lowered=given is not None
        )
        for query in range(5):
            left, meant = np.empty(ROWS), np.empty(ROWS)
            left[positions[query]] = scores[query]
            meant[all_positions[query]] = by_codes[query] - taken[all_positions[query]]
            assert left == pytest.approx(meant, abs=0.03)  # FastScan rounds scores, and what is taken is in steps
    dead = parts.select_all_but(np.arange(0, ROWS, 2), ROWS)
    found = search_lists(ivf, queries, 50, shares, selector=dead, nprobe=4, lowered_codes=codes, is_lowered=True)[1]
    assert (found % 2 == 1).all()


@pytest.mark.parametrize("factory", ["IVF16,PQ32x4fsr", "OPQ8,IVF16,PQ8", "IVF16,Flat", "HNSW16", "Flat"])
def test_an_index_is_made_for_what_is_taken_once(
    vectors: NDArray[np.float16], row_ids: NDArray[np.int64], factory: str, tmp_path: Path
) -> None:
    """And finds no less by it, whatever else is asked: other numbers, none, dead rows left out, everything."""
    index = written(built(factory, vectors, row_ids), vectors, tmp_path)
    rng = np.random.default_rng(5)
    lowered, other = rng.uniform(0, 0.2, ROWS), rng.uniform(0, 0.2, ROWS)
    rows, queries = vectors.astype(np.float32), np.ascontiguousarray(vectors[::40], np.float32)
    effort = Effort(nprobe=16, k_factor=8, ef_search=512)
    dead = np.sort(row_ids[::5])

    def recall(taken: NDArray[np.float64] | None, gone: NDArray[np.int64]) -> float:
        found = index.neighbours(queries, 10, effort=effort, lowered=taken, dead=gone)
        left = queries @ rows.T - (0 if taken is None else taken)
        left[:, np.isin(row_ids, gone)] = -np.inf
        best = np.argsort(-left, axis=1)[:, :10]
        assert not np.isin(found.row_ids, gone).any()
        return float(np.mean([np.isin(row_ids[best[n]], found.row_ids[n]).mean() for n in range(len(queries))]))

    asked = [(taken, gone) for taken in (None, lowered, other) for gone in (np.empty(0, np.int64), dead)]
    before = [recall(*each) for each in asked]
    held = index.lower(lowered)
    assert held == (factory == "IVF16,PQ32x4fsr")
    after = [recall(*each) for each in asked]
    assert min(after) >= 0.9
    assert all(now >= then - 0.02 for then, now in zip(before, after, strict=True))
    everything = index.neighbours(queries[:3], ROWS, effort=Effort(nprobe=1), lowered=lowered)
    assert np.sort(everything.row_ids, axis=1).tolist() == [sorted(row_ids.tolist())] * 3
    if held:
        with pytest.raises(ValueError, match="open it again"):
            index.lower(other)


@pytest.mark.parametrize("factory", ["IVF64,PQ32x4fsr", "IVF64,Flat"])
def test_lists_are_chosen_by_what_is_left_of_their_scores(
    vectors: NDArray[np.float16], row_ids: NDArray[np.int64], factory: str, tmp_path: Path
) -> None:
    """Where the lists that score best lose most, what is best after that is still found, at the same effort."""
    index = written(built(factory, vectors, row_ids), vectors, tmp_path)
    rows = vectors.astype(np.float32)
    queries = unit_vectors(rows[::100] + 0.05 * np.random.default_rng(3).normal(size=rows[::100].shape)).astype(
        np.float32
    )
    crowded = np.sort(rows @ rows[:500].T, axis=1)[:, -32:].mean(axis=1).astype(np.float64)
    effort = Effort(nprobe=8, k_factor=5)
    shares = {}
    for name, lowered in (("plain", np.zeros(ROWS)), ("corrected", 1.5 * crowded)):
        found = index.neighbours(queries, 10, effort=effort, lowered=lowered)
        best = np.argsort(-(queries @ rows.T - lowered), axis=1)[:, :10]
        shares[name] = np.mean([np.isin(row_ids[best[n]], found.row_ids[n]).mean() for n in range(len(queries))])
    assert shares["plain"] >= 0.9
    assert shares["corrected"] >= 0.9


def forced(monkeypatch: pytest.MonkeyPatch, *, scores_all: bool) -> None:
    monkeypatch.setattr(AnnIndex, "scores_all", lambda *_, **__: scores_all)


@pytest.mark.parametrize("factory", SELECTIVE + FETCHING_MORE)
def test_selected_rows_alone_are_found(
    factory: str,
    vectors: NDArray[np.float16],
    row_ids: NDArray[np.int64],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By every kind of index and on either way: by scoring them all, exactly; through lists, where there are any."""
    index = written(built(factory, vectors, row_ids), vectors, tmp_path)
    rng = np.random.default_rng(4)
    queries = np.ascontiguousarray(vectors[rng.choice(ROWS, 30, replace=False)], np.float32)
    for share in (0.5, 0.02, 3 / ROWS):
        chosen = np.zeros(ROWS, bool)
        chosen[rng.choice(ROWS, round(share * ROWS), replace=False)] = True
        selection = index.select(np.sort(np.concatenate([row_ids[chosen], [10 * ROWS + 7]])))  # one it does not hold
        assert len(selection) == chosen.sum()
        count = min(10, len(selection))
        right = row_ids[nearest(vectors, queries, chosen, count)]
        forced(monkeypatch, scores_all=True)
        assert (index.neighbours_among(queries, 10, selection).row_ids[:, :count] == right).all()
        if selection.per_list is None:
            assert factory in FETCHING_MORE or "IVF" not in factory or "R" in factory
            continue
        forced(monkeypatch, scores_all=False)
        found = index.neighbours_among(queries, 10, selection, effort=Effort(nprobe=4, k_factor=10)).row_ids
        assert np.isin(found[:, :count], row_ids[chosen]).all()
        assert all(len(set(line)) == count for line in found[:, :count].tolist())
        recall = np.mean([np.isin(line, hit).mean() for line, hit in zip(right, found, strict=True)])
        assert recall > (0.95 if factory in PRECISE else 0.5), (share, recall)


@pytest.mark.parametrize("factory", ["IVF64,Flat", "IVF64,PQ32x4fsr"])
def test_selected_rows_are_found_wherever_they_are(
    factory: str,
    vectors: NDArray[np.float16],
    row_ids: NDArray[np.int64],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many as without a selection at the same effort, also where they stand together, or away from what is asked."""
    index = written(built(factory, vectors, row_ids), vectors, tmp_path)
    forced(monkeypatch, scores_all=False)
    rows = vectors.astype(np.float32)
    queries, effort = rows[::60], Effort(nprobe=12, k_factor=10)

    def recall(chosen: NDArray[np.bool_], asked: NDArray[np.float32]) -> float:
        found = index.neighbours_among(asked, 10, index.select(row_ids[chosen]), effort=effort).row_ids
        right = row_ids[nearest(vectors, asked, chosen, 10)]
        return float(np.mean([np.isin(line, hit).mean() for line, hit in zip(right, found, strict=True)]))

    everywhere = recall(np.ones(ROWS, bool), queries)
    to_one = rows @ rows[7]
    for share in (0.5, 0.1, 0.02):
        together = to_one >= np.quantile(to_one, 1 - share)
        away = to_one <= np.quantile(to_one, share)
        near = unit_vectors(rows[7] + 0.05 * np.random.default_rng(0).normal(size=(20, DIM))).astype(np.float32)
        for chosen, asked in ((together, queries), (together, near), (away, queries), (away, near)):
            assert recall(chosen, asked) >= everywhere - 0.02, share


@pytest.mark.parametrize("taken", [False, True])
def test_rows_of_lists_that_no_graph_leads_to_are_found_where_there_are_no_others(
    vectors: NDArray[np.float16],
    row_ids: NDArray[np.int64],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    taken: bool,
) -> None:
    """A graph of few links passes by lists even where all are asked of it."""
    index = written(built("IVF64_HNSW2,SQ8", vectors, row_ids), vectors, tmp_path)
    queries = vectors[:20].astype(np.float32)
    assert (index.faiss_index.quantizer.search(queries, 64)[1] < 0).any(axis=1).all()
    lowered = np.linspace(0, 0.5, ROWS) if taken else None
    dead, alive = row_ids[:40], np.arange(ROWS) >= 40
    found = index.neighbours(queries, ROWS, dead=dead, lowered=lowered).row_ids
    assert (np.sort(found, axis=1) == row_ids[alive]).all()
    forced(monkeypatch, scores_all=False)
    for selected in (row_ids[5:900:7], row_ids[7:10], row_ids[:0], row_ids):
        found = index.neighbours_among(queries, len(selected) or 3, index.select(selected), lowered=lowered).row_ids
        assert (np.sort(found, axis=1) == selected).all()


@pytest.mark.parametrize("factory", ["IVF16,PQ32x4fsr", "IVF16,Flat", "HNSW16"])
@pytest.mark.parametrize("held", [True, False])
def test_selected_rows_are_corrected_too(
    factory: str,
    held: bool,
    vectors: NDArray[np.float16],
    row_ids: NDArray[np.int64],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = written(built(factory, vectors, row_ids), vectors, tmp_path)
    rng = np.random.default_rng(6)
    lowered, chosen = rng.uniform(0, 0.2, ROWS), rng.random(ROWS) < 0.3
    if held:
        index.lower(lowered)
    queries = np.ascontiguousarray(vectors[::50], np.float32)
    left = np.where(chosen, queries @ vectors.astype(np.float32).T - lowered, -9)
    right = row_ids[np.argsort(-left, axis=1)[:, :10]]
    selection = index.select(row_ids[chosen])
    for scores_all, least in ((True, 1.0), (False, 0.95)):
        if not scores_all and selection.per_list is None:
            continue
        forced(monkeypatch, scores_all=scores_all)
        effort = Effort(nprobe=16, k_factor=8)
        found = index.neighbours_among(queries, 10, selection, effort=effort, lowered=lowered).row_ids
        assert np.isin(found, row_ids[chosen]).all()
        assert np.mean([np.isin(line, hit).mean() for line, hit in zip(right, found, strict=True)]) >= least


def test_what_costs_less_is_known_before() -> None:
    of_index = {"rows": 1_000_000, "lists": 1024, "nprobe": 64, "code_bytes": 128, "candidates": 400}
    ways = [exact_is_cheaper(round(share * 1e6), queries=1, **of_index) for share in (1.0, 0.5, 0.1, 0.001, 1e-6, 0.0)]
    assert ways == [False, False, False, True, True, True]
    # Where many ask at once, reading the rows is shared among them.
    assert not exact_is_cheaper(20_000, queries=1, **of_index)
    assert exact_is_cheaper(20_000, queries=64, **of_index)


def test_an_index_is_read_by_one_thread_and_searched_by_as_many_as_before(
    saved: tuple[Path, IndexEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    import faiss

    used: list[int] = []
    read_index = faiss.read_index

    def watched(*arguments: Any) -> Any:
        used.append(faiss.omp_get_max_threads())
        return read_index(*arguments)

    monkeypatch.setattr(faiss, "read_index", watched)
    folder, entry = saved
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        open_index(folder, fingerprint=FINGERPRINT, dim=DIM, entry=entry)
        assert (used, faiss.omp_get_max_threads()) == ([1], 3)
    finally:
        faiss.omp_set_num_threads(before)
