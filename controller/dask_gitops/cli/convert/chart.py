"""Pure: values of the dask/dask chart, as custom resources of ours."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from dask_gitops.client import names

from .comments import Place
from .result import JSON, Left

_TOP = ("scheduler", "worker", "webUI", "jupyter", "additional_worker_groups")
_IMAGE = "ghcr.io/dask/dask"
_DASHBOARD = 8790
#: Words of a Pod that mean the same, and where they are in its spec.
_POD = {
    "tolerations": ("tolerations",),
    "affinity": ("affinity",),
    "nodeSelector": ("nodeSelector",),
    "securityContext": ("securityContext",),
    "serviceAccountName": ("serviceAccountName",),
    "resources": ("containers", 0, "resources"),
    "env": ("containers", 0, "env"),
    "livenessProbe": ("containers", 0, "livenessProbe"),
    "readinessProbe": ("containers", 0, "readinessProbe"),
}
_READ = {
    "scheduler": {
        "name", "enabled", "image", "replicas", "serviceType", "loadBalancerIP", "servicePort", "serviceAnnotations",
        "extraArgs", "metrics",
    },
    "worker": {
        "name", "image", "replicas", "strategy", "custom_scheduler_url", "default_resources", "extraArgs", "mounts",
        "annotations", "port", "portDashboard", "threads_per_worker", "metrics",
    },
}  # fmt: skip
_IMAGE_WORDS = {"repository", "tag", "pullPolicy", "pullSecrets", "dask_worker"}


def is_values(document: Mapping[str, Any]) -> bool:
    """Are these values of that chart, and of none of ours?"""
    return bool(set(document) & set(_TOP)) and not set(document) & {"clusters", "defaults", "jobs"}


def objects(
    values: JSON, name: str, left: list[Left]
) -> Iterator[tuple[JSON, dict[Place, Place | None]]]:
    """The DaskCluster, and a DaskWorkerGroup for each additional one; with where places of the values are now.

    :param name: of the cluster, unless the values name it.
    :raises TypeError, ValueError: a value cannot be that.
    """
    name = str(values.get("fullnameOverride") or name)
    if not names.is_name(name):
        raise ValueError(names.refusal(name))
    for key in sorted(set(values) - {*_TOP, "nameOverride", "fullnameOverride"}):
        left.append(Left(key, "no word of the dask/dask chart"))
    if values.get("nameOverride") and not values.get("fullnameOverride"):
        left.append(Left("nameOverride", "--name says what the cluster is called"))
    _beside(values, left)
    scheduler, worker = _mapping(values, "scheduler"), _mapping(values, "worker")
    raw = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": {
            "worker": _worker(worker, "worker", left),
            "scheduler": _scheduler(scheduler, left),
        },
    }
    groups = values.get("additional_worker_groups") or []
    if not isinstance(groups, list):
        raise TypeError("additional_worker_groups is no list")
    moves: dict[Place, Place | None] = {(): ()}
    moves |= _moves(("worker",), ("spec", "worker"))
    moves |= _moves(("scheduler",), ("spec", "scheduler"))
    moves["scheduler", "serviceType"] = ("spec", "scheduler", "service", "type")
    moves["scheduler", "serviceAnnotations"] = (
        "spec",
        "scheduler",
        "serviceMetadata",
        "annotations",
    )
    if groups:
        moves["additional_worker_groups",] = None
    yield raw, moves
    for i, group in enumerate(groups):
        what = f"additional_worker_groups[{i}]"
        if not isinstance(group, dict) or not isinstance(group.get("name"), str):
            raise ValueError(f"{what} has no name")
        key = names.fit(group["name"])
        if not key:
            raise ValueError(f"{what}.name is {group['name']!r}: it has no letter or digit")
        if key != group["name"]:
            left.append(Left(f"{what}.name", f"{group['name']!r} becomes {key!r}"))
        if "strategy" in group:
            left.append(Left(f"{what}.strategy", "updateStrategy says how workers are replaced"))
        said: list[Left] = []
        made = _worker(_merged(group, {**worker, "name": None}), what, said)
        left.extend(
            one for one in said if one.what.startswith(what) and _own(one.what, what, group)
        )
        yield (
            {
                "apiVersion": "kubernetes.dask.org/v1",
                "kind": "DaskWorkerGroup",
                "metadata": {"name": f"{name}-{key}"},
                "spec": {"cluster": name, "worker": made},
            },
            {
                **({("additional_worker_groups",): ()} if i == 0 else {}),
                **_moves(("additional_worker_groups", i), ("spec", "worker")),
                ("additional_worker_groups", i): (),
                ("additional_worker_groups", i, "name"): ("metadata", "name"),
            },
        )


def _own(told: str, what: str, group: JSON) -> bool:
    """Is it about what the group says itself? What it has of the workers was told with them."""
    return told.removeprefix(f"{what}.").partition(".")[0] in group


def _moves(source: Place, target: Place) -> dict[Place, Place | None]:
    spec = (*target, "spec")
    container = (*spec, "containers", 0)
    found: dict[Place, Place | None] = {source: target}
    found |= {(*source, word): (*spec, *place) for word, place in _POD.items()}
    found |= {
        (*source, "image"): (*container, "image"),
        (*source, "image", "pullPolicy"): (*container, "imagePullPolicy"),
        (*source, "image", "pullSecrets"): (*spec, "imagePullSecrets"),
        (*source, "extraArgs"): (*container, "args"),
        (*source, "threads_per_worker"): (*container, "args"),
        (*source, "mounts", "volumes"): (*spec, "volumes"),
        (*source, "mounts", "volumeMounts"): (*container, "volumeMounts"),
        (*source, "annotations"): (*target, "metadata", "annotations"),
    }
    return found


def _beside(values: JSON, left: list[Left]) -> None:
    """What are no objects of Dask."""
    jupyter = _mapping(values, "jupyter")
    if jupyter.get("enabled", True):
        left.append(
            Left(
                "jupyter", "a notebook server is an object beside the cluster, such as JupyterHub's"
            )
        )
    web = _mapping(values, "webUI")
    if _mapping(web, "ingress").get("enabled"):
        left.append(
            Left(
                "webUI.ingress",
                "an Ingress is an object beside the cluster: its Service's port 8787",
            )
        )
    if web.get("servicePort") not in (None, 80, 8787):
        left.append(Left("webUI.servicePort", "the scheduler's Service has the dashboard at 8787"))


def _worker(said: JSON, what: str, left: list[Left]) -> JSON:
    _unknown(said, "worker", what, left)
    image = _mapping(said, "image")
    resources = _mapping(said, "resources")
    limits = _mapping(resources, "limits")
    words = [str(image.get("dask_worker") or "dask-worker"), "--name", "$(DASK_WORKER_NAME)"]
    if limits:
        default = _mapping(said, "default_resources")
        threads = said.get("threads_per_worker") or limits.get("cpu") or default.get("cpu") or 1
        if str(threads).isdecimal():
            words += ["--nthreads", str(threads)]
        else:
            of = "threads_per_worker" if said.get("threads_per_worker") else "resources.limits.cpu"
            left.append(
                Left(
                    f"{what}.{of}",
                    f"{threads} is no number of threads: Dask chooses one by the limit",
                )
            )
        memory = limits.get("memory") or default.get("memory") or "4GiB"
        words += ["--memory-limit", str(memory)]
    number = said.get("portDashboard") or _DASHBOARD
    words += ["--no-dashboard", "--dashboard-address", str(number)]
    if said.get("port"):
        words += ["--worker-port", str(said["port"])]
    words += _words(said.get("extraArgs"), f"{what}.extraArgs")
    if said.get("custom_scheduler_url"):
        left.append(
            Left(f"{what}.custom_scheduler_url", "workers belong to the scheduler of their cluster")
        )
    if _mapping(said, "strategy").get("type") not in (None, "RollingUpdate"):
        left.append(Left(f"{what}.strategy", "updateStrategy says how workers are replaced"))
    container: JSON = {"name": "worker", **_image(image, f"{what}.image", left), "args": words}
    mounts = _mapping(said, "mounts")
    if mounts.get("volumeMounts"):
        container["volumeMounts"] = copy.deepcopy(mounts["volumeMounts"])
    spec = _pod(said, container, what)
    if image.get("pullSecrets"):
        spec["imagePullSecrets"] = copy.deepcopy(image["pullSecrets"])
    if mounts.get("volumes"):
        spec["volumes"] = copy.deepcopy(mounts["volumes"])
    replicas = said.get("replicas")
    found: JSON = {"replicas": 3 if replicas is None else replicas}
    if annotations := _mapping(said, "annotations"):
        found["metadata"] = {"annotations": copy.deepcopy(annotations)}
    return {**found, "spec": spec}


def _scheduler(said: JSON, left: list[Left]) -> JSON:
    _unknown(said, "scheduler", "scheduler", left)
    if said.get("enabled") is False:
        left.append(Left("scheduler.enabled", "every cluster has a scheduler of its own"))
    if said.get("replicas") not in (None, 1):
        left.append(Left("scheduler.replicas", "there is one scheduler"))
    if said.get("servicePort") not in (None, 8786):
        left.append(Left("scheduler.servicePort", "the scheduler's Service has it at 8786"))
    image = _mapping(said, "image")
    container: JSON = {"name": "scheduler", **_image(image, "scheduler.image", left)}
    if extra := _words(said.get("extraArgs"), "scheduler.extraArgs"):
        container["args"] = ["dask-scheduler", *extra]
    spec = _pod(said, container, "scheduler")
    if image.get("pullSecrets"):
        spec["imagePullSecrets"] = copy.deepcopy(image["pullSecrets"])
    found: JSON = {"spec": spec}
    service = {"type": said.get("serviceType"), "loadBalancerIP": said.get("loadBalancerIP")}
    if service := {key: value for key, value in service.items() if value}:
        found["service"] = service
    if annotations := _mapping(said, "serviceAnnotations"):
        found["serviceMetadata"] = {"annotations": copy.deepcopy(annotations)}
    return found


def _pod(said: JSON, container: JSON, what: str) -> JSON:
    spec: JSON = {}
    for word, place in _POD.items():
        value = said.get(word)
        if not value:
            continue
        here = spec if len(place) == 1 else container
        here[str(place[-1])] = copy.deepcopy(value)
    if not isinstance(container.get("env") or [], list):
        raise TypeError(f"{what}.env is no list")
    return {"containers": [container], **spec}


def _image(image: JSON, what: str, left: list[Left]) -> JSON:
    for word in sorted(set(image) - _IMAGE_WORDS):
        left.append(Left(f"{what}.{word}", "no word of the dask/dask chart"))
    found: JSON = {}
    repository, tag = image.get("repository"), image.get("tag")
    if tag:
        found["image"] = f"{repository or _IMAGE}:{tag}"
    elif repository:
        found["image"] = str(repository)
        left.append(Left(f"{what}.tag", "the chart's own default is not known here: say one"))
    if image.get("pullPolicy"):
        found["imagePullPolicy"] = image["pullPolicy"]
    return found


def _unknown(said: JSON, of: str, what: str, left: list[Left]) -> None:
    for word in sorted(set(said) - _READ[of] - set(_POD)):
        left.append(Left(f"{what}.{word}", "no word of the dask/dask chart"))
    metrics = _mapping(said, "metrics")
    for monitor in ("serviceMonitor", "podMonitor"):
        if _mapping(metrics, monitor).get("enabled"):
            left.append(
                Left(f"{what}.metrics.{monitor}", "a monitor is an object beside the cluster")
            )


def _mapping(values: JSON, key: str) -> JSON:
    found = values.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise TypeError(f"{key} is {found!r}; expected a mapping")
    return found


def _words(given: Any, what: str) -> list[str]:
    if not given:
        return []
    if not isinstance(given, list) or any(isinstance(word, dict | list) for word in given):
        raise TypeError(f"{what} is no list of words")
    return [str(word) for word in given]


def _merged(over: JSON, base: JSON) -> JSON:
    """As Helm's ``merge``: what is empty above counts for nothing."""
    found = copy.deepcopy(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = _merged(value, found[key])
        elif value or key not in found:
            found[key] = copy.deepcopy(value)
    return found
