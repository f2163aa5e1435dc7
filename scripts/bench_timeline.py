"""What leafing through a large gallery costs: each request of the page's timeline, facets, folders and map, and the
memory of the server.

    python -m scripts.bench_timeline [--rows 100000]

The gallery is made for it (`scripts/synthetic_gallery.py --dated`); it has no pictures, which the requests do not read.
"""

import argparse
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

from fastapi.testclient import TestClient

from mmsearch.serve.running import gallery_app
from scripts.synthetic_gallery import write_gallery

FILTER = "month(taken_at) = 5"
REQUESTS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("months", "/api/timeline", {}),
    ("months of what a filter admits", "/api/timeline", {"where": FILTER}),
    ("120 pictures from the middle", "/api/timeline/pictures", {"offset": "{middle}", "n": "120"}),
    ("all row ids", "/api/timeline/rows", {}),
    ("years", "/api/facets/year", {}),
    ("years of what a filter admits", "/api/facets/year", {"where": FILTER}),
    ("kinds of files", "/api/facets/suffix", {}),
    ("folders", "/api/folders", {"root": "1"}),
    ("places of the world", "/api/places", {}),
)
TIMES = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MMSEARCH_CACHE"] = f"{folder}/cache"
        write_gallery(Path(folder) / "g", rows, dim=32, dated=True)
        with TestClient(gallery_app(Path(folder) / "g"), base_url="http://localhost") as client:
            client.get("/api/gallery").raise_for_status()
            before = _peak_bytes()
            print(f"{f'{rows:,} pictures':34} {'first':>9} {'again':>9} {'bytes':>11}")
            for name, path, parameters in REQUESTS:
                asked = {key: value.format(middle=rows // 2) for key, value in parameters.items()}
                seconds = []
                for _ in range(TIMES):
                    started = time.perf_counter()
                    answer = client.get(path, params=asked)
                    seconds.append(time.perf_counter() - started)
                    answer.raise_for_status()
                again = statistics.median(seconds[1:])
                print(f"{name:34} {seconds[0] * 1e3:6.0f} ms {again * 1e3:6.0f} ms {len(answer.content):11,}")
            print(f"memory of all of it: {(_peak_bytes() - before) / 2**20:.0f} MiB")


def _peak_bytes() -> int:
    """The most memory that this process has had (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


if __name__ == "__main__":
    main()
