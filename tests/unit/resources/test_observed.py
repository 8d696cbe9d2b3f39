"""Views of pods as kubelets and API servers really write them."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.model.podspec import Container, main_container
from dask_gitops.resources.observed import Pod, Problem, parse_time

from tests.unit.objects import T0, raw_pod, running, worker

JSON = dict[str, Any]
LATER = "2030-01-01T01:00:00Z"


def pod(status: JSON, **kwargs: Any) -> Pod:
    return Pod.of(raw_pod("w", "worker", status=status, **kwargs))


def container(state: JSON, *, last: JSON | None = None, restarts: int = 0, **more: Any) -> JSON:
    return {
        "name": "worker",
        "image": "dask:1",
        "ready": False,
        "restartCount": restarts,
        "state": state,
        "lastState": {"terminated": last} if last else {},
        **more,
    }


def waiting(reason: str, message: str = "", **more: Any) -> JSON:
    return container({"waiting": {"reason": reason, "message": message}}, **more)


def test_a_pod_that_nobody_has_scheduled() -> None:
    new = pod({"phase": "Pending"}, node=False)
    assert (new.scheduled, new.started, new.running, new.ready, new.problem) == (
        None,
        False,
        False,
        False,
        None,
    )
    assert not new.gone


def test_a_pod_that_runs() -> None:
    up = pod(running("10.0.0.7"))
    assert (up.ip, up.ips, up.scheduled, up.started, up.running, up.ready) == (
        "10.0.0.7",
        ("10.0.0.7",),
        T0,
        True,
        True,
        True,
    )
    assert (up.image, up.restarts, up.last_exit, up.problem) == ("dask:1", 0, None, None)


def test_unschedulable() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient cpu.",
        "lastTransitionTime": LATER,
    }
    found = pod({"phase": "Pending", "conditions": [condition]}, node=False)
    assert found.problem == Problem(
        "Unschedulable", "w: 0/3 nodes are available: 3 Insufficient cpu.", T0 + 3600
    )


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff"])
def test_an_image_that_cannot_be_pulled_has_one_name(reason: str) -> None:
    found = pod({"phase": "Pending", "containerStatuses": [waiting(reason, "not found")]})
    assert found.problem == Problem("ImagePullBackOff", "w: image dask:1: not found", T0)
    assert not found.started


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_starting_is_no_problem(reason: str) -> None:
    assert pod({"phase": "Pending", "containerStatuses": [waiting(reason)]}).problem is None


EXIT = {"exitCode": 1, "reason": "Error", "finishedAt": LATER}
LOOP = Problem("CrashLoopBackOff", "w: container worker keeps ending with Error (exit code 1)", T0)


@pytest.mark.parametrize(
    "moment",
    [
        waiting("CrashLoopBackOff", "back-off 5m0s", last=EXIT, restarts=4),
        container({"running": {}}, last=EXIT, restarts=4),
        container({"terminated": EXIT}, restarts=4),
    ],
)
def test_a_crash_loop_is_the_same_story_at_every_moment(moment: JSON) -> None:
    found = pod({"phase": "Running", "containerStatuses": [moment]})
    assert found.problem == LOOP
    assert found.started


def test_a_missing_secret_is_not_blamed_on_the_image() -> None:
    status = {"containerStatuses": [waiting("CreateContainerConfigError", 'secret "x" not found')]}
    assert pod(status).problem == Problem(
        "CreateContainerConfigError", 'w: secret "x" not found', T0
    )


def test_a_command_that_cannot_be_started_is_told() -> None:
    said = 'exec: "dsk": executable file not found in $PATH: unknown\n'
    end = {**EXIT, "exitCode": 128, "reason": "StartError", "message": said}
    found = pod({"containerStatuses": [waiting("CrashLoopBackOff", last=end, restarts=3)]}).problem
    assert found is not None
    assert found.message == (
        "w: container worker keeps ending with StartError (exit code 128): "
        'exec: "dsk": executable file not found in $PATH: unknown'
    )


def test_a_single_restart_is_no_crash_loop() -> None:
    once = container({"running": {}}, last=EXIT, restarts=1)
    assert pod({"phase": "Running", "containerStatuses": [once]}).problem is None


def test_a_container_that_is_ready_again_has_no_problem() -> None:
    back = container({"running": {}}, last=EXIT, restarts=9, ready=True)
    assert pod({"phase": "Running", "containerStatuses": [back]}).problem is None


def test_a_pod_that_was_ready_for_long_has_its_problem_since_it_is_not() -> None:
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": LATER}],
        "containerStatuses": [waiting("CrashLoopBackOff", last=EXIT, restarts=3)],
    }
    found = pod(status).problem
    assert found is not None
    assert found.since == T0 + 3600


def test_out_of_memory() -> None:
    killed = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": LATER}
    found = pod(
        {
            "phase": "Running",
            "containerStatuses": [container({"running": {}}, last=killed, restarts=1)],
        }
    )
    assert found.last_exit == "OOMKilled (exit code 137)"
    assert found.restarts == 1


def test_the_last_exit_of_several_containers_is_the_newest() -> None:
    old = container({}, last={"exitCode": 1, "finishedAt": "2030-01-01T00:00:01Z"}, restarts=1)
    new = container({}, last={"exitCode": 2, "finishedAt": "2030-01-01T00:00:02Z"}, restarts=1)
    assert pod({"containerStatuses": [new, old]}).last_exit == "Error (exit code 2)"
    assert pod({"containerStatuses": [new, old]}).restarts == 2


def test_evicted() -> None:
    gone = pod({"phase": "Failed", "reason": "Evicted", "message": "low on memory"})
    assert gone.problem == Problem("Evicted", "w: low on memory", T0)
    assert gone.finished
    assert gone.gone


def test_failed_by_its_container() -> None:
    gone = pod({"phase": "Failed", "containerStatuses": [container({"terminated": EXIT})]})
    assert gone.problem == Problem("PodFailed", "w: Error (exit code 1)", T0)


LIVED = {"startedAt": "2030-01-01T00:10:00Z", "finishedAt": "2030-01-01T00:10:07Z"}
GONE = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}


@pytest.mark.parametrize(
    ("status", "ended", "lived", "end"),
    [
        (running(), None, 0, None),
        ({"phase": "Succeeded"}, None, 0, "Succeeded"),
        (
            {
                "phase": "Failed",
                "containerStatuses": [
                    container({"terminated": {**LIVED, "exitCode": 137, "reason": "OOMKilled"}})
                ],
            },
            T0 + 607,
            7,  # the image was pulled for ten minutes
            "OOMKilled (exit code 137)",
        ),
        (
            {
                "phase": "Failed",
                "containerStatuses": [
                    container({"terminated": {**LIVED, "exitCode": 1}}, restarts=3)
                ],
            },
            T0 + 607,
            607,
            "Error (exit code 1)",
        ),
        (
            {
                "phase": "Failed",
                "containerStatuses": [
                    container({"terminated": {**LIVED, "exitCode": 0, "reason": "Completed"}}),
                    container({"terminated": {**LIVED, "exitCode": 2}}),
                ],
            },
            T0 + 607,
            7,
            "Error (exit code 2)",
        ),
        (
            {
                "phase": "Failed",
                "reason": "Evicted",
                "message": "low on\nmemory",
                "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": LATER}],
            },
            T0 + 3600,
            3600,
            "Evicted: low on memory",
        ),
        (
            {
                "phase": "Failed",
                "initContainerStatuses": [container({"terminated": {**LIVED, "exitCode": 4}})],
                "containerStatuses": [waiting("PodInitializing")],
                "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": LATER}],
            },
            T0 + 3600,
            3600,
            "Error (exit code 4)",
        ),
        ({**running(), "conditions": [GONE]}, None, 0, "EvictionByEvictionAPI"),
    ],
)
def test_how_a_pod_ended(status: JSON, ended: float | None, lived: float, end: str | None) -> None:
    found = pod(status)
    said = None if found.end is None else str(found.end)
    assert (found.ended, found.lived, said) == (ended, lived, end)
    if end:
        assert found.end.reason == end.partition(" ")[0].partition(":")[0]


def test_a_deleted_pod_says_nothing_of_how_its_containers_were_stopped() -> None:
    stopped = {
        "phase": "Failed",
        "containerStatuses": [container({"terminated": {**LIVED, "exitCode": 143}})],
    }
    assert pod(stopped, deleting=LATER).end is None


def test_an_init_container_that_fails_comes_first() -> None:
    status = {
        "phase": "Pending",
        "initContainerStatuses": [waiting("CrashLoopBackOff", last=EXIT, restarts=3)],
        "containerStatuses": [waiting("PodInitializing")],
    }
    found = pod(status)
    assert found.problem is not None
    assert found.problem.reason == "CrashLoopBackOff"
    assert not found.started


def test_a_sidecar_that_runs_means_started_but_not_running() -> None:
    sidecar = {**container({"running": {}}), "name": "istio-proxy"}
    status = {"phase": "Pending", "containerStatuses": [sidecar, waiting("ContainerCreating")]}
    found = pod(
        status, spec={"containers": [{"name": "istio-proxy"}, {"name": "worker", "image": "i"}]}
    )
    assert (found.started, found.running, found.image) == (True, False, "i")


def test_deleting_is_gone() -> None:
    ending = pod(running(), deleting=LATER)
    assert ending.gone
    assert ending.meta.deleting == T0 + 3600


@pytest.mark.parametrize(
    ("text", "since"), [(None, None), (LATER, T0 + 3600), ("yes", None), ("", None)]
)
def test_retiring(text: str | None, since: float | None) -> None:
    assert worker(retiring=text).retiring == since


@pytest.mark.parametrize(("text", "serial"), [("7", 7), ("", 0), ("x", 0), ("-1", 0)])
def test_serial(text: str, serial: int) -> None:
    raw = raw_pod("w", "worker", labels={"dask.org/worker-serial": text})
    assert Pod.of(raw).serial == serial


def test_token_and_port_of_a_scheduler() -> None:
    raw = raw_pod("s", "scheduler")
    main = raw["spec"]["containers"][0]
    # Made by an earlier version: where its dashboard is.
    assert (Pod.of(raw).token, Pod.of(raw).control_port) == ("secret", 8787)
    main["ports"] = [{"name": "http-dashboard", "containerPort": 80}]
    assert Pod.of(raw).control_port == 80
    # Not by the name of a port, which may be the user's.
    main["ports"] += [{"name": "control", "containerPort": 7000}]
    assert Pod.of(raw).control_port == 80
    main["env"].append({"name": "SCHEDULER_CONTROL_PORT", "value": "8790"})
    assert Pod.of(raw).control_port == 8790


def test_two_stacks() -> None:
    status = {**running(), "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}
    assert pod(status).ips == ("10.0.0.1", "fd00::1")


def test_only_the_controlling_owner_counts() -> None:
    raw = raw_pod("w", "worker", owner=None)
    raw["metadata"]["ownerReferences"] = [{"uid": "a"}, {"uid": "b", "controller": True}]
    assert Pod.of(raw).meta.owner_uid == "b"


def test_main_container() -> None:
    first, named = Container({"name": "a"}), Container({"name": "worker"})
    assert main_container([first, named], "worker") is named
    assert main_container([first], "worker") is first
    assert main_container([], "worker") is None


@pytest.mark.parametrize(
    "words",
    [
        ["--upstream=http://dask-worker:8787"],
        ["--of", "dask-worker"],
        ["-p", "path=/var/log/dask-worker.log"],
        ["sh", "-c", "until nc -z dask-worker 1; do sleep 1; done; tail -F /dask-worker.log"],
        ["/opt/wait-for-dask-worker.sh"],
        ["python", "-m", "exporter", "dask-worker"],
    ],
    ids=" ".join,
)
def test_a_sidecar_that_mentions_dask_is_not_the_main_container(words: list[str]) -> None:
    side = Container({"name": "side", "args": words})
    for own in (
        {"args": ["dask", "worker"]},
        {"command": ["/opt/bin/dask-worker"]},
        {"command": ["tini", "--"], "args": ["dask", "cuda", "worker"]},
        {"command": ["bash", "-lc"], "args": ["source x && exec dask worker"]},
        {"command": ["python", "-m", "distributed.cli.dask_worker"]},
        {"command": ["python3", "-m", "dask", "worker"]},
    ):
        main = Container({"name": "main", **own})
        assert main_container([side, main], "worker") is main


def test_what_may_start_dask_counts_before_the_first_container() -> None:
    """A script of one's own, as ever, where no other one is certain."""
    side, script = Container({"name": "s"}), Container({"name": "m", "args": ["/run-dask-worker.sh"]})  # fmt: skip
    assert main_container([side, script], "worker") is script


def test_times() -> None:
    assert parse_time("2030-01-01T00:00:00Z") == T0
    assert parse_time("2030-01-01T00:00:00.5+00:00") == T0 + 0.5
    assert parse_time(None) is None
