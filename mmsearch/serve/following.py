"""The newest version of a gallery, for as long as it is served."""

import threading

from mmsearch.pipeline.query import OpenGallery

__all__ = ["Following"]


class Following:
    """A gallery that is looked up anew for each batch of queries. Whoever has a version keeps it to the end."""

    def __init__(self, opened: OpenGallery) -> None:
        self._opened = opened
        self._opening = threading.Lock()

    @property
    def last(self) -> OpenGallery:
        """The version that was looked up last."""
        return self._opened

    def newest(self) -> OpenGallery:
        """The newest version. Raises GalleryError where the gallery is gone or damaged."""
        with self._opening:
            self._opened = self._opened.newest()
            return self._opened
