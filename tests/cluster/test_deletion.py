"""The end of clusters, groups, namespaces and releases, by real garbage collection: nothing is stuck or made anew.

All ways to delete are played side by side, each in a namespace of its own: first those with the controller there, then
those without it. The tests look at what each of them left.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import local_kubernetes
from tests.cluster.manifests import cluster, group, resource
from tests.cluster.test_main_job import USER, WORKERS, live_workers, ready, workers_become
from tests.support.controller_process import ControllerProcess, service_account_kubeconfig
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.kubernetes import Audit, Kubectl, condition, eventually, run
from tests.support.recorder import Recorder, recording
from tests.support.witness import Witness

pytestmark = pytest.mark.usefixtures("controller")
JSON = dict[str, Any]
MINUTE = 60
KOPF = "kopf.zalando.org/KopfFinalizerMarker"
KINDS = ("daskclusters", "daskworkergroups", "daskautoscalers", "daskjobs", "pods", "services")
OURS = "daskclusters,daskworkergroups,pods,services"
EXTRA = "dask.org/workergroup-name=demo-extra"
KUBERNETES_OWN = {"foregroundDeletion", "orphan"}
EVERYTHING = f"{OURS},daskautoscalers,daskjobs,serviceaccounts,roles,rolebindings,leases,deployments,configmaps"


# ---- every way to delete


@dataclass
class Ending:
    """One way to delete, played in a namespace of its own."""

    what: str  # cluster, group, both, namespace
    propagation: str
    away: bool  # was the controller?
    kubectl: Kubectl
    audit: Audit | None = None  # from the deletion on
    before: dict[str, str] = field(default_factory=dict)  # kind/name -> uid
    left: dict[str, JSON] = field(default_factory=dict)  # kind/name -> object, when it was over
    seconds: float | None = None  # until it was over; None: it was not
    emptied: float | None = None  # seconds until nothing was left when the rest was deleted too
    log: str = ""

    def objects(self) -> dict[str, JSON]:
        found = self.kubectl.list(OURS)
        return {f"{o['kind']}/{o['metadata']['name']}": o for o in found}

    def delete(self) -> None:
        words = ["--wait=false", f"--cascade={self.propagation}"]
        if self.what == "namespace":
            self.kubectl("delete", "namespace", self.kubectl.namespace, "--wait=false")
        if self.what in ("cluster", "both"):
            self.kubectl("delete", "daskcluster", "demo", *words)
        if self.what in ("group", "both"):
            self.kubectl("delete", "daskworkergroup", "demo-extra", *words)

    def expected(self) -> set[str]:
        """What is to be left."""
        names = set(self.before)
        cluster = {"DaskCluster/demo"}
        group = {"DaskWorkerGroup/demo-extra"}
        pods = {n for n in names if n.startswith("Pod/demo-extra-")}
        if self.what == "namespace":
            return set()
        if self.propagation == "orphan" and self.what != "group":
            return names - cluster - (group if self.what == "both" else set())
        if self.what == "group":
            # The pods are the cluster's: without the controller nobody drains them.
            return names - group - (set() if self.away else pods)
        return group if self.what == "cluster" else set()

    def over(self) -> bool:
        left = self.objects()
        going = [n for n, o in left.items() if "deletionTimestamp" in o["metadata"]]
        assert not going, f"still going: {going}"
        assert set(left) == self.expected(), f"{sorted(left)}, not {sorted(self.expected())}"
        if self.what == "namespace":
            assert not self.kubectl.exists("namespace", self.kubectl.namespace)
        self.left = left
        return True

    def empty(self) -> bool:
        left = self.objects()
        assert not left, f"still there: {sorted(left)}"
        return True


def ways(kubeconfig: str, *, away: bool) -> list[Ending]:
    found = []
    for what in ("cluster", "group", "both", "namespace"):
        for propagation in ("background", "foreground", "orphan"):
            if what == "namespace" and propagation != "background":
                continue
            namespace = f"t-end-{uuid.uuid4().hex[:6]}"
            found.append(Ending(what, propagation, away, Kubectl(kubeconfig, namespace)))
    return found


def until(
    endings: list[Ending],
    controller: ControllerProcess,
    look: Callable[[Ending], bool],
    note: Callable[[Ending, float], None],
) -> None:
    """Look at all of them until each is done, or a minute is over."""
    started = time.monotonic()
    todo = list(endings)
    while todo and time.monotonic() - started < MINUTE:
        controller.restart_if_ended()
        for ending in list(todo):
            try:
                look(ending)
            except AssertionError as error:
                ending.log = str(error)
            else:
                note(ending, time.monotonic() - started)
                todo.remove(ending)
        time.sleep(0.5)


def play(endings: list[Ending], controller: ControllerProcess, audit_path: Path) -> None:
    for ending in endings:
        ending.before = {n: o["metadata"]["uid"] for n, o in ending.objects().items()}
        ending.audit = Audit.now(audit_path)
        ending.delete()

    def over(ending: Ending, seconds: float) -> None:
        ending.seconds = seconds

    until(endings, controller, Ending.over, over)


@pytest.fixture(scope="module")
def finalizers(kubeconfig: str) -> Iterator[dict[str, Recorder]]:
    """Every finalizer that an object of the kinds that we have to do with ever had in this module."""
    with ExitStack() as stack:
        yield {
            kind: stack.enter_context(recording(kubeconfig, kind, "{.metadata.finalizers}"))
            for kind in KINDS
        }


def the_collector_knows_our_kinds(admin: Kubectl) -> None:
    """Kubernetes' garbage collector hears of new definitions within half a minute; until then it would take orphans for garbage.

    Objects of an owner that never was are collected as soon as it knows their kinds.
    """
    here = Kubectl(admin.kubeconfig, f"t-known-{uuid.uuid4().hex[:6]}")
    here("create", "namespace", here.namespace)
    nobody = {"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": str(uuid.uuid4())}
    probes = [cluster("probe", 0, suspend=True), group("probe-group", 0, cluster="nobody")]
    for probe in probes:
        probe["metadata"]["ownerReferences"] = [nobody]
    here.apply(*probes)
    eventually(
        "the garbage collector knows our kinds",
        lambda: not here.list("daskclusters,daskworkergroups"),
        timeout=180,
    )
    here.delete("namespace", here.namespace, "--wait=false")


@pytest.fixture(scope="module")
def endings(
    kubeconfig: str,
    audit_path: Path,
    controller: ControllerProcess,
    finalizers: dict[str, Recorder],
    witness: Witness,
) -> Iterator[list[Ending]]:
    there, away = ways(kubeconfig, away=False), ways(kubeconfig, away=True)
    inside = [{"name": "inside", "worker": {"replicas": 1}}]
    for ending in (*there, *away):
        if ending.propagation == "orphan":
            for rule in ("shape", "current", "counts", "in-progress"):
                why = "pods lose their owner before the controller hears that the cluster goes"
                witness.allow(why, ending.kubectl.namespace, rule)
    the_collector_knows_our_kinds(Kubectl(kubeconfig))
    try:
        for ending in (*there, *away):
            ending.kubectl("create", "namespace", ending.kubectl.namespace)
            ending.kubectl.apply(cluster(replicas=1, workerGroups=inside), group("demo-extra", 2))
        for ending in (*there, *away):
            controller.restart_if_ended()
            ready(ending.kubectl)
            ready(ending.kubectl, "demo-extra", "daskworkergroup")
        play(there, controller, audit_path)
        controller.stop()
        try:
            play(away, controller, audit_path)
            # Then all of it.
            rest = [e for e in away if e.what != "namespace"]
            for ending in rest:
                ending.kubectl("delete", OURS, "--all", "--wait=false")

            def emptied(ending: Ending, seconds: float) -> None:
                ending.emptied = seconds

            until(rest, controller, Ending.empty, emptied)
        finally:
            controller.start()
        yield [*there, *away]
    finally:
        for ending in (*there, *away):
            ending.kubectl.delete("namespace", ending.kubectl.namespace, "--wait=false")


WAYS = [(e.what, e.propagation, e.away) for away in (False, True) for e in ways("", away=away)]


def words(way: Any) -> str:
    return {True: "controller away", False: "controller there"}.get(way, way)


def way(endings: list[Ending], what: str, propagation: str, away: bool) -> Ending:
    (found,) = (e for e in endings if (e.what, e.propagation, e.away) == (what, propagation, away))
    return found


@pytest.mark.parametrize(("what", "propagation", "away"), WAYS, ids=words)
def test_it_ends_within_a_minute_and_nothing_is_made_anew(
    endings: list[Ending], what: str, propagation: str, away: bool
) -> None:
    ending = way(endings, what, propagation, away)
    assert ending.seconds is not None, ending.log
    if away and what != "namespace":
        assert ending.emptied is not None, ending.log
    # Who is left is who was there before.
    for name, left in ending.left.items():
        assert left["metadata"]["uid"] == ending.before[name]
    assert ending.audit is not None
    made = [
        f"{r['objectRef']['resource']} {r['responseStatus']['code']}"
        for r in ending.audit.requests("create", namespace=ending.kubectl.namespace, user=USER)
        if r["objectRef"]["resource"] != "events"
    ]
    if what == "namespace" and not away:
        # Its objects go in any order; whatever is tried then is refused, and not tried in a circle.
        assert {m.split()[1] for m in made} <= {"403"}
        assert len(made) <= 12
    else:
        assert made == []
    deleted = ending.audit.done("delete", "pods", namespace=ending.kubectl.namespace, user=USER)
    # Only workers of a removed group are deleted by us; all else is garbage collection.
    by_us = 2 if what == "group" and not away else 0
    if what in ("both", "namespace") and not away:
        assert len(deleted) <= 2
    else:
        assert len(deleted) == by_us


@pytest.mark.parametrize(
    ("what", "propagation", "away"),
    [w for w in WAYS if w[:2] in (("cluster", "orphan"), ("both", "orphan"))],
    ids=words,
)
def test_orphans_belong_to_nobody(
    endings: list[Ending], what: str, propagation: str, away: bool
) -> None:
    ending = way(endings, what, propagation, away)
    for name, left in ending.left.items():
        assert "ownerReferences" not in left["metadata"], name
    assert len([n for n in ending.left if n.startswith("Pod/")]) == 1 + 1 + 1 + 2


@pytest.mark.parametrize("propagation", ["background", "foreground", "orphan"])
def test_a_group_without_its_cluster_says_that_it_waits(
    endings: list[Ending], propagation: str
) -> None:
    kubectl = way(endings, "cluster", propagation, False).kubectl
    waiting = eventually(
        "it says so",
        lambda: condition(kubectl.get("daskworkergroup", "demo-extra"), "Reconciling"),
    )
    assert (waiting["reason"], waiting["message"]) == (
        "ClusterMissing",
        "waits for DaskCluster demo",
    )


# ---- groups


def test_a_removed_group_is_drained(kubectl: Kubectl, schedulers: FakeSchedulers) -> None:
    """Its pods go when the scheduler said that their workers are retired, and not before."""
    kubectl.apply(cluster(replicas=1), group("demo-extra", 2))
    ready(kubectl)
    workers_become(kubectl, 3)
    uids = {p["metadata"]["uid"] for p in kubectl.list("pods", EXTRA)}
    before = len(schedulers.calls)
    schedulers.silent = True
    try:
        kubectl("delete", "daskworkergroup", "demo-extra")
        eventually(
            "both are to leave",
            lambda: (
                [
                    "dask.org/retiring" in pod["metadata"]["annotations"]
                    for pod in kubectl.list("pods", EXTRA)
                ]
                == [True, True]
            ),
        )
        asked = schedulers.asked[kubectl.namespace].total()
        eventually(
            "it is asked once more, in vain",
            lambda: schedulers.asked[kubectl.namespace].total() > asked,
        )
        assert {p["metadata"]["uid"] for p in live_workers(kubectl, EXTRA)} == uids
    finally:
        schedulers.silent = False
    workers_become(kubectl, 1)
    asked = {
        i.removeprefix("Worker-")
        for c in schedulers.calls[before:]
        if c[1] == "retire"
        for i in c[2]["ids"]
    }
    assert asked == uids


# ---- the same name again


@pytest.mark.parametrize("propagation", ["background", "foreground"])
def test_recreated_within_a_second(kubectl: Kubectl, propagation: str) -> None:
    kubectl.apply(cluster(replicas=2), group("demo-extra", 1))
    ready(kubectl)
    for number in (3, 1, 2):
        old = kubectl.get("daskcluster", "demo")["metadata"]["uid"]
        kubectl("delete", "daskcluster", "demo", f"--cascade={propagation}", "--timeout=60s")
        kubectl.apply(cluster(replicas=number))

        def fresh(old: str = old, number: int = number) -> bool:
            uid = kubectl.get("daskcluster", "demo")["metadata"]["uid"]
            owned = [*kubectl.list("pods"), *kubectl.list("services")]
            default = [
                g
                for g in kubectl.list("daskworkergroups")
                if g["metadata"]["name"] == "demo-default"
            ]
            owners = {o["metadata"]["ownerReferences"][0]["uid"] for o in (*owned, *default)}
            assert uid != old
            assert owners == {uid}, f"objects of {owners}"
            return len(live_workers(kubectl)) == number + 1

        eventually("only the new cluster's objects", fresh)
        ready(kubectl)
        ready(kubectl, "demo-extra", "daskworkergroup")


def test_a_new_cluster_among_orphans(kubectl: Kubectl, schedulers: FakeSchedulers) -> None:
    """It says what is in its way, adopts nothing, deletes nothing, and goes on when a person has decided."""
    kubectl.apply(cluster(replicas=2))
    ready(kubectl)
    kubectl("delete", "daskcluster", "demo", "--cascade=orphan")
    orphans = {p["metadata"]["uid"] for p in kubectl.list("pods")}
    assert len(orphans) == 3
    kubectl.apply(cluster(replicas=1))

    def why() -> str:
        found = condition(kubectl.get("daskcluster", "demo"), "Ready")
        return str(found["message"]) if found.get("reason") == "NameTaken" else ""

    assert "demo-scheduler was not made for this cluster and belongs to nobody" in eventually(
        "it says so", why
    )
    assert {p["metadata"]["uid"] for p in kubectl.list("pods")} == orphans
    taken = ("pod/demo-scheduler", "service/demo-scheduler", "daskworkergroup/demo-default")
    kubectl("delete", *taken, "--wait=false")
    ready(kubectl)
    said = eventually(
        "it tells of the workers",
        lambda: condition(kubectl.get("daskcluster", "demo"), "OrphanedPods"),
    )
    assert said["message"].startswith("2 worker pods belong to nobody")
    left = [p for p in kubectl.list("pods", WORKERS) if p["metadata"]["uid"] in orphans]
    assert len(left) == 2
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=2")
    workers_become(kubectl, 4)
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=1")
    workers_become(kubectl, 3)
    kubectl("delete", "pod", *(p["metadata"]["name"] for p in left))
    eventually(
        "no word of it any more",
        lambda: not condition(kubectl.get("daskcluster", "demo"), "OrphanedPods"),
    )
    workers_become(kubectl, 1)


# ---- finalizers


def old_ones(suffix: str) -> list[JSON]:
    """One of each kind, as an operator built on kopf leaves them."""
    runner = {"containers": [{"name": "runner", "image": "x"}]}
    specs: list[tuple[str, JSON]] = [
        ("DaskCluster", cluster(replicas=1)["spec"]),
        ("DaskWorkerGroup", {"cluster": f"old-{suffix}", "worker": {"replicas": 1}}),
        ("DaskAutoscaler", {"cluster": f"old-{suffix}", "minimum": 1, "maximum": 2}),
        ("DaskJob", {"job": {"spec": runner}, "cluster": {"spec": {}}}),
    ]
    return [resource(kind, f"old-{suffix}", spec, finalizers=[KOPF]) for kind, spec in specs]


def test_what_an_old_operator_left_holds_nothing(
    kubectl: Kubectl, controller: ControllerProcess, audit: Audit
) -> None:
    kinds = "daskclusters,daskworkergroups,daskautoscalers,daskjobs"
    kubectl.apply(*old_ones("there"))
    ready(kubectl, "old-there")
    time.sleep(1)
    for kind in kinds.split(","):
        assert kubectl.get(kind, "old-there")["metadata"]["finalizers"] == [KOPF]
    kubectl("delete", kinds, "--all", f"--timeout={MINUTE}s")
    eventually("nothing is left", lambda: not kubectl("get", f"{OURS},{kinds}", "-o", "name"))

    controller.stop()
    try:
        kubectl.apply(*old_ones("away"))
        kubectl("delete", kinds, "--all", "--wait=false")
        kubectl("delete", "namespace", kubectl.namespace, "--wait=false")
        time.sleep(2)
        assert len(kubectl("get", kinds, "-o", "name").split()) == 4
    finally:
        controller.start()
    eventually(
        "the namespace has ended",
        lambda: not kubectl.exists("namespace", kubectl.namespace),
        timeout=MINUTE,
    )
    released = [
        (r["objectRef"]["resource"], r["objectRef"]["name"])
        for r in audit.requests("patch", namespace=kubectl.namespace, user=USER)
        if "finalizers" in r["requestObject"].get("metadata", {})
        and r["responseStatus"]["code"] == 200
    ]
    assert sorted(released) == sorted(
        (kind, f"old-{suffix}") for kind in kinds.split(",") for suffix in ("there", "away")
    )
    kubectl("create", "namespace", kubectl.namespace)  # the fixture takes it away


def test_no_finalizer_of_ours_on_anything_ever(
    kubectl: Kubectl, audit_path: Path, finalizers: dict[str, Recorder], endings: list[Ending]
) -> None:
    """Every state of every object in this module, every kind that there is now, every request since the API server started."""
    seen = {
        finalizer
        for recorder in finalizers.values()
        for texts in recorder.everything().values()
        for text in texts
        for finalizer in json.loads(text or "[]")
    }
    assert "foregroundDeletion" in seen  # else nothing was watched
    assert seen <= {*KUBERNETES_OWN, KOPF}
    kinds = kubectl("api-resources", "--verbs=list", "-o", "name").split()
    everything = json.loads(kubectl("get", ",".join(kinds), "-A", "-o", "json", timeout=120))[
        "items"
    ]
    assert len(everything) > 50
    found = {f for o in everything for f in o["metadata"].get("finalizers", ())}
    assert not [f for f in found if "dask" in f or "kopf" in f.lower()], found
    requests = Audit(audit_path).requests(user=USER)
    assert len(requests) > 100
    requests = [r for r in requests if "objectRef" in r]
    assert [r for r in requests if r["objectRef"].get("subresource") == "finalizers"] == []
    written = [
        r["requestObject"]["metadata"]["finalizers"]
        for r in requests
        if r["verb"] in ("patch", "update")
        and "finalizers" in r.get("requestObject", {}).get("metadata", {})
    ]
    assert not [
        w for w in written if w
    ]  # only ever taken off, and of the old operator's there was no other beside it


# ---- all at once


def left(kubectl: Kubectl) -> list[str]:
    """What is in a namespace, except Kubernetes' own."""
    own = ("configmap/kube-root-ca.crt", "serviceaccount/default")
    return [n for n in kubectl("get", EVERYTHING, "-o", "name").split() if n not in own]


