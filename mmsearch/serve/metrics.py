"""What the server counts, in Prometheus' text format."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counters of one server; two in one process do not share them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "mmsearch_requests", "Answers by method and status.", ["method", "status"], registry=self.registry
        )
        self.queries = Counter(
            "mmsearch_queries",
            "Queries by table and what became of them.",
            ["table", "outcome"],
            registry=self.registry,
        )
        self.query_seconds = Histogram(
            "mmsearch_query_seconds", "From a query's arrival to its answer.", buckets=_SECONDS, registry=self.registry
        )
        self.encode_seconds = Histogram(
            "mmsearch_encode_seconds", "Encoding the texts of a batch.", buckets=_SECONDS, registry=self.registry
        )
        self.search_seconds = Histogram(
            "mmsearch_search_seconds", "Searching for a batch.", buckets=_SECONDS, registry=self.registry
        )
        self.batch = Histogram(
            "mmsearch_batch_queries",
            "Queries answered together.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self.uploads = Counter(
            "mmsearch_uploads", "Pictures that were sent, and what became of them.", ["outcome"], registry=self.registry
        )

        self._thumbnails = Counter(
            "mmsearch_thumbnails",
            "Thumbnails that were asked for: cached or made.",
            ["outcome"],
            registry=self.registry,
        )

    def thumbnail(self, outcome: str) -> None:
        """One more thumbnail: "cached" or "made"."""
        self._thumbnails.labels(outcome).inc()

    def watch(self, name: str, documentation: str, value: Callable[[], float]) -> None:
        """A gauge whose value is looked up when it is asked for."""
        Gauge(name, documentation, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self.registry)
