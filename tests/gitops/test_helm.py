"""Helm alone, with the package that teams install."""

from __future__ import annotations

import time

import pytest

from tests.gitops.tools import Lab, Tell, uids
from tests.support.kubernetes import CommandError, Kubectl, is_ready, run

SOON_S = 60


def install(lab: Lab, kubectl: Kubectl, *settings: str, timeout: str = "10m") -> str:
    words = ("upgrade", "--install", "dask", "dask-clusters", "--repo", lab.charts)
    where = ("--kubeconfig", kubectl.kubeconfig, "-n", kubectl.namespace)
    options = [f"--set={setting}" for setting in settings]
    return run("helm", *words, *where, *options, "--wait", "--timeout", timeout, timeout=SOON_S)


@pytest.mark.expects_failed("a spec is refused")
def test_wait_waits_for_clusters_and_ends_soon_when_one_is_refused(
    lab: Lab, kubectl: Kubectl, tell: Tell
) -> None:
    start = time.monotonic()
    install(lab, kubectl, "clusters.demo.worker.replicas=3")
    assert is_ready(kubectl.get("daskcluster", "demo"))
    tell("H1", "Helm 4: --wait, first installation, 3 workers", time.monotonic() - start)
    before, start = uids(kubectl), time.monotonic()
    bad = "clusters.demo.worker.podTemplate.spec.restartPolicy=Sometimes"
    with pytest.raises(CommandError) as told:
        install(lab, kubectl, "clusters.demo.worker.replicas=3", bad)
    tell("H1", "Helm 4: --wait, refused spec to failed (timeout 10 min)", time.monotonic() - start)
    assert "demo" in str(told.value)
    install(lab, kubectl, "clusters.demo.worker.replicas=3")
    assert is_ready(kubectl.get("daskcluster", "demo"))
    assert uids(kubectl) == before
