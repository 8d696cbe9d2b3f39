"""The table of docs/jobs.md: each of its lines happens, and the status says what the line says, within a minute."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from dask_gitops.kube.resource import DASKCLUSTERS, DASKJOBS, PODS

from tests.support.harness import NS, Harness, play

JSON = dict[str, Any]
DOC = Path(__file__).parents[3] / "docs" / "jobs.md"
NAME = "nightly"
GRACE_S = 30


class Line(NamedTuple):
    happens: str
    declared: str
    status: str
    reason: str
    attempts: str

    @property
    def spec(self) -> JSON:
        """What ``declared`` says, as YAML."""
        words = self.declared.replace("`", "").split(", ")
        return {k: v for word in words for k, v in (yaml.safe_load(word) or {}).items()}


def table() -> list[Line]:
    text = DOC.read_text().split("## How it ends")[1]
    rows = [[cell.strip() for cell in row.strip("|\n").split("|")] for row in text.splitlines()]
    return [Line(*row) for row in rows if len(row) == 5 and row[0] not in ("what happens", "---")]


def runner(h: Harness) -> str:
    """The pod of the attempt that runs now."""
    return str(h.find(DASKJOBS, NAME)["status"]["jobRunnerPodName"])


async def started(h: Harness) -> None:
    """Wait until a runner runs; the last one may be backed off from."""
    for _ in range(60):
        await h.pass_time(1)
        pod = h.api.find(PODS, NS, h.find(DASKJOBS, NAME)["status"].get("jobRunnerPodName", ""))
        if (
            pod
            and pod["status"]["phase"] == "Running"
            and "deletionTimestamp" not in pod["metadata"]
        ):
            return
    raise AssertionError(f"no runner runs: {h.find(DASKJOBS, NAME)['status']}")


def over(h: Harness) -> bool:
    return h.find(DASKJOBS, NAME)["status"].get("jobStatus") in ("Successful", "Failed")


async def each_attempt(h: Harness, act: Callable[[], None]) -> None:
    """The same happens to each attempt, until there is none any more."""
    for _ in range(10):
        await started(h)
        act()
        await h.pass_time(5)
        if over(h):
            return
    raise AssertionError("attempts without an end")


def exits(h: Harness, code: int, **how: Any) -> Callable[[], None]:
    """The kubelet restarts what may be restarted."""

    def act() -> None:
        pod = h.find(PODS, runner(h))
        if code and pod["spec"]["restartPolicy"] == "OnFailure":
            h.kubelet.restart(NS, runner(h), code, **how)
        else:
            h.kubelet.finish(NS, runner(h), code, **how)

    return act


async def exit_0(h: Harness) -> None:
    await each_attempt(h, exits(h, 0))


async def beside_a_sidecar(h: Harness) -> None:
    await each_attempt(h, exits(h, 0, container="job"))


async def exit_1_then_0(h: Harness) -> None:
    await started(h)
    exits(h, 1)()
    await h.pass_time(2)
    await exit_0(h)


async def exit_1(h: Harness) -> None:
    await each_attempt(h, exits(h, 1))


async def exit_1_until_the_deadline(h: Harness) -> None:
    await started(h)
    for _ in range(8):
        if not over(h):
            exits(h, 1)()
        await h.pass_time(10)


async def out_of_memory(h: Harness) -> None:
    await each_attempt(h, exits(h, 137, reason="OOMKilled"))


async def evicted(h: Harness) -> None:
    await each_attempt(h, lambda: h.kubelet.evict(NS, runner(h)))


def disrupted(h: Harness, reason: str, **status: Any) -> None:
    """Kubernetes says why it is about to remove the runner."""
    target = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "lastTransitionTime": "2030-01-01T00:00:00Z",
    }
    conditions = [*h.find(PODS, runner(h))["status"]["conditions"], target]
    h.api.edit(PODS, NS, runner(h), {"status": {**status, "conditions": conditions}})


async def drained(h: Harness) -> None:
    """The eviction API deletes the pod."""
    await started(h)
    disrupted(h, "EvictionByEvictionAPI")
    h.delete_pod(runner(h))
    await h.pass_time(GRACE_S)


async def node_removed(h: Harness) -> None:
    """The pod is ended in its kubelet's place, then removed."""
    await started(h)
    disrupted(h, "DeletionByPodGC", phase="Failed")
    await h.pass_time(1)
    h.api.remove(PODS, NS, runner(h))


async def deleted(h: Harness) -> None:
    await each_attempt(h, lambda: h.delete_pod(runner(h)))


async def deleted_without_grace(h: Harness) -> None:
    await each_attempt(h, lambda: h.api.remove(PODS, NS, runner(h)))


