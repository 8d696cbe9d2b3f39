"""The classic KubeCluster's words, and the whole DaskCluster that comes of each."""

from __future__ import annotations

import copy
import inspect
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask.config
import pytest
import yaml
from dask_gitops import InCluster, KubeAuth, KubeCluster, KubeConfig, make_pod_spec
from dask_gitops.client.classic import auth, front, pods
from dask_gitops.client.classic.front import INSTEAD, hear
from dask_gitops.client.classic.spoken import Spoken, fitted
from dask_gitops.client.errors import NoKubernetesError
from dask_gitops.client.settings import configured, settings
from dask_gitops.client.wanted import Wanted, wanted
from kubernetes import client as official

JSON = dict[str, Any]
TOKENS = {"user": "Ann.Lee", "uuid": "0123456789"}
#: As the classic documentation has it.
WORDS = ["dask-worker", "--nthreads", "2", "--no-dashboard", "--memory-limit", "6GB", "--death-timeout", "60"]  # fmt: skip
POD: JSON = {
    "kind": "Pod",
    "metadata": {"labels": {"foo": "bar"}, "annotations": {"note": "x"}},
    "spec": {
        "restartPolicy": "Never",
        "containers": [
            {
                "image": "dask:1",
                "imagePullPolicy": "IfNotPresent",
                "args": WORDS,
                "name": "dask",
                "env": [{"name": "EXTRA_PIP_PACKAGES", "value": "git+https://example.com/x"}],
                "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "2"}},
            }
        ],
    },
}


def placed(component: str) -> JSON:
    return {
        "tolerations": [
            {"key": key, "operator": "Equal", "value": component, "effect": "NoSchedule"}
            for key in ("k8s.dask.org/dedicated", "k8s.dask.org_dedicated")
        ],
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 100, "preference": wish(component)}
                ]
            }
        },
    }


def wish(component: str) -> JSON:
    return {
        "matchExpressions": [
            {"key": "k8s.dask.org/node-purpose", "operator": "In", "values": [component]}
        ]
    }


METADATA: JSON = {
    "labels": {"foo": "bar", "user": "annlee", "app": "dask"},
    "annotations": {"note": "x"},
}
BOTH: JSON = {
    "image": "dask:1",
    "imagePullPolicy": "IfNotPresent",
    "env": [{"name": "EXTRA_PIP_PACKAGES", "value": "git+https://example.com/x"}],
}
WHOLE: JSON = {
    "apiVersion": "kubernetes.dask.org/v1",
    "kind": "DaskCluster",
    "metadata": {"name": "demo"},
    "spec": {
        "idleTimeout": 0,
        "worker": {
            "replicas": 0,
            "metadata": METADATA,
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {
                        **BOTH,
                        "name": "worker",
                        "args": [*WORDS, "--name", "$(DASK_WORKER_NAME)"],
                        "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "2"}},
                    }
                ],
                **placed("worker"),
            },
        },
        "scheduler": {
            "metadata": METADATA,
            "spec": {
                "restartPolicy": "Never",
                "containers": [{**BOTH, "name": "scheduler", "args": ["dask-scheduler"]}],
                **placed("scheduler"),
            },
            "service": {"type": "ClusterIP"},
        },
    },
}
PDB = (
    "scheduler-pdb-template is not carried over: a PodDisruptionBudget is an object beside the "
    "cluster: write it into git with the DaskCluster"
)
RESOURCES = "the worker's resources are not carried over to the scheduler: scheduler_resources= says its own"


def changed(*changes: tuple[str, Any]) -> JSON:
    """`WHOLE` with other values at some paths; None: the key is not there."""
    found = json.loads(json.dumps(WHOLE))  # nothing in it twice
    for path, value in changes:
        here: Any = found
        *way, last = path.split(".")
        for key in way:
            here = here[int(key)] if isinstance(here, list) else here.setdefault(key, {})
        if value is None:
            del here[last]
        else:
            here[last] = value
    return found


def with_pod(**container: Any) -> JSON:
    found = copy.deepcopy(POD)
    found["spec"]["containers"][0].update(container)
    return found


def heard(pod: Any, **given: Any) -> tuple[Spoken, Wanted]:
    """As KubeCluster does it."""
    words = {key: value for key, value in given.items() if key not in OURS}
    ours = {key: given.get(key) for key in OURS}
    said = hear(ours, pod, words, ())
    what = wanted(settings(said.given, configured()), said.given, TOKENS, pods=said.pods)
    return said, what


