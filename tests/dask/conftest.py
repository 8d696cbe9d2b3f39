"""The dask tier: the local Kubernetes' real node, the chart with the controller's image, real Dask.

The controller runs in the cluster under its own ServiceAccount, for the whole tier. Each test has a namespace.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from ci.demo.story import split_image
from tests.dask.support import (
    CONTROLLER_LABEL,
    OURS,
    RELEASE,
    SYSTEM,
    Cluster,
    Inside,
    NewCluster,
)
from tests.support import starting
from tests.support.endings import endings
from tests.support.kubernetes import JSON, Audit, CommandError, Kubectl, run
from tests.support.witness import Witness, watched

NAME = "local"
CLIENTS = "dask-clients"


def local_kubernetes(*words: str) -> str:
    """Output of the local Kubernetes tool."""
    return starting.started("dask", [sys.executable, "ci/kubernetes", *words, "--name", NAME])


@pytest.fixture(scope="package")
def kubeconfig() -> Iterator[str]:
    """The real node; taken down at the end if it was not up before."""
    status = [sys.executable, "ci/kubernetes", "status", "--name", NAME]
    was_up = subprocess.run(status, capture_output=True).returncode == 0
    yield local_kubernetes("up").splitlines()[-1]
    if not was_up:
        with endings.noted("the local Kubernetes goes"):
            local_kubernetes("down")


@pytest.fixture(scope="package", autouse=True)
def witness(kubeconfig: str) -> Iterator[Witness]:
    """Sees every status of the whole tier, and fails it when one of them was not true."""
    yield from watched(kubeconfig, NAME)


@pytest.fixture(scope="package")
def images(kubeconfig: str) -> dict[str, str]:
    """Names of the images on the node: dask-gitops-controller, dask-gitops-dask."""
    found: dict[str, str] = json.loads(local_kubernetes("images", "--json"))
    return found


@pytest.fixture(scope="package")
def dask_image(images: dict[str, str]) -> str:
    return images["dask-gitops-dask"]


@pytest.fixture(scope="package")
def system(
    kubeconfig: str, images: dict[str, str], whole_audit: Audit, root: Path
) -> Iterator[Kubectl]:
    """The chart, installed by helm; gone at the end. kubectl in its namespace."""
    admin = Kubectl(kubeconfig, SYSTEM)
    admin("delete", "namespaces", "-l", OURS, "--ignore-not-found")  # of a run that was killed
    repository, tag = split_image(images["dask-gitops-controller"])
    run(
        "helm", "--kubeconfig", kubeconfig, "upgrade", "--install", RELEASE, root,
        "-n", SYSTEM, "--create-namespace", "--wait", "--timeout", "180s",
        "--set-string", f"controller.image.repository={repository}",
        "--set-string", f"controller.image.tag={tag}",
        "--set-string", f"controller.daskImage={images['dask-gitops-dask']}",
    )  # fmt: skip
    yield admin
    with endings.noted("the chart is uninstalled"):
        helm = ("helm", "--kubeconfig", kubeconfig, "-n", SYSTEM)
        run(*helm, "uninstall", RELEASE, "--ignore-not-found")
        admin("delete", "namespace", SYSTEM, "--wait=false")


@pytest.fixture(scope="package")
def inside(kubeconfig: str, dask_image: str) -> Iterator[Inside]:
    """Python in a pod of Dask's image, for all tests."""
    kubectl = Kubectl(kubeconfig, CLIENTS)
    if not kubectl.exists("namespace", CLIENTS):
        kubectl("create", "namespace", CLIENTS)
    kubectl("label", "namespace", CLIENTS, OURS, "--overwrite")
    python = Inside(kubectl, dask_image)
    yield python
    with endings.noted("the clients' pod goes"):
        python.close()
        kubectl("delete", "namespace", CLIENTS, "--wait=false")


@pytest.fixture
def kubectl(system: Kubectl) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own."""
    here = Kubectl(system.kubeconfig, f"t-{uuid.uuid4().hex[:8]}")
    here("create", "namespace", here.namespace)
    here("label", "namespace", here.namespace, OURS)
    yield here
    here("delete", "namespace", here.namespace, "--wait=false")


@pytest.fixture(scope="package")
def whole_audit(kubeconfig: str) -> Audit:
    """The API server's audit log from the start of the tier on."""
    instance: JSON = json.loads(Path(kubeconfig).with_name("instance.json").read_text())
    return Audit.now(Path(instance["audit_log"]))


@pytest.fixture
def audit(whole_audit: Audit) -> Audit:
    """The API server's audit log from the start of the test on."""
    return Audit.now(whole_audit.path)


@pytest.fixture
def cluster(kubectl: Kubectl, inside: Inside, audit: Audit) -> NewCluster:
    """Makes the test's DaskCluster from a spec."""
    return lambda spec: Cluster("c", kubectl, inside, audit).create(spec)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test's report holds what a person would look up: objects, Events, logs."""
    report = yield
    if report.failed:
        fixtures = getattr(item, "funcargs", {})
        here, system = fixtures.get("kubectl"), fixtures.get("system")
        everything = "daskclusters,daskworkergroups,pods,services"
        if isinstance(here, Kubectl):
            scheduler = "dask.org/component=scheduler"
            attach(report, here, "get", everything, "-o", "wide")
            attach(report, here, "get", "events", "--sort-by=.lastTimestamp")
            attach(report, here, "logs", "-l", scheduler, "--tail=60")
            system = system or Kubectl(here.kubeconfig, SYSTEM)
        if isinstance(system, Kubectl):
            attach(report, system, "get", "pods", "-o", "wide")
            attach(report, system, "logs", "-l", CONTROLLER_LABEL, "--tail=80")
    return report


def attach(report: pytest.TestReport, kubectl: Kubectl, *words: str) -> None:
    """The output of a kubectl command as a section of the report."""
    try:
        text = kubectl(*words, timeout=30)
    except (CommandError, subprocess.TimeoutExpired) as error:
        text = str(error)
    report.sections.append((f"kubectl -n {kubectl.namespace} {' '.join(words)}", text))
