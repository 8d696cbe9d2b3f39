"""What is done to a cluster that is there: coroutines for the loop of `background`."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping
from typing import Any

from dask_gitops.client import arguments, refusals
from dask_gitops.client.errors import ClusterExistsError, WorkerGroupNotFoundError
from dask_gitops.client.session import Session
from dask_gitops.client.spec import make_worker_spec
from dask_gitops.client.wanted import over
from dask_gitops.kube import DASKAUTOSCALERS, DASKWORKERGROUPS, ApiError
from dask_gitops.model.podspec import PodSpec
from dask_gitops.resources import labels, names

JSON = dict[str, Any]


def group_name(cluster: str, group: str) -> str:
    """The object's name of a worker group that users call ``group``."""
    return f"{cluster}-{group}"


async def groups(session: Session) -> dict[str, JSON]:
    """The cluster's worker groups, as users call them."""
    page = await session.api.list(DASKWORKERGROUPS, session.namespace)
    found = {}
    for group in page.items:
        if (group.get("spec") or {}).get("cluster") == session.name:
            name = group["metadata"]["name"]
            found[name.removeprefix(f"{session.name}-")] = group
    return found


async def scale(session: Session, n: int, worker_group: str) -> list[str]:
    """Set the number of workers; an autoscaler of that group goes, whatever its name.

    :returns: names of the autoscalers that went.
    :raises WorkerGroupNotFoundError: there is no such group.
    """
    name = group_name(session.name, worker_group)

    async def write(dry_run: bool) -> None:
        try:
            await session.api.patch(
                DASKWORKERGROUPS,
                session.namespace,
                name,
                {"spec": {"replicas": n}},
                subresource="scale",
                dry_run=dry_run,
            )
        except ApiError as error:
            if not error.is_not_found:
                raise
            raise await _no_group(session, worker_group) from None

    # An autoscaler that is there would set the number back; one whose group cannot be scaled stays.
    await write(dry_run=True)
    gone = await _delete_autoscalers(session, name)
    await write(dry_run=False)
    return gone


async def adapt(session: Session, worker_group: str, limits: JSON) -> None:
    """Let the controller choose the number: the group's autoscaler is made, or changed.

    :param limits: ``minimum``, ``maximum`` and what else an autoscaler's spec may have.
    :raises WorkerGroupNotFoundError: there is no such group.
    """
    name = group_name(session.name, worker_group)
    if worker_group != "default" and worker_group not in (there := await groups(session)):
        raise _not_there(session, worker_group, list(there))
    for autoscaler in await _autoscalers(session, name):
        await session.api.patch(
            DASKAUTOSCALERS,
            session.namespace,
            autoscaler["metadata"]["name"],
            {"metadata": {"uid": autoscaler["metadata"]["uid"]}, "spec": limits},
        )
        return
    is_default = worker_group == "default"
    spec = {"cluster": session.name, **({} if is_default else {"workerGroup": name}), **limits}
    await session.api.create(
        DASKAUTOSCALERS,
        session.namespace,
        {
            "apiVersion": DASKAUTOSCALERS.api_version,
            "kind": DASKAUTOSCALERS.kind,
            "metadata": {
                "name": session.name if is_default else name,
                "namespace": session.namespace,
                "labels": labels.cluster_selector(session.name, labels.AUTOSCALER),
                "ownerReferences": [session.owner_reference()],
            },
            "spec": {k: v for k, v in spec.items() if v is not None},
        },
    )


async def stop_adapting(session: Session, worker_group: str) -> None:
    """The number of workers stays as it is."""
    await _delete_autoscalers(session, group_name(session.name, worker_group))


async def add_group(session: Session, group: str, worker: Callable[[JSON], JSON]) -> None:
    """
    :param worker: makes it of the cluster's own.
    :raises ClusterExistsError: there is one of that name.
    """
    default = ((session.live.cluster or {}).get("spec") or {}).get("worker") or {}
    body = {
        "apiVersion": DASKWORKERGROUPS.api_version,
        "kind": DASKWORKERGROUPS.kind,
        "metadata": {
            "name": group_name(session.name, group),
            "namespace": session.namespace,
            "labels": labels.cluster_selector(session.name, labels.WORKER_GROUP),
            "ownerReferences": [session.owner_reference()],
        },
        "spec": {"cluster": session.name, "worker": worker(default)},
    }
    try:
        await session.api.create(DASKWORKERGROUPS, session.namespace, body)
    except ApiError as error:
        if not error.is_already_exists:
            raise
        raise ClusterExistsError(
            f"cluster {session.name} already has the worker group {group!r}"
        ) from None


