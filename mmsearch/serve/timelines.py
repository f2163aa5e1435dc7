"""Timelines of a gallery that were asked for lately: each is leafed through in many requests."""

import threading
import time
from collections import OrderedDict

from mmsearch.search.counting import Timeline, make_timeline
from mmsearch.search.open_gallery import OpenGallery

__all__ = ["Timelines"]

_KEPT = 4  # 8 bytes a picture each
_KEPT_SECONDS = 60.0  # what a filter admits may change by itself: taken_at > now() - interval 1 day


class Timelines:
    """The timelines asked for last, by version and filter. Thread-safe."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, str | None], tuple[float, Timeline]] = OrderedDict()
        self._keeping = threading.Lock()

    def get(self, opened: OpenGallery, where: str | None) -> Timeline:
        """The timeline of what a filter admits of a version, as it was at most a minute ago. Raises FilterError."""
        key = opened.gallery.manifest.version, where
        with self._keeping:
            since, kept = self._kept.get(key, (0.0, None))
            if kept is not None and (where is None or time.monotonic() - since < _KEPT_SECONDS):
                self._kept.move_to_end(key)
                return kept
        made = make_timeline(opened, where)
        with self._keeping:
            self._kept[key] = time.monotonic(), made
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made
