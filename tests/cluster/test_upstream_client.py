"""What the existing operator's Python client reads and writes: each thing by name, then the client itself, unmodified."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.manifests import manifests
from tests.support import upstream_tests
from tests.support.controller_process import ControllerProcess
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import JSON, CommandError, Kubectl, condition, eventually

pytestmark = pytest.mark.usefixtures("controller")

RESOURCE_S = 2  # the client's patience, as upstream_client.py has it
BY_CLUSTER = "dask.org/cluster-name=python"
SCHEDULER = f"{BY_CLUSTER},dask.org/component=scheduler"


@pytest.fixture
def python(kubectl: Kubectl) -> Kubectl:
    """A cluster as KubeCluster creates it, seen by kubectl; it waits for the phase, then for the scheduler, as KubeCluster does."""
    (written,) = manifests("python-default")
    written["spec"]["worker"]["replicas"] = 2
    post(kubectl, "daskclusters", written)
    kubectl("wait", "daskcluster/python", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")
    kubectl("wait", "pod/python-scheduler", "--for=condition=Ready", "--timeout=60s")
    return kubectl


def post(kubectl: Kubectl, plural: str, manifest: JSON) -> JSON:
    """A create as kr8s sends it, without kubectl's own checks."""
    path = f"/apis/kubernetes.dask.org/v1/namespaces/{kubectl.namespace}/{plural}"
    answer: JSON = json.loads(
        kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(manifest))
    )
    return answer


def scale(kubectl: Kubectl, group: str, replicas: int) -> None:
    """kr8s patches the object itself, not the scale subresource."""
    body = json.dumps({"spec": {"worker": {"replicas": replicas}}})
    kubectl("patch", "daskworkergroup", group, "--type=merge", "-p", body)


def workers(kubectl: Kubectl, group: str, count: int) -> list[JSON]:
    """DaskWorkerGroup.pods()"""
    selector = f"{BY_CLUSTER},dask.org/component=worker,dask.org/workergroup-name={group}"

    def look() -> bool:
        return len(kubectl.list("pods", selector)) == count

    eventually(f"{count} workers of {group}", look)
    return kubectl.list("pods", selector)


def test_nulls_of_python_are_accepted(kubectl: Kubectl) -> None:
    """KubeCluster says ``idleTimeout: null`` when nothing else is configured."""
    (written,) = manifests("python-default")
    written["spec"]["idleTimeout"] = None
    assert "idleTimeout" not in post(kubectl, "daskclusters", written)["spec"]


def test_the_spec_is_read_back_as_it_was_written(python: Kubectl) -> None:
    """from_name reads image, env and resources of the first worker container, and the scheduler's args."""
    (written,) = manifests("python-default")
    spec = python.get("daskcluster", "python")["spec"]
    for part in ("worker", "scheduler"):
        (container,) = spec[part]["spec"]["containers"]
        assert container == written["spec"][part]["spec"]["containers"][0]
    assert spec["worker"]["replicas"] == 2


def test_one_scheduler_pod_by_labels_and_phase(python: Kubectl) -> None:
    (pod,) = python.list("pods", SCHEDULER)
    running = python(
        "get", "pods", "-l", SCHEDULER, "--field-selector=status.phase=Running", "-o", "name"
    )
    assert running.split() == [f"pod/{pod['metadata']['name']}"]
    assert "scheduler" in pod["metadata"]["name"]
    # Pod.ready()
    for type_ in ("Ready", "ContainersReady"):
        assert condition(pod, type_)["status"] == "True"


def test_one_service_by_name_and_labels_with_its_ports_by_name(python: Kubectl) -> None:
    (service,) = python.list("services", SCHEDULER)
    assert service["metadata"]["name"] == "python-scheduler"
    assert {p["name"]: p["port"] for p in service["spec"]["ports"]} == {
        "tcp-comm": 8786,
        "http-dashboard": 8787,
    }
    # Service.ready_pods(), where a port-forward goes
    selector = ",".join(f"{k}={v}" for k, v in service["spec"]["selector"].items())
    assert [p["metadata"]["name"] for p in python.list("pods", selector)] == ["python-scheduler"]


def test_the_default_group_by_name_and_by_label(python: Kubectl) -> None:
    assert python.get("daskworkergroup", "python-default")["spec"]["cluster"] == "python"
    (group,) = python.list("daskworkergroups", BY_CLUSTER)
    assert group["metadata"]["name"] == "python-default"
    workers(python, "python-default", 2)


def test_scale_by_a_patch_of_the_object(python: Kubectl) -> None:
    scale(python, "python-default", 4)
    workers(python, "python-default", 4)
    scale(python, "python-default", 1)
    workers(python, "python-default", 1)


