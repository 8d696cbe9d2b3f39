"""`make_pod_spec`."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from dask_gitops import make_pod_spec
from kubernetes import client as official

from tests.unit.client.classic.support import (
    JSON,
    POD,
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


def test_lists_in_any_form_grow() -> None:
    found = make_pod_spec(
        "x",
        env=({"name": "A", "value": 1}, {"name": "B", "valueFrom": {"fieldRef": {}}}),
        extra_container_config={"args": ("--no-dashboard",), "env": ({"name": "C"},)},
        extra_pod_config={"tolerations": (official.V1Toleration(key="x"),)},
    )["spec"]
    container = found["containers"][0]
    assert container["args"] == [
        *make_pod_spec("x")["spec"]["containers"][0]["args"],
        "--no-dashboard",
    ]
    assert container["env"] == [
        {"name": "A", "value": "1"},
        {"name": "B", "valueFrom": {"fieldRef": {}}},
        {"name": "C"},
    ]
    assert found["tolerations"] == [{"key": "x"}]
    theirs = [official.V1EnvVar(name="A", value="1")]
    assert make_pod_spec("x", env=theirs) == make_pod_spec("x", env={"A": "1"})


def test_keys_of_a_persons_own_may_have_any_letters() -> None:
    own = {"a_b": "1"}
    container = {"resources": {"limits": {"x.org/my_gpu": 1}}}
    found = make_pod_spec("x", labels=own, annotations=own, env={"A_B": 1}, extra_container_config=container, extra_pod_config={"nodeSelector": own})  # fmt: skip
    assert found["spec"]["nodeSelector"] == own
    assert made(found)["spec"]["worker"]["spec"]["nodeSelector"] == own


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"extra_container_config": {"image_pull_policy": "Always"}}, ValueError, "extra_container_config has 'image_pull_policy', which is no field of Kubernetes; write 'imagePullPolicy'"),
        ({"extra_pod_config": {"service_account_name": "x"}}, ValueError, "extra_pod_config has 'service_account_name', which is no field of Kubernetes; write 'serviceAccountName'"),
        ({"extra_pod_config": {"set_hostname_as_fqdn": True}}, ValueError, "extra_pod_config has 'set_hostname_as_fqdn', which is no field of Kubernetes; write 'setHostnameAsFQDN'"),
        ({"extra_pod_config": {"host_ipc": True}}, ValueError, "extra_pod_config has 'host_ipc', which is no field of Kubernetes; write 'hostIPC'"),
        ({"extra_container_config": {"ports": [{"host_ip": "x"}]}}, ValueError, "extra_container_config.ports[0] has 'host_ip', which is no field of Kubernetes; write 'hostIP'"),
        ({"extra_container_config": {1: 2}}, TypeError, "extra_container_config has the key 1; keys are strings"),
        ({"extra_pod_config": "x"}, TypeError, "extra_pod_config is 'x'; write a dict of Kubernetes' fields"),
        ({"extra_container_config": []}, TypeError, "extra_container_config is []; write a dict of Kubernetes' fields"),
        ({"extra_container_config": {"args": "--no-dashboard"}}, TypeError, "extra_container_config.args is '--no-dashboard'; write a list"),
        ({"extra_container_config": {"resources": {"limits": 2}}}, TypeError, "extra_container_config.resources.limits is 2; write a dict"),
        ({"env": "A=1"}, TypeError, "env is 'A=1'; write a dict such as {'NAME': 'value'}"),
        ({"env": ["A=1"]}, TypeError, "env[0] has no 'name'; each entry is {'name': ..., 'value': ...} or has 'valueFrom'"),
        ({"labels": "x"}, TypeError, "labels is 'x'; write a dict such as {'team': 'b'}"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(given: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as caught:
        make_pod_spec("x", **given)
    assert str(caught.value) == words


def test_the_words_of_a_client_in_a_pod_are_refused() -> None:
    container = {**POD["spec"]["containers"][0], "image_pull_policy": "Always"}
    words = (
        "pod_template.spec.containers[0] has 'image_pull_policy', which is no field of Kubernetes; "
        "write 'imagePullPolicy'"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        made({"spec": {"containers": [container]}})
