"""A Dask cluster as a test sees it: from outside by kubectl, from inside by a client in a pod."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci.demo.remote import RemotePython
from ci.demo.story import client_pod
from tests.support.kubernetes import JSON, Audit, Kubectl, condition, eventually, is_ready

SYSTEM = "dask-system"  # where the chart is installed
CLIENT = "demo-client"
RELEASE = "dask-gitops"
CONTROLLER = "dask-gitops-controller"  # Deployment, ServiceAccount and Lease
CONTROLLER_LABEL = "app.kubernetes.io/component=controller"
CONTROLLER_USER = f"system:serviceaccount:{SYSTEM}:{CONTROLLER}"
OURS = "dask-gitops/tests=yes"  # label of namespaces


class Inside:
    """Python in a client's pod; the process is made anew after it ended or did not answer."""

    def __init__(self, kubectl: Kubectl, image: str) -> None:
        self._kubectl = kubectl
        self._image = image
        self._python: RemotePython | None = None

    def __call__(self, expression: str, timeout: float = 150) -> Any:
        """The value of an expression over the functions of inside.py."""
        return self._process()(f"result = {expression}", timeout=timeout)

    def _process(self) -> RemotePython:
        if self._python is None or not self._python.alive:
            kubectl = self._kubectl
            kubectl.apply(client_pod(self._image))
            kubectl("wait", f"pod/{CLIENT}", "--for=condition=Ready", "--timeout=120s")
            words = ["kubectl", "--kubeconfig", kubectl.kubeconfig, "-n", kubectl.namespace]
            self._python = RemotePython([*words, "exec", "-i", CLIENT, "--"])
            self._python(Path(__file__).with_name("inside.py").read_text())
        return self._python

    def close(self) -> None:
        """End it."""
        if self._python is not None:
            self._python.close()


@dataclass
class Cluster:
    """One DaskCluster in the test's namespace."""

    name: str
    kubectl: Kubectl
    inside: Inside
    audit: Audit

    @property
    def address(self) -> str:
        return f"tcp://{self.name}-scheduler.{self.kubectl.namespace}.svc:8786"

    @property
    def default_group(self) -> str:
        return f"{self.name}-default"

    def create(self, spec: JSON) -> Cluster:
        """Apply it, as a user does."""
        self.kubectl.apply(manifest("DaskCluster", self.name, spec))
        return self

    def get(self) -> JSON:
        return self.kubectl.get("daskcluster", self.name)

    def wait_ready(self, timeout: float = 120) -> Cluster:
        """Until the status says Ready for what the user wrote last."""

        def ready() -> bool:
            found = self.get()
            assert is_ready(found), condition(found, "Ready")
            return True

        eventually(f"DaskCluster {self.name} is Ready", ready, timeout=timeout)
        return self

    def connect(self, workers: int) -> list[str]:
        """A client of this cluster; returns the workers' names."""
        names: list[str] = self.inside(f"connect({self.address!r}, {workers})")
        return names

    def computes(self) -> bool:
        """Does a computation of the connected client give what it must?"""
        return bool(self.inside("compute()") == 5050)

    def scheduler(self) -> JSON | None:
        """The scheduler's pod, None while there is none."""
        found = self.kubectl.list(
            "pods", f"dask.org/cluster-name={self.name},dask.org/component=scheduler"
        )
        return found[0] if found else None

    def pods(self, group: str = "") -> dict[str, JSON]:
        """Worker pods of a group (default: the cluster's own) by name, also those on their way out."""
        label = f"dask.org/workergroup-name={group or self.default_group}"
        return {pod["metadata"]["name"]: pod for pod in self.kubectl.list("pods", label)}

    def uids(self, group: str = "") -> dict[str, str]:
        return {name: pod["metadata"]["uid"] for name, pod in self.pods(group).items()}

    def retiring(self) -> list[str]:
        """Names of the pods that are marked to leave."""
        marked = "dask.org/retiring"
        return [
            n for n, pod in self.pods().items() if marked in pod["metadata"].get("annotations", {})
        ]

    def scale(self, replicas: int, kind: str = "daskworkergroup", group: str = "") -> None:
        name = self.name if kind == "daskcluster" else group or self.default_group
        self.kubectl("scale", kind, name, f"--replicas={replicas}")

    def wait_pods(self, count: int, group: str = "", timeout: float = 120) -> dict[str, str]:
        """Until the group has exactly so many pods, all ready, and its status says so; returns their uids."""

        def so() -> bool:
            pods = self.pods(group)
            ready = [name for name, pod in pods.items() if pod_ready(pod)]
            status = self.kubectl.get("daskworkergroup", group or self.default_group).get(
                "status", {}
            )
            numbers = (len(pods), len(ready), status.get("replicas"), status.get("readyReplicas"))
            assert numbers == (count,) * 4, (
                f"pods, ready ones, and the same in the status: {numbers}"
            )
            return True

        eventually(f"{count} ready workers in {group or self.default_group}", so, timeout=timeout)
        return self.uids(group)

    def wait_workers(self, count: int) -> None:
        """Until the scheduler knows exactly so many workers."""
        assert self.inside(f"count_workers({count})") == count

    def lost(self, before: int = 0) -> list[JSON]:
        """Removed workers that were not expected to go, or took results with them."""
        events: list[JSON] = self.inside("removed()")[before:]
        return [event for event in events if event["expected"] is not True or event["lost"]]

    def deletes(self, since: Audit) -> list[str]:
        """Names of the pods that the controller deleted, once per request that took effect."""
        found = since.done("delete", "pods", namespace=self.kubectl.namespace, user=CONTROLLER_USER)
        return sorted(request["objectRef"]["name"] for request in found)

    def creates(self, since: Audit) -> int:
        """How many pods the controller created."""
        where = {"namespace": self.kubectl.namespace, "user": CONTROLLER_USER}
        return len(since.done("create", "pods", **where))


def manifest(kind: str, name: str, spec: JSON) -> JSON:
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def workers(replicas: int, *arguments: str) -> JSON:
    """spec.worker of small workers: one thread each, whatever the machine has."""
    words = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", "1"]
    words += ["--dashboard-address", ":8788", *arguments]
    container = {"name": "worker", "args": words}
    return {"replicas": replicas, "spec": {"containers": [container]}}


def pod_ready(pod: JSON) -> bool:
    return (
        condition(pod, "Ready").get("status") == "True"
        and "deletionTimestamp" not in pod["metadata"]
    )


def controller_is_ready(system: Kubectl, other_than: str = "") -> bool:
    """Does a controller's pod serve that is not the one named?"""
    pods = [pod for pod in system.list("pods", CONTROLLER_LABEL) if pod_ready(pod)]
    return any(pod["metadata"]["name"] != other_than for pod in pods)


NewCluster = Callable[[JSON], Cluster]


def processes_with(text: str) -> tuple[int, int]:
    """On this machine, the node: the first process of the container whose environment holds this, and what that started."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "environ").read_bytes():
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(fields[1])
        except OSError:  # it has just ended
            continue
    (first,) = (pid for pid, parent in parents.items() if parent not in parents)
    (child,) = (pid for pid, parent in parents.items() if parent == first)
    return first, child
