"""`make_pod_spec`."""

from __future__ import annotations

import subprocess
import sys

from dask_gitops import make_pod_spec

from tests.unit.client.classic.support import (
    JSON,
    made,
)


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
