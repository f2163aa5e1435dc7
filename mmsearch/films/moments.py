"""A moment of a film as a film of its own, without encoding anything anew."""

import subprocess
import sys
from pathlib import Path

from mmsearch.errors import ImageError
from mmsearch.file_ranges import AnyFile, as_range
from mmsearch.films.reading import NO_DECODER, has_decoder

__all__ = ["copy_moment"]

_COMMAND = [sys.executable, "-P", "-m", "mmsearch.films.moment_process"]
_SECONDS = 600.0


def copy_moment(film: AnyFile, from_s: float, to_s: float, target: Path) -> None:
    """Write what a film shows from one second to another into a file, which is overwritten; its kind goes by its
    suffix. It begins at the last key frame before.

    Raises ImageError where that cannot be: the extra `video` is missing, the film is damaged, its packets fit into no
    file of that kind.
    """
    if not has_decoder():
        raise ImageError("identify", NO_DECODER)
    file = as_range(film)
    stretch = [] if file.size is None else [str(file.start), str(file.size)]
    command = [*_COMMAND, file.path, f"{from_s:.6f}", f"{to_s:.6f}", str(target), *stretch]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise ImageError("decode", f"cutting it took more than {_SECONDS:g} seconds") from None
    if done.returncode:
        raise ImageError("decode", done.stdout.decode("utf-8", "replace") or "its packets cannot be copied")
