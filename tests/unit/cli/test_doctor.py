"""``doctor``: each check, and each of its failures."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from dask_gitops.cli import shell
from dask_gitops.cli.doctor import checks, gather
from dask_gitops.cli.doctor.amounts import amount, excess
from dask_gitops.cli.doctor.facts import Facts, Missing, Versions
from dask_gitops.cli.options import Where
from dask_gitops.cli.published import ours
from dask_gitops.client.errors import NoKubernetesError
from dask_gitops.kube import (
    DASKCLUSTERS,
    DEPLOYMENTS,
    PODS,
    SELF_SUBJECT_REVIEWS,
    SERVICES,
    ApiError,
)
from dask_gitops.model.podspec import Container

from tests.unit.cli.conftest import ACCESS, JSON, Client, Typed, section
from tests.unit.cli.test_reach import Forwarding
from tests.unit.client.test_session import running
from tests.unit.kube.test_portforward import Kubelet

MARKS = {"dask.org/cluster-name": "demo"}


def pod(component: str, main: JSON | None = None, **more: Any) -> JSON:
    marks = {**MARKS, "dask.org/component": component}
    meta = {"name": f"demo-{component}", "namespace": "team-b", "uid": "u", "labels": marks}
    limits = {"resources": {"limits": {"memory": "4Gi"}}}
    container = {"name": component, **limits, **(main or {})}
    return {"metadata": meta, "spec": {"containers": [container]}, "status": {}, **more}


def service(**spec: Any) -> JSON:
    selector = {**MARKS, "dask.org/component": "scheduler"}
    return {"metadata": {"name": "demo-scheduler"}, "spec": {"selector": selector, **spec}}


def deployment(name: str = "dask", namespaces: str = "", ready: int = 1) -> JSON:
    env = [{"name": "DASK_GITOPS_NAMESPACES", "value": namespaces}]
    spec = {"template": {"spec": {"containers": [{"env": env}]}}}
    meta = {"name": name, "namespace": "dask-system"}
    return {"metadata": meta, "spec": spec, "status": {"availableReplicas": ready}}


def cluster(*conditions: str, age: float = 100.0, **metadata: Any) -> JSON:
    told = [{"type": kind} for kind in conditions]
    meta = {"name": "demo", "creationTimestamp": "2030-01-01T00:00:00Z", **metadata}
    assert age == 100.0
    return {"metadata": meta, "status": {"conditions": told}}


def policy(**spec: Any) -> JSON:
    return {"metadata": {"name": "p"}, "spec": {"podSelector": {}, **spec}}


FINE = Facts(
    namespace="team-b",
    name="demo",
    now=1893456100.0,  # 100 s after 2030 began
    server="https://10.0.0.1:6443",
    who="ann",
    version="v1.35.2",
    skew=1.0,
    lacking=[],
    controllers=[deployment()],
    operators=[],
    clusters=[cluster("Ready")],
    groups=[],
    pods=[pod("scheduler"), pod("worker")],
    services=[service()],
    quotas=[],
    policies=[],
    rights={"list pods": True},
    dns="",
    reach="",
    versions=Versions(
        ("2026.8.0", "3.12.1"), ("2026.8.0", "3.12.9"), {"w": ("2026.8.0", "3.12.9")}
    ),
)
NO_ONE = Missing("we may not list Deployments of all namespaces")


def found(check: str, **facts: Any) -> tuple[str, str, str]:
    (finding,) = [one for one in checks.findings(replace(FINE, **facts)) if one.check == check]
    return finding.verdict, finding.says, finding.do


def test_all_is_well() -> None:
    findings = checks.findings(FINE)
    assert len(findings) == 15
    assert {one.verdict for one in findings} == {"ok"}, [f for f in findings if f.verdict != "ok"]
    told = {one.check for one in findings}
    assert all(f"| `{check}` |" in section("doctor") for check in told)


def test_without_a_way_nothing_else_is_judged() -> None:
    findings = checks.findings(Facts("team-b", who=Missing("no way to Kubernetes: ...")))
    assert [one.verdict for one in findings] == ["failure", *["not checked"] * 14]


def waiting(reason: str) -> JSON:
    state = {"waiting": {"reason": reason, "message": "no such image"}}
    return {"containerStatuses": [{"image": "x:1", "state": state}]}


ANY, CLOSED = [{}], {"policyTypes": ["Ingress"], "ingress": []}
OF_CLUSTER = {"from": [{"podSelector": {"matchLabels": MARKS}}]}
OTHERS = {"from": [{"namespaceSelector": {"matchLabels": {"name": "dask-gitops"}}}]}
OWN_PORT = pod("scheduler", {"env": [{"name": "SCHEDULER_CONTROL_PORT", "value": "8790"}]})
QUOTA = {"metadata": {"name": "q"}, "status": {"hard": {"pods": "4"}, "used": {"pods": "4"}}}
GROUP = {"spec": {"worker": {"replicas": 5}}, "status": {"readyReplicas": 3}}


@pytest.mark.parametrize(
    ("check", "facts", "verdict", "says"),
    [
        ("kubeconfig", {"who": Missing("exec plugin aws: not found")}, "failure", "exec plugin aws"),
        ("tls", {"who": Missing("certificate verify failed")}, "failure", "certificate verify"),
        ("tls", {"is_verified": False}, "warning", "is not looked at"),
        ("tls", {"server": "http://x"}, "warning", "http://x is not encrypted"),
        (
            "tls",
            {"pods": [pod("scheduler", {"args": ["dask-scheduler", "--protocol", "tls"]})]},
            "warning",
            "demo-scheduler wants TLS",
        ),
        ("clock", {"skew": -20.0}, "warning", "20 s behind"),
        ("clock", {"skew": 400.0}, "failure", "400 s ahead"),
        ("clock", {"skew": Missing("no time")}, "not checked", "no time"),
        ("server", {"version": "v1.29.4"}, "failure", "v1.29.4 is older than 1.30"),
        ("server", {"version": "v1.100.0+k3s1"}, "ok", "v1.100.0"),
        ("definitions", {"lacking": ["DaskCluster"]}, "failure", "does not know DaskCluster"),
        ("definitions", {"lacking": ["DaskCluster spec.x"]}, "failure", "no DaskCluster spec.x"),
        ("definitions", {"lacking": Missing("403")}, "not checked", "403"),
        ("controller", {"controllers": [deployment(ready=0)]}, "failure", "no Pod that is ready"),
        ("controller", {"controllers": [deployment(namespaces="a,b")]}, "failure", "none of 1"),
        ("controller", {"controllers": [deployment(namespaces="a,team-b")]}, "ok", "serves team-b"),
        ("controller", {"clusters": [cluster()]}, "failure", "nobody acts on DaskCluster demo"),
        (
            "controller",
            {"controllers": NO_ONE, "clusters": [cluster()]},
            "failure",
            "nobody acts on DaskCluster demo, made 100 s ago",
        ),
        ("controller", {"controllers": NO_ONE}, "ok", "somebody acts"),
        ("controller", {"controllers": NO_ONE, "clusters": []}, "not checked", "may not list"),
        ("controller", {"controllers": [], "clusters": []}, "failure", "there is no controller"),
        ("one operator", {"operators": ["x/dask"]}, "failure", "another operator runs: x/dask"),
        (
            "one operator",
            {"controllers": [deployment("a"), deployment("b", "team-b"), deployment("c", "x")]},
            "failure",
            "dask-system/a, dask-system/b",
        ),
        (
            "one operator",
            {"clusters": [cluster("Ready", annotations={"kopf.zalando.org/x": ""})], "operators": NO_ONE},
            "failure",
            "its mark on DaskCluster demo",
        ),
        (
            "one operator",
            {"clusters": [cluster("Ready", finalizers=["kopf.zalando.org/x"])]},
            "warning",
            "its mark on DaskCluster demo",
        ),
        ("one operator", {"operators": NO_ONE}, "not checked", "may not list"),
        ("rights", {"rights": {"list pods": True, "get pods/log": False}}, "failure", "get pods/log"),
        ("quota", {"quotas": [QUOTA]}, "warning", "nothing is left of q: pods 4"),
        ("quota", {"quotas": [QUOTA], "groups": [GROUP]}, "failure", "2 workers are missing"),
        ("images", {"pods": [pod("worker", status=waiting("ErrImagePull"))]}, "failure", "x:1: no such"),
        ("images", {"pods": []}, "not checked", "no Pods"),
        ("service", {"services": []}, "failure", "no Service demo-scheduler"),
        ("service", {"services": [service(selector={"a": "b"})]}, "failure", "selects no scheduler"),
        ("service", {"services": [service(type="LoadBalancer")]}, "warning", "no address yet"),
        ("service", {"dns": "x.svc: Name or service not known"}, "failure", "Name or service not"),
        ("service", {"pods": []}, "not checked", "no scheduler"),
        ("network policies", {"policies": [policy(**CLOSED)]}, "failure", "no worker gets to port 8786"),
        ("network policies", {"policies": [policy(ingress=ANY)]}, "ok", "none cuts"),
        (
            "network policies",
            {"policies": [policy(ingress=[OF_CLUSTER])]},
            "warning",
            "only some get to port 8786, 8787",
        ),
        (
            "network policies",
            {"policies": [policy(ingress=[OF_CLUSTER, {"ports": [{"port": 8786}]}])]},
            "warning",
            "port 8787",
        ),
        *(
            (
                "network policies",
                {"policies": [policy(ingress=[OF_CLUSTER, *more])], "pods": [OWN_PORT]},
                "warning",
                says,
            )
            for more, says in (
                ([], "only the cluster's own Pods get to port 8790"),
                ([{"ports": [{"port": 8786}, {"port": 8787}]}], "own Pods get to port 8790"),
                ([{**OTHERS, "ports": [{"port": "control"}]}], "only some get to port 8786, 8787"),
                ([{**OTHERS, "ports": [{"port": 8790}]}], "only some get to port 8786, 8787"),
            )
        ),
        (
            "network policies",
            {"policies": [policy(ingress=[{"ports": [{"port": 8786}, {"port": 8787}, {"port": "control"}]}])],
             "pods": [OWN_PORT]},
            "ok",
            "none cuts",
        ),
        ("network policies", {"policies": [policy(policyTypes=["Egress"])]}, "ok", "none cuts"),
        (
            "network policies",
            {"policies": [policy(podSelector={"matchLabels": {"a": "b"}}, **CLOSED)]},
            "ok",
            "none cuts",
        ),
        ("port-forward", {"reach": "not within 20 s"}, "failure", "not within 20 s"),
        ("port-forward", {"reach": "user 'ann' may not get"}, "failure", "may not get"),
        ("port-forward", {"reach": Missing("name a cluster")}, "not checked", "name a cluster"),
        (
            "versions",
            {"versions": Versions(("2026.8.0", "3.12"), ("2025.1.0", "3.12"))},
            "warning",
            "the scheduler runs Dask 2025.1.0, this process 2026.8.0",
        ),
        (
            "versions",
            {"versions": Versions(("2", "3.12"), ("2", "3.12"), {"w": ("3", "3.12")})},
            "failure",
            "worker w runs Dask 3",
        ),
        (
            "memory",
            {"pods": [pod("worker", {"args": ["dask-worker", "--memory-limit", "6GB"]})]},
            "failure",
            "--memory-limit 6GB in a container of 4 GiB",
        ),
        ("memory", {"pods": [pod("worker", {"resources": {}})]}, "warning", "has no memory limit"),
    ],
)  # fmt: skip
def test_a_finding(check: str, facts: Any, verdict: str, says: str) -> None:
    assert found(check)[0] == "ok"
    told = found(check, **facts)
    assert told[0] == verdict
    assert says in told[1]
    assert bool(told[2]) is (verdict in ("failure", "warning")) or "its mark" in says


@pytest.mark.parametrize(
    ("peer", "lets_in"),
    [
        ({"podSelector": {}}, True),
        ({"podSelector": {"matchLabels": {"dask.org/component": "worker"}}}, True),
        ({"podSelector": {"matchLabels": {"app": "x"}}}, False),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "team-b"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "x"}}}, False),
        ({"ipBlock": {"cidr": "0.0.0.0/0"}}, True),
        ({"ipBlock": {"cidr": "192.168.0.0/16"}}, False),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}},
            True,
        ),
        (
            {
                "podSelector": {
                    "matchExpressions": [
                        {"key": "dask.org/cluster-name", "operator": "NotIn", "values": ["demo"]}
                    ]
                }
            },
            False,
        ),
    ],
)
def test_whom_a_policy_lets_in(peer: JSON, lets_in: bool) -> None:
    verdict, *_ = found("network policies", policies=[policy(ingress=[{"from": [peer]}])])
    assert (verdict != "failure") is lets_in


@pytest.mark.parametrize(
    ("port", "lets_in"),
    [
        ({"port": 8786}, True),
        ({"port": "tcp-comm"}, True),
        ({"port": 8000, "endPort": 9000}, True),
        ({"protocol": "TCP"}, True),
        ({"port": 80}, False),
        ({"port": 8786, "protocol": "UDP"}, False),
    ],
)
def test_at_which_ports(port: JSON, lets_in: bool) -> None:
    verdict, *_ = found("network policies", policies=[policy(ingress=[{"ports": [port]}])])
    assert (verdict != "failure") is lets_in


@pytest.mark.parametrize(
    ("words", "limit", "says"),
    [
        ("--memory-limit 4GiB", "4Gi", ""),
        ("--memory-limit=5GiB", "4Gi", "--memory-limit 5GiB in a container of 4 GiB: it is killed before they spill"),
        ("--memory-limit 3GiB --nworkers 2", "4Gi", "2 workers with --memory-limit 3GiB in a container of 4 GiB: it is killed before they spill"),
        ("--memory-limit 0.8", "4Gi", ""),
        ("--memory-limit 0", "4Gi", ""),
        ("--memory-limit auto", "4Gi", ""),
        ("--memory-limit", "4Gi", ""),
        ("--memory-limit 9GB", None, ""),
        ("--nworkers 4", "4Gi", ""),
        ("--nworkers x --memory-limit 512MiB", "256Mi", "--memory-limit 512MiB in a container of 256 MiB: it is killed before they spill"),
    ],
)  # fmt: skip
def test_what_workers_take(words: str, limit: str | None, says: str) -> None:
    limits = {} if limit is None else {"memory": limit}
    fields = {"args": ["dask-worker", *words.split()], "resources": {"limits": limits}}
    assert excess(Container(fields)) == says


@pytest.mark.parametrize(
    ("text", "number"),
    [("4Gi", 4 * 2.0**30), ("1500m", 1.5), ("2", 2.0), ("1e3", 1000.0), ("1.5G", 1.5e9), ("x", None), ("", None)],
)  # fmt: skip
def test_a_quantity(text: str, number: float | None) -> None:
    assert amount(text) == number


def schemas(**more: Any) -> dict[str, JSON]:
    """What a server gives, of the definitions of this version."""
    group = "kubernetes.dask.org"
    return {
        f"org.dask.kubernetes.v1.{kind}": {
            **schema,
            "x-kubernetes-group-version-kind": [{"group": group, "kind": kind, "version": "v1"}],
        }
        for kind, schema in {**ours(), **more}.items()
    }


def test_what_definitions_lack() -> None:
    assert gather.lacking(schemas()) == []
    assert gather.lacking({}) == ["DaskCluster"]
    old: JSON = {"properties": {"spec": {"properties": {"idleTimeout": {}}}}}
    told = gather.lacking(schemas(DaskCluster=old))
    assert "DaskCluster spec.suspend" in told
    assert "DaskCluster spec.idleTimeout" not in told
    assert not any(each.startswith("DaskWorkerGroup") for each in told)


class Server(Client):
    """Answers the doctor's questions."""

    def __init__(self, typed: Typed) -> None:
        super().__init__(typed.api, "us")
        self.refused: set[str] = set()
        self.user: ApiError | JSON = {"userInfo": {"username": "ann"}}

    async def review(self, res: Any, spec: JSON | None = None) -> JSON:
        if res == SELF_SUBJECT_REVIEWS:
            if isinstance(self.user, ApiError):
                raise self.user
            return self.user
        assert spec is not None
        return {"allowed": spec["resourceAttributes"]["resource"] not in self.refused}

    async def about(self, path: str) -> tuple[JSON, float | None]:
        if path == "/version":
            return {"gitVersion": "v1.35.2"}, None
        return {"components": {"schemas": schemas()}}, None