def test_a_group_that_is_added_and_deleted(python: Kubectl) -> None:
    (written,) = manifests("python-default")
    worker = {**written["spec"]["worker"], "replicas": 1}
    spec = {"cluster": "python", "worker": worker}
    of = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup"}
    post(python, "daskworkergroups", {**of, "metadata": {"name": "python-more"}, "spec": spec})
    workers(python, "python-more", 1)
    scale(python, "python-more", 2)
    workers(python, "python-more", 2)
    python("delete", "daskworkergroup", "python-more")
    workers(python, "python-more", 0)
    workers(python, "python-default", 2)


def test_logs_are_asked_of_pods_by_the_clusters_label(python: Kubectl) -> None:
    workers(python, "python-default", 2)
    names = [p["metadata"]["name"] for p in python.list("pods", BY_CLUSTER)]
    assert len(names) == 3
    assert all("scheduler" in n or "worker" in n for n in names)


def test_adapt_patches_creates_and_scale_deletes(
    python: Kubectl, schedulers: FakeSchedulers
) -> None:
    """KubeCluster puts labels where the metadata's own fields belong; the API server drops them."""
    with pytest.raises(CommandError, match="NotFound"):
        python("patch", "daskautoscaler", "python", "--type=merge", "-p", '{"spec":{"minimum":1}}')
    written = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskAutoscaler",
        "metadata": {"name": "python", "dask.org/cluster-name": "python"},
        "spec": {"cluster": "python", "minimum": 1, "maximum": 4},
    }
    schedulers.work[python.namespace] = {(): 10}
    assert post(python, "daskautoscalers", written)["spec"] == written["spec"]
    workers(python, "python-default", 4)
    limits = {"minimum": 2, "maximum": 3}
    python("patch", "daskautoscaler", "python", "--type=merge", "-p", json.dumps({"spec": limits}))
    assert python.get("daskautoscaler", "python")["spec"] == {"cluster": "python", **limits}
    workers(python, "python-default", 3)
    # scale(): delete the autoscaler, then scale.
    python("delete", "daskautoscaler", "python")
    scale(python, "python-default", 1)
    workers(python, "python-default", 1)


def test_close_deletes_the_cluster_and_waits(python: Kubectl) -> None:
    python("delete", "daskcluster", "python", "--timeout=60s")
    eventually(
        "all is gone",
        lambda: (
            not [*python.list("pods"), *python.list("services"), *python.list("daskworkergroups")]
        ),
    )


# ---- the client itself

LOAD_BALANCER = "127.99.0.1"  # where a real scheduler listens, as a cloud would have it


