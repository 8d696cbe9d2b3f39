"""Controllers of an earlier state and of this one take turns below real clusters that compute: nothing starts anew or is lost.

tests/gitops/test_versions.py does the same with the whole chart and more clusters, whose pods are pretended.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dask.support import (
    CONTROLLER,
    CONTROLLER_LABEL,
    SYSTEM,
    Cluster,
    Inside,
    controller_is_ready,
    workers,
)
from tests.support import earlier
from tests.support.controller_process import ControllerProcess, service_account_kubeconfig
from tests.support.kubernetes import Audit, Kubectl, eventually


class Turns:
    """Which of the two controllers runs: the chart's, or the earlier one as a process."""

    def __init__(self, system: Kubectl, process: ControllerProcess) -> None:
        self._system = system
        self._process = process

    def earlier(self) -> None:
        self._system("scale", "deployment", CONTROLLER, "--replicas=0")
        eventually(
            "the chart's controller is gone",
            lambda: not self._system.list("pods", CONTROLLER_LABEL),
            timeout=90,
        )
        self._process.start()

    def chart(self) -> None:
        self._process.stop()
        self._system("scale", "deployment", CONTROLLER, "--replicas=1")
        eventually(
            "the chart's controller is ready",
            lambda: controller_is_ready(self._system),
            timeout=120,
        )


@pytest.fixture
def turns(system: Kubectl, dask_image: str, tmp_path: Path) -> Iterator[Turns]:
    """The earlier one's to begin with; the chart's at the end."""
    env = {
        "PYTHONPATH": str(earlier.unpack(tmp_path) / "controller"),
        "DASK_GITOPS_DASK_IMAGE": dask_image,
        "DASK_GITOPS_LEASE_NAME": CONTROLLER,
        "DASK_GITOPS_LEASE_NAMESPACE": SYSTEM,
    }
    account = service_account_kubeconfig(system, CONTROLLER, tmp_path / "kubeconfig")
    made = Turns(system, ControllerProcess(account, tmp_path / "log", env))
    try:
        made.earlier()
        yield made
    finally:
        made.chart()


def test_controllers_take_turns_below_clusters_that_compute(
    turns: Turns, kubectl: Kubectl, inside: Inside, audit: Audit
) -> None:
    a, b = (Cluster(name, kubectl, inside, audit).create({"worker": workers(2)}) for name in "ab")
    for it in (a, b):
        it.wait_ready()
    b.connect(2)
    inside("load_for(900, 2)")  # goes on without a client
    a.connect(2)
    held = inside("hold(20, 5)")
    assert inside("run_gated(2)") == 2
    schedulers = [scheduler_uid(it) for it in (a, b)]
    before = [it.wait_pods(2) for it in (a, b)]
    turns.chart()
    more = []
    for it, had in zip((a, b), before, strict=True):
        it.scale(3, "daskcluster")
        more.append(it.wait_pods(3, timeout=180))
        assert had.items() <= more[-1].items()
    turns.earlier()
    inside("open_gate()")
    assert inside("results()") == [0, 1]
    assert inside("starts()") == {"0": 1, "1": 1}
    a.scale(2, "daskcluster")
    assert a.wait_pods(2, timeout=180).items() <= more[0].items()
    assert b.wait_pods(3) == more[1]
    assert inside("hashes()") == held
    assert a.lost() == []
    assert [scheduler_uid(it) for it in (a, b)] == schedulers


def scheduler_uid(it: Cluster) -> str:
    pod = it.scheduler()
    return pod["metadata"]["uid"] if pod else ""
