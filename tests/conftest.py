"""What many tests share: a clean home and cache, pictures, and the real data where it stands beside the project."""

import gc
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Tests run beside each other. Threads of OpenMP (FAISS, torch) and of OpenBLAS (numpy) spin while they wait for more,
# and take the processor from the other worker: building a small index took two to four times as long. Both read this
# when they are loaded, so it stands before what brings numpy.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tests.fakes import COLOURS, FakeEncoder, provide, write_picture

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.browsing import Visit

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(scope="session")
def _frozen() -> Iterator[None]:
    yield
    gc.unfreeze()  # what ends with the process is freed in order


@pytest.fixture(scope="module", autouse=True)
def _nothing_old_to_collect(_frozen: None) -> None:
    """Libraries and what whole sessions share are a million objects, which the garbage collector would look through
    again and again: a tenth of the time of all tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_home(_homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the cache or the galleries of whoever runs it, or reaches for a network."""
    # Not three folders by `tmp_path_factory`, which numbers a folder by listing all that were made before.
    home = Path(tempfile.mkdtemp(dir=_homes))
    for name in ("cache", "config", "cwd"):
        (home / name).mkdir()
    monkeypatch.setenv("MMSEARCH_CACHE", str(home / "cache"))
    monkeypatch.setenv("MMSEARCH_CONFIG", str(home / "config"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MMSEARCH_GALLERY", raising=False)
    monkeypatch.chdir(home / "cwd")


@pytest.fixture(autouse=True)
def _no_wait_for_disks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No power fails here, and a commit waits for its disk eight times. Slow trials, which kill, wait as users do."""

    def look_only(descriptor: int) -> None:
        os.fstat(descriptor)  # what is no open file is refused as ever

    if request.node.get_closest_marker("soak") is None:
        monkeypatch.setattr(os, "fsync", look_only)


@pytest.fixture
def fake() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve pictures, two of each colour, in two folders."""
    folder = tmp_path / "photos"
    for place, colour in enumerate(COLOURS):
        write_picture(folder / f"{colour}.png", colour, seed=place)
        write_picture(folder / "more" / f"{colour}.png", colour, seed=place + 100)
    return folder


@pytest.fixture
def shared_data() -> Path:
    """Real photos, captions and vectors; not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real data is not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser that shows pages as people see them. Nothing is downloaded for it."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    return browser


@pytest.fixture(scope="session")
def browser(chromium: str) -> "Iterator[Browser]":
    from tests.browsing import browsing

    with browsing(chromium) as running:
        yield running


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A gallery to look at: see `make_gallery`."""
    from tests.browsing import make_gallery

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield make_gallery(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def site(colours: Path) -> Iterator[str]:
    """The address at which that gallery is served."""
    from tests.browsing import serving

    with serving(colours) as address:
        yield address


@pytest.fixture
def visit(browser: "Browser", site: str) -> "Iterator[Visit]":
    """Somebody in front of that page."""
    from tests.browsing import visiting

    with visiting(browser, site) as one:
        yield one


@dataclass(frozen=True)
class Result:
    """What a command answered."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Command:
    """Runs the command line in this process, with the encoders that it has."""
    from mmsearch.cli import main

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["mmsearch", *map(str, arguments)])
        capfdbinary.readouterr()
        with warnings.catch_warnings():
            try:
                main()
                code = 0
            except SystemExit as exit_:
                code = int(exit_.code or 0)
        out, err = capfdbinary.readouterr()
        return Result(code, out.decode("utf-8", "surrogateescape"), err.decode("utf-8", "surrogateescape"))

    return run


@pytest.fixture
def mmsearch(monkeypatch: pytest.MonkeyPatch, command_line: Command) -> Command:
    """Runs the command line in this process, with the fake encoder under every model name."""
    provide(monkeypatch)
    return command_line
