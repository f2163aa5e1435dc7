"""The trial of a GPU, run on the processor: every part runs, and what is not as it should be ends it with an error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.mark.soak
def test_the_trial_runs_whole_on_a_processor(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "scripts/gpu_trial.py",
        "--device",
        "cpu",
        "--quick",
        "--json",
        str(tmp_path / "out.json"),
    ]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert not [title for title, part in found.items() if part.get("error")]
    assert found["lanes"]["lanes"] >= 1
    assert found["precisions"]["photos int8"]["mean"] >= found["precisions"]["photos int8"]["gate"]
    assert found["killed and begun again"]["largest_difference"] < 2e-3
    row = found["embed end to end"]["ViT-B-32"]
    assert row["cpu"]["rate"] > 0
    assert row["alone"]["bound"] < min(row["alone"]["decode"], row["alone"]["encode"])


def test_what_is_missing_is_said_at_once(tmp_path: Path) -> None:
    """Before anything is imported that takes seconds."""
    code = (
        "import importlib.util, runpy, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name in ('simplejpeg', 'ftfy') else find(name, *more)\n"
        f"sys.argv = ['gpu_trial.py', '--json', {str(tmp_path / 'out.json')!r}]\n"
        "runpy.run_path('scripts/gpu_trial.py', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "missing here: simplejpeg, ftfy" in done.stderr
