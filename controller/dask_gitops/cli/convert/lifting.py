"""Pure: what values say in words of their own, taken out of podTemplate; the Pods stay the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dask_gitops.client.values import image_values
from dask_gitops.model.podspec import PodSpec

from .comments import Place
from .result import JSON

Moves = dict[Place, Place]


def lifted(values: JSON) -> dict[Place, Moves]:
    """Change values in place; where places of them are now, by cluster (``clusters``, its name) and job.

    :param values: ``{"clusters": ..., "jobs": ...}``, of Pods as they are.
    """
    all_moves: dict[Place, Moves] = {}
    for place, cluster in _clusters(values):
        moves = all_moves.setdefault(place[:2], {(): ()})
        _image(cluster, place, moves)
        for component in ("scheduler", "worker"):
            _part(cluster.get(component), component, (*place, component), moves)
        for key, group in (cluster.get("workerGroups") or {}).items():
            _part(group, "worker", (*place, "workerGroups", key), moves)
        for component in ("scheduler", "worker"):
            if cluster.get(component) == {}:
                del cluster[component]
    for name, job in (values.get("jobs") or {}).items():
        moves = all_moves.setdefault(("jobs", name), {(): ()})
        _part(job, "job", ("jobs", name), moves)
    return all_moves


def _clusters(values: JSON) -> Iterator[tuple[Place, JSON]]:
    for name, cluster in (values.get("clusters") or {}).items():
        yield ("clusters", name), cluster
    for name, job in (values.get("jobs") or {}).items():
        if job.get("cluster"):
            yield ("jobs", name, "cluster"), job["cluster"]


def _main(part: Any, component: str) -> tuple[int, JSON] | None:
    """Dask's container of a podTemplate, and where it is."""
    spec = ((part or {}).get("podTemplate") or {}).get("spec") or {}
    if not spec.get("containers"):
        return None
    read = PodSpec.trusted(spec)
    main = read.runner() if component == "job" else read.main(component)
    for i, container in enumerate(spec["containers"]):
        if main is not None and container is main.fields:
            return i, container
    return None


def _image(cluster: JSON, place: Place, moves: Moves) -> None:
    """One image of all its Pods is the cluster's."""
    if cluster.get("image"):
        return
    parts: list[tuple[Any, str, Place]]
    parts = [(cluster.get(component), component, (component,)) for component in ("scheduler", "worker")]  # fmt: skip
    parts += [
        (group, "worker", ("workerGroups", key))
        for key, group in (cluster.get("workerGroups") or {}).items()
    ]
    mains = [(_main(part, component), where) for part, component, where in parts]
    images = {main[1].get("image") if main else None for main, _ in mains}
    image = images.pop()
    if images or not image:
        return
    cluster["image"] = image_values(image)
    for main, where in reversed(mains):
        assert main is not None
        del main[1]["image"]
        spot: Place = (*place, *where, "podTemplate", "spec", "containers", main[0], "image")
        moves[spot] = (*place, "image")
    # What is read first stands first.
    first = cluster.pop("image")
    rest = dict(cluster)
    cluster.clear()
    cluster.update({"image": first, **rest})


def _part(part: Any, component: str, place: Place, moves: Moves) -> None:
    found = _main(part, component)
    if found is None:
        return
    i, container = found
    template = part.pop("podTemplate")
    here: Place = (*place, "podTemplate", "spec", "containers", i)
    if container.get("resources") and container["resources"].keys() <= {"limits", "requests", "claims"}:  # fmt: skip
        part["resources"] = container.pop("resources")
        moves[(*here, "resources")] = (*place, "resources")
    env = container.get("env")
    if env and _may_be_a_map(env):
        del container["env"]
        part["env"] = {}
        moves[(*here, "env")] = (*place, "env")
        for k, each in enumerate(env):
            rest = {key: value for key, value in each.items() if key != "name"}
            part["env"][each["name"]] = rest["value"] if rest.keys() == {"value"} else rest
            moves[(*here, "env", k)] = (*place, "env", each["name"])
            moves[(*here, "env", k, "value")] = (*place, "env", each["name"])
    spec = template["spec"]
    if component != "job" and spec["containers"] == [{"name": component}]:
        del spec["containers"]
    if not spec:
        del template["spec"]
    if template:
        part["podTemplate"] = template


def _may_be_a_map(env: list[JSON]) -> bool:
    """A map says no order: values sort it, and a variable may use those before it."""
    names = [each.get("name") or "" for each in env]
    if names != sorted(set(names)) or not all(names):
        return False
    return all(
        "$(" not in str(each.get("value", "")) and each.keys() in ({"name", "value"}, {"name", "valueFrom"})
        and None not in each.values()
        for each in env
    )  # fmt: skip
