"""A real Ray cluster of three nodes on this machine, and what can befall it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmsearch.embedding import embed
from mmsearch.gallery import Gallery, find_gallery
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.galleries import assert_equal, contents, skipped
from tests.processes import children

PROJECT = Path(__file__).parents[1]
POSTCARDS = PROJECT / "data" / "postcards" / "images"

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]


class Cluster:
    """Three nodes with a processor each. They live in a process of their own, as those of a cluster do."""

    PROGRAM = """
import os, sys
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
others = [cluster.add_node(num_cpus=1) for _ in range(2)]
cluster.wait_for_nodes()
print("ADDRESS", cluster.address, flush=True)
for line in sys.stdin:
    if line.strip() == "remove":
        cluster.remove_node(others.pop(), allow_graceful=False)
    if line.strip() == "add":
        others.append(cluster.add_node(num_cpus=1))
    print("DONE", flush=True)
cluster.shutdown()
"""

    def __init__(self, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        self.address = self._answer("ADDRESS")

    def _answer(self, word: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(word):
                return line.removeprefix(word).strip()
        raise AssertionError("the cluster ended")

    def change(self, what: str) -> None:
        """ "remove" a node as if its power failed, or "add" one."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        self._answer("DONE")

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    found = Cluster()
    yield found
    found.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The postcards, embedded by this process."""
    gallery = tmp_path_factory.mktemp("whole") / "g"
    command = [sys.executable, "-m", "mmsearch", "embed", str(POSTCARDS), "--model", "demo", "-g", str(gallery)]
    subprocess.run(command, check=True, capture_output=True, cwd=gallery.parent)
    return gallery


def events(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    return (json.loads(line) for line in process.stdout)


def start(cluster: Cluster, gallery: Path, **environment: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "mmsearch",
        "embed",
        POSTCARDS,
        "--model",
        "demo",
        "-g",
        gallery,
        "--format",
        "jsonl",
    ]
    return subprocess.Popen(
        [*map(str, command), "--ray", cluster.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=gallery.parent,
        env=os.environ | environment,
    )


def test_a_node_that_dies(cluster: Cluster, whole: Path, tmp_path: Path) -> None:
    """Its work is done by the others, and what it was doing twice is there once."""
    process = start(cluster, tmp_path / "g")
    report: dict[str, Any] = {}
    removed = False
    for event in events(process):
        if event["event"] == "progress" and event["task"] == "embedding" and event["done"] > 150 and not removed:
            cluster.change("remove")
            removed = True
        report = event
    _, err = process.communicate()
    cluster.change("add")
    assert (process.returncode, removed) == (0, True), err
    assert report["event"] == "report"
    assert (report["images"]["added"], report["device"]) == (1000, "3 workers on Ray, cpu")
    assert "Traceback" not in err
    assert_equal(tmp_path / "g", whole)


OFTEN = """
import sys
from mmsearch.gallery import gallery_writer
from mmsearch.embedding import EmbedOptions, embed
gallery_writer.COMMIT_SECONDS = -1.0
embed([sys.argv[1]], gallery=sys.argv[2], encoder="demo", options=EmbedOptions(ray=sys.argv[3]))
"""


def test_a_study_on_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    """Its pictures are encoded by the workers, and every query has the rank that it has without them."""
    command = [sys.executable, "-m", "mmsearch", "eval", "run", "--model", "demo", "--benchmark", "custom"]
    data = ["--images", POSTCARDS, "--annotations", POSTCARDS.parent / "dataset_postcards.json", "--limit", "40"]
    ranks = []
    for name, chosen in (("here", []), ("there", ["--ray", cluster.address])):
        done = subprocess.run(
            [*map(str, [*command, *data, "--out", tmp_path / name, *chosen])],
            env=os.environ | {"MMSEARCH_CACHE": str(tmp_path / f"cache-{name}")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert ("encoding with demo on a Ray cluster" in done.stderr) == (name == "there")
        (cell,) = (tmp_path / name / "limit-40" / "cells").glob("*.json")
        ranks.append(json.loads(cell.read_text())["ranks"])
    assert ranks[0] == ranks[1]
    assert len(ranks[0]["image_to_text"]) == 40


def test_a_driver_that_is_killed_and_started_again(cluster: Cluster, whole: Path, tmp_path: Path) -> None:
    """What it committed is not embedded again; what its workers were still writing is in nobody's way."""
    driver = subprocess.Popen([sys.executable, "-W", "ignore", "-c", OFTEN, POSTCARDS, tmp_path / "g", cluster.address])
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and driver.poll() is None:
        if find_gallery(tmp_path / "g") and Gallery.open(tmp_path / "g").live_rows("images") >= 100:
            break
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    kept = len(contents(tmp_path / "g"))
    assert 100 <= kept < 1000
    process = start(cluster, tmp_path / "g")
    *_, report = events(process)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert (report["images"]["unchanged"], report["images"]["added"]) == (kept, 1000 - kept)
    assert Gallery.open(tmp_path / "g").manifest.promised == {}
    assert_equal(tmp_path / "g", whole)


