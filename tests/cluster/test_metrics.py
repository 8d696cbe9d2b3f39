"""/metrics of the controller's process on a real API server: every series is moved by its cause, and by nothing else seen here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dask_gitops.metrics import Metrics
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.manifests import cluster, resource
from tests.cluster.test_autoscaler import autoscaler
from tests.cluster.test_job import job
from tests.cluster.test_main_job import USER, ready, workers_become
from tests.support.controller_process import ControllerProcess, free_port, get
from tests.support.fake_scheduler import FakeSchedulers
from tests.support.fault_proxy import FaultProxy, Strike
from tests.support.kubernetes import Audit, Kubectl, eventually

KINDS = ("DaskCluster", "DaskWorkerGroup", "DaskAutoscaler", "DaskJob")
WATCHED = ("daskclusters", "daskworkergroups", "daskautoscalers", "daskjobs", "pods", "services")


class Measured:
    """A controller with a port for its metrics."""

    def __init__(self, kubeconfig: str, log: Path, env: dict[str, str]) -> None:
        self.port = free_port()
        where = {**env, "DASK_GITOPS_PORT": str(self.port)}
        self.process = ControllerProcess(kubeconfig, log, where)
        self.process.start()

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name with these labels; 0.0 if there is none."""
        status, text = get(f"http://127.0.0.1:{self.port}/metrics")
        assert status == 200
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def grows(self, name: str, above: float, **labels: str) -> None:
        def so() -> bool:
            value = self(name, **labels)
            assert value > above, f"{name} {labels} is {value}"
            return True

        eventually(f"{name} {labels} is more than {above}", so)


@pytest.fixture(scope="module")
def proxy(kubeconfig: str) -> Iterator[FaultProxy]:
    proxy = FaultProxy(kubeconfig, lambda: None)
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture(scope="module")
def leader(
    controller: ControllerProcess, proxy: FaultProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Measured]:
    """Behind a proxy that lets requests go wrong; the other tests' controller makes room for it."""
    folder = tmp_path_factory.mktemp("measured")
    controller.stop(timeout=60)
    through = proxy.kubeconfig(controller.kubeconfig, folder / "kubeconfig")
    measured = Measured(through, folder / "log", controller.env)
    try:
        eventually("it leads", lambda: measured("dask_gitops_leader") == 1, timeout=120)
        yield measured
    finally:
        measured.process.stop()
        controller.start()


def make(kind: str, kubectl: Kubectl) -> None:
    """Declare one of this kind, with what it needs."""
    if kind == "DaskJob":
        kubectl.apply(job())
        return
    kubectl.apply(cluster(replicas=1))
    ready(kubectl)
    if kind == "DaskAutoscaler":
        kubectl.apply(autoscaler())


def refusals(audit: Audit) -> int:
    """How often a pod was refused, also one of another test whose namespace has not ended."""
    asked = audit.requests("create", "pods", user=USER)
    return sum(request["responseStatus"]["code"] == 403 for request in asked)


def test_requests_by_verb_resource_and_code(
    leader: Measured, kubectl: Kubectl, proxy: FaultProxy, audit_path: Path
) -> None:
    name = "dask_gitops_api_requests_total"
    made = leader(name, verb="create", resource="pods", code="201")
    refused, audit = leader(name, verb="create", resource="pods", code="403"), Audit.now(audit_path)
    kubectl.apply(cluster(replicas=2))
    ready(kubectl)
    assert leader(name, verb="create", resource="pods", code="201") >= made + 3
    eventually(
        "what was created is no refusal",
        lambda: (
            leader(name, verb="create", resource="pods", code="403") == refused + refusals(audit)
        ),
    )
    kubectl("create", "quota", "small", "--hard=pods=3")
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=4")
    leader.grows(name, refused, verb="create", resource="pods", code="403")
    kubectl("delete", "quota", "small")
    silent = leader(name, verb="create", resource="pods", code="0")
    strike = proxy.arm(kubectl.namespace, "create pods", 1, "reset before")
    workers_become(kubectl, 4)
    assert strike.struck
    assert leader(name, verb="create", resource="pods", code="0") > silent
    for verb in ("list", "watch"):
        for which in WATCHED:
            assert leader(name, verb=verb, resource=which, code="200") >= 1, (verb, which)
    patched = leader(name, verb="patch", resource="daskclusters", code="200")
    removed = leader(name, verb="delete", resource="pods", code="200")
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=3")
    workers_become(kubectl, 3)
    assert leader(name, verb="delete", resource="pods", code="200") > removed
    leader.grows(name, patched, verb="patch", resource="daskclusters", code="200")


