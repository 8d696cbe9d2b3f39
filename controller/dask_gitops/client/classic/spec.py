"""Pure: ``make_pod_spec``, a worker's Pod of a few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dask_gitops.client import arguments
from dask_gitops.client.classic.pods import plain

JSON = dict[str, Any]
Amount = int | float | str


def make_pod_spec(
    image: str,
    labels: Mapping[str, str] | None = None,
    threads_per_worker: int = 1,
    env: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None,
    extra_container_config: Mapping[str, Any] | None = None,
    extra_pod_config: Mapping[str, Any] | None = None,
    resources: str | None = None,
    memory_limit: Amount | None = None,
    memory_request: Amount | None = None,
    cpu_limit: Amount | None = None,
    cpu_request: Amount | None = None,
    gpu_limit: int | None = None,
    annotations: Mapping[str, str] | None = None,
) -> JSON:
    """A Pod that runs one worker, as a dict.

    :param env: variables, as a mapping or as Kubernetes writes them.
    :param extra_container_config: of the container, in Kubernetes' words; mappings are merged, lists grow.
    :param extra_pod_config: the same of the Pod's spec.
    :param resources: what tasks may ask of the worker, such as ``GPU=2 MEM=10e9``.
    :param memory_limit: bytes or a quantity, of the container and for Dask; 0 or None: none.
    :param cpu_limit: cores, or a quantity.
    :raises TypeError, ValueError: an argument is something else, or has a field that Kubernetes calls otherwise.
    """
    for field, given in (("labels", labels), ("annotations", annotations)):
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"{field} is {given!r}; write a dict such as {{'team': 'b'}}")
    words = ["dask-worker", "$(DASK_SCHEDULER_ADDRESS)", "--nthreads", str(threads_per_worker)]
    words += ["--death-timeout", "60"]
    if memory_limit:
        words += ["--memory-limit", str(memory_limit)]
    if resources:
        words += ["--resources", str(resources)]
    amounts = {
        "limits": {"cpu": cpu_limit, "nvidia.com/gpu": gpu_limit, "memory": memory_limit},
        "requests": {"cpu": cpu_request, "memory": memory_request},
    }
    container: JSON = {
        "name": "dask-container",
        "image": image,
        "args": words,
        "env": _variables(env),
        "resources": {
            part: {name: str(value) for name, value in each.items() if value}
            for part, each in amounts.items()
        },
    }
    container = _extended("extra_container_config", container, extra_container_config)
    spec = {"restartPolicy": "Never", "containers": [container]}
    return {
        "metadata": {"labels": dict(labels or {}), "annotations": dict(annotations or {})},
        "spec": _extended("extra_pod_config", spec, extra_pod_config),
    }


def _variables(given: Any) -> list[JSON]:
    """Values of a mapping are what they are as text."""
    if isinstance(given, Mapping):
        return [{"name": str(name), "value": str(value)} for name, value in given.items()]
    found = plain(given)
    for each in found if isinstance(found, list) else ():
        if isinstance(each, dict) and isinstance(each.get("value"), int | float):
            each["value"] = str(each["value"])
    return arguments.env(found) or []


def _extended(field: str, base: JSON, given: Any) -> JSON:
    """:raises TypeError, ValueError: naming the argument."""
    extra = plain(given)
    if extra is None:
        return base
    if not isinstance(extra, dict):
        raise TypeError(f"{field} is {given!r}; write a dict of Kubernetes' fields")
    arguments.kubernetes_fields(field, extra)
    found: JSON = _more(field, base, extra)
    return found


def _more(field: str, base: Any, extra: Any) -> Any:
    """Mappings merged, lists one behind the other, else the extra value."""
    if extra is None:
        return base
    if isinstance(base, dict):
        if not isinstance(extra, dict):
            raise TypeError(f"{field} is {extra!r}; write a dict")
        more = {key: _more(f"{field}.{key}", base.get(key), value) for key, value in extra.items()}
        return {**base, **more}
    if isinstance(base, list):
        if not isinstance(extra, list):
            raise TypeError(f"{field} is {extra!r}; write a list")
        return base + extra
    return extra
