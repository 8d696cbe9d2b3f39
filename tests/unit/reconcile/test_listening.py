"""Where a scheduler listens in truth: asked once where its spec leaves it open, or workers keep ending; told in the status."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.kube.resource import DASKCLUSTERS, DASKWORKERGROUPS, PODS
from dask_gitops.reconcile.stores import Key
from dask_gitops.resources.listening import Listening
from dask_gitops.scheduler.client import State

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


SCRIPT = {"spec": {"containers": [{"name": "scheduler", "command": ["/start.sh"]}]}}


def told(h: Harness) -> tuple[str, str, str]:
    """What the cluster's status tells: both addresses, and what is to be written."""
    status = h.find(DASKCLUSTERS, "demo")["status"]
    words = h.condition(DASKCLUSTERS, "demo", "SchedulerListensElsewhere")[2]
    return status["schedulerAddress"], status["dashboardAddress"], words


def asked(h: Harness) -> int:
    return len(h.schedulers.calls)


@pytest.mark.parametrize("listens", [Listening("ws", prefix="/dask"), Listening(), None], ids=str)
def test_a_scheduler_whose_spec_leaves_it_open_is_asked_once(listens: Listening | None) -> None:
    """As soon as it is ready, whether or not a worker ends or leaves; then by each new process once."""

    async def story(h: Harness) -> None:
        h.schedulers.listens = listens
        h.cluster(worker={"replicas": 2}, scheduler=SCRIPT)
        h.start()
        await h.settle()
        before, where = told(h), listens or Listening()
        assert before[0] == f"{where.scheme}://demo-scheduler.{NS}.svc:8786"
        assert before[1] == f"http://demo-scheduler.{NS}.svc:8787{where.prefix}"
        assert ("--protocol ws" in before[2]) == (where.scheme == "ws")
        assert asked(h) == 1
        h.edit(DASKWORKERGROUPS, "demo-default", {"worker": {"replicas": 3}})
        await h.settle()
        assert asked(h) == 1
        writes = len(h.api.writes())
        h.restart()
        await h.settle()
        await h.pass_time(600)
        assert asked(h) == 2
        assert told(h) == before
        assert len(h.api.writes()) == writes

    play(story)


@pytest.mark.parametrize(
    "listens",
    [Listening("ws"), Listening(comm=9000), Listening(prefix="/dask")],
    ids=["with a condition", "with one, and the same address", "without"],
)
@pytest.mark.parametrize("silent_s", [0, 200])
def test_a_new_process_takes_nothing_back(listens: Listening, silent_s: int) -> None:
    """What the last one heard by chance stands in the status, and holds until the scheduler was asked again."""

    async def story(h: Harness) -> None:
        h.schedulers.listens = listens
        h.cluster(worker={"replicas": 2})
        h.start()
        await h.settle()
        h.edit(DASKWORKERGROUPS, "demo-default", {"worker": {"replicas": 1}})
        await h.settle()
        before, calls = told(h), asked(h)
        h.schedulers.silent = "does not answer" if silent_s else None
        writes = len(h.api.writes())
        h.restart()
        await h.pass_time(silent_s + 1)
        assert told(h) == before
        assert asked(h) - calls <= 1 + silent_s / 50
        h.schedulers.silent = None
        await h.pass_time(200)
        assert h.world.memory.told[Key("DaskCluster", NS, "demo")].listens == listens
        calls = asked(h)
        await h.pass_time(3600)
        assert asked(h) == calls, "once is enough"
        assert told(h) == before
        assert len(h.api.writes()) == writes

    play(story)


def test_a_scheduler_that_comes_back_is_asked_again() -> None:
    """Its successor, too, is started by nobody knows what; what it says takes the place of what the last one said."""

    async def story(h: Harness) -> None:
        h.schedulers.listens = Listening("ws")
        h.cluster(worker={"replicas": 1}, scheduler=SCRIPT)
        h.start()
        await h.settle()
        assert told(h)[2]
        h.schedulers.listens = Listening()
        h.delete_pod("demo-scheduler")
        await h.settle()
        assert told(h)[0] == f"tcp://demo-scheduler.{NS}.svc:8786"
        assert told(h)[2] == ""

    play(story)


def test_nothing_is_kept_of_a_cluster_that_went_while_it_was_asked() -> None:
    async def story(h: Harness) -> None:
        h.cluster(worker={"replicas": 2})
        h.start()
        await h.settle()

        ask = h.schedulers.state
        went = []

        async def goes(base_url: str, token: str) -> State:
            answer = await ask(base_url, token)
            h.api.remove(DASKCLUSTERS, NS, "demo")
            await h.pass_time(
                90
            )  # all that was its own goes, too, and nothing is heard of it any more
            went.append(answer)
            return answer

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(h.schedulers, "state", goes)
            h.edit(DASKWORKERGROUPS, "demo-default", {"worker": {"replicas": 1}})
            await h.pass_time(200)
        assert len(went) == 1
        assert h.world.memory.told == {}

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
