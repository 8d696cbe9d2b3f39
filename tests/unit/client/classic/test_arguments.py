"""The classic KubeCluster's words, and the whole DaskCluster that comes of each."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.config
import pytest
import yaml
from dask_gitops.client.settings import configured, settings
from kubernetes import client as official

from tests.unit.client.classic.support import (
    ENV,
    ENV_PATHS,
    JSON,
    PDB,
    POD,
    RESOURCES,
    WHOLE,
    WORDS,
    changed,
    heard,
    made,
    placed,
    remarks,
    wish,
    with_pod,
)


def test_a_worker_pod() -> None:
    assert made() == WHOLE
    assert remarks() == [PDB, RESOURCES]


SCHEDULER_POD: JSON = {
    "metadata": {"labels": {"role": "head"}},
    "spec": {
        "containers": [
            {
                "name": "main",
                "image": "dask:2",
                "args": ["dask-scheduler", "--preload", "x"],
                "resources": {"limits": {"memory": "2Gi"}},
            }
        ]
    },
}
SCHEDULER: JSON = {
    "metadata": {"labels": {"role": "head", "user": "annlee", "app": "dask"}},
    "spec": {
        "containers": [{**SCHEDULER_POD["spec"]["containers"][0], "name": "scheduler"}],
        **placed("scheduler"),
    },
    "service": {"type": "ClusterIP"},
}
NODES = "affinity.nodeAffinity"


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        ({"name": "other"}, [("metadata.name", "other")]),
        ({"name": "My_Name-"}, [("metadata.name", "myname")]),
        ({"name": "dask-{user}-{uuid}"}, [("metadata.name", "dask-ann-lee-0123456789")]),
        ({"n_workers": 4}, [("spec.worker.replicas", 4)]),
        (
            {"env": {"A": 1, "EXTRA_PIP_PACKAGES": "y"}},
            [
                (path, [{"name": "EXTRA_PIP_PACKAGES", "value": "y"}, {"name": "A", "value": "1"}])
                for path in ENV_PATHS
            ],
        ),
        ({"idle_timeout": "5 minutes"}, [("spec.idleTimeout", 300)]),
        ({"idle_timeout": 90}, [("spec.idleTimeout", 90)]),
        ({"scheduler_service_type": "NodePort"}, [("spec.scheduler.service.type", "NodePort")]),
        ({"scheduler_pod_template": SCHEDULER_POD}, [("spec.scheduler", SCHEDULER)]),
        (
            {"apply_default_affinity": "none"},
            [("spec.worker.spec.affinity", None), ("spec.scheduler.spec.affinity", None)],
        ),
        (
            {"apply_default_affinity": "required"},
            [
                (
                    f"spec.{part}.spec.{NODES}",
                    {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [wish(part)]
                        }
                    },
                )
                for part in ("worker", "scheduler")
            ],
        ),
        # What says what is so anyway, or where, changes nothing.
        ({"deploy_mode": "remote", "host": "0.0.0.0", "port": 0, "protocol": "tcp://"}, []),
        ({"dashboard_address": ":8787", "interface": None, "security": None}, []),
        ({"scheduler_service_wait_timeout": 30}, []),
        ({"scheduler_service_name_resolution_retries": 20, "silence_logs": 30}, []),
        # Ours count beside a Pod, too.
        (
            {"image": "dask:9"},
            [
                ("spec.worker.spec.containers.0.image", "dask:9"),
                ("spec.scheduler.spec.containers.0.image", "dask:9"),
            ],
        ),
        (
            {"scheduler_resources": {"limits": {"memory": "1Gi"}}},
            [("spec.scheduler.spec.containers.0.resources", {"limits": {"memory": "1Gi"}})],
        ),
        (
            {"resources": {"limits": {"memory": "1Gi"}}},
            [
                ("spec.worker.spec.containers.0.resources", {"limits": {"memory": "1Gi"}}),
                ("spec.scheduler.spec.containers.0.resources", {"limits": {"memory": "1Gi"}}),
            ],
        ),
        (
            {"worker_template": {"nodeSelector": {"gpu": "yes"}}},
            [("spec.worker.spec.nodeSelector", {"gpu": "yes"})],
        ),
        ({"labels": {"team": "b"}}, [("metadata.labels", {"team": "b"})]),
        (
            {"jupyter": True},
            [("spec.scheduler.spec.containers.0.args", ["dask-scheduler", "--jupyter"])],
        ),
    ],
    ids=lambda each: ",".join(each) if isinstance(each, dict) else None,
)
def test_each_argument(given: JSON, changes: list[tuple[str, Any]]) -> None:
    assert made(**given) == changed(*changes)


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"annotations": {"internal": "true"}},
    "spec": {
        "type": "LoadBalancer",
        "selector": {"dask.org/cluster-name": "", "role": "head"},
        "ports": [{"name": "tcp-comm", "port": 9786, "targetPort": 8786}],
    },
}


@pytest.mark.parametrize(
    ("setting", "changes"),
    [
        ({"name": "other-{uuid}"}, [("metadata.name", "other-0123456789")]),
        ({"worker-name": "dask-{user}"}, [("metadata.name", "dask-ann-lee")]),
        ({"worker-name": "lost", "name": "won"}, [("metadata.name", "won")]),
        ({"count": {"start": 3}}, [("spec.worker.replicas", 3)]),
        (
            {"env": {"A": 1}},
            [(path, [*ENV, {"name": "A", "value": "1"}]) for path in ENV_PATHS],
        ),
        ({"idle-timeout": "1 hour"}, [("spec.idleTimeout", 3600)]),
        (
            {"scheduler-service-type": "LoadBalancer"},
            [("spec.scheduler.service.type", "LoadBalancer")],
        ),
        ({"scheduler-template": SCHEDULER_POD}, [("spec.scheduler", SCHEDULER)]),
        (
            {"scheduler-service-template": SERVICE},
            [
                (
                    "spec.scheduler.service",
                    {
                        "type": "LoadBalancer",
                        "selector": {
                            "role": "head",
                            "dask.org/cluster-name": "demo",
                            "dask.org/component": "scheduler",
                        },
                        "ports": SERVICE["spec"]["ports"],  # type: ignore[index]
                    },
                ),
                ("spec.scheduler.serviceMetadata", {"annotations": {"internal": "true"}}),
            ],
        ),
        # Words of the existing operator's client that a classic user's file may hold.
        ({"image": "other", "worker-command": "dask-cuda-worker", "resources": {"limits": {}}}, []),
    ],
    ids=lambda each: ",".join(each) if isinstance(each, dict) else None,
)
def test_each_setting(setting: JSON, changes: list[tuple[str, Any]]) -> None:
    named = {} if {"name", "worker-name"} & set(setting) else {"name": "demo"}
    with dask.config.set(kubernetes={"worker-template": POD, **setting}):
        assert heard(None, **named)[1].objects.cluster == changed(*changes)


def test_the_most_workers_is_a_setting() -> None:
    with dask.config.set({"kubernetes.count.max": 7}):
        assert settings(heard(POD)[0].given, configured()).maximum == 7


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by an argument or in the configuration, with environment variables in it and in its path."""
    file = tmp_path / "worker-spec.yml"
    file.write_text(yaml.safe_dump(with_pod(image="$DASK_IMAGE:1")))
    monkeypatch.setenv("DASK_IMAGE", "dask")
    monkeypatch.setenv("FOLDER", str(tmp_path))
    assert made(str(file)) == made(file) == WHOLE
    with dask.config.set({"kubernetes.worker-template-path": "{FOLDER}/worker-spec.yml"}):
        assert made(None) == WHOLE
        with dask.config.set({"kubernetes.scheduler-template-path": "{FOLDER}/worker-spec.yml"}):
            # There it is the scheduler's own, but for its words.
            whole = changed(
                (
                    "spec.scheduler.spec.containers.0.resources",
                    POD["spec"]["containers"][0]["resources"],
                )
            )
            own = made(None)
            assert own["spec"]["worker"] == whole["spec"]["worker"]
            assert own["spec"]["scheduler"]["spec"]["containers"][0]["args"] == ["dask-scheduler"]
    (tmp_path / "plain").write_text(file.read_text())
    monkeypatch.chdir(tmp_path)
    assert made("plain") == WHOLE


