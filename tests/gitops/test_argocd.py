"""Clusters that the real Argo CD keeps as git says."""

from __future__ import annotations

import time

import pytest

from tests.cluster.test_job import finish
from tests.gitops.tools import PATIENCE_S, Argo, Repo, Tell, pods, uids, workers_become
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import JSON, Audit, Kubectl, condition, eventually, is_ready


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
    kubectl("create", "quota", "room", "--hard=pods=1")  # for the scheduler
    commit = repo.push(values__yaml=values(2))
    argo.clusters(app, app, repo)
    argo.wait(app, commit=commit, health="Progressing", message="quota")
    tell("A1", "Argo CD: first push to Progressing, in our words", time.monotonic() - repo.pushed)
    start = time.monotonic()
    kubectl("delete", "quota", "room")
    argo.wait(app, commit=commit, message="DaskCluster demo: Healthy, scheduler ready, 2 of 2")
    tell("A1", "Argo CD: room for the workers to Healthy", time.monotonic() - start)
    commit = repo.push(values__yaml=values(5))
    argo.wait(app, commit=commit, message="5 of 5 workers ready")
    tell("A1", "Argo CD: push to Healthy, 2 to 5 workers", time.monotonic() - repo.pushed)
    shown = [a.get("status", {}).get("health", {}).get("status") for a in argo.history(app)]
    assert "Degraded" not in shown
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
    argo: Argo,
    app: str,
    repo: Repo,
    kubectl: Kubectl,
    schedulers: FakeSchedulers,
    audit: Audit,
    tell: Tell,
) -> None:
    deployed(argo, app, repo, values(2))
    before, audit = uids(kubectl), Audit.now(audit.path)
    (scheduler,) = (pod["metadata"]["uid"] for pod in pods(kubectl, "scheduler"))
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
    # Argo CD may be quicker than the two workers that were asked for; whoever went was drained, or had not begun.
    after = uids(kubectl)
    assert scheduler in after
    assert before - after <= schedulers.retired[scheduler], "a worker went undrained"
    made, gone = (
        audit.touched(verb, "pods", namespace=kubectl.namespace) for verb in ("create", "delete")
    )
    assert len(made) == len(gone) <= 2
    assert len(after) == len(before)


