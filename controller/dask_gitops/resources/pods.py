"""Pure: what the scheduler Pod and the worker Pods of a cluster look like.

Whatever the user wrote stays; what is absent is filled in here, in memory, never in the user's object.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from dask_gitops.resources import labels, names
from dask_gitops.resources.commands import modernised, option, port
from dask_gitops.resources.metadata import users_metadata, with_note
from dask_gitops.resources.observed import CustomResource, comm_port, http_port, main_container
from dask_gitops.resources.revision import revision, without

JSON = dict[str, Any]

DRAIN_TIMEOUT_S = 300  # default of drainTimeout
_UNREACHABLE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_PRELOAD_ENV = "DASK_DISTRIBUTED__SCHEDULER__PRELOAD"
_GRACE_ENV = "WORKER_GRACE_PERIOD_S"  # read by the hand-over in the worker, which assumes 30 s


@dataclass(frozen=True, slots=True)
class ControlApi:
    """What puts the control API into a scheduler: preload text, and the env that it reads."""

    preload: str
    source_env: str
    source: str
    token_env: str


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
    spec = pod_spec(declared.get("spec"))
    spec.setdefault("restartPolicy", "Always")
    container = _main(spec, labels.SCHEDULER)
    container.setdefault("image", cluster.spec.get("image") or default_image)
    if not container.get("command") and not container.get("args"):
        container["args"] = ["dask", "scheduler"]
    _add_port(container, "tcp-comm", comm_port(container))
    _add_port(container, "http-dashboard", http_port(container))
    health = {"httpGet": {"path": "/health", "port": http_port(container)}}
    # A scheduler that is busy for seconds is not dead: only the start is watched closely.
    container.setdefault(
        "startupProbe", {**health, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 300}
    )
    container.setdefault(
        "readinessProbe",
        {**health, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 10},
    )
    container.setdefault(
        "livenessProbe",
        {**health, "periodSeconds": 20, "timeoutSeconds": 10, "failureThreshold": 6},
    )
    _inject_control_api(container, control, token)
    _writable_tmp(spec, container)
    return owned_pod(
        names.scheduler_name(cluster.meta.name),
        cluster,
        spec,
        ours=labels.cluster_selector(cluster.meta.name, labels.SCHEDULER),
        annotations={
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
            labels.REVISION: scheduler_revision(cluster),
            **_restarted_at(cluster),
        },
        users=scheduler_metadata(cluster, reserved),
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
    main = main_container((spec or {}).get("containers") or [], component)
    image: str | None = main.get("image") or cluster.spec.get("image")
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
    spec = pod_spec(declared.get("spec"))
    # A retired worker exits 0 and must not come back while nobody looks.
    spec.setdefault("restartPolicy", "OnFailure")
    container = _main(spec, labels.WORKER)
    named = container.get("image") or cluster.spec.get("image")
    container["image"] = held_image or named or default_image
    if not container.get("command") and not container.get("args"):
        container["args"] = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)"]
        container["args"] += ["--dashboard-address", f":{names.WORKER_DASHBOARD_PORT}"]
    dashboard = port(container, "--dashboard-address")
    if dashboard:
        _add_port(container, "http-dashboard", dashboard)
        container.setdefault(
            "readinessProbe",
            {
                "httpGet": {"path": "/health", "port": dashboard},
                "periodSeconds": 2,
                "timeoutSeconds": 5,
                "failureThreshold": 15,
            },
        )
    address = names.scheduler_address(cluster.meta.name, cluster.meta.namespace)
    for each in spec["containers"]:  # a sidecar may want to talk to the scheduler, too
        add_env(each, "DASK_WORKER_NAME", name)
        add_env(each, "DASK_SCHEDULER_ADDRESS", address)
    if declared.get("resources"):
        resources = {key: float(value) for key, value in declared["resources"].items()}
        add_env(container, "DASK_DISTRIBUTED__WORKER__RESOURCES", repr(resources))
    if "terminationGracePeriodSeconds" in spec:
        add_env(container, _GRACE_ENV, str(spec["terminationGracePeriodSeconds"]))
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
) -> JSON:
    """A Pod of ``owner``. The user's metadata go before our annotations, never before the labels that selectors need."""
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


def pod_spec(declared: JSON | None) -> JSON:
    """The user's Pod spec with what every Pod of ours has."""
    spec = {key: copy.deepcopy(v) for key, v in (declared or {}).items() if v is not None}
    spec.setdefault(
        "enableServiceLinks", False
    )  # a Service called like a Dask setting would set it
    tolerations = spec.get("tolerations") or []
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


def _main(spec: JSON, component: str) -> JSON:
    """The container that runs Dask, ready to be filled in; it is made when the user named none."""
    for field in ("initContainers", "containers"):
        if spec.get(field):
            spec[field] = [modernised(c) for c in spec[field]]
    containers = spec["containers"] = spec.get("containers") or [{"name": component}]
    found = main_container(containers, component)
    container = {k: v for k, v in found.items() if v is not None}
    container.setdefault("name", component)
    containers[containers.index(found)] = container
    return container


def _add_port(container: JSON, name: str, number: int) -> None:
    ports = container.setdefault("ports", [])
    if not any(p.get("name") == name or p.get("containerPort") == number for p in ports):
        ports.append({"name": name, "containerPort": number})


def add_env(container: JSON, name: str, value: str) -> None:
    """Appended after the user's variables; a variable that the user sets stays as it is."""
    env = container["env"] = container.get("env") or []
    if not any(e.get("name") == name for e in env):
        env.append({"name": name, "value": value})


def _inject_control_api(container: JSON, control: ControlApi, token: str) -> None:
    """Load our control API beside whatever the user preloads.

    ``--preload`` on the command line makes Dask ignore the configured value, so then ours is one more ``--preload``.
    """
    env = container["env"] = [
        e
        for e in container.get("env") or []
        if e.get("name") not in (control.token_env, control.source_env)
    ]
    field = "args" if container.get("args") else "command"
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    own = next((e for e in env if e.get("name") == _PRELOAD_ENV), None)
    if option(words, "--preload") is not None:
        container[field] = [*container[field], "--preload", control.preload]
    elif own and own.get("valueFrom"):
        # Its value is not known here; the kubelet puts it in.
        both = ["--preload", f"$({_PRELOAD_ENV})", "--preload", control.preload]
        container[field] = [*container[field], *both]
    elif own:
        own["value"] = _preload_list(own.get("value") or "", control.preload)
    else:
        env.append({"name": _PRELOAD_ENV, "value": control.preload})
    env.append({"name": control.source_env, "value": control.source})
    env.append({"name": control.token_env, "value": token})


def _preload_list(users: str, ours: str) -> str:
    """Dask reads a Python literal: the user's text or list of texts, with ours behind."""
    text = users.strip()
    if text.startswith("["):
        return (
            text[:-1].rstrip().rstrip(",") + (", " if text[1:-1].strip() else "") + repr(ours) + "]"
        )
    return repr([text, ours] if text else [ours])


def _writable_tmp(spec: JSON, container: JSON) -> None:
    """Dask writes a literal preload to a temporary file, which a read-only root file system refuses."""
    mounts = container.get("volumeMounts") or []
    read_only = (container.get("securityContext") or {}).get("readOnlyRootFilesystem")
    if read_only and not any(m.get("mountPath") == "/tmp" for m in mounts):
        spec["volumes"] = [*(spec.get("volumes") or []), {"name": "dask-tmp", "emptyDir": {}}]
        container["volumeMounts"] = [*mounts, {"name": "dask-tmp", "mountPath": "/tmp"}]
