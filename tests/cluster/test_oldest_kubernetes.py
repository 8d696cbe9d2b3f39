"""The lowest Kubernetes that the chart allows: its API server takes the definitions and the rights, and a cluster lives on it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.conftest import ACCOUNT, SYSTEM, local_kubernetes
from tests.cluster.manifests import cluster
from tests.cluster.test_main_job import WORKERS, ready, workers_become
from tests.support.controller_process import ControllerProcess, service_account_kubeconfig
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import CommandError, Kubectl, eventually, run
from tests.support.network import own_network
from tests.support.witness import Witness, watched

pytestmark = pytest.mark.soak
VERSION = "1.30"
NAME = "oldest"
SERVERS = ",".join(f"kube-{n}-{VERSION}" for n in ("apiserver", "controller-manager", "scheduler"))
ALLOWED = [
    "get daskclusters",
    "patch daskclusters --subresource=status",
    "create pods",
    "delete pods",
]
REFUSED = [
    "delete namespaces",
    "get secrets",
    "create clusterroles",
    "patch customresourcedefinitions",
]


@pytest.fixture(scope="module")
def oldest() -> Iterator[str]:
    """The kubeconfig of a control plane of that version, with pretended nodes, in a network of its own."""
    local_kubernetes("down", "--name", NAME)
    # Here, where there is something to fetch from.
    local_kubernetes("build", "--for", "cluster")
    local_kubernetes("build", "--only", SERVERS)
    with own_network():
        words = ("--kubernetes", VERSION, "--kwok-nodes", "2", "--kwok-cidr", "127.64.0.0/12")
        yield local_kubernetes("up", "--name", NAME, *words).splitlines()[-1]
        local_kubernetes("down", "--name", NAME)


@pytest.fixture(scope="module", autouse=True)
def witness(oldest: str) -> Iterator[Witness]:
    """In place of the tier's: sees every status on this API server."""
    yield from watched(oldest, NAME)


@pytest.fixture(scope="module")
def admin(oldest: str) -> Kubectl:
    return Kubectl(oldest, SYSTEM)


@pytest.fixture(scope="module")
def rights(admin: Kubectl, root: Path) -> Kubectl:
    """The definitions and the chart's rights, without its Deployment."""
    for file in sorted((root / "charts/crds/crds").glob("*.yaml")):
        said = admin("apply", "--server-side", "-f", str(file))
        assert "serverside-applied" in said
    admin("wait", "crd", "--all", "--for=condition=Established", "--timeout=60s")
    rendered = run("helm", "template", "dask-gitops", root, "-n", SYSTEM, "--kube-version", VERSION)
    kinds = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    wanted = [one for one in yaml.safe_load_all(rendered) if one and one["kind"] in kinds]
    assert {one["kind"] for one in wanted} >= set(kinds[:3])
    admin("create", "namespace", SYSTEM)
    admin.apply(*wanted)
    return admin


@pytest.fixture(scope="module")
def account(rights: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """Speaks as the controller's ServiceAccount."""
    file = tmp_path_factory.mktemp("account") / "kubeconfig"
    return Kubectl(service_account_kubeconfig(rights, ACCOUNT, file), SYSTEM)


@pytest.fixture(scope="module")
def controller(
    oldest: str, account: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControllerProcess]:
    """The controller with its Lease and these rights; one process answers as the scheduler of every cluster."""
    fake = FakeSchedulers(oldest)
    fake.start()
    env = {"DASK_GITOPS_LEASE_NAMESPACE": SYSTEM, "DASK_GITOPS_LEASE_NAME": ACCOUNT}
    log = tmp_path_factory.mktemp("controller") / "log"
    process = ControllerProcess(account.kubeconfig, log, env)
    process.start()
    yield process
    process.stop()
    fake.stop()


@pytest.fixture
def kubectl(oldest: str) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own."""
    here = Kubectl(oldest, f"t-{uuid.uuid4().hex[:8]}")
    here("create", "namespace", here.namespace)
    yield here
    here("delete", "namespace", here.namespace, "--wait=false")


def test_it_is_that_version(admin: Kubectl) -> None:
    said = json.loads(admin("version", "-o", "json"))["serverVersion"]
    assert said["gitVersion"].startswith(f"v{VERSION}.")


def test_rights(account: Kubectl) -> None:
    for words in ALLOWED:
        assert account("auth", "can-i", *words.split(), "-n", "default").strip() == "yes"
    for words in REFUSED:
        with pytest.raises(CommandError, match=r"(?m)^no$"):
            account("auth", "can-i", *words.split(), "-n", "default")


def test_the_rules_of_the_definitions_hold(rights: Kubectl, kubectl: Kubectl) -> None:
    """Rules in CEL are what older API servers know least of."""
    long, negative = cluster("d" * 54), cluster("fine", replicas=-1)
    for wrong, words in ((long, "53"), (negative, "greater than or equal to 0")):
        with pytest.raises(CommandError, match=words):
            kubectl.apply(wrong)


def test_created_scaled_healed_and_deleted(kubectl: Kubectl, controller: ControllerProcess) -> None:
    kubectl.apply(cluster(replicas=2))
    ready(kubectl)
    ready(kubectl, "demo-default", "daskworkergroup")
    workers_become(kubectl, 2)
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=5")
    workers_become(kubectl, 5)
    ready(kubectl, "demo-default", "daskworkergroup")
    kubectl("scale", "daskcluster", "demo", "--replicas=1")
    workers_become(kubectl, 1)
    (worker,) = kubectl.list("pods", WORKERS)
    kubectl("delete", "pod", worker["metadata"]["name"])

    def another() -> bool:
        pods = kubectl.list("pods", WORKERS)
        return [p["metadata"]["uid"] for p in pods] != [worker["metadata"]["uid"]] and len(
            pods
        ) == 1

    eventually("another worker in its place", another)
    ready(kubectl)
    assert controller.alive
    kubectl("delete", "daskcluster", "demo", "--timeout=60s")
    kinds = "daskworkergroups,pods,services"
    eventually("its children too", lambda: not kubectl.list(kinds), timeout=90)
