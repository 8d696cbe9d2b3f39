"""What a user wants, of arguments and of Dask's configuration (``kubernetes.*``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dask_gitops.client import arguments
from dask_gitops.client.arguments import CreateMode

JSON = dict[str, Any]
#: Argument -> key below ``kubernetes`` in the configuration.
KEYS = {
    "name": "name",
    "namespace": "namespace",
    "image": "image",
    "n_workers": "count.start",
    "resources": "resources",
    "env": "env",
    "worker_command": "worker-command",
    "port_forward_cluster_ip": "port-forward-cluster-ip",
    "create_mode": "create-mode",
    "shutdown_on_close": "shutdown-on-close",
    "idle_timeout": "idle-timeout",
    "resource_timeout": "resource-timeout",
    "custom_cluster_spec": "custom-cluster-spec",
    "scheduler_service_type": "scheduler-service-type",
    "scheduler_forward_port": "scheduler-forward-port",
    "jupyter": "scheduler-jupyter",
    "maximum": "count.max",
}
SERVICE_TYPES = ("ClusterIP", "LoadBalancer", "NodePort")
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it, looked at.

    :ivar name: with its tokens.
    :ivar n_workers: None: nobody said a number.
    :ivar env: as Kubernetes writes it; None: none.
    :ivar shutdown_on_close: None: it depends on whether we create the cluster.
    :ivar resource_timeout: seconds; None: as long as the controller has patience.
    :ivar maximum: the most workers that may be paid for; None: nobody said.
    :ivar security: a ``distributed.Security``, for TLS.
    :ivar worker_template: a Pod, or its spec, laid over what workers get.
    :ivar context: of the kubeconfig; None: the current one.
    :ivar external_address: how clients reach the scheduler, such as ``tcp://dask.example.org:8786``.
    :ivar tie_to_pod: the cluster goes with the Pod that we run in; None: where that is possible.
    """

    name: str = "dask-{user}-{uuid}"
    namespace: str | None = None
    image: str | None = None
    n_workers: int | None = None
    resources: JSON | None = None
    env: list[JSON] | None = None
    worker_command: tuple[str, ...] = ("dask-worker",)
    port_forward_cluster_ip: bool | None = None
    create_mode: CreateMode = CreateMode.CREATE_OR_CONNECT
    shutdown_on_close: bool | None = None
    idle_timeout: float = 0.0
    resource_timeout: float | None = 60.0
    custom_cluster_spec: Any = None
    scheduler_service_type: str = "ClusterIP"
    scheduler_forward_port: int = 0
    jupyter: bool = False
    maximum: int | None = None
    security: Any = None
    worker_resources: JSON | None = None
    scheduler_resources: JSON | None = None
    worker_template: JSON | None = None
    scheduler_template: JSON | None = None
    labels: JSON | None = None
    annotations: JSON | None = None
    context: str | None = None
    kubeconfig: str | None = None
    external_address: str | None = None
    tie_to_pod: bool | None = None


def settings(given: Mapping[str, Any], configured: Mapping[str, Any]) -> Settings:
    """Arguments count before the configuration, and that before our defaults.

    :param given: arguments by name, as `KEYS` has them; None: not given.
    :param configured: by argument, see `wishes`.
    :raises TypeError, ValueError: one cannot be that; the message names it.
    """
    wanted = {name: value for name, value in configured.items() if value is not None}
    wanted |= {name: value for name, value in given.items() if value is not None}
    found: JSON = {}
    for name, value in wanted.items():
        found[name] = _LOOKED_AT.get(name, _as_it_is)(name, value)
    is_tls = str(found.get("external_address", "")).startswith("tls://")
    if is_tls and found.get("security") is None:
        raise ValueError(
            f"external_address is {found['external_address']!r}, which needs security=, "
            "a distributed.Security with its certificates"
        )
    # Said in so many words: for ever.
    if found.get("resource_timeout") == 0:
        found["resource_timeout"] = None
    # A spec that is configured is for what is made; here only the name counts.
    is_looked_for = found.get("create_mode") is CreateMode.CONNECT_ONLY
    if is_looked_for and given.get("name") is not None and given.get("custom_cluster_spec") is None:
        found.pop("custom_cluster_spec", None)
    return Settings(**found)


