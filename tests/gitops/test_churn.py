"""A thousand pods that come and go, and autoscalers that move: Argo CD has nothing to do, in no mode."""

from __future__ import annotations

import random
import re
import time
import urllib.request
from collections.abc import Iterator

import pytest

from tests.gitops.test_argocd import MODES
from tests.gitops.tools import Argo, Lab, Repo, Tell, pods, workers_become
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import Kubectl

WORKERS = 330  # in each of the three modes
LIMITS = {"minimum": 1, "maximum": 6, "interval": 1, "scaleDown": {"stabilizationSeconds": 4}}
#: Of one Application, per second. A look only brings the tree of its page up to date; that is what a changed pod may cause.
LOOKS, COMPARISONS = 5.0, 0.2


@pytest.fixture
def apps(argo: Argo, repo: Repo, kubectl: Kubectl, lab: Lab) -> Iterator[list[str]]:
    """One Application for each mode, each in a namespace of its own."""
    names = [f"{kubectl.namespace}-{mode}" for mode in MODES]
    clusters = {
        "demo": {"worker": {"replicas": WORKERS}, "updateStrategy": {"maxSurge": "100%"}},
        "auto": {"autoscaler": LIMITS},
    }
    commit = repo.push(values__yaml={"clusters": clusters})
    for name, more in zip(names, MODES.values(), strict=True):
        kubectl("create", "namespace", name)
        argo.clusters(name, name, repo, **{key: value.copy() for key, value in more.items()})
    try:
        for name in names:
            argo.wait(name, commit=commit, timeout=300)
        yield names
    finally:
        for name in names:
            argo.delete(name)
            kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("seconds", [180, pytest.param(600, marks=pytest.mark.soak, id="soak")])
def test_what_comes_and_goes_is_no_drift(
    apps: list[str],
    argo: Argo,
    lab: Lab,
    kubectl: Kubectl,
    schedulers: FakeSchedulers,
    tell: Tell,
    seconds: int,
) -> None:
    for tracking in ("annotation", "label"):
        argo.set("application.resourceTrackingMethod", tracking)
        try:
            for name in apps:
                argo.refresh(name, "hard")
                argo.wait(name)
            phase(tracking, seconds, apps, argo, lab, kubectl, schedulers, tell)
        finally:
            argo.set("application.resourceTrackingMethod", None)


def phase(
    tracking: str,
    seconds: int,
    apps: list[str],
    argo: Argo,
    lab: Lab,
    kubectl: Kubectl,
    schedulers: FakeSchedulers,
    tell: Tell,
) -> None:
    """Some time of it, under one way to track."""
    here = [Kubectl(kubectl.kubeconfig, name) for name in apps]
    start, before, deleted, moves = time.monotonic(), (looks(lab), comparisons(lab)), 0, 0
    synced = {name: len(argo.status(name)["history"]) for name in apps}
    while time.monotonic() < start + seconds:
        for one in here:
            chosen = random.sample([pod["metadata"]["name"] for pod in pods(one)], 10)
            one("delete", "pods", *chosen, "--wait=false", "--ignore-not-found")
            deleted += len(chosen)
            schedulers.work[one.namespace][()] = moves % 6 + 1
        moves += 1
        time.sleep(2)
    passed = time.monotonic() - start
    looked, compared = (
        (now - then) / passed / len(apps)
        for now, then in zip((looks(lab), comparisons(lab)), before, strict=True)
    )
    seen = [state["status"] for name in apps for state in argo.history(name, start)]
    tell(
        "A3",
        f"{tracking}: {deleted} pods gone, {looked:.1f} looks and {compared:.2f} comparisons/s",
        passed,
    )
    wrong = [status["sync"] for status in seen if status["sync"]["status"] != "Synced"]
    assert wrong == []
    assert {name: len(argo.status(name)["history"]) for name in apps} == synced
    assert deleted > seconds / 2
    assert looked < LOOKS
    assert compared < COMPARISONS
    for one in here:
        workers_become(one, WORKERS)


def looks(lab: Lab) -> int:
    """How often Argo CD has looked at an application so far, for whatever reason."""
    with urllib.request.urlopen(lab.metrics, timeout=10) as answer:
        text = answer.read().decode()
    counts = re.findall(r"(?m)^argocd_app_reconcile_count\{.*\} (\d+)", text)
    assert counts
    return sum(map(int, counts))


def comparisons(lab: Lab) -> int:
    """How often it has compared one with git: its log tells the level of each look."""
    text = (lab.folder / "logs/argocd-application-controller.log").read_text()
    return len(re.findall(r'"comparison-level":[123]', text))
