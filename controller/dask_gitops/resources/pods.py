"""Pure: what the scheduler Pod and the worker Pods of a cluster look like.

Whatever the user wrote stays; what is absent is filled in here, in memory, never in the user's object.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from dask_gitops.model.podspec import Container, PodSpec
from dask_gitops.resources import addresses, controlport, inject, labels, listening, names
from dask_gitops.resources.commands import modernised
from dask_gitops.resources.inject import ControlApi
from dask_gitops.resources.metadata import users_metadata, with_note
from dask_gitops.resources.observed import CustomResource
from dask_gitops.resources.revision import revision, without

JSON = dict[str, Any]

DRAIN_TIMEOUT_S = 300  # default of drainTimeout
PROGRESS_DEADLINE_S = 600  # default of progressDeadlineSeconds
_LEAST_START_S = 300  # a scheduler may take so long to start, also with a shorter deadline
_MOST_PERIODS = 2**31 - 1  # of a probe
_UNREACHABLE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_GRACE_ENV = "WORKER_GRACE_PERIOD_S"  # read by the hand-over in the worker, which assumes 30 s


def scheduler_pod(
    cluster: CustomResource,
    *,
    default_image: str,
    control: ControlApi,
    token: str,
    reserved: tuple[str, ...] = (),
) -> JSON:
    """The Pod ``<cluster>-scheduler``.

    :param default_image: used when neither the container nor ``spec.image`` names one.
    :param token: bearer token of the control API, new for each pod.
    :param reserved: further domains whose labels and annotations are not handed on.
    """
    declared = cluster.spec.get("scheduler") or {}
    read = PodSpec.of(declared.get("spec"))
    spec = pod_spec(read)
    spec.setdefault("restartPolicy", "Always")
    container = _main(read, spec, labels.SCHEDULER)
    container.setdefault("image", cluster.spec.get("image") or default_image)
    if not container.get("command") and not container.get("args"):
        container["args"] = ["dask", "scheduler"]
    at = listening.of_scheduler(Container(container))
    own = controlport.choose(read, Container(container), cluster.meta.uid)
    if not read.host_network:  # there, each would be a port of the node
        _add_port(container, "tcp-comm", at.comm)
        _add_port(container, "http-dashboard", at.http)
        known = {p.get("name") for p in container["ports"]}
        name = next(n for n in _names(controlport.PORT_NAME) if n not in known)
        _add_port(container, name, own)
    deadline = cluster.spec.get("progressDeadlineSeconds") or PROGRESS_DEADLINE_S
    _add_probes(container, own, deadline)
    inject.control_api(container, control, token, own)
    _writable_tmp(spec, container)
    return owned_pod(
        names.scheduler_name(cluster.meta.name),
        cluster,
        spec,
        ours=labels.cluster_selector(cluster.meta.name, labels.SCHEDULER),
        annotations={labels.REVISION: scheduler_revision(cluster), **_restarted_at(cluster)},
        users=scheduler_metadata(cluster, reserved),
        lasts=True,
    )


def scheduler_metadata(cluster: CustomResource, reserved: tuple[str, ...] = ()) -> JSON:
    """The user's labels and annotations for the scheduler's Pod and Service."""
    declared = cluster.spec.get("scheduler") or {}
    return users_metadata([cluster], declared.get("metadata"), reserved)


def worker_metadata(
    cluster: CustomResource, group: CustomResource, reserved: tuple[str, ...] = ()
) -> JSON:
    """The user's labels and annotations for the group's Pods."""
    declared = group.spec.get("worker") or {}
    return users_metadata([cluster, group], declared.get("metadata"), reserved)


def declared_image(spec: JSON | None, component: str, cluster: CustomResource) -> str | None:
    """The image that the user names for the main container of a Pod spec; None: whatever the default is."""
    main = PodSpec.of(spec).main(component)
    image: str | None = (main.image if main else None) or cluster.spec.get("image")
    return image


def worker_pod(
    cluster: CustomResource,
    group: CustomResource,
    serial: int,
    *,
    default_image: str,
    held_image: str | None = None,
    reserved: tuple[str, ...] = (),
    warning: str | None = None,
) -> JSON:
    """One worker Pod of ``group``, owned by the cluster.

    :param default_image: used when neither the container nor the cluster's ``spec.image`` names one; the running
        scheduler's image, so that versions never mix within a cluster.
    :param held_image: run this image instead of the declared one, until the scheduler changes too; the Pod then counts
        as one of an earlier spec.
    :param warning: what the API server warned of for this spec before, kept on the pod.
    """
    declared = group.spec.get("worker") or {}
    name = names.worker_name(group.meta.name, cluster.meta.uid, serial)
    read = PodSpec.of(declared.get("spec"))
    spec = pod_spec(read)
    # A retired worker exits 0 and must not come back while nobody looks.
    spec.setdefault("restartPolicy", "OnFailure")
    container = _main(read, spec, labels.WORKER)
    named = container.get("image") or cluster.spec.get("image")
    container["image"] = held_image or named or default_image
    if not container.get("command") and not container.get("args"):
        container["args"] = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)"]
        # On the host's network several workers share the ports of a node.
        number = 0 if read.host_network else names.WORKER_DASHBOARD_PORT
        container["args"] += ["--dashboard-address", f":{number}"]
    health = listening.health_of_worker(Container(container))
    if health:
        dashboard, path = health
        if not read.host_network:
            _add_port(container, "http-dashboard", dashboard)
        container.setdefault(
            "readinessProbe",
            {
                "httpGet": {"path": path, "port": dashboard},
                "periodSeconds": 2,
                "timeoutSeconds": 5,
                "failureThreshold": 15,
            },
        )
    address = addresses.scheduler_address(cluster.meta.name, cluster.meta.namespace, cluster.spec)
    for each in spec["containers"]:  # a sidecar may want to talk to the scheduler, too
        add_env(each, "DASK_WORKER_NAME", name)
        add_env(each, "DASK_SCHEDULER_ADDRESS", address)
    if declared.get("resources"):
        resources = {key: float(value) for key, value in declared["resources"].items()}
        add_env(container, "DASK_DISTRIBUTED__WORKER__RESOURCES", repr(resources))
    if "terminationGracePeriodSeconds" in spec:
        add_env(container, _GRACE_ENV, str(spec["terminationGracePeriodSeconds"]))
    _writable_tmp(spec, container)
    current = worker_revision(cluster, group)
    annotations = {labels.REVISION: f"{current}-held" if held_image else current}
    annotations |= _restarted_at(cluster)
    if not named:
        annotations[labels.SCHEDULER_IMAGE] = container["image"]
    if warning:
        annotations[labels.SPEC_WARNING] = warning
    return owned_pod(
        name,
        cluster,
        spec,
        ours={
            **labels.group_selector(cluster.meta.name, group.meta.name),
            labels.SERIAL: str(serial),
        },
        annotations=annotations,
        users=worker_metadata(cluster, group, reserved),
    )


def scheduler_revision(cluster: CustomResource) -> str:
    """Revision of what the user says about the scheduler Pod (not its metadata)."""
    declared = cluster.spec.get("scheduler") or {}
    return revision("scheduler", declared.get("spec"), cluster.spec.get("image"))


def worker_revision(cluster: CustomResource, group: CustomResource) -> str:
    """Revision of what the user says about the group's Pods (not their number, not their metadata)."""
    declared = group.spec.get("worker") or {}
    return revision(
        "worker", without(declared, "replicas", "metadata", "cluster"), cluster.spec.get("image")
    )


