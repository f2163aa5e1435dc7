"""Filters: the best of what an SQL expression admits, exactly, and nothing but an expression."""

import os
import random
import re
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from mmsearch.embedding import embed
from mmsearch.errors import FilterError, MmsearchWarning, QueryError
from mmsearch.filter_process import BoundedFilter, FilterProcesses
from mmsearch.filters import RowFilter
from mmsearch.gallery import Gallery, tables
from mmsearch.indexing import index
from mmsearch.names import composed_column
from mmsearch.search import filtering
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.query import Query, TextPart
from mmsearch.search.retrieval import EXACT, SearchOptions
from tests.conftest import Command
from tests.fakes import COLOURS, FakeEncoder
from tests.galleries import contents

WORDS = ("trips", "more", "Summer", "100%", "a_b", "été", "it's")


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 pictures of all sizes, half of them dated, in two roots, two runs and three shards, a tenth deleted since;
    with an index, which a filter must not be misled by."""
    chance = random.Random(5)
    folder = tmp_path_factory.mktemp("filters")
    for number in range(240):
        root = folder / ("one" if number % 3 else "two")
        file = root / chance.choice(WORDS) / chance.choice(WORDS) / f"{chance.choice(WORDS)} {number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        size = chance.randint(1, 60), chance.randint(1, 60)
        picture = Image.new("RGB", size, COLOURS[chance.choice(list(COLOURS))])
        picture.putpixel((0, 0), (number, 0, 0))
        exif = Image.Exif()
        if number % 2:
            taken = datetime(2019, 1, 1) + timedelta(hours=chance.randint(0, 50_000))
            exif.get_ifd(0x8769)[0x9003] = taken.strftime("%Y:%m:%d %H:%M:%S")
        picture.save(file, exif=exif)
    fake = FakeEncoder()
    embed([folder / "one"], gallery=folder / "g", encoder=fake)
    index(folder / "g")
    embed([folder / "two"], gallery=folder / "g", encoder=fake)
    for number, file in enumerate(sorted(folder.glob("*/*/*/*.jpg"))):
        if number % 10 == 0:
            file.unlink()
    embed([folder / "one", folder / "two"], gallery=folder / "g", encoder=fake)
    return folder / "g"


@pytest.fixture(scope="module")
def opened(gallery: Path) -> OpenGallery:
    return open_gallery(gallery, encoder=FakeEncoder())


Row = dict[str, Any]
Truth = bool | None


@dataclass(frozen=True)
class Expression:
    """SQL, and what it means, written without SQL. None is neither true nor false."""

    sql: str
    holds: Callable[[Row], Truth]


def like(text: str, pattern: str) -> bool:
    """SQL's LIKE, by recursion: % is any text, _ any character."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(like(text[start:], pattern[1:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in ("_", text[0]) and like(text[1:], pattern[1:])


COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def some_atom(chance: random.Random) -> Expression:
    kind = chance.randrange(8)
    sign = chance.choice(list(COMPARED))
    compare = COMPARED[sign]
    number = chance.choice(["width", "HEIGHT", "bytes", "row_id", "root_id"])
    column = number.lower()
    limit = chance.choice([0, 1, 10, 30, 60, 120, 700, 1000])
    if kind == 0:
        return Expression(f"{number} {sign} {limit}", lambda row: compare(row[column], limit))
    if kind == 1:
        return Expression(f"width {sign} height", lambda row: compare(row["width"], row["height"]))
    if kind == 2:
        other = limit + chance.choice([5, 40, -3])
        return Expression(f"{number} BETWEEN {limit} AND {other}", lambda row: limit <= row[column] <= other)
    if kind == 3:
        pattern = chance.choice(["%", "trips/%", "%1_.jpg", "%é%", "%a_b%", "%/More/%", "_____/%", "%5%"])
        return Expression(f"path LIKE '{pattern}'", lambda row: like(row["path"], pattern))
    if kind == 4:
        names = chance.sample(["trips", "it's", "été", "nowhere"], 2)
        quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
        return Expression(f"split_part(path, '/', 1) in ({quoted})", lambda row: row["path"].split("/")[0] in names)
    if kind == 5:
        day = datetime(2019, 1, 1) + timedelta(days=chance.randint(0, 2100))
        return Expression(
            f"taken_at {sign} '{day:%Y-%m-%d}'",
            lambda row: None if row["taken_at"] is None else compare(row["taken_at"], day),
        )
    if kind == 6:
        year = chance.randint(2018, 2025)
        return Expression(
            f"year(taken_at) {sign} {year}",
            lambda row: None if row["taken_at"] is None else compare(row["taken_at"].year, year),
        )
    nothing = chance.choice(["taken_at", "etag", "path_bytes", "path"])
    return Expression(f"{nothing} IS NULL", lambda row: row[nothing] is None)