#: What goes wrong for each kind, and what makes the controller ask for it.
BREAKS: dict[str, tuple[str, Callable[[Kubectl], object]]] = {
    "DaskCluster": ("create pods", lambda kubectl: kubectl.apply(cluster("second", replicas=0))),
    "DaskWorkerGroup": (
        "create pods",
        lambda kubectl: kubectl("scale", "daskworkergroup", "demo-default", "--replicas=2"),
    ),
    "DaskAutoscaler": (
        "patch daskautoscalers/status",
        lambda kubectl: kubectl.apply(autoscaler(high=7, interval=1)),
    ),
    "DaskJob": (
        "patch daskjobs/status",
        lambda kubectl: kubectl(
            "patch", "daskjob", "nightly", "--type=merge", "-p", '{"spec": {"suspend": true}}'
        ),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_reconciles_by_kind_and_end(
    leader: Measured, kubectl: Kubectl, proxy: FaultProxy, kind: str
) -> None:
    total, seconds = "dask_gitops_reconciles_total", "dask_gitops_reconcile_seconds"
    good, bad = (leader(total, kind=kind, result=end) for end in ("ok", "error"))
    count, spent = (leader(f"{seconds}_{what}", kind=kind) for what in ("count", "sum"))
    within = leader(f"{seconds}_bucket", kind=kind, le="+Inf")
    make(kind, kubectl)
    leader.grows(total, good, kind=kind, result="ok")
    leader.grows(f"{seconds}_count", count, kind=kind)
    leader.grows(f"{seconds}_sum", spent, kind=kind)
    leader.grows(f"{seconds}_bucket", within, kind=kind, le="+Inf")
    assert leader(total, kind=kind, result="error") == bad
    words, act = BREAKS[kind]
    strike = proxy.arm(kubectl.namespace, words, 1, "reset before")
    act(kubectl)
    leader.grows(total, bad, kind=kind, result="error")
    assert strike.struck


def test_retired_workers_by_the_schedulers_answer(
    leader: Measured, kubectl: Kubectl, schedulers: FakeSchedulers
) -> None:
    name = "dask_gitops_retired_workers_total"
    before = {state: leader(name, state=state) for state in ("retired", "refused", "gone")}
    kubectl.apply(cluster(replicas=4))
    ready(kubectl)
    pods = {p["metadata"]["name"] for p in workers_become(kubectl, 4)}
    kubectl("scale", "daskworkergroup", "demo-default", "--replicas=3")
    workers_become(kubectl, 3)
    leader.grows(name, before["retired"], state="retired")
    assert leader(name, state="refused") == before["refused"]
    schedulers.refuse |= pods
    try:
        kubectl("scale", "daskworkergroup", "demo-default", "--replicas=2")
        leader.grows(name, before["refused"], state="refused")
    finally:
        schedulers.refuse -= pods
    workers_become(kubectl, 2)
    assert leader(name, state="gone") == before["gone"]
    schedulers.vanish |= pods
    try:
        kubectl("scale", "daskworkergroup", "demo-default", "--replicas=1")
        leader.grows(name, before["gone"], state="gone")
    finally:
        schedulers.vanish -= pods
    workers_become(kubectl, 1)


def test_the_age_of_watches(leader: Measured, kubectl: Kubectl) -> None:
    """It grows while nothing is heard, and begins anew with news."""
    name = "dask_gitops_watch_age_seconds"
    for which in WATCHED:
        leader.grows(name, 1, resource=which)

    def heard() -> bool:
        age = leader(name, resource="daskjobs")
        kubectl.apply(resource("DaskJob", "other", {**job()["spec"], "suspend": True}))
        kubectl("annotate", "daskjob", "other", "--overwrite", f"example.com/age={age}")
        return eventually("the watch is heard", lambda: leader(name, resource="daskjobs") < age)

    assert heard()


def test_what_watches_do(leader: Measured, kubectl: Kubectl, proxy: FaultProxy) -> None:
    """They list and open, hear, break and open anew: each is counted for its resource."""
    for which in WATCHED:
        leader.grows("dask_gitops_watch_lists_total", 0, resource=which)
        leader.grows("dask_gitops_watch_opened_total", 0, resource=which)
    heard = leader("dask_gitops_watch_events_total", resource="daskclusters")
    kubectl.apply(cluster(replicas=1))
    ready(kubectl)
    leader.grows("dask_gitops_watch_events_total", heard, resource="daskclusters")
    opened = leader("dask_gitops_watch_opened_total", resource="pods")
    errors = leader("dask_gitops_watch_errors_total")
    proxy.disturb("watches cut and refused")
    leader.grows("dask_gitops_watch_errors_total", errors)
    leader.grows("dask_gitops_watch_opened_total", opened, resource="pods")


def test_an_object_that_nests_too_deep(leader: Measured, kubectl: Kubectl) -> None:
    """It is counted and named while it is there; all others are served."""
    name, counted = "dask_gitops_unreadable_objects", leader("dask_gitops_unreadable_total")
    before = leader(name)
    deep: object = 1
    for _ in range(130):
        deep = {"a": deep}
    spec = {"containers": [{"name": "worker"}], "x": deep}
    kubectl.apply(cluster("deep", worker={"spec": spec}))
    leader.grows(name, before, resource="daskclusters")
    leader.grows("dask_gitops_unreadable_total", counted, resource="daskclusters")
    kubectl.apply(cluster(replicas=1))
    ready(kubectl)
    eventually("it is told", lambda: "Unreadable" in kubectl("get", "events"))
    kubectl("delete", "daskcluster", "deep")
    eventually("it is forgotten", lambda: leader(name) == before)


class Always(Strike):
    """It goes wrong whenever it is asked for."""

    def meets(self, words: str) -> bool:
        return words == self.words


def test_turns_under_way_and_failing(leader: Measured, kubectl: Kubectl, proxy: FaultProxy) -> None:
    assert leader("dask_gitops_namespace_served", namespace="*") == 1
    waits = leader("dask_gitops_queue_wait_seconds_count", kind="DaskCluster")
    failing = leader("dask_gitops_queue_failing")
    proxy.place(kubectl.namespace, Always("create pods", 1, "reset before"))
    kubectl.apply(cluster(replicas=1))
    leader.grows("dask_gitops_queue_wait_seconds_count", waits, kind="DaskCluster")
    leader.grows("dask_gitops_queue_failing", failing)
    proxy.disarm(kubectl.namespace)
    ready(kubectl)
    eventually("nothing fails", lambda: leader("dask_gitops_queue_failing") <= failing)
    eventually("nothing runs", lambda: leader("dask_gitops_queue_running") == 0)
    assert leader("dask_gitops_queue_longest_run_seconds") == 0


def test_leader_and_queue_of_a_standby(
    leader: Measured, kubectl: Kubectl, controller: ControllerProcess, tmp_path: Path
) -> None:
    """It knows what is there and may not act: all waits in its queue, until the leader goes."""
    kubectl.apply(cluster(replicas=1))
    ready(kubectl)
    assert leader("dask_gitops_leader") == 1
    eventually("the leader's queue is empty", lambda: leader("dask_gitops_queue_depth") == 0)
    assert leader("dask_gitops_queue_oldest_seconds") == 0
    standby = Measured(controller.kubeconfig, tmp_path / "log", controller.env)
    try:
        standby.grows("dask_gitops_queue_depth", 1)
        standby.grows("dask_gitops_queue_oldest_seconds", 1)
        waiting = standby("dask_gitops_queue_depth")
        kubectl.apply(cluster("second", replicas=0))
        standby.grows("dask_gitops_queue_depth", waiting)
        assert standby("dask_gitops_leader") == 0
        assert standby("dask_gitops_reconciles_total") == 0
        leader.process.stop()
        eventually("it leads", lambda: standby("dask_gitops_leader") == 1, timeout=120)
        eventually("its queue is empty", lambda: standby("dask_gitops_queue_depth") == 0)
        assert standby("dask_gitops_queue_oldest_seconds") == 0
        standby.grows("dask_gitops_reconciles_total", 0)
    finally:
        standby.process.stop()
        leader.process.start()


def test_no_series_is_left_out() -> None:
    text = Path(__file__).read_text()
    for family in Metrics().registry.collect():
        assert f'"{family.name}' in text, family.name
