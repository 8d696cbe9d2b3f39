"""A tiny world of pods and a scheduler with keys, driven at random: what must hold whatever happens.

The plan is the real one; the world carries its actions out, at once or (as a real one does) only some of them.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from dask_gitops.plan.actions import Action, Create, Delete, Emit, Patch, Retire, Undrain
from dask_gitops.plan.groupstate import GroupState, Worker
from dask_gitops.plan.workergroup import plan_group
from dask_gitops.resources import labels
from dask_gitops.resources.observed import Pod

from tests.unit.objects import T0, cluster, group, raw_pod, running, scheduler

DRAIN_S = 60


class World:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now = T0 + 1000
        self.want = 3
        self.pods: dict[str, Pod] = {}
        self.keys: dict[str, int] = {}  # pod name -> unique keys of its worker, once registered
        self.drained: set[str] = set()  # retired by the scheduler
        self.leaving: set[str] = set()  # being drained by the scheduler
        self.busy: set[str] = set()  # a task runs for long
        self.silent = False
        self.made = 0
        self.discarded = 0
        for n in range(2):  # a neighbour's pods
            pod = self.raw(f"demo-gpu-worker-{n}", "demo-gpu", n, f"10.9.0.{n + 1}")
            self.pods[pod.meta.name] = pod
            self.keys[pod.meta.name] = 5

    def raw(self, name: str, of: str, serial: int, ip: str | None) -> Pod:
        found = raw_pod(
            name,
            "worker",
            labels={labels.GROUP: of, labels.SERIAL: str(serial)},
            node=ip is not None,
            status=running(ip) if ip else {"phase": "Pending"},
        )
        return Pod.of(found)

    @property
    def own(self) -> list[Pod]:
        return [p for p in self.pods.values() if p.group == "demo-default"]

    def state(self) -> GroupState:
        return GroupState(
            "demo-default",
            group({"worker": {"replicas": self.want}, "drainTimeout": DRAIN_S}),
            cluster(),
            scheduler(),
            tuple(self.own),
            tuple(p for p in self.pods.values() if p.group != "demo-default"),
        )

    def workers(self) -> list[Worker] | None:
        if self.silent:
            return None
        return [
            Worker(f"id-{name}", self.pods[name].ip or "", name, int(name in self.busy), 8 * keys)
            for name, keys in self.keys.items()
            if name in self.pods and name not in self.drained
        ]

    # ---- what happens by itself

    def happen(self) -> None:
        self.now += self.rng.choice([1, 1, 5, 20])
        for pod in self.own:
            name = pod.meta.name
            if not pod.started and self.rng.random() < 0.6:
                self.made += 1
                up = self.raw(
                    name, "demo-default", pod.serial, f"10.0.{self.made // 250}.{self.made % 250}"
                )
                self.pods[name] = replace(up, meta=pod.meta)
            elif pod.started and name not in self.keys and self.rng.random() < 0.8:
                self.keys[name] = self.rng.randrange(3)
        if self.rng.random() < 0.15:
            self.want = self.rng.choice([0, 1, 2, 3, 5, 8])
        if self.rng.random() < 0.1:
            self.silent = not self.silent
        if self.own and self.rng.random() < 0.1:
            self.evict(self.rng.choice(self.own))
        names = [p.meta.name for p in self.own if p.meta.name in self.keys]
        if names and self.rng.random() < 0.2:
            self.busy ^= {self.rng.choice(names)}

    def peace(self) -> None:
        """All pods come up and their workers register."""
        self.now += 5
        for pod in self.own:
            if not pod.started:
                self.made += 1
                ip = f"10.0.{self.made // 250}.{self.made % 250}"
                up = self.raw(pod.meta.name, "demo-default", pod.serial, ip)
                self.pods[pod.meta.name] = replace(up, meta=pod.meta)
            self.keys.setdefault(pod.meta.name, 1)

    def evict(self, pod: Pod) -> None:
        """Somebody else takes the pod away; its worker hands over or not, that is not our doing."""
        del self.pods[pod.meta.name]
        self.keys.pop(pod.meta.name, None)

    # ---- what the plan asks for

    def carry_out(self, actions: tuple[Action, ...], *, upto: int | None = None) -> None:
        for action in actions[:upto]:
            match action:
                case Create(_, manifests):
                    for manifest in manifests:
                        meta = manifest["metadata"]
                        assert meta["name"] not in self.pods, "a twin"
                        serial = int(meta["labels"][labels.SERIAL])
                        self.pods[meta["name"]] = self.raw(
                            meta["name"], "demo-default", serial, None
                        )
                        self.mark(meta["name"], meta["annotations"])
                case Delete(_, meta):
                    self.delete(meta.name)
                case Patch(_, meta, body):
                    self.mark(meta.name, body["metadata"]["annotations"])
                case Retire():
                    self.retire(action)
                case Undrain(pods):
                    for pod in pods:
                        self.leaving.discard(pod.meta.name)
                        self.mark(pod.meta.name, {labels.RETIRING: None})
                case Emit():
                    pass

    def mark(self, name: str, annotations: dict[str, Any]) -> None:
        pod = self.pods[name]
        assert pod.group == "demo-default"
        new = {k: v for k, v in {**pod.meta.annotations, **annotations}.items() if v is not None}
        self.pods[name] = replace(pod, meta=replace(pod.meta, annotations=new))

    def retire(self, action: Retire) -> None:
        if self.silent:
            return
        names = [p.meta.name for p in action.pods]
        for name in names:
            pod = self.pods[name]
            assert pod.group == "demo-default", "a neighbour's worker was asked to leave"
            assert pod.retiring is not None, "asked before it was marked"
        self.leaving |= set(names)
        for name in names:
            stay = [n for n in self.keys if n in self.pods and n not in self.leaving | self.drained]
            if name in self.busy and not action.interrupt:
                continue
            if self.keys.get(name) and not stay and not action.discard:
                self.leaving.discard(name)
                continue
            keys = self.keys.pop(name, 0)
            if keys and stay:
                self.keys[stay[0]] += keys
            elif keys:
                assert self.want == 0
                self.discarded += keys
            self.drained.add(name)
            self.delete(name)

    def delete(self, name: str) -> None:
        pod = self.pods[name]
        assert pod.group == "demo-default", "a neighbour's pod was deleted"
        if pod.started and name not in self.drained and self.keys.get(name):
            overdue = pod.retiring is not None and self.now - pod.retiring > DRAIN_S
            assert self.want == 0, "keys were lost"
            assert overdue, "keys were lost too early"
        if self.keys.pop(name, 0) and name not in self.drained:
            self.discarded += 1
        del self.pods[name]


def check(world: World) -> None:
    neighbours = [p for p in world.pods.values() if p.group != "demo-default"]
    assert len(neighbours) == 2
    assert all(p.retiring is None for p in neighbours)


def step(world: World, *, broken: bool = False) -> None:
    workers = world.workers()
    state = world.state()
    plan = plan_group(state, workers, world.now, default_image="d", silence="is silent")
    marks = [a for a in plan.actions if isinstance(a, Patch)]
    pendings = [p for p in state.staying if not p.started]
    cancelled = {a.meta.name for a in plan.actions if isinstance(a, Delete)} & {
        p.meta.name for p in pendings
    }
    if marks:
        assert len(cancelled) == len(pendings), "a running worker was chosen before a pending one"
    for retire in (a for a in plan.actions if isinstance(a, Retire)):
        assert {p.meta.name for p in retire.pods} <= {p.meta.name for p in state.leaving}
    created = sum(len(a.manifests) for a in plan.actions if isinstance(a, Create))
    assert len(state.staying) + created <= max(world.want, len(state.staying))
    # One step never goes below what is wanted.
    gone = len(marks) + len(cancelled)
    assert len(state.staying) - gone >= min(world.want, len(state.staying))
    upto = world.rng.randrange(len(plan.actions) + 1) if broken else None
    world.carry_out(plan.actions, upto=upto)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens(seed: int) -> None:
    world = World(random.Random(seed))
    for _ in range(60):
        world.happen()
        # A crash between any two actions: only the first few are carried out.
        step(world, broken=world.rng.random() < 0.2)
        check(world)
    # And then peace: it converges, and stays.
    world.silent = False
    world.busy.clear()
    for _ in range(40):
        world.peace()
        step(world)
        check(world)
    assert len(world.own) == world.want
    assert all(p.retiring is None for p in world.own)
    calm = plan_group(world.state(), None, world.now, default_image="d")
    assert calm.actions == ()
    assert calm.again is None


def test_a_marked_set_is_finished_exactly() -> None:
    """Also by another process, with another opinion of who is idle."""
    for seed in range(30):
        world = World(random.Random(seed))
        world.want = 8
        for _ in range(12):
            world.peace()
            step(world)
        world.want = 3
        step(world)
        marked = {p.meta.name for p in world.own if p.retiring is not None}
        assert len(marked) == 5
        before = {p.meta.name for p in world.own}
        for _ in range(10):
            world.now += 5
            for name in world.keys:
                if name in before:
                    world.keys[name] = world.rng.randrange(1, 9)
            step(world, broken=True)
        world.now += 5
        for _ in range(3):
            step(world)
        assert before - {p.meta.name for p in world.own} == marked