def some_expression(chance: random.Random, depth: int) -> Expression:
    """A random expression; NOT, AND and OR by the three-valued logic of SQL."""
    kind = chance.randrange(4) if depth else 0
    if kind == 0:
        return some_atom(chance)
    left, right = some_expression(chance, depth - 1), some_expression(chance, depth - 1)
    if kind == 1:
        return Expression(f"NOT ({left.sql})", lambda row: None if left.holds(row) is None else not left.holds(row))

    def decided(row: Row, by: bool) -> Truth:
        values = {left.holds(row), right.holds(row)}
        return by if by in values else None if None in values else not by

    if kind == 2:
        return Expression(f"({left.sql}) AND ({right.sql})", lambda row: decided(row, False))
    return Expression(f"({left.sql}) or ({right.sql})", lambda row: decided(row, True))


def test_the_hits_are_the_best_of_what_is_admitted_for_200_random_expressions(
    gallery: Path, opened: OpenGallery
) -> None:
    chance = random.Random(11)
    rows = [(metadata, vector) for metadata, vector in contents(gallery).values()]
    ids = np.array([row_id for row_id, *_ in Gallery.open(gallery).image_names()])
    order = {(root, name): row_id for row_id, root, name in Gallery.open(gallery).image_names()}
    rows = [({**row, "row_id": order[row["root_id"], row["path"]]}, vector) for row, vector in rows]
    assert len(rows) == len(ids) == 216
    sizes = set()
    for _ in range(200):
        expression = some_expression(chance, depth=chance.randint(0, 3))
        query = FakeEncoder().encode_texts([f"noise {chance.random()}"]).vectors
        k = chance.choice([1, 10, 1000])
        admitted = [(row["row_id"], vector @ query[0]) for row, vector in rows if expression.holds(row) is True]
        best = sorted(admitted, key=lambda pair: (-pair[1], pair[0]))[:k]
        found = opened.search(query, k=k, where=expression.sql)
        assert found.row_ids[0].tolist() == [row_id for row_id, _ in best], expression.sql
        np.testing.assert_allclose(found.scores[0], [score for _, score in best], atol=1e-12)
        sizes.add(len(admitted))
    assert {0, 216} < sizes  # expressions that admit nothing, everything, and
    assert len(sizes) > 50  # much in between


