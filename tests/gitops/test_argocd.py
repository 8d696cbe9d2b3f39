"""Clusters that the real Argo CD keeps as git says."""

from __future__ import annotations

import time

import pytest

from tests.gitops.tools import PATIENCE_S, Argo, Repo, Tell, messages, pods, uids, workers_become
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import JSON, Kubectl, eventually


def values(replicas: int | None = 2, **cluster: object) -> JSON:
    """Values of one cluster, ``demo``."""
    worker = {} if replicas is None else {"replicas": replicas}
    return {"clusters": {"demo": {"worker": worker, **cluster}}}


def deployed(argo: Argo, app: str, repo: Repo, content: JSON) -> None:
    """The test's application, healthy, with these values."""
    commit = repo.push(values__yaml=content)
    argo.clusters(app, app, repo)
    argo.wait(app, commit=commit)


def test_a_push_is_progressing_in_our_words_and_then_healthy(
    argo: Argo, app: str, repo: Repo, kubectl: Kubectl, tell: Tell
) -> None:
    commit = repo.push(values__yaml=values(2))
    argo.clusters(app, app, repo)
    argo.wait(
        app,
        commit=commit,
        message="DaskCluster demo: Healthy, scheduler ready, 2 of 2 workers ready",
    )
    tell("A1", "Argo CD: first sync to Healthy, 2 workers", time.monotonic() - repo.pushed)
    commit = repo.push(values__yaml=values(5, image={"tag": "2026.8.0"}))
    argo.wait(app, sync="Synced", commit=commit, message="5 of 5 workers ready")
    tell("A1", "Argo CD: push to Healthy, 2 to 5 workers", time.monotonic() - repo.pushed)
    shown = [state.get("status", {}) for state in argo.history(app)]
    told = [m for status in shown for m in messages(status) if m.startswith("DaskCluster demo")]
    assert any(
        message.startswith("DaskCluster demo: Progressing, ") and "0 of 2 workers" in message
        for message in told
    ), told
    assert "Degraded" not in {(status.get("health") or {}).get("status") for status in shown}
    workers_become(kubectl, 5)


@pytest.mark.expects_failed("the pushed spec is refused")
def test_a_spec_that_is_refused_is_degraded_until_the_next_push(
    argo: Argo, app: str, repo: Repo, kubectl: Kubectl, tell: Tell
) -> None:
    deployed(argo, app, repo, values(2))
    before = uids(kubectl)
    bad = {"replicas": 2, "podTemplate": {"spec": {"restartPolicy": "Sometimes"}}}
    repo.push(values__yaml={"clusters": {"demo": {"worker": bad}}})
    argo.wait(app, health="Degraded", message="restartPolicy")
    tell("A2", "Argo CD: push of a refused spec to Degraded", time.monotonic() - repo.pushed)
    assert uids(kubectl) == before, "a refused spec cost pods"
    commit = repo.push(values__yaml=values(2))
    argo.wait(app, commit=commit)
    tell("A2", "Argo CD: push of the remedy to Healthy", time.monotonic() - repo.pushed)
    assert uids(kubectl) == before, "the remedy cost pods"


def test_a_group_that_left_git_is_drained_and_gone(
    argo: Argo, app: str, repo: Repo, kubectl: Kubectl, schedulers: FakeSchedulers, tell: Tell
) -> None:
    deployed(argo, app, repo, values(1, workerGroups={"gpu": {"replicas": 3}}))
    workers_become(kubectl, 4)
    gpu = {p["metadata"]["uid"] for p in kubectl.list("pods", "dask.org/workergroup-name=demo-gpu")}
    assert len(gpu) == 3
    commit = repo.push(values__yaml=values(1))
    argo.wait(app, commit=commit)
    workers_become(kubectl, 1)
    tell("A6", "Argo CD: group removed in git to drained and gone", time.monotonic() - repo.pushed)
    assert not kubectl.exists("daskworkergroup", "demo-gpu")
    (scheduler,) = pods(kubectl, "scheduler")
    assert schedulers.retired[scheduler["metadata"]["uid"]] >= gpu, "a worker went undrained"
    argo.wait(app)


def test_an_autoscaler_moves_under_self_heal_and_hands_over(
    argo: Argo, app: str, repo: Repo, kubectl: Kubectl, schedulers: FakeSchedulers, tell: Tell
) -> None:
    limits = {"minimum": 1, "maximum": 5, "interval": 1, "scaleDown": {"stabilizationSeconds": 4}}
    deployed(argo, app, repo, values(2))
    commit = repo.push(values__yaml=values(None, autoscaler=limits))
    argo.wait(app, commit=commit)
    start = time.monotonic()
    for count in (4, 2, 5):
        schedulers.work[kubectl.namespace][()] = count
        workers_become(kubectl, count)
    tell("A4", "Argo CD with selfHeal: three moves of an autoscaler", time.monotonic() - start)
    commit = repo.push(values__yaml=values(3))  # git takes the number back
    argo.wait(app, commit=commit)
    workers_become(kubectl, 3)
    tell("A4", "Argo CD: push that takes replicas back, to effect", time.monotonic() - repo.pushed)
    states = [a["status"] for a in argo.history(app, start) if a["seen"] < repo.pushed]
    assert [s for s in states if s["sync"]["status"] != "Synced"] == []
    commit = repo.push(values__yaml=values(None, autoscaler=limits))  # and gives it away again
    argo.wait(app, commit=commit)
    schedulers.work[kubectl.namespace][()] = 5
    workers_become(kubectl, 5)


def test_what_somebody_edited_is_set_back(
    argo: Argo, app: str, repo: Repo, kubectl: Kubectl, tell: Tell
) -> None:
    deployed(argo, app, repo, values(2))
    before = uids(kubectl)
    start = time.monotonic()
    kubectl(
        "patch", "daskcluster", "demo", "--type=merge", "-p", '{"spec":{"worker":{"replicas":4}}}'
    )
    eventually(
        "git's number is back",
        lambda: kubectl.get("daskcluster", "demo")["spec"]["worker"]["replicas"] == 2,
        timeout=PATIENCE_S,
    )
    workers_become(kubectl, 2)
    argo.wait(app)
    tell("A4", "Argo CD with selfHeal: an edit to set back and Healthy", time.monotonic() - start)
    assert uids(kubectl) & before