def gone(kubectl: Kubectl) -> bool:
    found = left(kubectl)
    assert not found, f"still there: {' '.join(found)}"
    return True


def write_values(file: Path, **controller: Any) -> Path:
    quiet = {"service": {"selector": {"nothing": "here"}}}
    demo = {
        "scheduler": quiet,
        "worker": {"replicas": 2},
        "workerGroups": {"extra": {"replicas": 1}},
    }
    values = {
        "crds": {"enabled": False},
        "controller": controller,
        "clusters": {"demo": demo, "other": {"scheduler": quiet}},
    }
    file.write_text(yaml.safe_dump(values))
    return file


@pytest.mark.parametrize("helm", ["helm", "helm3"])
def test_one_release_of_clusters_and_controller_is_uninstalled(
    kubectl: Kubectl, controller: ControllerProcess, root: Path, tmp_path: Path, helm: str
) -> None:
    """Helm takes the controller's account and rights away at the same moment as the clusters."""
    values = write_values(tmp_path / "values.yaml", watchNamespaces=[kubectl.namespace])
    flags = ("--kubeconfig", kubectl.kubeconfig, "-n", kubectl.namespace)
    controller.stop()
    own = None
    try:
        run(helm, *flags, "install", "all", root, "-f", values)
        config = service_account_kubeconfig(kubectl, "all-controller", tmp_path / "kubeconfig")
        lease = {"LEASE_NAMESPACE": kubectl.namespace, "LEASE_NAME": "all-controller"}
        env = {f"DASK_GITOPS_{k}": v for k, v in {**lease, "NAMESPACES": kubectl.namespace}.items()}
        own = ControllerProcess(config, tmp_path / "log", env)
        own.start()
        for name in ("demo", "other"):
            ready(kubectl, name)
        started = time.monotonic()
        run(helm, *flags, "uninstall", "all")
        # The Lease belongs to the Deployment, whose pods are pretended here, but go all the same.
        eventually("nothing is left", lambda: gone(kubectl), timeout=MINUTE)
        assert time.monotonic() - started < MINUTE
    finally:
        if own is not None:
            own.kill()
        controller.start()


