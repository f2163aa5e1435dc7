"""The plan for sizes that were never run: every figure against the same worked by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from mmsearch.indexing.planning import plan_index
from scripts.plan_capacity import Fleet, Given, Rates, figures, from_embed, from_query, main, number, query_growth

RATES = Rates(
    encode=Given(1000),
    decode=Given(100),
    encode_core=Given(10),
    together=Given(0.5),
    efficiency=Given(0.9),
    picture=Given(500_000),
    metadata=Given(76),
    known=Given(1024),
    look=Given(1e-5),
    scan=Given(2e-6),
    query=Given(2.0),
    build=Given(1e10),
)
FLEET = Fleet(nodes=(1, 11), gpus=8, cores=100, dim=512, gallery_rows=100_000_000, memory=64 << 30)


def of(images: int, fleet: Fleet = FLEET) -> dict[str, tuple[Any, str]]:
    """Name -> (value, text); Any since numbers are compared with `pytest.approx`, which is none."""
    return {figure.name: (figure.value, figure.text) for figure in figures(images, RATES, fleet)}


def test_ten_million_by_hand() -> None:
    found = of(10_000_000)
    assert found["GPU-hours to encode"] == (pytest.approx(2.7778, rel=1e-4), "2.8")  # 10,000,000 / 1,000 / 3,600
    assert found["core-hours to read, decode and resize"][0] == pytest.approx(27.778, rel=1e-4)
    assert found["core-hours with no GPU at all"][0] == pytest.approx(611.11, rel=1e-4)  # * (1/100 + 1/10) / .5
    # 8 GPUs encode 8,000 a second, 100 cores decode 10,000; half of the smaller.
    assert found["images/s a node"] == (4000, "4,000 (limit: GPUs)")
    assert found["wall time, 1 node"] == (2500, "41.7 min")
    assert found["wall time, 11 nodes"] == (250, "4.2 min")  # 1 + 10 * .9 = 10 times as fast
    assert found["read from the source, a node"] == (2e9, "2.0 GB/s")
    assert found["pictures"] == (5e12, "5.0 TB")
    assert found["galleries on disk"] == (1.1e10, "11.0 GB")  # 1,024 + 76 bytes a row
    assert found["galleries"] == (1, "1 of 10,000,000")
    assert found["memory of a run, a gallery"] == (1.024e10, "9.5 GiB")
    assert found["sync with nothing new, a gallery"] == (pytest.approx(100), "100.0 s")
    assert found["exact query, a gallery"] == (pytest.approx(20), "20.0 s")
    # sqrt(10) times as many rows are looked at, and twice as many lists: 2 ms * 3.1623 * 2.
    assert found["query through the index, a gallery"] == (pytest.approx(0.012649, rel=1e-4), "12.6 ms")
    index = plan_index(10_000_000, 512, memory=64 << 30)
    assert found["index: memory to search, a gallery"][0] == index.search_memory
    assert found["index: on disk, all"][0] == index.disk
    # 10 rounds of k-means over 64 * 4,096 rows, each row to its list, and 1.5 * 1,500 questions: 2 * 512 each.
    by_hand = 10 * 1024 * 262_144 * 4096 + 1024 * 1e7 * 4096 + 1024 * 1e7 * 1500 * 1.5
    assert found["index: time to build, a gallery"][0] == pytest.approx(by_hand / 1e10, rel=1e-6)


def test_more_than_a_gallery_holds_is_several() -> None:
    found, one = of(10_000_000_000), of(100_000_000)
    assert found["galleries"] == (100, "100 of 100,000,000")
    assert found["GPU-hours to encode"][0] == 100 * one["GPU-hours to encode"][0]
    assert found["index: on disk, all"][0] == 100 * one["index: on disk, all"][0]
    for name in ("memory of a run, a gallery", "exact query, a gallery", "index: memory to build, a gallery"):
        assert found[name] == one[name]
    decoding = of(10_000_000, Fleet(gpus=8, cores=20))["images/s a node"]
    assert decoding == (1000, "1,000 (limit: cores)")


def test_rates_come_from_the_benches() -> None:
    facts = {"processor": "AMD EPYC", "cores": 2, "command": "python scripts/bench_embed.py --json e.json"}
    embed = {
        **facts,
        "device": "cpu",
        "kilobytes": 339.0,
        "images_per_s": {"decode": 356.0, "encode": 580.0},
        "ratios": {"mmsearch / bound": 0.88},
    }
    rates = from_embed(Rates(), [embed])
    assert (rates.decode.value, rates.encode_core.value, rates.picture.value) == (178.0, 290.0, 339_000.0)
    assert rates.decode.source == "measured: AMD EPYC, 2 cores; python scripts/bench_embed.py --json e.json"
    assert rates.encode.source.startswith("assumed")
    on_gpus = {**embed, "device": "cuda: 4 x NVIDIA H100", "images_per_s": {"decode": 356.0, "encode": 8000.0}}
    rates = from_embed(Rates(), [on_gpus])
    assert rates.encode == Given(2000.0, "measured: cuda: 4 x NVIDIA H100; python scripts/bench_embed.py --json e.json")
    assert rates.encode_core.source.startswith("assumed")
    query = {
        **facts,
        "rows": 100_000,
        "large_rows": 1_100_000,
        "text": {"mmsearch_s": 0.5},
        "large": {"mmsearch_s": 2.0},
    }
    assert from_query(Rates(), query).scan.value == pytest.approx(1.5e-6)
    assert query_growth(1_000_000) == 1


def test_the_table_says_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ray = {"processor": "AMD EPYC", "cores": 2, "command": "python scripts/bench_ray.py"}
    (tmp_path / "ray.json").write_text(json.dumps({**ray, "ratios": {"2 workers x 1 / 1 worker x 1": 1.84}}))
    main(["10M", "1B", "--ray", str(tmp_path / "ray.json"), "--encode", "2000", "--nodes", "1", "4"])
    out = capsys.readouterr().out
    assert "| images | 10 M | 1 B | formula |" in out
    assert "| GPU-hours to encode | 1.4 | 139 | images / encode / 3600 |" in out
    assert "| `efficiency` | 0.84 |" in out
    assert "measured: AMD EPYC, 2 cores; python scripts/bench_ray.py |" in out
    assert "| `encode` | 2,000 | images/s that a GPU encodes | assumed: --encode |" in out
    assert out.count("| assumed") + out.count("measured:") == 13


@pytest.mark.parametrize(("text", "value"), [("10M", 10_000_000), ("1.5B", 1_500_000_000), ("250k", 250_000), ("7", 7)])
def test_sizes_as_people_write_them(text: str, value: int) -> None:
    assert number(text) == value
