"""Declared objects, and what `dask-gitops plan` tells of a change of them."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

from dask_gitops.cli.plan.main import compare
from dask_gitops.cli.plan.rehearsal import Id, Picture
from dask_gitops.cli.plan.subject import Subject
from dask_gitops.settings import Settings

from tests.support.harness import NS

JSON = dict[str, Any]


def declared(kind: str, name: str, spec: JSON, meta: JSON | None = None) -> dict[Id, JSON]:
    namespace = (meta or {}).get("namespace", NS)
    raw = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **copy.deepcopy(meta or {})},
        "spec": copy.deepcopy(spec),
    }
    return {Id(kind, namespace, name): raw}


def cluster(
    replicas: int | None = 4, *, meta: JSON | None = None, name: str = "demo", **spec: Any
) -> dict[Id, JSON]:
    """:param replicas: of the default group; None: not said."""
    if replicas is not None:
        spec["worker"] = {"replicas": replicas, **spec.get("worker", {})}
    return declared("DaskCluster", name, spec, meta)


def group(
    replicas: int | None = 2, *, name: str = "demo-gpu", meta: JSON | None = None, **spec: Any
) -> dict[Id, JSON]:
    of = {"cluster": "demo", **spec}
    if replicas is not None:
        of["worker"] = {"replicas": replicas, **spec.get("worker", {})}
    return declared("DaskWorkerGroup", name, of, meta)


def autoscaler(minimum: int, maximum: int, **spec: Any) -> dict[Id, JSON]:
    limits = {"cluster": "demo", "minimum": minimum, "maximum": maximum, **spec}
    return declared("DaskAutoscaler", "demo", limits)


def job(*, meta: JSON | None = None, **spec: Any) -> dict[Id, JSON]:
    runner = {"spec": {"containers": [{"name": "job", "image": "etl:1"}]}}
    of = {"job": runner, "cluster": {"spec": {"worker": {"replicas": 3}}}, **spec}
    return declared("DaskJob", "nightly", of, meta)


def container(name: str = "worker", **fields: Any) -> JSON:
    return {"spec": {"containers": [{"name": name, **fields}]}}


def env(value: str, name: str = "worker") -> JSON:
    return container(name, env=[{"name": "A", "value": value}])


def subjects(
    before: dict[Id, JSON], after: dict[Id, JSON], live: Picture | None = None
) -> list[Subject]:
    return asyncio.run(compare(before, after, Settings(dask_image="dask:1"), live))


def told(before: dict[Id, JSON], after: dict[Id, JSON], live: Picture | None = None) -> list[str]:
    """``kind name: text`` of each effect, with ``!`` before those that disrupt."""
    return [
        f"{'! ' if e.disruptive else ''}{s.kind} {s.name}: {e.text}"
        for s in subjects(before, after, live)
        for e in s.effects
    ]
