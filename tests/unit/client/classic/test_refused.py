"""What cannot be a Pod, an argument or a setting is told with its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.config
import pytest
from dask_gitops import InCluster
from dask_gitops.client.classic import pods
from dask_gitops.client.classic.spoken import fitted

from tests.unit.client.classic.support import (
    JSON,
    POD,
    heard,
    made,
)


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
