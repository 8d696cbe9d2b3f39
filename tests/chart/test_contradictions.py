"""Values of a container that contradict each other, or of which something would be lost: refused by both names, else done as said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Helm, Manifest

One = Callable[..., Manifest]
Write = Callable[[str], Path]

DASK = ["dask", "worker"]
NAMED = ["--name", "$(DASK_WORKER_NAME)", "--dashboard-address", ":8788"]


def main(one: One, worker: str, part: str = "worker") -> Any:
    (found,) = one(f"clusters: {{demo: {{{part}: {{{worker}}}}}}}", "DaskCluster")["spec"][part][
        "spec"
    ]["containers"]
    return found


@pytest.mark.parametrize(
    ("worker", "tail"),
    [
        ("memoryLimit: 0", ["--memory-limit", "0"]),
        ("memoryLimit: '0'", ["--memory-limit", "0"]),
        ("memoryLimit: 0, nthreads: 2, resources: {limits: {memory: 8Gi}}", ["--nthreads", "2", "--memory-limit", "0"]),
        ("memoryLimit: 0.5", ["--memory-limit", "0.5"]),
        ("memoryLimit: 4 GB, resources: {limits: {memory: 4G}}", ["--memory-limit", "4 GB"]),
        ("memoryLimit: 4GiB, resources: {limits: {memory: 4Gi}}", ["--memory-limit", "4GiB"]),
        ("memoryLimit: auto, resources: {limits: {memory: 1Ki}}", ["--memory-limit", "auto"]),
        ("nthreads: 2, resources: {limits: {memory: 8589934592000m}}", ["--nthreads", "2", "--memory-limit", "8589934592"]),
        ("nthreads: 2, resources: {limits: {memory: 1e9}}", ["--nthreads", "2", "--memory-limit", "1000000000"]),
        ("extraArgs: [--death-timeout, '60']", ["--death-timeout", "60"]),
        ("nthreads: 2, extraArgs: [--no-nanny]", ["--nthreads", "2", "--no-nanny"]),
    ],
)  # fmt: skip
def test_what_is_said_reaches_dask(one: One, worker: str, tail: list[str]) -> None:
    assert main(one, worker)["args"] == [*DASK, *NAMED, *tail]


def test_extra_words_of_the_scheduler(one: One) -> None:
    found = main(one, "extraArgs: [--dashboard-prefix, /dask/demo]", "scheduler")
    assert found["args"] == ["dask", "scheduler", "--dashboard-prefix", "/dask/demo"]


@pytest.mark.parametrize(
    "command",
    [["dask", "cuda", "worker"], ["dask-cuda-worker"], ["python", "-m", "distributed.cli.dask_worker"]],
    ids=" ".join,
)  # fmt: skip
def test_a_command_that_starts_dask_takes_the_place_of_the_words_that_do(
    one: One, command: list[str]
) -> None:
    template = f"podTemplate: {{spec: {{containers: [{{name: worker, command: {command}}}]}}}}"
    found = main(one, f"nthreads: 1, memoryLimit: 16GiB, {template}")
    assert found["command"] == command
    assert found["args"] == [*NAMED, "--nthreads", "1", "--memory-limit", "16GiB"]


def test_a_command_that_starts_something_else_is_followed_by_them(one: One) -> None:
    template = "podTemplate: {spec: {containers: [{name: worker, command: [tini, --]}]}}"
    assert main(one, f"nthreads: 1, {template}")["args"] == [*DASK, *NAMED, "--nthreads", "1"]


ARGS_OF_ONE = (
    "podTemplate: {spec: {containers: [{name: worker, args: [dask, worker, --nthreads, '1']}]}}"
)
NEARER = {
    "args": (ARGS_OF_ONE, {"args": ["dask", "worker", "--nthreads", "1"]}),
    "args of a container with another name": (
        "podTemplate: {spec: {containers: [{name: main, args: [dask, worker]}]}}",
        {"args": ["dask", "worker"]},
    ),
    "args beside no words": (f"extraArgs: [], {ARGS_OF_ONE}", {"args": ["dask", "worker", "--nthreads", "1"]}),
    "a shell's text": (
        "podTemplate: {spec: {containers: [{name: worker, command: [bash, -c, exec dask worker]}]}}",
        {"command": ["bash", "-c", "exec dask worker"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("worker", "wanted"), NEARER.values(), ids=NEARER.keys())
@pytest.mark.parametrize("where", ["worker: {{{}}}", "workerGroups: {{g: {{{}}}}}"])
def test_the_nearer_source_has_the_last_word_on_what_starts_dask(
    one: One, where: str, worker: str, wanted: dict[str, Any]
) -> None:
    """What only the defaults say is none of a cluster or group that says its own."""
    defaults = "defaults: {worker: {nthreads: 4, memoryLimit: 8GiB, extraArgs: [--no-nanny]}}"
    limit = "resources: {limits: {memory: 4Gi}}"
    text = f"{{{defaults}, clusters: {{demo: {{{where.format(f'{limit}, {worker}')}}}}}}}"
    kind = "DaskWorkerGroup" if "Groups" in where else "DaskCluster"
    (found,) = one(text, kind)["spec"]["worker"]["spec"]["containers"]
    assert {key: found.get(key) for key in wanted} == wanted


def test_no_extra_words_say_nothing(one: One) -> None:
    assert main(one, f"extraArgs: [], {ARGS_OF_ONE}")["args"][-1] == "1"


def test_null_takes_away_what_contradicts_the_args_of_the_same_defaults(one: One) -> None:
    text = f"{{defaults: {{worker: {{nthreads: 4, {ARGS_OF_ONE}}}}}, clusters: {{demo: {{worker: {{nthreads: null}}}}}}}}"
    (found,) = one(text, "DaskCluster")["spec"]["worker"]["spec"]["containers"]
    assert found["args"][-1] == "1"


@pytest.mark.parametrize(
    "text",
    [
        f"{{defaults: {{worker: {{nthreads: 4, {ARGS_OF_ONE}}}}}, clusters: {{demo: {{}}}}}}",
        f"{{defaults: {{worker: {{{ARGS_OF_ONE}}}}}, clusters: {{demo: {{worker: {{nthreads: 4}}}}}}}}",
        f"{{defaults: {{worker: {{nthreads: 2}}}}, clusters: {{demo: {{worker: {{nthreads: 4, {ARGS_OF_ONE}}}}}}}}}",
    ],
)
def test_args_that_would_lose_what_is_said_are_refused_with_the_way_out(
    helm: Helm, values: Write, text: str
) -> None:
    told = helm.refusal("--values", values(text))
    assert "clusters.demo.worker, with its defaults: the args of podTemplate" in told
    assert "nthreads: null" in told


ARGS = "podTemplate: {spec: {containers: [{name: worker, args: [dask, worker]}]}}"
REFUSED = {
    "args beside nthreads": (f"nthreads: 2, {ARGS}", ["args", "nthreads", "extraArgs"]),
    "args beside memoryLimit": (f"memoryLimit: 0, {ARGS}", ["args", "memoryLimit", "extraArgs"]),
    "args beside extraArgs": (f"extraArgs: [a], {ARGS}", ["args", "extraArgs"]),
    "a shell's text beside nthreads": (
        "nthreads: 2, podTemplate: {spec: {containers: [{name: worker, command: [bash, -c, exec dask worker]}]}}",
        ["command", "nthreads", "shell"],
    ),
    "a memory limit in words": ("memoryLimit: lots", ["memoryLimit"]),
    "a negative memory limit": ("memoryLimit: -1", ["memoryLimit"]),
    "a memory limit above Kubernetes'": (
        "memoryLimit: 5GiB, resources: {limits: {memory: 4Gi}}",
        ["memoryLimit (5GiB)", "resources.limits.memory (4Gi)"],
    ),
    "a memory limit in bytes above Kubernetes'": (
        "memoryLimit: 8000000000, resources: {limits: {memory: 4G}}",
        ["memoryLimit (8e+09)|memoryLimit (8000000000)", "resources.limits.memory (4G)"],
    ),
    "requests above limits": (
        "resources: {requests: {memory: 8Gi}, limits: {memory: 8G}}",
        ["resources: requests.memory (8Gi)", "limits.memory (8G)"],
    ),
    "CPUs above their limit": (
        "resources: {requests: {cpu: 1.5}, limits: {cpu: 1499m}}",
        ["resources: requests.cpu (1.5)", "limits.cpu (1499m)"],
    ),
    "requests of a podTemplate above the values' limits": (
        "resources: {limits: {memory: 1e9}}, podTemplate: {spec: {containers: [{name: worker, resources: {requests: {memory: 2e9}}}]}}",
        ["resources: requests.memory", "limits.memory"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("worker", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_contradiction_is_refused_by_both_names(
    helm: Helm, values: Write, worker: str, words: list[str]
) -> None:
    told = helm.refusal("--values", values(f"clusters: {{demo: {{worker: {{{worker}}}}}}}"))
    for word in ("demo", "worker", *words):
        assert any(choice in told for choice in word.split("|")), told


@pytest.mark.parametrize("pair", ["500m/0.5", "1/1000m", "1Gi/1024Mi", "1k/1e3", "1000000u/1", "0.1/100m", "1Ei/1024Pi"])  # fmt: skip
def test_equal_quantities_are_no_contradiction(helm: Helm, values: Write, pair: str) -> None:
    request, _, limit = pair.partition("/")
    for low, high in ((request, limit), (limit, request)):
        resources = f"{{requests: {{x: {low}}}, limits: {{x: {high}}}}}"
        text = f"clusters: {{demo: {{worker: {{resources: {resources}}}}}}}"
        assert helm.template("--values", values(text)).returncode == 0
