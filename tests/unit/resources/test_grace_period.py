"""What a worker Pod carries for the hand-over: how long it has. The rest comes from its scheduler."""

from __future__ import annotations

from typing import Any

import pytest
from dask_gitops.resources.pods import worker_pod, worker_revision

from tests.unit.objects import cluster, group

NAME = "WORKER_GRACE_PERIOD_S"


def pod(spec: dict[str, Any] | None) -> dict[str, Any]:
    return worker_pod(cluster(), group({"worker": {"spec": spec}}), 0, default_image="d")


def env(made: dict[str, Any]) -> dict[str, str]:
    return {e["name"]: e["value"] for e in made["spec"]["containers"][0]["env"]}


@pytest.mark.parametrize("seconds", [0, 5, 600])
def test_a_worker_knows_its_grace_period(seconds: int) -> None:
    made = pod({"terminationGracePeriodSeconds": seconds})
    assert env(made)[NAME] == str(seconds)
    assert made["spec"]["terminationGracePeriodSeconds"] == seconds


@pytest.mark.parametrize("spec", [None, {}, {"terminationGracePeriodSeconds": None}])
def test_the_default_needs_no_word(spec: dict[str, Any] | None) -> None:
    assert NAME not in env(pod(spec))


def test_the_users_word_wins() -> None:
    users = [{"name": NAME, "value": "20"}]  # as with a preStop hook that takes some of it
    spec = {"terminationGracePeriodSeconds": 30, "containers": [{"env": users}]}
    assert env(pod(spec))[NAME] == "20"


def test_the_source_is_not_in_the_workers_pod() -> None:
    made = pod({"containers": [{"args": ["my-start", "--preload", "mine"]}]})
    assert sum(map(len, env(made).values())) < 200
    assert made["spec"]["containers"][0]["args"] == ["my-start", "--preload", "mine"]


def test_it_is_no_part_of_the_revision() -> None:
    """Else upgrading the controller would restart all workers: these are what 0.1.0 began with."""
    assert worker_revision(cluster(), group()) == "9df7fd859c"
    spec = {"worker": {"spec": {"terminationGracePeriodSeconds": 60}}}
    assert worker_revision(cluster(), group(spec)) == "91d2409e6c"
