"""A worker that nothing probes is called ready by Kubernetes as soon as it is started: it must be seen running first."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.kube.resource import DASKCLUSTERS, DASKWORKERGROUPS, PODS
from dask_gitops.plan.groupstate import GroupState
from dask_gitops.plan.groupstatus import group_status, is_up, latch
from dask_gitops.plan.turnover import turnover
from dask_gitops.resources.observed import Pod
from dask_gitops.resources.pods import worker_revision

from tests.support.harness import NS, Harness, play
from tests.unit.objects import T0, cluster, group, scheduler, worker

PROBE = {"containers": [{"name": "worker", "readinessProbe": {"httpGet": {"port": 1}}}]}
#: A worker as the existing operator's users declare it: nobody knows the port of its dashboard.
UNPROBED = {"spec": {"containers": [{"name": "worker", "args": ["dask", "worker"]}]}}


def state(*pods: Pod, now: float, replicas: int = 2) -> GroupState:
    of = group({"worker": {"replicas": replicas}})
    return GroupState("demo-default", of, cluster(), scheduler(), pods, now=now)


def made(serial: int, **kwargs: Any) -> Pod:
    now = worker_revision(cluster(), group({"worker": {"replicas": 2}}))
    return worker(serial, annotations={"dask.org/revision": now}, **kwargs)


@pytest.mark.parametrize(
    ("after", "up", "again"),
    [(-3600, False, 10), (0, False, 10), (4, False, 6), (10, True, None), (3600, True, None)],
)
def test_nothing_is_up_before_it_was_seen_running(
    after: float, up: bool, again: float | None
) -> None:
    seen = state(made(0), made(1), now=T0 + after)
    assert is_up(seen) == bool(latch(seen)) == up
    status, when = group_status(seen, T0 + after)
    assert when == again
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert ready["status"] == str(up)
    assert ("nothing probes them" in ready["message"]) != up
    assert status["readyReplicas"] == 2


def test_a_probe_says_enough() -> None:
    assert is_up(state(made(0, spec=PROBE), made(1, spec=PROBE), now=T0))


@pytest.mark.parametrize(("after", "leave"), [(0, 0), (9, 0), (10, 1)])
def test_nobody_leaves_for_one_that_may_end_at_once(after: float, leave: int) -> None:
    old = [worker(n, annotations={"dask.org/revision": "earlier"}) for n in (0, 1)]
    old = [worker(n, annotations=p.meta.annotations, spec=PROBE) for n, p in enumerate(old)]
    assert turnover(state(*old, made(2), now=T0 + after)).leave == leave


def test_a_crash_loop_is_never_ready() -> None:
    async def story(h: Harness) -> None:
        h.cluster(worker={"replicas": 1, **UNPROBED})
        h.start()
        await h.pass_time(5)
        (pod,) = h.workers()
        for _ in range(6):
            h.kubelet.restart(NS, pod, 3, "Error")
            h.kubelet.set_ready(NS, pod, True)  # for the moment in which it runs
            await h.pass_time(2)
            for kind, name in ((DASKCLUSTERS, "demo"), (DASKWORKERGROUPS, "demo-default")):
                assert h.condition(kind, name, "Ready")[0] == "False"
            h.kubelet.set_ready(NS, pod, False)
            await h.pass_time(20)
        status, reason, message = h.condition(DASKWORKERGROUPS, "demo-default", "Ready")
        assert (status, reason) == ("False", "CrashLoopBackOff")
        assert "keeps ending with Error (exit code 3)" in message
        h.kubelet.set_ready(NS, pod, True)
        await h.pass_time(20)
        assert h.condition(DASKWORKERGROUPS, "demo-default", "Ready")[0] == "True"
        assert h.condition(DASKCLUSTERS, "demo", "Ready")[0] == "True"
        assert len(h.created(PODS)) == 2

    play(story)
