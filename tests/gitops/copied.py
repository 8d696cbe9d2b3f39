"""gitops/ as somebody has it who has copied it, on a lab of its own: an API server with nothing but Argo CD and Flux."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.gitops.conftest import ACCOUNT, started, tool
from tests.gitops.tools import Lab, Repo
from tests.support.controller_process import ROOT, ControllerProcess, service_account_kubeconfig
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import Kubectl
from tests.support.network import own_network
from tests.support.witness import Witness, watched

NAME = "bundle"
SYSTEM = "dask-gitops"


@dataclass(frozen=True)
class Copy:
    """:ivar folder: for files of the run."""

    lab: Lab
    repo: Repo
    folder: Path
    process: ControllerProcess

    def kubectl(self, namespace: str) -> Kubectl:
        return Kubectl(self.lab.kubeconfig, namespace)

    def start_controller(self) -> None:
        """What the platform's pod would do, which is pretended; with the rights that the platform has brought."""
        account = service_account_kubeconfig(
            self.kubectl(SYSTEM), ACCOUNT, Path(self.process.kubeconfig)
        )
        assert account == self.process.kubeconfig
        self.process.start()


@contextmanager
def copy_of_bundle(folder: Path) -> Iterator[Copy]:
    """In a network of its own, as the pretended schedulers of the tier's other lab have the same addresses."""
    with own_network():
        lab = started(NAME)
        fake = FakeSchedulers(lab.kubeconfig)
        fake.start()
        env = {"DASK_GITOPS_LEASE_NAMESPACE": SYSTEM, "DASK_GITOPS_LEASE_NAME": ACCOUNT}
        process = ControllerProcess(str(folder / "kubeconfig"), folder / "controller.log", env)
        try:
            with contextmanager(watched)(Witness(lab.kubeconfig)):
                yield Copy(lab, repository(lab, folder / "dask"), folder, process)
        finally:
            process.stop()
            fake.stop()
            tool("down", "--name", NAME)


def repository(lab: Lab, folder: Path) -> Repo:
    """The copy, pushed: with the lab's addresses, and for one Kubernetes cluster that has both environments."""
    repo = lab.repo("dask", folder)
    shutil.copytree(ROOT / "gitops", folder, dirs_exist_ok=True)
    teams = folder / "platform/clusters/dev/teams"
    shutil.move(folder / "platform/clusters/prod/teams/team-a.yaml", teams / "team-a-prod.yaml")
    shutil.move(folder / "flux/tenants/prod/team-a.yaml", folder / "flux/tenants/dev/prod.yaml")
    shutil.rmtree(folder / "platform/clusters/prod")
    for old, new in (
        ("https://git.example.com/dask.git", repo.url),
        ("  type: oci\n  url: oci://registry.example.com/charts", f"  url: {lab.charts}"),
        ('  url: registry.example.com/charts\n  enableOCI: "true"', f"  url: {lab.charts}"),
        ("registry.example.com/charts", lab.charts),
        ("cluster: prod", "cluster: in-cluster"),
        ("  - teams/team-a.yaml\n", "  - teams/team-a.yaml\n  - teams/team-a-prod.yaml\n"),
    ):
        replaced = 0
        for folder_of_tool in ("argocd", "flux", "platform", "tenants"):
            for path in (folder / folder_of_tool).rglob("*.yaml"):
                text = path.read_text()
                replaced += text.count(old)
                path.write_text(text.replace(old, new))
        assert replaced, old
    repo.push_files({})
    return repo