def test_objects_of_kubernetes_own_client() -> None:
    container = official.V1Container(
        name="dask",
        image="dask:1",
        image_pull_policy="IfNotPresent",
        args=WORDS,
        env=[official.V1EnvVar(name="EXTRA_PIP_PACKAGES", value="git+https://example.com/x")],
        resources=official.V1ResourceRequirements(limits={"cpu": "2"}, requests={"cpu": "2"}),
    )
    metadata = official.V1ObjectMeta(labels={"foo": "bar"}, annotations={"note": "x"})
    spec = official.V1PodSpec(restart_policy="Never", containers=[container])
    assert made(official.V1Pod(metadata=metadata, spec=spec)) == WHOLE
    assert made({"metadata": metadata, "spec": spec}) == WHOLE
    assert made(SimpleNamespace(to_dict=lambda: POD)) == WHOLE
    assert made({"metadata": POD["metadata"], "spec": POD["spec"], "status": None}) == WHOLE


class Model:
    """As generated clients have had them for years: their own names of fields, and Kubernetes' beside them."""

    def __init__(self, attribute_map: dict[str, str], **fields: Any) -> None:
        self.attribute_map = attribute_map
        self.__dict__.update(dict.fromkeys(attribute_map) | fields)

    def to_dict(self) -> JSON:
        return {name: getattr(self, name) for name in self.attribute_map}


