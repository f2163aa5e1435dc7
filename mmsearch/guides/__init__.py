"""How mmsearch is used, a subject a file: `mmsearch guide` lists them, `mmsearch guide index` shows one."""

from mmsearch.guides.reading import Guide, list_guides, read_guide

__all__ = ["Guide", "list_guides", "read_guide"]