def test_only_what_is_needed_is_read(opened: OpenGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every row the columns of the expression, and the vectors of those that it admits."""
    scanned: list[Sequence[str]] = []
    fetched: list[int] = []
    scan, read_vectors = tables.scan, tables.read_vectors

    def spy_scan(store: Any, table: Any, shard: Any, columns: Sequence[str], expected: Any) -> Any:
        scanned.append(columns)
        return scan(store, table, shard, columns, expected)

    def spy_read(store: Any, table: Any, shard: Any, row_ids: Any, expected: Any) -> Any:
        fetched.extend(row_ids.tolist())
        return read_vectors(store, table, shard, row_ids, expected)

    monkeypatch.setattr(tables, "scan", spy_scan)
    monkeypatch.setattr(tables, "read_vectors", spy_read)
    query = FakeEncoder().encode_texts(["red"]).vectors
    opened.search(query, k=3, where="Row_ID in (17, 18, 200) and width > 0", options=EXACT)
    assert scanned
    assert all(columns == ["row_id", "width"] for columns in scanned)
    assert set(fetched) <= {17, 18, 200}
    assert len(fetched) in (2, 3)
    # The index has the vectors of its rows; others alone are read.
    fetched.clear()
    opened.search(query, k=3, where="Row_ID in (17, 18, 200) and width > 1")
    entry = opened.gallery.index_for("images")
    assert entry is not None
    assert set(fetched) <= {17, 18, 200} - {row for low, high in entry.covers for row in range(low, high)}


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("widht > 3", "no column widht"),
        ("images.width > 3", "no column images.width"),
        ("embedding IS NULL", "no column embedding"),
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("width >", "syntax error"),
        ("path = 'a", "unterminated"),
        ("width", "not true or false"),
        ("path", "not true or false"),
        ("NULL", "not true or false"),
        ("width > 3 as x", "'x' does not belong"),
        ("width, height", "must be one expression"),
        ("width > 3; DROP TABLE rows", "must be one expression"),
        ("width > 3; SELECT 1", "must be one expression"),
        ("1=1) UNION (SELECT 1", "syntax error"),
        ("true FROM read_csv('/etc/passwd')", "must be one expression"),
        ("true FROM '/etc/passwd'", "must be one expression"),
        ("DISTINCT width > 3", "must be one expression"),
        ("width > 3 ORDER BY 1", "must be one expression"),
        ("width > 3 LIMIT 1", "must be one expression"),
        ("width > 3 GROUP BY 1", "must be one expression"),
        ("true WHERE true", "must be one expression"),
        ("width > (SELECT max(width) FROM rows)", "a subquery"),
        ("path IN (SELECT content FROM read_text('/etc/passwd'))", "a subquery"),
        ("EXISTS (FROM duckdb_settings())", "a subquery"),
        ("max(width) > 3", "aggregates"),
        ("row_number() over () < 3", "a window function"),
        ("width > ?", "a parameter"),
        ("*", "a star"),
        ("columns('w.*') > 3", "a star"),
        ("read_text('/etc/passwd') IS NULL", "table function"),
        ("nosuchfunction(path)", "nosuchfunction does not exist"),
        ("regexp_matches(path, '(')", "missing )"),
        ("taken_at > 'yesterday'", "timestamp field"),
        ("repeat(path, 1000000000) = 'x'", "string"),
        ("NOT " * 3000 + "true", "depth"),
        ("width > 3\0", "cannot be used"),
    ],
)
def test_what_is_no_expression_over_a_row_is_refused(opened: OpenGallery, where: str, reason: str) -> None:
    with pytest.raises(QueryError) as caught:
        opened.ask(Query([TextPart("red")], where=where))
    message = str(caught.value)
    assert reason in message
    assert message.endswith(
        "Columns: row_id (integer), root_id (integer), path (text), path_bytes (blob), bytes (integer), "
        "mtime_ns (integer), etag (text), content_hash (blob), width (integer), height (integer), "
        "taken_at (timestamp), damaged (true or false), start_s (number), end_s (number), page (integer), "
        "box (list of numbers), taken_from (text), utc_offset (integer), camera (text), lens (text), lat (number), "
        "lon (number), city (text), country (text), title (text), keywords (list of texts), rating (integer), "
        "files (list of texts), files_state (blob)"
    )


def test_a_filter_reaches_neither_files_nor_the_network_nor_its_settings() -> None:
    """Even without the look at the expression: the connection itself is shut."""
    import duckdb

    schema = tables.schema("images", 4, "float16")
    connection = RowFilter("width > 3", list(schema)[:-1])._connection
    for statement in (
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "COPY (SELECT 1) TO '/tmp/never.csv'",
        "ATTACH '/tmp/never.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(statement).fetchall()


@pytest.mark.parametrize("where", ["width > 3 -- and nothing else", "width > 3 /* so */", "true", "(((width) > 3))"])
def test_what_is_one_expression_is_taken(opened: OpenGallery, where: str) -> None:
    assert len(opened.ask(Query([TextPart("red")], where=where)).hits) == 10


def test_a_filter_is_checked_before_a_model_is_loaded(gallery: Path) -> None:
    """A typing mistake should not cost seconds: the encoder named here does not exist."""
    with pytest.raises(QueryError, match="no column"):
        open_gallery(gallery, encoder="local-dir:/nowhere").ask(Query([TextPart("red")], where="colour = 'red'"))


def test_a_filter_that_admits_nothing_says_so(opened: OpenGallery) -> None:
    with pytest.warns(MmsearchWarning, match="admits none of the 216 images: width > 9000"):
        assert not opened.ask(Query([TextPart("red")], where="width > 9000")).hits


def test_where_all_that_is_admitted_is_there_no_more_is_said_to_come(opened: OpenGallery) -> None:
    admitted = len(opened.ask(Query([TextPart("red")], k=500, where="width < 30")).hits)
    assert admitted > 20
    for exact in (False, True):
        for offset, more in ((admitted - 11, True), (admitted - 10, False)):
            query = Query([TextPart("red")], k=10, offset=offset, where="width < 30")
            answer = opened.ask(query, options=SearchOptions(exact=exact))
            assert len(answer.hits) == 10
            assert answer.more == more


def test_captions_have_columns_of_their_own(photos: Path, mmsearch: Command) -> None:
    captions = photos.parent / "c.csv"
    captions.write_text("image,caption\nred.png,all red\nblue.png,all blue\n,a red thing\n")
    assert mmsearch("embed", photos, "--captions", captions, "--model", "fake", "-g", photos.parent / "g").code == 0
    ask = ("query", "red", "--in", "captions", "-g", photos.parent / "g", "--format", "csv", "--where")
    done = mmsearch(*ask, "caption like '%red%' and path is null")
    assert done.err == ""
    rank, _, *rest = done.out.splitlines()[1].split(",")
    assert (rank, rest) == ("1", ["2", "a red thing", "", "", "false", "", "", ""])
    done = mmsearch(*ask, "width > 3")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "mmsearch: error: the filter 'width > 3' cannot be used: there is no column width. Columns: row_id (integer), "
        "caption (text), root_id (integer), path (text), path_bytes (blob), source (text), ordinal (integer), "
        "truncated (true or false), guessed_by (text), content_hash (blob)\n"
    )
    done = mmsearch(*ask, "ordinal > 3")
    assert (done.code, done.out) == (0, "rank,score,row_id,caption,path,file,gone,path_bytes,file_bytes,guessed_by\n")
    assert done.err == "mmsearch: warning: the filter admits none of the 3 captions: ordinal > 3\n"


# --- filters of strangers ---------------------------------------------------------------------------------------------

COLUMNS = [pa.field("row_id", pa.int64()), pa.field("path", pa.string()), pa.field("path_bytes", pa.binary())]


@pytest.fixture
def processes() -> Iterator[FilterProcesses]:
    found = FilterProcesses(1, seconds=20)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("regexp_matches(path, path || row_id || '(.{0,500}){0,2}')", "the pattern of regexp_matches is not one text"),
        ("regexp_full_match(path, path)", "the pattern of regexp_full_match"),
        ("path SIMILAR TO path", "the pattern of regexp_full_match"),
        ("path LIKE '%' || path", "the pattern of ~~"),
        ("path NOT ILIKE path", "the pattern of !~~*"),
        ("path GLOB path", "the pattern of ~~~"),
        ("path LIKE 'x' ESCAPE path", "the pattern of like_escape"),
        ("strftime(now(), path) = 'x'", "the pattern of strftime"),
        ("hex(hex(path)) = 'x'", "the function hex"),
        ("repeat(path, 1000) = 'x'", "the function repeat"),
        ("replace(path, 'a', path) = 'x'", "the function replace"),
        ("lpad(path, 1000000000, 'x') = 'x'", "the function lpad"),
        ("path_bytes::BIT::VARCHAR = 'x'", "the type BIT"),
        ("path::BLOB::VARCHAR = 'x'", "the type BLOB"),
        ("[path]::VARCHAR = 'x'", "list"),
        ("path::VARCHAR[]::VARCHAR = 'x'", "the type list"),
        ("{'a': path}::VARCHAR = 'x'", "struct"),
    ],
)
def test_a_stranger_gets_nothing_whose_work_or_length_grows(where: str, reason: str) -> None:
    with pytest.raises(FilterError, match=re.escape(reason)):
        RowFilter(where, COLUMNS, bounded=True)


def test_a_duckdb_that_tells_too_little_bounds_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duckdb, "__version__", "1.5.6")
    RowFilter("path = 'x'", COLUMNS)  # one's own
    with pytest.raises(FilterError, match=r"duckdb 1\.5\.6 does not tell enough .*pip install 'duckdb>=2'"):
        RowFilter("path = 'x'", COLUMNS, bounded=True)


def test_a_filter_in_a_process_admits_what_it_admits_here(opened: OpenGallery, gallery: Path) -> None:
    chance = random.Random(12)
    strangers = open_gallery(gallery, encoder=FakeEncoder(), filter_seconds=20)
    query = FakeEncoder().encode_texts(["red"]).vectors
    try:
        for _ in range(40):
            where = some_expression(chance, depth=2).sql
            own, other = (each.search(query, k=1_000, where=where).row_ids for each in (opened, strangers))
            assert own.tolist() == other.tolist(), where
        with pytest.raises(FilterError, match=r"no column widht.*Columns: row_id \(integer\)"):
            strangers.search(query, where="widht > 3")
    finally:
        strangers.close()


def rows(count: int) -> pa.Table:
    return pa.table({"row_id": np.arange(count), "path": [f"{number}.jpg" for number in range(count)]})


def test_a_filter_that_takes_too_long_is_killed_and_the_next_is_answered(processes: FilterProcesses) -> None:
    admits = BoundedFilter("path LIKE '1%'", COLUMNS, processes)
    assert admits.in_time()(rows(20)).tolist() == [1, *range(10, 20)]
    (stuck,) = processes._running
    os.kill(stuck._process.pid, signal.SIGSTOP)
    processes.seconds = 0.3
    with pytest.raises(FilterError, match=r"took more than 0\.3 s"):
        admits.in_time()(rows(20))
    assert stuck.has_ended
    processes.seconds = 20
    assert admits.in_time()(rows(3)).tolist() == [1]
    assert len(processes._running) == 1


def test_a_process_that_is_gone_is_replaced(processes: FilterProcesses) -> None:
    admits = BoundedFilter("path LIKE '1%'", COLUMNS, processes)
    (gone,) = processes._running
    gone._process.kill()
    gone._process.wait()
    assert admits.in_time()(rows(3)).tolist() == [1]


def test_the_memory_of_such_a_process_is_limited() -> None:
    code = "from mmsearch import filter_process as f; f._limit_memory(); bytearray(f._MEMORY_BYTES)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr


def test_processes_end_with_who_started_them(processes: FilterProcesses) -> None:
    BoundedFilter("path LIKE '1%'", COLUMNS, processes)
    (process,) = processes._running
    assert process._process.stdin is not None
    process._process.stdin.close()
    assert process._process.wait(timeout=60) == 0


def test_what_a_filter_admits_is_asked_once_a_minute(opened: OpenGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may change by itself, as with now(); but whoever pages through its hits does not wait for it each time."""
    asked: list[int] = []
    row_ids = RowFilter.row_ids

    def counting(self: RowFilter, rows: pa.Table) -> Any:
        asked.append(rows.num_rows)
        return row_ids(self, rows)

    monkeypatch.setattr(RowFilter, "row_ids", counting)
    query, where = FakeEncoder().encode_texts(["red"]).vectors, "width > 12"
    first = opened.search(query, k=5, where=where)
    once = len(asked)
    assert once
    assert (opened.search(query, k=5, where=where).row_ids == first.row_ids).all()
    assert len(asked) == once
    monkeypatch.setattr(filtering, "_KEPT_SECONDS", 0.0)
    opened.search(query, k=5, where=where)
    assert len(asked) == 2 * once - 1  # when it is opened it is asked of no rows


def test_a_filter_takes_many_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs a millisecond a piece, and a scan's pieces are small; but rows of long texts are not all joined."""
    pieces = [pa.table({"row_id": [n], "text": ["x" * 100]}) for n in range(10)]
    assert [rows.num_rows for rows in filtering._in_large_pieces(iter(pieces))] == [10]
    monkeypatch.setattr(filtering, "_PIECE_ROWS", 4)
    assert [rows.num_rows for rows in filtering._in_large_pieces(iter(pieces))] == [4, 4, 2]
    monkeypatch.setattr(filtering, "_PIECE_ROWS", 100)
    monkeypatch.setattr(filtering, "_PIECE_BYTES", 300)
    assert [rows.num_rows for rows in filtering._in_large_pieces(iter(pieces))] == [3, 3, 3, 1]
    assert [*filtering._in_large_pieces(iter([]))] == []


def test_a_filter_loads_no_more_than_duckdb() -> None:
    """Arrow's functions take a tenth of a second to load, and bring pandas along, where there is one, in a third."""
    source = """
import sys
import unicodedata
import pyarrow as pa
from mmsearch.filters import RowFilter
schema = pa.schema([("row_id", pa.int64()), ("path", pa.string()), ("width", pa.int32())])
path, width = pa.py_buffer(b"abc"), pa.py_buffer((7).to_bytes(4, sys.byteorder))
columns = [
    pa.Array.from_buffers(pa.int64(), 1, [None, pa.py_buffer(bytes(8))]),
    pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(bytes(4) + (3).to_bytes(4, sys.byteorder)), path]),
    pa.Array.from_buffers(pa.int32(), 1, [None, width]),
]
print(RowFilter("width > 3 and path like 'a%'", schema).row_ids(pa.Table.from_arrays(columns, schema=schema)).tolist())
print([name for name in ("pandas", "pyarrow.compute") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout == "[0]\n[]\n"


def test_text_of_any_form_is_composed_in_columns_cut_from_others() -> None:
    texts = pa.array(["plain", "cafe\u0301", None, "ascii", ""])
    for cut in (texts, texts.slice(1), texts.slice(2), texts.slice(3, 1), texts.slice(4), texts.slice(5)):
        column = pa.chunked_array([cut, texts.slice(3)])
        right = [None if text is None else unicodedata.normalize("NFC", text) for text in column.to_pylist()]
        assert composed_column(column).to_pylist() == right


def test_with_an_index_as_without(opened: OpenGallery) -> None:
    """Also where some of what is admitted came after the index, and some of it is gone."""
    query = FakeEncoder().encode_texts(["red", "blue"]).vectors
    for where in ("width > 30", "row_id % 3 = 0", "row_id < 0", "path like '%a%'"):
        found, right = (opened.search(query, k=20, where=where, options=how) for how in (SearchOptions(), EXACT))
        assert found.row_ids.tolist() == right.row_ids.tolist()
        assert found.searched == right.searched


def test_the_plan_is_said(gallery: Path, mmsearch: Command) -> None:
    for more, said in (
        ((), "plan: images: asked are"),
        (("--exact",), "plan: images: all 2"),
        (("--where", "width > 30"), "plan: images: the filter admits 96 of 216; these are scored"),
        (("--where", "width > 30", "--exact"), "plan: images: the filter is asked of all"),
    ):
        assert said in mmsearch("query", "red", "-g", gallery, "--plan", *more).err
    assert "plan:" not in mmsearch("query", "red", "-g", gallery).err
    assert "--plan" in mmsearch("query", "red", "--server", "http://127.0.0.1:9", "--plan").err