def wishes(
    config: Mapping[str, Any],
    own: Mapping[str, Any],
    defaults: Sequence[Mapping[str, Any]],
    keys: Mapping[str, str] = KEYS,
) -> JSON:
    """What the user's configuration says of us, by argument.

    The existing operator's client, where it is imported, fills in defaults of its own (no workers,
    the latest image, delete on close): those are no wish of the user.

    :param config: Dask's configuration as it is now.
    :param own: of the user's files and environment alone.
    :param defaults: what libraries have filled in.
    :param keys: which arguments, and their keys.
    """
    found: JSON = {}
    for argument, key in keys.items():
        path = f"kubernetes.{key}"
        value = _at(config, path)
        filled_in = [_at(each, path) for each in defaults]
        if value is _MISSING or (value in filled_in and _at(own, path) is _MISSING):
            continue
        found[argument] = value
    return found


def configured(keys: Mapping[str, str] = KEYS) -> JSON:
    """The same of this process."""
    import dask.config

    return wishes(dask.config.config, dask.config.collect(), dask.config.defaults, keys)


def _at(config: Mapping[str, Any], path: str) -> Any:
    """A value of a nested mapping, in whose keys - and _ are the same."""
    here: Any = config
    for key in path.split("."):
        if not isinstance(here, Mapping):
            return _MISSING
        names = {str(name).replace("_", "-"): name for name in here}
        if key not in names:
            return _MISSING
        here = here[names[key]]
    return here


# ---- what each may be


def _as_it_is(name: str, value: Any) -> Any:
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{name} is {value!r}; write a text")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; use True or False")
    return value


def _security(name: str, value: Any) -> Any:
    if not callable(getattr(value, "get_connection_args", None)):
        raise TypeError(f"{name} is {value!r}; give a distributed.Security")
    return value


def _service_type(name: str, value: Any) -> str:
    if value not in SERVICE_TYPES:
        raise ValueError(f"{name} is {value!r}; use {', '.join(SERVICE_TYPES[:-1])} or NodePort")
    return str(value)


def _port(name: str, value: Any) -> int:
    port = arguments.count(
        name, int(value) if isinstance(value, str) and value.isdecimal() else value
    )
    if not 0 <= port < 65536:
        raise ValueError(f"{name} is {port}; use a port from 1 to 65535, or 0 for any")
    return port


def _address(name: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z]+://[^/\s:]+(:[0-9]+)?/?\S*", value):
        raise ValueError(f"{name} is {value!r}; write it such as 'tcp://dask.example.org:8786'")
    return value


_LOOKED_AT: dict[str, Any] = {
    "name": _text,
    "namespace": _text,
    "image": _text,
    "n_workers": arguments.count,
    "resources": arguments.resources,
    "env": lambda name, value: arguments.env(value),
    "worker_command": lambda name, value: tuple(arguments.words(name, value)),
    "port_forward_cluster_ip": _flag,
    "create_mode": lambda name, value: arguments.create_mode(value),
    "shutdown_on_close": _flag,
    "idle_timeout": arguments.seconds,
    "resource_timeout": arguments.seconds,
    "scheduler_service_type": _service_type,
    "scheduler_forward_port": _port,
    "jupyter": _flag,
    "maximum": arguments.count,
    "security": _security,
    "worker_resources": arguments.resources,
    "scheduler_resources": arguments.resources,
    "worker_template": arguments.template,
    "scheduler_template": arguments.template,
    "labels": arguments.texts,
    "annotations": arguments.texts,
    "context": _text,
    "kubeconfig": arguments.path,
    "external_address": _address,
    "tie_to_pod": _flag,
}
