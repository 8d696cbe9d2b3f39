"""Pure: what others declare, as custom resources of ours."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from typing import Any

from dask_gitops.client import names
from dask_gitops.client.classic.cluster import NO_RESOURCES
from dask_gitops.client.classic.cluster import cluster as classic
from dask_gitops.client.classic.pods import Pods, looked_at
from dask_gitops.model import declared
from dask_gitops.resources import labels

from . import chart
from .comments import Place
from .result import JSON, Converted, ConvertError, Left, Object

GROUP = "kubernetes.dask.org"
KINDS = ("DaskCluster", "DaskWorkerGroup", "DaskAutoscaler", "DaskJob")
#: What only an API server or a program writes into metadata.
_WRITTEN = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
_NOTES = ("kopf.", "kubectl.kubernetes.io/last-applied-configuration", "kopf.zalando.org")
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")


def convert(
    documents: Iterable[Any], where: str, name: str | None = None, scheduler: Any = None
) -> Converted:
    """All that is in the documents of a file.

    :param where: the file, for messages.
    :param name: of a cluster that has none: of a worker's Pod, of values.
    :param scheduler: the classic scheduler's Pod.
    :raises ConvertError: one of them is nothing that can be read.
    """
    found = Converted()
    for number, document in enumerate(documents):
        if document is None:
            continue
        at = where if number == 0 else f"{where}, document {number + 1}"
        try:
            _add(found, document, number, at, name, scheduler)
        except (TypeError, ValueError) as error:
            raise ConvertError(f"{at}: {error}") from error
        except RecursionError:
            raise ConvertError(f"{at}: nested too deep") from None
    if not found.objects and not found.left:
        raise ConvertError(f"{where}: there is nothing in it")
    return found


def _add(
    found: Converted, document: Any, number: int, at: str, name: str | None, scheduler: Any
) -> None:
    if not isinstance(document, dict):
        raise ValueError(
            "expected a Pod, Dask's custom resources, or values of the dask/dask chart"
        )
    kind = document.get("kind")
    if kind == "List":
        items = document.get("items")
        for i, item in enumerate(items if isinstance(items, list) else ()):
            before = len(found.objects)
            _add(found, item, number, f"{at}, item {i + 1}", name, scheduler)
            for one in found.objects[before:]:
                one.moves = {("items", i, *old): new for old, new in one.moves.items()}
                one.moves |= {(): ()} if i == 0 else {}
    elif kind in KINDS:
        found.objects.append(_ours(document, number, found.left))
    elif kind == "Pod" or (kind is None and ("spec" in document or "containers" in document)):
        found.objects.append(
            _pod(document, number, name or _name(document, at), scheduler, found.left)
        )
    elif kind is None and chart.is_values(document):
        for raw, moves in chart.objects(document, name or "dask", found.left):
            _check(f"{raw['kind']} {raw['metadata']['name']}", raw["kind"], raw["spec"])
            found.objects.append(Object(raw, number, moves))
    elif kind is None:
        raise ValueError("it has no kind, and it is no values of the dask/dask chart")
    else:
        of = (
            (document.get("metadata") or {}).get("name")
            if isinstance(document.get("metadata"), dict)
            else None
        )
        found.left.append(Left(f"{kind} {of}", "it is none of Dask's objects: keep it beside them"))


def _name(document: JSON, at: str) -> str:
    """Of a worker's Pod without one: that of its file."""
    said = document.get("metadata") or {}
    own = said.get("name") if isinstance(said, dict) else None
    file = re.split(r"[\\/]", at.partition(", ")[0])[-1].rpartition(".")[0] or "dask"
    return names.fit(str(own or file))[: names.LONGEST].strip("-") or "dask"


