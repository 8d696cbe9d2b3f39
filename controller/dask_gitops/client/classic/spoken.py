"""The classic KubeCluster's arguments and configuration, as ours."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dask_gitops.client import arguments
from dask_gitops.client.arguments import CreateMode
from dask_gitops.client.classic import auth
from dask_gitops.client.classic.cluster import AFFINITIES
from dask_gitops.client.classic.pods import Pods, expanded, is_name, path_of, pod, without_nulls

JSON = dict[str, Any]
#: Argument -> key below ``kubernetes`` in the configuration; None: there is none.
WORDS = {
    "pod_template": "worker-template",
    "scheduler_pod_template": "scheduler-template",
    "apply_default_affinity": None,
    "auth": None,
    "deploy_mode": "deploy-mode",
    "host": "host",
    "port": "port",
    "interface": "interface",
    "protocol": "protocol",
    "dashboard_address": "dashboard-address",
    "scheduler_service_wait_timeout": "scheduler-service-wait-timeout",
    "scheduler_service_name_resolution_retries": "scheduler-service-name-resolution-retries",
    "silence_logs": None,
}
#: What only the configuration says.
CONFIGURED = {
    "worker_template_path": "worker-template-path",
    "scheduler_template_path": "scheduler-template-path",
    "service_template": "scheduler-service-template",
    "pdb_template": "scheduler-pdb-template",
    "worker_name": "worker-name",
}
KEYS = {name: key for name, key in {**WORDS, **CONFIGURED}.items() if key}
#: What has no place here, unless it says what is so anyway; and why.
LEFT: dict[str, tuple[tuple[Any, ...], str]] = {
    "host": (
        ("0.0.0.0", ""),
        "the scheduler listens in a Pod of its own; cluster.scheduler_address says how to reach it",
    ),
    "port": (
        (0, 8786),
        "the scheduler listens in a Pod of its own; cluster.scheduler_address says how to reach it",
    ),
    "interface": (
        ("",),
        "the scheduler listens in a Pod of its own, on that Pod's only interface",
    ),
    "protocol": (
        ("tcp", "tcp://"),
        "security= says whether it is TLS",
    ),
    "dashboard_address": (
        ("8787", ":8787", "0.0.0.0:8787"),
        "the dashboard listens in the scheduler's Pod; cluster.dashboard_link leads there",
    ),
    "scheduler_service_name_resolution_retries": (
        (),
        "no name is looked up before its Service exists",
    ),
    "silence_logs": (
        (False,),
        "no scheduler runs in this process; quiet=True prints nothing",
    ),
    "pdb_template": (
        (),
        "a PodDisruptionBudget is an object beside the cluster: write it into git with the DaskCluster",
    ),
}
LOCAL = "the scheduler runs in a Pod, where its workers reach it whatever machine this is"
_LEAST_S = 60  # before this nobody gives up on a start


@dataclass(frozen=True, slots=True)
class Spoken:
    """:ivar given: arguments of ours, completed by what the classic ones mean.
    :ivar pods: what the cluster is made of; None: no Pod was given.
    :ivar remarks: what is not carried over, and why, a line for each.
    """

    given: JSON
    pods: Pods | None = None
    remarks: list[str] = field(default_factory=list)

    @property
    def is_classic(self) -> bool:
        return self.pods is not None or bool(self.remarks)


def spoken(
    given: Mapping[str, Any],
    words: Mapping[str, Any],
    configured: Mapping[str, Any],
    classic: Mapping[str, Any],
    environ: Mapping[str, str] = os.environ,
) -> Spoken:
    """What somebody said in classic words, said in ours.

    :param given: arguments of ours, by name; None: not given.
    :param words: those of `WORDS` that were given.
    :param configured: what the configuration says of ours, by argument.
    :param classic: the same of `KEYS`.
    :raises TypeError, ValueError, FileNotFoundError: one cannot be that; the message names it.
    """
    ours, said = dict(given), {name: value for name, value in words.items() if value is not None}
    remarks: list[str] = []
    if is_name(said.get("pod_template")):
        if ours.get("name") is not None:
            raise TypeError(f"name is {said['pod_template']!r} and {ours['name']!r}; give one")
        ours["name"] = said.pop("pod_template")
    ours |= _way(said, ours)
    pods = _pods(said, ours, configured, classic, environ)
    if pods is not None or said:
        everything = {**classic, **said}
        remarks += _left(everything)
        ours |= _timeout(everything, ours, configured)
    if pods is None:
        alone = next(
            (w for w in ("scheduler_pod_template", "apply_default_affinity") if w in said), None
        )
        if alone:
            raise ValueError(
                f"{alone} needs a worker's Pod beside it: pod_template=, or kubernetes.worker-template "
                "in the configuration"
            )
        return Spoken(ours, None, remarks)
    if ours.get("worker_command") is not None:
        remarks.append("worker_command is not carried over: the Pod says its words itself")
    remarks.append(f"scheduler-pdb-template is not carried over: {LEFT['pdb_template'][1]}")
    if ours.get("n_workers") is None and configured.get("n_workers") is None:
        ours["n_workers"] = 0
    name = next(
        (
            one
            for one in (ours.get("name"), configured.get("name"), classic.get("worker_name"))
            if one is not None
        ),
        None,
    )
    if isinstance(name, str):
        ours["name"] = fitted(name)
        if ours["name"] != name:
            remarks.append(
                f"name {name!r} becomes {ours['name']!r}: it names objects of Kubernetes"
            )
    env = configured.get("env") if ours.get("env") is None else ours["env"]
    if isinstance(env, Mapping):
        ours["env"] = {str(key): str(value) for key, value in env.items()}
    return Spoken(ours, pods, list(dict.fromkeys(remarks)))


def fitted(name: str) -> str:
    """A name as the classic KubeCluster made them, with tokens left alone: what cannot be in one is left out."""
    parts = re.split(r"(\{[^{}]*\})", name)
    kept = [
        part if part.startswith("{") else re.sub("[^a-z0-9-]", "", part.lower()) for part in parts
    ]
    return "".join(kept).strip("-") or name


def _way(said: Mapping[str, Any], ours: Mapping[str, Any]) -> JSON:
    if "auth" not in said:
        return {}
    for other in ("kubeconfig", "context"):
        if ours.get(other) is not None:
            raise TypeError(f"auth and {other} both say which Kubernetes; give one")
    return auth.way(said["auth"])


def _pods(
    said: Mapping[str, Any],
    ours: Mapping[str, Any],
    configured: Mapping[str, Any],
    classic: Mapping[str, Any],
    environ: Mapping[str, str],
) -> Pods | None:
    """Of the arguments, else of the configuration, unless another cluster is asked for."""
    spec = ours.get("custom_cluster_spec")
    if "pod_template" in said:
        if spec is not None:
            raise TypeError(
                "pod_template and custom_cluster_spec both say what the cluster is; give one"
            )
    elif (
        spec is not None
        or configured.get("custom_cluster_spec") is not None
        or _connects(ours, configured)
    ):
        return None
    worker = _pod("pod_template", "worker", said, classic, environ)
    if worker is None:
        return None
    affinity = said.get("apply_default_affinity", "preferred")
    if affinity not in AFFINITIES:
        raise ValueError(f"apply_default_affinity is {affinity!r}; use none, preferred or required")
    return Pods(
        worker,
        _pod("scheduler_pod_template", "scheduler", said, classic, environ),
        affinity,
        _service_template(classic.get("service_template")),
    )


def _connects(ours: Mapping[str, Any], configured: Mapping[str, Any]) -> bool:
    mode = ours.get("create_mode") or configured.get("create_mode")
    return mode is not None and arguments.create_mode(mode) is CreateMode.CONNECT_ONLY


def _pod(
    argument: str,
    component: str,
    said: Mapping[str, Any],
    classic: Mapping[str, Any],
    environ: Mapping[str, str],
) -> JSON | None:
    if argument in said:
        return pod(argument, said[argument], component)
    if classic.get(argument):
        return pod(f"kubernetes.{WORDS[argument]}", expanded(classic[argument]), component)
    key = f"{component}_template_path"
    if classic.get(key):
        what = f"kubernetes.{CONFIGURED[key]}"
        return pod(what, path_of(what, classic[key], environ), component)
    return None


def _service_template(given: Any) -> JSON | None:
    if not given:
        return None
    what = "kubernetes.scheduler-service-template"
    if not isinstance(given, Mapping) or given.get("kind", "Service") != "Service":
        raise ValueError(f"{what} is {given!r}; write a Service")
    found: JSON = without_nulls(given)
    for path in (("spec",), ("spec", "selector"), ("metadata",), ("metadata", "annotations")):
        here: Any = found
        for key in path:
            here = here.get(key, {})
        if not isinstance(here, Mapping):
            raise TypeError(f"{what}: {'.'.join(path)} is {here!r}; write a mapping")
    return found


def _left(said: Mapping[str, Any]) -> list[str]:
    """What has no place here."""
    found = []
    mode = said.get("deploy_mode", "remote")
    if mode == "local":
        found.append(f"deploy_mode='local' is not carried over: {LOCAL}")
    elif mode != "remote":
        raise ValueError(f"deploy_mode is {mode!r}; use remote, or leave it out")
    for word, (same, why) in LEFT.items():
        if word == "pdb_template" or said.get(word) is None or said[word] in same:
            continue
        found.append(f"{word}={said[word]!r} is not carried over: {why}")
    return found


def _timeout(said: Mapping[str, Any], ours: JSON, configured: Mapping[str, Any]) -> JSON:
    """How long a Service may take is part of how long a state may last that does not pass by itself."""
    wait = said.get("scheduler_service_wait_timeout")
    if wait is None:
        return {}
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not wait >= 0:
        raise ValueError(f"scheduler_service_wait_timeout is {wait!r}; use 0 or more seconds")
    if any(each.get("resource_timeout") is not None for each in (ours, configured)):
        return {}
    return {"resource_timeout": max(wait, _LEAST_S) if wait else 0}
