"""kubectl and helm against one Kubernetes cluster, in one namespace."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ci.demo.shell import Problem, run

JSON = dict[str, Any]


@dataclass(frozen=True)
class Kube:
    """
    :ivar env: how the programs find the cluster: KUBECONFIG, PATH.
    :ivar context: a context of the person's own kubeconfig; "" where the kubeconfig is ours.
    """

    namespace: str
    env: Mapping[str, str] = field(default_factory=dict)
    context: str = ""

    def kubectl_words(self, *words: str) -> list[str]:
        """A whole command line."""
        context = ["--context", self.context] if self.context else []
        return ["kubectl", *context, "--namespace", self.namespace, *words]

    def kubectl(self, *words: str, stdin: str | None = None, timeout: float = 120) -> str:
        """What kubectl prints."""
        return run(self.kubectl_words(*words), env=self.env, stdin=stdin, timeout=timeout)

    def helm(self, *words: str, timeout: float = 300) -> str:
        """What helm prints."""
        context = ["--kube-context", self.context] if self.context else []
        command = ["helm", *context, "--namespace", self.namespace, *words]
        return run(command, env=self.env, timeout=timeout)

    def get(self, kind: str, name: str) -> JSON:
        """One object."""
        found: JSON = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def objects(self, kinds: str, selector: str = "") -> list[JSON]:
        """All objects of these kinds."""
        words = ["--selector", selector] if selector else []
        found: list[JSON] = json.loads(self.kubectl("get", kinds, "-o", "json", *words))["items"]
        return found

    def names(self, kinds: str, *words: str) -> list[str]:
        """Names of the objects of these kinds, as kind/name."""
        return self.kubectl("get", kinds, "-o", "name", "--ignore-not-found", *words).split()

    def apply(self, *objects: JSON) -> None:
        """Create or change objects."""
        everything = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(everything))

    def shell_lines(self) -> list[str]:
        """What a person types to reach the same cluster."""
        lines = []
        for name, value in self.env.items():
            old = os.environ.get(name, "")
            if value != old:
                short = (
                    f"{value.removesuffix(old)}${name}" if old and value.endswith(old) else value
                )
                lines.append(f'export {name}="{short}"')
        return lines

    def reachable(self) -> str:
        """The server's version.

        :raises Problem: it does not answer.
        """
        try:
            answer = json.loads(self.kubectl("version", "-o", "json", timeout=30))
        except Problem as problem:
            hint = "kubectl config get-contexts lists what there is"
            raise Problem(f"Kubernetes does not answer: {problem}", hint) from None
        version: str = answer["serverVersion"]["gitVersion"]
        return version