def _pod(document: JSON, number: int, name: str, scheduler: Any, left: list[Left]) -> Object:
    """A classic worker's Pod."""
    worker = looked_at("the worker's Pod", copy.deepcopy(document))
    head = None if scheduler is None else looked_at("--scheduler", scheduler, "scheduler")
    if not names.is_name(name):
        raise ValueError(names.refusal(name))
    made = classic(name, Pods(worker, head))
    del made.cluster["spec"]["idleTimeout"]  # of KubeCluster: never
    for remark in made.remarks:
        what, _, why = remark.partition(" is not carried over: ")
        if remark == NO_RESOURCES:
            what, why = "the worker's resources, for the scheduler", "--scheduler FILE says its own"
        left.append(Left(what, why))
    for place in _variables(worker):
        left.append(
            Left(place, "stays as it is written: in git nothing replaces a variable of your shell")
        )
    top: tuple[str, ...] = () if "containers" in document and "spec" not in document else ("spec",)
    moves: dict[Place, Place | None] = {
        (): (),
        top: ("spec", "worker", "spec"),
        ("metadata", "labels"): ("spec", "worker", "metadata", "labels"),
        ("metadata", "annotations"): ("spec", "worker", "metadata", "annotations"),
    }
    return Object(made.cluster, number, moves)


def _variables(value: Any, place: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _variables(inner, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _variables(inner, f"{place}[{i}]")
    elif isinstance(value, str) and _VARIABLE.search(value):
        yield place


def _ours(document: JSON, number: int, left: list[Left], *, is_live: bool = False) -> Object:
    """A custom resource without what only an API server writes."""
    kind = document["kind"]
    version = document.get("apiVersion")
    if version != f"{GROUP}/v1":
        raise ValueError(f"{kind} has apiVersion {version!r}; expected {GROUP}/v1")
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise ValueError(f"{kind} has no metadata.name")
    what = f"{kind} {metadata['name']}"
    spec = document.get("spec")
    if not isinstance(spec, dict):
        raise ValueError(f"{what} has no spec")
    kept = {key: copy.deepcopy(value) for key, value in metadata.items() if key not in _WRITTEN}
    for field in ("labels", "annotations"):
        said = kept.get(field)
        if said is None:
            kept.pop(field, None)
            continue
        if not isinstance(said, dict):
            raise ValueError(f"{what}: metadata.{field} is no mapping")
        for key in [key for key in said if _is_note(key, is_live)]:
            del said[key]
        if not said:
            del kept[field]
    _check(what, kind, spec)
    return Object(
        {
            "apiVersion": f"{GROUP}/v1",
            "kind": kind,
            "metadata": kept,
            "spec": copy.deepcopy(spec),
        },
        number,
    )


def _is_note(key: str, is_live: bool) -> bool:
    """On a live object tools have left their marks; in a file its writer wanted what is there."""
    return key.startswith(_NOTES) or (is_live and labels.is_reserved(key))


def _check(what: str, kind: str, spec: JSON) -> None:
    """:raises ValueError: a place cannot be read; with its path."""
    if wrong := declared.read(kind, spec).wrong:
        raise ValueError(f"{what}: {wrong[0]}")


def live(cluster: JSON, others: Iterable[JSON]) -> Converted:
    """A live cluster, with its groups and autoscalers that it does not declare itself.

    :param others: all groups and autoscalers of its namespace.
    """
    found = Converted()
    one = _ours(cluster, 0, found.left, is_live=True)
    one.raw["metadata"].pop("namespace", None)
    found.objects.append(one)
    spec = one.raw["spec"]
    inline = {f"{one.name}-{g['name']}" for g in spec.get("workerGroups") or ()}
    for raw in others:
        if (raw.get("spec") or {}).get("cluster") != one.name:
            continue
        name = raw["metadata"]["name"]
        if raw["kind"] == "DaskWorkerGroup" and name == f"{one.name}-default":
            number = (raw["spec"].get("worker") or {}).get("replicas")
            if number is not None and spec.get("worker", {}).get("replicas") is not None:
                spec["worker"]["replicas"] = number
            continue
        is_inline = raw["kind"] == "DaskAutoscaler" and spec.get("autoscaler")
        if name in inline or (is_inline and name == one.name):
            continue
        other = _ours(raw, 0, found.left, is_live=True)
        other.raw["metadata"].pop("namespace", None)
        found.objects.append(other)
    return found
