"""The user's configuration folder: `MMSEARCH_CONFIG`, else the platform's own place."""

import os
from pathlib import Path

__all__ = ["config_dir"]


def config_dir() -> Path:
    """The folder for what people decided and would miss; not created here."""
    if override := os.environ.get("MMSEARCH_CONFIG"):
        return Path(os.path.expanduser(override))  # noqa: PTH111 - that of Path raises for the home of nobody
    import platformdirs  # late: most commands need nothing of it

    return Path(platformdirs.user_config_dir("mmsearch"))