OURS = tuple(
    name
    for name, one in inspect.signature(KubeCluster).parameters.items()
    if one.kind is one.KEYWORD_ONLY
)


def made(pod: Any = POD, **given: Any) -> JSON:
    return heard(pod, **{"name": "demo", **given})[1].objects.cluster


def remarks(pod: Any = POD, **given: Any) -> list[str]:
    said, what = heard(pod, **{"name": "demo", **given})
    return [*said.remarks, *what.remarks]


@pytest.fixture(autouse=True)
def nobody_was_told(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(front, "_told", set())
    with dask.config.set(config=dask.config.config, kubernetes={}):
        yield


def test_a_worker_pod() -> None:
    assert made() == WHOLE
    assert remarks() == [PDB, RESOURCES]


ENV = BOTH["env"]
ENV_PATHS = ("spec.worker.spec.containers.0.env", "spec.scheduler.spec.containers.0.env")
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
                (path, [{"name": "A", "value": "1"}, {"name": "EXTRA_PIP_PACKAGES", "value": "y"}])
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
                ("spec.scheduler.metadata.annotations", {"note": "x", "internal": "true"}),
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


# ---- words


@pytest.mark.parametrize(
    ("container", "worker", "scheduler"),
    [
        ({}, {}, {}),
        ({"command": ["dask-worker", "--nthreads", "2"]}, {"command": ["dask-worker", "--nthreads", "2"], "args": ["N"]}, {}),
        ({"args": ["dask-worker", "--name", "x"]}, {"args": ["dask-worker", "--name", "x"]}, {}),
        ({"args": ["dask-worker", "--name=x"]}, {"args": ["dask-worker", "--name=x"]}, {}),
        ({"args": ["start.sh", "dask-worker", "1"]}, {"args": ["start.sh", "dask-worker", "1", "N"]}, {}),
        (
            {"command": ["start.sh"], "args": ["dask-worker"]},
            {"command": ["start.sh"], "args": ["dask-worker", "N"]},
            {"command": ["start.sh"]},
        ),
        (
            {"command": ["tini", "-g", "--", "dask-worker"], "args": ["a"]},
            {"command": ["tini", "-g", "--", "dask-worker"], "args": ["a", "N"]},
            {"command": ["tini", "-g", "--"]},
        ),
        (
            {"args": ["conda", "run", "--name", "env", "dask", "worker", "$(DASK_SCHEDULER_ADDRESS)"]},
            {"args": ["conda", "run", "--name", "env", "dask", "worker", "$(DASK_SCHEDULER_ADDRESS)", "N"]},
            {},
        ),
        (
            {"command": ["bash", "-c"], "args": ["exec dask-worker --no-bokeh"]},
            {"command": ["bash", "-c"], "args": ["exec dask-worker --no-dashboard"]},
            {"command": ["bash", "-c"]},
        ),
        ({"command": ["bash", "-c", "dask-worker"]}, {"command": ["bash", "-c", "dask-worker"]}, {}),
        (
            {"args": ["dask-worker", "--no-bokeh", "--nprocs", "2", "--reconnect"]},
            {"args": ["dask-worker", "--no-dashboard", "--nworkers", "2", "N"]},
            {},
        ),
        (
            {"args": ["dask-worker", "--bokeh-port=1", "--bokeh-prefix", "/no-bokeh"]},
            {"args": ["dask-worker", "--dashboard-address=1", "--dashboard-prefix", "/no-bokeh", "N"]},
            {},
        ),
        ({"args": ["--nthreads", "2"]}, {"args": ["--nthreads", "2", "N"]}, {}),
        (
            {"args": ["python", "-m", "distributed.cli.dask_worker"]},
            {"args": ["python", "-m", "distributed.cli.dask_worker", "N"]},
            {},
        ),
    ],
    ids=lambda each: str(each),
)  # fmt: skip
def test_words(container: JSON, worker: JSON, scheduler: JSON) -> None:
    found = made({"containers": [container]})["spec"]
    own = {}
    for part in ("worker", "scheduler"):
        (main,) = found[part]["spec"]["containers"]
        own[part] = {key: main[key] for key in ("command", "args") if key in main}
    name = ["--name", "$(DASK_WORKER_NAME)"]
    if "args" in worker:
        worker = {**worker, "args": [w for word in worker["args"] for w in (name if word == "N" else [word])]}  # fmt: skip
    assert own == {"worker": worker, "scheduler": {"args": ["dask-scheduler"], **scheduler}}


def test_the_first_container_runs_dask_and_the_others_stay() -> None:
    sidecar = {"name": "log", "image": "log:1", "resources": {"limits": {"cpu": "1"}}}
    found = made({"containers": [{"image": "dask:1", "readinessProbe": {}}, sidecar]})["spec"]
    assert found["worker"]["spec"]["containers"] == [
        {"image": "dask:1", "readinessProbe": {}, "name": "worker"},
        sidecar,
    ]
    assert found["scheduler"]["spec"]["containers"] == [
        {"image": "dask:1", "name": "scheduler", "args": ["dask-scheduler"]},
        sidecar,
    ]


def test_tolerations_and_affinities_of_ones_own_come_first() -> None:
    mine = {"key": "gpu", "operator": "Exists"}
    term = {"weight": 1, "preference": {"matchFields": []}}
    field = "preferredDuringSchedulingIgnoredDuringExecution"
    spec = {
        "containers": [{"image": "dask:1"}],
        "tolerations": [mine],
        "affinity": {"podAffinity": {}, "nodeAffinity": {field: [term]}},
    }
    found = made(spec)["spec"]["worker"]["spec"]
    ours = placed("worker")
    assert found["tolerations"] == [mine, *ours["tolerations"]]
    assert found["affinity"]["podAffinity"] == {}
    assert found["affinity"]["nodeAffinity"] == {
        field: [term, *ours["affinity"]["nodeAffinity"][field]]
    }


# ---- what is not carried over


@pytest.mark.parametrize(
    ("given", "remark"),
    [
        (
            {"deploy_mode": "local"},
            "deploy_mode='local' is not carried over: the scheduler runs in a Pod, where its workers "
            "reach it whatever machine this is",
        ),
        (
            {"host": "10.0.0.1"},
            "host='10.0.0.1' is not carried over: the scheduler listens in a Pod of its own; "
            "cluster.scheduler_address says how to reach it",
        ),
        (
            {"port": 9000},
            "port=9000 is not carried over: the scheduler listens in a Pod of its own; "
            "cluster.scheduler_address says how to reach it",
        ),
        (
            {"interface": "eth0"},
            "interface='eth0' is not carried over: the scheduler listens in a Pod of its own, "
            "on that Pod's only interface",
        ),
        (
            {"protocol": "tls://"},
            "protocol='tls://' is not carried over: security= says whether it is TLS",
        ),
        (
            {"dashboard_address": ":9000"},
            "dashboard_address=':9000' is not carried over: the dashboard listens in the scheduler's "
            "Pod; cluster.dashboard_link leads there",
        ),
        (
            {"scheduler_service_name_resolution_retries": 5},
            "scheduler_service_name_resolution_retries=5 is not carried over: no name is looked up "
            "before its Service exists",
        ),
        (
            {"worker_command": "dask-cuda-worker"},
            "worker_command is not carried over: the Pod says its words itself",
        ),
        ({"name": "A"}, "name 'A' becomes 'a': it names objects of Kubernetes"),
    ],
)
def test_a_line_for_each(given: JSON, remark: str) -> None:
    assert sorted(remarks(**given)) == sorted([remark, PDB, RESOURCES])


def test_a_line_for_what_metadata_may_not_say() -> None:
    metadata = {"name": "w", "namespace": "n", "labels": {"dask.org/x": "1", "dask.org/component": "y"}, "finalizers": ["a"]}  # fmt: skip
    pod = {"metadata": metadata, "spec": {"containers": [{"image": "dask:1"}]}}
    assert remarks(pod) == [
        PDB,
        "metadata.finalizers of the worker's Pod is not carried over: labels and annotations are",
        "metadata.name of the worker's Pod is not carried over: the controller names the Pods",
        "label 'dask.org/x' of the worker's Pod is not carried over: keys of dask.org are the "
        "controller's",
    ]
    labels = made(pod)["spec"]["worker"]["metadata"]["labels"]
    assert labels == {"user": "annlee", "app": "dask"}


def test_they_are_told_once_in_a_process(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        front.tell(["a", "b"], 1)
        front.tell(["b", "c"], 1)
    assert [(w.category, str(w.message), w.filename) for w in caught] == [
        (FutureWarning, INSTEAD, __file__)
    ]
    assert caplog.messages == ["a", "b", "c"]


# ---- who uses no classic words


def test_nothing_changes_without_classic_words() -> None:
    plain = heard(None, name="demo")
    assert not plain[0].is_classic
    assert plain[1].objects.cluster["spec"]["worker"]["replicas"] == 1
    named = heard("demo")
    assert named[0].given["name"] == "demo"
    assert not named[0].is_classic
    with pytest.raises(TypeError, match="name is 'demo' and 'other'; give one"):
        heard("demo", name="other")


def test_a_configured_pod_is_not_for_another_cluster() -> None:
    spec = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "metadata": {"name": "x"}, "spec": {}}  # fmt: skip
    with dask.config.set({"kubernetes.worker-template": POD}):
        assert heard(None, custom_cluster_spec=spec)[0].pods is None
        assert heard(None, name="demo", create_mode="connect_only")[0].pods is None
        with dask.config.set({"kubernetes.custom-cluster-spec": spec}):
            assert heard(None)[0].pods is None
            assert made(POD) == WHOLE


def test_what_another_library_fills_in_is_no_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classic package's own file of settings, as far as it concerns us."""
    theirs: JSON = {
        "kubernetes": {
            "name": "dask-{user}-{uuid}",
            "count": {"start": 0, "max": None},
            "scheduler-service-type": "ClusterIP",
            "host": "0.0.0.0",
            "port": 0,
            "protocol": "tcp://",
            "dashboard_address": ":8787",
            "deploy-mode": "remote",
            "scheduler-service-wait-timeout": 30,
            "scheduler-service-name-resolution-retries": 20,
            "scheduler-service-template": {"spec": {"selector": {"dask.org/component": "x"}}},
            "worker-template": {},
        }
    }
    monkeypatch.setattr(dask.config, "defaults", [*dask.config.defaults, theirs])
    with dask.config.set(theirs):
        assert made() == WHOLE
        assert remarks() == [PDB, RESOURCES]
        assert not heard(None, name="demo")[0].is_classic


def test_resource_timeout_covers_the_service() -> None:
    def seconds(**given: Any) -> Any:
        return settings(heard(POD, **given)[0].given, configured()).resource_timeout

    assert seconds(scheduler_service_wait_timeout=30) == 60
    assert seconds(scheduler_service_wait_timeout=300) == 300
    assert seconds(scheduler_service_wait_timeout=0) is None
    assert seconds(scheduler_service_wait_timeout=300, resource_timeout=5) == 5


# ---- refused


class Odd:
    def __repr__(self) -> str:
        return "Odd()"


@pytest.mark.parametrize(
    ("pod", "given", "kind", "words"),
    [
        ("missing.yml", {}, FileNotFoundError, "pod_template 'missing.yml': no such file (in "),
        ("a/b", {}, FileNotFoundError, "pod_template 'a/b': no such file (in "),
        ({}, {}, ValueError, "pod_template has no spec.containers; write the container that runs Dask"),
        ({"spec": {"containers": []}}, {}, ValueError, "pod_template has no spec.containers; write"),
        ({"spec": {"containers": "x"}}, {}, ValueError, "pod_template has no spec.containers; write"),
        ({"spec": {"containers": ["x"]}}, {}, ValueError, "pod_template: spec.containers[0]: is "),
        ({"containers": [{"args": "dask-worker"}]}, {}, ValueError, "pod_template: spec.containers[0].args: is "),
        ({"containers": [{"args": ["dask-worker", [2]]}]}, {}, ValueError, "pod_template: spec.containers[0].args[1]: is "),
        ({"containers": [{}], "tolerations": {}}, {}, ValueError, "pod_template: spec.tolerations: is "),
        ({"metadata": {"labels": {"a": []}}, "spec": {"containers": [{}]}}, {}, TypeError, "pod_template.metadata.labels['a'] is []; keys"),
        ({"kind": "DaskCluster", "spec": {}}, {}, ValueError, "pod_template is a DaskCluster; pass it as custom_cluster_spec="),
        ({"kind": "Deployment", "spec": {}}, {}, ValueError, "pod_template is a Deployment; write a Pod, or the spec of one"),
        (Odd(), {}, TypeError, "pod_template is Odd(); write a dict: a Pod, or the spec of one"),
        (7, {}, TypeError, "pod_template is 7; write a dict: a Pod, or the spec of one"),
        ({"containers": [{}, {"name": "worker"}]}, {}, ValueError, "the container that runs Dask will be called 'worker', and another one"),
        (POD, {"apply_default_affinity": "maybe"}, ValueError, "apply_default_affinity is 'maybe'; use none, preferred or required"),
        (POD, {"deploy_mode": "far"}, ValueError, "deploy_mode is 'far'; use remote, or leave it out"),
        (POD, {"scheduler_pod_template": 1}, TypeError, "scheduler_pod_template is 1; write a dict"),
        (POD, {"scheduler_service_wait_timeout": "x"}, ValueError, "scheduler_service_wait_timeout is 'x'; use 0 or more"),
        (POD, {"custom_cluster_spec": {}}, TypeError, "pod_template and custom_cluster_spec both say what"),
        (None, {"scheduler_pod_template": POD}, ValueError, "scheduler_pod_template needs a worker's Pod beside it: pod_template="),
        (None, {"n_worker": 1}, TypeError, "KubeCluster has no argument 'n_worker'; did you mean 'n_workers'?"),
        (None, {"apply_default_afinity": 1}, TypeError, "KubeCluster has no argument 'apply_default_afinity'; did you mean 'apply_default_affinity'?"),
        (POD, {"auth": "x"}, TypeError, "auth has 'x'; use InCluster() or KubeConfig()"),
        (POD, {"auth": []}, ValueError, "auth is empty; write [InCluster(), KubeConfig()], or leave it out"),
        (POD, {"auth": InCluster(), "context": "c"}, TypeError, "auth and context both say which Kubernetes; give one"),
    ],
    ids=lambda each: None if isinstance(each, type) else str(each)[:40],
)  # fmt: skip
def test_refused(pod: Any, given: JSON, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as caught:
        heard(pod, **given)
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("setting", "kind", "words"),
    [
        ({"worker-template-path": "{NOWHERE}/x.yml"}, ValueError, "kubernetes.worker-template-path '{NOWHERE}/x.yml': the environment has no NOWHERE"),
        ({"worker-template-path": "{"}, ValueError, "kubernetes.worker-template-path '{': write {NAME} for"),
        ({"worker-template-path": 3}, TypeError, "kubernetes.worker-template-path is 3; write a path"),
        ({"worker-template": [1]}, TypeError, "kubernetes.worker-template is [1]; write a dict"),
        ({"worker-template": POD, "scheduler-service-template": {"kind": "Pod"}}, ValueError, "kubernetes.scheduler-service-template is {'kind': 'Pod'}; write a Service"),
        ({"worker-template": POD, "scheduler-service-template": {"spec": []}}, TypeError, "kubernetes.scheduler-service-template: spec is []; write a mapping"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be(setting: JSON, kind: type[Exception], words: str) -> None:
    with dask.config.set(kubernetes=setting), pytest.raises(kind) as caught:
        heard(None)
    assert str(caught.value).startswith(words)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "w.yml"
    for text, words in (
        (b"a: [", "line 1"),
        (b"\xff\xfe\xfa", "is no text"),
        (b"", "is None; write a dict"),
        (b"&x {spec: {containers: [*x]}}", "holds itself, or is nested too deep"),
    ):
        file.write_bytes(text)
        with pytest.raises((ValueError, TypeError), match=words):
            made(str(file))
    with pytest.raises(ValueError, match=r"^pod_template '.*': Is a directory$"):
        made(tmp_path)


def test_a_name_is_told_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert [each for each in ("demo", "a.yml", "a.yaml", "a.json", "a/b", "dask-{user}") if pods.is_name(each)] == ["demo", "dask-{user}"]  # fmt: skip
    assert not pods.is_name(POD)
    assert fitted("Ünï_{user}-") == "n{user}"
    assert fitted("___") == "___"


# ---- from_yaml, from_dict, auth


@pytest.fixture
def given_to_it(monkeypatch: pytest.MonkeyPatch) -> Callable[[], JSON]:
    taken: JSON = {}
    monkeypatch.setattr(KubeCluster, "__init__", lambda self, **words: taken.update(words))
    monkeypatch.setattr(KubeCluster, "__del__", lambda self: None, raising=False)
    return lambda: taken


def test_two_more_ways_in(given_to_it: Callable[[], JSON], tmp_path: Path) -> None:
    file = tmp_path / "named-like-a-cluster"
    file.write_text(yaml.safe_dump(POD))
    KubeCluster.from_yaml(str(file), n_workers=2)
    given = given_to_it()
    assert given["n_workers"] == 2
    assert made(given["pod_template"]) == WHOLE
    KubeCluster.from_dict(POD, namespace="b")
    assert given_to_it()["pod_template"] is POD
    assert given_to_it()["namespace"] == "b"


CONFIG = {
    "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443"}}],
    "users": [{"name": "u", "user": {"token": "t"}}],
    "contexts": [{"name": n, "context": {"cluster": "c", "user": "u"}} for n in ("one", "two")],
    "current-context": "two",
}


def test_which_kubernetes(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(json.dumps(CONFIG))
    inside = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBECONFIG": str(file)}
    outside: Mapping[str, str] = {"KUBECONFIG": str(file)}
    nowhere = {"KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)}
    both = [InCluster(), KubeConfig()]
    assert auth.way(None, outside) == {}
    assert auth.way(both, inside) == {}
    assert auth.way(both, outside) == {}
    assert auth.way(KubeConfig(), inside) == {"context": "two"}
    assert auth.way([KubeConfig(context="one"), InCluster()], inside) == {"context": "one"}
    assert auth.way(KubeConfig(str(file), context="one"), nowhere) == {
        "kubeconfig": str(file),
        "context": "one",
    }
    assert auth.way([KubeConfig("/nowhere"), InCluster()], inside) == {}
    with pytest.raises(NoKubernetesError, match=r"^no way to Kubernetes: InCluster: not in a Pod$"):
        auth.way([InCluster()], outside)
    with pytest.raises(NoKubernetesError, match="InCluster: not in a Pod; KubeConfig: "):
        auth.way(both, nowhere)
    with pytest.raises(ValueError, match=r"^KubeAuth\('https://x'\) is not carried over: write a"):
        KubeAuth("https://x", username="a")


# ---- make_pod_spec


def test_a_pod_of_a_few_words() -> None:
    words = ["dask-worker", "$(DASK_SCHEDULER_ADDRESS)", "--nthreads", "1", "--death-timeout", "60"]
    container: JSON = {
        "name": "dask-container",
        "image": "dask:1",
        "args": words,
        "env": [],
        "resources": {"limits": {}, "requests": {}},
    }
    assert make_pod_spec("dask:1") == {
        "metadata": {"labels": {}, "annotations": {}},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    assert make_pod_spec(
        image="dask:1",
        labels={"a": "b"},
        threads_per_worker=2,
        env={"A": 1},
        extra_container_config={"env": [{"name": "B"}], "securityContext": {"runAsUser": 1}},
        extra_pod_config={"tolerations": [{"key": "x"}], "restartPolicy": "Always"},
        resources="GPU=2",
        memory_limit="4G",
        memory_request=1e9,
        cpu_limit=2,
        cpu_request=0.5,
        gpu_limit=1,
        annotations={"c": "d"},
    ) == {
        "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
        "spec": {
            "restartPolicy": "Always",
            "tolerations": [{"key": "x"}],
            "containers": [
                {
                    **container,
                    "args": [*words[:3], "2", *words[4:], "--memory-limit", "4G", "--resources", "GPU=2"],
                    "env": [{"name": "A", "value": "1"}, {"name": "B"}],
                    "securityContext": {"runAsUser": 1},
                    "resources": {
                        "limits": {"cpu": "2", "nvidia.com/gpu": "1", "memory": "4G"},
                        "requests": {"cpu": "0.5", "memory": "1000000000.0"},
                    },
                }
            ],
        },
    }  # fmt: skip
    assert "env" in make_pod_spec("x")["spec"]["containers"][0]
    assert made(make_pod_spec("dask:1"))["spec"]["worker"]["spec"]["containers"][0]["args"] == [
        *words,
        "--name",
        "$(DASK_WORKER_NAME)",
    ]


def test_a_pod_of_a_few_words_costs_nothing() -> None:
    program = (
        "import sys, dask_gitops; dask_gitops.make_pod_spec('x');"
        "print([m for m in ('distributed', 'aiohttp', 'dask.config') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout == "[]\n"
