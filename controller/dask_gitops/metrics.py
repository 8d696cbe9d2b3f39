"""Prometheus metrics of the controller itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

ALL = "*"  # no namespace is called so


class Named(Protocol):
    @property
    def plural(self) -> str: ...


class Watched(Protocol):
    """What is read of an informer whenever somebody asks for metrics."""

    @property
    def resource(self) -> Named: ...
    @property
    def unreadables(self) -> int: ...

    lists: int
    watches: int
    events: int
    errors: int
    convert_errors: int

    def age(self) -> float: ...


class Line(Protocol):
    """What is read of the work queue."""

    @property
    def depth(self) -> int: ...
    @property
    def running(self) -> int: ...
    @property
    def failing(self) -> int: ...

    def oldest_age(self) -> float: ...
    def longest_run(self) -> float: ...


class Caches(Collector):
    """Series of the informers, one for each resource: of several (one for each namespace) ages are those of the worst,
    all else is their sum."""

    def __init__(self) -> None:
        self.informers: Sequence[Watched] = ()

    def collect(self) -> Iterator[Metric]:
        by_resource: dict[str, list[Watched]] = {}
        for informer in self.informers:
            by_resource.setdefault(informer.resource.plural, []).append(informer)
        label = ["resource"]
        age = GaugeMetricFamily(
            "dask_gitops_watch_age_seconds",
            "Time since a watch was last heard of; of several, of that which is silent for longest",
            labels=label,
        )
        unreadable = GaugeMetricFamily(
            "dask_gitops_unreadable_objects",
            "Objects that are not served because they cannot be read",
            labels=label,
        )
        lists, watches, events, errors, refused = (
            CounterMetricFamily(f"dask_gitops_{name}", words, labels=label)
            for name, words in (
                ("watch_lists", "Complete lists that were read"),
                ("watch_opened", "Watches that were opened"),
                ("watch_events", "News from watches, bookmarks not among them"),
                ("watch_errors", "Lists and watches that ended in an error"),
                ("unreadable", "States of objects that could not be read"),
            )
        )
        for resource, some in by_resource.items():
            age.add_metric([resource], max(i.age() for i in some))
            unreadable.add_metric([resource], sum(i.unreadables for i in some))
            lists.add_metric([resource], sum(i.lists for i in some))
            watches.add_metric([resource], sum(i.watches for i in some))
            events.add_metric([resource], sum(i.events for i in some))
            errors.add_metric([resource], sum(i.errors for i in some))
            refused.add_metric([resource], sum(i.convert_errors for i in some))
        yield from (age, unreadable, lists, watches, events, errors, refused)


class Queue(Collector):
    """Series of the work queue."""

    def __init__(self) -> None:
        self.line: Line | None = None

    def collect(self) -> Iterable[Metric]:
        line = self.line
        now = (0, 0, 0, 0.0, 0.0)
        if line is not None:
            now = (line.depth, line.running, line.failing, line.oldest_age(), line.longest_run())
        told = (
            ("depth", "Objects waiting for a reconcile"),
            ("running", "Reconciles that are under way"),
            ("failing", "Objects whose last reconcile failed"),
            ("oldest_seconds", "How long the first of them has waited"),
            ("longest_run_seconds", "How long the longest present reconcile has taken"),
        )
        for (name, words), value in zip(told, now, strict=True):
            yield GaugeMetricFamily(f"dask_gitops_queue_{name}", words, value=value)


class Metrics:
    """All metrics, on a registry of their own, so that tests can make as many as they like."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "dask_gitops_api_requests_total",
            "Requests to the API server; code 0: no answer came",
            ["verb", "resource", "code"],
            registry=self.registry,
        )
        self.reconciles = Counter(
            "dask_gitops_reconciles_total",
            "Reconciles, by kind and how they ended",
            ["kind", "result"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "dask_gitops_reconcile_seconds",
            "Duration of a reconcile in seconds",
            ["kind"],
            registry=self.registry,
            buckets=(0.001, 0.01, 0.1, 1, 10, 60),
        )
        self.retired = Counter(
            "dask_gitops_retired_workers_total",
            "Workers asked to leave, by the scheduler's answer",
            ["state"],
            registry=self.registry,
        )
        self.leader = Gauge(
            "dask_gitops_leader", "1 while this process may write", registry=self.registry
        )
        self.waited = Histogram(
            "dask_gitops_queue_wait_seconds",
            "How long an object waited for its reconcile, in seconds",
            ["kind"],
            registry=self.registry,
            buckets=(0.001, 0.01, 0.1, 1, 10, 60),
        )
        self.served = Gauge(
            "dask_gitops_namespace_served",
            "1 while the objects of this namespace (*: of all) can be read and are reconciled",
            ["namespace"],
            registry=self.registry,
        )
        self.caches = Caches()
        self.queue = Queue()
        self.registry.register(self.caches)
        self.registry.register(self.queue)
