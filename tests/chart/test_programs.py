"""Which container runs Dask, and what its command starts: only a word that is run counts, never a host, a file or a value."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dask_gitops.model.podspec import Container, starts

from .conftest import Helm, Manifest

One = Callable[..., Manifest]
Write = Callable[[str], Path]
JSON = dict[str, Any]
NAMED = ["--name", "$(DASK_WORKER_NAME)", "--dashboard-address", ":8788"]


def containers(one: One, part: str, *said: JSON) -> dict[str, JSON]:
    """Those of a Pod whose values say a variable, by name."""
    worker = {"env": {"A": "1"}, "podTemplate": {"spec": {"containers": list(said)}}}
    spec = one(json.dumps({"clusters": {"demo": {part: worker}}}), "DaskCluster")["spec"][part]
    return {c["name"]: c for c in spec["spec"]["containers"]}


MENTIONED: list[JSON] = [
    {"args": ["--upstream=http://dask-scheduler:8787"]},
    {"args": ["--upstream", "dask-scheduler"]},
    {"args": ["-i", "tail", "-p", "path=/var/log/dask-worker.log"]},
    {"command": ["fluent-bit"], "args": ["-t", "dask-worker"]},
    {"command": ["tail", "-F", "/var/log/dask-worker"]},
    {"command": ["nc", "-z", "dask-scheduler", "8786"]},
    {"command": ["nc"], "args": ["dask-scheduler", "8786"]},
    {"command": ["nc"], "args": ["dask-worker", "8786"]},
    {"command": ["tini", "--", "tail", "-F", "dask-worker"]},
    {"command": ["env", "A=dask-worker", "exporter", "dask-scheduler"]},
    {"command": ["conda", "run", "-n", "dask-worker", "exporter"]},
    {"command": ["/scripts/wait-for-dask-scheduler.sh"]},
    {"command": ["/scripts/wait.sh", "dask-worker"]},
    {"command": ["sh", "-c", "until nc -z dask-scheduler 8786; do sleep 1; done; tail -F /dask-worker.log"]},
    {"command": ["sh", "-c", "echo dask worker | grep dask-worker"]},
    {"command": ["sh", "-c", "exec tail -F /var/log/dask-worker"]},
    {"command": ["sh", "-c", "# dask worker\nexec exporter --of dask-scheduler"]},
    {"command": ["python", "-m", "exporter", "dask-worker", "dask-scheduler"]},
    {"command": ["python", "-c", "import x", "dask-worker"]},
    {"args": ["dask", "spec", "worker"]},
    {"command": ["own"], "args": ["dask worker"]},
    {"args": ["dask-worker-exporter"]},
    {"args": ["dask-scheduler.sh"]},
]  # fmt: skip


@pytest.mark.parametrize("side", MENTIONED, ids=json.dumps)
def test_a_sidecar_that_mentions_dask_stays_one(one: One, side: JSON) -> None:
    for part in ("scheduler", "worker"):
        side = {"name": "side", "image": "i", **side}
        found = containers(one, part, side)
        assert found == {part: {"name": part, "env": [{"name": "A", "value": "1"}]}, "side": side}


def test_a_sidecar_that_mentions_dask_beside_a_container_of_another_name(one: One) -> None:
    side = {"name": "log", "image": "i", "args": ["-p", "path=/var/log/dask-worker.log"]}
    found = containers(one, "worker", {"name": "dask-worker", "args": ["dask", "worker"]}, side)
    assert sorted(found) == ["dask-worker", "log"]
    assert "env" in found["dask-worker"]


STARTED = [
    (["dask-COMPONENT"], []),
    ([], ["/opt/conda/bin/dask-COMPONENT", "--protocol", "tcp"]),
    ([], ["dask", "COMPONENT"]),
    (["tini", "-g"], ["dask", "COMPONENT"]),
    (["tini", "-s", "--", "dask-COMPONENT"], []),
    (["/usr/bin/prepare.sh"], ["dask-COMPONENT"]),
    (["/usr/local/bin/own"], ["dask", "COMPONENT"]),
    (["/srv/own.sh", "dask", "COMPONENT"], []),
    (["conda", "run", "--no-capture-output", "-n", "dask", "dask", "COMPONENT"], []),
    (["env", "A=b", "nice", "-n", "5", "dask-COMPONENT"], []),
    (["timeout", "60", "dask-COMPONENT"], []),
    (["python", "-u", "-m", "distributed.cli.dask_COMPONENT"], []),
    (["python3.12", "-m", "dask", "COMPONENT"], []),
    (["python", "/opt/conda/bin/dask-COMPONENT"], []),
    (["own", "--", "dask-COMPONENT"], []),
    (["bash", "-lc"], ["exec dask COMPONENT --protocol tcp"]),
    (["bash", "-l", "-c", "source activate x && dask-COMPONENT"], []),
    (["sh", "-c", "cd /srv; A=b exec /opt/bin/dask-COMPONENT $X"], []),
    (["sh", "-c", "cd /srv\n  conda run -n x python -m dask COMPONENT"], []),
    (["sh", "-c", 'exec "$@"', "--", "dask", "COMPONENT"], []),
    ([], ["dask COMPONENT --protocol tcp"]),
]


@pytest.mark.parametrize(("command", "args"), STARTED, ids=json.dumps)
def test_the_container_that_runs_dask_is_found(
    one: One, command: list[str], args: list[str]
) -> None:
    for part, other in (("worker", "scheduler"), ("scheduler", "worker")):
        words = {"command": command, "args": args}
        said = {k: [w.replace("COMPONENT", part) for w in v] for k, v in words.items() if v}
        assert list(containers(one, part, {"name": "main", **said})) == ["main"]
        side = {"name": "main", "image": "i", **said}
        assert sorted(containers(one, other, side)) == ["main", other]


@pytest.mark.parametrize("component", ["scheduler", "worker"])
def test_the_controller_is_certain_of_none_that_the_chart_does_not_find(component: str) -> None:
    """`dask-gitops convert` leaves such a container its name."""
    assert not any(starts(Container(dict(said)), component) for said in MENTIONED)
    found = [
        starts(Container({"command": command, "args": args}), "COMPONENT")
        for command, args in STARTED
    ]
    assert sum(found) > len(found) / 2


def with_command(one: One, command: list[str]) -> JSON:
    container = {"name": "worker", "command": command}
    worker = {"nthreads": 1, "podTemplate": {"spec": {"containers": [container]}}}
    text = json.dumps({"clusters": {"demo": {"worker": worker}}})
    (found,) = one(text, "DaskCluster")["spec"]["worker"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize(
    "command",
    [
        ["/scripts/wait-for-dask-scheduler.sh"],
        ["/opt/start-dask-worker.sh"],
        ["sh", "-c", 'source /env.sh; exec "$@"', "--"],
        ["sh", "-c", "exec dask worker-like $*", "dask-worker"],
        ["taskset", "-c", "0-3"],
        ["python", "-c", "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"],
        ["conda", "run", "-n", "dask-worker"],
        ["wait-for", "dask-scheduler"],
    ],
    ids=json.dumps,
)
def test_a_command_that_hands_on_its_words_is_followed_by_all_of_them(
    one: One, command: list[str]
) -> None:
    found = with_command(one, command)
    assert found["command"] == command
    assert found["args"] == ["dask", "worker", *NAMED, "--nthreads", "1"]


@pytest.mark.parametrize(
    "command",
    [
        ["dask", "worker"],
        ["tini", "-g", "--", "dask", "cuda", "worker"],
        ["taskset", "-c", "0-3", "/opt/conda/bin/dask-worker"],
        ["sh", "-c", 'source /env.sh; exec "$@"', "--", "dask-worker"],
        ["python", "-m", "dask", "worker"],
        ["dask-cuda-worker", "--rmm-pool-size", "1GB"],
    ],
    ids=json.dumps,
)
def test_a_command_that_is_dasks_program_has_its_words_once(one: One, command: list[str]) -> None:
    assert with_command(one, command)["args"] == [*NAMED, "--nthreads", "1"]


@pytest.mark.parametrize(
    "command",
    [
        ["bash", "-lc", "exec dask worker"],
        ["bash", "-l", "-c", "exec dask worker"],
        ["tini", "--", "/bin/sh", "-ec", "own-worker"],
        ["sh", "-c"],
    ],
    ids=json.dumps,
)
def test_a_text_for_a_shell_that_sees_none_of_its_words_is_refused(
    helm: Helm, values: Write, command: list[str]
) -> None:
    container = {"name": "worker", "command": command}
    worker = {"nthreads": 1, "podTemplate": {"spec": {"containers": [container]}}}
    text = json.dumps({"clusters": {"demo": {"worker": worker}}})
    told = helm.refusal("--values", values(text))
    assert "clusters.demo.worker, with its defaults: a text for a shell" in told
    assert "nthreads" in told


def runner(one: One, job: JSON) -> dict[str, JSON]:
    found = one(json.dumps({"jobs": {"demo": job}}), "DaskJob")["spec"]["job"]["spec"]
    return {c["name"]: c for c in found["containers"]}


def test_a_sidecar_with_an_image_is_not_the_job_that_has_another(one: One) -> None:
    side = {"name": "cloudsql-proxy", "image": "proxy:1", "args": ["db"]}
    template = {"spec": {"containers": [side]}}
    job = {"image": {"repository": "report", "tag": "1"}, "podTemplate": template}
    assert runner(one, job) == {
        "job": {"name": "job", "image": "report:1"},
        "cloudsql-proxy": side,
    }
    del job["image"]
    assert runner(one, job) == {"cloudsql-proxy": side}
    own = {"name": "main", "args": ["x"]}
    job |= {"image": {"repository": "r", "tag": "1"}, "podTemplate": {"spec": {"containers": [own]}}}  # fmt: skip
    assert runner(one, job) == {"main": {**own, "image": "r:1"}}
