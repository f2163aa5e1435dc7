"""The trial of a GPU, run on the processor: every part runs, and what is not as it should be ends it with an error."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

PROJECT = Path(__file__).resolve().parents[1]


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_trial_runs_whole_on_a_processor(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "scripts/gpu_trial.py",
        "--device",
        "cpu",
        "--quick",
        "--seconds",
        "540",
        "--json",
        str(tmp_path / "out.json"),
    ]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert not [title for title, part in found.items() if part.get("error")]
    assert found["lanes"]["lanes"] >= 1
    assert found["precisions"]["photos int8"]["mean"] >= found["precisions"]["photos int8"]["gate"]
    assert found["killed and begun again"]["largest_difference"] < 2e-3
    assert "skipped" in found["pytest -m gpu"]["summary"]
    row = found["embed end to end"]["ViT-B-32"]
    assert row["cpu"]["added"] == row["images"]
    assert row["cpu"]["of_plain"] > 0
    assert row["alone"]["bound"] < min(row["alone"]["decode"], row["alone"]["encode"])
    assert {type(rate) for name, rate in found["encoding alone"].items() if "half" in name} == {float}


def test_what_is_missing_is_said_at_once(tmp_path: Path) -> None:
    """Before anything is imported that takes seconds."""
    code = (
        "import importlib.util, runpy, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name in ('PIL', 'ftfy', 'pytest') else find(name)\n"
        f"sys.argv = ['gpu_trial.py', '--json', {str(tmp_path / 'out.json')!r}]\n"
        "runpy.run_path('scripts/gpu_trial.py', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "missing here: pillow, ftfy, pytest" in done.stderr


def test_without_a_gpu_it_says_so_at_once(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    command = [sys.executable, "scripts/gpu_trial.py", "--json", str(tmp_path / "out.json")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "sees no CUDA device here" in done.stderr
    assert not (tmp_path / "out.json").exists()


def test_what_hangs_or_fails_costs_the_others_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is recorded with the place where it hangs, and with what it had found."""
    from scripts import gpu_trial

    monkeypatch.setattr(gpu_trial, "GRACE", 0.1)
    released = threading.Event()

    def hangs(_: object, found: dict[str, object]) -> None:
        found["before"] = 1
        released.wait(30)

    def fails(_: object, found: dict[str, object]) -> None:
        found["before"] = 2
        raise ZeroDivisionError("by nought")

    trial = gpu_trial.Trial("cpu", True, tmp_path, 1)
    for name, part in (("hangs", hangs), ("fails", fails), ("works", lambda _, found: found.update(before=3))):
        seconds = 0.1 if name == "hangs" else 60
        gpu_trial.run_part(trial, name, seconds, part, time.monotonic() + 120)
    gpu_trial.run_part(trial, "late", 1, hangs, time.monotonic() + 1)
    released.set()
    assert trial.found["hangs"]["error"].startswith("did not end within")
    assert "released.wait(30)" in trial.found["hangs"]["traceback"]
    assert trial.found["fails"]["error"] == "ZeroDivisionError: by nought"
    assert [trial.found[name]["before"] for name in ("hangs", "fails", "works")] == [1, 2, 3]
    assert trial.found["late"]["skipped"] == "no time left"
    assert capsys.readouterr().out.count("WENT WRONG") == 2
