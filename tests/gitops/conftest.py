"""The gitops tier: a real API server, the real Argo CD and Flux controllers, a real git server, pretended nodes.

The platform (definitions, rights, controller) comes from git by Argo CD; its pod is pretended, the controller runs as a process.
Each test has a namespace and a repository of its own.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gitops.tools import PATIENCE_S, Argo, Flux, Lab, Repo, Tell
from tests.support import starting
from tests.support.controller_process import ControllerProcess, service_account_kubeconfig
from tests.support.endings import endings
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import Audit, Kubectl, eventually
from tests.support.network import own_network
from tests.support.witness import Witness, watched

NAME = "gitops"
SYSTEM = "dask-system"
ACCOUNT = "dask-gitops-controller"


def tool(*words: str, program: str = "ci/gitops") -> str:
    """Output of the lab's tool."""
    return starting.started("gitops", [sys.executable, program, *words])


def fresh_lab(name: str) -> Iterator[Lab]:
    """A fresh lab with pretended nodes, gone at the end."""
    tool("down", "--name", name)
    told = json.loads(tool("up", "--name", name))
    yield Lab(**{**told, "name": name, "folder": Path(told["folder"])})
    with endings.noted(f"the lab {name} goes"):
        tool("down", "--name", name)


@pytest.fixture(scope="package")
def network() -> Iterator[None]:
    """Of the tier's own; what has to be fetched is fetched before."""
    tool("build", "--for", "gitops", program="ci/kubernetes")
    with own_network():
        yield


@pytest.fixture(scope="package")
def lab(network: None) -> Iterator[Lab]:
    """What all files but test_bundle.py share."""
    yield from fresh_lab(NAME)


@pytest.fixture(scope="package", autouse=True)
def witness(lab: Lab) -> Iterator[Witness]:
    """Sees every status of the whole lane, and fails it when one of them was not true."""
    yield from watched(lab.kubeconfig, NAME)


@pytest.fixture(scope="package")
def argo(lab: Lab) -> Iterator[Argo]:
    made = Argo(lab, Kubectl(lab.kubeconfig, "argocd"))
    yield made
    with endings.noted("the watch of Applications ends"):
        made.close()


@pytest.fixture(scope="package")
def schedulers(lab: Lab) -> Iterator[FakeSchedulers]:
    """One process that answers as the scheduler of every cluster."""
    fake = FakeSchedulers(lab.kubeconfig)
    fake.start()
    yield fake
    with endings.noted("the pretended schedulers stop"):
        fake.stop()


@pytest.fixture(scope="package")
def controller(
    lab: Lab, argo: Argo, schedulers: FakeSchedulers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControllerProcess]:
    """The platform by Argo CD, and the controller, which runs with the rights that it has from there."""
    chart = {"repoURL": lab.charts, "chart": "dask-gitops", "targetRevision": "*"}
    source = {**chart, "helm": {"releaseName": "dask-gitops"}}
    argo.app("dask-platform", SYSTEM, source, options=["CreateNamespace=true"])
    admin = Kubectl(lab.kubeconfig, SYSTEM)
    eventually(
        "the platform is there",
        lambda: argo.status("dask-platform")["operationState"]["phase"] == "Succeeded",
        timeout=PATIENCE_S,
    )
    folder = tmp_path_factory.mktemp("controller")
    account = service_account_kubeconfig(admin, ACCOUNT, folder / "kubeconfig")
    env = {"DASK_GITOPS_LEASE_NAMESPACE": SYSTEM, "DASK_GITOPS_LEASE_NAME": ACCOUNT}
    process = ControllerProcess(account, folder / "log", env)
    process.start()
    yield process
    with endings.noted("the controller stops"):
        process.stop()


@pytest.fixture
def kubectl(
    lab: Lab, controller: ControllerProcess, request: pytest.FixtureRequest
) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own."""
    here = Kubectl(lab.kubeconfig, f"t-{uuid.uuid4().hex[:8]}")
    here("create", "namespace", here.namespace)
    failed = request.session.testsfailed
    yield here
    if request.session.testsfailed > failed:
        for kind in ("daskclusters,daskworkergroups,pods", "events"):
            print(here("get", kind, "-o", "wide"))
    here("delete", "namespace", here.namespace, "--wait=false")


@pytest.fixture
def audit(lab: Lab) -> Audit:
    """The audit log from the start of the test on."""
    return Audit.now(lab.folder / "audit.log")


@pytest.fixture
def repo(lab: Lab, kubectl: Kubectl, tmp_path: Path) -> Repo:
    """A repository of the test's own, called like its namespace."""
    return lab.repo(kubectl.namespace, tmp_path / "clone")


@pytest.fixture
def app(argo: Argo, kubectl: Kubectl, repo: Repo) -> Iterator[str]:
    """The name of the test's Application, which the test makes; it goes without what it made, as its namespace goes too."""
    yield kubectl.namespace
    if argo.admin.exists("application", kubectl.namespace):
        argo.delete(kubectl.namespace)


@pytest.fixture
def flux(kubectl: Kubectl, lab: Lab, repo: Repo) -> Iterator[Flux]:
    """Flux's sources in the test's namespace."""
    made = Flux(kubectl)
    made.source(repo)
    made.charts(lab)
    yield made
    kinds = "kustomizations.kustomize.toolkit.fluxcd.io,helmreleases.helm.toolkit.fluxcd.io"
    kubectl("delete", kinds, "--all", "--timeout=240s")


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """A line at the end of the run: which case, from what to what, in how many seconds."""

    def line(case: str, what: str, seconds: float) -> None:
        record_property("closing", f"gitops {case:<4} {what:<64} {seconds:6.1f} s")

    return line
