"""Pure: what facts mean, and what to do. Each check gives one finding."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from dask_gitops.cli.doctor import network
from dask_gitops.cli.doctor.amounts import amount, excess, memory_limit
from dask_gitops.cli.doctor.facts import JSON, NOBODY, Facts, Finding, Missing
from dask_gitops.client.display import mismatch
from dask_gitops.model.podspec import Container, PodSpec
from dask_gitops.resources import controlport, labels, names
from dask_gitops.resources.listening import of_scheduler
from dask_gitops.resources.observed import Meta, parse_time
from dask_gitops.status import listed
from dask_gitops.text import printable

#: The lowest Kubernetes that is served.
OLDEST = (1, 30)
#: A cluster of which nothing was said for so long is served by nobody.
SILENT_S = 30.0
#: Clocks that differ by more make times odd; by much more, tokens and certificates are refused.
ODD_S, REFUSED_S = 5.0, 60.0
WORDS = 300
_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
Check = Callable[[Facts], Finding]


def ok(check: str, says: str) -> Finding:
    return Finding(check, "ok", says)


def unknown(check: str, fact: Missing) -> Finding:
    return Finding(check, "not checked", fact.why)


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


def images(facts: Facts) -> Finding:
    if isinstance(facts.pods, Missing):
        return unknown("images", facts.pods)
    for pod in facts.pods:
        status = pod.get("status") or {}
        every = [
            *(status.get("initContainerStatuses") or ()),
            *(status.get("containerStatuses") or ()),
        ]
        for each in every:
            waiting = (each.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _IMAGE:
                words = printable(str(waiting.get("message") or waiting["reason"]), WORDS)
                says = f"Pod {pod['metadata']['name']}: {each.get('image')}: {words}"
                do = "mend the image's name, its tag, or imagePullSecrets"
                return Finding("images", "failure", says, do)
    if not facts.pods:
        return unknown("images", Missing("there are no Pods"))
    return ok("images", "all are there, or on their way")


def service(facts: Facts) -> Finding:
    if isinstance(facts.services, Missing):
        return unknown("service", facts.services)
    there = {each["metadata"]["name"]: each for each in facts.services}
    for pod, _ in _schedulers(facts):
        marks = pod["metadata"].get("labels") or {}
        name = names.scheduler_name(marks.get(labels.CLUSTER, ""))
        found = there.get(name)
        if found is None:
            do = "look whether the controller may create Services (its log, and kubectl get events)"
            return Finding("service", "failure", f"there is no Service {name}", do)
        selector = (found.get("spec") or {}).get("selector") or {}
        if any(marks.get(key) != value for key, value in selector.items()):
            do = "leave spec.scheduler.service.selector out"
            return Finding(
                "service", "failure", f"Service {name} selects no scheduler: {selector}", do
            )
        balancer = (found.get("status") or {}).get("loadBalancer") or {}
        if (found.get("spec") or {}).get("type") == "LoadBalancer" and not balancer.get("ingress"):
            do = "wait, or look at the Service's Events; clusters without load balancers need another type"
            return Finding("service", "warning", f"Service {name} has no address yet", do)
    if isinstance(facts.dns, str) and facts.dns:
        return Finding("service", "failure", f"its name has no address here: {facts.dns}", "look at the cluster's DNS (kubectl -n kube-system get pods)")  # fmt: skip
    if not _schedulers(facts):
        return unknown("service", Missing("there is no scheduler"))
    told = "" if isinstance(facts.dns, str) else f" ({facts.dns.why})"
    return ok("service", f"it is there, and leads to the scheduler{told}")


def network_policies(facts: Facts) -> Finding:
    check = "network policies"
    if isinstance(facts.policies, Missing):
        return unknown(check, facts.policies)
    for pod, main in _schedulers(facts):
        marks = pod["metadata"].get("labels") or {}
        of_it = network.of_pod(facts.policies, marks)
        if not of_it:
            continue
        told = listed(each["metadata"]["name"] for each in of_it)
        worker = next((m for m in _worker_marks(facts, marks.get(labels.CLUSTER))), None)
        if worker is None:
            worker = {
                labels.CLUSTER: marks.get(labels.CLUSTER, ""),
                labels.COMPONENT: labels.WORKER,
            }
        found = of_scheduler(main)
        comm, http = found.comm, found.http
        if not network.lets_in(of_it, comm, "tcp-comm", worker, facts.namespace):
            says = f"{told}: no worker gets to port {comm} of {pod['metadata']['name']}"
            do = f"let Pods with {labels.CLUSTER} in at {comm} and {http}, and the controller at its port {controlport.PORT_NAME}"
            return Finding(check, "failure", says, do)
        own = controlport.declared(main)
        if own is not None and not network.lets_in_others(
            of_it, own, controlport.PORT_NAME, worker, facts.namespace
        ):
            says = f"{told}: only the cluster's own Pods get to port {own} of {pod['metadata']['name']}, if any"
            do = f"let the controller in at port {own}, called {controlport.PORT_NAME}: it asks there"
            return Finding(check, "warning", says, do)
        closed = [
            p
            for p, n in ((comm, "tcp-comm"), (http, "http-dashboard"))
            if not network.lets_in(of_it, p, n, None, facts.namespace)
        ]
        if closed:
            says = f"{told}: of clients, only some get to port {listed(map(str, closed))} of {pod['metadata']['name']}"
            do = "let in whoever connects, the controller too; forwarded ports pass all the same"
            return Finding(check, "warning", says, do)
    if not _schedulers(facts):
        return unknown(check, Missing("there is no scheduler"))
    return ok(check, "none cuts clients off")


def versions(facts: Facts) -> Finding:
    if isinstance(facts.versions, Missing):
        return unknown("versions", facts.versions)
    found = facts.versions
    words = mismatch(found.here, found.scheduler)
    if words:
        return Finding("versions", "warning", words.partition(": tasks")[0], "tasks and results may not be understood; install what the scheduler runs, or use a fitting image")  # fmt: skip
    for name, theirs in found.workers.items():
        if mismatch(found.scheduler, theirs):
            says = f"worker {printable(name, 60)} runs Dask {theirs[0]}, Python {theirs[1]}; the scheduler {found.scheduler[0]}, {found.scheduler[1]}"
            return Finding("versions", "failure", says, "use one image for scheduler and workers")
    return ok(
        "versions", f"Dask {found.scheduler[0]} everywhere, with {len(found.workers)} workers"
    )


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


def memory(facts: Facts) -> Finding:
    if isinstance(facts.pods, Missing):
        return unknown("memory", facts.pods)
    workers = list(_mains(facts, labels.WORKER))
    for pod, main in workers:
        if words := excess(main):
            says = f"Pod {pod['metadata']['name']}: {words}"
            do = "leave --memory-limit out: it follows the container's limit"
            return Finding("memory", "failure", says, do)
    for pod, main in workers:
        if memory_limit(main) is None:
            says = f"Pod {pod['metadata']['name']} has no memory limit: its worker takes all of the node's for its own"
            return Finding("memory", "warning", says, "set resources.limits.memory of the workers")
    if not workers:
        return unknown("memory", Missing("there are no workers"))
    return ok("memory", "workers keep within their containers' limits")


def port_forward(facts: Facts) -> Finding:
    check = "port-forward"
    if isinstance(facts.reach, Missing):
        return unknown(check, facts.reach)
    if facts.reach:
        do = "look what the scheduler says (dask-gitops logs --scheduler)"
        if "may not" in facts.reach:
            do = "ask for the right to pods/portforward, or work in a Pod there"
        return Finding(check, "failure", facts.reach, do)
    return ok(check, "it leads to the scheduler")


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
    for pod, main in _schedulers(facts):
        if "tls" in str(main.fields.get("args") or main.fields.get("command") or ""):
            says = f"the scheduler {pod['metadata']['name']} wants TLS"
            return Finding("tls", "warning", says, "clients need security= with its certificates")
    return ok("tls", f"the certificate of {facts.server} is good")


def _mains(facts: Facts, component: str) -> Iterator[tuple[JSON, Container]]:
    """Pods with the container in which Dask runs."""
    for pod in () if isinstance(facts.pods, Missing) else facts.pods:
        if (pod["metadata"].get("labels") or {}).get(labels.COMPONENT) != component:
            continue
        if Meta.of(pod).deleting is not None:
            continue
        main = PodSpec.trusted(pod.get("spec") or {}).main(component)
        yield pod, main or Container({})


def _schedulers(facts: Facts) -> list[tuple[JSON, Container]]:
    return list(_mains(facts, labels.SCHEDULER))


def _worker_marks(facts: Facts, cluster: str | None) -> Iterator[dict[str, str]]:
    for pod, _ in _mains(facts, labels.WORKER):
        marks = pod["metadata"].get("labels") or {}
        if marks.get(labels.CLUSTER) == cluster:
            yield marks


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
