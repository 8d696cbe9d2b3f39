"""Pure: what is found of Pods, Services and the way to a scheduler; see `checks`."""

from __future__ import annotations

from collections.abc import Iterator

from dask_gitops.cli.doctor import network
from dask_gitops.cli.doctor.amounts import excess, memory_limit
from dask_gitops.cli.doctor.facts import JSON, Facts, Finding, Missing, ok, unknown
from dask_gitops.client.display import mismatch
from dask_gitops.model.podspec import Container, PodSpec
from dask_gitops.resources import controlport, labels, names
from dask_gitops.resources.listening import of_scheduler
from dask_gitops.resources.observed import Meta
from dask_gitops.status import listed
from dask_gitops.text import printable

WORDS = 300
_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


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
    for pod, _ in schedulers(facts):
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
    if not schedulers(facts):
        return unknown("service", Missing("there is no scheduler"))
    told = "" if isinstance(facts.dns, str) else f" ({facts.dns.why})"
    return ok("service", f"it is there, and leads to the scheduler{told}")


def network_policies(facts: Facts) -> Finding:
    check = "network policies"
    if isinstance(facts.policies, Missing):
        return unknown(check, facts.policies)
    for pod, main in schedulers(facts):
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
    if not schedulers(facts):
        return unknown(check, Missing("there is no scheduler"))
    return ok(check, "none cuts clients off")


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


# ---- whose they are


def _mains(facts: Facts, component: str) -> Iterator[tuple[JSON, Container]]:
    """Pods with the container in which Dask runs."""
    for pod in () if isinstance(facts.pods, Missing) else facts.pods:
        if (pod["metadata"].get("labels") or {}).get(labels.COMPONENT) != component:
            continue
        if Meta.of(pod).deleting is not None:
            continue
        main = PodSpec.trusted(pod.get("spec") or {}).main(component)
        yield pod, main or Container({})


def schedulers(facts: Facts) -> list[tuple[JSON, Container]]:
    return list(_mains(facts, labels.SCHEDULER))


def _worker_marks(facts: Facts, cluster: str | None) -> Iterator[dict[str, str]]:
    for pod, _ in _mains(facts, labels.WORKER):
        marks = pod["metadata"].get("labels") or {}
        if marks.get(labels.CLUSTER) == cluster:
            yield marks
