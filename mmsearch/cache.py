"""The user's cache folder: `MMSEARCH_CACHE`, else the platform's own place."""

import os
from pathlib import Path

__all__ = ["cache_dir"]


def cache_dir() -> Path:
    """The folder for everything that can be computed again; not created here."""
    if override := os.environ.get("MMSEARCH_CACHE"):
        return Path(os.path.expanduser(override))  # noqa: PTH111 - that of Path raises for the home of nobody
    # Imported late: start-up pays for platformdirs only where the cache is used.
    import platformdirs

    return Path(platformdirs.user_cache_dir("mmsearch"))
