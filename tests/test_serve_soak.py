"""Slow trials of the server: ten thousand questions, a tenth of them bad, and a fuzz of its own description."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import httpx2
import pytest

from mmsearch.embedding import embed
from mmsearch.gallery import Gallery
from mmsearch.serve.running import ServeOptions
from tests.fakes import COLOURS, FakeEncoder, write_picture
from tests.models import write_tiny_model
from tests.servers import running

QUERIES = 10_000
WARM = 1_000
CLIENTS = 8
WORDS = [
    "red",
    "green",
    "blue",
    "yellow",
    "white",
    "black",
    "sea",
    "sky",
    "dog",
    "cat",
    "house",
    "tree",
    "old",
    "new",
    "small",
    "large",
]

pytestmark = pytest.mark.soak


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", int, Path]]:
    """A server in a process of its own, with a real model, over a hundred pictures."""
    model = write_tiny_model(tmp_path / "model")
    for number in range(100):
        write_picture(tmp_path / "photos" / f"{number}.png", list(COLOURS)[number % 6], size=(300, 200), seed=number)
    embed([tmp_path / "photos"], gallery=tmp_path / "g", encoder=f"local-dir:{model}")
    command = [sys.executable, "-m", "mmsearch", "serve", "-g", str(tmp_path / "g"), "--port", "0"]
    with (tmp_path / "stderr").open("w") as err:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True)
        try:
            assert process.stdout is not None
            address = process.stdout.readline()
            (port,) = re.findall(r":(\d+)/", address)
            yield process, int(port), tmp_path
        finally:
            process.kill()
            process.communicate()


def resident(process: "subprocess.Popen[str]") -> int:
    """KiB of memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (size,) = re.findall(r"VmRSS:\s+(\d+)", status)
    return int(size)