async def delete_group(session: Session, group: str) -> None:
    """:raises WorkerGroupNotFoundError: there is no such group."""
    name = group_name(session.name, group)
    there = await groups(session)
    if group not in there:
        raise _not_there(session, group, list(there))
    uid = there[group]["metadata"]["uid"]
    await session.api.delete(DASKWORKERGROUPS, session.namespace, name, uid=uid)


async def _delete_autoscalers(session: Session, group: str) -> list[str]:
    """Those that size this group go; their names."""
    gone = []
    for autoscaler in await _autoscalers(session, group):
        metadata = autoscaler["metadata"]
        await session.api.delete(
            DASKAUTOSCALERS, session.namespace, metadata["name"], uid=metadata["uid"]
        )
        gone.append(metadata["name"])
    return gone


async def _autoscalers(session: Session, group: str) -> list[JSON]:
    """Those that size this group."""
    page = await session.api.list(DASKAUTOSCALERS, session.namespace)
    found = []
    for autoscaler in page.items:
        spec = autoscaler.get("spec") or {}
        sizes = spec.get("workerGroup") or names.default_group_name(session.name)
        if spec.get("cluster") == session.name and sizes == group:
            found.append(autoscaler)
    return found


async def _no_group(session: Session, group: str) -> WorkerGroupNotFoundError:
    return _not_there(session, group, list(await groups(session)))


def _not_there(session: Session, group: str, there: list[str]) -> WorkerGroupNotFoundError:
    return refusals.no_group(session.name, group, there)


def worker_of(
    n_workers: int | None,
    image: str | None,
    resources: Any,
    worker_command: Any,
    env: Any,
    custom_spec: Any,
    worker_template: Any,
) -> Callable[[JSON], JSON]:
    """The worker of another group, made of what the cluster's own is; arguments are looked at now.

    :raises TypeError, ValueError: one cannot be that.
    """
    if custom_spec is not None:
        if not isinstance(custom_spec, Mapping):
            raise TypeError(f"custom_spec is {custom_spec!r}; write a dict such as {{'spec': ...}}")
        custom = copy.deepcopy(dict(custom_spec))
        return lambda default: custom
    count = None if n_workers is None else arguments.count("n_workers", n_workers)
    command = None if worker_command is None else worker_command
    template = (
        None if worker_template is None else arguments.template("worker_template", worker_template)
    )
    made = make_worker_spec(image, count, resources, env, command or "dask-worker")
    new = made["spec"]["containers"][0]

    def worker(default: JSON) -> JSON:
        found = copy.deepcopy(default)
        containers = found.setdefault("spec", {}).setdefault("containers", [])
        if not containers:
            containers.append({"name": "worker", "args": new["args"]})
        main = PodSpec.trusted(found["spec"]).main(labels.WORKER)
        assert main is not None
        for given, key in (
            (image, "image"),
            (resources, "resources"),
            (env, "env"),
            (command, "args"),
        ):
            if given is not None:
                main.fields[key] = new[key]
        found.pop("replicas", None)
        if count is not None:
            found["replicas"] = count
        return over(found, None, template)

    return worker


def container_of(pod: JSON) -> str | None:
    """The name of the container of a raw Pod in which Dask runs; None: of its only one."""
    component = pod["metadata"].get("labels", {}).get(labels.COMPONENT, "")
    main = PodSpec.trusted(pod.get("spec") or {}).main(component)
    return main.name if main is not None else None


async def logs(
    session: Session, which: Callable[[JSON], bool], previous: bool, tail: int | None
) -> dict[str, str]:
    """What the Pods' main containers printed, by name of the Pod; of one without, why."""

    async def of(pod: JSON) -> str:
        try:
            return await session.api.logs(
                session.namespace,
                pod["metadata"]["name"],
                container=container_of(pod),
                previous=previous,
                tail=tail,
            )
        except ApiError as error:
            if error.status in (401, 403):
                raise
            return f"no log: {error.message}"

    pods = [pod for pod in session.live.pods if which(pod)]
    found = await asyncio.gather(*(of(pod) for pod in pods))
    return {pod["metadata"]["name"]: text for pod, text in zip(pods, found, strict=True)}


def which_pods(scheduler: bool, workers: Any, info: Mapping[str, Any]) -> Callable[[JSON], bool]:
    """Of which Pods logs are wanted.

    :param workers: all, none (as None), or addresses or names of some.
    """
    named = (
        None
        if workers is None or isinstance(workers, bool)
        else {str(each) for each in ([workers] if isinstance(workers, str) else workers)}
    )
    known = {str(w["name"]) for address, w in info["workers"].items() if address in (named or ())}

    def so(pod: JSON) -> bool:
        component = pod["metadata"].get("labels", {}).get(labels.COMPONENT)
        if component == labels.SCHEDULER:
            return scheduler
        if named is None:
            return component == labels.WORKER and bool(workers)
        return component == labels.WORKER and pod["metadata"]["name"] in named | known

    return so
