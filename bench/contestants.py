"""Who is measured: this tree's controller, and the existing operator with the definitions that it ships."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from bench import ROOT
from bench.lab import Failure
from bench.turns import OURS, PEER

REQUIREMENTS = ROOT / "tests" / "upstream-requirements.txt"
SHIPPED = "operator/deployment/helm/dask-kubernetes-operator/crds"
ASK = f"""
import importlib.metadata as m, importlib.util as u, json, pathlib
home = pathlib.Path(u.find_spec("dask_kubernetes").origin).parent
names = ("dask-kubernetes", "kopf", "kr8s", "distributed")
print(json.dumps({{"crds": str(home / "{SHIPPED}"), "versions": {{n: m.version(n) for n in names}}}}))
"""


@dataclass(frozen=True)
class Contestant:
    """A controller, as a process with the administrator's kubeconfig.

    :ivar creates: the request in the audit log that it makes once for each scheduler and each worker.
    :ivar agents: how the names begin by which it calls itself in requests.
    :ivar says: a word in its log without which it has not started.
    :ivar watches: resources that it watches once it has started.
    :ivar is_ours: what it cannot do is a failure of the run.
    """

    key: str
    crds: Path
    command: tuple[str, ...]
    creates: str
    agents: tuple[str, ...]
    says: bytes = b""
    watches: frozenset[str] = frozenset()
    env: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    is_ours: bool = False


def ours() -> Contestant:
    """This tree's controller, with a Lease of its own."""
    return Contestant(
        key=OURS,
        crds=ROOT / "charts/crds/crds",
        command=(sys.executable, "-m", "dask_gitops"),
        creates="create pods",
        agents=("dask-gitops/",),
        says=b"this process is the leader",
        env={
            "PYTHONPATH": str(ROOT / "controller"),
            "DASK_GITOPS_PORT": "0",
            "DASK_GITOPS_LEASE_NAMESPACE": "default",
            # No waiting for a dead holder.
            "DASK_GITOPS_LEASE_NAME": f"bench-{datetime.now():%H%M%S}",
        },
        is_ours=True,
    )


def upstream_python() -> Path:
    """Of the environment that has the existing operator and its client.

    :raises Failure: it cannot be installed.
    """
    made = [sys.executable, str(ROOT / "ci/venv.py"), str(REQUIREMENTS)]
    done = subprocess.run(made, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Failure("its packages cannot be installed; see above")
    return Path(done.stdout.strip())


def peer() -> Contestant:
    """The existing operator, started as its image does, from a virtual environment of its own.

    :raises Failure: it cannot be installed.
    """
    python = str(upstream_python())
    found = json.loads(subprocess.check_output([python, "-c", ASK], text=True))
    kopf = os.path.join(os.path.dirname(python), "kopf")
    groups = ("daskclusters", "daskworkergroups", "daskautoscalers", "daskjobs")
    return Contestant(
        key=PEER,
        crds=Path(found["crds"]),
        command=(kopf, "run", "-m", "dask_kubernetes.operator.controller", "--all-namespaces"),
        creates="create deployments",
        agents=("kopf/", "kr8s/"),
        watches=frozenset({*groups, "pods", "services"}),
        versions=found["versions"],
    )
