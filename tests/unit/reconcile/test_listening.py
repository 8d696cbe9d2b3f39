"""Where a scheduler listens in truth: asked when workers keep ending, once, and told in the status."""

from __future__ import annotations

from typing import Any

from dask_gitops.kube.resource import DASKCLUSTERS, PODS
from dask_gitops.resources.listening import Listening

from tests.support.harness import NS, Harness, play

JSON = dict[str, Any]


def test_workers_that_keep_ending_have_the_scheduler_asked_once() -> None:
    async def story(h: Harness) -> None:
        h.schedulers.listens = Listening("ws", 9000)
        h.cluster(worker={"replicas": 1})
        h.start()
        await h.settle()
        asked = len(h.schedulers.calls)
        (pod,) = h.workers()
        for _ in range(5):
            h.kubelet.restart(NS, pod)
            await h.settle()
        assert len(h.schedulers.calls) == asked + 1
        status = h.find(DASKCLUSTERS, "demo")["status"]
        truth, _, message = h.condition(DASKCLUSTERS, "demo", "SchedulerListensElsewhere")
        assert truth == "True"
        assert "--protocol ws" in message
        assert "containerPort 9000" in message
        assert status["schedulerAddress"] == f"ws://demo-scheduler.{NS}.svc:8786"

    play(story)


NOTE = "dask.org/scheduler-address"


def runs(h: Harness, *, script: bool) -> None:
    words = {"command": ["./start.sh"]} if script else {"args": ["dask", "scheduler"]}
    inner = {"worker": {"replicas": 1}, "scheduler": {"spec": {"containers": [words]}}}
    h.job(cluster={"spec": inner})
    h.start()


def address_when_let_loose(*, script: bool, listens: Listening | None, silent: str = "") -> JSON:
    """The runner's annotations when its gate is open, and how often the scheduler was asked by then."""
    found: JSON = {}

    async def story(h: Harness) -> None:
        h.schedulers.listens, h.schedulers.silent = listens, silent or None
        runs(h, script=script)
        await h.settle()
        pod = h.find(PODS, "nightly-runner")
        assert "schedulingGates" not in pod["spec"]
        found.update(note=pod["metadata"]["annotations"].get(NOTE), calls=len(h.schedulers.calls))

    play(story)
    return found


def test_a_runner_is_told_where_the_scheduler_listens_before_its_gate_opens() -> None:
    host = f"nightly-scheduler.{NS}.svc:8786"
    told = address_when_let_loose(script=True, listens=Listening("ws"))
    assert told["note"] == f"ws://{host}"
    assert address_when_let_loose(script=True, listens=None)["note"] == f"tcp://{host}"
    silent = address_when_let_loose(script=True, listens=Listening("ws"), silent="does not answer")
    assert silent["note"] == f"tcp://{host}", "what its spec says is better than none"


def test_nobody_is_asked_for_what_the_spec_says() -> None:
    """And the runner has its address as a plain variable."""
    found = address_when_let_loose(script=False, listens=Listening("ws"))
    assert found["note"] is None
    assert found["calls"] == 0