def test_objects_with_names_of_their_own() -> None:
    own = {"name": "name", "image": "image", "image_pull_policy": "imagePullPolicy", "args": "args", "env": "env", "resources": "resources"}  # fmt: skip
    said = POD["spec"]["containers"][0]
    env = [
        Model({"name": "name", "value": "value", "value_from": "valueFrom"}, **each) for each in ENV
    ]
    container = Model(own, **{name: said[key] for name, key in own.items()} | {"env": env})
    spec = Model(
        {"restart_policy": "restartPolicy", "containers": "containers", "volumes": "volumes"},
        restart_policy="Never",
        containers=[container],
    )
    metadata = Model({"labels": "labels", "annotations": "annotations"}, **POD["metadata"])
    whole = Model({"api_version": "apiVersion", "metadata": "metadata", "spec": "spec"})
    whole.__dict__.update(metadata=metadata, spec=spec)
    assert made(whole) == WHOLE


def test_numbers_are_taken_where_kubernetes_wants_texts() -> None:
    numbers = with_pod(args=[int(w) if w.isdecimal() else w for w in WORDS])
    assert made(numbers) == WHOLE
    assert made(with_pod(env=[{"name": "A", "value": 1}]))["spec"]["worker"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]  # fmt: skip
    labelled = {**POD, "metadata": {"labels": {"cost": 7}}}
    assert made(labelled)["spec"]["worker"]["metadata"]["labels"]["cost"] == "7"


def test_nothing_of_what_was_given_is_changed() -> None:
    before = copy.deepcopy(POD)
    made(env={"A": "b"}, apply_default_affinity="required")
    assert before == POD


@pytest.mark.parametrize(
    ("own", "given", "found"),
    [
        ("ROOT=/a CACHE=$(ROOT)/c", "ROOT=/b", "ROOT=/b CACHE=$(ROOT)/c"),
        ("ROOT=/a CACHE=$(ROOT)/c", "NEW=1 ROOT=/b", "ROOT=/b CACHE=$(ROOT)/c NEW=1"),
        ("ROOT=/a CACHE=$(ROOT)/c", "BASE=/b ROOT=$(BASE)/r", "BASE=/b ROOT=$(BASE)/r CACHE=$(ROOT)/c"),
        ("ROOT=/a CACHE=$(ROOT)/c", "ROOT=$(BASE)/r BASE=$(TOP) TOP=/", "TOP=/ BASE=$(TOP) ROOT=$(BASE)/r CACHE=$(ROOT)/c"),
        ("CACHE=$(ROOT)/c", "ROOT=/b", "ROOT=/b CACHE=$(ROOT)/c"),
        ("A=1 M=2 Z=$(M)", "A=$(Z)", "M=2 Z=$(M) A=$(Z)"),
        # What was in vain stays so, what holds a dollar sign or itself is nobody's child.
        ("CACHE=$(ROOT)/c ROOT=/a", "ROOT=/b", "CACHE=$(ROOT)/c ROOT=/b"),
        ("C=$$(ROOT)", "ROOT=/b", "C=$$(ROOT) ROOT=/b"),
        ("C=$$$(ROOT)", "ROOT=/b", "ROOT=/b C=$$$(ROOT)"),
        ("P=/a P=$(P):/b", "Q=1", "P=/a P=$(P):/b Q=1"),
        ("P=/a X=1 P=$(P):/b", "P=/c", "P=/c X=1"),
        ("A=1", "A=$(B) B=$(A)", "B=$(A) A=$(B)"),
    ],
)  # fmt: skip
def test_variables_stand_above_those_that_refer_to_them(own: str, given: str, found: str) -> None:
    pod = with_pod(env=listed(own))
    spec = made(pod, env=listed(given))["spec"]
    for part in ("worker", "scheduler"):
        assert spec[part]["spec"]["containers"][0]["env"] == listed(found)


def listed(text: str) -> list[JSON]:
    pairs = (each.partition("=") for each in text.split())
    return [{"name": name, "value": value} for name, _, value in pairs]


def test_a_long_chain_of_variables() -> None:
    chain = [{"name": f"V{i}", "value": f"$(V{i + 1})"} for i in range(3000)]
    found = made(env=chain)["spec"]["worker"]["spec"]["containers"][0]["env"]
    assert found == [*ENV, *reversed(chain)]
