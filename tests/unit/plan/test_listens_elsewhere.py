"""A scheduler that listens elsewhere than its spec says: asked once, and told with what to write."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from dask_gitops.plan.cluster import ClusterState, cluster_status, listening_in
from dask_gitops.plan.groupstate import GroupState
from dask_gitops.plan.told import Told
from dask_gitops.resources.listening import Listening
from dask_gitops.resources.observed import Pod

from tests.unit.objects import T0, cluster, group, running, scheduler, worker

JSON = dict[str, Any]
WS = Listening("ws", 8786, "http", 8787, "/dask")
DIALLED = "tcp://demo-scheduler.ns.svc:8786"


def state(
    *workers: Pod, told: Told | None = None, spec: JSON | None = None, of_group: JSON | None = None
) -> ClusterState:
    of, lead = cluster(spec), scheduler()
    default = group({"worker": {"replicas": 1, **(of_group or {})}})
    groups = (GroupState("demo-default", default, of, lead, workers),)
    return ClusterState(of, (lead,), groups=groups, told=told)


def told(listens: Listening | None, uid: str | None = None) -> Told:
    return Told(uid or scheduler().meta.uid, listens)


def condition(of: ClusterState) -> str | None:
    status, _ = cluster_status(of, T0)
    some = {c["type"]: c["message"] for c in status["conditions"]}
    return some.get("SchedulerListensElsewhere")


def ended() -> Pod:
    return worker(status=running("10.0.0.1", restarts=1, ready=False))


def test_it_is_asked_once_when_workers_keep_ending() -> None:
    assert listening_in(state(worker()), T0) is None
    assert listening_in(state(ended()), T0) == 0
    assert listening_in(state(ended(), told=told(WS)), T0) is None
    assert listening_in(state(ended(), told=told(None)), T0) is None  # an earlier version's
    assert listening_in(state(ended(), told=told(WS, "another scheduler's")), T0) == 0


SCRIPT = {"scheduler": {"spec": {"containers": [{"command": ["./start.sh"]}]}}}


def test_it_is_asked_once_where_its_spec_leaves_it_open() -> None:
    assert listening_in(state(worker(), spec=SCRIPT), T0) == 0
    assert listening_in(state(worker(), spec=SCRIPT, told=told(Listening())), T0) is None


def test_one_that_does_not_answer_is_asked_again_in_its_time() -> None:
    silent = Told(scheduler().meta.uid, None, silent=T0)
    of = state(worker(), spec=SCRIPT, told=silent)
    assert listening_in(of, T0) == 60
    assert listening_in(of, T0 + 59) == 1
    assert listening_in(of, T0 + 61) == 0
    assert listening_in(of, T0 - 9) == 0, "a clock that was set back"
    other = replace(silent, scheduler="another")
    assert listening_in(replace(of, told=other), T0) == 0
    assert listening_in(replace(of, schedulers=()), T0) is None


def after(of: ClusterState, **spec: JSON) -> ClusterState:
    """The same with the status that it got, seen by a new process; and with another spec, if one is given."""
    status, _ = cluster_status(of, T0)
    meta = replace(of.cluster.meta, generation=of.cluster.meta.generation + bool(spec))
    resource = replace(of.cluster, meta=meta, status=status, spec={**of.cluster.spec, **spec})
    return replace(of, cluster=resource, told=None)


def test_what_was_told_holds_until_the_scheduler_was_asked() -> None:
    before = state(worker(), told=told(WS))
    now = after(before)
    assert listening_in(now, T0) == 0
    kept, _ = cluster_status(now, T0)
    assert kept == now.cluster.status
    between, _ = cluster_status(replace(now, schedulers=()), T0)
    assert between["schedulerAddress"] == kept["schedulerAddress"]
    answered = replace(now, told=told(Listening()))
    assert condition(answered) is None
    assert cluster_status(answered, T0)[0]["schedulerAddress"] == DIALLED


def test_a_spec_that_changed_is_nothing_that_a_scheduler_said() -> None:
    """A scheduler that does not answer keeps no address in the status that the spec no longer leads to."""
    port = [{"name": "tcp-comm", "containerPort": 9}]
    service = {"ports": [{"port": 80, "targetPort": 9}]}
    changed = {"spec": {"containers": [{"ports": port}]}, "service": service}
    now = after(state(worker()), scheduler=changed)
    assert listening_in(now, T0) is None
    assert cluster_status(now, T0)[0]["schedulerAddress"] == DIALLED.replace("8786", "80")
    misled = after(state(worker(), told=told(WS)), scheduler=changed)
    assert listening_in(misled, T0) == 0, "what was wrong may still be"
    assert cluster_status(misled, T0)[0]["schedulerAddress"] == DIALLED.replace("8786", "80")


SCHEDULERS: dict[str, tuple[Listening, JSON, str | None]] = {
    "as the spec says": (Listening(), {}, None),
    "another prefix": (Listening(prefix="/a"), {}, None),
    "another protocol": (WS, {}, "the argument --protocol ws"),
    "another port": (Listening(comm=9), {}, "a port called tcp-comm with containerPort 9"),
    "both": (
        Listening("ws", 9),
        {},
        "the argument --protocol ws and a port called tcp-comm with containerPort 9",
    ),
    "a port to which the user's Service leads": (
        Listening(comm=9),
        {"service": {"ports": [{"port": 80, "targetPort": 9}]}},
        None,
    ),
    "a port that the spec says": (
        Listening(comm=9),
        {"spec": {"containers": [{"ports": [{"name": "tcp-comm", "containerPort": 9}]}]}},
        None,
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_to_write_is_told(name: str) -> None:
    listens, spec, words = SCHEDULERS[name]
    said = condition(state(worker(), told=told(listens), spec={"scheduler": spec}))
    if words is None:
        assert said is None
    else:
        assert said is not None
        assert said.endswith(f"write into the container of spec.scheduler {words}")
        assert f"workers of demo-default were told {DIALLED}" in said


def test_what_is_written_ends_it() -> None:
    """The remedy that the condition names is one."""
    ports = [{"name": "tcp-comm", "containerPort": 9}]
    container = {"args": ["./start.sh", "--protocol", "ws"], "ports": ports}
    spec = {"scheduler": {"spec": {"containers": [container]}}}
    assert condition(state(worker(), told=told(Listening("ws", 9)), spec=spec)) is None


def test_workers_whose_address_the_user_says_are_not_misled() -> None:
    own = {"env": [{"name": "DASK_SCHEDULER_ADDRESS", "value": "ws://elsewhere:1"}]}
    spec = {"spec": {"containers": [own]}}
    assert condition(state(worker(), told=told(WS), of_group=spec)) is None


def test_addresses_are_those_that_hold() -> None:
    status, _ = cluster_status(state(worker(), told=told(WS)), T0)
    assert status["schedulerAddress"] == "ws://demo-scheduler.ns.svc:8786"
    assert status["dashboardAddress"] == "http://demo-scheduler.ns.svc:8787/dask"
    status, _ = cluster_status(state(worker(), told=told(WS, "another scheduler's")), T0)
    assert status["schedulerAddress"] == DIALLED
