"""What a server says of itself: a line of JSON for each request, and metrics in Prometheus' form."""

import json
import logging
import os
import time
from dataclasses import dataclass, field
from typing import Any

import prometheus_client as prometheus
from prometheus_client import multiprocess

from nlptasks.serve.batching import Batcher, Done

SHARED_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""environment variable with the folder in which several processes keep their metrics"""
logger = logging.getLogger("nlptasks.serve")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass
class Record:
    """What is noted of a request: no text of it, only sizes and times.

    Attributes:
        request_id: also in the answer's header `x-request-id`.
        values: further values of the line.
    """

    request_id: str
    method: str
    path: str
    client: str
    model: str | None = None
    verb: str | None = None
    status: int = 0
    started: float = field(default_factory=time.monotonic)
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, items: int, done: Done) -> None:
        """Notes how the results came about."""
        self.values |= {
            "items": items,
            "batch": done.batch,
            "queue_ms": round(1000 * done.waited, 2),
            "compute_ms": round(1000 * done.computed, 2),
        }

    def line(self) -> str:
        """The line of the log."""
        values = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "id": self.request_id,
            "client": self.client,
            "method": self.method,
            "path": self.path[:200],
            "model": self.model,
            "verb": self.verb,
            "status": self.status,
            "ms": round(1000 * (time.monotonic() - self.started), 2),
        }
        return json.dumps(values | self.values)


class Metrics:
    """The metrics of a server: numbers of requests, their times, sizes of batches and queues.

    Args:
        batchers: those of the models, by name.
    """

    def __init__(self, batchers: dict[str, Batcher]) -> None:
        self.registry = prometheus.CollectorRegistry()
        names = ("model", "verb")
        self.requests = prometheus.Counter(
            "nlptasks_requests", "Requests that were answered.", (*names, "status"), registry=self.registry
        )
        self.seconds = prometheus.Histogram(
            "nlptasks_request_seconds", "From request to answer.", names, registry=self.registry, buckets=_SECONDS
        )
        self.batch_items = prometheus.Histogram(
            "nlptasks_batch_items", "Items computed together.", names, registry=self.registry, buckets=_BATCHES
        )
        self.compute = prometheus.Histogram(
            "nlptasks_compute_seconds", "In the model.", names, registry=self.registry, buckets=_SECONDS
        )
        kind: Any = {"multiprocess_mode": "livesum"}
        self.waiting = prometheus.Gauge(
            "nlptasks_queue_items", "Items that wait.", ("model",), registry=self.registry, **kind
        )
        self.streams = prometheus.Gauge(
            "nlptasks_streams", "Texts that are being written.", ("model",), registry=self.registry, **kind
        )
        self.batchers = batchers

    def note(self, record: Record) -> None:
        """Counts a request and writes its line."""
        names = (record.model or "", record.verb or "")
        self.requests.labels(*names, str(record.status)).inc()
        self.seconds.labels(*names).observe(time.monotonic() - record.started)
        if "batch" in record.values:
            self.batch_items.labels(*names).observe(record.values["batch"])
            self.compute.labels(*names).observe(record.values["compute_ms"] / 1000)
        for name, batcher in self.batchers.items():
            self.waiting.labels(name).set(batcher.waiting)
            self.streams.labels(name).set(batcher.streams)
        logger.info("%s", record.line())

    def text(self) -> bytes:
        """All metrics, of all processes of the server."""
        registry = self.registry
        if SHARED_VARIABLE in os.environ:
            registry = prometheus.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        return prometheus.generate_latest(registry)
