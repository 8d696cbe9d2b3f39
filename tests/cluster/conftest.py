"""The cluster tier: a real etcd, kube-apiserver and controller-manager, pretended nodes, the controller as a process.

The client and the namespaces of all tests are those of pytest-helm-charts, whose other fixtures (`namespace_factory`,
`random_namespace`) work on that API server too.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_helm_charts.clusters import Cluster
from pytest_helm_charts.k8s.namespace import ensure_namespace_exists

from tests.support import starting
from tests.support.controller_process import ControllerProcess, service_account_kubeconfig
from tests.support.endings import endings
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kills import Kills, killing
from tests.support.kubernetes import Audit, Kubectl, run
from tests.support.lanes import INSTANCES, lane
from tests.support.network import own_network
from tests.support.witness import Witness, watched

SYSTEM = "dask-system"  # where the chart is installed
ACCOUNT = "dask-gitops-controller"


def local_kubernetes(*words: str) -> str:
    """Output of the local Kubernetes tool."""
    return starting.started("cluster", [sys.executable, "ci/kubernetes", *words])


@pytest.fixture(scope="package")
def instance() -> str:
    """The local Kubernetes of this lane, by name."""
    return INSTANCES[lane(os.environ["PYTEST_CURRENT_TEST"])]


@pytest.fixture(scope="package")
def kubeconfig(instance: str) -> Iterator[str]:
    """A fresh control plane with pretended nodes, gone at the end; it and all that tests start have a network of their own."""
    local_kubernetes("down", "--name", instance)
    local_kubernetes("build", "--for", "cluster")  # here, where there is something to fetch from
    with own_network():
        # Pretended pods get loopback addresses, so that one local process can answer as all schedulers.
        yield local_kubernetes(
            "up", "--name", instance, "--kwok-nodes", "5", "--kwok-cidr", "127.64.0.0/12"
        ).splitlines()[-1]
        with endings.noted(f"{instance} goes"):
            local_kubernetes("down", "--name", instance)


@pytest.fixture(scope="package", autouse=True)
def witness(kubeconfig: str, instance: str) -> Iterator[Witness]:
    """Sees every status of the whole lane, and fails it when one of them was not true."""
    yield from watched(kubeconfig, instance)


@pytest.fixture(scope="module")
def kube_config(kubeconfig: str) -> str:
    """Where pytest-helm-charts finds its cluster."""
    return kubeconfig


@pytest.fixture(scope="package")
def audit_path(kubeconfig: str) -> Path:
    return Path(kubeconfig).parent / "audit.log"


@pytest.fixture
def audit(audit_path: Path) -> Audit:
    """The audit log from the start of the test on."""
    return Audit.now(audit_path)


@pytest.fixture(scope="package")
def system(kubeconfig: str, root: Path) -> Kubectl:
    """The chart's CRDs and RBAC, installed by helm; the Deployment has no pods, the tests run the controller."""
    admin = Kubectl(kubeconfig, SYSTEM)
    run(
        "helm", "--kubeconfig", kubeconfig, "upgrade", "--install", "dask-gitops", root,
        "-n", SYSTEM, "--create-namespace", "--set", "controller.replicas=0", "--wait", "--timeout", "60s",
    )  # fmt: skip
    return admin


@pytest.fixture(scope="package")
def account_kubeconfig(system: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Speaks with the rights that the chart gives the controller, and no others."""
    return service_account_kubeconfig(
        system, ACCOUNT, tmp_path_factory.mktemp("account") / "kubeconfig"
    )


@pytest.fixture(scope="package")
def schedulers(kubeconfig: str) -> Iterator[FakeSchedulers]:
    """One process that answers as the scheduler of every cluster."""
    fake = FakeSchedulers(kubeconfig)
    fake.start()
    yield fake
    with endings.noted("the pretended schedulers stop"):
        fake.stop()


@pytest.fixture(scope="package")
def controller(
    account_kubeconfig: str, schedulers: FakeSchedulers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControllerProcess]:
    """The controller with its Lease, as the chart's ServiceAccount. Tests that kill it start it again."""
    env = {"DASK_GITOPS_LEASE_NAMESPACE": SYSTEM, "DASK_GITOPS_LEASE_NAME": ACCOUNT}
    process = ControllerProcess(
        account_kubeconfig, tmp_path_factory.mktemp("controller") / "log", env
    )
    process.start()
    yield process
    with endings.noted("the controller stops"):
        process.stop()


@pytest.fixture(autouse=True)
def _as_the_kubelet(request: pytest.FixtureRequest) -> None:
    """The controller that lost its Lease on a busy machine while a test ended is there for the next."""
    if "controller" in request.fixturenames:
        request.getfixturevalue("controller").restart_if_ended()


@pytest.fixture
def kills(
    controller: ControllerProcess,
    schedulers: FakeSchedulers,
    account_kubeconfig: str,
    kubeconfig: str,
    tmp_path: Path,
) -> Iterator[Kills]:
    """Another controller instead, which is killed where the test says."""
    controller.stop()
    try:
        with killing(kubeconfig, account_kubeconfig, schedulers, tmp_path) as made:
            yield made
    finally:
        controller.start()


@pytest.fixture
def kubectl(
    kube_cluster: Cluster, kubeconfig: str, request: pytest.FixtureRequest
) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own."""
    client = kube_cluster.kube_client
    namespace, made = ensure_namespace_exists(client, f"t-{uuid.uuid4().hex[:8]}")
    assert made
    here = Kubectl(kubeconfig, namespace.name)
    yield here
    if request.session.testsfailed:
        for kind in ("daskclusters,daskworkergroups,pods,services", "events"):
            print(here("get", kind, "-o", "wide"))
    namespace.delete()  # nobody waits for its end, as namespace_factory does
