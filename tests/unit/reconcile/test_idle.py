"""The whole controller against the API server in memory: clusters that nobody uses are deleted, or parked and woken."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from dask_gitops.kube.errors import ApiError
from dask_gitops.kube.resource import DASKCLUSTERS, DASKJOBS, DASKWORKERGROUPS, PODS
from dask_gitops.resources import labels
from dask_gitops.resources.observed import IDLE_END

from tests.support.harness import NS, Harness, play
from tests.unit.reconcile.test_scenarios import GROUP, ready, replicas, scenario, up

JSON = dict[str, Any]
PARKED = "True", "Parked"


async def parked(h: Harness, workers: int = 3, **spec: Any) -> None:
    """A cluster that was parked after ten minutes."""
    await up(h, workers, idleTimeout=600, idleAction="Scale", **spec)
    await h.pass_time(700)
    at_rest(h)


def at_rest(h: Harness) -> None:
    assert h.workers() == []
    assert h.api.find(PODS, NS, "demo-scheduler") is not None
    assert ready(h) == PARKED
    assert h.condition(DASKCLUSTERS, "demo", "Idle")[0] == "True"
    assert ready(h, GROUP, DASKWORKERGROUPS) == PARKED
    assert h.find(DASKCLUSTERS, "demo")["status"]["phase"] == "Running"


def at_work(h: Harness, workers: int) -> None:
    assert len(h.workers()) == workers
    assert ready(h) == ("True", "ClusterReady")
    assert h.condition(DASKCLUSTERS, "demo", "Idle")[0] == ""


def looks(h: Harness) -> int:
    return sum(what == "state" for what, _ in h.schedulers.calls)


def submit(h: Harness, tasks: int = 12) -> None:
    """A client has work for which there are no workers."""
    h.schedulers.waiting = tasks


async def computes(h: Harness) -> None:
    """The workers came, did it, and hold nothing; the client has fetched the results."""
    await h.pass_time(40)
    assert h.workers()
    h.schedulers.waiting = 0


async def parking(h: Harness, act: Callable[[], Any], **spec: Any) -> None:
    """Until a cluster is parked; ``act`` happens right then, before the first worker is chosen to leave."""
    await up(h, idleTimeout=600, idleAction="Scale", **spec)
    await h.pass_time(590 - h._time() % 600)
    h.strikes["call", len(h.schedulers.calls) + 2, "before"] = act
    while "Parked" not in h.events():
        await h.pass_time(0.5)


def story(test: Any) -> Any:
    """Like a scenario, for clusters that are looked at for ever: in the end nothing is written any more."""

    def run() -> None:
        async def main(h: Harness) -> None:
            await test(h)
            requests = len(h.api.log)
            await h.pass_time(300)
            written = [r for r in h.api.log[requests:] if r.is_write]
            assert not written, written
            assert not h.schedulers.lost
            assert not h.schedulers.discarded
            assert not h.bugs

        play(main)

    run.__doc__ = test.__doc__
    return run


# ---- it is time


@scenario
async def test_without_a_timeout_nobody_is_asked(h: Harness) -> None:
    await up(h, idleAction="Scale", idleTimeout=0)
    await h.pass_time(5000)
    assert h.schedulers.calls == []
    at_work(h, 3)


@scenario
async def test_deleted_when_nothing_has_run_for_so_long(h: Harness) -> None:
    """Also a cluster that never had a client; its children go with it."""
    await up(h, idleTimeout=600)
    assert h.api.find(DASKCLUSTERS, NS, "demo") is not None
    await h.pass_time(500)
    assert looks(h) <= 3
    assert h.api.find(DASKCLUSTERS, NS, "demo") is not None
    await h.pass_time(60)
    assert h.api.find(DASKCLUSTERS, NS, "demo") is None
    await h.settle()
    assert h.api.items(PODS) == []
    assert h.api.items(DASKWORKERGROUPS) == []
    assert h.events()[-1] == "IdleDeleted"
    assert h.api.count("delete", DASKCLUSTERS) == 1
    assert h.api.count("delete", PODS) == 0  # garbage collection takes them


@scenario
async def test_work_puts_it_off(h: Harness) -> None:
    await up(h, idleTimeout=600)
    for _ in range(4):
        await h.pass_time(400)
        h.schedulers.active = h._time()
    assert looks(h) <= 8
    await h.pass_time(590)
    at_work(h, 3)
    await h.pass_time(20)
    assert h.api.find(DASKCLUSTERS, NS, "demo") is None


@scenario
async def test_a_task_that_runs_for_long_is_work(h: Harness) -> None:
    await up(h, idleTimeout=600)
    h.schedulers.running = set(h.schedulers.workers())
    await h.pass_time(5000)
    at_work(h, 3)
    h.schedulers.running.clear()
    await h.pass_time(1210)
    assert h.api.find(DASKCLUSTERS, NS, "demo") is None


@scenario
async def test_a_new_scheduler_counts_from_its_start(h: Harness) -> None:
    await up(h, idleTimeout=600)
    await h.pass_time(300)
    h.delete_pod("demo-scheduler")
    await h.pass_time(590)
    at_work(h, 3)
    await h.pass_time(60)
    assert h.api.find(DASKCLUSTERS, NS, "demo") is None


@story
async def test_a_silent_scheduler_is_left_alone(h: Harness) -> None:
    await up(h, idleTimeout=600)
    h.schedulers.silent = "does not answer (timeout after 5 s)"
    await h.pass_time(5000)
    at_work(h, 3)
    message = h.condition(DASKCLUSTERS, "demo", "Ready")[2]
    assert message.endswith(
        "; nobody knows whether it is idle: the scheduler does not answer (timeout after 5 s)"
    )
    assert h.events() == ["SchedulerCreated", "ScaledUp"]


@scenario
async def test_the_timeout_is_taken_away_at_the_last_moment(h: Harness) -> None:
    """After the scheduler answered, before the deletion arrives, and while watches tell nothing."""

    async def later() -> None:
        h.api.hold_events(DASKCLUSTERS)
        h.edit(DASKCLUSTERS, "demo", {"idleTimeout": 0})

    await up(h, idleTimeout=600)
    calls = looks(h)
    h.strikes["call", calls + 1, "after"] = later
    await h.pass_time(700)
    assert h.struck == 1
    h.api.release_events()
    await h.settle()
    at_work(h, 3)
    assert "IdleDeleted" not in h.events()
    assert h.api.count("delete", DASKCLUSTERS, status=200) == 0


# ---- parked


@story
async def test_parked_keeps_object_scheduler_and_numbers(h: Harness) -> None:
    await parked(h)
    assert replicas(h) == 3
    assert h.find(DASKCLUSTERS, "demo")["spec"]["worker"] == {"replicas": 3}
    assert h.api.requests("patch", subresource="scale") == []
    assert h.events()[-3:] == ["Parked", "ScalingDown", "ScaledDown"]
    assert h.condition(DASKCLUSTERS, "demo", "Idle")[2].startswith("parked since 2030-01-01T00:")


@story
async def test_a_parked_cluster_stays_ready_all_the_while(h: Harness) -> None:
    await parked(h)
    submit(h)
    await computes(h)
    await h.pass_time(900)
    at_rest(h)
    patches = h.api.requests("patch", DASKCLUSTERS, subresource="status")
    words = [
        {c["type"]: c["status"] for c in r.body["status"].get("conditions", ())} for r in patches
    ]
    first = next(n for n, found in enumerate(words) if found.get("Ready") == "True")
    assert all(found.get("Ready", "True") == "True" for found in words[first:])


@story
async def test_results_in_memory_keep_the_workers(h: Harness) -> None:
    await up(h, idleTimeout=600, idleAction="Scale")
    keys = h.schedulers.scatter()
    await h.pass_time(3000)
    at_work(h, 3)
    assert h.schedulers.all_keys() == keys
    assert looks(h) <= 7
    h.schedulers.keys.clear()  # the client let them go
    h.schedulers.active = h._time()
    await h.pass_time(590)
    at_work(h, 3)
    await h.pass_time(700)
    at_rest(h)


@story
async def test_woken_by_work_and_says_how_long_it_took(h: Harness) -> None:
    await parked(h)
    asked = looks(h)
    await h.pass_time(300)
    assert looks(h) - asked <= 60
    submit(h)
    await computes(h)
    at_work(h, 3)
    waking, told = (r.body for r in h.api.requests("create") if r.body.get("reason") in ("Waking", "Woken"))  # fmt: skip
    assert waking["message"] == "12 tasks wait: the workers come back"
    took = re.fullmatch(
        r"the first worker is ready, (\d+) s after the cluster was woken", told["message"]
    )
    assert took
    assert 0 <= int(took[1]) < 20
    message = h.condition(DASKCLUSTERS, "demo", "Ready")[2]
    assert message.endswith(f"the first worker was ready after {took[1]} s")
    await h.pass_time(640)
    at_rest(h)
    assert labels.WOKEN not in h.find(PODS, "demo-scheduler")["metadata"]["annotations"]


@story
async def test_work_that_comes_while_the_workers_leave(h: Harness) -> None:
    def runs() -> None:
        h.schedulers.running = set(h.schedulers.workers())

    await parking(h, runs)
    await h.pass_time(40)
    at_work(h, 3)
    assert h.events()[-3:] == ["ScalingDown", "Waking", "Woken"]
    assert h.schedulers.leaving == set()
    h.schedulers.running.clear()
    await h.pass_time(1250)
    at_rest(h)


@story
async def test_results_that_come_while_the_workers_leave_are_never_discarded(h: Harness) -> None:
    def scatter() -> None:
        h.schedulers.scatter()

    await parking(h, scatter, drainTimeout=1)
    await h.pass_time(60)
    at_work(h, 3)
    assert len(h.schedulers.all_keys()) == 6
    await h.pass_time(800)
    assert len(h.schedulers.all_keys()) == 6
    assert "results are in memory: the workers come back" in str(h.api.log)


@story
async def test_a_silent_scheduler_wakes_nobody_and_says_so(h: Harness) -> None:
    await parked(h)
    h.schedulers.silent = "does not answer (timeout after 5 s)"
    submit(h)
    await h.pass_time(300)
    at_rest(h)
    assert h.condition(DASKCLUSTERS, "demo", "Idle")[2].endswith("so nothing is woken")
    h.schedulers.silent = None
    await computes(h)
    at_work(h, 3)


@story
async def test_a_scheduler_that_falls_silent_keeps_the_workers_that_were_about_to_go(
    h: Harness,
) -> None:
    def falls_silent() -> None:
        h.schedulers.silent = "does not answer (timeout after 5 s)"

    await parking(h, falls_silent, drainTimeout=30, whenUnreachable="Drain")
    await h.pass_time(600)
    assert len(h.workers()) == 3
    h.schedulers.silent = None
    await h.pass_time(60)
    at_rest(h)


@pytest.mark.parametrize(
    ("meta", "why"),
    [
        ({"labels": {"app.kubernetes.io/managed-by": "Helm"}}, "Helm"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "a:b/c:d/e"}}, "Argo CD"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}, "Flux"),
    ],
)
def test_what_a_tool_tracks_is_parked_not_deleted(meta: JSON, why: str) -> None:
    async def tracked(h: Harness) -> None:
        h.cluster(meta=meta, worker={"replicas": 3}, idleTimeout=600)
        h.start()
        await h.pass_time(700)
        at_rest(h)
        message = h.condition(DASKCLUSTERS, "demo", "Idle")[2]
        assert f", {why} (" in message
        assert "would create a deleted cluster again" in message
        (event,) = (r.body for r in h.api.requests("create") if r.body.get("reason") == "Parked")
        assert f"not deleted: {why}" in event["message"]
        submit(h)
        await computes(h)
        at_work(h, 3)
        await h.pass_time(700)
        at_rest(h)

    story(tracked)()


@story
async def test_an_idle_cluster_neither_ends_its_job_nor_runs_it_again(h: Harness) -> None:
    """Its runner is busy outside Dask; the cluster is back when it submits something."""
    h.job(cluster={"spec": {"worker": {"replicas": 3}, "idleTimeout": 600}})
    h.start()
    await h.pass_time(700)
    assert "it belongs to a DaskJob" in h.condition(DASKCLUSTERS, "nightly", "Idle")[2]
    assert h.workers("nightly-default") == []
    submit(h)
    await h.pass_time(40)
    assert len(h.workers("nightly-default")) == 3
    h.schedulers.waiting = 0
    await h.pass_time(700)
    assert h.workers("nightly-default") == []
    assert h.condition(DASKJOBS, "nightly", "Ready")[:2] == ("True", "Running")
    assert len(h.api.names(PODS, NS, f"{labels.COMPONENT}=job-runner")) == 1
    assert h.created(DASKCLUSTERS) == ["nightly"]
    h.kubelet.finish(NS, "nightly-runner", 0)
    await h.pass_time(60)
    assert h.api.items(DASKCLUSTERS) == []
    assert h.find(DASKJOBS, "nightly")["status"]["jobStatus"] == "Successful"


# ---- what people do meanwhile


@story
async def test_a_person_takes_the_timeout_away(h: Harness) -> None:
    await parked(h)
    h.edit(DASKCLUSTERS, "demo", {"idleTimeout": None})
    await h.settle()
    at_work(h, 3)
    asked = looks(h)
    await h.pass_time(1000)
    assert looks(h) == asked


@story
async def test_parked_stays_parked_when_spec_and_numbers_change(h: Harness) -> None:
    await parked(h)
    spec = {"containers": [{"name": "worker", "env": [{"name": "NEW", "value": "1"}]}]}
    h.edit(DASKCLUSTERS, "demo", {"image": "dask:2", "worker": {"replicas": 2, "spec": spec}})
    await h.pass_time(300)
    at_rest(h)
    scheduler = h.find(PODS, "demo-scheduler")
    assert scheduler["spec"]["containers"][0]["image"] == "dask:2"
    assert replicas(h) == 2
    submit(h)
    await computes(h)
    at_work(h, 2)
    assert {p["spec"]["containers"][0]["image"] for p in h.api.items(PODS)} == {"dask:2"}


@story
async def test_a_parked_scheduler_that_dies_comes_back_parked(h: Harness) -> None:
    await parked(h)
    h.delete_pod("demo-scheduler")
    await h.pass_time(100)
    at_rest(h)
    assert h.api.count("create", PODS) == 5
    submit(h)
    await computes(h)
    at_work(h, 3)


@story
async def test_scale_becomes_delete(h: Harness) -> None:
    await parked(h)
    h.edit(DASKCLUSTERS, "demo", {"idleAction": None})
    await h.settle()
    assert h.api.items(DASKCLUSTERS) == []


@story
async def test_suspended_wins_over_parked(h: Harness) -> None:
    await parked(h)
    h.edit(DASKCLUSTERS, "demo", {"suspend": True})
    await h.settle()
    assert h.api.items(PODS) == []
    assert ready(h) == ("True", "Suspended")
    assert h.condition(DASKCLUSTERS, "demo", "Idle")[0] == ""
    asked = looks(h)
    await h.pass_time(5000)
    assert looks(h) == asked
    h.edit(DASKCLUSTERS, "demo", {"suspend": False})
    await h.settle(quiet_s=30)
    at_work(h, 3)
    await h.pass_time(700)
    at_rest(h)


@story
async def test_a_number_that_is_taken_away_while_parked_is_held(h: Harness) -> None:
    await parked(h)
    h.edit(DASKWORKERGROUPS, GROUP, {"worker": {"replicas": None}})
    await h.pass_time(100)
    at_rest(h)
    assert replicas(h) is None
    submit(h)
    await computes(h)
    at_work(h, 3)
    assert replicas(h) == 3


@story
async def test_a_roll_out_that_is_parked_is_not_ready_for_what_never_ran(h: Harness) -> None:
    await parked(h)
    container = {"containers": [{"name": "worker", "env": [{"name": "NEW", "value": "1"}]}]}
    h.edit(DASKCLUSTERS, "demo", {"worker": {"spec": container}})
    await h.pass_time(100)
    h.kubelet.room = 1  # no node for workers
    submit(h)
    await h.pass_time(60)
    assert ready(h)[0] == "False"
    assert h.condition(DASKCLUSTERS, "demo", "Ready")[2].startswith("scheduler ready, 0 of 3")
    h.kubelet.room = None
    await computes(h)
    at_work(h, 3)


@pytest.mark.parametrize("when", ["parked", "woken"])
def test_a_wiped_status_changes_nothing(when: str) -> None:
    async def wiped(h: Harness) -> None:
        await parked(h)
        if when == "woken":
            submit(h)
            await computes(h)
        for res, name in ((DASKCLUSTERS, "demo"), (DASKWORKERGROUPS, GROUP)):
            h.api.edit(res, NS, name, {"status": None})
        creates = h.api.count("create", PODS)
        h.restart()
        await h.pass_time(60)
        if when == "parked":
            at_rest(h)
        else:
            at_work(h, 3)
            assert "woken 2030-" in h.condition(DASKCLUSTERS, "demo", "Ready")[2]
        assert h.api.count("create", PODS) == creates
        await h.pass_time(700)

    story(wiped)()


# ---- Dask's own idle timeout


DASKS_OWN: list[JSON] = [
    {"args": ["dask", "scheduler", "--idle-timeout", "600"]},
    {"env": [{"name": "DASK_DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT", "value": "10 minutes"}]},
]
dasks_own = pytest.mark.parametrize("container", DASKS_OWN, ids=["argument", "variable"])


def own(container: JSON, **more: Any) -> JSON:
    return {"spec": {"containers": [{"name": "scheduler", **container}], **more}}


@dasks_own
@pytest.mark.parametrize("policy", ["Always", "OnFailure"])
def test_a_scheduler_that_dask_ended_takes_its_cluster_with_it(
    container: JSON, policy: str
) -> None:
    """Else it would be started again, to end again, for ever."""

    async def main(h: Harness) -> None:
        await up(h, 2, scheduler=own(container, restartPolicy=policy))
        if policy == "Always":
            h.kubelet.restart(NS, "demo-scheduler", 0, said=IDLE_END)
        else:
            h.kubelet.finish(NS, "demo-scheduler", 0, said=IDLE_END)
        await h.settle()
        assert h.api.find(DASKCLUSTERS, NS, "demo") is None
        assert h.events().count("IdleDeleted") == 1
        assert not h.api.items(PODS)

    play(main)


@dasks_own
@pytest.mark.parametrize("policy", ["Always", "OnFailure"])
def test_a_scheduler_that_dask_ended_is_parked(container: JSON, policy: str) -> None:
    async def main(h: Harness) -> None:
        await up(h, 2, idleAction="Scale", scheduler=own(container, restartPolicy=policy))
        for _ in range(2):  # the same again while it is parked is no news
            if policy == "Always":
                h.kubelet.restart(NS, "demo-scheduler", 0, said=IDLE_END)
                h.kubelet.set_ready(NS, "demo-scheduler", True)
            else:
                h.kubelet.finish(NS, "demo-scheduler", 0, said=IDLE_END)
            await h.pass_time(100)
            at_rest(h)
        assert h.events().count("Parked") == 1
        submit(h)
        await computes(h)
        await h.pass_time(300)
        at_work(h, 2)
        assert h.events().count("Parked") == 1

    play(main)


@pytest.mark.parametrize("code", [0, 1, 137])
@pytest.mark.parametrize("container", [DASKS_OWN[0], {}], ids=["idle timeout", "none"])
def test_any_other_end_of_a_scheduler_is_a_restart(container: JSON, code: int) -> None:
    async def main(h: Harness) -> None:
        await up(h, 2, scheduler=own(container))
        if code == 0 and container:  # long ago, say while no controller was there
            h.kill()
            h.kubelet.restart(NS, "demo-scheduler", 0, said=IDLE_END)
            h.kubelet.set_ready(NS, "demo-scheduler", True)
            await h.pass_time(300)
            h.start()
        else:
            h.kubelet.restart(NS, "demo-scheduler", code)
            h.kubelet.set_ready(NS, "demo-scheduler", True)
        await h.settle()
        at_work(h, 2)

    play(main)


@dasks_own
@pytest.mark.parametrize("action", ["Delete", "Scale"])
@pytest.mark.parametrize("policy", ["Always", "OnFailure"])
def test_a_scheduler_that_was_told_to_end_is_not_taken_for_an_idle_one(
    container: JSON, action: str, policy: str
) -> None:
    """SIGTERM of a node that goes, or of a probe, ends Dask with exit code 0, too, however busy it is."""

    async def main(h: Harness) -> None:
        spec = own(container, restartPolicy=policy)
        await up(h, 2, idleAction=action, scheduler=spec)
        if policy == "Always":
            h.kubelet.restart(NS, "demo-scheduler", 0)
            h.kubelet.set_ready(NS, "demo-scheduler", True)
        else:
            h.kubelet.finish(NS, "demo-scheduler", 0)
        await h.settle()
        at_work(h, 2)
        assert not {"IdleDeleted", "Parked"} & set(h.events())

    play(main)


def test_an_idle_end_goes_with_its_cluster_and_not_before_it() -> None:
    """The deletion is refused, as somebody changed the cluster meanwhile: the evidence is still there."""

    async def main(h: Harness) -> None:
        await up(h, 2, scheduler=own(DASKS_OWN[0], restartPolicy="OnFailure"))
        h.api.hold_events(DASKCLUSTERS)
        h.api.edit(DASKCLUSTERS, NS, "demo", {"metadata": {"annotations": {"x": "1"}}})
        h.kubelet.finish(NS, "demo-scheduler", 0, said=IDLE_END)
        await h.pass_time(20)
        h.api.release_events()
        await h.pass_time(100)
        assert h.api.find(DASKCLUSTERS, NS, "demo") is None
        assert h.events().count("IdleDeleted") == 1

    play(main)


def test_being_parked_by_dask_is_told_once_however_long_the_ended_pod_stays() -> None:
    async def main(h: Harness) -> None:
        await up(h, 2, idleAction="Scale", scheduler=own(DASKS_OWN[0], restartPolicy="OnFailure"))
        refused = ApiError(403, "Forbidden", "no deletes")
        fault = h.api.fault("delete", PODS, name="demo-scheduler", times=None, error=refused)
        h.judge.allow("failed", "the end of its Pod is refused")
        h.judge.allow("current", "the end of its Pod is refused")
        h.kubelet.finish(NS, "demo-scheduler", 0, said=IDLE_END)
        await h.pass_time(300)
        assert h.events().count("Parked") == 0
        h.api.faults.remove(fault)
        await h.pass_time(120)
        assert h.events().count("Parked") == 1
        at_rest(h)

    play(main)
