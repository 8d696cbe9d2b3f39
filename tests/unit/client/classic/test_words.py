"""By which words the containers of a classic cluster run Dask, and where they may run."""

from __future__ import annotations

import pytest

from tests.unit.client.classic.support import (
    JSON,
    made,
    placed,
)


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
