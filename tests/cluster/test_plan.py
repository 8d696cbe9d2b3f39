"""`dask-gitops plan --live` on the real API server, and what the real controller then does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cluster.manifests import JSON, cluster, group, pod_spec
from tests.cluster.test_main_job import USER, ready
from tests.support.kubernetes import Audit, Kubectl, eventually

pytestmark = pytest.mark.usefixtures("controller", "schedulers")
GROUP = "daskworkergroup"


def plan(kubectl: Kubectl, *args: str | Path) -> tuple[int, list[str]]:
    """Exit code, and what happens, line by line."""
    words = [sys.executable, "-m", "dask_gitops.cli", "plan", "--live", *map(str, args)]
    done = subprocess.run(
        [*words, "--namespace", kubectl.namespace],
        capture_output=True,
        text=True,
        env={**os.environ, "KUBECONFIG": kubectl.kubeconfig, "PYTHONPATH": "controller"},
    )
    assert not done.stderr, done.stderr
    lines = [line for line in done.stdout.splitlines() if "changed: " not in line]
    return done.returncode, lines[: lines.index("nothing else changes")]


def test_the_numbers_are_real_and_it_happens_so(
    kubectl: Kubectl, audit: Audit, tmp_path: Path
) -> None:
    def written(name: str, *manifests: JSON) -> Path:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump_all(manifests))
        return path

    def uids(of: str) -> set[str]:
        pods = kubectl.list("pods", f"dask.org/workergroup-name={of}")
        return {p["metadata"]["uid"] for p in pods if "deletionTimestamp" not in p["metadata"]}

    old, new = pod_spec(image="a"), pod_spec(image="b")
    before = written("before", cluster(replicas=3, worker=old), group("demo-gpu", 2))
    after = written("after", cluster(replicas=3, worker=new), group("demo-gpu", 2))
    kubectl("apply", "-f", str(before))
    ready(kubectl)
    ready(kubectl, "demo-gpu", GROUP)
    kubectl("scale", GROUP, "demo-gpu", "--replicas=3")
    eventually("a third worker", lambda: len(uids("demo-gpu")) == 3)
    ready(kubectl, "demo-gpu", GROUP)
    ready(kubectl)
    code, lines = plan(kubectl, "--from", before, "--to", after)
    assert (code, lines) == (
        0,
        [
            "cluster demo      3 workers are replaced, one after the other; each hands over first",
            "group demo-gpu    live it was scaled to 3; before the change 2 are declared",
            "                  1 of 3 workers leaves, handing over its results",
        ],
    )
    asked = [r for r in audit.requests() if r.get("userAgent", "").startswith("dask-gitops-plan")]
    assert len(asked) == 6
    assert {r["verb"] for r in asked} == {"list"}
    scheduler = kubectl.get("pod", "demo-scheduler")["metadata"]["uid"]
    workers, gpu = uids("demo-default"), uids("demo-gpu")
    from_here = Audit.now(audit.path)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(after))
    eventually("all are replaced", lambda: not workers & uids("demo-default"), timeout=90)
    eventually("one has left", lambda: len(uids("demo-gpu")) == 2, timeout=90)
    ready(kubectl)
    assert len(uids("demo-default")) == 3
    assert uids("demo-gpu") < gpu
    assert kubectl.get("pod", "demo-scheduler")["metadata"]["uid"] == scheduler
    here = {"namespace": kubectl.namespace, "user": USER}
    assert len(from_here.done("create", "pods", **here)) == 3
    assert len(from_here.touched("delete", "pods", **here)) == 4
    assert plan(kubectl, "--to", before)[1][0].startswith("cluster demo    3 workers are replaced")