def _restarted_at(cluster: CustomResource) -> dict[str, str]:
    text = cluster.spec.get("restartedAt")
    return {labels.RESTARTED_AT: str(text)} if text else {}


def owner_reference(owner: CustomResource) -> JSON:
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": owner.kind,
        "name": owner.meta.name,
        "uid": owner.meta.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def owned_pod(
    name: str,
    owner: CustomResource,
    spec: JSON,
    *,
    ours: dict[str, str],
    annotations: dict[str, str],
    users: JSON,
    lasts: bool = False,
) -> JSON:
    """A Pod of ``owner``. The user's metadata go before our annotations, never before the labels that selectors need.

    :param lasts: it cannot be replaced without a loss, so nobody should move it to save a node.
    """
    if lasts:
        annotations = {**_stays(users["annotations"]), **annotations}
    users = with_note(users)
    proxy = {} if labels.MESH_PROXY in users["annotations"] else {labels.MESH_PROXY: "false"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": owner.meta.namespace,
            "labels": {**proxy, **users["labels"], **ours},
            "annotations": {**annotations, **users["annotations"]},
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": spec,
    }


def _stays(users: JSON) -> dict[str, str]:
    """The marks by which autoscalers of nodes let a Pod be; none of them where the user's own says the contrary."""
    if any(users.get(key, value) != value for key, value in labels.STAYS.items()):
        return {}
    return dict(labels.STAYS)


