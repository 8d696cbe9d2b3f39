"""Pure: what facts mean, and what to do. Each check gives one finding."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from dask_gitops.cli.doctor.amounts import amount
from dask_gitops.cli.doctor.facts import JSON, NOBODY, Facts, Finding, Missing, ok, unknown
from dask_gitops.cli.doctor.workload import (
    images,
    memory,
    network_policies,
    port_forward,
    schedulers,
    service,
    versions,
)
from dask_gitops.resources.observed import parse_time
from dask_gitops.status import listed

#: The lowest Kubernetes that is served.
OLDEST = (1, 30)
#: A cluster of which nothing was said for so long is served by nobody.
SILENT_S = 30.0
#: Clocks that differ by more make times odd; by much more, tokens and certificates are refused.
ODD_S, REFUSED_S = 5.0, 60.0
Check = Callable[[Facts], Finding]


def kubeconfig(facts: Facts) -> Finding:
    if isinstance(facts.who, Missing):
        do = "mend the kubeconfig or its login, or name another with --kubeconfig, --context"
        return Finding("kubeconfig", "failure", facts.who.why, do)
    return ok("kubeconfig", f"{facts.server} knows us as {facts.who}")


def server(facts: Facts) -> Finding:
    if isinstance(facts.version, Missing):
        return unknown("server", facts.version)
    match = re.match(r"v?(\d+)\.(\d+)", facts.version)
    if match is not None and (int(match[1]), int(match[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        says = f"Kubernetes {facts.version} is older than {oldest}"
        return Finding("server", "failure", says, "upgrade it; nothing older is tested")
    return ok("server", f"Kubernetes {facts.version}")


def definitions(facts: Facts) -> Finding:
    if isinstance(facts.lacking, Missing):
        return unknown("definitions", facts.lacking)
    if facts.lacking == ["DaskCluster"]:
        says = "this Kubernetes does not know DaskCluster"
        return Finding("definitions", "failure", says, "install the chart (helm install ...)")
    if facts.lacking:
        says = f"they are older than this version: no {listed(facts.lacking)}"
        do = "helm show crds ... | kubectl apply --server-side -f -"
        return Finding("definitions", "failure", says, do)
    return ok("definitions", "they have all that this version knows")


def controller(facts: Facts) -> Finding:
    """A Deployment that works, or an object that somebody has acted on."""
    silent = _silent(facts)
    deployments: Sequence[JSON] = (
        [] if isinstance(facts.controllers, Missing) else facts.controllers
    )
    for each in deployments:
        name = f"{each['metadata']['namespace']}/{each['metadata']['name']}"
        served = _served(each)
        if served and facts.namespace not in served:
            continue
        if not (each.get("status") or {}).get("availableReplicas"):
            do = f"kubectl describe deployment,pods -n {each['metadata']['namespace']}"
            return Finding("controller", "failure", f"{name} has no Pod that is ready", do)
        if silent:
            says = f"{name} runs, and nobody acts on {silent}"
            do = f"kubectl logs -n {each['metadata']['namespace']} deployment/{each['metadata']['name']}"
            return Finding("controller", "failure", says, do)
        return ok("controller", f"{name} serves {facts.namespace}")
    if silent:
        return Finding("controller", "failure", f"nobody acts on {silent}", "install the controller, or have it serve this namespace (watchNamespaces)")  # fmt: skip
    if deployments:
        says = f"none of {len(deployments)} controllers serves namespace {facts.namespace}"
        return Finding("controller", "failure", says, "add it to watchNamespaces")
    if isinstance(facts.clusters, Missing):
        return unknown("controller", facts.clusters)
    if facts.clusters:
        return ok("controller", f"somebody acts on the clusters of {facts.namespace}")
    if isinstance(facts.controllers, Missing):
        return unknown("controller", Missing(f"no cluster shows it, and {facts.controllers.why}"))
    return Finding("controller", "failure", "there is no controller here", "install the chart (helm install ...)")  # fmt: skip


def _silent(facts: Facts) -> str:
    """A cluster that nobody has acted on, in words; "": none."""
    clusters = [] if isinstance(facts.clusters, Missing) else facts.clusters
    for each in clusters:
        conditions = (each.get("status") or {}).get("conditions") or ()
        age = facts.now - (parse_time(each["metadata"].get("creationTimestamp")) or facts.now)
        if not any(one.get("type") == "Ready" for one in conditions) and age > SILENT_S:
            return f"DaskCluster {each['metadata']['name']}, made {age:.0f} s ago"
    return ""


def _served(deployment: JSON) -> set[str]:
    """Namespaces that a controller is told to serve; none: all."""
    pod = ((deployment.get("spec") or {}).get("template") or {}).get("spec") or {}
    for container in pod.get("containers") or ():
        for variable in container.get("env") or ():
            if variable.get("name") == "DASK_GITOPS_NAMESPACES":
                return {each for each in str(variable.get("value") or "").split(",") if each}
    return set()


def one_operator(facts: Facts) -> Finding:
    check = "one operator"
    do = "run one of the two: both act on the same objects"
    if not isinstance(facts.clusters, Missing):
        for each in facts.clusters:
            marks = [
                *(each["metadata"].get("annotations") or ()),
                *(each["metadata"].get("finalizers") or ()),
            ]
            if any(mark.startswith("kopf.zalando.org/") for mark in marks):
                says = (
                    f"another operator has left its mark on DaskCluster {each['metadata']['name']}"
                )
                alive = isinstance(facts.operators, Missing) or facts.operators
                return Finding(check, "failure" if alive else "warning", says, do if alive else "")
    if isinstance(facts.operators, Missing):
        return unknown(check, facts.operators)
    if facts.operators:
        return Finding(check, "failure", f"another operator runs: {listed(facts.operators)}", do)
    if not isinstance(facts.controllers, Missing):
        serving = [
            one for one in facts.controllers if not (s := _served(one)) or facts.namespace in s
        ]
        if len(serving) > 1:
            told = listed(f"{o['metadata']['namespace']}/{o['metadata']['name']}" for o in serving)
            return Finding(
                check, "failure", f"several controllers serve {facts.namespace}: {told}", do
            )
    return ok(check, "no other was found")


def rights(facts: Facts) -> Finding:
    if isinstance(facts.rights, Missing):
        return unknown("rights", facts.rights)
    refused = [what for what, may in facts.rights.items() if not may]
    if refused:
        do = f"ask for the role 'edit' in namespace {facts.namespace}"
        return Finding("rights", "failure", f"we may not {listed(refused, most=6)}", do)
    return ok("rights", f"all that the client does in {facts.namespace} is allowed")


def quota(facts: Facts) -> Finding:
    if isinstance(facts.quotas, Missing):
        return unknown("quota", facts.quotas)
    full = []
    for each in facts.quotas:
        status = each.get("status") or {}
        for what, most in (status.get("hard") or {}).items():
            used = amount((status.get("used") or {}).get(what))
            limit = amount(most)
            if limit is not None and used is not None and used >= limit and _is_of_pods(what):
                full.append(f"{each['metadata']['name']}: {what} {most}")
    if full:
        missing = _workers_missing(facts)
        says = f"nothing is left of {listed(full)}" + (
            f"; {missing} workers are missing" if missing else ""
        )
        return Finding(
            "quota",
            "failure" if missing else "warning",
            says,
            "scale something down, or ask for more",
        )
    return ok("quota", "room is left" if facts.quotas else "there is none")


def _is_of_pods(what: str) -> bool:
    parts = (
        "pods",
        "cpu",
        "memory",
        "requests.cpu",
        "requests.memory",
        "limits.cpu",
        "limits.memory",
    )
    return what in (*parts, "count/pods") or what.startswith("requests.nvidia.com/")


def _workers_missing(facts: Facts) -> int:
    groups = [] if isinstance(facts.groups, Missing) else facts.groups
    missing = 0
    for each in groups:
        wanted = ((each.get("spec") or {}).get("worker") or {}).get("replicas") or 0
        missing += max(0, wanted - ((each.get("status") or {}).get("readyReplicas") or 0))
    return missing


def clock(facts: Facts) -> Finding:
    if isinstance(facts.skew, Missing):
        return unknown("clock", facts.skew)
    skew = abs(facts.skew)
    if skew <= ODD_S:
        return ok("clock", "as the server's")
    says = f"the server's is {skew:.0f} s {'ahead' if facts.skew > 0 else 'behind'}"
    do = "synchronize this machine's clock (NTP)"
    if skew > REFUSED_S:
        return Finding("clock", "failure", f"{says}: logins and certificates may be refused", do)
    return Finding("clock", "warning", says, do)


def tls(facts: Facts) -> Finding:
    if isinstance(facts.who, Missing):
        if "certificate" in facts.who.why.lower():
            do = "put the right certificate-authority into the kubeconfig"
            return Finding("tls", "failure", facts.who.why, do)
        return unknown("tls", NOBODY)
    if facts.server.startswith("http://"):
        return Finding("tls", "warning", f"{facts.server} is not encrypted", "use https://")
    if not facts.is_verified:
        says = f"the certificate of {facts.server} is not looked at"
        return Finding("tls", "warning", says, "give its certificate-authority instead of insecure-skip-tls-verify")  # fmt: skip
    for pod, main in schedulers(facts):
        if "tls" in str(main.fields.get("args") or main.fields.get("command") or ""):
            says = f"the scheduler {pod['metadata']['name']} wants TLS"
            return Finding("tls", "warning", says, "clients need security= with its certificates")
    return ok("tls", f"the certificate of {facts.server} is good")


CHECKS: Sequence[Check] = (
    kubeconfig,
    tls,
    clock,
    server,
    definitions,
    controller,
    one_operator,
    rights,
    quota,
    images,
    service,
    network_policies,
    port_forward,
    versions,
    memory,
)


def findings(facts: Facts) -> list[Finding]:
    """What all checks find, in an order in which what fails first explains what fails later."""
    return [check(facts) for check in CHECKS]
