"""The teams' part of gitops/, copied to a repository of the lab: what administrators give a team, and what is the team's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.gitops.tools import Lab, uids
from tests.support.documents import ROOT
from tests.support.kubernetes import Kubectl

BASE, DEV, PROD = (
    f"tenants/team-a/{name}/values.yaml" for name in ("base", "envs/dev", "envs/prod")
)
ENVIRONMENTS = ("dev", "prod")


class Copy:
    """:ivar repo: with the lab's addresses; both environments are on the lab's one Kubernetes cluster."""

    def __init__(self, lab: Lab, name: str, folder: Path) -> None:
        self.lab = lab
        self.repo = lab.repo(name, folder)
        shutil.copytree(ROOT / "gitops", folder, dirs_exist_ok=True)
        for old, new in (
            ("https://git.example.com/dask.git", self.repo.url),
            ("  type: oci\n  url: oci://registry.example.com/charts", f"  url: {lab.charts}"),
            ("registry.example.com/charts", lab.charts),
            ("cluster: prod", "cluster: in-cluster"),
        ):
            self._replace(old, new)
        self.repo.push_files({})

    def _replace(self, old: str, new: str) -> None:
        texts = {path: path.read_text() for path in self.repo.clone.rglob("*.yaml")}
        found = {path: text for path, text in texts.items() if old in text}
        assert found, old
        for path, text in found.items():
            path.write_text(text.replace(old, new))

    def kubectl(self, env: str) -> Kubectl:
        """In the namespace of an environment."""
        return Kubectl(self.lab.kubeconfig, f"team-a-{env}")

    def apply(self, *paths: str) -> None:
        """Files of the repository that are not for one namespace."""
        for path in paths:
            Kubectl(self.lab.kubeconfig, "")("apply", "--filename", str(self.repo.clone / path))

    def uids(self) -> set[str]:
        """Of all pods of both clusters."""
        return {uid for env in ENVIRONMENTS for uid in uids(self.kubectl(env), "analytics")}


@contextmanager
def given(lab: Lab, name: str, folder: Path) -> Iterator[Copy]:
    """Namespaces, identities and rights are there; nothing is left in the end."""
    copy = Copy(lab, name, folder)
    try:
        copy.apply(*(f"platform/clusters/{env}/teams" for env in ENVIRONMENTS))
        yield copy
    finally:
        for env in ENVIRONMENTS:
            copy.kubectl(env)("delete", "namespace", f"team-a-{env}", "--timeout=240s")


def lives(kubectl: Kubectl, name: str = "analytics", kind: str = "daskcluster") -> bool:
    """It is there, and nobody has asked for its end."""
    return (
        kubectl.exists(kind, name)
        and "deletionTimestamp" not in kubectl.get(kind, name)["metadata"]
    )