def test_the_controller_first_then_everything(root: Path, tmp_path: Path) -> None:
    """Controller, release, definitions, namespaces, in the order that hangs with finalizers: a minute later all is gone."""
    local_kubernetes("down", "--name", "test-end")
    kubeconfig = local_kubernetes("up", "--name", "test-end", "--kwok-nodes", "1").splitlines()[-1]
    kubectl = Kubectl(kubeconfig, "team")
    own = None
    try:
        flags = ("--kubeconfig", kubeconfig, "-n", "team")
        run(
            "helm",
            *flags,
            "install",
            "all",
            root,
            "--create-namespace",
            "--wait",
        )
        config = service_account_kubeconfig(kubectl, "all-controller", tmp_path / "kubeconfig")
        own = ControllerProcess(config, tmp_path / "log")
        own.start()
        values = write_values(tmp_path / "values.yaml")
        run(
            "helm",
            *flags,
            "upgrade",
            "all",
            root,
            "-f",
            values,
            "--set",
            "crds.enabled=true",
            "--wait",
        )
        kubectl("create", "namespace", "other-team")
        other = Kubectl(kubeconfig, "other-team")
        other.apply(cluster(replicas=2), group("demo-extra", 1))
        for one in (kubectl, other):
            ready(one)
        own.stop()
        own = None
        started = time.monotonic()
        run("helm", *flags, "uninstall", "all")
        definitions = [f"{kind}.kubernetes.dask.org" for kind in KINDS[:4]]
        kubectl("delete", "crd", *definitions, f"--timeout={MINUTE}s")
        kubectl("delete", "namespace", "team", "other-team", f"--timeout={MINUTE}s")
        assert time.monotonic() - started < MINUTE
        assert kubectl("get", "pods,services", "-A", "-o", "name").split() == ["service/kubernetes"]
    finally:
        if own is not None:
            own.kill()
        local_kubernetes("down", "--name", "test-end")