@pytest.fixture
def scheduler() -> Iterator[None]:
    """A real Dask scheduler; the pods are pretended ones, and the Service of type LoadBalancer leads here."""
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    command += ["--host", LOAD_BALANCER, "--dashboard-address", f"{LOAD_BALANCER}:0"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((LOAD_BALANCER, 8786), 5):
            return True
        return False

    try:
        eventually("the scheduler answers", answers)
        yield
    finally:
        process.terminate()
        process.wait(30)


class Client:
    """The client's process, step by step."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self.log = process, log
        self.stdin: IO[str] = process.stdin
        self.stdout: IO[str] = process.stdout

    def reaches(self, name: str) -> dict[str, Any]:
        line = self.stdout.readline()
        assert line, f"it ended before {name!r}:\n{self.log.read_text()[-3000:]}"
        seen: dict[str, Any] = json.loads(line)
        assert seen["step"] == name
        return seen

    def go_on(self) -> None:
        self.stdin.write("\n")
        self.stdin.flush()


@contextlib.contextmanager
def upstream_client(kubectl: Kubectl, log: Path, story: str = "all_it_can") -> Iterator[Client]:
    python = str(upstream_tests.environment())
    command = [python, "tests/cluster/upstream_client.py", kubectl.namespace, story]
    env = {"KUBECONFIG": kubectl.kubeconfig, "HOME": str(log.parent), "PATH": "/usr/bin:/bin"}
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stderr=errors, env=env, **pipes) as process,
    ):
        try:
            yield Client(process, log)
        finally:
            process.kill()


def balance(kubectl: Kubectl, cluster: str = "theirs") -> None:
    """Plays the cloud: gives the Service its address."""
    name = f"{cluster}-scheduler"
    eventually("the Service", lambda: kubectl.exists("service", name))
    set_status(kubectl, "service", name, {"loadBalancer": {"ingress": [{"ip": LOAD_BALANCER}]}})


def set_status(kubectl: Kubectl, kind: str, name: str, status: JSON) -> None:
    words = ["--subresource=status", "--type=merge", "-p", json.dumps({"status": status})]
    kubectl("patch", kind, name, *words)


def test_the_unmodified_client(kubectl: Kubectl, scheduler: None, tmp_path: Path) -> None:
    def pods(group: str, count: int) -> None:
        selector = f"dask.org/component=worker,dask.org/workergroup-name=theirs-{group}"
        eventually(
            f"{count} workers of {group}", lambda: len(kubectl.list("pods", selector)) == count
        )

    with upstream_client(kubectl, tmp_path / "log") as client:
        balance(kubectl)
        seen = client.reaches("created")
        assert seen["address"] == f"tcp://{LOAD_BALANCER}:8786"
        assert seen["scheduler"] == "Scheduler"
        assert seen["link"] == f"http://{LOAD_BALANCER}:8787/status"
        assert seen["status"] == {
            "cluster": "Running",
            "schedulerpod": "Running",
            "schedulerservice": "Created",
            "workergroup": "Created",
        }
        pods("default", 2)
        client.go_on()
        seen = client.reaches("attached")
        assert (seen["image"], seen["n_workers"], seen["jupyter"]) == ("dask:latest", 2, False)
        client.go_on()
        client.reaches("scaled")
        pods("default", 3)
        client.go_on()
        client.reaches("group added")
        pods("more", 2)
        client.go_on()
        client.reaches("adaptive")
        spec = kubectl.get("daskautoscaler", "theirs")["spec"]
        assert spec == {"cluster": "theirs", "minimum": 1, "maximum": 3}
        client.go_on()
        client.reaches("fixed again")
        assert not kubectl.exists("daskautoscaler", "theirs")
        pods("default", 1)
        pods("more", 0)
        client.go_on()
        client.reaches("closed")
        assert not kubectl.exists("daskcluster", "theirs")
        client.go_on()
        assert client.process.wait(60) == 0
    eventually("all is gone", lambda: not kubectl.list("pods"))


def pod_status(**state: JSON) -> JSON:
    """A scheduler's Pod whose container is in this state, as a kubelet tells it."""
    is_ready = str("running" in state)
    conditions = [{"type": kind, "status": is_ready} for kind in ("ContainersReady", "Ready")]
    conditions.append({"type": "PodScheduled", "status": "True"})
    container = {"name": "scheduler", "image": "dask:latest", "imageID": "", "restartCount": 3}
    told = {**container, "ready": "running" in state, "state": state}
    return {"phase": "Running", "conditions": conditions, "containerStatuses": [told]}


def phase_and_reason(kubectl: Kubectl, name: str) -> tuple[str | None, str | None, str | None]:
    """The phase, and Ready with its reason."""
    found = kubectl.get("daskcluster", name)
    ready = condition(found, "Ready") or {}
    return found["status"].get("phase"), ready.get("status"), ready.get("reason")


def test_the_unmodified_client_waits_for_a_scheduler_that_takes_long(
    kubectl: Kubectl, scheduler: None, tmp_path: Path
) -> None:
    """It gives up, and deletes the cluster, when it sees no Running in time; it has no limit after that."""
    with upstream_client(kubectl, tmp_path / "log", "fits_nowhere") as client:
        balance(kubectl, "slow")
        expected = ("Running", "False", "Unschedulable")
        eventually("it says why", lambda: phase_and_reason(kubectl, "slow") == expected)
        time.sleep(3 * RESOURCE_S)
        assert client.process.poll() is None, client.log.read_text()[-3000:]
        set_status(kubectl, "pod", "slow-scheduler", pod_status(running={}))
        assert client.reaches("created")["address"] == f"tcp://{LOAD_BALANCER}:8786"
        client.go_on()
        client.reaches("closed")
        client.go_on()
        assert client.process.wait(60) == 0
    assert not kubectl.exists("daskcluster", "slow")


def test_the_unmodified_client_sees_a_crash_loop(kubectl: Kubectl, tmp_path: Path) -> None:
    """Pretended Pods have no logs, which it asks for at the end; that it came so far is what counts."""
    with upstream_client(kubectl, tmp_path / "log", "fits_nowhere") as client:
        balance(kubectl, "slow")
        eventually("its Pod", lambda: kubectl.exists("pod", "slow-scheduler"))
        crash = pod_status(waiting={"reason": "CrashLoopBackOff"})
        set_status(kubectl, "pod", "slow-scheduler", crash)
        assert client.process.wait(60) != 0
        words = f"Scheduler in CrashLoopBackOff for more than {RESOURCE_S} seconds."
        assert words in client.log.read_text()
    eventually("it is deleted", lambda: not kubectl.exists("daskcluster", "slow"))


# ---- its own tests, against our client


@pytest.fixture
def no_controller(controller: ControllerProcess) -> Iterator[None]:
    controller.stop()
    yield
    controller.start()


def test_upstreams_test_without_a_controller(
    kubectl: Kubectl, no_controller: None, tmp_path: Path
) -> None:
    """The others run on the real node: tests/dask/test_upstream_tests.py."""
    name = upstream_tests.WITHOUT_CONTROLLER
    ended = upstream_tests.run(kubectl, tmp_path / "theirs", name)
    assert ended.outcomes == {name: "passed"}, ended.output
    assert ended.code == 0, ended.output
    assert kubectl.list("daskclusters") == []