@pytest.fixture
def server(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server(typed)
    monkeypatch.setattr(shell, "connect", lambda credentials: found)
    return found


def verdicts(document: JSON) -> dict[str, str]:
    return {each["check"]: each["verdict"] for each in document["checks"]}


def test_a_namespace(typed: Typed, server: Server) -> None:
    typed.cluster("demo", ("Ready", "True", "fine"))
    typed.put(DEPLOYMENTS, "dask", **{**deployment(), "metadata": {"namespace": "dask-system", "labels": {"app.kubernetes.io/name": "dask-gitops", "app.kubernetes.io/component": "controller"}}})  # fmt: skip
    typed.put(PODS, "demo-scheduler", metadata=pod("scheduler")["metadata"] | {"name": "demo-scheduler"}, spec=pod("scheduler")["spec"], status={})  # fmt: skip
    typed.put(SERVICES, "demo-scheduler", metadata={"labels": MARKS}, spec=service()["spec"])
    document = typed.document("doctor")
    assert (document["namespace"], document["name"]) == ("team-b", None)
    told = verdicts(document)
    missing = {"clock", "port-forward", "versions", "memory"}
    assert {check for check, verdict in told.items() if verdict == "not checked"} == missing
    assert {
        check for check, verdict in told.items() if verdict not in ("ok", "not checked")
    } == set()
    lines = typed.done("doctor").splitlines()
    assert lines[-1] == "11 ok, 4 not checked"
    server.refused = {"pods"}
    result = typed("doctor")
    assert result.exit_code == 3
    assert "we may not list pods, watch pods" in result.stdout
    assert "-> ask for the role 'edit' in namespace team-b" in result.stdout


def test_a_cluster_whose_scheduler_is_not_there(typed: Typed, server: Server) -> None:
    typed.cluster("demo", ("Ready", "True", "fine"))
    result = typed("doctor", "demo")
    assert result.exit_code == 3
    assert "not within 20 s: " in result.stdout
    told = typed.refused(1, "doctor", "gone")
    assert told == "error: no DaskCluster 'gone' in 'team-b'; there are: demo"


def test_who_is_not_known(typed: Typed, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.user = ApiError(401, "Unauthorized", "Unauthorized")
    result = typed("doctor")
    assert result.exit_code == 3
    words = "https://10.0.0.1:6443 (config) does not accept who we say we are: Unauthorized"
    assert words in result.stdout
    assert result.stdout.splitlines()[-1] == "1 failure, 14 not checked"

    def nowhere(file: Any, context: Any) -> Any:
        raise NoKubernetesError("no way to Kubernetes: Set KUBECONFIG, or pass kubeconfig=")

    monkeypatch.setattr(shell, "access", nowhere)
    result = typed("doctor")
    assert (result.exit_code, result.stderr) == (3, "")
    assert "or pass --kubeconfig" in result.stdout


def test_a_fact_that_may_not_be_known_stops_no_other(typed: Typed, server: Server) -> None:
    message = (
        'x: User "ann" cannot list resource "deployments" in API group "apps" at the cluster scope'
    )
    typed.api.fault("list", DEPLOYMENTS, error=ApiError(403, "Forbidden", message), times=None)
    typed.cluster("demo", ("Ready", "True", "fine"))
    document = typed.document("doctor")
    told = verdicts(document)
    assert (told["controller"], told["one operator"]) == ("ok", "not checked")
    says = {each["check"]: each["says"] for each in document["checks"]}
    assert says["one operator"] == "we may not list Deployments of all namespaces"
    assert told["rights"] == "ok"


def test_why_a_port_leads_nowhere(
    typed: Typed, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kubelet said, not that time was up."""

    class Refusing(Kubelet):
        async def handle(self, request: web.Request) -> web.StreamResponse:
            status = {"kind": "Status", "code": 400, "message": "no route to the node"}
            return web.json_response(status, status=400)

    monkeypatch.setattr(gather, "REACH_S", 2.0)
    typed.put(DASKCLUSTERS, "demo")
    running(typed.api)
    kubelet, forwarding = Refusing(), Forwarding(typed)
    monkeypatch.setattr(shell, "connect", lambda credentials: forwarding)

    async def main() -> None:
        async with kubelet.client() as forwarding.real:
            _, reach, versions = await gather._scheduler(Where(), "demo", "team-b", ACCESS)
        assert isinstance(reach, str)
        assert reach.startswith("not within 2 s: ")
        assert "no route to the node" in reach
        assert isinstance(versions, Missing)

    asyncio.run(main())


@pytest.mark.parametrize("inside", [True, False])
def test_in_a_pod_nothing_is_forwarded(
    typed: Typed, server: Server, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    there = replace(ACCESS, inside=inside)
    monkeypatch.setattr(shell, "access", lambda file, context: there)
    asked: list[JSON] = []

    async def review(res: Any, spec: JSON | None = None) -> JSON:
        asked.append((spec or {}).get("resourceAttributes") or {})
        return {"allowed": True, "userInfo": {"username": "ann"}}

    monkeypatch.setattr(server, "review", review)
    typed("doctor")
    assert any(each.get("subresource") == "portforward" for each in asked) is not inside


def test_versions_of_real_processes() -> None:
    from distributed import Scheduler, Worker

    async def main() -> None:
        async with (
            Scheduler(host="127.0.0.1", port=0, dashboard_address=":0") as scheduler,
            Worker(scheduler.address, host="127.0.0.1", dashboard_address=":0") as worker,
        ):
            found = await gather._versions(scheduler.address)
            assert isinstance(found, Versions)
            assert found.here == found.scheduler == found.workers[worker.address]
        assert isinstance(await gather._versions("tcp://127.0.0.1:1"), Missing)

    asyncio.run(main())
