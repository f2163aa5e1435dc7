"""What a command prints where stdout, or stderr, is a terminal."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

__all__ = ["errors_in_a_terminal", "in_a_terminal", "without_styles"]


def in_a_terminal(folder: Path, *arguments: object, columns: int = 200, **variables: str) -> str:
    """What the command prints, colours and links and all. variables: of the environment, as the terminal sets them."""
    return _shown("stdout", folder, *arguments, columns=columns, **variables)


def errors_in_a_terminal(folder: Path, *arguments: object) -> str:
    """What the command says beside its results, where somebody watches; the results go nowhere."""
    return _shown("stderr", folder, *arguments).replace("\r\n", "\n")


def _shown(
    stream: Literal["stdout", "stderr"], folder: Path, *arguments: object, columns: int = 200, **variables: str
) -> str:
    main, side = pty.openpty()
    own = ("NO_COLOR", "TMUX", "STY", "TERM_PROGRAM", "LC_TERMINAL", "COLORTERM")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    environment |= {"TERM": "xterm-256color", "COLUMNS": str(columns), **variables}
    with subprocess.Popen(
        [sys.executable, "-m", "mmsearch", *map(str, arguments)],
        stdout=side if stream == "stdout" else subprocess.DEVNULL,
        stderr=side if stream == "stderr" else None,
        cwd=folder,
        env=environment,
    ) as process:
        os.close(side)
        shown = b""
        try:
            while piece := os.read(main, 1 << 16):
                shown += piece
        except OSError:  # how Linux says that the other side is closed
            pass
    os.close(main)
    assert process.returncode == 0, shown
    return shown.decode()


def without_styles(shown: str) -> str:
    """The words alone."""
    return re.sub(r"\x1b\[[0-9;]*m|\x1b\]8;[^\x1b]*\x1b\\", "", shown)
