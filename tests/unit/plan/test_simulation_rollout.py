"""The same world, whose workers' spec changes too: never too many, never too few, and in the end all are new."""

from __future__ import annotations

import random

import pytest
from dask_gitops.plan.actions import Create, Delete, Patch
from dask_gitops.plan.groupstate import GroupState
from dask_gitops.plan.rollout import Budget
from dask_gitops.plan.turnover import turnover
from dask_gitops.plan.workergroup import plan_group
from dask_gitops.resources import labels

from tests.unit.objects import cluster, group, scheduler
from tests.unit.plan.test_simulation import DRAIN_S, World, check


class RollingWorld(World):
    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self.spec = 0
        self.strategy = {
            "maxSurge": rng.choice([0, 1, 2, "25%", "100%"]),
            "maxUnavailable": rng.choice([0, 0, 1, "50%"]),
        }

    def state(self) -> GroupState:
        env = [{"name": "SPEC", "value": str(self.spec)}]
        worker = {
            "replicas": self.want,
            "spec": {"containers": [{"name": "worker", "env": env}]},
        }
        spec = {"worker": worker, "drainTimeout": DRAIN_S, "updateStrategy": self.strategy}
        others = tuple(p for p in self.pods.values() if p.group != "demo-default")
        return GroupState(
            "demo-default", group(spec), cluster(), scheduler(), tuple(self.own), others
        )

    def happen(self) -> None:
        super().happen()
        if self.rng.random() < 0.08:
            self.spec = self.rng.randrange(3)


def roll(world: RollingWorld, *, broken: bool = False) -> None:
    state = world.state()
    plan = plan_group(state, world.workers(), world.now, default_image="d", silence="is silent")
    budget = Budget.of(world.want, state.group, state.cluster)
    created = sum(len(a.manifests) for a in plan.actions if isinstance(a, Create))
    cancelled = {a.meta.name for a in plan.actions if isinstance(a, Delete)}
    kept = len(state.live) - len(cancelled)
    if turnover(state).rolling:
        assert kept + created <= max(kept, world.want + budget.surge), "beyond the surge"
    marked = {
        a.meta.name
        for a in plan.actions
        if isinstance(a, Patch) and labels.RETIRING in a.body["metadata"]["annotations"]
    }
    ready = {p.meta.name for p in state.staying if p.ready}
    least = min(world.want - budget.unavailable, len(ready))
    assert len(ready - marked - cancelled) >= least, "fewer than may be"
    world.carry_out(
        plan.actions, upto=world.rng.randrange(len(plan.actions) + 1) if broken else None
    )


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens(seed: int) -> None:
    world = RollingWorld(random.Random(seed))
    for _ in range(80):
        world.happen()
        roll(world, broken=world.rng.random() < 0.2)
        check(world)
    world.silent = False
    world.busy.clear()
    for _ in range(80):
        world.peace()
        roll(world)
        check(world)
    state = world.state()
    assert len(world.own) == world.want
    assert not state.old
    assert all(state.is_current(p) and p.retiring is None for p in world.own)
    calm = plan_group(state, None, world.now, default_image="d")
    assert (calm.actions, calm.again) == ((), None)
