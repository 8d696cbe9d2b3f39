"""Prometheus metrics of the controller itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

ALL = "*"  # no namespace is called so


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
        self.queue_depth = Gauge(
            "dask_gitops_queue_depth", "Objects waiting for a reconcile", registry=self.registry
        )
        self.queue_age = Gauge(
            "dask_gitops_queue_oldest_seconds",
            "How long the first of them has waited",
            registry=self.registry,
        )
        self.served = Gauge(
            "dask_gitops_namespace_served",
            "1 while the objects of this namespace (*: of all) can be read and are reconciled",
            ["namespace"],
            registry=self.registry,
        )
        self.watch_age = Gauge(
            "dask_gitops_watch_age_seconds",
            "Time since a watch was last heard of",
            ["resource"],
            registry=self.registry,
        )
