"""A Pod as users of the classic KubeCluster give one: a file, a dict, or an object of a client of Kubernetes."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask_gitops.client import arguments
from dask_gitops.model.podspec import wrong_pod_spec

JSON = dict[str, Any]
_ENDINGS = (".yml", ".yaml", ".json")


@dataclass(frozen=True, slots=True)
class Pods:
    """What a classic cluster is made of.

    :ivar worker: ``{"metadata": ..., "spec": ...}``, both there, nothing in them null.
    :ivar scheduler: the same; None: as the worker.
    :ivar affinity: to nodes for Dask: preferred, required or none.
    :ivar service: the scheduler's, as a Service; None: as every cluster has it.
    """

    worker: JSON
    scheduler: JSON | None = None
    affinity: str = "preferred"
    service: JSON | None = None


def is_name(given: Any) -> bool:
    """Is the first argument of KubeCluster a name, and no Pod or the file of one?"""
    if not isinstance(given, str):
        return False
    return not (given.endswith(_ENDINGS) or os.sep in given or os.path.isfile(given))


def pod(field: str, given: Any, component: str = "worker") -> JSON:
    """The Pod, looked at: ``{"metadata": ..., "spec": ...}``.

    Environment variables in a file are replaced by what they stand for.

    :param given: a path, a Pod or its spec as dict, or an object such as ``kubernetes.client.V1Pod``.
    :raises FileNotFoundError, ValueError, TypeError: it is none; the message names field and place.
    """
    if isinstance(given, str | os.PathLike):
        path = os.fspath(given)
        field = f"{field} {path!r}"
        given = _read(field, path)
        return _unless_endless(field, lambda: looked_at(field, expanded(given), component))
    return _unless_endless(field, lambda: looked_at(field, plain(given), component))


def looked_at(field: str, given: Any, component: str = "worker") -> JSON:
    """The same of what has been read already."""
    if isinstance(given, Mapping) and given.get("kind") == "DaskCluster":
        raise ValueError(f"{field} is a DaskCluster; pass it as custom_cluster_spec=")
    found = _with_texts(without_nulls(arguments.template(field, given)))
    metadata = found.get("metadata") or {}
    for part in ("labels", "annotations"):
        if part in metadata:
            arguments.texts(f"{field}.metadata.{part}", metadata[part])
    spec = found.get("spec") or {}
    containers = spec.get("containers")
    if not isinstance(containers, list) or not containers:
        raise ValueError(f"{field} has no spec.containers; write the container that runs Dask")
    for i, container in enumerate(containers):
        if isinstance(container, dict):
            container.setdefault("name", f"dask-{i}")
    arguments.kubernetes_fields(f"{field}.spec", spec)
    wrong = wrong_pod_spec(spec, "spec", component=component)
    if wrong is not None:
        raise ValueError(f"{field}: {wrong}")
    affinity = spec.get("affinity", {}).get("nodeAffinity", {})
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])
    if not isinstance(preferred, list):
        raise ValueError(f"{field}: the preferred terms of spec.affinity.nodeAffinity are no list")
    return {"metadata": metadata, "spec": spec}


def _unless_endless(field: str, read: Callable[[], JSON]) -> JSON:
    try:
        return read()
    except RecursionError:
        raise ValueError(f"{field} holds itself, or is nested too deep") from None


def _with_texts(pod: JSON) -> JSON:
    """Numbers as texts where Kubernetes wants texts: YAML's ``args: [--nthreads, 2]`` was taken."""
    for part in ("labels", "annotations"):
        said = (pod.get("metadata") or {}).get(part)
        if isinstance(said, dict):
            said.update({key: _text(value) for key, value in said.items()})
    spec = pod.get("spec")
    containers = spec.get("containers") if isinstance(spec, dict) else None
    for container in containers if isinstance(containers, list) else ():
        if not isinstance(container, dict):
            continue
        for field in ("command", "args"):
            if isinstance(container.get(field), list):
                container[field] = [_text(word) for word in container[field]]
        env = container.get("env")
        for each in env if isinstance(env, list) else ():
            if isinstance(each, dict) and "value" in each:
                each["value"] = _text(each["value"])
    return pod


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) else value


def plain(given: Any) -> Any:
    """Objects of clients of Kubernetes as the dicts that they stand for.

    Those that are made of its definition know how Kubernetes writes their fields; others say it themselves.
    """
    names = getattr(given, "attribute_map", None)
    if isinstance(names, Mapping):
        fields = {key: plain(getattr(given, name, None)) for name, key in names.items()}
        return {key: value for key, value in fields.items() if value is not None}
    if isinstance(given, Mapping):
        return {key: plain(value) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return [plain(value) for value in given]
    if callable(told := getattr(given, "to_dict", None)):
        return plain(told())
    return given


def without_nulls(value: Any) -> Any:
    """Null is as good as absent, in mappings however deep."""
    if isinstance(value, Mapping):
        return {key: without_nulls(v) for key, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


def expanded(value: Any) -> Any:
    """``$NAME`` and ``${NAME}`` in texts replaced, as Dask does in its configuration."""
    import dask.config

    return dask.config.expand_environment_variables(value)


def path_of(field: str, given: Any, environ: Mapping[str, str]) -> str:
    """A path in which ``{NAME}`` stands for an environment variable.

    :raises TypeError, ValueError: it is none, or there is no such variable.
    """
    text = arguments.path(field, given)
    try:
        return text.format(**environ)
    except (KeyError, IndexError) as error:
        raise ValueError(f"{field} {text!r}: the environment has no {error.args[0]}") from None
    except (ValueError, AttributeError):
        raise ValueError(f"{field} {text!r}: write {{NAME}} for an environment variable") from None


def _read(what: str, path: str) -> Any:
    import yaml

    try:
        found = yaml.safe_load(Path(path).expanduser().read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"{what}: no such file (in {Path.cwd()})") from None
    except UnicodeDecodeError:
        raise ValueError(f"{what} is no text") from None
    except OSError as error:
        raise ValueError(f"{what}: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{what} line {line}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{what}: not YAML: {told}") from None
    return copy.deepcopy(found)