class Deadly(FakeEncoder):
    """Ends its process at a picture that is 7 pixels high, as a decoder with a fault in its C code would."""

    def preprocess(self, image: Any) -> Any:
        if image.height == 7:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().preprocess(image)


DEADLY = """
import sys
from mmsearch.embedding import EmbedOptions, embed
from tests.test_ray import Deadly
options = EmbedOptions(ray=sys.argv[3])
embed([sys.argv[1]], gallery=sys.argv[2], encoder=Deadly(), options=options, announce=print)
"""


def test_a_picture_that_ends_its_workers(cluster: Cluster, tmp_path: Path) -> None:
    for place in range(300):
        write_picture(tmp_path / "photos" / f"{place:03d}.png", list(COLOURS)[place % 6], seed=place)
    write_picture(tmp_path / "photos" / "100x.png", "red", size=(9, 7))
    arguments = [tmp_path / "photos", tmp_path / "g", cluster.address]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-W", "ignore", "-c", DEADLY, *map(str, arguments)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "100x.png ended every worker that read it, and is skipped" in done.stdout
    assert skipped(tmp_path / "g") == {("100x.png", "decode", "ended every worker that read it")}
    (tmp_path / "photos" / "100x.png").unlink()
    embed([tmp_path / "photos"], gallery=tmp_path / "local", encoder=FakeEncoder())
    assert contents(tmp_path / "g").keys() == contents(tmp_path / "local").keys()


CONNECT = """
import sys
from mmsearch.errors import ClusterError
from mmsearch.cluster.ray import RayWorkerPool
try:
    print(RayWorkerPool(sys.argv[1], lambda share: None).describe_machines())
except ClusterError as error:
    print(error)
"""


def test_a_cluster_that_asks_for_a_token(tmp_path: Path) -> None:
    """A token is taken from where it was given; without one, the line says what to set."""
    secret = "0123456789abcdef" * 4
    guarded = Cluster(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secret)
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    (tmp_path / "with" / ".ray").mkdir(parents=True)
    (tmp_path / "with" / ".ray" / "auth_token").write_text(secret)

    def said(**environment: str) -> str:
        command = [sys.executable, "-c", CONNECT, guarded.address]
        return subprocess.run(command, env=own | environment, stdout=subprocess.PIPE, text=True, check=True).stdout

    try:
        assert "(1 CPUs, 0 GPUs)" in said(HOME=str(tmp_path / "with"), RAY_AUTH_MODE="token")
        assert "(1 CPUs, 0 GPUs)" in said(HOME=str(tmp_path), RAY_AUTH_TOKEN=secret)
        for more in ({}, {"RAY_AUTH_MODE": "token"}, {"RAY_AUTH_TOKEN": "f" * 64}):
            refused = said(HOME=str(tmp_path), **more)
            assert f"the Ray cluster at {guarded.address} did not let us in" in refused
            assert "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to" in refused
            assert secret not in refused
    finally:
        guarded.close()


def test_a_token_of_another_cluster_is_sent_nowhere(cluster: Cluster, tmp_path: Path) -> None:
    """Ray leaves one in the home of whoever started a cluster: it is nothing to those that ask for none."""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("f" * 64)
    process = start(cluster, tmp_path / "g", HOME=str(tmp_path))
    *_, report = events(process)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert report["images"]["added"] == 1000


def test_the_node_of_this_machine_dies(tmp_path: Path) -> None:
    """Ray ends the command from its own code then: the last line says so, and what to do."""
    command = [sys.executable, "-m", "mmsearch", "embed", str(POSTCARDS), "--ray", "local", "--model", "demo"]
    home = os.environ | {"HOME": str(tmp_path)}  # where Ray leaves a token
    with subprocess.Popen(
        [*command, "-g", str(tmp_path / "g")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=home
    ) as driver:
        assert driver.stderr is not None
        for line in driver.stderr:
            if "started a Ray cluster" in line:
                break
        (raylet,) = [pid for pid in children(driver.pid) if Path(f"/proc/{pid}/comm").read_text().strip() == "raylet"]
        os.kill(raylet, signal.SIGKILL)
        rest = driver.stderr.read()
    assert driver.returncode == 1, rest
    assert "Traceback" not in rest
    assert rest.splitlines()[-1].startswith("mmsearch: error: this process was ended from outside: by Ray"), rest
