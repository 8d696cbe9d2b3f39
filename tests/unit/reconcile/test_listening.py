"""Where a scheduler listens in truth: asked when workers keep ending, once, and told in the status."""

from __future__ import annotations

from dask_gitops.kube.resource import DASKCLUSTERS
from dask_gitops.resources.listening import Listening

from tests.support.harness import NS, Harness, play


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
