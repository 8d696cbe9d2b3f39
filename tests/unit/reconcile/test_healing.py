"""Whatever ends, in whatever combination, with the controller there or away: it is back without a hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any

import pytest
from dask_gitops.kube.errors import ApiUnreachable
from dask_gitops.kube.resource import DASKCLUSTERS, DASKWORKERGROUPS, PODS, SERVICES

from tests.support.harness import NS, Harness, play
from tests.support.memory_api import Request

JSON = dict[str, Any]
SCHEDULER, SERVICE, GROUP, WORKER = "scheduler", "service", "group", "worker"
PARTS = (SCHEDULER, SERVICE, GROUP, WORKER)
OF = {SERVICE: SERVICES, GROUP: DASKWORKERGROUPS}
COMBINATIONS = [c for n in range(1, 5) for c in combinations(PARTS, n)]


def deleted(h: Harness, pod: str) -> None:
    h.delete_pod(pod)


def evicted(h: Harness, pod: str) -> None:
    h.kubelet.evict(NS, pod)


def killed_in_place(h: Harness, pod: str) -> None:
    h.kubelet.restart(NS, pod, 137, "OOMKilled")
    h.kubelet.set_ready(NS, pod, True)


def killed_for_good(h: Harness, pod: str) -> None:
    h.kubelet.finish(NS, pod, 137, reason="OOMKilled")


def failed(h: Harness, pod: str) -> None:
    h.kubelet.finish(NS, pod, 3)


def node_lost(h: Harness, pod: str) -> None:
    h.kubelet.lose_node(NS, pod)


#: How a pod ends, and the reason of a scheduler's restart in the status.
ENDS: dict[Callable[[Harness, str], None], str] = {
    deleted: "the pod was deleted",
    evicted: "Evicted",
    killed_in_place: "OOMKilled (exit code 137)",
    killed_for_good: "OOMKilled (exit code 137)",
    failed: "Error (exit code 3)",
    node_lost: "the pod was deleted, and its node never confirmed its end",
}


def at_rest(h: Harness, parts: tuple[str, ...]) -> None:
    """Nothing else happens."""


def answers_lost(h: Harness, parts: tuple[str, ...]) -> None:
    for part in parts:
        h.api.fault("create", OF[part], error="timeout", when="after")


def writes_refused(h: Harness, parts: tuple[str, ...]) -> None:
    for part in parts:
        h.api.fault("create", OF[part], error="reset", times=3)


def at_the_first_create(h: Harness, parts: tuple[str, ...], act: Callable[[], None]) -> None:
    """Let something happen at the moment in which the first of these parts is made anew."""
    waiting = [act]

    def check(request: Request) -> None:
        if waiting and request.verb == "create" and request.resource in [OF[p] for p in parts]:
            waiting.pop()()
            h.api.admission.remove(check)

    h.api.admission.append(check)


def watches_cut(h: Harness, parts: tuple[str, ...]) -> None:
    error = ApiUnreachable("reset", sent=True)
    at_the_first_create(h, parts, lambda: h.api.break_watches(error=error))


def history_forgotten(h: Harness, parts: tuple[str, ...]) -> None:
    def forget() -> None:
        h.api.break_watches()
        h.api.compact()

    at_the_first_create(h, parts, forget)


def killed_then(h: Harness, parts: tuple[str, ...]) -> None:
    def aim() -> None:
        h.strikes["request", h.asked, "after"] = h.restart

    at_the_first_create(h, parts, aim)


#: What goes wrong when parts without a pod come back.
BESIDE = (at_rest, answers_lost, writes_refused, watches_cut, history_forgotten, killed_then)
#: Which parts end, and how their pods end, or what goes wrong where none of them is a pod.
CASES = [
    (parts, how)
    for parts in COMBINATIONS
    for how in (ENDS if {SCHEDULER, WORKER} & set(parts) else BESIDE)
]


def uids(h: Harness) -> dict[str, str]:
    """Of the pods that live, by name."""
    return {
        p["metadata"]["name"]: p["metadata"]["uid"]
        for p in h.api.items(PODS)
        if "deletionTimestamp" not in p["metadata"]
    }


async def up(h: Harness, **spec: Any) -> None:
    h.cluster(**{"worker": {"replicas": 3}, **spec})
    h.start()
    await h.settle()


def whole(h: Harness) -> None:
    """All that is declared is there, and the status says so."""
    pods = {name: h.find(PODS, name) for name in uids(h)}
    assert len(pods) == 4
    for pod in pods.values():
        ready = {c["type"]: c["status"] for c in pod["status"]["conditions"]}
        assert (pod["status"]["phase"], ready["Ready"]) == ("Running", "True")
    assert h.find(SERVICES, "demo-scheduler")
    assert h.find(DASKWORKERGROUPS, "demo-default")["spec"]["worker"]["replicas"] == 3
    for res, name in ((DASKCLUSTERS, "demo"), (DASKWORKERGROUPS, "demo-default")):
        assert h.condition(res, name, "Ready")[0] == "True"
    assert h.find(DASKCLUSTERS, "demo")["status"]["workers"] == {"desired": 3, "ready": 3}


@pytest.mark.parametrize("there", [True, False], ids=["controller", "no-controller"])
@pytest.mark.parametrize(
    ("parts", "end"), CASES, ids=[f"{'+'.join(parts)}-{how.__name__}" for parts, how in CASES]
)
def test_back_without_a_hand(parts: tuple[str, ...], end: Callable[..., None], there: bool) -> None:
    async def story(h: Harness) -> None:
        await up(h)
        before, worker = uids(h), h.workers()[1]
        events, creates = len(h.events()), h.api.count("create", PODS)
        if not there:
            h.kill()
        if SERVICE in parts:
            h.api.remove(SERVICES, NS, "demo-scheduler")
        if GROUP in parts:
            h.api.remove(DASKWORKERGROUPS, NS, "demo-default")
        ended = [p for p, of in (("demo-scheduler", SCHEDULER), (worker, WORKER)) if of in parts]
        for pod in ended:
            end(h, pod)
        if not ended:
            end(h, parts)
        if not there:
            await h.pass_time(20)
            h.start()
        await h.pass_time(100)  # a lost node's grace period
        await h.settle()
        whole(h)
        after = uids(h)
        anew = [] if end is killed_in_place else ended
        assert {uid for name, uid in before.items() if name not in anew} <= set(after.values())
        assert not {before[name] for name in anew} & set(after.values())
        assert h.api.count("create", PODS) - creates == len(anew)
        told = h.events()[events:]
        expected = ["SchedulerReplaced"] * ("demo-scheduler" in anew)
        expected += ["WorkersReplaced"] * (worker in anew)
        if end is node_lost and SCHEDULER in parts:
            expected.append("SchedulerLost")
        if SCHEDULER in anew or SCHEDULER in parts:
            # That all workers were up once is remembered on the scheduler pod.
            told = ["WorkersReplaced" if reason == "ScaledUp" else reason for reason in told]
        assert sorted(told) == sorted(expected)
        assert all(fault.hits for fault in h.api.faults), "it went wrong for nobody"
        assert h.api.admission == [], "nothing was made anew"
        assert h.struck == (end is killed_then)
        reported(h, parts, end, there)

    play(story)


def reported(h: Harness, parts: tuple[str, ...], end: Callable[..., None], there: bool) -> None:
    said = h.find(DASKCLUSTERS, "demo")["status"]["scheduler"]
    if SCHEDULER not in parts:
        assert said == {"restarts": 0}
        return
    assert said["restarts"] == 1
    why = ENDS[end]
    if end is deleted and not there:
        why = "the pod was gone when the controller started"
    assert said["lastRestartReason"] == why


# ---- those that die at once


def creations(h: Harness) -> list[float]:
    """When worker pods were created, seconds since the first."""
    times = [
        r.time for r in h.api.requests("create", PODS) if r.status == 201 and "worker" in r.name
    ]
    return [round(t - times[0]) for t in times]


async def watch_them_die(h: Harness, seconds: int, lives: Callable[[int], bool]) -> None:
    """Each worker fails before it is ready, unless ``lives`` (of its number) says otherwise."""
    run, seen = h.kubelet.run, list[str]()

    def fail(namespace: str, name: str, *, ready: bool = True) -> None:
        if "worker" not in name:
            run(namespace, name)
            return
        seen.append(name)
        alive = lives(len(seen) - 1)
        run(namespace, name, ready=alive)
        if not alive:
            h.kubelet.finish(namespace, name, 1)

    h.kubelet.run = fail  # type: ignore[method-assign]
    await h.pass_time(seconds)
    h.kubelet.run = run  # type: ignore[method-assign]


def test_workers_that_die_at_once_are_replaced_more_and_more_slowly() -> None:
    async def story(h: Harness) -> None:
        h.judge.allow("failed", "workers that never run")
        h.cluster(worker={"replicas": 1})
        h.start()
        await watch_them_die(h, 250, lambda _: False)
        h.restart()  # the row goes on: it is remembered on the pods
        await watch_them_die(h, 1250, lambda _: False)
        times = creations(h)
        pauses = [b - a for a, b in pairwise(times)]
        for pause, wanted in zip(pauses, [10, 20, 40, 80, 160, 300, 300, 300], strict=True):
            assert wanted <= pause <= wanted + 5
        stalled = h.condition(DASKWORKERGROUPS, "demo-default", "Stalled")
        assert stalled[:2] == ("True", "PodFailed")
        assert "Error (exit code 1)" in stalled[2]
        told = h.events()
        assert told.count("WorkersReplaced") == len(pauses)

    play(story)


def test_one_that_lived_ends_the_row() -> None:
    async def story(h: Harness) -> None:
        h.cluster(worker={"replicas": 1})
        h.start()
        await watch_them_die(h, 200, lambda number: number >= 3)
        (fourth,) = h.workers()
        assert h.find(PODS, fourth)["metadata"]["annotations"]["dask.org/quick-deaths"] == "3"
        h.kubelet.finish(NS, fourth, 1)
        await h.pass_time(5)
        (fifth,) = h.workers()
        assert fifth != fourth
        assert "dask.org/quick-deaths" not in h.find(PODS, fifth)["metadata"]["annotations"]
        await h.settle()

    play(story)


def test_a_better_spec_does_not_wait_for_the_row() -> None:
    async def story(h: Harness) -> None:
        h.cluster(worker={"replicas": 2})
        h.start()
        await watch_them_die(h, 100, lambda _: False)
        before = set(h.workers())
        env = [{"name": "A", "value": "b"}]
        spec = {"containers": [{"name": "worker", "env": env}]}
        h.edit(DASKCLUSTERS, "demo", {"worker": {"replicas": 2, "spec": spec}})
        await h.pass_time(10)
        assert len(h.workers()) == 2
        assert not before & set(h.workers())
        for name in h.workers():
            assert "dask.org/quick-deaths" not in h.find(PODS, name)["metadata"]["annotations"]
        await h.settle()
        assert h.condition(DASKCLUSTERS, "demo", "Ready")[0] == "True"

    play(story)


def test_while_a_successor_starts_the_status_says_what_became_of_those_before() -> None:
    async def story(h: Harness) -> None:
        h.cluster(worker={"replicas": 1})
        h.start()
        await watch_them_die(h, 25, lambda _: False)
        h.kubelet.room = 1  # the third one finds no place
        await h.pass_time(20)
        reason, message = h.condition(DASKWORKERGROUPS, "demo-default", "Ready")[1:]
        assert reason == "CrashLoopBackOff"
        assert "2 before it died at once, the last by Error (exit code 1)" in message

    play(story)


def test_a_scheduler_that_dies_at_once_is_replaced_more_and_more_slowly() -> None:
    async def story(h: Harness) -> None:
        h.judge.allow("failed", "a scheduler that never runs")
        h.cluster(worker={"replicas": 0}, scheduler={"spec": {"restartPolicy": "Never"}})
        h.start()
        for _ in range(1000):
            pod = h.api.find(PODS, NS, "demo-scheduler")
            if pod is not None and pod["status"]["phase"] == "Running":
                h.kubelet.finish(NS, "demo-scheduler", 2)
            await h.pass_time(1)
        assert 6 <= h.api.count("create", PODS) <= 8  # after 10, 30, 70, 150, 310, 610 and 910 s
        status = h.find(DASKCLUSTERS, "demo")["status"]
        assert status["phase"] == "Error"
        assert status["scheduler"]["restarts"] == h.api.count("create", PODS) - 1
        assert status["scheduler"]["lastRestartReason"] == "Error (exit code 2)"
        stalled = h.condition(DASKCLUSTERS, "demo", "Stalled")
        assert stalled[:2] == ("True", "PodFailed")
        assert "Error (exit code 2)" in stalled[2]

    play(story)


# ---- restarts of the scheduler


def test_restarts_are_counted_across_pods_and_controllers() -> None:
    async def story(h: Harness) -> None:
        await up(h)

        def said() -> JSON:
            found: JSON = h.find(DASKCLUSTERS, "demo")["status"]["scheduler"]
            return found

        assert said() == {"restarts": 0}
        h.delete_pod("demo-scheduler")
        await h.settle()
        assert said() == {"restarts": 1, "lastRestartReason": "the pod was deleted"}
        killed_in_place(h, "demo-scheduler")
        await h.settle()
        assert said() == {"restarts": 2, "lastRestartReason": "OOMKilled (exit code 137)"}
        evicted(h, "demo-scheduler")
        await h.settle()
        assert said() == {"restarts": 3, "lastRestartReason": "Evicted"}
        h.restart()
        await h.settle()
        assert said()["restarts"] == 3
        h.api.edit(DASKCLUSTERS, NS, "demo", {"status": None})  # a report, never a memory
        await h.settle()
        assert said() == {"restarts": 3, "lastRestartReason": "Evicted"}
        h.kill()
        h.api.remove(PODS, NS, "demo-scheduler")
        h.start()
        await h.settle()
        why = "the pod was gone when the controller started"
        assert said() == {"restarts": 4, "lastRestartReason": why}

    play(story)


def test_a_cluster_made_anew_has_no_restarts() -> None:
    async def story(h: Harness) -> None:
        await up(h)
        h.delete_pod("demo-scheduler")
        await h.settle()
        h.api.remove(DASKCLUSTERS, NS, "demo")
        h.cluster(worker={"replicas": 3})
        await h.settle()
        whole(h)
        assert h.find(DASKCLUSTERS, "demo")["status"]["scheduler"] == {"restarts": 0}

    play(story)
