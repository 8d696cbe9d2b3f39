"""Which tests may be tried a second time, and for which failures: those that name the machine, and no others.

A test that shows that nothing is lost or doubled, that kills, that goes on where another one has ended, or that runs
with other versions, has one try: what it finds now and then is a finding.
"""

from __future__ import annotations

from pathlib import PurePath

import pytest

from tests.support.kubernetes import LabRefused
from tests.support.machine import MachineStalled

REASONS = (MachineStalled, LabRefused)
MOST = 1  # second tries in a run; more fail it
#: The only files whose tests may have one.
FILES = {
    "cluster": (
        "test_autoscaler", "test_crds", "test_gitops_docs", "test_healing", "test_hygiene", "test_idle", "test_job",
        "test_main_job", "test_manifests", "test_metrics", "test_plan", "test_plugins", "test_rollout", "test_status",
        "test_suspend", "test_values",
    ),
    "gitops": ("test_argocd", "test_flux", "test_helm", "test_settings", "test_tenants_argocd", "test_tenants_flux"),
    "dask": ("test_compute", "test_idle", "test_job", "test_reasons"),
}  # fmt: skip
_NEVER = ("kill", "lost", "lose", "nothing", "twice")


def may_be_tried_again(nodeid: str) -> bool:
    """Is this one of those tests?"""
    path, _, name = nodeid.partition("::")
    tier, file = PurePath(path).parent.name, PurePath(path).stem
    return file in FILES.get(tier, ()) and not any(word in name for word in _NEVER)


def mark(items: list[pytest.Item]) -> None:
    """Let them have it."""
    for item in items:
        if may_be_tried_again(item.nodeid):
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=list(REASONS)))
