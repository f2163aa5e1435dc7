"""Runs tests with the oldest versions that pyproject.toml admits: a lower bound that nobody tries is a guess.

They are installed into .lowest, which is kept while pyproject.toml stays as it is. Needs a package index; where none
answers, that is said and nothing is run. Arguments are handed to pytest in the place of the tests that are run else.

    python scripts/lowest_versions.py [PYTEST ARGUMENTS]
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
FOLDER = PROJECT / ".lowest"
# What libraries decide: parsing, images, vectors, SQL, HTTP, stores, locks, the command line, what it lays out.
TESTS = (
    *("ann", "cli", "encoders", "exact", "filters", "gallery", "guide", "images", "metrics", "query", "serve"),
    *("stores", "unicode_names", "usage"),
)
# It asks for newer versions of packages that we use too, whose own lower bounds would not be tried beside it.
LEFT_OUT = {"mcp"}


def main() -> int:
    """Install what pyproject.toml admits at least, and run tests with it. Returns pytest's exit code."""
    python = _installed()
    if python is None:
        print("skipped: no package index answers, so that the oldest versions cannot be had")
        return 0
    tests = sys.argv[1:] or ["-n", "2", "-m", "not soak", *(f"tests/test_{name}.py" for name in TESTS)]
    # Old releases call what newer ones of others have deprecated since; that is no fault of either.
    ignored = ["-W", "ignore::DeprecationWarning", "-W", "ignore::PendingDeprecationWarning"]
    return subprocess.run([python, "-m", "pytest", "-p", "no:cacheprovider", *ignored, *tests], cwd=PROJECT).returncode


def _installed() -> Path | None:
    """The Python of an environment with the oldest versions; None where no package index answers."""
    declared = (PROJECT / "pyproject.toml").read_bytes()
    mark = hashlib.sha256(declared + sys.version.encode()).hexdigest()
    python, ready = FOLDER / "bin" / "python", FOLDER / ".ready"
    if ready.exists() and ready.read_text() == mark:
        return python
    if not _index_answers():
        return None
    shutil.rmtree(FOLDER, ignore_errors=True)
    _uv("venv", "--quiet", "--python", sys.executable, str(FOLDER))
    # A release of before this Python has no wheel for it, and the oldest one that has is meant.
    needed, tests = _declared(declared.decode())
    wheels = [part for each in (*needed, *tests) for part in ("--only-binary", _name(each))]
    where = ["--python", str(python), "--resolution", "lowest-direct"]
    _uv("pip", "install", "--quiet", *where, *wheels, "--editable", str(PROJECT), *tests)
    ready.write_text(mark)
    return python


def _declared(declared: str) -> tuple[list[str], list[str]]:
    """What the package needs, and what its tests need beside it."""
    document = tomllib.loads(declared)
    tests = [each for each in document["dependency-groups"]["dev"] if _name(each) not in LEFT_OUT]
    return document["project"]["dependencies"], tests


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def _index_answers() -> bool:
    asked = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--refresh", "-"]
    return subprocess.run(asked, input=b"filelock", capture_output=True, cwd=PROJECT).returncode == 0


def _uv(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "uv", *arguments], cwd=PROJECT, check=True)


if __name__ == "__main__":
    sys.exit(main())