def test_children_survive_label_tracking_with_prune(
    argo: Argo, app: str, repo: Repo, kubectl: Kubectl, tell: Tell
) -> None:
    argo.set("application.resourceTrackingMethod", "label")
    try:
        deployed(argo, app, repo, values(3, workerGroups={"gpu": {"replicas": 1}}))
        labels = kubectl.get("daskcluster", "demo")["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == app, "it does not track by label"
        workers_become(kubectl, 4)
        kept = {
            p["metadata"]["uid"]
            for p in kubectl.list("pods", "dask.org/workergroup-name!=demo-gpu")
        }
        commit = repo.push(values__yaml=values(3, labels={"team": "a"}))
        argo.wait(app, commit=commit)
        workers_become(kubectl, 3)
        tell(
            "A5",
            "Argo CD by label: push that prunes a group, to effect",
            time.monotonic() - repo.pushed,
        )
        for _ in range(3):
            argo.refresh(app, "hard")
        assert uids(kubectl) == kept
        shown = {r["kind"] for r in argo.wait(app)["resources"]}
        assert shown == {"DaskCluster"}, "it took children for its own"
    finally:
        argo.set("application.resourceTrackingMethod", None)


#: How Argo CD may apply and compare: sync options and annotations of an Application.
MODES: dict[str, JSON] = {
    "client": {},
    "server": {"options": ["ServerSideApply=true"]},
    "diff": {
        "options": ["ServerSideApply=true"],
        "annotations": {
            "argocd.argoproj.io/compare-options": "ServerSideDiff=true,IncludeMutationWebhook=true"
        },
    },
}


def test_one_changed_leaf_is_seen_and_applied_in_every_mode(
    argo: Argo, repo: Repo, kubectl: Kubectl, tell: Tell
) -> None:
    places = {f"{kubectl.namespace}-{mode}": more for mode, more in MODES.items()}
    commit = repo.push(values__yaml=values_with_env("a"))
    try:
        for name, more in places.items():
            kubectl("create", "namespace", name)
            argo.clusters(name, name, repo, **{k: v.copy() for k, v in more.items()})
        for name in places:
            argo.wait(name, commit=commit)
            assert modes_of(kubectl, name) == ["a", "a"]
        commit = repo.push(values__yaml=values_with_env("b"))
        for name in places:
            argo.wait(name, commit=commit)
            eventually(
                f"the pods of {name} run it",
                lambda name=name: modes_of(kubectl, name) == ["b", "b"],  # type: ignore[misc]
                timeout=PATIENCE_S,
            )
            argo.wait(name, commit=commit)
            words = f"Argo CD, {name.rpartition('-')[2]}: a changed variable, to all pods"
            tell("A9", words, time.monotonic() - repo.pushed)
            synced = argo.status(name)["history"]
            assert len(synced) == 2, "it synced more often than git changed"
    finally:
        for name in places:
            argo.delete(name)
            kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


def values_with_env(word: str) -> JSON:
    return {"clusters": {"demo": {"worker": {"replicas": 2, "env": {"MODE": word}}}}}


def modes_of(kubectl: Kubectl, namespace: str) -> list[str]:
    """The variable MODE in each worker pod."""
    found = pods(Kubectl(kubectl.kubeconfig, namespace))
    return [
        env["value"]
        for pod in found
        for env in pod["spec"]["containers"][0]["env"]
        if env["name"] == "MODE"
    ]


def test_wiped_statuses_change_nothing(
    argo: Argo, app: str, repo: Repo, kubectl: Kubectl, audit: Audit, tell: Tell
) -> None:
    limits = {"minimum": 2, "maximum": 5, "interval": 1}
    content = values(2)
    content["clusters"]["auto"] = {"autoscaler": limits}
    content["jobs"] = {"report": {"args": ["true"], "cleanupPolicy": "Never"}}
    commit = repo.push(values__yaml=content)
    argo.clusters(app, app, repo)
    finish(kubectl, "report-runner")
    eventually(
        "the job has succeeded",
        lambda: kubectl.get("daskjob", "report")["status"]["jobStatus"] == "Successful",
        timeout=PATIENCE_S,
    )
    argo.wait(app, commit=commit)
    workers_become(kubectl, 2, "auto")
    before = {pod["metadata"]["uid"] for pod in kubectl.list("pods")}
    generations = dict(generation(kubectl))
    audit = Audit.now(audit.path)
    start = time.monotonic()
    for name in generations:
        kubectl("patch", name, "--subresource=status", "--type=merge", "-p", '{"status":null}')
    for name in generations:
        eventually(
            f"{name} is well again",
            lambda name=name: is_ready(kubectl.get(*name.split("/"))),  # type: ignore[misc]
            timeout=PATIENCE_S,
        )
    tell("S1", "every status wiped, to all of them back", time.monotonic() - start)
    argo.refresh(app, "hard")
    argo.wait(app, commit=commit)
    assert {pod["metadata"]["uid"] for pod in kubectl.list("pods")} == before
    assert dict(generation(kubectl)) == generations
    for verb in ("create", "delete"):
        assert audit.touched(verb, "pods", namespace=kubectl.namespace) == set()
    assert {a["status"]["sync"]["status"] for a in argo.history(app, start)} == {"Synced"}


def generation(kubectl: Kubectl) -> list[tuple[str, int]]:
    kinds = ("daskcluster", "daskworkergroup", "daskautoscaler", "daskjob")
    return [
        (f"{kind}/{one['metadata']['name']}", one["metadata"]["generation"])
        for kind in kinds
        for one in kubectl.list(kind)
    ]


def test_what_ends_or_rests_by_itself_is_not_begun_again(
    argo: Argo,
    app: str,
    repo: Repo,
    kubectl: Kubectl,
    audit: Audit,
    schedulers: FakeSchedulers,
    tell: Tell,
) -> None:
    schedulers.idle[kubectl.namespace] = 3600
    content = values(2, idle={"timeout": 2, "action": "Delete"})
    content["jobs"] = {"report": {"args": ["true"], "ttlSecondsAfterFinished": 3}}
    commit = repo.push(values__yaml=content)
    argo.clusters(app, app, repo)
    finish(kubectl, "report-runner")
    start = time.monotonic()

    def over() -> bool:
        assert condition(kubectl.get("daskcluster", "demo"), "Idle"), "demo does not rest"
        names = [pod["metadata"]["name"] for pod in kubectl.list("pods")]
        assert names == ["demo-scheduler"], names
        return True

    eventually("the job's pods are gone, the cluster rests", over, timeout=PATIENCE_S)
    tell(
        "S2",
        "job and cluster of an Application over, to the end of their pods",
        time.monotonic() - start,
    )
    argo.wait(app, commit=commit)
    settled = time.monotonic()
    for _ in range(4):
        argo.refresh(app, "hard")
        time.sleep(2)
    over()
    assert kubectl.get("daskjob", "report")["status"]["jobStatus"] == "Successful"
    created = audit.done("create", "pods", namespace=kubectl.namespace)
    assert [r["objectRef"]["name"] for r in created].count("report-runner") == 1
    states = argo.history(app, settled)
    assert {a["status"]["sync"]["status"] for a in states} <= {"Synced"}
    assert len(argo.status(app)["history"]) == 1, "it was synced again"


def test_actions_of_its_page(
    argo: Argo, app: str, repo: Repo, kubectl: Kubectl, tell: Tell
) -> None:
    deployed(argo, app, repo, values(2))
    start = time.monotonic()
    argo.act(app, "scale", "DaskWorkerGroup", "demo-default", replicas=4)
    workers_become(kubectl, 4)
    tell("A12", "Argo CD: action Scale, 2 to 4 workers", time.monotonic() - start)
    argo.wait(app)
    assert len(pods(kubectl)) == 4, "the number was set back"
    argo.act(app, "suspend", "DaskCluster", "demo")
    argo.wait(app, health="Suspended")
    workers_become(kubectl, 0)
    argo.act(app, "resume", "DaskCluster", "demo")
    argo.wait(app)
    workers_become(kubectl, 4)
    before = uids(kubectl)
    argo.act(app, "restart", "DaskCluster", "demo")
    eventually(
        "all pods are new",
        lambda: not uids(kubectl) & before and len(uids(kubectl)) == 5,
        timeout=PATIENCE_S,
    )
    argo.wait(app)