async def deleted_before_its_start(h: Harness) -> None:
    h.kubelet.room = 0
    await h.pass_time(5)
    assert h.find(DASKJOBS, NAME)["status"]["jobStatus"] == "ClusterCreated"
    h.delete_pod(runner(h))


async def cluster_deleted(h: Harness) -> None:
    await each_attempt(h, lambda: h.api.remove(DASKCLUSTERS, NS, NAME))


async def node_lost(h: Harness) -> None:
    await started(h)
    h.kubelet.lose_node(NS, runner(h))
    await h.pass_time(GRACE_S)


async def node_lost_then_0(h: Harness) -> None:
    await node_lost(h)
    await h.pass_time(40)
    await exit_0(h)


async def never_starts(h: Harness, why: str) -> None:
    """It says so before its deadline and at its end."""
    await h.pass_time(40)
    assert not over(h)
    assert h.condition(DASKJOBS, NAME, "Ready")[0] == "False"
    assert why in h.condition(DASKJOBS, NAME, "Ready")[2]
    await h.pass_time(25)
    assert why in h.condition(DASKJOBS, NAME, "Failed")[2]


async def no_image(h: Harness) -> None:
    h.kubelet.missing = {"job:1"}
    await never_starts(h, "Back-off pulling image")


async def no_room(h: Harness) -> None:
    h.kubelet.room = 2  # for the scheduler and one worker
    await h.pass_time(10)
    h.kubelet.unschedulable(NS, f"{NAME}-runner", "0/3 nodes are available")
    await never_starts(h, "0/3 nodes are available")


async def no_quota(h: Harness) -> None:
    h.api.quota(NS, PODS, 0)
    await never_starts(h, "exceeded quota")


async def scheduler_never_starts(h: Harness) -> None:
    h.kubelet.missing = {"dask:1"}
    await never_starts(h, "Back-off pulling image")


async def takes_longer(h: Harness) -> None:
    await started(h)
    await h.pass_time(60)


PRODUCERS: dict[str, Callable[[Harness], Awaitable[None]]] = {
    "exit 0": exit_0,
    "exit 0 beside a sidecar that goes on": beside_a_sidecar,
    "exit 1, then exit 0": exit_1_then_0,
    "exit 1": exit_1,
    "out of memory": out_of_memory,
    "evicted by the kubelet": evicted,
    "its node is drained": drained,
    "its node is removed from Kubernetes": node_removed,
    "runner deleted by hand": deleted,
    "runner deleted by hand, without grace": deleted_without_grace,
    "runner deleted by hand before it has started": deleted_before_its_start,
    "cluster deleted by hand": cluster_deleted,
    "node lost": node_lost,
    "node lost, then exit 0": node_lost_then_0,
    "image does not exist": no_image,
    "no node has room": no_room,
    "no quota is left": no_quota,
    "the scheduler never starts": scheduler_never_starts,
    "it takes longer": takes_longer,
}


def test_the_table_names_every_outcome() -> None:
    assert len(table()) >= 25
    assert {line.happens for line in table()} == PRODUCERS.keys()


@pytest.mark.parametrize("line", table(), ids=lambda line: f"{line.happens} {line.declared}")
def test_an_outcome(line: Line) -> None:
    spec = dict(line.spec)
    pod: JSON = {"containers": [{"name": "job", "image": "job:1"}]}
    if "restartPolicy" in spec:
        pod["restartPolicy"] = spec.pop("restartPolicy")
    if "sidecar" in line.happens:
        pod["containers"].append({"name": "proxy", "image": "p"})
    act = PRODUCERS[line.happens]
    if line.happens == "exit 1" and "activeDeadlineSeconds" in spec:
        act = exit_1_until_the_deadline

    async def main(h: Harness) -> None:
        if line.status == "Failed":
            h.judge.allow("failed", line.happens)
        h.job(NAME, job={"spec": pod}, **spec)
        h.start()
        await act(h)
        await h.pass_time(60)
        status = h.find(DASKJOBS, NAME)["status"]
        assert status["jobStatus"] == line.status, status
        assert h.condition(DASKJOBS, NAME, "Ready")[1] == line.reason
        assert status.get("attempts", 0) == int(line.attempts)
        h.kubelet.room = None
        await h.settle()
        assert h.find(DASKJOBS, NAME)["status"] == status, "an end is the end"
        assert h.api.names(DASKCLUSTERS) == []
        pods = h.api.items(PODS)
        assert all(
            p["status"]["phase"] in ("Succeeded", "Failed")
            for p in pods
            if p["metadata"]["uid"] not in h.kubelet.lost
        )

    play(main)