def pod_spec(read: PodSpec) -> JSON:
    """The user's Pod spec with what every Pod of ours has."""
    spec = dict(read.fields)
    spec["containers"] = [c.fields for c in read.containers]
    if read.init_containers:
        spec["initContainers"] = [c.fields for c in read.init_containers]
    if read.host_network:  # there, names of Services are not found otherwise
        spec.setdefault("dnsPolicy", "ClusterFirstWithHostNet")
    # A Service called like a Dask setting would set it.
    spec.setdefault("enableServiceLinks", False)
    tolerations = read.tolerations
    known = {t.get("key") for t in tolerations if t.get("effect") in (None, "", "NoExecute")}
    if not known & {
        None,
        "",
    }:  # without a key it tolerates everything, for as long as the user says
        tolerations += [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
            for key in _UNREACHABLE
            if key not in known
        ]
    if tolerations:
        spec["tolerations"] = tolerations
    return spec


def _main(read: PodSpec, spec: JSON, component: str) -> JSON:
    """The container that runs Dask, ready to be filled in; it is made when the user named none."""
    found = read.main(component)
    if found is None:
        container: JSON = {"name": component}
        spec["containers"] = [container]
        return container
    container = {k: v for k, v in modernised(found).fields.items() if v is not None}
    container.setdefault("name", component)
    spec["containers"] = [
        container if fields is found.fields else fields for fields in spec["containers"]
    ]
    return container


def _add_probes(container: JSON, port: int, deadline_s: int) -> None:
    """Those of a scheduler that the user does not say, at our port; for its start, and for being ready, at what the user's
    own look at: a scheduler without us must not die of ours.

    A scheduler that is busy for seconds is not dead: only the start is watched closely.
    """
    alive = _handler(container, "livenessProbe")
    ready = _handler(container, "readinessProbe")
    ours = {"httpGet": {"path": "/health", "port": port}}
    least = min(max(deadline_s, _LEAST_START_S), _MOST_PERIODS)
    closely = {"periodSeconds": 1, "timeoutSeconds": 5}
    seldom = {"periodSeconds": 20, "timeoutSeconds": 10, "failureThreshold": 6}
    for name, handler, often in (
        ("startupProbe", alive or ready or ours, {**closely, "failureThreshold": least}),
        (
            "readinessProbe",
            alive if "httpGet" in alive else ours,
            {**closely, "failureThreshold": 10},
        ),
        ("livenessProbe", ours, seldom),
    ):
        container.setdefault(name, {**handler, **often})


def _handler(container: JSON, probe: str) -> JSON:
    said = container.get(probe) or {}
    return {k: said[k] for k in ("exec", "grpc", "httpGet", "tcpSocket") if said.get(k)}


def _add_port(container: JSON, name: str, number: int) -> None:
    ports = container["ports"] = container.get("ports") or []
    if not any(p.get("name") == name or p.get("containerPort") == number for p in ports):
        ports.append({"name": name, "containerPort": number})


def add_env(container: JSON, name: str, value: Any) -> None:
    """After the user's variables, or before them if one refers to it; a variable that the user sets stays as it is.

    :param value: its text, or ``{"fieldRef": ...}`` and the like.
    """
    env = container["env"] = container.get("env") or []
    if not any(e.get("name") == name for e in env):
        used = any(f"$({name})" in (e.get("value") or "") for e in env)
        says = {"value": value} if isinstance(value, str) else {"valueFrom": value}
        env.insert(0 if used else len(env), {"name": name, **says})


def _writable_tmp(spec: JSON, container: JSON) -> None:
    """Dask writes a literal preload, and what a worker spills, to files there: a read-only root file system refuses it."""
    read = Container(container)
    if not read.read_only or "/tmp" in read.mounts:
        return
    taken = {v.get("name") for v in spec.get("volumes") or ()}
    name = next(n for n in _names("dask-tmp") if n not in taken)
    spec["volumes"] = [*(spec.get("volumes") or []), {"name": name, "emptyDir": {}}]
    mounts = container.get("volumeMounts") or []
    container["volumeMounts"] = [*mounts, {"name": name, "mountPath": "/tmp"}]


def _names(wanted: str) -> Iterator[str]:
    yield wanted
    yield from (f"{wanted}-{number}" for number in itertools.count(2))
