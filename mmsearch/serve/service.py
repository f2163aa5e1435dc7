"""All that the routes work with."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from mmsearch.budget import REQUEST
from mmsearch.errors import EncoderError, MmsearchError
from mmsearch.gallery import InMemoryGallery
from mmsearch.items import kinds
from mmsearch.search.followed_gallery import FollowedGallery
from mmsearch.search.open_gallery import OpenGallery
from mmsearch.search.query import Query
from mmsearch.serve.crops import Crops
from mmsearch.serve.metrics import Metrics
from mmsearch.serve.pools import Pool, TooBusy, TooSlow
from mmsearch.serve.query_threads import QueryThreads
from mmsearch.serve.sent_images import SentImages
from mmsearch.serve.thumbnails import Thumbnails
from mmsearch.serve.timelines import Timelines
from mmsearch.serve.zips import ChosenLists

__all__ = ["Service"]

_T = TypeVar("_T")

_RECEIVED_AT_ONCE = 8  # pictures, each up to the bound on a body
_DRAW_SECONDS = 60.0
_STOP_SECONDS = 30.0  # in which an explanation notices that its time is over
_READ_SECONDS = 60.0  # a disk may have to spin up


class Service:
    """A gallery that is served: its newest version, its queues and its caches.

    keeps: whether queries are kept for whoever asks, in the configuration folder of whoever runs the server.
    """

    def __init__(
        self,
        opened: OpenGallery,
        *,
        threads: int,
        thumbnails: Path,
        thumbnail_bytes: int,
        upload_bytes: int,
        keeps: bool = False,
    ) -> None:
        self.upload_bytes, self.keeps = upload_bytes, keeps
        self.metrics = Metrics()
        self.followed = FollowedGallery(opened)
        self.query_threads = QueryThreads(self.followed, self.metrics, threads)
        self.reading = Pool(8, "reading", seconds=_READ_SECONDS)
        self.filtering = Pool(2, "filters", seconds=REQUEST.seconds)
        self._doors = Pool(2, "agents", seconds=REQUEST.seconds, most_waiting=32)
        self.sent_images = SentImages()
        self.timelines = Timelines()
        self.chosen = ChosenLists()
        self.crops = Crops()
        self.cropping = Pool(2, "crops", seconds=_DRAW_SECONDS)
        self.explaining = Pool(1, "explaining", seconds=REQUEST.explain_seconds + _STOP_SECONDS, most_waiting=8)
        self.zipping = Pool(2, "zips", seconds=_READ_SECONDS)
        self._drawing = Pool(threads, "thumbnails", seconds=_DRAW_SECONDS)
        self.thumbnails = Thumbnails(thumbnails, thumbnail_bytes, self._drawing, self.metrics.thumbnail)
        self._pools = (
            self.reading,
            self.filtering,
            self.explaining,
            self.zipping,
            self.cropping,
            self._doors,
            self._drawing,
        )
        self.receiving = asyncio.Semaphore(_RECEIVED_AT_ONCE)
        self.text_problem: str | None = None
        self._watch()

    def warm_up(self) -> None:
        """Load what the first query needs: the encoder of texts and the vectors of each table. Without that encoder
        there is still what can be asked. Raises GalleryError where the vectors cannot be read."""
        opened = self.followed.last
        (answer,) = opened.ask_all([Query.of("warm up")])
        self.text_problem = str(answer) if isinstance(answer, EncoderError) else None
        for table in (kind.name for kind in kinds()):
            if opened.gallery.live_rows(table):
                opened.search(np.eye(1, opened.gallery.manifest.encoder.dim, dtype=np.float32), k=1, table=table)

    def close(self) -> None:
        """Begin nothing new; whoever waits for a query gets its answer."""
        self.followed.close()
        self.query_threads.close()
        self.sent_images.close()
        self.crops.close()
        for pool in self._pools:
            pool.close()
        self.followed.last.close()

    async def run_for_a_door(self, work: Callable[[], _T]) -> _T:
        """What `work()` returns or raises, by threads that wait for nothing else. Raises MmsearchError where it takes
        too long, or too much is waiting."""
        try:
            return await self._doors.run(work)
        except TooBusy:
            raise MmsearchError("too much is waiting here; ask again in a moment") from None
        except TooSlow as error:
            raise MmsearchError(f"this was given up: {error}") from None

    @property
    def problem(self) -> str | None:
        """Why the server does not answer as it should; None where it does."""
        workers = self.query_threads, *self._pools, *self.sent_images.pools
        return self.followed.problem or next((problem for each in workers if (problem := each.problem)), None)

    def _watch(self) -> None:
        def held() -> float:
            gallery = self.followed.last.gallery
            return gallery.bytes_in_memory if isinstance(gallery, InMemoryGallery) else 0

        def live(table: str) -> float:
            return self.followed.last.gallery.live_rows(table)

        watch, following, thumbnails, crops = self.metrics.watch, self.followed, self.thumbnails, self.crops
        watch("mmsearch_gallery_version", "The version that answers.", lambda: following.last.gallery.manifest.version)
        for table in (kind.name for kind in kinds()):
            watch(f"mmsearch_gallery_{table}", f"Live {table}.", partial(live, table))
        watch("mmsearch_gallery_held_bytes", "Of the gallery in memory.", held)
        watch("mmsearch_crops_kept_pixels", "Of pictures that are decoded.", lambda: crops.kept_pixels)
        watch("mmsearch_thumbnails_kept_bytes", "Of thumbnails in the cache.", lambda: thumbnails.kept_bytes)
