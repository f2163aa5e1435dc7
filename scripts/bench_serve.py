"""What a server adds to a question, and what it makes of many at once, beside the same questions asked in a loop.

    python scripts/bench_serve.py [--rows 100000] [--seconds 60] [--clients 20] [--exact] [--json out.json]

A full-size ViT-B-32 of random weights (speed does not depend on them), a synthetic gallery as `mmsearch index` makes
it (--exact: without an index), every text asked once. One client alone; then the loop in a process of its own, one
question at a time and 32 together, on the machine's cores without a server beside it; then many clients at once, for
which the server, and the clients, share the cores. Whoever wants the server's numbers alone runs it on a quiet machine.
"""

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scripts.measuring import keep_bytecode, python, random_model

HITS = 60
WORDS = (
    "two brown dogs run along the beach while children in red coats play with a ball near the water at sunset old man "
    "sitting on bench reading newspaper city street night lights rain umbrella woman bicycle mountain snow lake forest"
)

LOOP = """
import json, sys, time
from mmsearch.search.open_gallery import open_gallery
from mmsearch.search.query import Query
gallery, file, seconds, together = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
texts = iter(open(file).read().splitlines())
opened = open_gallery(gallery, hold=2 << 30)
opened.ask_all([Query.of("warm up", k=60)])
count, started = 0, time.perf_counter()
while time.perf_counter() - started < seconds:
    opened.ask_all([Query.of(next(texts), k=60) for _ in range(together)])
    count += together
print(count / (time.perf_counter() - started))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="vectors to search")
    parser.add_argument("--seconds", type=float, default=60, help="for which many clients ask; the loops take a third")
    parser.add_argument("--clients", type=int, default=20, help="how many ask at once")
    parser.add_argument("--alone", type=int, default=300, help="questions of one client alone")
    parser.add_argument("--exact", action="store_true", help="leave the gallery without an index")
    parser.add_argument("--gallery", type=Path, help="serve this one, instead of one that is made")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    keep_bytecode()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.gallery is None:
            os.environ["MMSEARCH_CACHE"] = str(folder / "cache")
        gallery = options.gallery or made(folder, options.rows, indexed=not options.exact)
        figures = measured(gallery, folder, options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def made(folder: Path, rows: int, *, indexed: bool) -> Path:
    """A synthetic gallery whose queries a random model encodes."""
    from mmsearch import encoders
    from mmsearch.gallery import Gallery, manifests
    from mmsearch.indexing import index
    from scripts.synthetic_gallery import write_gallery

    model = random_model(folder / "model")
    write_gallery(folder / "gallery", rows, captions=2_000)
    identity = encoders.open(f"local-dir:{model}", device="cpu").identity  # which lays out its text side
    newest = Gallery.open(folder / "gallery")
    manifests.commit(
        newest.store, newest.manifest, lambda now: replace(now, encoder=identity), command="bench", onto_any=True
    )
    if indexed:
        index(folder / "gallery")
    return folder / "gallery"


def measured(gallery: Path, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    rng = np.random.default_rng(3)
    texts = list({" ".join(rng.choice(WORDS.split(), rng.integers(3, 9))) for _ in range(80_000)})
    (folder / "texts.txt").write_text("\n".join(texts) + "\n")
    fresh = iter(texts)
    figures: dict[str, float] = {}
    print(f"ViT-B-32, {options.rows:,} x 512 vectors, {HITS} hits a question", flush=True)
    with served(gallery) as port:
        before = metric(port, "process_cpu_seconds_total")
        alone = one_client(port, [next(fresh) for _ in range(options.alone)])
        work = (metric(port, "process_cpu_seconds_total") - before) / options.alone * 1e3
        p50, p95 = (float(np.percentile(alone, share)) for share in (50, 95))
        figures |= {"alone_p50_ms": p50, "alone_p95_ms": p95, "alone_work_ms": work}
        print(f"{'one client':28} p50 {p50:.1f} ms   p95 {p95:.1f} ms   {work:.1f} ms of processor time", flush=True)
    for name, what, together in (("loop", "a loop, one at a time", 1), ("loop_32", "a loop, 32 together", 32)):
        rate = float(python(LOOP, gallery, folder / "texts.txt", options.seconds / 3, together))
        figures[f"{name}_per_s"] = rate
        print(f"{what:28} {rate:.1f} questions/s", flush=True)
    with served(gallery) as port:
        one_client(port, ["warm up"])
        took, errors = many_clients(port, fresh, options.clients, options.seconds)
        figures |= {
            "clients_per_s": len(took) / options.seconds,
            "clients_p50_ms": float(np.percentile(took, 50)),
            "clients_p95_ms": float(np.percentile(took, 95)),
            "errors": errors,
            "memory_mib": metric(port, "process_resident_memory_bytes") / (1 << 20),
        }
    figures["ratio_to_loop"] = figures["clients_per_s"] / figures["loop_per_s"]
    figures["ratio_to_loop_32"] = figures["clients_per_s"] / figures["loop_32_per_s"]
    print(
        f"{f'{options.clients} clients at once':28} {figures['clients_per_s']:.1f} questions/s   "
        f"p50 {figures['clients_p50_ms']:.0f} ms   p95 {figures['clients_p95_ms']:.0f} ms   {errors} errors\n"
        f"{'beside the loop':28} {figures['ratio_to_loop']:.2f} x one at a time   "
        f"{figures['ratio_to_loop_32']:.2f} x 32 together\n"
        f"{'memory of the server':28} {figures['memory_mib']:.0f} MiB",
        flush=True,
    )
    return figures


@contextmanager
def served(gallery: Path) -> Iterator[int]:
    """The port of a server in a process of its own."""
    command = [sys.executable, "-m", "mmsearch", "serve", "-g", str(gallery), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        (port,) = re.findall(r":(\d+)/", server.stdout.readline())
        yield int(port)
    finally:
        server.terminate()
        if server.wait() != 0:
            raise SystemExit("the server did not end well")


def one_client(port: int, texts: list[str]) -> list[float]:
    """Milliseconds from a question to the last byte of its answer, each."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    return [asked(connection, text) * 1e3 for text in texts]


def asked(connection: http.client.HTTPConnection, text: str) -> float:
    started = time.perf_counter()
    body = json.dumps({"parts": [{"text": text}], "k": HITS})
    connection.request("POST", "/api/query", body, {"content-type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    took = time.perf_counter() - started
    if response.status != 200 or answer.count(b'"rank"') != HITS:
        raise RuntimeError(f"{response.status}: {answer[:200]!r}")
    return took


def many_clients(port: int, texts: Iterator[str], clients: int, seconds: float) -> tuple[list[float], int]:
    """Milliseconds of each question that was answered in that time, and how many were not."""
    until = time.perf_counter() + seconds
    took: list[float] = []
    errors: list[BaseException] = []
    taking = threading.Lock()

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.perf_counter() < until:
            with taking:
                text = next(texts)
            try:
                spent = asked(connection, text)
            except Exception as error:  # noqa: BLE001 - counted
                errors.append(error)
                connection.close()
            else:
                if time.perf_counter() < until:
                    took.append(spent * 1e3)

    threads: list[Any] = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took, len(errors)


def metric(port: int, name: str) -> float:
    """What the server says of itself."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    found = re.search(rf"^{name} (\S+)$", connection.getresponse().read().decode(), re.MULTILINE)
    return float(found[1]) if found else float("nan")


if __name__ == "__main__":
    main()
