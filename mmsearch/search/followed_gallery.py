"""The newest version of a gallery, for as long as somebody asks it."""

import threading

from mmsearch.errors import MmsearchError
from mmsearch.locations import Url
from mmsearch.search.open_gallery import OpenGallery

__all__ = ["FollowedGallery"]

_LOOK_SECONDS = 2.0


class FollowedGallery:
    """A gallery that is looked up anew for each batch of queries. Whoever has a version keeps it to the end.

    Where nobody asks it is looked up every other second, so that what came is loaded before the next query. One in
    an object store is only looked up so: no query waits for a request to it.
    """

    def __init__(self, opened: OpenGallery) -> None:
        self._opened = opened
        self._remote = isinstance(opened.gallery.path, Url)
        self._opening = threading.Lock()
        self._closed = threading.Event()
        self.problem: str | None = None
        threading.Thread(target=self._look, name="following", daemon=True).start()

    @property
    def last(self) -> OpenGallery:
        """The version that was looked up last: for what need not wait."""
        return self._opened

    def newest(self) -> OpenGallery:
        """The newest version, of an object store that of two seconds ago. Raises GalleryError where the gallery is gone
        or damaged."""
        if self._remote and self.problem is None:
            return self._opened
        return self._looked_up()

    def _looked_up(self) -> OpenGallery:
        with self._opening:
            try:
                self._opened = self._opened.newest()
            except MmsearchError as error:
                self.problem = str(error)
                raise
            self.problem = None
            return self._opened

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(_LOOK_SECONDS):
            try:
                self._looked_up()
            except MmsearchError:  # `problem` says it, and so does the answer to the next query
                continue
