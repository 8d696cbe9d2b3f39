"""Whatever number a person writes where one is read: nothing overflows, raises or looks again without a pause."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from dask_gitops.plan import idle
from dask_gitops.plan.actions import Create
from dask_gitops.plan.autoscaler import Memory, ScalerState, due_in, plan_autoscaler
from dask_gitops.plan.demand import Demand, Kind
from dask_gitops.plan.groupstate import GroupState
from dask_gitops.plan.groupstatus import group_status
from dask_gitops.plan.job import plan_job
from dask_gitops.plan.jobrun import JobState
from dask_gitops.plan.jobstatus import job_status
from dask_gitops.plan.rollout import Budget
from dask_gitops.plan.workergroup import MOST_AT_ONCE, plan_group
from dask_gitops.resources import numbers
from dask_gitops.resources.autoscalers import Limits
from dask_gitops.resources.observed import CustomResource

from tests.unit.objects import T0, cluster, group, scheduler, worker
from tests.unit.plan.test_plan_job import failed, job

NUMBERS: list[Any] = [
    -1,
    -(2**63),
    0,
    1,
    0.5,
    1e3,
    2**31 - 1,
    2**63 - 1,
    10**30,
    10**400,
    1e308,
    math.nan,
    math.inf,
    -math.inf,
    True,
    "1e400",
    "9" * 5000,
    "-5%",
    "1e400%",
    "9" * 5000 + "%",
    "NaN%",
    "٣",
    None,
    [],
    {},
]
names = [repr(n)[:12] for n in NUMBERS]


@pytest.mark.parametrize("number", NUMBERS, ids=names)
def test_a_number_is_one_that_can_be_reckoned_with(number: Any) -> None:
    assert 0 <= numbers.seconds(number, 5.0) <= numbers.LONGEST_S
    found = numbers.whole(number)
    assert found is None or 0 <= found <= numbers.LARGEST


@pytest.mark.parametrize("number", NUMBERS, ids=names)
@pytest.mark.parametrize(
    "field", ["replicas", "drainTimeout", "maxSurge", "maxUnavailable", "progressDeadlineSeconds", "idleTimeout", "schedulerDeadlineSeconds"]
)  # fmt: skip
def test_of_a_cluster(field: str, number: Any) -> None:
    strategy = (
        {field: number}
        if field in ("maxSurge", "maxUnavailable", "schedulerDeadlineSeconds")
        else {}
    )
    spec = {field: number, "updateStrategy": strategy}
    replicas = number if field == "replicas" else 3
    of = cluster({**spec, "worker": {"spec": {"containers": [{"name": "worker", "image": "x:2"}]}}})
    mine = group(
        {
            "worker": {"replicas": replicas},
            **({"drainTimeout": number} if field == "drainTimeout" else {}),
        }
    )
    for pods in ((), tuple(worker(n, annotations={"dask.org/revision": "old"}) for n in range(3))):
        state = GroupState("demo-default", mine, of, scheduler(), pods)
        found = plan_group(state, [], T0 + 1000, default_image="dask:1")
        made = [len(a.manifests) for a in found.actions if isinstance(a, Create)]
        assert sum(made) <= MOST_AT_ONCE
        group_status(state, T0 + 1000)
    budget = Budget.of(10, of)
    assert budget.surge >= 0
    assert budget.surge + budget.unavailable > 0
    assert idle.timeout(of) >= 0


@pytest.mark.parametrize("number", NUMBERS, ids=names)
@pytest.mark.parametrize(
    "field", ["minimum", "maximum", "interval", "maxPercent", "stabilizationSeconds"]
)
def test_of_an_autoscaler(field: str, number: Any) -> None:
    meta = {
        "name": "demo",
        "namespace": "ns",
        "uid": "u",
        "generation": 1,
        "creationTimestamp": "2030-01-01T00:00:00Z",
    }
    inner = {"scaleUp": {field: number}, "scaleDown": {field: number}}
    spec = {"cluster": "demo", "minimum": 1, "maximum": 9, field: number, **inner}
    raw = {"kind": "DaskAutoscaler", "metadata": meta, "spec": spec}
    scaler = CustomResource.of(raw)
    limits = Limits.of(scaler)
    assert 1 <= limits.interval <= numbers.LONGEST_S
    of, mine = cluster(), group({"worker": {"replicas": 3}})
    state = GroupState("demo-default", mine, of, scheduler(), (worker(0),))
    whole = ScalerState(scaler, of, state, None, (state,), {"demo-default": limits.maximum})
    memory = Memory("u", number=3, scheduler="s", wishes=((T0, 3),))
    for seconds in (0.0, 1e300):
        demand = Demand("s", 5.0, (Kind((), 10**9, 0, seconds),) if seconds else (), ())
        steps = plan_autoscaler(whole, demand, "", memory, T0 + 100_000)
        assert steps.after.wants is not None
        assert 0 <= steps.after.wants <= numbers.LARGEST
        assert due_in(whole, steps.after, T0 + 100_000) >= 1  # no look without a pause


@pytest.mark.parametrize("number", NUMBERS, ids=names)
@pytest.mark.parametrize(
    "field", ["backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"]
)
def test_of_a_job(field: str, number: Any) -> None:
    of = job({field: number})
    for state in (JobState(of), JobState(of, (failed(of),))):
        plan_job(state, T0 + 100, default_image="d")
        status, _ = job_status(state, T0 + 100)
        later = replace(of, status={**status, "uid": of.meta.uid})
        plan_job(JobState(later, state.runners), T0 + 200, default_image="d")
        job_status(JobState(later, state.runners), T0 + 200)
