"""The protocol's SDK is an extra: not everybody has an agent."""

import importlib.util

from mmsearch.errors import MmsearchError

__all__ = ["HOW_TO_INSTALL", "is_installed", "require_sdk"]

HOW_TO_INSTALL = "agents need the package mcp, which is not installed: pip install 'mmsearch[mcp]'"


def is_installed() -> bool:
    """Whether the SDK is there. It is not loaded for that: loading takes a second."""
    return importlib.util.find_spec("mcp") is not None


def require_sdk() -> None:
    """Raises MmsearchError, which names the install, where the SDK is not there."""
    if not is_installed():
        raise MmsearchError(HOW_TO_INSTALL)
