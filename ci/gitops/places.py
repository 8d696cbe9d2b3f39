"""Where things of a lab are: ports and addresses."""

from __future__ import annotations

from dataclasses import dataclass

from instance import FIRST_PORT, SLOTS, Instance

PORTS = (
    "web",
    "argocd",
    "argocd-metrics",
    "redis",
    "repo-server",
    "repo-metrics",
    "app-metrics",
    "set-metrics",
    "set-health",
    "set-webhook",
    "kustomize-controller-metrics",
    "kustomize-controller-health",
    "helm-controller-metrics",
    "helm-controller-health",
    "controller",
)


@dataclass(frozen=True)
class Ports:
    """The lab's ports: above those of all instances, twenty in a row belong to each slot."""

    instance: Instance

    def __call__(self, of: str) -> int:
        """A program's port."""
        return FIRST_PORT + 20 * (SLOTS + self.instance.slot) + PORTS.index(of)

    def web(self) -> str:
        """The web server's address: git below /git/, charts below /charts/."""
        return f"http://127.0.0.1:{self('web')}"
