"""``gen cluster``: the YAML is what KubeCluster would make."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from dask_gitops.cli import gen
from dask_gitops.client.settings import settings
from dask_gitops.client.spec import make_cluster_spec
from dask_gitops.client.wanted import wanted

from tests.unit.cli.conftest import Typed

LIMITS: Any = {"limits": {"cpu": "2", "memory": "4Gi"}}


def made(**given: Any) -> Any:
    return wanted(settings(given, {}), given, {}).objects.cluster


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], {"n_workers": 3}),
        (["--n-workers", "0"], {"n_workers": 0}),
        (
            ["--image", "x:1", "--resources", json.dumps(LIMITS), "--jupyter", "--n-workers", "1"],
            {"image": "x:1", "resources": LIMITS, "jupyter": True, "n_workers": 1},
        ),
        (
            ["-e", "A=b=c", "--env", "B=", "--worker-command", "dask-cuda-worker --x 1"],
            {
                "env": {"A": "b=c", "B": ""},
                "worker_command": "dask-cuda-worker --x 1",
                "n_workers": 3,
            },
        ),
        (
            ["--scheduler-service-type", "LoadBalancer", "--idle-timeout", "5 minutes"],
            {"scheduler_service_type": "LoadBalancer", "idle_timeout": 300, "n_workers": 3},
        ),
    ],
)
def test_it_is_what_python_makes(typed: Typed, words: list[str], given: dict[str, Any]) -> None:
    text = typed.done("gen", "cluster", "--name", "demo", *words)
    assert yaml.safe_load(text) == made(name="demo", **given)
    assert yaml.safe_load(text) == make_cluster_spec("demo", **given)
    assert "&id" not in text
    assert typed.document("gen", "cluster", "--name", "demo", *words) == yaml.safe_load(text)


def test_configuration_counts_as_in_python(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"n_workers": 7, "image": "x:{dask_version}", "custom_cluster_spec": "file.yaml"}
    monkeypatch.setattr(gen, "configured", lambda: dict(known))
    found = yaml.safe_load(typed.done("gen", "cluster", "--name", "demo-{user}"))
    assert found["spec"]["worker"]["replicas"] == 7
    assert "{" not in found["spec"]["worker"]["spec"]["containers"][0]["image"]
    assert found["metadata"]["name"].startswith("demo-")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--name", "Demo"], "name 'Demo': lower case letters, digits and '-' only"),
        (["--name", "demo-{nothing}"], "the environment has no nothing"),
        (["--name", "demo", "--resources", "{"], "--resources is no JSON"),
        (["--name", "demo", "--resources", "[1]"], "--resources is [1]; write a dict"),
        (["--name", "demo", "-e", "A"], "--env 'A': write NAME=value"),
        (["--name", "demo", "-e", "=x"], "--env '=x': write NAME=value"),
        (["--name", "demo", "--n-workers", "-1"], "-1 is not in the range x>=0"),
        (["--name", "demo", "--idle-timeout", "never"], "--idle-timeout is 'never'; use seconds"),
        (["--name", "demo", "--idle-timeout", "1e400"], "--idle-timeout is '1e400'; use seconds"),
        (["--name", "demo", "--idle-timeout", ""], "--idle-timeout is ''; use seconds"),
        (["--name", "demo", "--worker-command", ""], "--worker-command is empty"),
        ([], "Missing option '--name'"),
    ],
)
def test_what_cannot_be(typed: Typed, words: list[str], told: str) -> None:
    assert told in typed.refused(2, "gen", "cluster", *words)
