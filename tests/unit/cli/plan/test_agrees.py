"""It cannot disagree: what the controller really does to Pods is what `dask-gitops plan` has said.

The same change is made in the world of the controller's own tests: another API server in memory, with nodes that take
their time, graceful ends and garbage collection, and schedulers whose workers hold results.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from dask_gitops.cli.plan.rehearsal import Id
from dask_gitops.kube.resource import PODS, Resource
from dask_gitops.reconcile.stores import RESOURCES
from dask_gitops.resources import labels

from tests.support.harness import Harness, play
from tests.unit.cli.plan.objects import autoscaler, cluster, container, env, group, job, subjects

JSON = dict[str, Any]
Declared = dict[Id, JSON]
MANY = {"updateStrategy": {"maxSurge": 0, "maxUnavailable": 3}}


def two(value: str) -> JSON:
    return {"worker": env(value), "scheduler": env(value, "scheduler")}


CHANGES: list[tuple[Declared, Declared]] = [
    (cluster(), cluster()),
    (cluster(worker=env("1")), cluster(worker=env("2"))),
    (cluster(7, worker=env("1"), **MANY), cluster(7, worker=env("2"), **MANY)),
    (cluster(worker=env("1")), cluster(2, worker=env("2"))),
    (cluster(worker=env("1")), cluster(6, worker=env("2"))),
    (cluster(image="d:1"), cluster(image="d:2")),
    (cluster(image="d:1") | group(), cluster(image="d:2") | group()),
    (cluster(**two("1")), cluster(**two("2"))),
    (cluster(scheduler=env("1", "scheduler")), cluster(scheduler=env("2", "scheduler"))),
    (
        cluster(image="d:1", updateStrategy={"scheduler": "Immediate"}),
        cluster(image="d:2", updateStrategy={"scheduler": "Immediate"}),
    ),
    (
        cluster(image="d:1", updateStrategy={"scheduler": "OnDelete"}),
        cluster(image="d:2", updateStrategy={"scheduler": "OnDelete"}),
    ),
    (
        cluster(image="d:1", updateStrategy={"schedulerDeadlineSeconds": 120}),
        cluster(image="d:2", updateStrategy={"schedulerDeadlineSeconds": 120}),
    ),
    (cluster(), cluster(restartedAt="2040-01-01T00:00:00Z")),
    (cluster(4), cluster(6)),
    (cluster(6), cluster(2)),
    (cluster(3), cluster(0)),
    (cluster(3) | group(), cluster(0) | group()),
    (cluster(3) | group(), cluster(3)),
    (cluster(0) | group(), cluster(0)),
    (cluster(), cluster() | group()),
    (cluster(), cluster(workerGroups=[{"name": "x", "worker": {"replicas": 2}}])),
    (cluster(workerGroups=[{"name": "x", "worker": {"replicas": 2}}]), cluster()),
    (cluster() | group(), {}),
    ({}, cluster() | group(3)),
    (cluster() | group(), cluster(suspend=True) | group()),
    (cluster(suspend=True) | group(), cluster() | group()),
    (cluster(), cluster(suspend=True, drainTimeout=20)),
    (cluster(4), cluster(None)),
    (cluster(4), cluster(None) | autoscaler(6, 9)),
    (cluster(4), cluster(None) | autoscaler(1, 2)),
    (cluster(), cluster(meta={"labels": {"team": "a"}})),
    (cluster(), cluster(idleTimeout=3600, idleAction="Scale")),
    (cluster(), cluster(scheduler={"service": {"type": "NodePort"}})),
    ({}, job()),
    (job(), {}),
    (job(), job(job=container("job", image="etl:2"))),
    (job(), job(suspend=True)),
    (job(suspend=True), job()),
]


class Seen:
    """Pods as they are at one moment."""

    def __init__(self, h: Harness) -> None:
        self.workers: dict[str, set[str]] = {}
        self.others: dict[str, str] = {}
        for pod in h.api.items(PODS):
            meta = pod["metadata"]
            if pod["status"]["phase"] in ("Succeeded", "Failed") or "deletionTimestamp" in meta:
                continue
            if found := meta["labels"].get(labels.GROUP):
                self.workers.setdefault(found, set()).add(meta["uid"])
            else:
                self.others[meta["labels"][labels.COMPONENT]] = meta["uid"]

    def of(self, name: str) -> set[str]:
        return self.workers.get(name, set())

    def scheduler(self) -> str | None:
        return self.others.get("scheduler")

    def runner(self) -> str | None:
        return self.others.get("job-runner")


def apply(h: Harness, before: Declared, after: Declared) -> None:
    for of, raw in after.items():
        res, spec = RESOURCES[of.kind], raw["spec"]
        if of not in before:
            h.api.put(res, raw)
            continue
        gone: JSON = dict.fromkeys(before[of]["spec"].keys() - spec.keys())
        if "worker" in spec and "replicas" not in spec["worker"]:
            gone["worker"] = {"replicas": None}
        if "worker" in before[of]["spec"] and "worker" not in spec:
            gone["worker"] = {"replicas": None}
        h.api.edit(res, of.namespace, of.name, {"spec": gone})
        h.api.edit(res, of.namespace, of.name, {"spec": spec, "metadata": raw["metadata"]})
    for of in before.keys() - after.keys():
        h.api.remove(RESOURCES[of.kind], of.namespace, of.name)
    h.api.collect_garbage()


def workers_end_with_their_scheduler(h: Harness) -> None:
    """As Dask's do; the tests' nodes do not do it by themselves."""
    told = h.api.on_change

    def changed(res: Resource, old: JSON | None, new: JSON | None) -> None:
        assert told is not None
        told(res, old, new)
        if res != PODS or new is not None or old is None:
            return
        meta = old["metadata"]
        if meta["labels"].get(labels.COMPONENT) != labels.SCHEDULER:
            return
        for pod in h.api.items(PODS):
            running = pod["status"]["phase"] == "Running"
            if labels.GROUP in pod["metadata"]["labels"] and running:
                h.kubelet.finish(pod["metadata"]["namespace"], pod["metadata"]["name"], 0)

    h.api.on_change = changed


def really(before: Declared, after: Declared) -> tuple[Seen, Seen, Seen, bool]:
    """Pods before the change, after it while the cluster was busy, after that, and whether results were lost."""
    found: list[Seen] = []
    lost: list[bool] = []

    async def main(h: Harness) -> None:
        workers_end_with_their_scheduler(h)
        for of, raw in before.items():
            h.api.put(RESOURCES[of.kind], raw)
        h.start()
        await h.settle()
        h.schedulers.scatter()
        h.schedulers.waiting = 1
        if any(of.kind == "DaskAutoscaler" for of in after):
            h.schedulers.running = set(h.schedulers.workers())
        found.append(Seen(h))
        apply(h, before, after)
        await h.pass_time(600)
        found.append(Seen(h))
        lost.append(bool(h.schedulers.lost or h.schedulers.discarded))
        h.schedulers.keys.clear()
        h.schedulers.waiting = 0
        await h.pass_time(600)
        found.append(Seen(h))

    play(main)
    return found[0], found[1], found[2], lost[0]


def some(rng: random.Random) -> Declared:
    """A cluster as somebody may declare it, mostly with a second group."""
    spec: JSON = {}
    images, strategies = ["d:1", "d:1", "d:2"], ["WhenIdle", "WhenIdle", "Immediate", "OnDelete"]
    if rng.random() < 0.7:
        spec["image"] = rng.choice(images)
    if rng.random() < 0.5:
        spec["updateStrategy"] = {
            "maxSurge": rng.choice([0, 1, 2, "25%", "100%"]),
            "maxUnavailable": rng.choice([1, 2, "50%"]),
            "scheduler": rng.choice(strategies),
        }
    spec["worker"] = env(rng.choice("112"))
    spec["scheduler"] = env(rng.choice("1112"), "scheduler")
    if rng.random() < 0.1:
        spec["suspend"] = True
    if rng.random() < 0.2:
        spec["restartedAt"] = "2040-01-01T00:00:00Z"
    if rng.random() < 0.3:
        spec["drainTimeout"] = 30
    if rng.random() < 0.3:
        spec["workerGroups"] = [{"name": "x", "worker": {"replicas": rng.randrange(4)}}]
    found = cluster(rng.choice([0, 1, 2, 3, 5, 8]), **spec)
    if rng.random() < 0.5:
        found |= group(rng.choice([0, 1, 3]), worker=env(rng.choice("112")))
    return found


def any_two(seed: int) -> tuple[Declared, Declared]:
    rng = random.Random(seed)
    return some(rng), some(rng)


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_what_was_said_happens(before: Declared, after: Declared) -> None:
    compare(before, after)


@pytest.mark.parametrize("seed", range(20))
def test_any_change(seed: int) -> None:
    compare(*any_two(seed))


@pytest.mark.soak
def test_many_changes() -> None:
    for seed in range(20, 1000):
        compare(*any_two(seed))


def compare(before: Declared, after: Declared) -> None:
    first, busy, idle, lost = really(before, after)
    told = subjects(before, after)

    def said(*what: str, group: str | None = None) -> int:
        """How many workers these effects are about (at least 1 for effects that are about none)."""
        names = {"demo", "nightly"} if group in (None, "demo-default") else {group}
        some = [e for s in told if s.name in names for e in s.effects if e.what in what]
        return sum(1 if e.workers is None else e.workers for e in some)

    one, two, three = (s.scheduler() for s in (first, busy, idle))
    for name in first.workers | busy.workers:
        old, new = first.of(name), busy.of(name)
        if one is not None and two == one:
            assert said("roll", group=name) == min(len(old - new), len(new - old))
            assert said("up", "added", group=name) == max(0, len(new) - len(old))
            assert said("down", "removed", group=name) == max(0, len(old) - len(new))
        if one is not None and one == two == three:
            assert busy.of(name) == idle.of(name)
    assert bool(said("scheduler-replaced")) == (None not in (one, two) and one != two)
    assert bool(said("scheduler-when-idle")) == (None not in (two, three) and two != three)
    assert bool(said("suspended", "removed")) == (one is not None and two is None)
    assert bool(said("resumed", "added", "run")) == (one is None and two is not None)
    ran = first.runner()
    interrupted = ran is not None and busy.runner() != ran
    restarted = one is not None and three != one
    assert any(e.disruptive for s in told for e in s.effects) == (lost or restarted or interrupted)
