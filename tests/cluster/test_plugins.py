"""Plugins of the controller in the real process: a handler of the documented kind, and what kopf watches for it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.conftest import ACCOUNT, SYSTEM
from tests.cluster.manifests import cluster
from tests.support.controller_process import ControllerProcess
from tests.support.kubernetes import JSON, Audit, Kubectl, eventually
from tests.support.plugin import install

USER = f"system:serviceaccount:{SYSTEM}:{ACCOUNT}"
SEEN = "plugin.example.com/seen-by"

# As the existing operator's documentation has it (dask-kubernetes, docs/source/operator_extending.rst).
SAMPLE = f"""
import os
import kopf

@kopf.on.create("service", labels={{"dask.org/component": "scheduler"}})
async def handle_scheduler_service_create(meta, namespace, patch, logger, **kwargs):
    patch.metadata.annotations["{SEEN}"] = os.environ["PLUGIN_TEST_NAME"]
"""


def watched(audit: Audit, agent: str) -> set[str]:
    """Kinds that the controller's user has listed or watched since, by the program that asked: kopf or ourselves."""
    entries = [json.loads(line) for line in audit.path.read_bytes()[audit.start :].splitlines()]
    found: list[JSON] = [
        e
        for e in entries
        if e["verb"] in ("list", "watch")
        and e["user"]["username"] == USER
        and e.get("userAgent", "").startswith(agent)
    ]
    return {e["objectRef"]["resource"] for e in found}


def is_seen(kubectl: Kubectl, name: str = "demo") -> str:
    """Which process the plugin ran in for this cluster's Service; empty if in none."""
    if not kubectl.exists("service", f"{name}-scheduler"):
        return ""
    annotations = kubectl.get("service", f"{name}-scheduler")["metadata"]["annotations"]
    return str(annotations.get(SEEN, ""))


@pytest.fixture
def plugged(
    controller: ControllerProcess, root: Path, tmp_path: Path
) -> Iterator[list[ControllerProcess]]:
    """Two controllers with the plugin, the first one started, instead of the usual one."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    install(folder, "sample_plugin", SAMPLE)
    path = os.pathsep.join([str(root / "controller"), str(folder)])
    controller.stop()
    processes = [
        replace(
            controller,
            log=tmp_path / name,
            env={**controller.env, "PLUGIN_TEST_NAME": name, "PYTHONPATH": path},
        )
        for name in ("first", "second")
    ]
    yield processes
    for process in processes:
        process.stop()
    controller.start()


def test_without_a_plugin_kopf_watches_nothing(
    kubectl: Kubectl, controller: ControllerProcess, audit: Audit
) -> None:
    controller.stop()
    controller.start()
    kubectl.apply(cluster(replicas=1))
    kubectl("wait", "daskcluster/demo", "--for=condition=Ready", "--timeout=60s")
    assert watched(audit, "kopf/") == set()
    ours = {"daskclusters", "daskworkergroups", "daskautoscalers", "daskjobs", "pods", "services"}
    assert watched(audit, "dask-gitops/") == ours


def test_a_plugin_sees_the_schedulers_service_and_kopf_watches_for_it_alone(
    kubectl: Kubectl, plugged: list[ControllerProcess], audit: Audit
) -> None:
    first, second = plugged
    first.start()
    eventually("the first leads", lambda: "is the leader" in first.text())
    second.start()
    kubectl.apply(cluster(replicas=1))
    assert eventually("the plugin ran", lambda: is_seen(kubectl)) == "first"
    kubectl("wait", "daskcluster/demo", "--for=condition=Ready", "--timeout=60s")
    assert watched(audit, "kopf/") == {"services"}
    assert "plugin sample_plugin loaded" in second.text()
    # The plugin's annotations and kopf's notes are not ours to take away.
    kubectl.apply(cluster(replicas=1, scheduler={"metadata": {"labels": {"new": "label"}}}))
    selector = "dask.org/component=scheduler,new=label"
    eventually("the label is there", lambda: kubectl.list("services", selector))
    assert is_seen(kubectl) == "first"

    first.kill()
    kubectl.apply(cluster("other", replicas=1))
    seen = eventually(
        "the plugin runs in the second", lambda: is_seen(kubectl, "other"), timeout=120
    )
    assert seen == "second"


def test_a_standby_with_a_plugin_ends_when_told(plugged: list[ControllerProcess]) -> None:
    first, second = plugged
    first.start()
    eventually("the first leads", lambda: "is the leader" in first.text())
    second.start()
    assert second.process is not None
    process = second.process
    second.stop()
    assert process.returncode == 0, second.text()
    assert "Traceback" not in second.text()
