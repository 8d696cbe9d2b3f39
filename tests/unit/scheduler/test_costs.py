"""What an answer of a scheduler costs the event loop, whatever is in it: everybody waits for each of these steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from dask_gitops.plan.autoscaler import Memory, ScalerState, plan_autoscaler
from dask_gitops.plan.groupstate import GroupState, Worker
from dask_gitops.plan.workergroup import plan_group
from dask_gitops.resources.observed import CustomResource
from dask_gitops.scheduler import client as client_module
from dask_gitops.scheduler.client import MAX_ANSWER

from tests.support import steps
from tests.unit.objects import T0, cluster, group, scheduler, worker
from tests.unit.scheduler.test_hostile import ROW, STATE

JSON = dict[str, Any]
MOST = 5000  # workers of one answer
NAMES = [f"r{n}" for n in range(20)]


def kind(n: int, *, distinct: bool) -> JSON:
    needs = dict.fromkeys(NAMES, 1 + n / 1000 if distinct else 1)
    return {"resources": needs, "waiting": 10, "running": 0, "seconds": 100.0}


def process(n: int, *, where: str, distinct: bool) -> JSON:
    name = {"pods": f"demo-default-worker-{n}", "one pod": f"demo-default-worker-0-{n}"}
    return {
        "host": "h",
        "name": name.get(where, f"w{n}"),
        "nthreads": 1,
        "memory_limit": 1,
        "bytes": 1,
        "keys": 1,
        "tasks": 0,
        "actors": 0,
        "resources": dict.fromkeys(NAMES, 2 + n if distinct else 2),
    }


def scaler(groups: int, pods: int, resources: JSON) -> ScalerState:
    """An autoscaler of the default group, which has pods, of a cluster with further groups that have none."""
    spec = {"cluster": "demo", "minimum": 0, "maximum": 10_000}
    meta = {"name": "demo", "namespace": "ns", "uid": "u", "generation": 1}
    meta["creationTimestamp"] = "2030-01-01T00:00:00Z"
    raw = {"kind": "DaskAutoscaler", "metadata": meta, "spec": spec}
    of, lead = cluster(), scheduler()
    some = [
        GroupState(
            name,
            group({"worker": {"replicas": 1, "resources": resources}}, name=name),
            of,
            lead,
            tuple(worker(n) for n in range(pods)) if name == "demo-default" else (),
        )
        for name in ("demo-default", *(f"g{n}" for n in range(groups - 1)))
    ]
    maxima = {s.name: 10_000 for s in some}
    return ScalerState(CustomResource.of(raw), of, some[0], None, tuple(some), maxima)


@pytest.mark.parametrize(
    ("where", "kinds", "processes", "groups"),
    [
        ("nowhere", "equal", "equal", 1),
        ("pods", "equal", "equal", 1),
        ("one pod", "equal", "distinct", 1),
        ("pods", "distinct", "equal", 1),
        ("pods", "distinct", "distinct", 100),
        ("nowhere", "distinct", "distinct", 100),
    ],
)
def test_a_decision_by_the_largest_demand(
    where: str, kinds: str, processes: str, groups: int
) -> None:
    def make(size: int) -> Callable[[], object]:
        answer = {
            "id": "s",
            "target_seconds": 5.0,
            "kinds": [kind(n, distinct=kinds == "distinct") for n in range(200 * size // MOST)],
            "workers": [
                process(n, where=where, distinct=processes == "distinct") for n in range(size)
            ],
        }
        raw = json.dumps(answer, separators=(",", ":")).encode()
        assert len(raw) < MAX_ANSWER
        demand, costs = steps.run(client_module._parse_demand(client_module._decode(raw)))
        assert max(costs) <= steps.LONGEST
        resources = dict.fromkeys(NAMES, 100_000)
        state = scaler(groups, size // 50 if where == "pods" else 1, resources)

        def decide() -> None:
            found = plan_autoscaler(state, demand, "", Memory("u"), T0 + 1000)
            assert found.after.wants is not None

        return decide

    steps.fits_a_step(make(MOST))
    steps.is_linear(make, MOST // 2)


@pytest.mark.parametrize("replicas", [0, MOST])
def test_a_turn_of_a_group_with_the_largest_state(replicas: int) -> None:
    """Of which nobody, or everybody, is to leave."""

    def make(size: int) -> Callable[[], object]:
        pods = tuple(worker(n) for n in range(size))
        known = [
            Worker(f"id-{n}", f"10.0.0.{n + 1}", f"demo-default-worker-{n}", 0, n)
            for n in range(size)
        ]
        spec = {"worker": {"replicas": min(replicas, size)}}

        def turn() -> None:
            state = GroupState("demo-default", group(spec), cluster(), scheduler(), pods)
            plan_group(state, known, T0 + 1000, default_image="dask:1")

        return turn

    steps.fits_a_step(make(MOST))
    steps.is_linear(make, MOST // 2)


def test_states_of_tasks_without_end_are_refused() -> None:
    tasks = {f"t{n}": 1 for n in range(100_000)}
    raw = json.dumps({**STATE, "tasks": tasks, "workers": []}).encode()
    steps.fits_a_step(lambda: client_module._decode(raw))
    answer = client_module._decode(raw)
    with pytest.raises(client_module._Invalid, match="tasks are too many"):
        steps.run(client_module._parse_state(answer))


@pytest.mark.parametrize("shape", ["workers", "resources"])
def test_a_state_is_read_in_short_steps(shape: str) -> None:
    def answer(size: int) -> bytes:
        rows = [
            {**ROW, "id": f"W-{n}", "address": "tcp://h:1", "host": "h", "name": f"w{n}"}
            for n in range(size // 4 if shape == "resources" else size)
        ]
        if shape == "resources":
            rows = [{**row, "resources": dict.fromkeys(NAMES, 1)} for row in rows]
        return json.dumps({**STATE, "workers": rows}).encode()

    def make(size: int) -> Callable[[], object]:
        raw = answer(size)
        assert len(raw) < MAX_ANSWER
        return lambda: steps.run(client_module._parse_state(client_module._decode(raw)))

    raw = answer(MOST)
    steps.fits_a_step(lambda: client_module._decode(raw))
    _, costs = steps.run(client_module._parse_state(client_module._decode(raw)))
    assert max(costs) <= steps.LONGEST
    steps.is_linear(make, MOST // 2)


def test_outcomes_are_read_in_short_steps() -> None:
    def make(size: int) -> Callable[[], object]:
        ids = [f"Worker-{n:036}" for n in range(size)]
        row = {"state": "draining", "message": "2 tasks running " * 10}
        raw = json.dumps({"workers": dict.fromkeys(ids, row)}).encode()
        assert len(raw) < MAX_ANSWER

        def read() -> None:
            answer = client_module._decode(raw)
            found, costs = steps.run(
                client_module._parse_per_id(answer, ids, client_module._parse_outcome)
            )
            assert len(found) == size
            assert max(costs) <= steps.LONGEST

        return read

    steps.is_linear(make, MOST // 2)
