"""Pure: ``make_pod_spec``, a worker's Pod of a few words."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

JSON = dict[str, Any]
Amount = int | float | str


def make_pod_spec(
    image: str,
    labels: Mapping[str, str] | None = None,
    threads_per_worker: int = 1,
    env: Mapping[str, Any] | None = None,
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

    :param extra_container_config: of the container, in Kubernetes' words; mappings are merged, lists grow.
    :param extra_pod_config: the same of the Pod's spec.
    :param resources: what tasks may ask of the worker, such as ``GPU=2 MEM=10e9``.
    :param memory_limit: bytes or a quantity, of the container and for Dask; 0 or None: none.
    :param cpu_limit: cores, or a quantity.
    """
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
        "env": [{"name": name, "value": str(value)} for name, value in (env or {}).items()],
        "resources": {
            part: {name: str(value) for name, value in each.items() if value}
            for part, each in amounts.items()
        },
    }
    spec = {"restartPolicy": "Never", "containers": [_more(container, extra_container_config)]}
    return {
        "metadata": {"labels": dict(labels or {}), "annotations": dict(annotations or {})},
        "spec": _more(spec, extra_pod_config),
    }


def _more(base: Any, extra: Any) -> Any:
    """Mappings merged, lists one behind the other, else the extra value."""
    if isinstance(base, dict) and isinstance(extra, Mapping):
        return {**base, **{key: _more(base.get(key), value) for key, value in extra.items()}}
    if isinstance(base, list) and isinstance(extra, list):
        return base + copy.deepcopy(extra)
    return base if extra is None else copy.deepcopy(extra)