class Client:
    """Somebody who asks all sorts of things, and behaves badly one time in ten."""

    def __init__(self, port: int, folder: Path, seed: int) -> None:
        self.port, self.folder, self.chance = port, folder, Random(seed)
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False)
        self.rows = [row_id for row_id, _, _ in Gallery.open(folder / "g").image_names()]
        self.good = [self.text, self.text, self.text, self.like, self.filtered, self.many, self.picture]
        self.good += [self.thumbnail, self.original, self.known]
        self.bad = [self.junk_upload, self.huge_text, self.unknown_row, self.unknown_picture, self.no_json]
        self.bad += [self.huge_body, self.bad_filter, self.leave_early, self.leave_in_the_middle]

    def ask(self) -> int:
        """A status; 0 for one who left."""
        return self.chance.choice(self.bad if self.chance.random() < 0.1 else self.good)()

    def words(self) -> str:
        return " ".join(self.chance.choices(WORDS, k=self.chance.randint(1, 12)))

    def query(self, *parts: object, **more: object) -> int:
        return self.http.post("/api/query", json={"parts": [*parts], **more}).status_code

    def text(self) -> int:
        return self.query({"text": self.words()}, k=self.chance.choice([1, 10, 60, 100]))

    def like(self) -> int:
        return self.query({"like": self.chance.choice(self.rows)}, {"text": self.words(), "weight": -0.5}, offset=5)

    def filtered(self) -> int:
        return self.query({"text": self.words()}, where=f"width > {self.chance.randint(0, 400)}", distinct=True)

    def many(self) -> int:
        queries = [{"parts": [{"text": self.words()}], "k": 5} for _ in range(8)]
        return self.http.post("/api/queries", json={"queries": queries}).status_code

    def picture(self) -> int:
        file = write_picture(self.folder / f"{threading.get_ident()}.png", "red", seed=self.chance.randint(0, 10**9))
        sent = self.http.post("/api/pictures", content=file.read_bytes()).json()
        return self.query({"picture": sent["picture"]})

    def thumbnail(self) -> int:
        row, edge = self.chance.choice(self.rows), self.chance.choice([320, 640, 1280])
        return self.http.get(f"/api/images/{row}/thumbnail?edge={edge}").status_code

    def original(self) -> int:
        return self.http.get(f"/api/images/{self.chance.choice(self.rows)}/original").status_code

    def known(self) -> int:
        return self.http.get(self.chance.choice(["/api/gallery", "/health", "/metrics", "/api/images/3"])).status_code

    def junk_upload(self) -> int:
        junk = self.chance.choice([b"", b"\xff\xd8\xff\xe0JFIF", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF____WEBPVP8 "])
        return self.http.post("/api/pictures", content=junk + self.chance.randbytes(5_000)).status_code

    def huge_text(self) -> int:
        return self.query({"text": "x " * self.chance.choice([4_000, 400_000])})

    def unknown_row(self) -> int:
        return self.http.get(f"/api/images/{10**9}/original").status_code

    def unknown_picture(self) -> int:
        return self.query({"picture": self.chance.randbytes(16).hex()})

    def no_json(self) -> int:
        return self.http.post("/api/query", content=self.chance.randbytes(100)).status_code

    def huge_body(self) -> int:
        return self.http.post("/api/query", content=b" " * (3 << 20)).status_code

    def bad_filter(self) -> int:
        return self.query({"text": "x"}, where=self.chance.choice(["x'", "repeat(path, 9)=''", "1; drop table x", "("]))

    def leave_early(self) -> int:
        self.leave(b'{"parts": [{"text": "%s"}]}' % self.words().encode(), whole=True)
        return 0

    def leave_in_the_middle(self) -> int:
        self.leave(b'{"parts": [{"text": "red"', whole=False)
        return 0

    def leave(self, body: bytes, *, whole: bool) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            head = "POST /api/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: {len(body) + (0 if whole else 100)}\r\n\r\n".encode() + body)
            # Without a farewell, as one whose cable is pulled.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_ten_thousand_questions(served: tuple["subprocess.Popen[str]", int, Path]) -> None:
    """No 500, no growth after the first thousand, and a clean end."""
    process, port, folder = served
    statuses: dict[int, int] = {}
    left = iter(range(QUERIES))
    counting = threading.Lock()
    memory: list[int] = []

    def work(seed: int) -> None:
        client = Client(port, folder, seed)
        while True:
            with counting:
                if (number := next(left, None)) is None:
                    break
                if number == WARM:
                    memory.append(resident(process))
            status = client.ask()
            with counting:
                statuses[status] = statuses.get(status, 0) + 1
        client.http.close()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    memory.append(resident(process))
    print(f"{statuses}, {memory[0] >> 10} MiB after {WARM:,}, {memory[1] >> 10} MiB after {QUERIES:,}")
    assert sum(statuses.values()) == QUERIES
    assert set(statuses) <= {0, 200, 400, 404, 413, 422}
    assert statuses[200] > 0.85 * QUERIES
    assert memory[1] < 1.1 * memory[0]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert "Traceback" not in (folder / "stderr").read_text()


def test_the_api_is_what_it_says_it_is(photos: Path, tmp_path: Path) -> None:
    """What schemathesis makes of /api/openapi.json: no 500, no status, no type and no shape that is not described.

    Left out: that every body of the right shape is answered (one may ask for a row that does not exist), and that TRACE
    and its like are 405 (a page of another site gets 403, whatever the method)."""
    embed([photos], gallery=tmp_path / "g", encoder=FakeEncoder())
    with running(tmp_path / "g", options=ServeOptions()) as server:
        schema = server.get("/api/openapi.json").json()
        assert {"/api/query", "/api/queries", "/api/pictures", "/api/gallery", "/health"} <= set(schema["paths"])
        (tmp_path / "openapi.json").write_text(json.dumps(schema))
        done = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/api/openapi.json"),
                *("--checks", "all", "--exclude-checks", "unsupported_method,positive_data_acceptance"),
                *("--max-examples", "60", "--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all"),
                *("--seed", "1", "--generation-database", "none"),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"NO_COLOR": "1"},
            timeout=280,
        )
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
