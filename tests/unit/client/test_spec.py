"""Objects made from arguments, beside those of the existing operator's client."""

from __future__ import annotations

import itertools
import json
import subprocess
from typing import Any

import pytest
from dask_gitops.client.spec import make_cluster_spec, make_scheduler_spec, make_worker_spec

JSON = dict[str, Any]

RESOURCES: list[JSON | None] = [
    None,
    {},
    {"limits": {"cpu": "2"}},
    {"limits": {}, "requests": {"memory": "1Gi"}},
]
ENVS: list[Any] = [
    None,
    {},
    {"A": "b"},
    [{"name": "A", "value": "b"}, {"name": "C", "valueFrom": {"x": 1}}],
]
IMAGES = [None, "ghcr.io/dask/dask:2026.8.0"]
COMMANDS: list[Any] = ["dask-worker", "dask worker --nthreads 2", ["dask-cuda-worker", "--x"]]
COMBINATIONS: dict[str, list[JSON]] = {
    "make_cluster_spec": [
        dict(zip(("name", "image", "n_workers", "resources", "env", "worker_command",
                  "scheduler_service_type", "idle_timeout", "jupyter"), each, strict=True))
        for each in itertools.product(["demo"], IMAGES, [None, 0, 4], RESOURCES, ENVS, COMMANDS,
                                      ["ClusterIP", "LoadBalancer"], [0, 60], [False, True])
    ],
    "make_worker_spec": [
        dict(zip(("image", "n_workers", "resources", "env", "worker_command"), each, strict=True))
        for each in itertools.product(IMAGES, [0, 3], RESOURCES, ENVS, COMMANDS)
    ],
    "make_scheduler_spec": [
        dict(zip(("cluster_name", "env", "resources", "image", "scheduler_service_type", "jupyter"),
                 each, strict=True))
        for each in itertools.product(["demo"], ENVS, RESOURCES, IMAGES, ["NodePort"], [False, True])
    ],
}  # fmt: skip
OURS = {f.__name__: f for f in (make_cluster_spec, make_worker_spec, make_scheduler_spec)}
PROBES = ("readinessProbe", "livenessProbe")
THEIRS = """
import json, sys
from dask_kubernetes.operator.kubecluster import kubecluster
for line in sys.stdin:
    name, arguments = json.loads(line)
    print(json.dumps(getattr(kubecluster, name)(**arguments)))
"""


def without_what_we_leave_out(value: Any) -> Any:
    """No nulls, no probes."""
    if isinstance(value, list):
        return [without_what_we_leave_out(one) for one in value]
    if isinstance(value, dict):
        return {
            key: without_what_we_leave_out(one)
            for key, one in value.items()
            if one is not None and key not in PROBES
        }
    return value


def test_as_the_existing_client_makes_them(existing_client: str) -> None:
    asked = [(name, each) for name, all_of_it in COMBINATIONS.items() for each in all_of_it]
    lines = "".join(f"{json.dumps(one)}\n" for one in asked)
    done = subprocess.run(
        [existing_client, "-W", "ignore", "-c", THEIRS], input=lines, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answers = done.stdout.splitlines()
    assert len(answers) == len(asked) > 2000
    for (name, given), answer in zip(asked, answers, strict=True):
        assert OURS[name](**given) == without_what_we_leave_out(json.loads(answer)), (name, given)


def test_no_image_is_the_platforms() -> None:
    spec = make_cluster_spec("demo")["spec"]
    for part in ("worker", "scheduler"):
        (container,) = spec[part]["spec"]["containers"]
        assert "image" not in container


def test_arguments_are_looked_at() -> None:
    with pytest.raises(ValueError, match="n_workers is -1; use 0 or more"):
        make_worker_spec(n_workers=-1)
    with pytest.raises(TypeError, match="values are strings"):
        make_scheduler_spec("demo", env={"A": 1})  # type: ignore[dict-item]
