"""What the server counts where nothing is asked: months, facets and folders, of all pictures or of some."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from mmsearch.gallery import open_writer
from mmsearch.identity import EncoderIdentity
from mmsearch.items import ImageRow
from mmsearch.search.counting import FACETS
from tests.servers import Running, running

FILES = (
    ("2024/05/a.jpg", datetime(2024, 5, 31, 23, 59, 59)),
    ("2024/05/b.JPEG", datetime(2024, 5, 1)),
    ("2024/06/c.heic", datetime(2024, 6, 1)),
    ("2023/it's/d.cr2", datetime(2023, 12, 31, 12)),
    ("2023/film.mp4!/t=12.48", datetime(2023, 12, 31, 12)),
    ("2023.zip!/in/e.png", None),
    ("f", datetime(1969, 7, 20)),
    ("été/g.jpg", None),
)
ORDER = [2, 0, 1, 3, 4, 6, 5, 7]  # newest first, those of one moment as they came, those without a date last


def image(path: str, taken_at: datetime | None, root: int = 1) -> ImageRow:
    return ImageRow(root, path, None, None, None, None, None, 4, 3, taken_at)


def write(folder: Path, rows: list[ImageRow]) -> Path:
    with open_writer(folder, command="test") as writer:
        writer.set_encoder(EncoderIdentity("fake", "declared:fake-4", 4))
        writer.append("images", rows, np.eye(4, dtype=np.float32)[np.arange(len(rows)) % 4])
        writer.commit()
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("counted")
    with running(write(folder / "g", [image(*each) for each in FILES])) as found:
        yield found


def test_months_are_counted_and_their_pictures_come_in_their_order(server: Running) -> None:
    answer = server.get("/api/timeline").json()
    months = [(each["month"], each["count"]) for each in answer["months"]]
    assert months == [("2024-06", 1), ("2024-05", 2), ("2023-12", 2), ("1969-07", 1), (None, 2)]
    paths = [path for path, _ in FILES]
    got = server.get("/api/timeline/pictures?n=500").json()
    assert [hit["path"] for hit in got["hits"]] == [paths[place] for place in ORDER]
    assert [(hit["rank"], hit["score"]) for hit in got["hits"]] == [(rank, None) for rank in range(1, 9)]
    assert got["version"] == answer["version"]
    pieces = [server.get(f"/api/timeline/pictures?offset={offset}&n=3").json()["hits"] for offset in (0, 3, 6, 9)]
    assert [hit for piece in pieces for hit in piece] == got["hits"]
    ids = [hit["row_id"] for hit in got["hits"]]
    assert server.get("/api/timeline/rows").json()["row_ids"] == ids
    assert server.get("/api/timeline/rows?offset=2&n=3").json()["row_ids"] == ids[2:5]


def test_a_filter_leaves_its_months(server: Running) -> None:
    where = {"where": "year(taken_at) = 2023 or path like '%.jpg'"}
    months = server.get("/api/timeline", params=where).json()["months"]
    assert [(each["month"], each["count"]) for each in months] == [("2024-05", 1), ("2023-12", 2), (None, 1)]
    hits = server.get("/api/timeline/pictures", params=where).json()["hits"]
    assert [hit["path"] for hit in hits] == ["2024/05/a.jpg", "2023/it's/d.cr2", "2023/film.mp4!/t=12.48", "été/g.jpg"]
    nothing = {"where": "width > 10"}
    assert server.get("/api/timeline", params=nothing).json()["months"] == []
    assert server.get("/api/timeline/pictures", params=nothing).json()["hits"] == []
    refused = server.get("/api/timeline", params={"where": "nonsense"})
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_filter")


def counts(server: Running, facet: str, where: str | None = None) -> list[tuple[str, int]]:
    answer = server.get(f"/api/facets/{facet}", params={} if where is None else {"where": where}).json()
    assert answer["others"] == 0
    return [(each["value"], each["count"]) for each in answer["values"]]


def test_facets_count_what_is_there(server: Running) -> None:
    assert counts(server, "year") == [("2024", 3), ("2023", 2), ("1969", 1)]
    assert counts(server, "year", "path like '%.jp%'") == [("2024", 1)]
    suffixes = [("jpg", 2), ("cr2", 1), ("heic", 1), ("jpeg", 1), ("mp4", 1), ("png", 1)]
    assert counts(server, "suffix") == suffixes
    for facet in FACETS:
        assert counts(server, facet, "width > 10") == []
    unknown = server.get("/api/facets/colour")
    assert unknown.status_code == 404
    assert "there is no facet 'colour'; there are year, suffix" in unknown.json()["error"]


def test_folders_are_counted_with_all_that_lies_below_them(server: Running) -> None:
    def folders(**asked: object) -> list[tuple[int, str, int]]:
        answer = server.get("/api/folders", params=asked).json()
        return [(each["root"], each["path"], each["count"]) for each in answer["folders"]]

    assert folders() == [(1, "", 8)]
    top = [(1, "2023", 2), (1, "2023.zip!", 1), (1, "2024", 3), (1, "été", 1)]
    assert folders(root=1) == top
    assert folders(root=1, path="2024") == [(1, "2024/05", 2), (1, "2024/06", 1)]
    assert folders(root=1, path="2024", where="path like '%.heic'") == [(1, "2024/06", 1)]
    assert folders(root=1, path="2023") == [(1, "2023/it's", 1)]
    assert folders(root=1, path="2024/05") == folders(root=7) == folders(root=1, path="no") == []


def test_what_is_deleted_is_not_counted_and_a_new_version_is_counted_anew(tmp_path: Path) -> None:
    folder = write(tmp_path / "g", [image(*each) for each in FILES[:3]])
    with running(folder) as server:
        assert len(server.get("/api/timeline").json()["months"]) == 2
        with open_writer(folder, command="test") as writer:
            writer.append("images", [image("h.jpg", datetime(2025, 1, 1))], np.eye(4, dtype=np.float32)[:1])
            writer.delete("images", [server.get("/api/timeline/rows").json()["row_ids"][0]])
            writer.commit()
        answer = server.get("/api/timeline").json()
        assert [(each["month"], each["count"]) for each in answer["months"]] == [("2025-01", 1), ("2024-05", 2)]
        assert answer["version"] == server.get("/api/gallery").json()["version"]


def test_a_large_gallery_is_counted_in_one_pass(tmp_path: Path) -> None:
    """Against counting by hand, over several shards."""
    rng = np.random.default_rng(0)
    first = datetime(1999, 12, 1)
    rows = [
        image(f"{n % 7}/{n:05}.jpg", None if n % 50 == 0 else first + timedelta(hours=int(hours)))
        for n, hours in enumerate(rng.integers(0, 200_000, 3_000))
    ]
    with running(write(tmp_path / "g", rows)) as server:
        expected = Counter(row.taken_at.strftime("%Y-%m") for row in rows if row.taken_at)
        months = server.get("/api/timeline").json()["months"]
        assert months[-1] == {"month": None, "count": 60}
        assert {each["month"]: each["count"] for each in months[:-1]} == expected
        assert [each["month"] for each in months[:-1]] == sorted(expected, reverse=True)
        ids = server.get("/api/timeline/rows").json()["row_ids"]
        dates = [rows[row_id].taken_at or datetime.min for row_id in ids]
        assert dates == sorted(dates, reverse=True)
        assert len(set(ids)) == 3_000
