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
from tests.support.kubernetes import Audit, Kubectl

WORKERS = 330  # in each of the three modes
AT_ONCE = 35  # so many of them end together
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


@pytest.mark.parametrize(
    ("gone", "moves"),
    [
        pytest.param(1_000, 10, id="thousand"),
        pytest.param(5_000, 50, marks=pytest.mark.soak, id="soak"),
    ],
)
def test_what_comes_and_goes_is_no_drift(
    apps: list[str],
    argo: Argo,
    lab: Lab,
    kubectl: Kubectl,
    schedulers: FakeSchedulers,
    audit: Audit,
    tell: Tell,
    gone: int,
    moves: int,
) -> None:
    for tracking in ("annotation", "label"):
        argo.set("application.resourceTrackingMethod", tracking)
        try:
            for name in apps:
                argo.refresh(name, "hard")
                argo.wait(name)
            phase(tracking, gone, moves, apps, argo, lab, kubectl, schedulers, audit, tell)
        finally:
            argo.set("application.resourceTrackingMethod", None)


def phase(
    tracking: str,
    gone: int,
    moves: int,
    apps: list[str],
    argo: Argo,
    lab: Lab,
    kubectl: Kubectl,
    schedulers: FakeSchedulers,
    audit: Audit,
    tell: Tell,
) -> None:
    """Under one way to track: until so many pods in all have gone, and each autoscaler has moved so often."""
    here = [Kubectl(kubectl.kubeconfig, name) for name in apps]
    start, before, audit = time.monotonic(), (looks(lab), comparisons(lab)), Audit.now(audit.path)
    synced = {name: len(argo.status(name)["history"]) for name in apps}
    turns = deleted = 0
    while deleted < gone or turns < moves:
        turns += 1
        wanted = turns % LIMITS["maximum"] + 1
        for one in here:
            chosen = random.sample([pod["metadata"]["name"] for pod in pods(one)], AT_ONCE)
            one("delete", "pods", *chosen, "--wait=false", "--ignore-not-found")
            schedulers.work[one.namespace][()] = wanted
        for one in here:
            workers_become(one, wanted, "auto")
        deleted = sum(len(audit.touched("delete", "pods", namespace=name)) for name in apps)
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
    assert all(moved(audit, name) >= moves for name in apps)
    wrong = [status["sync"] for status in seen if status["sync"]["status"] != "Synced"]
    assert wrong == []
    assert {name: len(argo.status(name)["history"]) for name in apps} == synced
    assert looked < LOOKS
    assert compared < COMPARISONS
    for one in here:
        workers_become(one, WORKERS)


def moved(audit: Audit, namespace: str) -> int:
    """How often the autoscaler of a namespace has written a number."""
    writes = audit.requests("patch", "daskworkergroups", namespace=namespace)
    return sum(
        r["objectRef"].get("subresource") == "scale" and r["responseStatus"]["code"] == 200
        for r in writes
    )


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
